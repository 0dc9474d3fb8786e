"""How labelling goes: labels per hour, time per label, who did what, agreement so far, and when a round will be done.

Costs the same at a million labels: counts come from the tallies and an index, the rest from the newest RECENT rows.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Integer, Row, cast, func
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from annotate.quality import agreement_interval, krippendorff_alpha
from annotate.statistics import Interval, clustered_bootstrap
from annotate.tables import Annotator, Identity, Label, Pair, Prompt, Tally
from annotate.tally import Counts, progress

RECENT = 2000
"""Newest rows that shares and medians are taken from."""
COMPARED = 1000
"""Newest pairs among those rows that agreement is taken from: its interval costs by the pair."""
HOURS = 24
"""Hours that the rate is taken from, the running one left out."""
MOST_HOURS = 60 * 24
"""What a forecast looks ahead at most."""
SEED = 0


class Forecast(NamedTuple):
    """Hours until the round is done, with the bounds of a 95% interval; infinite beyond MOST_HOURS."""

    hours: float
    low: float
    high: float


class Work(NamedTuple):
    """One person's share: labels and skips in all rounds, time per label lately (ms), and when they last worked."""

    id: str
    name: str
    active: bool
    labels: int
    skips: int
    median_ms: float | None
    last_at: float | None


class Report(NamedTuple):
    """All of it at once; see the functions below. hourly: labels in each of the last HOURS hours, the running last."""

    counts: Counts
    hourly: list[int]
    recent: int
    median_ms: float | None
    agreement: Interval
    alpha: float
    compared: int
    skips: list[tuple[str, int]]
    flags: list[tuple[str, int]]
    people: list[Work]
    forecast: Forecast | None
    person_hours: Interval


def report(session: Session, *, now: float | None = None) -> Report:
    """How labelling stands: counts of the newest round, everything else of the newest RECENT rows of any round."""
    at = time.time() if now is None else now
    counts = progress(session)
    rows = _recent(session)
    judged = [row for row in rows if row.skip_reason is None]
    timed = [row for row in judged if row.active_ms is not None]
    hourly = labels_per_hour(session, at)
    left = max(0, counts.need - counts.have)
    votes = _votes(session, list(dict.fromkeys(row.pair_id for row in judged))[:COMPARED])
    several = [(outcomes, prompt) for outcomes, prompt in votes if len(outcomes) > 1]
    agreement = agreement_interval([one for one, _ in several], [prompt for _, prompt in several], SEED)
    per_label = clustered_bootstrap([row.active_ms for row in timed], [row.annotator_id for row in timed], SEED)
    hours = Interval(*(left * value / 3.6e6 for value in per_label))
    return Report(
        counts=counts,
        hourly=hourly,
        recent=len(judged),
        median_ms=median(row.active_ms for row in timed) if timed else None,
        agreement=agreement,
        alpha=krippendorff_alpha([one for one, _ in several]),
        compared=len(several),
        skips=Counter(row.skip_reason for row in rows if row.skip_reason is not None).most_common(),
        flags=Counter(flag.split("@")[0] for row in judged for flag in row.flags).most_common(),
        people=_people(session, timed),
        forecast=forecast(left, hourly[:-1]),
        person_hours=hours,
    )


def totals(session: Session) -> tuple[int, int]:
    """How many labels count, and how many prompts there are."""
    labels = session.exec(select(func.coalesce(func.sum(Tally.labels), 0))).one()
    return int(labels), session.exec(select(func.count(col(Prompt.id)))).one()


