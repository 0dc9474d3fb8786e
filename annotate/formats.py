"""What rows of others' files mean: prompts, single votes, preference pairs and sets to be labelled, as one Ballot each.

Pure: no files, no database. readers.py yields the rows, imports.py and prompts.py store what comes out of here.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from annotate.errors import BadInput
from annotate.messages import Message, Messages, as_messages, digest, to_dicts

Kind = Literal["votes", "preferences", "prompts", "pairs"]
MAX_VOTES = 1000
"""Votes that one row of a preferences file may stand for."""
MAX_RESPONSES = 16
OBJECTIVES = ("helpful", "safe")


@dataclass(frozen=True)
class Answer:
    """A response's text, verbatim, and the name of the model that wrote it, '' when unknown."""

    text: str
    model: str = ""


@dataclass(frozen=True)
class Vote:
    """One judgment: positions of the answers, best first, ties sharing a tuple, and the positions in the order shown.

    An empty `shown` means that the order is not known. active_ms: time spent; submitted_at: seconds since 1970.
    """

    annotator: str
    ranking: tuple[tuple[int, ...], ...]
    shown: tuple[int, ...] = ()
    strength: int | None = None
    rationale: str = ""
    acceptable: tuple[bool | None, ...] = ()
    active_ms: int | None = None
    submitted_at: float | None = None


@dataclass(frozen=True)
class Ballot:
    """A prompt, k >= 2 answers to it, and the votes that the row holds: none when it is to be labelled yet."""

    prompt: Messages
    answers: tuple[Answer, ...]
    votes: tuple[Vote, ...] = ()
    source: str = ""
    objective: str = "helpful"


def parse_vote(row: Mapping[str, Any]) -> Ballot:
    """One vote: {prompt, response_a, response_b, annotator, preference: a|b|tie}, as people gave it.

    Optional: model_a, model_b; shown_swapped (true: b was shown first; absent: a was); strength clear|slight or 1-3;
    rationale; acceptable_a, acceptable_b (yes|no or true|false); submitted_at (ISO 8601, UTC without a zone, or seconds
    since 1970); task_seconds (kept as the label's active time, of which it is an upper bound); source; objective.
    Raises BadInput saying which field is wrong.
    """
    prompt = _prompt(row)
    answers = (
        Answer(_answer(row, "response_a"), _text(row, "model_a")),
        Answer(_answer(row, "response_b"), _text(row, "model_b")),
    )
    annotator = _required(row, "annotator").strip()
    if not annotator:
        raise BadInput("annotator: empty")
    preference = _required(row, "preference")
    rankings = {"a": ((0,), (1,)), "b": ((1,), (0,)), "tie": ((0, 1),)}
    if preference not in rankings:
        raise BadInput(f"preference: expected a, b or tie, found {_show(preference)}")
    acceptable = _flag(row, "acceptable_a"), _flag(row, "acceptable_b")
    seconds = _number(row, "task_seconds", high=2_000_000)
    vote = Vote(
        annotator=annotator,
        ranking=rankings[preference],
        shown=(1, 0) if _flag(row, "shown_swapped") else (0, 1),
        strength=_strength(row),
        rationale=_text(row, "rationale"),
        acceptable=acceptable,
        active_ms=None if seconds is None else round(seconds * 1000),
        submitted_at=_time(row, "submitted_at"),
    )
    return Ballot(prompt, answers, (vote,), _text(row, "source"), _objective(row))


