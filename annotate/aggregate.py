"""From votes to preferences: all judgments of a pair become one Preference per two responses.

How they are frozen into files is snapshot.py's business; whom of the annotators to believe is not asked here.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, groupby
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session, col, select

from annotate.campaign import BINS, RESERVED
from annotate.edits import MODEL, edit_id
from annotate.media import images_in
from annotate.messages import Message, as_messages
from annotate.preference import Preference, Rating, Split
from annotate.queue import current_labels
from annotate.tables import Label, Pair, PairResponse, Prompt, Response

PAGE = 500
"""Pairs whose texts are held in memory at a time."""


class SnapshotSection(BaseModel):
    """Which labelled pairs become preferences, and how sure their votes make them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_votes: int = Field(default=1, ge=1)
    """Labels that a pair needs to become a preference."""
    ties: Literal["keep", "drop"] = "keep"
    """Whether pairs without a winner (soft target 0.5) are kept."""
    smoothing: float = Field(default=0.0, ge=0)
    """Votes added to each side before the soft target is taken: 1 makes a single clear vote 0.67 instead of 1."""
    objective: Literal["helpful", "safe"] | None = None
    """Takes only pairs that were judged for this; null takes all, each row says which."""


@dataclass(frozen=True)
class JudgedPair:
    """A pair with its prompt, its responses in canonical order, and the effective labels on it, by uuid."""

    pair: Pair
    prompt: Prompt
    responses: tuple[Response, ...]
    labels: tuple[Label, ...]


@dataclass
class Comparison:
    """What the labels of a pair say about two of its responses; `first` comes first in canonical order."""

    first: Response
    second: Response
    is_edit: bool = False
    """Whether one of them is a rewritten response, which was never shown to anybody else."""
    outcomes: list[int] = field(default_factory=list)
    """1 first is better, -1 second is better, 0 a tie; one a label."""
    sizes: list[int] = field(default_factory=list)
    """How many comparisons each of these labels makes."""
    strengths: list[int] = field(default_factory=list)
    first_left: list[bool] = field(default_factory=list)

    @property
    def is_identical(self) -> bool:
        """Whether both responses are the same text, so that a preference between them teaches nothing."""
        return self.first.text == self.second.text


def judged_pairs(
    session: Session, round: int | None = None, *, gold: bool = False, objective: str | None = None
) -> Iterator[JudgedPair]:
    """Every pair with effective labels, ordered by id: of all rounds, or up to one; gold pairs only when asked for.

    objective: leaves out pairs that were judged for another one.
    """
    labels = current_labels(session, up_to=round, by_pair=True, gold=gold)
    pages = groupby(labels, key=lambda label: label.pair_id)
    page: dict[str, tuple[Label, ...]] = {}

    def whole() -> Iterator[JudgedPair]:
        found = _with_texts(session, page)
        return (judged for judged in found if objective is None or judged.pair.objective == objective)

    for pair, on_pair in pages:
        page[pair] = tuple(sorted(on_pair, key=lambda label: label.uuid))  # no clock decides the order
        if len(page) == PAGE:
            yield from whole()
            page = {}
    yield from whole()


def comparisons(judged: JudgedPair) -> list[Comparison]:
    """For each two responses of a pair, what its labels say about them; one for a pair, k(k-1)/2 for k.

    What a label makes of a response is a response too: better than the one it came from and those that are no better.
    """
    found = [Comparison(first, second) for first, second in combinations(judged.responses, 2)]
    by_ids = {(two.first.id, two.second.id): two for two in found}
    alone = len(found) == 1
    for label in judged.labels:
        place = {response: rank for rank, tied in enumerate(label.ranking) for response in tied}
        shown = {response: at for at, response in enumerate(label.order_shown)}
        edited = _edited(judged, label, place)
        size = len(found) + len(edited)
        for two in found:
            first, second = two.first.id, two.second.id
            outcome = (place[first] < place[second]) - (place[first] > place[second])
            two.outcomes.append(outcome)
            two.sizes.append(size)
            if label.strength is not None and alone:  # of a longer ranking it says nothing about two
                two.strengths.append(outcome * abs(label.strength))
            if first in shown and second in shown:
                two.first_left.append(shown[first] < shown[second])
        for better, worse in edited:
            two = by_ids.setdefault((better.id, worse.id), Comparison(better, worse, is_edit=True))
            two.outcomes.append(1)
            two.sizes.append(size)
    return [*found, *(two for _, two in sorted(by_ids.items()) if two.is_edit)]


def _edited(judged: JudgedPair, label: Label, place: Mapping[str, int]) -> list[tuple[Response, Response]]:
    """What a label's edits are better than: the response they came from, and all that were ranked no higher."""
    by_id = {response.id: response for response in judged.responses}
    found = []
    for origin, words in sorted(label.edited.items()):
        if origin in by_id and words.strip() and words != by_id[origin].text:
            identity = edit_id(judged.prompt.id, words)
            edit = Response(
                id=identity,
                prompt_id=judged.prompt.id,
                text=words,
                model=MODEL,
                sampling={},
                source="edit",
                created_at=0,
            )
            found += [(edit, response) for response in judged.responses if place[response.id] >= place[origin]]
    return found