def labels_per_hour(session: Session, now: float) -> list[int]:
    """Labels made in each of the last HOURS whole hours, oldest first, and in the running one; revisions count too."""
    first = int(now // 3600) - HOURS
    hour = cast(func.floor(col(Label.created_at) / 3600), Integer)
    query = (
        select(hour, func.count())
        .where(
            col(Label.created_at) >= first * 3600,
            col(Label.skip_reason).is_(None),
            col(Label.retracted).is_(False),
        )
        .group_by(hour)
    )
    found = dict(session.exec(query).all())
    return [found.get(first + place, 0) for place in range(HOURS + 1)]


def forecast(left: int, hourly: Sequence[int]) -> Forecast | None:
    """When `left` labels more will be in at the pace of these hours; None where they say too little.

    Hours before the first label are left out. Each of 1000 futures draws its own set of those hours, as what was seen
    is itself chance, and walks through hours drawn from that set until the labels are there.
    """
    worked = list(hourly[next((place for place, count in enumerate(hourly) if count), len(hourly)) :])
    if left <= 0:
        return Forecast(0.0, 0.0, 0.0)
    if len(worked) < 3:
        return None
    rng = np.random.default_rng(SEED)
    horizon = min(MOST_HOURS, 1 + int(4 * left / (sum(worked) / len(worked))))
    seen = rng.choice(np.array(worked), size=(1000, len(worked)))
    walk = np.cumsum(np.take_along_axis(seen, rng.integers(len(worked), size=(1000, horizon)), axis=1), axis=1)
    done = walk[:, -1] >= left
    last = np.argmax(walk >= left, axis=1)
    before = np.where(last > 0, walk[np.arange(len(walk)), np.maximum(last - 1, 0)], 0)
    inside = (left - before) / np.maximum(walk[np.arange(len(walk)), last] - before, 1)
    hours = np.where(done, last + inside, np.inf)
    low, middle, high = np.quantile(hours, [0.025, 0.5, 0.975], method="nearest")
    return Forecast(float(middle), float(low), float(high))


def _recent(session: Session) -> Sequence[Row[Any]]:
    """The newest judgments and skips that were not taken back, newest first."""
    query = (
        select(  # type: ignore[call-overload]
            Label.pair_id, Label.annotator_id, Label.active_ms, Label.skip_reason, Label.flags, Label.created_at
        )
        .where(col(Label.retracted).is_(False), _counts())
        .order_by(col(Label.created_at).desc(), col(Label.uuid).desc())
        .limit(RECENT)
    )
    return list(session.exec(query))


def _counts() -> Any:
    later = aliased(Label)
    return ~select(later.uuid).where(later.supersedes == Label.uuid).exists()


def _votes(session: Session, pairs: list[str]) -> list[tuple[list[int], str]]:
    """What the labels on these pairs say about each two of its responses (1, 0, -1), with the pair's prompt."""
    found: dict[tuple[str, str, str, str], list[int]] = defaultdict(list)
    for start in range(0, len(pairs), 500):
        query = (
            select(Label.pair_id, Pair.prompt_id, Label.ranking)
            .join(Pair, col(Pair.id) == col(Label.pair_id))
            .where(
                col(Label.pair_id).in_(pairs[start : start + 500]),
                col(Label.retracted).is_(False),
                col(Label.skip_reason).is_(None),
                _counts(),
            )
            .order_by(col(Label.pair_id), col(Label.uuid))
        )
        for pair, prompt, ranking in session.exec(query):
            place = {response: rank for rank, tied in enumerate(ranking) for response in tied}
            for one, other in combinations(sorted(place), 2):
                outcome = (place[one] < place[other]) - (place[one] > place[other])
                found[pair, prompt, one, other].append(outcome)
    return [(outcomes, prompt) for (_, prompt, _, _), outcomes in found.items()]


def _people(session: Session, timed: Sequence[Row[Any]]) -> list[Work]:
    """Everybody who labelled or skipped something, the most labels first."""
    lately: dict[str, list[int]] = defaultdict(list)
    for row in timed:
        lately[row.annotator_id].append(row.active_ms)
    last = select(func.max(Label.created_at)).where(Label.annotator_id == Annotator.id).scalar_subquery()
    labels, skips = func.sum(Tally.labels), func.sum(Tally.skips)
    query = (
        select(Annotator.id, Identity.name, Annotator.active, labels, skips, last)  # type: ignore[call-overload]
        .join(Tally, col(Tally.annotator_id) == col(Annotator.id))
        .join(Identity, col(Identity.annotator_id) == col(Annotator.id), isouter=True)
        .group_by(Annotator.id, Identity.name, Annotator.active)
        .order_by(labels.desc(), col(Annotator.id))
    )
    return [
        Work(person, name or person, active, int(count), int(skipped), median(times) if times else None, last_at)
        for person, name, active, count, skipped, last_at in session.exec(query)
        for times in [lately.get(person)]
    ]