def parse_preference(row: Mapping[str, Any]) -> Ballot:
    """One judged pair, in any of the forms in use:

    - explicit: {prompt, chosen, rejected}, each text or a list of messages (chosen and rejected may repeat the prompt);
    - conversational: {chosen, rejected}, two whole conversations that differ in the last turn;
    - Anthropic's HH: chosen and rejected (and prompt, where there is one) as "\\n\\nHuman: ... \\n\\nAssistant: ...".

    votes_chosen, votes_rejected, votes_tie: so many votes each, by stand-ins named "source#1" and so on who are dealt
    to the votes in an order drawn from the row (that way no stand-in always agrees with the majority); without them one
    vote for the chosen side. Optional: chosen_model, rejected_model, strength 0-3, chosen_shown_left 0|1 (otherwise the
    order shown is not known), objective, source.
    Raises BadInput saying which field is wrong.
    """
    prompt, chosen, rejected = _conversations(row)
    source = _text(row, "source")
    counts = [_count(row, name) for name in ("votes_chosen", "votes_rejected", "votes_tie")]
    if all(count is None for count in counts):
        counts = [1, 0, 0]
    votes = [count or 0 for count in counts]
    if not 0 < sum(votes) <= MAX_VOTES:
        raise BadInput(f"the row holds {sum(votes)} votes, expected 1 to {MAX_VOTES}")
    strength = _number(row, "strength", high=3)
    left = _number(row, "chosen_shown_left", high=1)
    shown = (0, 1) if left == 1 else (1, 0) if left == 0 else ()
    outcomes = [((0,), (1,))] * votes[0] + [((1,), (0,))] * votes[1] + [((0, 1),)] * votes[2]
    names = np.random.default_rng(int(row_key("preferences", row), 16)).permutation(len(outcomes))
    ballots = tuple(
        Vote(
            annotator=f"{source or 'import'}#{name + 1}",
            ranking=outcome,
            shown=shown,
            strength=round(strength) if strength is not None and outcome == ((0,), (1,)) else None,
        )
        for name, outcome in zip(names, outcomes, strict=True)
    )
    answers = (Answer(chosen, _text(row, "chosen_model")), Answer(rejected, _text(row, "rejected_model")))
    return Ballot(prompt, answers, ballots, source, _objective(row))


def parse_set(row: Mapping[str, Any]) -> Ballot:
    """k >= 2 responses to one prompt, to be labelled: {prompt, responses: [text, text, ...]}.

    A response may also be {text, model}, or `models` a list beside `responses`.
    Raises BadInput saying which field is wrong.
    """
    prompt = _prompt(row)
    responses, models = row.get("responses"), row.get("models")
    if not isinstance(responses, list) or not 2 <= len(responses) <= MAX_RESPONSES:
        raise BadInput(f"responses: expected a list of 2 to {MAX_RESPONSES} texts, found {_show(responses)}")
    if models is None:
        models = [""] * len(responses)
    if not isinstance(models, list) or len(models) != len(responses):
        raise BadInput(f"models: expected a list of {len(responses)} names, found {_show(models)}")
    answers = []
    for place, (response, model) in enumerate(zip(responses, models, strict=True), 1):
        fields = response if isinstance(response, Mapping) else {"text": response, "model": model}
        if not isinstance(fields.get("text"), str):
            raise BadInput(f"responses: the entry {place} is not text")
        answers.append(Answer(fields["text"], _text(fields, "model")))
    texts = [" ".join(answer.text.split()) for answer in answers]
    if len(set(texts)) < len(texts):
        raise BadInput("responses: two of them are the same, so there is nothing to compare")
    return Ballot(prompt, tuple(answers), (), _text(row, "source"), _objective(row))


def parse_prompt(row: Mapping[str, Any]) -> Messages:
    """The prompt of a row: {prompt: text | [messages]}, {messages}, {text}, or {instruction, input?}, the first found.

    Of a conversation that ends with the assistant's turns, these are left out: they are its answer.
    Raises BadInput saying which field is wrong.
    """
    for name in ("prompt", "messages", "text", "instruction"):
        if row.get(name) is None:
            continue
        value = row[name]
        if name == "instruction" and _text(row, "input"):
            value = f"{_required(row, name)}\n\n{_text(row, 'input')}"
        messages = _messages(value, name)
        if name == "messages":
            while messages and messages[-1].role == "assistant":
                messages = messages[:-1]
        return _ends_with_user(messages, name)
    found = ", ".join(sorted(map(str, row))[:8]) or "nothing"
    raise BadInput(f"no prompt: expected one of prompt, messages, text, instruction, found {found}")


