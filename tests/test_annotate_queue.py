"""The queue in SQLite and PostgreSQL: claims, judgments, revisions, undo, skips, and many people at once."""

import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledgers import fill, judgment
from pydantic import ValidationError
from sqlalchemy import create_engine, func, text
from sqlmodel import Session, col, select

from annotate import queue, slots
from annotate.errors import BadInput, Conflict, NotAllowed, NotFound
from annotate.ledger import Ledger
from annotate.pairs import CandidatePair
from annotate.tables import Annotator, Guideline, Label, Pair, PairResponse, QueueCursor, Slot


def labels_of(ledger: Ledger) -> list[Label]:
    with ledger.read() as session:
        return list(session.exec(select(Label).order_by(col(Label.created_at), col(Label.uuid))))


def slot_of(ledger: Ledger, identity: int) -> Slot:
    with ledger.read() as session:
        found = session.get(Slot, identity)
    assert found is not None
    return found


def counts(ledger: Ledger, who: str | None = None) -> queue.Counts:
    with ledger.read() as session:
        return queue.progress(session, who)


def current(ledger: Ledger) -> list[str]:
    with ledger.read() as session:
        return [label.uuid for label in queue.current_labels(session)]


# ------------------------------------------------------------------------------------- pairs that were replaced


def test_replaced_pairs_are_set_aside_and_come_back_when_they_stand_again(any_ledger: Ledger) -> None:
    made = fill(any_ledger, 4)
    any_ledger.write(lambda session: session.connection().execute(text("UPDATE pair SET artifact_id = 'first'")))
    [judged] = queue.claim(any_ledger, "ann", 1)
    queue.submit(any_ledger, "ann", judgment(judged, "judged-before"))
    [held] = queue.claim(any_ledger, "bob", 1)
    rest = [pair for pair in made if pair not in (judged.pair, held.pair)]

    assert any_ledger.write(lambda session: queue.ask_only(session, 1, rest[:1])) == 1
    assert [task.pair for task in queue.claim(any_ledger, "cid", 9)] == rest[:1]
    assert (counts(any_ledger).have, counts(any_ledger).need, counts(any_ledger).pairs) == (1, 3, 3)
    assert queue.submit(any_ledger, "bob", judgment(held, "held-before")).stored
    assert any_ledger.write(lambda session: queue.ask_only(session, 1, rest[:1])) == 0

    assert any_ledger.write(lambda session: queue.ask_only(session, 1, made)) == 1
    assert [task.pair for task in queue.claim(any_ledger, "ann", 9)] == rest[1:]
    assert (counts(any_ledger).have, counts(any_ledger).need, counts(any_ledger).pairs) == (2, 4, 4)


def test_imported_pairs_and_other_rounds_are_never_set_aside(any_ledger: Ledger) -> None:
    fill(any_ledger, 2)
    fill(any_ledger, 2, round=2)
    any_ledger.write(
        lambda session: session.connection().execute(text("UPDATE pair SET artifact_id = 'second' WHERE round = 2"))
    )
    assert any_ledger.write(lambda session: queue.ask_only(session, 1, [])) == 0
    assert len(queue.claim(any_ledger, "ann", 9)) == 4


# ---------------------------------------------------------------------------------------------------- claims


def test_a_claimed_task_shows_the_pair_in_the_order_that_is_recorded(any_ledger: Ledger) -> None:
    fill(any_ledger, 1)
    [task] = queue.claim(any_ledger, "ann", now=1000)
    assert task.prompt == ({"role": "user", "content": "Question 0?"},)
    assert {shown.text for shown in task.responses} == {"Answer prompt-1-0-0", "Answer prompt-1-0-1"}
    assert (task.round, task.criteria, task.lease_until) == (1, ("helpful",), 1900)
    slot = slot_of(any_ledger, task.slot)
    assert slot.order_shown == [shown.id for shown in task.responses]
    assert (slot.state, slot.annotator_id, slot.lease_until) == ("leased", "ann", 1900)


def test_claiming_again_gives_the_tasks_already_held_with_a_fresh_lease(any_ledger: Ledger) -> None:
    fill(any_ledger, 5)
    held = queue.claim(any_ledger, "ann", 2, now=1000)
    more = queue.claim(any_ledger, "ann", 3, now=1500)
    assert len(more) == 3
    assert [(task.slot, task.responses) for task in more[:2]] == [(task.slot, task.responses) for task in held]
    assert {task.lease_until for task in more} == {2400}
    assert [task.slot for task in queue.claim(any_ledger, "ann", 1, now=9999)] == [held[0].slot]


def test_nobody_gets_more_tasks_than_they_asked_for(any_ledger: Ledger) -> None:
    """Neither of those whose lease ran out nor of the open ones, whatever they hold already."""
    fill(any_ledger, 9)
    assert len(queue.claim(any_ledger, "bob", 4, now=1000, lease_seconds=60)) == 4
    assert len(queue.claim(any_ledger, "ann", 1, now=1010)) == 1
    assert len(queue.claim(any_ledger, "ann", 3, now=1100)) == 3
    assert len(queue.claim(any_ledger, "ann", 7, now=1100)) == 7


def test_those_whose_lease_ran_out_come_before_open_ones_the_longest_ago_first(any_ledger: Ledger) -> None:
    fill(any_ledger, 4)
    late = queue.claim(any_ledger, "bob", now=1000, lease_seconds=90)
    early = queue.claim(any_ledger, "cid", now=1000, lease_seconds=60)
    given = queue.claim(any_ledger, "ann", 4, now=2000)
    assert [task.slot for task in given[:2]] == [early[0].slot, late[0].slot] and len(given) == 4


def test_who_is_known_stays_as_they_are(any_ledger: Ledger) -> None:
    """And who is new is there at once, in the same transaction."""

    def run(session: Session) -> tuple[Annotator, Annotator, slots.Person]:
        new = queue.register(session, "judge", kind="model", role="reviewer")
        return new, queue.register(session, "judge"), slots.person(session, "judge", 0)

    new, again, person = any_ledger.write(run)
    assert (new.kind, new.role) == (again.kind, again.role) == ("model", "reviewer") and new.created_at > 0
    assert person.id == "judge" and not person.holds


