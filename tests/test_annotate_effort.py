"""What the progress page says: counts, pace, agreement and the forecast, by hand and by simulation."""

import math
import random

import numpy as np
import pytest
from serving import numbered, put_into_queue

from annotate import effort, queue
from annotate.ledger import Ledger
from annotate.queue import Judgment

HOUR = 3600.0
NOW = 1_000_000 * HOUR + 1800


def join_in(ledger: Ledger, *names: str) -> None:
    ledger.write(lambda session: [queue.register(session, name) for name in names])


def judge(ledger: Ledger, who: str, at: float, number: int, best: int = 0, **more: object) -> str:
    """One judgment of `who`; best: which response in the order of ids comes first."""
    task = queue.claim(ledger, who, now=at)[0]
    ids = sorted(response.id for response in task.responses)
    ranking = ((ids[best],), (ids[1 - best],))
    if more.get("flags"):
        more["flags"] = ("unsafe", f"nonsense@{ids[0]}")
    uuid = f"{who}-{number:08d}"
    queue.submit(ledger, who, Judgment(uuid=uuid, slot=task.slot, ranking=ranking, **more), now=at)  # type: ignore[arg-type]
    return uuid


def test_the_report_counts_what_counts(any_ledger: Ledger) -> None:
    """Two people, one pair each way: ann 4 s, 8 s; bob 6 s, one of ann's two is undone, bob skips one.

    Left: 2 pairs x 2 slots - 2 labels = 2, at a mean of (4 + 6) / 2 = 5 s each: 10 s of work.
    """
    put_into_queue(any_ledger, numbered(2), overlap=2)
    join_in(any_ledger, "ann", "bob")
    judge(any_ledger, "ann", NOW - 2 * HOUR, 1, active_ms=4000, flags=True)
    undone = judge(any_ledger, "ann", NOW - HOUR, 2, active_ms=8000)
    queue.undo(any_ledger, "ann", undone, now=NOW - HOUR + 1)
    judge(any_ledger, "bob", NOW - HOUR, 1, active_ms=6000)
    task = queue.claim(any_ledger, "bob", now=NOW)[0]
    queue.skip(any_ledger, "bob", task.slot, "bob-skips-it", "unclear", now=NOW)
    with any_ledger.read() as session:
        found = effort.report(session, now=NOW)
    assert (found.counts.have, found.counts.need) == (2, 4)
    assert found.median_ms == 5000 and found.recent == 2
    assert found.person_hours.mean == pytest.approx(10 / 3600)
    assert found.skips == [("unclear", 1)]
    assert found.flags == [("unsafe", 1), ("nonsense", 1)]
    assert [(one.id, one.labels, one.skips, one.median_ms) for one in found.people] == [
        ("ann", 1, 0, 4000),
        ("bob", 1, 1, 6000),
    ]
    assert found.people[0].last_at == pytest.approx(NOW - HOUR + 1)


def test_hours_are_counted_by_the_clock_and_the_running_one_comes_last(any_ledger: Ledger) -> None:
    put_into_queue(any_ledger, numbered(6))
    join_in(any_ledger, "ann")
    for number, hours in enumerate((0.1, 0.2, 1, 2, 2, 24.4)):
        judge(any_ledger, "ann", NOW - hours * HOUR, number)
    with any_ledger.read() as session:
        hourly = effort.labels_per_hour(session, NOW)
    assert len(hourly) == effort.HOURS + 1
    assert hourly[-3:] == [2, 1, 2] and hourly[0] == 1 and sum(hourly) == 6


def test_agreement_is_of_pairs_with_two_votes(any_ledger: Ledger) -> None:
    """Three pairs, two votes each; of one the votes differ: 2 of 3 agree."""
    put_into_queue(any_ledger, numbered(3), overlap=2)
    join_in(any_ledger, "ann", "bob")
    odd = ""
    for who in ("ann", "bob"):
        for number in range(3):
            task = queue.claim(any_ledger, who, now=NOW)[0]
            ids = sorted(response.id for response in task.responses)
            odd = odd or task.pair
            if who == "bob" and task.pair == odd:
                ids.reverse()
            said = Judgment(uuid=f"{who}-{number:08d}", slot=task.slot, ranking=((ids[0],), (ids[1],)))
            queue.submit(any_ledger, who, said, now=NOW)
    with any_ledger.read() as session:
        found = effort.report(session, now=NOW)
    assert found.compared == 3
    assert found.agreement.mean == pytest.approx(2 / 3)


def test_a_steady_pace_is_carried_on() -> None:
    assert effort.forecast(100, [10] * 24) == (10.0, 10.0, 10.0)
    assert effort.forecast(5, [0] * 20 + [10] * 4) == (0.5, 0.5, 0.5)


def test_what_is_done_needs_no_time_and_too_few_hours_say_nothing() -> None:
    assert effort.forecast(0, []) == (0.0, 0.0, 0.0)
    assert effort.forecast(9, [0] * 22 + [5, 5]) is None
    assert effort.forecast(9, [0] * 24) is None


def test_a_round_beyond_the_horizon_has_no_end() -> None:
    found = effort.forecast(1_000_000, [1, 1, 1])
    assert found is not None and math.isinf(found.hours)


def test_the_bounds_of_the_forecast_hold_as_often_as_they_say() -> None:
    """60 worlds with 24 hours seen at a Poisson pace: the true time lies inside about 95% of the time."""
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(60):
        pace = rng.uniform(2, 40)
        left = random.Random(int(pace * 1e6)).randint(20, 600)
        found = effort.forecast(left, [int(one) for one in rng.poisson(pace, 24)])
        assert found is not None
        true = rng.gamma(left, 1 / pace)
        inside += found.low <= true <= found.high
    assert inside >= 54