PARSERS: dict[str, Callable[[Mapping[str, Any]], Ballot]] = {
    "votes": parse_vote,
    "preferences": parse_preference,
    "pairs": parse_set,
}
_COMMON = {"pair_id", "source", "prompt", "objective"}
_VOTE = {"annotator", "preference", "shown_swapped", "strength", "rationale", "submitted_at", "task_seconds"}
_COUNTS = {"votes_chosen", "votes_rejected", "votes_tie", "n_annotators", "strength", "chosen_shown_left"}
USED = {
    "votes": _COMMON | _VOTE | {f"{name}_{side}" for name in ("response", "model", "acceptable") for side in "ab"},
    "preferences": _COMMON | _COUNTS | {"chosen", "rejected", "chosen_model", "rejected_model"},
    "pairs": _COMMON | {"responses", "models"},
    "prompts": {"id", "prompt_id", "source", "family", "prompt", "messages", "text", "instruction", "input"},
}
"""The columns that each kind of file is read for; any other is named in the import's report."""


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


_HH_START = "\n\nHuman:"
_HH_TURN = re.compile(r"\n\n(Human|Assistant):")


def _conversations(row: Mapping[str, Any]) -> tuple[Messages, str, str]:
    """Prompt, chosen text and rejected text of a preference row."""
    for name in ("chosen", "rejected"):
        if row.get(name) is None:
            raise BadInput(f"{name}: missing")
    prompt, sides = row.get("prompt"), (row["chosen"], row["rejected"])
    if prompt is None:
        chosen, rejected = (_whole(side, name) for side, name in zip(sides, ("chosen", "rejected"), strict=True))
        shared = 0
        while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
            shared += 1
        if shared == len(chosen) == len(rejected):
            raise BadInput("chosen and rejected are the same")
        if shared == 0:
            raise BadInput("chosen and rejected share no prompt")
        head = _ends_with_user(chosen[:shared], "the turns that chosen and rejected share")
        return head, _one_turn(chosen[shared:], "chosen"), _one_turn(rejected[shared:], "rejected")
    head = _prompt(row)
    texts = []
    from_transcript = _is_transcript(prompt)
    for side, name in zip(sides, ("chosen", "rejected"), strict=True):
        if isinstance(side, str) and not side.startswith(_HH_START):
            texts.append(side.strip() if from_transcript else side)
            continue
        turns = hh_turns(side) if isinstance(side, str) else _messages(side, name)
        texts.append(_one_turn(turns[len(head) :] if turns[: len(head)] == head else turns, name))
    if texts[0] == texts[1] and _text(row, "chosen_model") == _text(row, "rejected_model"):
        raise BadInput("chosen and rejected are the same")
    return head, texts[0], texts[1]


def _whole(side: Any, name: str) -> Messages:
    if isinstance(side, str):
        try:
            return hh_turns(side)
        except BadInput:
            raise BadInput(
                f'{name}: text needs a prompt beside it, or the form "\\n\\nHuman: ... \\n\\nAssistant: ..."'
            ) from None
    return _messages(side, name)


def _one_turn(turns: Messages, name: str) -> str:
    if len(turns) != 1 or turns[0].role != "assistant" or not isinstance(turns[0].content, str):
        raise BadInput(f"{name}: expected one text turn of the assistant after the prompt, found {len(turns)} turns")
    return turns[0].content


def _prompt(row: Mapping[str, Any]) -> Messages:
    value = row.get("prompt")
    if value is None:
        raise BadInput("prompt: missing")
    if _is_transcript(value):
        return _ends_with_user(hh_turns(value), "prompt")
    return _ends_with_user(_messages(value, "prompt"), "prompt")


def _is_transcript(prompt: Any) -> bool:
    return isinstance(prompt, str) and prompt.startswith(_HH_START) and prompt.rstrip().endswith("\n\nAssistant:")