def test_everybody_may_judge_a_pair_once_and_overlap_is_exact(any_ledger: Ledger) -> None:
    fill(any_ledger, 3, overlap=2)
    for who in ("ann", "bob", "cid"):
        tasks = queue.claim(any_ledger, who, 10)
        assert len({task.pair for task in tasks}) == len(tasks)
        for task in tasks:
            queue.submit(any_ledger, who, judgment(task, f"{who}-{task.slot:06d}"))
    per_pair = Counter(label.pair_id for label in labels_of(any_ledger))
    assert sorted(per_pair.values()) == [2, 2, 2]
    assert queue.claim(any_ledger, "cid", 10) == []


def test_two_slots_of_one_pair_side_by_side_are_not_given_to_one_person(any_ledger: Ledger) -> None:
    fill(any_ledger, 2, overlap=3)
    place = {"prompt-1-0": 0, "prompt-1-1": 10}
    with any_ledger.read() as session:
        pairs = {pair.id: place[pair.prompt_id] for pair in session.exec(select(Pair))}
    for pair, priority in pairs.items():
        any_ledger.write(
            lambda session, pair=pair, priority=priority: session.connection().execute(
                text("UPDATE slot SET priority = replica + :at WHERE pair_id = :pair"), {"at": priority, "pair": pair}
            )
        )
    tasks = queue.claim(any_ledger, "ann", 6)
    assert sorted(task.pair for task in tasks) == sorted(pairs)


def test_a_lease_that_ran_out_goes_to_somebody_else(any_ledger: Ledger) -> None:
    fill(any_ledger, 1)
    [first] = queue.claim(any_ledger, "ann", now=1000, lease_seconds=60)
    assert queue.claim(any_ledger, "bob", now=1059) == []
    [second] = queue.claim(any_ledger, "bob", now=1061)
    assert second.slot == first.slot
    assert slot_of(any_ledger, first.slot).order_shown == [shown.id for shown in second.responses]
    with pytest.raises(Conflict, match="not yours"):
        queue.submit(any_ledger, "ann", judgment(first, "too-late-1"), now=1062)
    assert queue.claim(any_ledger, "ann", now=1063) == []


def test_a_judgment_after_the_lease_is_taken_when_nobody_else_has_the_slot(any_ledger: Ledger) -> None:
    fill(any_ledger, 1)
    [task] = queue.claim(any_ledger, "ann", now=1000, lease_seconds=60)
    assert queue.submit(any_ledger, "ann", judgment(task, "late-but-fine"), now=5000).stored
    assert slot_of(any_ledger, task.slot).state == "done"


def test_a_judgment_outlives_a_lease_that_a_power_loss_took_back(any_ledger: Ledger) -> None:
    fill(any_ledger, 1, overlap=2)
    [task] = queue.claim(any_ledger, "ann")
    forget = "UPDATE slot SET state = 'open', annotator_id = NULL, order_shown = NULL, lease_until = NULL"
    any_ledger.write(lambda session: session.connection().execute(text(forget)))
    queue.submit(any_ledger, "ann", judgment(task, "from-the-outbox"))
    [label] = labels_of(any_ledger)
    assert label.order_shown == [shown.id for shown in task.responses]
    other = 1 if task.slot != 1 else 2
    again = judgment(task, "second-slot-of-it").model_copy(update={"slot": other})
    with pytest.raises(Conflict, match="had this pair"):
        queue.submit(any_ledger, "ann", again)


def outbox(ledger: Ledger, who: str, pair: str, uuid: str) -> queue.Stored:
    """Judge an open slot of this pair, as a browser does whose lease a power loss took back."""
    with ledger.read() as session:
        slot = session.exec(select(Slot.id).where(Slot.pair_id == pair, Slot.state == "open").limit(1)).one()
        members = session.exec(select(PairResponse.response_id).where(PairResponse.pair_id == pair)).all()
    return queue.submit(ledger, who, queue.Judgment(uuid=uuid, slot=slot, ranking=tuple((one,) for one in members)))


def test_an_open_slot_is_for_those_who_never_had_its_pair(any_ledger: Ledger) -> None:
    """What others did with the pair, and what oneself did with other pairs, is no hindrance."""
    fill(any_ledger, 3, overlap=4)
    held, judged, skipped = queue.claim(any_ledger, "ann", 3)
    queue.submit(any_ledger, "ann", judgment(judged, "ann-judged"))
    queue.skip(any_ledger, "ann", skipped.slot, "ann-skipped", "unsure")
    for had in (held, judged, skipped):
        with pytest.raises(Conflict, match="had this pair"):
            outbox(any_ledger, "ann", had.pair, "ann-again")
    queue.claim(any_ledger, "cid")
    for number, free in enumerate((held, judged, skipped)):
        assert outbox(any_ledger, "bob", free.pair, f"bob-judged-{number}").stored


def test_newer_rounds_come_first(any_ledger: Ledger) -> None:
    fill(any_ledger, 3, round=1)
    fill(any_ledger, 2, round=2)
    assert [task.round for task in queue.claim(any_ledger, "ann", 5)] == [2, 2, 1, 1, 1]


def test_a_slots_place_is_in_the_band_of_its_round_alone() -> None:
    for round in (0, 1, 2, 9):
        places = [slots.priority(7, round, f"pair {number}", number % 3) for number in range(2000)]
        first, after = -round * slots.BAND, (1 - round) * slots.BAND
        assert first <= min(places) < first + slots.BAND / 50 and after - slots.BAND / 50 < max(places) < after


def test_pairs_added_later_are_found_by_who_has_searched_past_them(any_ledger: Ledger) -> None:
    fill(any_ledger, 4)
    assert len(queue.claim(any_ledger, "ann", 10)) == 4
    fill(any_ledger, 3, round=2)
    assert len(queue.claim(any_ledger, "ann", 10)) == 7


def test_a_search_does_not_start_over_at_pairs_already_judged(any_ledger: Ledger) -> None:
    fill(any_ledger, 30, overlap=2)
    for number in range(30):
        [task] = queue.claim(any_ledger, "ann")
        queue.submit(any_ledger, "ann", judgment(task, f"ann-{number:08d}"))
    assert queue.claim(any_ledger, "ann") == []
    with any_ledger.read() as session:
        cursor = session.get(QueueCursor, "ann")
        last = session.exec(select(func.max(Slot.priority)).where(Slot.state == "open")).one()
    assert cursor is not None and cursor.priority > last


