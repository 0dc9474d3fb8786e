"""What rows of the plain forms mean: prompts, single votes, preference pairs and sets to be labelled.

Pure: no files, no database; a row in, a Ballot or a prompt out. readers.py yields the rows, imports.py and prompts.py
store what comes out; the forms of others stand in rankings.py, labelstudio.py and argilla.py.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from annotate.ballots import (
    HH_START,
    MAX_RESPONSES,
    Answer,
    Ballot,
    Vote,
    answer_in,
    ends_with_user,
    hh_turns,
    is_transcript,
    messages_in,
    objective_in,
    one_turn,
    prompt_in,
)
from annotate.errors import BadInput
from annotate.fields import MAX_VOTES, count_in, flag_in, number_in, required, short, strength_in, text_in, time_in
from annotate.messages import Message, Messages, digest, to_dicts

Kind = Literal["votes", "preferences", "prompts", "pairs"]


def parse_vote(row: Mapping[str, Any]) -> Ballot:
    """One vote: {prompt, response_a, response_b, annotator, preference: a|b|tie}, as people gave it.

    Optional: model_a, model_b; shown_swapped (true: b was shown first; absent: a was); strength clear|slight or 1-3;
    rationale; acceptable_a, acceptable_b (yes|no or true|false); submitted_at (ISO 8601, UTC without a zone, or seconds
    since 1970); task_seconds (kept as the label's active time, of which it is an upper bound); source; objective.
    Raises BadInput saying which field is wrong.
    """
    prompt = prompt_in(row)
    answers = (
        Answer(answer_in(row, "response_a"), text_in(row, "model_a")),
        Answer(answer_in(row, "response_b"), text_in(row, "model_b")),
    )
    annotator = required(row, "annotator").strip()
    if not annotator:
        raise BadInput("annotator: empty")
    preference = required(row, "preference")
    rankings = {"a": ((0,), (1,)), "b": ((1,), (0,)), "tie": ((0, 1),)}
    if preference not in rankings:
        raise BadInput(f"preference: expected a, b or tie, found {short(preference)}")
    asked = flag_in(row, "acceptable_a"), flag_in(row, "acceptable_b")
    acceptable = {place: flag for place, flag in enumerate(asked) if flag is not None}
    seconds = number_in(row, "task_seconds", high=2_000_000)
    vote = Vote(
        annotator=annotator,
        ranking=rankings[preference],
        shown=(1, 0) if flag_in(row, "shown_swapped") else (0, 1),
        strength=strength_in(row),
        rationale=text_in(row, "rationale"),
        both_bad=asked == (False, False),
        criteria={"acceptable": acceptable} if acceptable else {},
        active_ms=None if seconds is None else round(seconds * 1000),
        submitted_at=time_in(row, "submitted_at"),
    )
    return Ballot(prompt, answers, (vote,), text_in(row, "source"), objective_in(row))


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
    return Ballot(prompt, answers, ballots, source, objective_in(row))


def parse_set(row: Mapping[str, Any]) -> Ballot:
    """k >= 2 responses to one prompt, to be labelled: {prompt, responses: [text, text, ...]}.

    A response may also be {text, model}, or `models` a list beside `responses`.
    Raises BadInput saying which field is wrong.
    """
    prompt = prompt_in(row)
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
    return Ballot(prompt, tuple(answers), (), text_in(row, "source"), objective_in(row))


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
        messages = messages_in(value, name)
        if name == "messages":
            while messages and messages[-1].role == "assistant":
                messages = messages[:-1]
        return ends_with_user(messages, name)
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
        head = ends_with_user(chosen[:shared], "the turns that chosen and rejected share")
        return head, one_turn(chosen[shared:], "chosen"), one_turn(rejected[shared:], "rejected")
    head = prompt_in(row)
    texts = []
    from_transcript = is_transcript(prompt)
    for side, name in zip(sides, ("chosen", "rejected"), strict=True):
        if isinstance(side, str) and not side.startswith(HH_START):
            texts.append(side.strip() if from_transcript else side)
            continue
        turns = hh_turns(side) if isinstance(side, str) else messages_in(side, name)
        texts.append(one_turn(turns[len(head) :] if turns[: len(head)] == head else turns, name))
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
    return messages_in(side, name)


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
