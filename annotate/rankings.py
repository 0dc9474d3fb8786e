"""Rows that judge two or more responses by ranking, rating or grade: our own votes, HelpSteer's and UltraFeedback's.

Pure, as formats.py: a row in, a Ballot out.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from annotate.ballots import (
    MAX_RESPONSES,
    Answer,
    Ballot,
    Vote,
    answer_in,
    ends_with_user,
    graded,
    messages_in,
    objective_in,
    prompt_in,
    ranked,
)
from annotate.errors import BadInput
from annotate.fields import flag_in, grade_in, number_in, required, short, text_in, time_in
from annotate.messages import Message, Messages, digest
from annotate.readers import Row

_UUID = re.compile(r"[0-9A-Za-z_-]{8,64}")
ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
"""HelpSteer's, each 0 to 4; the first says which response is better."""


def parse_ranking(row: Mapping[str, Any]) -> Ballot:
    """One vote over k responses, as `export --what votes` writes it: {prompt, responses, ranking, annotator}.

    responses: texts, or {id?, text, model?}; ranking: lists of their ids (of their positions from 0, without ids),
    best first, ties sharing a list. Optional: order_shown, strength -3 to 3, both_bad, criteria, rationale, edited,
    flags, guideline, active_ms, created_at, uuid, objective, source.
    Raises BadInput saying which field is wrong.
    """
    prompt, (answers, places) = prompt_in(row), _named(row)
    annotator = required(row, "annotator")
    if not annotator.strip():
        raise BadInput("annotator: empty")
    ranking = _list(row, "ranking")
    if not all(isinstance(tied, list) and tied for tied in ranking):
        raise BadInput("ranking: expected lists of responses, best first")
    tiers = tuple(tuple(_place(places, one, "ranking") for one in tied) for tied in ranking)
    if sorted(place for tied in tiers for place in tied) != list(range(len(answers))):
        raise BadInput("ranking: expected every response exactly once")
    shown = tuple(_place(places, one, "order_shown") for one in _list(row, "order_shown", ()))
    if len(set(shown)) < len(shown):
        raise BadInput("order_shown: a response appears twice")
    uuid = text_in(row, "uuid")
    if uuid and not _UUID.fullmatch(uuid):
        raise BadInput("uuid: expected 8 to 64 letters, digits, '-' or '_'")
    active = number_in(row, "active_ms", high=2**31 - 1)
    vote = Vote(
        annotator=annotator,
        ranking=tiers,
        shown=shown,
        strength=grade_in(row, "strength"),
        both_bad=bool(flag_in(row, "both_bad")),
        criteria={name: _by_place(places, value) for name, value in _object(row, "criteria").items()},
        rationale=text_in(row, "rationale"),
        edited={_place(places, one, "edited"): text for one, text in _texts(row, "edited").items()},
        flags=tuple(_flag(places, flag) for flag in _list(row, "flags", ())),
        active_ms=None if active is None else round(active),
        submitted_at=time_in(row, "created_at"),
        guideline=text_in(row, "guideline") or None,
        uuid=uuid,
    )
    return Ballot(prompt, answers, (vote,), text_in(row, "source"), objective_in(row))


def parse_ratings(row: Mapping[str, Any]) -> Ballot:
    """k rated responses: {prompt or instruction, responses or generations, ratings: [number, ...]}, higher is better.

    Optional: models or model_names, rationales, annotator (otherwise a stand-in named "source#1"), objective, source.
    Raises BadInput saying which field is wrong.
    """
    name = "generations" if row.get("responses") is None else "responses"
    texts, ratings = _list(row, name), _list(row, "ratings")
    models = _list(row, "models" if row.get("model_names") is None else "model_names", [""] * len(texts))
    if not len(texts) == len(ratings) == len(models):
        raise BadInput(f"ratings: {len(texts)} {name} have {len(ratings)} ratings and {len(models)} models")
    fields = [
        {"text": text, "model": model} if not isinstance(text, Mapping) else text
        for text, model in zip(texts, models, strict=True)
    ]
    scores = [_score(rating, f"ratings: the entry {place}") for place, rating in enumerate(ratings, 1)]
    reasons = [text for text in _list(row, "rationales", ()) if isinstance(text, str)]
    vote = Vote(
        annotator=text_in(row, "annotator").strip() or f"{text_in(row, 'source') or 'ratings'}#1",
        ranking=ranked(scores),
        criteria={"rating": dict(enumerate(scores))},
        rationale="\n\n".join(reasons),
    )
    return Ballot(_asked(row), _answers(fields, name), (vote,), text_in(row, "source"), objective_in(row))


