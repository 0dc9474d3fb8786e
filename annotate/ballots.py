"""What a row of somebody's file means, whatever its form: a Ballot, with the prompt, the answers and what people said.

Also the parts that all forms share: conversations, transcripts, objectives. No files, no database.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from annotate.errors import BadInput
from annotate.fields import short, text_in
from annotate.messages import Message, Messages, as_messages

MAX_RESPONSES = 16
OBJECTIVES = ("helpful", "safe")
Ranking = tuple[tuple[int, ...], ...]
"""Positions of the answers, best first, ties sharing a tuple."""


@dataclass(frozen=True)
class Answer:
    """A response's text, verbatim, and the name of the model that wrote it, '' when unknown."""

    text: str
    model: str = ""


@dataclass(frozen=True)
class Vote:
    """One judgment of a ballot's answers, which are named by their positions.

    shown: positions in the order shown, empty when it is not known. active_ms: time spent; submitted_at: seconds since
    1970. criteria: a value by name, or a value for each answer. edited: what an answer should have been. flags: a word,
    and the answer that it is about, if it is about one. uuid: the label's own, '' for one made of key. key: what names
    this vote wherever it stands in a file, '' for its row.
    """

    annotator: str
    ranking: Ranking
    shown: tuple[int, ...] = ()
    strength: int | None = None
    both_bad: bool = False
    criteria: Mapping[str, Any] = field(default_factory=dict)
    rationale: str = ""
    edited: Mapping[int, str] = field(default_factory=dict)
    flags: tuple[tuple[str, int | None], ...] = ()
    active_ms: int | None = None
    submitted_at: float | None = None
    guideline: str | None = None
    uuid: str = ""
    key: str = ""


@dataclass(frozen=True)
class Ballot:
    """A prompt, k >= 2 answers to it, and the votes that the row holds: none when it is to be labelled yet."""

    prompt: Messages
    answers: tuple[Answer, ...]
    votes: tuple[Vote, ...] = ()
    source: str = ""
    objective: str = "helpful"


def ranked(scores: list[float]) -> Ranking:
    """The ranking that scores give, the highest first."""
    tiers = sorted(set(scores), reverse=True)
    return tuple(tuple(place for place, score in enumerate(scores) if score == tier) for tier in tiers)


def graded(preference: int) -> Ranking:
    """The ranking of two answers by a grade: below 0 the first is better, above 0 the second."""
    return ((0, 1),) if preference == 0 else ((0,), (1,)) if preference < 0 else ((1,), (0,))


def hh_turns(text: str) -> Messages:
    """The turns of a transcript in Anthropic's HH form, outer white space of each turn left out.

    An empty last turn of the assistant (the form's prompt) is left out. Raises BadInput when it does not start with
    "Human:" after blank lines, or a turn before the last is empty.
    """
    parts = _HH_TURN.split("\n\n" + text.lstrip("\n"))
    if len(parts) < 3 or parts[0].strip() or parts[1] != "Human":
        raise BadInput('expected a transcript that starts with "\\n\\nHuman:"')
    roles = {"Human": "user", "Assistant": "assistant"}
    turns = [(roles[who], said.strip()) for who, said in zip(parts[1::2], parts[2::2], strict=True)]
    if turns[-1] == ("assistant", ""):
        turns = turns[:-1]
    return tuple(Message.model_validate({"role": role, "content": said}) for role, said in turns)


HH_START = "\n\nHuman:"
_HH_TURN = re.compile(r"\n\n(Human|Assistant):")


def one_turn(turns: Messages, name: str) -> str:
    if len(turns) != 1 or turns[0].role != "assistant" or not isinstance(turns[0].content, str):
        raise BadInput(f"{name}: expected one text turn of the assistant after the prompt, found {len(turns)} turns")
    return turns[0].content


def prompt_in(row: Mapping[str, Any]) -> Messages:
    value = row.get("prompt")
    if value is None:
        raise BadInput("prompt: missing")
    if is_transcript(value):
        return ends_with_user(hh_turns(value), "prompt")
    return ends_with_user(messages_in(value, "prompt"), "prompt")


def is_transcript(prompt: Any) -> bool:
    return isinstance(prompt, str) and prompt.startswith(HH_START) and prompt.rstrip().endswith("\n\nAssistant:")


def messages_in(value: Any, name: str) -> Messages:
    try:
        messages = as_messages(value)
    except BadInput as error:
        raise BadInput(f"{name}: {error.what}") from None
    except ValueError as error:  # pydantic's, for parts that are no objects
        raise BadInput(f"{name}: a message's content is text or a list of parts") from error
    return messages


def ends_with_user(messages: Messages, name: str) -> Messages:
    """The messages, if they are a prompt: not empty, the last turn for somebody to answer."""
    if messages and not any(turn.text.strip() or not isinstance(turn.content, str) for turn in messages):
        raise BadInput(f"{name}: empty")
    if not messages or messages[-1].role not in ("user", "tool"):
        raise BadInput(f"{name}: the last turn is not the user's")
    return messages


def answer_in(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if isinstance(value, list):
        return one_turn(messages_in(value, name), name)
    if not isinstance(value, str):
        raise BadInput(f"{name}: {'missing' if value is None else f'expected text, found {short(value)}'}")
    return value


def objective_in(row: Mapping[str, Any]) -> str:
    value = text_in(row, "objective") or OBJECTIVES[0]
    if value not in OBJECTIVES:
        raise BadInput(f"objective: expected {' or '.join(OBJECTIVES)}, found {short(value)}")
    return value
