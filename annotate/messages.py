"""A conversation as a tuple of messages, and the hash that identifies a prompt.

Only text and typed parts live here; chat templates belong to the tokenizer, images' bytes to the workspace.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from annotate.errors import BadInput

Role = Literal["system", "user", "assistant", "tool"]
ROLES = ("system", "user", "assistant", "tool")

UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3005\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
"""Letters of scripts that put no space between words, as the inside of a character class."""
_WORD = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")


class Message(BaseModel):
    """One turn: who speaks and what, verbatim; `content` is text or a list of typed parts (text, image)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    content: str | list[dict[str, Any]]

    @property
    def text(self) -> str:
        """The turn's text; parts that are not text are left out."""
        if isinstance(self.content, str):
            return self.content
        return "".join(str(part.get("text", "")) for part in self.content if part.get("type") == "text")


Messages = tuple[Message, ...]


def as_messages(value: Any, role: Role = "user") -> Messages:
    """Turn text, or a list of {role, content}, into messages; text becomes one turn of `role`.

    Raises BadInput when the value is neither, is empty, or names an unknown role.
    """
    if isinstance(value, str):
        return (Message(role=role, content=value),)
    if not isinstance(value, Iterable) or isinstance(value, Mapping | bytes):
        raise BadInput(f"expected text or a list of messages, found {type(value).__name__}")
    turns: list[Message] = []
    for turn in value:
        if isinstance(turn, Message):
            turns.append(turn)
            continue
        if not isinstance(turn, Mapping) or "content" not in turn or turn.get("role") not in ROLES:
            raise BadInput(f"each message needs a role ({', '.join(ROLES)}) and content")
        content = turn["content"]
        if not isinstance(content, str | list):
            raise BadInput(f"a message's content is text or a list of parts, found {type(content).__name__}")
        turns.append(Message(role=turn["role"], content=content))
    if not turns:
        raise BadInput("a conversation needs at least one message")
    return tuple(turns)


def to_dicts(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Messages as plain dicts, the form of every file and of the HTTP contract."""
    return [{"role": turn.role, "content": turn.content} for turn in messages]


def last_text(messages: Iterable[Message]) -> str:
    """The text of the last turn."""
    return list(messages)[-1].text


def flat_text(messages: Iterable[Message]) -> str:
    """All turns' text, one after the other, for search and for features of the text."""
    return "\n\n".join(turn.text for turn in messages)


def normalised(text: str) -> str:
    """Text as compared for duplicates: NFKC, case folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def words(text: str) -> list[str]:
    """The text cut at white space; where a script has none between words, each letter counts as one."""
    return _WORD.findall(text)


def digest(value: Any, length: int = 16) -> str:
    """The first `length` hex digits of SHA-256 over canonical JSON: the id of anything content-addressed."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]


def prompt_id(messages: Iterable[Message]) -> str:
    """The content hash of a prompt: equal for prompts that differ only in case and white space."""
    parts = [
        [turn.role, normalised(turn.content) if isinstance(turn.content, str) else turn.content] for turn in messages
    ]
    return digest(parts)