def test_a_cursor_loses_no_slot_whatever_comes_back(any_ledger: Ledger) -> None:
    """Everybody passes everything on once: skipped slots must reach those whose search is already past them."""
    fill(any_ledger, 8, overlap=2)
    for who in ("ann", "bob", "cid"):
        while tasks := queue.claim(any_ledger, who):
            queue.skip(any_ledger, who, tasks[0].slot, f"{who}-{tasks[0].slot:06d}", "unsure")
    with any_ledger.read() as session:
        skipped = Counter(label.annotator_id for label in session.exec(select(Label)))
    assert skipped == {"ann": 8, "bob": 8, "cid": 8}
    any_ledger.write(lambda session: queue.register(session, "dan"))
    assert len(queue.claim(any_ledger, "dan", 20)) == 8


def test_a_skipped_slot_reaches_those_whose_search_has_passed_it(any_ledger: Ledger) -> None:
    fill(any_ledger, 3)
    [first] = queue.claim(any_ledger, "bob")
    assert len(queue.claim(any_ledger, "ann", 3)) == 2
    queue.skip(any_ledger, "bob", first.slot, "bob-skips", "unsure")
    assert queue.claim(any_ledger, "ann", 3)[-1].slot == first.slot


def test_skipped_tasks_come_back_in_the_order_in_which_they_were_skipped(any_ledger: Ledger) -> None:
    fill(any_ledger, 4)
    tasks = queue.claim(any_ledger, "ann", 3)
    for task in (tasks[1], tasks[2], tasks[0]):
        queue.skip(any_ledger, "ann", task.slot, f"skip-{task.slot:06d}", "unsure")
    again = queue.claim(any_ledger, "bob", 4)
    assert [task.slot for task in again[1:]] == [tasks[1].slot, tasks[2].slot, tasks[0].slot]


def test_a_late_judgment_waits_for_who_is_just_taking_the_slot(postgres_server: Callable[[], str]) -> None:
    url = postgres_server()
    with Ledger.open(url) as ledger:
        fill(ledger, 1)
        [task] = queue.claim(ledger, "ann", now=1000, lease_seconds=1)
        engine = create_engine(url)
        refused: list[Exception] = []

        def submit() -> None:
            try:
                queue.submit(ledger, "ann", judgment(task, "a-late-one"), now=2000)
            except Conflict as error:
                refused.append(error)

        with engine.connect() as other:
            other.execute(text("UPDATE slot SET annotator_id = 'bob', lease_until = 9999"))
            late = threading.Thread(target=submit)
            late.start()
            waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            with engine.connect() as watcher:
                while watcher.execute(waiting).scalar_one() == 0:
                    watcher.rollback()
            other.commit()
        late.join()
        engine.dispose()
        assert len(refused) == 1 and labels_of(ledger) == []
        assert slot_of(ledger, task.slot).annotator_id == "bob"


def test_a_slot_that_was_locked_for_a_moment_is_not_passed_for_good(postgres_server: Callable[[], str]) -> None:
    url = postgres_server()
    with Ledger.open(url) as ledger:
        fill(ledger, 3)
        with ledger.read() as session:
            slots_in_order = list(session.exec(select(Slot.id).order_by(col(Slot.priority))))
        engine = create_engine(url)
        with engine.connect() as other:
            lock = text("SELECT id FROM slot WHERE id = :slot FOR UPDATE")
            other.execute(lock, {"slot": slots_in_order[0]})
            assert [task.slot for task in queue.claim(ledger, "ann", 3)] == slots_in_order[1:]
            other.rollback()
        engine.dispose()
        assert sorted(task.slot for task in queue.claim(ledger, "ann", 3)) == sorted(slots_in_order)


def test_unknown_and_inactive_people_get_nothing(any_ledger: Ledger) -> None:
    fill(any_ledger, 1)
    [task] = queue.claim(any_ledger, "ann")
    with pytest.raises(NotFound):
        queue.claim(any_ledger, "nobody")
    for number in (0, 51):
        with pytest.raises(BadInput, match="1 to 50"):
            queue.claim(any_ledger, "ann", number)
    assert len(queue.claim(any_ledger, "ann", 50)) == 1
    queue.submit(any_ledger, "ann", judgment(task, "while-active"))

    def dismiss(session: object) -> None:
        person = session.get(Annotator, "ann")  # type: ignore[attr-defined]
        person.active = False

    any_ledger.write(dismiss)
    for attempt in (
        lambda: queue.claim(any_ledger, "ann"),
        lambda: queue.submit(any_ledger, "ann", judgment(task, "dismissed")),
        lambda: queue.skip(any_ledger, "ann", task.slot, "dismissed", "no"),
        lambda: queue.revise(any_ledger, "ann", "while-active", judgment(task, "dismissed")),
        lambda: queue.undo(any_ledger, "ann", "while-active"),
        lambda: queue.renew(any_ledger, "ann", [task.slot]),
    ):
        with pytest.raises(NotAllowed):
            attempt()
    assert current(any_ledger) == ["while-active"] and len(labels_of(any_ledger)) == 1


def test_renewing_extends_only_ones_own_leases(any_ledger: Ledger) -> None:
    fill(any_ledger, 2)
    [mine] = queue.claim(any_ledger, "ann", now=1000)
    [theirs] = queue.claim(any_ledger, "bob", now=1000)
    assert queue.renew(any_ledger, "ann", [mine.slot, theirs.slot], now=1200) == 2100
    assert slot_of(any_ledger, mine.slot).lease_until == 2100
    assert slot_of(any_ledger, theirs.slot).lease_until == 1900
    with pytest.raises(Conflict):
        queue.renew(any_ledger, "ann", [theirs.slot], now=1300)


def test_a_lease_does_not_wait_for_the_disk_and_what_people_say_does(ledger: Ledger) -> None:
    """SQLite's PRAGMA synchronous: 1 does not wait, 2 does."""
    seen: list[int] = []
    write = ledger.write

    def watched(run: Callable[[Session], object], *, durable: bool = True) -> object:
        def look(session: Session) -> object:
            seen.append(session.connection().exec_driver_sql("PRAGMA synchronous").scalar_one())
            return run(session)

        return write(look, durable=durable)

    fill(ledger, 2)
    ledger.write = watched  # type: ignore[method-assign, assignment]
    first, second = queue.claim(ledger, "ann", 2)
    queue.renew(ledger, "ann", [first.slot])
    queue.submit(ledger, "ann", judgment(first, "a-judgment"))
    queue.revise(ledger, "ann", "a-judgment", judgment(first, "a-revision"))
    queue.undo(ledger, "ann", "a-revision")
    queue.skip(ledger, "ann", second.slot, "a-skip-of-it", "unsure")
    assert seen == [1, 1, 2, 2, 2, 2]