def parse_ultrafeedback(row: Mapping[str, Any]) -> Ballot:
    """UltraFeedback: {instruction, completions: [{model, response, annotations, fine-grained_score, overall_score}]}.

    A completion's score is the mean of its annotations' ratings, else fine-grained_score, else overall_score.
    Raises BadInput saying which field is wrong.
    """
    completions = _list(row, "completions")
    answers, scores = [], []
    criteria: dict[str, dict[int, float]] = {}
    for place, completion in enumerate(completions):
        where = f"completions: the entry {place + 1}"
        if not isinstance(completion, Mapping) or not isinstance(completion.get("response"), str):
            raise BadInput(f"{where} has no response")
        answers.append({"text": completion["response"], "model": completion.get("model")})
        aspects = _aspects(completion.get("annotations"))
        for aspect, rating in aspects.items():
            criteria.setdefault(aspect, {})[place] = rating
        other = completion.get("fine-grained_score", completion.get("overall_score"))
        scores.append(math.fsum(aspects.values()) / len(aspects) if aspects else _score(other, f"{where}: the score"))
    vote = Vote(annotator="ultrafeedback#1", ranking=ranked(scores), criteria=criteria)
    return Ballot(_asked(row), _answers(answers, "completions"), (vote,), text_in(row, "source"), objective_in(row))


def parse_helpsteer3(row: Mapping[str, Any]) -> Ballot:
    """HelpSteer3's preferences: {context, response1, response2, individual_preference: [{score, reasoning}, ...]}.

    score: -3 (response 1 is much better) to 3; a vote each, by stand-ins; without them overall_preference is one.
    Raises BadInput saying which field is wrong.
    Source: HelpSteer3-Preference, https://arxiv.org/abs/2505.11475.
    """
    answers = Answer(answer_in(row, "response1")), Answer(answer_in(row, "response2"))
    prompt = ends_with_user(messages_in(row.get("context") or (), "context"), "context")
    given = _list(row, "individual_preference", ()) or [{"score": row.get("overall_preference")}]
    votes = _graded_votes(row, given, "individual_preference", "score", ("reasoning",), "helpsteer3")
    return Ballot(prompt, answers, votes, text_in(row, "source"), objective_in(row))


def parse_helpsteer2(row: Mapping[str, Any]) -> Ballot:
    """HelpSteer2's preferences: {prompt, response_1, response_2, preference_strength, three_most_similar_preferences}.

    strength: -3 (response 1 is much better) to 3; a vote each, by stand-ins; without them preference_strength is one.
    Turns of the prompt are parted by <extra_id_1>. Raises BadInput saying which field is wrong.
    Source: HelpSteer2-Preference, https://arxiv.org/abs/2410.01257.
    """
    answers = Answer(answer_in(row, "response_1")), Answer(answer_in(row, "response_2"))
    one = {name: row.get(f"preference_{name}") for name in ("strength", "statement", "elaboration")}
    given = _list(row, "three_most_similar_preferences", ()) or [one]
    said = ("statement", "elaboration")
    votes = _graded_votes(row, given, "three_most_similar_preferences", "strength", said, "helpsteer2")
    return Ballot(_parted(required(row, "prompt")), answers, votes, text_in(row, "source"), objective_in(row))


def parse_attributes(row: Mapping[str, Any]) -> Ballot:
    """HelpSteer and HelpSteer2: a prompt's rows {prompt, response, helpfulness, ...}, which `gathered` put together.

    The more helpful response is better; the other attributes are kept as criteria.
    Raises BadInput saying which field is wrong.
    """
    rows = _list(row, "rows")
    if len(rows) < 2:
        raise BadInput("response: the only one to its prompt, so there is nothing to compare")
    criteria: dict[str, dict[int, int]] = {}
    for place, one in enumerate(rows):
        for name in ATTRIBUTES:
            if (grade := grade_in(one, name, low=0, high=4)) is not None:
                criteria.setdefault(name, {})[place] = grade
    best = criteria.get(ATTRIBUTES[0], {})
    if len(best) < len(rows):
        raise BadInput(f"{ATTRIBUTES[0]}: missing")
    answers = _answers([{"text": answer_in(one, "response")} for one in rows], "response")
    scores = [float(best[place]) for place in range(len(rows))]
    vote = Vote(annotator="helpsteer#1", ranking=ranked(scores), criteria=criteria)
    return Ballot(_parted(required(row, "prompt")), answers, (vote,), text_in(row, "source"), objective_in(row))