def preferences(judged: JudgedPair, section: SnapshotSection) -> list[Preference]:
    """The preferences of one pair, those left out by the section not among them.

    soft_target: share of the votes for the chosen side, a tie counting half for each, after smoothing.
    weight: the votes behind it, each divided by the number of comparisons that its label makes. So a label counts once,
    however many responses it ranks and edits, and a pair with five votes counts like five pairs with one: the weighted
    loss is the likelihood of the votes. The caller scales weights to mean 1.
    strength: mean over the graded votes, those for the other side negative, at least 0.
    """
    made = []
    found = comparisons(judged)
    for two in found:
        votes = len(two.outcomes)
        if len(judged.labels) < section.min_votes or two.is_identical:
            continue
        first, ties = two.outcomes.count(1), two.outcomes.count(0)
        target = (first + ties / 2 + section.smoothing) / (votes + 2 * section.smoothing)
        if target == 0.5 and section.ties == "drop":
            continue
        flip = target < 0.5
        chosen, rejected = (two.second, two.first) if flip else (two.first, two.second)
        left = _mean([shown != flip for shown in two.first_left])
        strength = _mean([-grade if flip else grade for grade in two.strengths])
        made.append(
            Preference(
                prompt=as_messages(judged.prompt.messages),
                chosen=(Message(role="assistant", content=chosen.text),),
                rejected=(Message(role="assistant", content=rejected.text),),
                soft_target=1 - target if flip else target,
                weight=sum(count / size for size, count in sorted(Counter(two.sizes).items())),
                strength=None if strength is None else max(0.0, strength),
                votes_chosen=two.outcomes.count(-1 if flip else 1),
                votes_rejected=two.outcomes.count(1 if flip else -1),
                votes_tie=ties,
                objective=judged.pair.objective,
                split=cast(Split, judged.prompt.split),
                round=judged.pair.round,
                prompt_id=judged.prompt.id,
                group=judged.prompt.group,
                pair=judged.pair.id,
                chosen_id=chosen.id,
                rejected_id=rejected.id,
                chosen_model=chosen.model,
                rejected_model=rejected.model,
                chosen_ratings=_ratings(judged, chosen.id),
                rejected_ratings=_ratings(judged, rejected.id),
                chosen_acceptable=_mean(_said(judged, "acceptable", chosen.id)),
                rejected_acceptable=_mean(_said(judged, "acceptable", rejected.id)),
                chosen_safety=_safety(_said(judged, "safety", chosen.id)),
                rejected_safety=_safety(_said(judged, "safety", rejected.id)),
                chosen_shown_left=left,
                propensity=judged.pair.propensity,
                annotators=tuple(sorted({label.annotator_id for label in judged.labels})),
                labels=tuple(sorted(label.uuid for label in judged.labels)),
                source=judged.pair.source or judged.prompt.source,
            )
        )
    return made


def _said(judged: JudgedPair, name: str, response: str) -> list[Any]:
    """What the labels answered to a question about one response."""
    answers = [label.criteria.get(name) for label in judged.labels]
    return [answer[response] for answer in answers if isinstance(answer, dict) and response in answer]


def _ratings(judged: JudgedPair, response: str) -> tuple[Rating, ...]:
    names = {name for label in judged.labels for name in label.criteria} - set(RESERVED)
    found = []
    for name in sorted(names):
        values = [float(one) for one in _said(judged, name, response) if isinstance(one, bool | int | float)]
        if values:
            found.append(Rating(name=name, mean=sum(values) / len(values), votes=len(values)))
    return tuple(found)


def _safety(bins: list[Any]) -> str | None:
    """The median bin, the less safe one of two."""
    known = sorted(BINS.index(one) for one in bins if one in BINS)
    return BINS[known[len(known) // 2]] if known else None


@dataclass
class Totals:
    """How many comparisons there are, what becomes of them, and what the preferences weigh together."""

    labels: int = 0
    preferences: int = 0
    weight: float = 0.0
    identical: int = 0
    too_few: int = 0
    ties_dropped: int = 0
    images: bool = False
    """Whether any prompt shows one."""

    @property
    def scale(self) -> float:
        """What the preferences' weights are multiplied by to have mean 1."""
        return self.preferences / self.weight if self.weight else 1.0


def totals(session: Session, section: SnapshotSection, round: int | None = None) -> Totals:
    """Go over all judged pairs once, keeping none."""
    found = Totals()
    for judged in judged_pairs(session, round, objective=section.objective):
        made = preferences(judged, section)
        pairs = comparisons(judged)
        identical = sum(two.is_identical for two in pairs)
        too_few = 0 if len(judged.labels) >= section.min_votes else len(pairs) - identical
        found.images = found.images or any(True for _ in images_in(judged.prompt.messages))
        found.labels += len(judged.labels)
        found.preferences += len(made)
        found.weight += sum(preference.weight for preference in made)
        found.identical += identical
        found.too_few += too_few
        found.ties_dropped += len(pairs) - len(made) - identical - too_few
    return found


def _mean(values: list[bool] | list[int]) -> float | None:
    return sum(values) / len(values) if values else None


def _with_texts(session: Session, page: Mapping[str, tuple[Label, ...]]) -> Iterator[JudgedPair]:
    if not page:
        return
    pairs = session.exec(select(Pair).where(col(Pair.id).in_(page)).order_by(col(Pair.id))).all()
    prompts = {
        row.id: row for row in session.exec(select(Prompt).where(col(Prompt.id).in_({p.prompt_id for p in pairs})))
    }
    query = (
        select(PairResponse.pair_id, Response)
        .join(Response, col(Response.id) == col(PairResponse.response_id))
        .where(col(PairResponse.pair_id).in_(page))
        .order_by(col(PairResponse.pair_id), col(PairResponse.position))
    )
    responses: dict[str, list[Response]] = {}
    for pair_id, response in session.exec(query):
        responses.setdefault(pair_id, []).append(response)
    for pair in pairs:
        yield JudgedPair(pair, prompts[pair.prompt_id], tuple(responses[pair.id]), page[pair.id])