def _messages(value: Any, name: str) -> Messages:
    try:
        messages = as_messages(value)
    except BadInput as error:
        raise BadInput(f"{name}: {error.what}") from None
    except ValueError as error:  # pydantic's, for parts that are no objects
        raise BadInput(f"{name}: a message's content is text or a list of parts") from error
    return messages


def _ends_with_user(messages: Messages, name: str) -> Messages:
    """The messages, if they are a prompt: not empty, the last turn for somebody to answer."""
    if messages and not any(turn.text.strip() or not isinstance(turn.content, str) for turn in messages):
        raise BadInput(f"{name}: empty")
    if not messages or messages[-1].role not in ("user", "tool"):
        raise BadInput(f"{name}: the last turn is not the user's")
    return messages


def _answer(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if isinstance(value, list):
        return _one_turn(_messages(value, name), name)
    if not isinstance(value, str):
        raise BadInput(f"{name}: {'missing' if value is None else f'expected text, found {_show(value)}'}")
    return value


def _required(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise BadInput(f"{name}: {'missing' if value is None else f'expected text, found {_show(value)}'}")
    return value


def _text(row: Mapping[str, Any], name: str) -> str:
    return "" if row.get(name) is None else _required(row, name)


def _number(row: Mapping[str, Any], name: str, *, high: float) -> float | None:
    value = row.get(name)
    if value == "":  # CSV has no null
        return None
    if isinstance(value, str):  # nor numbers
        try:
            value = float(value)
        except ValueError:
            raise BadInput(f"{name}: expected a number, found {_show(value)}") from None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= high:
        raise BadInput(f"{name}: expected a number from 0 to {high:g}, found {_show(value)}")
    return float(value)


def _count(row: Mapping[str, Any], name: str) -> int | None:
    value = _number(row, name, high=MAX_VOTES)
    if value is not None and value != int(value):
        raise BadInput(f"{name}: expected a whole number of votes, found {_show(value)}")
    return None if value is None else int(value)


def _strength(row: Mapping[str, Any]) -> int | None:
    value = row.get("strength")
    if isinstance(value, str) and value in ("clear", "slight"):
        return {"clear": 2, "slight": 1}[value]
    number = _number(row, "strength", high=3)
    if number is not None and number != int(number):
        raise BadInput(f"strength: expected clear, slight or 1 to 3, found {_show(value)}")
    return None if number is None else int(number)


def _flag(row: Mapping[str, Any], name: str) -> bool | None:
    value = row.get(name)
    if value is None or isinstance(value, bool):
        return value
    answers = {"yes": True, "true": True, "no": False, "false": False, "": None}
    if not isinstance(value, str) or value.lower() not in answers:
        raise BadInput(f"{name}: expected yes or no, true or false, found {_show(value)}")
    return answers[value.lower()]


def _objective(row: Mapping[str, Any]) -> str:
    value = _text(row, "objective") or OBJECTIVES[0]
    if value not in OBJECTIVES:
        raise BadInput(f"objective: expected {' or '.join(OBJECTIVES)}, found {_show(value)}")
    return value


def _time(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, datetime):  # Parquet has times of its own
        moment = value
    elif isinstance(value, str) and not value.replace(".", "", 1).isdigit():
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise BadInput(f"{name}: expected a time such as 2026-01-31T16:59:52Z, found {_show(value)}") from None
    else:
        return _number(row, name, high=4_102_444_800)  # the year 2100: more are milliseconds by mistake
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError):
        raise BadInput(f"{name}: out of range") from None


def _show(value: Any) -> str:
    """A value as an error message may hold it: short, on one line."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def row_key(kind: str, row: Mapping[str, Any]) -> str:
    """What makes two rows of a kind the same: the digest of their whole content."""
    return digest([kind, {name: _plain(value) for name, value in row.items()}], 32)


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return to_dicts([value])[0]
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