def gathered(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows of single rated responses put together while their prompt is the same; other rows as they are.

    A row put together stands on the line of its first and has {prompt, rows}.
    """
    held: list[Row] = []
    for row in rows:
        alone = row.broken or not {"prompt", "response", ATTRIBUTES[0]} <= row.fields.keys()
        if held and (alone or row.fields["prompt"] != held[0].fields["prompt"] or len(held) == MAX_RESPONSES):
            yield _together(held)
            held = []
        if alone:
            yield row
        else:
            held.append(row)
    if held:
        yield _together(held)


def stand_ins(row: Mapping[str, Any], source: str, count: int) -> list[str]:
    """Names for voters who are not known, dealt in an order drawn from the row: none always agrees with the rest."""
    rng = np.random.default_rng(int(digest([source, repr(row)], 16), 16))
    return [f"{source}#{number + 1}" for number in rng.permutation(count)]


def _together(rows: list[Row]) -> Row:
    shared: dict[str, Any] = {name: rows[0].fields[name] for name in ("source", "objective") if name in rows[0].fields}
    shared |= {"prompt": rows[0].fields["prompt"], "rows": [row.fields for row in rows]}
    return Row(rows[0].line, shared)


def _graded_votes(
    row: Mapping[str, Any], given: list[Any], name: str, grade: str, said: Sequence[str], source: str
) -> tuple[Vote, ...]:
    votes = []
    for who, one in zip(stand_ins(row, text_in(row, "source") or source, len(given)), given, strict=True):
        if not isinstance(one, Mapping):
            raise BadInput(f"{name}: expected objects, found {short(one)}")
        score = grade_in(one, grade)
        if score is None:
            raise BadInput(f"{grade}: missing")
        reason = "\n\n".join(text for part in said if (text := text_in(one, part)))
        votes.append(Vote(annotator=who, ranking=graded(score), strength=abs(score), rationale=reason))
    return tuple(votes)


def _parted(prompt: str) -> Messages:
    """The turns of HelpSteer2's prompts: text, then <extra_id_1>Assistant or <extra_id_1>User and more text."""
    first, *rest = _TURN.split(prompt)
    turns = [Message(role="user", content=first)]
    for who, said in zip(rest[::2], rest[1::2], strict=True):
        turns.append(Message.model_validate({"role": who.lower(), "content": said}))
    return ends_with_user(tuple(turns), "prompt")


_TURN = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")


def _asked(row: Mapping[str, Any]) -> Messages:
    return prompt_in(row if row.get("prompt") is not None else {"prompt": row.get("instruction")})


def _named(row: Mapping[str, Any]) -> tuple[tuple[Answer, ...], dict[Any, int]]:
    """The answers of a row, and the place of each by its name."""
    responses = _list(row, "responses")
    fields = [one if isinstance(one, Mapping) else {"text": one} for one in responses]
    ids = [one.get("id") for one in fields]
    names = ids if any(one is not None for one in ids) else list(range(len(ids)))
    if not all(isinstance(one, str | int) for one in names) or len(set(names)) < len(names):
        raise BadInput("responses: each needs an id of its own, or none has one")
    return _answers(fields, "responses"), {name: place for place, name in enumerate(names)}


def _answers(fields: Sequence[Mapping[str, Any]], name: str) -> tuple[Answer, ...]:
    if not 2 <= len(fields) <= MAX_RESPONSES:
        raise BadInput(f"{name}: expected 2 to {MAX_RESPONSES} of them, found {len(fields)}")
    for place, one in enumerate(fields, 1):
        if not isinstance(one.get("text"), str):
            raise BadInput(f"{name}: the entry {place} is not text")
    return tuple(Answer(one["text"], text_in(one, "model")) for one in fields)


def _aspects(annotations: Any) -> dict[str, float]:
    """The ratings of a completion by aspect; one that is not applicable is left out."""
    found = {}
    for name, said in (annotations if isinstance(annotations, Mapping) else {}).items():
        rating = said.get("Rating") if isinstance(said, Mapping) else None
        if rating not in (None, "N/A"):
            found[name] = _score(rating, f"annotations: the rating of {name}")
    return found


def _score(value: Any, what: str) -> float:
    try:
        score = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        score = math.nan
    if not math.isfinite(score):
        raise BadInput(f"{what} is not a number: {short(value)}")
    return score


def _list(row: Mapping[str, Any], name: str, default: Sequence[Any] | None = None) -> list[Any]:
    value = row.get(name)
    if value in (None, "") and default is not None:
        return list(default)
    if not isinstance(value, list):
        raise BadInput(f"{name}: {'missing' if value is None else f'expected a list, found {short(value)}'}")
    return value


def _object(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = row.get(name)
    if value in (None, ""):
        return {}
    if not isinstance(value, Mapping):
        raise BadInput(f"{name}: expected an object, found {short(value)}")
    return value


def _texts(row: Mapping[str, Any], name: str) -> Mapping[str, str]:
    found = _object(row, name)
    for text in found.values():
        if not isinstance(text, str):
            raise BadInput(f"{name}: expected texts, found {short(text)}")
    return found


def _place(places: Mapping[Any, int], name: Any, field: str) -> int:
    place = _known(places, name)
    if place is None:
        raise BadInput(f"{field}: no response is named {short(name)}")
    return place


def _known(places: Mapping[Any, int], name: Any) -> int | None:
    """The place of a response by its name; JSON's keys are texts, so that positions may be texts too."""
    if isinstance(name, str) and name not in places and name.isdecimal() and len(name) < 3:
        name = int(name)
    return places.get(name) if isinstance(name, str | int) and not isinstance(name, bool) else None


def _by_place(places: Mapping[Any, int], value: Any) -> Any:
    """A criterion's value; one that names responses by their places."""
    if not isinstance(value, Mapping) or not value:
        return value
    found = {_known(places, name): each for name, each in value.items()}
    return value if None in found else found


def _flag(places: Mapping[Any, int], flag: Any) -> tuple[str, int | None]:
    if not isinstance(flag, str):
        raise BadInput(f"flags: expected texts, found {short(flag)}")
    word, at, name = flag.rpartition("@")
    return (word, places[name]) if at and name in places else (flag, None)