def test_each_side_is_shown_first_equally_often_and_the_same_again(any_ledger: Ledger) -> None:
    fill(any_ledger, 400)
    tasks = queue.claim(any_ledger, "ann", 50)
    assert [slots.order_shown(11, task.pair, 0, "ann", [one.id for one in task.responses]) for task in tasks] == [
        [one.id for one in task.responses] for task in tasks
    ]
    first = [slots.order_shown(11, f"pair {number}", 0, "ann", "ab")[0] for number in range(2000)]
    assert abs(first.count("a") - 1000) < 3 * (2000 * 0.25) ** 0.5
    orders = Counter(tuple(slots.order_shown(3, f"pair {number}", 0, "ann", "abc")) for number in range(6000))
    assert len(orders) == 6 and all(abs(count - 1000) < 4 * (6000 * 5 / 36) ** 0.5 for count in orders.values())


# ------------------------------------------------------------------------------------------------- judgments


def test_a_judgment_is_stored_as_it_was_given(any_ledger: Ledger) -> None:
    fill(any_ledger, 1, k=4)
    guidelines = [Guideline(id=f"g{version}", version=version, text="Be kind", created_at=0) for version in (1, 2)]
    any_ledger.write(lambda session: session.add_all([row.model_copy() for row in guidelines]))
    [task] = queue.claim(any_ledger, "ann", now=1000)
    a, b, c, d = sorted(shown.id for shown in task.responses)
    given = queue.Judgment(
        uuid="all-of-it",
        slot=task.slot,
        ranking=((d,), (c, a), (b,)),
        strength=2,
        both_bad=True,
        criteria={"truthful": 3, "tone": "dry"},
        rationale="Ünïcode \N{PILE OF POO}, <b>verbatim</b>\n",
        edited={a: "Better"},
        flags=("slow",),
        active_ms=4321,
        source="api",
    )
    stored = queue.submit(any_ledger, "ann", given, now=1010)
    assert stored == queue.Stored(uuid="all-of-it", undo_until=1610)
    [label] = labels_of(any_ledger)
    assert label.ranking == [[d], [a, c], [b]]
    assert label.model_dump(include={"strength", "both_bad", "criteria", "rationale", "edited", "flags"}) == {
        "strength": 2,
        "both_bad": True,
        "criteria": {"truthful": 3, "tone": "dry"},
        "rationale": "Ünïcode \N{PILE OF POO}, <b>verbatim</b>\n",
        "edited": {a: "Better"},
        "flags": ["slow"],
    }
    assert (label.guideline_id, label.source, label.active_ms, label.created_at) == ("g2", "api", 4321, 1010)
    assert label.order_shown == [shown.id for shown in task.responses]


def test_the_same_judgment_again_gets_the_stored_result(any_ledger: Ledger) -> None:
    fill(any_ledger, 1)
    [task] = queue.claim(any_ledger, "ann", now=1000)
    first = queue.submit(any_ledger, "ann", judgment(task, "same-uuid"), now=1010)
    assert queue.submit(any_ledger, "ann", judgment(task, "same-uuid", active_ms=99), now=1700) == first
    assert len(labels_of(any_ledger)) == 1


def test_ties_in_another_order_are_the_same_judgment(any_ledger: Ledger) -> None:
    fill(any_ledger, 1)
    [task] = queue.claim(any_ledger, "ann")
    left, right = (shown.id for shown in task.responses)
    queue.submit(any_ledger, "ann", judgment(task, "tie-is-tie", ranking=[[left, right]]))
    queue.submit(any_ledger, "ann", judgment(task, "tie-is-tie", ranking=[[right, left]]))
    assert len(labels_of(any_ledger)) == 1


def test_a_uuid_stands_for_one_judgment_of_one_person(any_ledger: Ledger) -> None:
    fill(any_ledger, 2, overlap=2)
    mine, other = queue.claim(any_ledger, "ann", 2)
    queue.submit(any_ledger, "ann", judgment(mine, "taken-uuid"))
    [theirs] = queue.claim(any_ledger, "bob")
    with pytest.raises(Conflict, match="another judgment"):
        queue.submit(any_ledger, "ann", judgment(mine, "taken-uuid", strength=1))
    with pytest.raises(Conflict, match="another judgment"):
        queue.submit(any_ledger, "ann", judgment(other, "taken-uuid"))
    with pytest.raises(Conflict, match="another judgment"):
        queue.skip(any_ledger, "ann", other.slot, "taken-uuid", "unsure")
    with pytest.raises(NotAllowed):
        queue.submit(any_ledger, "bob", judgment(theirs, "taken-uuid"))
    assert len(labels_of(any_ledger)) == 1


def test_a_judgment_must_name_each_response_once(any_ledger: Ledger) -> None:
    fill(any_ledger, 1, k=3)
    [task] = queue.claim(any_ledger, "ann")
    a, b, c = (shown.id for shown in task.responses)
    for ranking in ([[a], [b]], [[a], [b], [c], [a]], [[a, b], [b, c]], [[a], [b], ["other"]], [[a], [], [b], [c]]):
        with pytest.raises(BadInput, match="exactly once"):
            queue.submit(any_ledger, "ann", judgment(task, "bad-ranking", ranking=ranking))
    with pytest.raises(BadInput, match="edited"):
        queue.submit(any_ledger, "ann", judgment(task, "bad-editing", edited={"other": "x"}))
    assert labels_of(any_ledger) == [] and slot_of(any_ledger, task.slot).state == "leased"


