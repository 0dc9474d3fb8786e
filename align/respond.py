"""Who answers a live conversation: the champion and, where there is one, the last candidate, each loaded once.

What becomes of the answers is annotate/chat.py's business; which of the two wrote which is known to the ledger alone.
"""

import secrets
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

from align.generate import generate
from align.recipe import GenerateSection
from annotate.chat import Answer, Responder
from annotate.errors import Conflict
from annotate.ledger import Ledger
from annotate.messages import Messages
from annotate.workspace import Workspace


def responder(workspace: Workspace, ledger: Ledger, section: GenerateSection) -> Responder:
    """Answers of the workspace's models as they stand when asked: one of each of two, or two of the only one."""

    def answer(messages: Messages) -> list[Answer]:
        models = _models(ledger)
        if not models:
            raise Conflict("no model answers here yet", next="Run: trueloop advance")
        found: list[Answer] = []
        with _TURN:
            for identity in models:
                tokenizer, model = _load(workspace.artifacts / identity)
                sampling: dict[str, Any] = {
                    "temperature": section.temperature,
                    "top_p": section.top_p,
                    "max_new_tokens": section.max_new_tokens,
                    "seed": secrets.randbelow(2**31),
                }
                [completions] = generate(model, tokenizer, [messages], n=3 - len(models), **sampling)
                found += [
                    Answer(one.text, identity, sampling, one.logprob, len(one.token_ids), one.finished)
                    for one in completions
                ]
        return found

    return answer


def _models(ledger: Ledger) -> list[str]:
    """Ids of the champion, the SFT model at first, and of the last candidate when that is another."""
    first, candidate = ledger.latest("sft"), ledger.latest("policy")
    champion = ledger.champion() or (first.id if first else None)
    found = [champion, candidate.id if candidate else None]
    return list(dict.fromkeys(one for one in found if one is not None))


_TURN = threading.Lock()
"""One answer at a time: more would only wait for each other."""


@lru_cache(maxsize=2)
def _load(folder: Path) -> tuple[Any, Any]:
    from reward.backbone import load_model, load_tokenizer

    tokenizer = load_tokenizer(folder)
    return tokenizer, load_model(folder, tokenizer)
