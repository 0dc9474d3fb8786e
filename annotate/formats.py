"""What rows of others' files mean: prompts, single votes, preference pairs and sets to be labelled, as one Ballot each.

Pure: no files, no database. readers.py yields the rows, imports.py and prompts.py store what comes out of here.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from annotate.errors import BadInput
from annotate.fields import MAX_VOTES, count_in, flag_in, number_in, required, short, strength_in, text_in, time_in
from annotate.messages import Message, Messages, as_messages, digest, to_dicts

Kind = Literal["votes", "preferences", "prompts", "pairs"]
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
        Answer(_answer(row, "response_a"), text_in(row, "model_a")),
        Answer(_answer(row, "response_b"), text_in(row, "model_b")),
    )
    annotator = required(row, "annotator").strip()
    if not annotator:
        raise BadInput("annotator: empty")
    preference = required(row, "preference")
    rankings = {"a": ((0,), (1,)), "b": ((1,), (0,)), "tie": ((0, 1),)}
    if preference not in rankings:
        raise BadInput(f"preference: expected a, b or tie, found {short(preference)}")
    acceptable = flag_in(row, "acceptable_a"), flag_in(row, "acceptable_b")
    seconds = number_in(row, "task_seconds", high=2_000_000)
    vote = Vote(
        annotator=annotator,
        ranking=rankings[preference],
        shown=(1, 0) if flag_in(row, "shown_swapped") else (0, 1),
        strength=strength_in(row),
        rationale=text_in(row, "rationale"),
        acceptable=acceptable,
        active_ms=None if seconds is None else round(seconds * 1000),
        submitted_at=time_in(row, "submitted_at"),
    )
    return Ballot(prompt, answers, (vote,), text_in(row, "source"), _objective(row))


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
    source = text_in(row, "source")
    counts = [count_in(row, name) for name in ("votes_chosen", "votes_rejected", "votes_tie")]
    if all(count is None for count in counts):
        counts = [1, 0, 0]
    votes = [count or 0 for count in counts]
    if not 0 < sum(votes) <= MAX_VOTES:
        raise BadInput(f"the row holds {sum(votes)} votes, expected 1 to {MAX_VOTES}")
    strength = number_in(row, "strength", high=3)
    left = number_in(row, "chosen_shown_left", high=1)
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
    answers = (Answer(chosen, text_in(row, "chosen_model")), Answer(rejected, text_in(row, "rejected_model")))
    return Ballot(prompt, answers, ballots, source, _objective(row))


def parse_set(row: Mapping[str, Any]) -> Ballot:
    """k >= 2 responses to one prompt, to be labelled: {prompt, responses: [text, text, ...]}.

    A response may also be {text, model}, or `models` a list beside `responses`.
    Raises BadInput saying which field is wrong.
    """
    prompt = _prompt(row)
    responses, models = row.get("responses"), row.get("models")
    if not isinstance(responses, list) or not 2 <= len(responses) <= MAX_RESPONSES:
        raise BadInput(f"responses: expected a list of 2 to {MAX_RESPONSES} texts, found {short(responses)}")
    if models is None:
        models = [""] * len(responses)
    if not isinstance(models, list) or len(models) != len(responses):
        raise BadInput(f"models: expected a list of {len(responses)} names, found {short(models)}")
    answers = []
    for place, (response, model) in enumerate(zip(responses, models, strict=True), 1):
        fields = response if isinstance(response, Mapping) else {"text": response, "model": model}
        if not isinstance(fields.get("text"), str):
            raise BadInput(f"responses: the entry {place} is not text")
        answers.append(Answer(fields["text"], text_in(fields, "model")))
    texts = [" ".join(answer.text.split()) for answer in answers]
    if len(set(texts)) < len(texts):
        raise BadInput("responses: two of them are the same, so there is nothing to compare")
    return Ballot(prompt, tuple(answers), (), text_in(row, "source"), _objective(row))


def parse_prompt(row: Mapping[str, Any]) -> Messages:
    """The prompt of a row: {prompt: text | [messages]}, {messages}, {text}, or {instruction, input?}, the first found.

    Of a conversation that ends with the assistant's turns, these are left out: they are its answer.
    Raises BadInput saying which field is wrong.
    """
    for name in ("prompt", "messages", "text", "instruction"):
        if row.get(name) is None:
            continue
        value = row[name]
        if name == "instruction" and text_in(row, "input"):
            value = f"{required(row, name)}\n\n{text_in(row, 'input')}"
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
    if texts[0] == texts[1] and text_in(row, "chosen_model") == text_in(row, "rejected_model"):
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
        raise BadInput(f"{name}: {'missing' if value is None else f'expected text, found {short(value)}'}")
    return value


def _objective(row: Mapping[str, Any]) -> str:
    value = text_in(row, "objective") or OBJECTIVES[0]
    if value not in OBJECTIVES:
        raise BadInput(f"objective: expected {' or '.join(OBJECTIVES)}, found {short(value)}")
    return value


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