def test_slots_of_others_and_done_ones_are_refused(any_ledger: Ledger) -> None:
    fill(any_ledger, 1, overlap=2)
    [mine] = queue.claim(any_ledger, "ann")
    [theirs] = queue.claim(any_ledger, "bob")
    with pytest.raises(Conflict):
        queue.submit(any_ledger, "ann", judgment(theirs, "not-mine-1"))
    with pytest.raises(Conflict):
        queue.skip(any_ledger, "ann", theirs.slot, "not-mine-2", "unsure")
    queue.submit(any_ledger, "ann", judgment(mine, "mine-once"))
    with pytest.raises(Conflict, match="judged this task already"):
        queue.submit(any_ledger, "ann", judgment(mine, "mine-twice"))
    with pytest.raises(NotFound):
        queue.submit(any_ledger, "ann", mine_to(mine, 999))
    assert [label.uuid for label in labels_of(any_ledger)] == ["mine-once"]


def mine_to(task: queue.Task, slot: int) -> queue.Judgment:
    return judgment(task, "nowhere-1").model_copy(update={"slot": slot})


@pytest.mark.parametrize(
    "fields",
    [
        {"uuid": "short"},
        {"uuid": "undo:12345678"},
        {"uuid": "12345678\n"},
        {"slot": 0},
        {"slot": 2**63},
        {"ranking": []},
        {"strength": 4},
        {"active_ms": -1},
        {"rationale": "nul \0 byte"},
        {"rationale": "\ud800"},
        {"flags": ["nul \0"]},
        {"criteria": {"x": float("nan")}},
        {"annotator_id": "bob"},
    ],
)
def test_a_malformed_judgment_is_refused(fields: dict[str, object]) -> None:
    good = {"uuid": "12345678", "slot": 1, "ranking": [["a"], ["b"]]}
    queue.Judgment.model_validate(good)
    with pytest.raises(ValidationError):
        queue.Judgment.model_validate({**good, **fields})


# --------------------------------------------------------------------------------- revise, undo, skip, counts


def test_a_revision_supersedes_and_counts_once(any_ledger: Ledger) -> None:
    fill(any_ledger, 1)
    [task] = queue.claim(any_ledger, "ann", now=1000)
    queue.submit(any_ledger, "ann", judgment(task, "first-thought"), now=1001)
    changed = judgment(task, "second-thought", strength=3)
    stored = queue.revise(any_ledger, "ann", "first-thought", changed, now=9000)
    assert queue.revise(any_ledger, "ann", "first-thought", changed, now=9500) == stored
    with pytest.raises(Conflict, match="revised already"):
        queue.revise(any_ledger, "ann", "first-thought", judgment(task, "third-thought"), now=9001)
    queue.revise(any_ledger, "ann", "second-thought", judgment(task, "third-thought"), now=9001)
    assert current(any_ledger) == ["third-thought"]
    assert [label.supersedes for label in labels_of(any_ledger)] == [None, "first-thought", "second-thought"]
    assert counts(any_ledger, "ann").mine == counts(any_ledger).have == 1


def test_only_ones_own_judgment_of_the_same_task_is_revised(any_ledger: Ledger) -> None:
    fill(any_ledger, 3)
    one, two, three = queue.claim(any_ledger, "ann", 3)
    queue.submit(any_ledger, "ann", judgment(one, "number-one"))
    queue.skip(any_ledger, "ann", three.slot, "number-three", "unsure")
    with pytest.raises(Conflict, match="same task"):
        queue.revise(any_ledger, "ann", "number-one", judgment(two, "number-two"))
    with pytest.raises(Conflict, match="same task"):
        queue.revise(any_ledger, "ann", "number-three", judgment(three, "number-four"))
    with pytest.raises(NotAllowed):
        queue.revise(any_ledger, "bob", "number-one", judgment(one, "number-five"))
    with pytest.raises(NotFound):
        queue.revise(any_ledger, "ann", "number-six", judgment(one, "number-six"))
    with pytest.raises(BadInput, match="exactly once"):
        queue.revise(any_ledger, "ann", "number-one", judgment(one, "number-seven", ranking=[["x"]]))


def test_undo_leases_the_task_again_and_takes_the_label_back(any_ledger: Ledger) -> None:
    fill(any_ledger, 1)
    [task] = queue.claim(any_ledger, "ann", now=1000)
    queue.submit(any_ledger, "ann", judgment(task, "a-slip-of-hand"), now=1010)
    again = queue.undo(any_ledger, "ann", "a-slip-of-hand", now=1020)
    assert (again.slot, again.responses, again.lease_until) == (task.slot, task.responses, 1920)
    assert current(any_ledger) == [] and counts(any_ledger, "ann").mine == counts(any_ledger).have == 0
    assert queue.undo(any_ledger, "ann", "a-slip-of-hand", now=1030).slot == task.slot
    # The first submit, replayed late by an outbox, must not bring the label back.
    assert queue.submit(any_ledger, "ann", judgment(task, "a-slip-of-hand"), now=1040).uuid == "a-slip-of-hand"
    assert current(any_ledger) == []
    queue.submit(any_ledger, "ann", judgment(task, "what-was-meant"), now=1050)
    assert current(any_ledger) == ["what-was-meant"] and counts(any_ledger).have == 1
    with pytest.raises(Conflict, match="undone before"):
        queue.undo(any_ledger, "ann", "a-slip-of-hand", now=1060)


def test_undo_has_an_owner_and_an_end(any_ledger: Ledger) -> None:
    fill(any_ledger, 1)
    [task] = queue.claim(any_ledger, "ann", now=1000)
    stored = queue.submit(any_ledger, "ann", judgment(task, "a-judgment"), now=1010)
    with pytest.raises(NotAllowed):
        queue.undo(any_ledger, "bob", "a-judgment", now=1020)
    with pytest.raises(NotFound):
        queue.undo(any_ledger, "ann", "no-judgment", now=1020)
    with pytest.raises(Conflict, match="older than 10 minutes"):
        queue.undo(any_ledger, "ann", "a-judgment", now=stored.undo_until + 1)
    queue.undo(any_ledger, "ann", "a-judgment", now=stored.undo_until)
    with pytest.raises(Conflict, match="cannot be undone"):
        queue.undo(any_ledger, "ann", "undo:a-judgment", now=1030)


def test_what_was_undone_comes_last_among_the_tasks_one_holds(any_ledger: Ledger) -> None:
    fill(any_ledger, 2)
    [first] = queue.claim(any_ledger, "ann", 1, now=1000)
    second = queue.claim(any_ledger, "ann", 2, now=1010)[1]
    queue.submit(any_ledger, "ann", judgment(first, "a-judgment"), now=1020)
    queue.undo(any_ledger, "ann", "a-judgment", now=1030)
    assert [task.slot for task in queue.claim(any_ledger, "ann", 2, now=1040)] == [second.slot, first.slot]


def test_an_imported_label_has_no_task_to_go_back_to(any_ledger: Ledger) -> None:
    [pair] = fill(any_ledger, 1)
    fields = {"ranking": [], "criteria": {}, "edited": {}, "flags": [], "order_shown": [], "created_at": 1000.0}
    any_ledger.write(lambda session: session.add(Label(uuid="imported", pair_id=pair, annotator_id="ann", **fields)))
    with pytest.raises(Conflict, match="cannot be undone"):
        queue.undo(any_ledger, "ann", "imported", now=1001)
    assert current(any_ledger) == ["imported"]


def test_undoing_a_revision_takes_the_whole_judgment_back(any_ledger: Ledger) -> None:
    fill(any_ledger, 1)
    [task] = queue.claim(any_ledger, "ann", now=1000)
    queue.submit(any_ledger, "ann", judgment(task, "first-thought"), now=1001)
    queue.revise(any_ledger, "ann", "first-thought", judgment(task, "second-thought"), now=1002)
    with pytest.raises(Conflict, match="revised already"):
        queue.undo(any_ledger, "ann", "first-thought", now=1003)
    queue.undo(any_ledger, "ann", "second-thought", now=1003)
    assert current(any_ledger) == [] and counts(any_ledger, "ann").mine == 0
    with pytest.raises(Conflict, match="undone already"):
        queue.revise(any_ledger, "ann", "second-thought", judgment(task, "third-thought"), now=1004)
    with pytest.raises(Conflict, match="undone already"):
        queue.revise(any_ledger, "ann", "undo:second-thought", judgment(task, "third-thought"), now=1004)


def test_a_skipped_task_goes_to_others_at_the_end_of_the_queue(any_ledger: Ledger) -> None:
    fill(any_ledger, 3)
    [task] = queue.claim(any_ledger, "ann", now=1000)
    stored = queue.skip(any_ledger, "ann", task.slot, "skip-it-1", " unsure ", now=1001)
    assert queue.skip(any_ledger, "ann", task.slot, "skip-it-1", "unsure", now=1002) == stored
    assert task.pair not in {other.pair for other in queue.claim(any_ledger, "ann", 10, now=1003)}
    any_ledger.write(lambda session: queue.register(session, "dan"))
    last = queue.claim(any_ledger, "dan", 10, now=9000)[-1]
    assert last.pair == task.pair
    queue.submit(any_ledger, "dan", judgment(last, "dan-knows-it"), now=9001)
    assert counts(any_ledger, "ann") == queue.Counts(round=1, have=1, need=3, pairs=3, mine=0, mine_round=0, skipped=1)
    first = labels_of(any_ledger)[0]
    assert (first.uuid, first.skip_reason, first.ranking) == ("skip-it-1", "unsure", [])
    nothing = {"strength": None, "both_bad": False, "criteria": {}, "rationale": "", "edited": {}, "flags": []}
    assert first.model_dump(include=set(nothing)) == nothing and (first.active_ms, first.source) == (None, "app")


def test_a_skip_can_be_undone_while_nobody_else_has_the_task(any_ledger: Ledger) -> None:
    fill(any_ledger, 1)
    [task] = queue.claim(any_ledger, "ann", now=1000)
    queue.skip(any_ledger, "ann", task.slot, "skip-it-1", "unsure", now=1001)
    assert queue.undo(any_ledger, "ann", "skip-it-1", now=1002).responses == task.responses
    assert counts(any_ledger, "ann").skipped == 0
    queue.skip(any_ledger, "ann", task.slot, "skip-it-2", "really", now=1003)
    assert queue.claim(any_ledger, "bob", now=1004)[0].slot == task.slot
    with pytest.raises(Conflict, match="somebody else"):
        queue.undo(any_ledger, "ann", "skip-it-2", now=1005)


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501, "nul \0"])
def test_a_skip_needs_a_reason(ledger: Ledger, reason: str) -> None:
    fill(ledger, 1)
    [task] = queue.claim(ledger, "ann")
    with pytest.raises(BadInput, match="reason"):
        queue.skip(ledger, "ann", task.slot, "no-reason", reason)


def test_progress_tells_the_newest_round_and_my_own_part(any_ledger: Ledger) -> None:
    assert counts(any_ledger, "ann") == queue.Counts()
    fill(any_ledger, 2, overlap=2)
    for who, number in (("ann", 2), ("bob", 1)):
        for task in queue.claim(any_ledger, who, number):
            queue.submit(any_ledger, who, judgment(task, f"{who}-{task.slot:06d}"))
    assert counts(any_ledger, "ann") == queue.Counts(round=1, have=3, need=4, pairs=2, mine=2, mine_round=2)
    fill(any_ledger, 1, round=2)
    assert counts(any_ledger, "ann") == queue.Counts(round=2, have=0, need=1, pairs=1, mine=2, mine_round=0)
    with any_ledger.read() as session:
        assert queue.count_labels(session, 1) == (3, 4) and queue.count_labels(session, 7) == (0, 0)


def test_labels_that_were_imported_count_too(any_ledger: Ledger) -> None:
    [pair] = fill(any_ledger, 1)
    fields = {"pair_id": pair, "criteria": {}, "edited": {}, "flags": [], "order_shown": [], "created_at": 1.0}
    rows = [("vote-1", None, False), ("vote-2", None, False), ("vote-3", "unclear", False)]

    def insert(session: object) -> None:
        session.add_all(  # type: ignore[attr-defined]
            Label(uuid=uuid, annotator_id="cid", ranking=[], skip_reason=reason, retracted=gone, **fields)
            for uuid, reason, gone in rows
        )

    any_ledger.write(insert)
    assert counts(any_ledger, "cid") == queue.Counts(round=1, have=2, need=1, pairs=1, mine=2, mine_round=2, skipped=1)


def test_current_labels_can_be_asked_by_round_pair_and_person(any_ledger: Ledger) -> None:
    fill(any_ledger, 2, overlap=2)
    fill(any_ledger, 1, round=2)
    for who in ("ann", "bob"):
        for task in queue.claim(any_ledger, who, 5):
            queue.submit(any_ledger, who, judgment(task, f"{who}-{task.slot:06d}"))
    with any_ledger.read() as session:
        everything = [label.uuid for label in queue.current_labels(session)]
        by_round = [label.uuid for label in queue.current_labels(session, round=2)]
        by_person = [label.annotator_id for label in queue.current_labels(session, annotator_id="bob")]
        pair = session.exec(select(Pair.id).where(Pair.round == 1).limit(1)).one()
        by_pair = {(label.pair_id, label.annotator_id) for label in queue.current_labels(session, pair=pair)}
    assert len(everything) == 5 and len(by_round) == 1 and set(by_person) == {"bob"}
    assert by_pair == {(pair, "ann"), (pair, "bob")}


def test_current_labels_come_oldest_first_or_pair_after_pair_and_up_to_a_round(any_ledger: Ledger) -> None:
    rounds: dict[str, int] = {}
    for round in (1, 2, 3):
        rounds |= dict.fromkeys(fill(any_ledger, 2, round=round, overlap=2), round)
    for hour, who in enumerate(("ann", "bob")):
        for number, task in enumerate(queue.claim(any_ledger, who, 6)):
            queue.submit(any_ledger, who, judgment(task, f"{who}-{task.slot:06d}"), now=1000 * hour + number)
    with any_ledger.read() as session:
        oldest_first = list(queue.current_labels(session))
        by_pair = list(queue.current_labels(session, by_pair=True))
        up_to = {label.uuid for label in queue.current_labels(session, up_to=2)}
    assert [label.created_at for label in oldest_first] == [*range(6), *range(1000, 1006)]
    assert [label.pair_id for label in by_pair] == sorted([*rounds, *rounds])
    assert [label.annotator_id for label in by_pair] == ["ann", "bob"] * 6
    assert up_to == {label.uuid for label in oldest_first if rounds[label.pair_id] <= 2} and len(up_to) == 8


# -------------------------------------------------------------------------------------------------- add_pairs


def test_adding_the_same_pairs_again_changes_nothing(any_ledger: Ledger) -> None:
    fill(any_ledger, 1)
    candidate = CandidatePair("prompt-1-0", ("prompt-1-0-1", "prompt-1-0-0"), 1, overlap=5)
    other_round = CandidatePair("prompt-1-0", ("prompt-1-0-1", "prompt-1-0-0"), 2, overlap=0)
    assert any_ledger.write(lambda session: queue.add_pairs(session, [candidate])) == []
    assert any_ledger.write(lambda session: queue.add_pairs(session, [other_round, other_round])) == [other_round.id]
    with any_ledger.read() as session:
        assert len(session.exec(select(Slot)).all()) == 1
        members = session.exec(select(PairResponse.response_id).where(PairResponse.pair_id == candidate.id)).all()
    assert sorted(members) == ["prompt-1-0-0", "prompt-1-0-1"]
    assert counts(any_ledger).round == 1, "a round without slots is no round to label"


def test_a_pair_of_unknown_or_foreign_responses_is_refused_whole(any_ledger: Ledger) -> None:
    fill(any_ledger, 2)
    good = CandidatePair("prompt-1-0", ("prompt-1-0-0", "prompt-1-0-1"), 2)
    for responses in (("prompt-1-0-0", "no-such"), ("prompt-1-0-0", "prompt-1-1-0")):
        bad = CandidatePair("prompt-1-0", responses, 2)
        with pytest.raises(BadInput, match="no answer to prompt"):
            any_ledger.write(lambda session, bad=bad: queue.add_pairs(session, [good, bad]))
    with any_ledger.read() as session:
        assert session.exec(select(func.count()).select_from(Pair)).one() == 2


def test_the_order_of_work_depends_on_the_seed_alone(any_ledger: Ledger) -> None:
    fill(any_ledger, 20)
    first = [task.pair for task in queue.claim(any_ledger, "ann", 20)]
    with any_ledger.read() as session:
        pairs = list(session.exec(select(Pair.id)))
    assert first == sorted(pairs, key=lambda pair: slots.priority(11, 1, pair, 0))
    assert first != sorted(pairs, key=lambda pair: slots.priority(12, 1, pair, 0))


# ------------------------------------------------------------------------------------------------- many at once


def together(*tasks: Callable[[], None]) -> None:
    """Run all at once; raises what the first of them raised."""
    failures: list[BaseException] = []
    barrier = threading.Barrier(len(tasks))

    def run(task: Callable[[], None]) -> None:
        try:
            barrier.wait()
            task()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_twenty_people_at_once_never_share_or_repeat_a_pair(any_ledger: Ledger) -> None:
    people = [f"person-{number:02d}" for number in range(20)]
    pairs = fill(any_ledger, 60, overlap=3, annotators=people)
    given: dict[str, list[str]] = {who: [] for who in people}

    def work(who: str) -> None:
        while tasks := queue.claim(any_ledger, who, 2):
            for task in tasks:
                given[who].append(task.pair)
                queue.submit(any_ledger, who, judgment(task, f"{who}-{task.slot:06d}"))

    together(*(lambda who=who: work(who) for who in people))  # type: ignore[misc]
    # PostgreSQL may tell one person that nothing is left while others still hold the last rows: then ask once more.
    for who in people:
        work(who)
    for who in people:
        assert len(set(given[who])) == len(given[who])
    labels = labels_of(any_ledger)
    assert Counter(label.pair_id for label in labels) == dict.fromkeys(pairs, 3)
    assert len({(label.pair_id, label.annotator_id) for label in labels}) == len(labels) == 180
    assert counts(any_ledger).have == 180
    assert any_ledger.check() == []


def test_two_processes_share_one_queue(database_url: str) -> None:
    people = [f"person-{number}" for number in range(6)]
    with Ledger.open(database_url) as ledger:
        pairs = fill(ledger, 40, overlap=3, annotators=people)
    context = multiprocessing.get_context("spawn")
    answers, ours = context.Pipe(duplex=False)
    processes = [context.Process(target=label_all, args=(database_url, people[at::2], ours)) for at in (0, 1)]
    for process in processes:
        process.start()
    given = {**answers.recv(), **answers.recv()}
    for process in processes:
        process.join()
    with Ledger.open(database_url) as ledger:
        for who in people:
            for task in queue.claim(ledger, who, 50):  # what was locked by the other process at the very end
                given[who].append(task.pair)
                queue.submit(ledger, who, judgment(task, f"{who}-{task.slot:06d}"))
        assert Counter(label.pair_id for label in labels_of(ledger)) == dict.fromkeys(pairs, 3)
        assert all(len(set(mine)) == len(mine) for mine in given.values())
        assert sum(map(len, given.values())) == counts(ledger).have == 120
        assert ledger.check() == []


def label_all(database_url: str, people: list[str], answer: Connection) -> None:
    """Each person claims and judges until nothing is left for them; answers with the pairs each was given."""
    given: dict[str, list[str]] = {who: [] for who in people}
    with Ledger.open(database_url) as ledger:

        def work(who: str) -> None:
            while tasks := queue.claim(ledger, who, 2):
                for task in tasks:
                    given[who].append(task.pair)
                    queue.submit(ledger, who, judgment(task, f"{who}-{task.slot:06d}"))

        together(*(lambda who=who: work(who) for who in people))  # type: ignore[misc]
    answer.send(given)


def test_one_judgment_sent_many_times_at_once_is_stored_once(any_ledger: Ledger) -> None:
    fill(any_ledger, 6)
    tasks = queue.claim(any_ledger, "ann", 6)
    answers: list[queue.Stored] = []

    def send(task: queue.Task) -> None:
        answers.append(queue.submit(any_ledger, "ann", judgment(task, f"sent-{task.slot:06d}")))

    together(*(lambda task=task: send(task) for task in tasks for _ in range(4)))  # type: ignore[misc]
    assert len(answers) == 24 and len({answer.undo_until for answer in answers}) == 6
    assert len(labels_of(any_ledger)) == 6


def test_one_uuid_for_two_tasks_at_once_is_stored_for_one(any_ledger: Ledger) -> None:
    fill(any_ledger, 10)
    tasks = queue.claim(any_ledger, "ann", 10)
    outcomes: list[str] = []

    def send(task: queue.Task) -> None:
        try:
            queue.submit(any_ledger, "ann", judgment(task, "the-very-same"))
            outcomes.append("stored")
        except Conflict:
            outcomes.append("refused")

    together(*(lambda task=task: send(task) for task in tasks))  # type: ignore[misc]
    assert sorted(outcomes) == ["refused"] * 9 + ["stored"]


def test_undo_and_revise_at_once_leave_one_truth(any_ledger: Ledger) -> None:
    fill(any_ledger, 8)
    tasks = queue.claim(any_ledger, "ann", 8)
    for task in tasks:
        queue.submit(any_ledger, "ann", judgment(task, f"first-{task.slot:06d}"))

    def attempt(change: Callable[[], object]) -> None:
        with suppress(Conflict):
            change()

    changes: list[Callable[[], None]] = []
    for task in tasks:
        uuid, second = f"first-{task.slot:06d}", judgment(task, f"second-{task.slot:06d}")
        changes.append(lambda uuid=uuid: attempt(lambda: queue.undo(any_ledger, "ann", uuid)))
        changes.append(lambda uuid=uuid, second=second: attempt(lambda: queue.revise(any_ledger, "ann", uuid, second)))
    together(*changes)
    done = 0
    for task in tasks:
        revised = f"second-{task.slot:06d}" in current(any_ledger)
        assert slot_of(any_ledger, task.slot).state == ("done" if revised else "leased")
        done += revised
    assert counts(any_ledger, "ann").mine == done == len(current(any_ledger))


# ------------------------------------------------------------------------------------- any history, one model

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["claim", "submit", "submit again", "skip", "undo", "revise", "wait"]),
        st.sampled_from(["ann", "bob", "cid"]),
        st.integers(0, 5),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS, overlap=st.integers(1, 3))
def test_any_history_keeps_the_rules(
    actions: list[tuple[str, str, int]], overlap: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever people do: nobody counts twice for a pair, no pair has more labels than slots, counters are true."""
    folder = tmp_path_factory.mktemp("history")
    with Ledger.open(f"sqlite:///{folder / 'labels.db'}", durable=False) as ledger:
        fill(ledger, 4, overlap=overlap)
        now = 1000.0
        held: dict[str, list[queue.Task]] = {"ann": [], "bob": [], "cid": []}
        sent: dict[str, list[tuple[str, queue.Task]]] = {"ann": [], "bob": [], "cid": []}
        for number, (action, who, pick) in enumerate(actions):
            now += 800 if action == "wait" else 1
            uuid = f"uuid-{number:06d}"
            task = held[who][pick % len(held[who])] if held[who] else None
            old = sent[who][pick % len(sent[who])] if sent[who] else None
            try:
                if action == "claim":
                    held[who] = queue.claim(ledger, who, 1 + pick % 3, now=now)
                elif action == "submit" and task:
                    queue.submit(ledger, who, judgment(task, uuid), now=now)
                    sent[who].append((uuid, task))
                elif action == "skip" and task:
                    queue.skip(ledger, who, task.slot, uuid, "unsure", now=now)
                    sent[who].append((uuid, task))
                elif action == "submit again" and old:
                    queue.submit(ledger, who, judgment(old[1], old[0]), now=now)
                elif action == "undo" and old:
                    held[who] = [queue.undo(ledger, who, old[0], now=now)]
                elif action == "revise" and old:
                    queue.revise(ledger, who, old[0], judgment(old[1], uuid, strength=1), now=now)
                    sent[who].append((uuid, old[1]))
            except Conflict:
                pass
        with ledger.read() as session:
            counting = list(queue.current_labels(session))
            by_round, _ = queue.count_labels(session, 1)
            rows = list(session.exec(select(Slot)))
        assert len({(label.pair_id, label.annotator_id) for label in counting}) == len(counting) == by_round
        assert max(Counter(label.pair_id for label in counting).values(), default=0) <= overlap
        assert sorted(row.id for row in rows if row.state == "done") == sorted(label.slot_id for label in counting)
        for row in rows:
            assert (row.annotator_id is None) == (row.state == "open"), row
            if row.state == "done":
                [label] = [label for label in counting if label.slot_id == row.id]
                assert (label.annotator_id, label.order_shown) == (row.annotator_id, row.order_shown)
