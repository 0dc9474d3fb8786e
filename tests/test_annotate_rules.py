"""The campaign's rules: limits, practice before real work, hidden control items, topics one does not want."""

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from ledgers import fill, judgment
from sqlmodel import Session, col, select

from annotate import queue
from annotate.aggregate import judged_pairs
from annotate.campaign import CampaignSection, set_campaign
from annotate.errors import BadInput, Conflict
from annotate.gold import add_gold, copy_as_gold, is_right, qualification
from annotate.ledger import Ledger
from annotate.profiles import ProfileIn, profile_of, save_profile
from annotate.rules import asked_of, is_control
from annotate.tables import Gold, Label, Prompt, Response, Slot

DAY = 86_400.0


def set_(ledger: Ledger, **fields: Any) -> None:
    ledger.write(lambda session: set_campaign(session, CampaignSection(**fields), "lead", now=1.0))


def fill_gold(ledger: Ledger, count: int, use: Any, family: str = "") -> list[str]:
    """Gold items whose response ending in -0 is the better one; returns their pairs."""

    def run(session: Session) -> list[str]:
        pairs = []
        for number in range(count):
            prompt = f"{use}-{family}-{number}"
            message = {"role": "user", "content": f"Gold {prompt}?"}
            session.add(
                Prompt(
                    id=prompt, messages=[message], text=prompt, family=family, group=prompt, split="train", created_at=0
                )
            )
            session.flush()
            ids = [f"{prompt}-{place}" for place in range(2)]
            session.add_all(Response(id=one, prompt_id=prompt, text=one, sampling={}, created_at=0) for one in ids)
            session.flush()
            pairs.append(add_gold(session, prompt, [[one] for one in ids], f"Why {number}.", use, now=number))
        return pairs

    return ledger.write(run)


def label(ledger: Ledger, who: str, task: queue.Task, now: float | None = None, *, right: bool = True) -> queue.Stored:
    ranking = sorted([response.id] for response in task.responses)
    sent = judgment(task, f"{who}-{task.slot:06d}", ranking=ranking if right else ranking[::-1])
    return queue.submit(ledger, who, sent, now=now)


def standing(ledger: Ledger, who: str, now: float | None = None) -> dict[str, Any]:
    with ledger.read() as session:
        return asked_of(session, who, now=now)


# ------------------------------------------------------------------------------------------------------- limits


def test_a_day_has_its_limit_and_the_next_day_another(any_ledger: Ledger) -> None:
    fill(any_ledger, 9)
    set_(any_ledger, most_per_day=3)
    first = queue.offer(any_ledger, "ann", 5, now=DAY + 10)
    assert len(first.tasks) == 3, "nobody holds more than they may still label"
    for task in first.tasks:
        label(any_ledger, "ann", task, DAY + 20)
    assert queue.offer(any_ledger, "ann", 5, now=DAY + 30) == queue.Offer(tasks=(), reason="most-per-day")
    assert standing(any_ledger, "ann", DAY + 30)["today"] == {"labels": 3, "most": 3}
    assert len(queue.offer(any_ledger, "bob", 5, now=DAY + 30).tasks) == 3
    assert len(queue.offer(any_ledger, "ann", 5, now=2 * DAY + 1).tasks) == 3


def test_an_undone_label_a_skip_and_a_revision_use_up_no_more_of_the_day(any_ledger: Ledger) -> None:
    fill(any_ledger, 5)
    set_(any_ledger, most_per_day=2)
    first, second = queue.claim(any_ledger, "ann", 2, now=DAY)
    label(any_ledger, "ann", first, DAY)
    queue.undo(any_ledger, "ann", f"ann-{first.slot:06d}", now=DAY + 1)
    queue.skip(any_ledger, "ann", second.slot, "ann-skips-it", "unsure", now=DAY + 2)
    assert standing(any_ledger, "ann", DAY + 3)["today"]["labels"] == 0
    queue.submit(any_ledger, "ann", judgment(first, "ann-again-1"), now=DAY + 4)
    queue.revise(any_ledger, "ann", "ann-again-1", judgment(first, "ann-again-2", both_bad=True), now=DAY + 5)
    assert standing(any_ledger, "ann", DAY + 6)["today"]["labels"] == 1
    assert len(queue.claim(any_ledger, "ann", 5, now=DAY + 6)) == 1


def test_a_round_has_its_limit_and_the_next_round_another(any_ledger: Ledger) -> None:
    fill(any_ledger, 4)
    set_(any_ledger, most_per_annotator=2)
    for task in queue.claim(any_ledger, "ann", 5):
        label(any_ledger, "ann", task)
    assert queue.offer(any_ledger, "ann").reason == "most-per-annotator"
    fill(any_ledger, 4, round=2)
    assert [task.round for task in queue.claim(any_ledger, "ann", 5)] == [2, 2]


def test_simulated_annotators_are_bound_by_no_limit(any_ledger: Ledger) -> None:
    fill(any_ledger, 4)
    fill_gold(any_ledger, 2, "practice")
    set_(any_ledger, most_per_day=1, most_per_annotator=1, qualification=2)
    any_ledger.write(lambda session: queue.register(session, "sim", kind="simulated"))
    assert len(queue.claim(any_ledger, "sim", 9)) == 4


def test_many_tabs_of_one_person_hold_no_more_than_the_day_allows(any_ledger: Ledger) -> None:
    fill(any_ledger, 40)
    set_(any_ledger, most_per_day=7)
    got: list[int] = []

    def tab() -> None:
        for _ in range(6):
            for task in queue.claim(any_ledger, "ann", 3, now=DAY):
                got.append(task.slot)
                with suppress(Conflict):  # another tab was faster
                    label(any_ledger, "ann", task, DAY)

    _together([tab] * 6)
    with any_ledger.read() as session:
        assert len(list(queue.current_labels(session, annotator_id="ann"))) == 7
    assert len(set(got)) == 7


# ------------------------------------------------------------------------------------------------ qualification


def test_practice_comes_before_real_work_and_each_answer_is_explained(any_ledger: Ledger) -> None:
    fill(any_ledger, 3)
    fill_gold(any_ledger, 4, "practice")
    set_(any_ledger, qualification=3, pass_share=0.6)
    tasks = queue.claim(any_ledger, "ann", 6)
    assert [task.practice for task in tasks] == [True] * 3, "as many as are needed, and no real work beside them"
    assert queue.claim(any_ledger, "ann", 6, now=9e9)[0].slot == tasks[0].slot, "a lease on practice never runs out"
    told = label(any_ledger, "ann", tasks[0]).feedback
    assert told is not None and (told.right, told.explanation) == (True, "Why 0.")
    assert [one for tied in told.ranking for one in tied] == sorted(one.id for one in tasks[0].responses)
    wrong = label(any_ledger, "ann", tasks[1], right=False)
    assert wrong.feedback is not None and not wrong.feedback.right
    again = label(any_ledger, "ann", tasks[1], right=False)
    assert again == wrong, "the same judgment again gets the same answer"
    assert standing(any_ledger, "ann")["qualification"] == {"needed": 3, "done": 2, "right": 1, "passed": False}
    label(any_ledger, "ann", tasks[2])
    assert standing(any_ledger, "ann")["qualification"] == {"needed": 3, "done": 3, "right": 2, "passed": True}
    real = queue.claim(any_ledger, "ann", 6)
    assert [task.practice for task in real] == [False] * 3
    assert label(any_ledger, "ann", real[0]).feedback is None


def test_who_does_not_pass_gets_the_items_that_are_left_and_then_a_reason(any_ledger: Ledger) -> None:
    fill(any_ledger, 3)
    fill_gold(any_ledger, 3, "practice")
    set_(any_ledger, qualification=2, pass_share=1.0)
    for task in queue.claim(any_ledger, "ann", 6):
        label(any_ledger, "ann", task, right=False)
    [last] = queue.claim(any_ledger, "ann", 6)
    label(any_ledger, "ann", last)
    assert queue.offer(any_ledger, "ann", 6) == queue.Offer(tasks=(), reason="qualification")
    fill_gold(any_ledger, 1, "practice", family="more")
    [another] = queue.claim(any_ledger, "ann", 6)
    label(any_ledger, "ann", another)
    assert not queue.claim(any_ledger, "ann", 1)[0].practice, "the last two are right"


def test_practice_cannot_be_skipped_through_undone_or_revised(any_ledger: Ledger) -> None:
    fill(any_ledger, 1)
    fill_gold(any_ledger, 2, "practice")
    set_(any_ledger, qualification=2, pass_share=1.0)
    first, second = queue.claim(any_ledger, "ann", 2)
    label(any_ledger, "ann", first, right=False)
    for change in (
        lambda: queue.undo(any_ledger, "ann", f"ann-{first.slot:06d}"),
        lambda: queue.revise(any_ledger, "ann", f"ann-{first.slot:06d}", judgment(first, "ann-changes")),
    ):
        with pytest.raises(Conflict, match="judged once"):
            change()
    queue.skip(any_ledger, "ann", second.slot, "ann-skips-it", "unsure")
    with any_ledger.read() as session:
        assert qualification(session, "ann", CampaignSection(qualification=2))[:3] == (2, 2, 0)
        assert session.exec(select(Slot.state).where(Slot.id == second.slot)).one() == "done"
    assert queue.offer(any_ledger, "bob", 2).tasks[0].practice, "everybody has their own"


def test_without_practice_items_nothing_is_needed(any_ledger: Ledger) -> None:
    fill(any_ledger, 1)
    set_(any_ledger, qualification=5)
    assert not queue.claim(any_ledger, "ann")[0].practice
    pair = fill_gold(any_ledger, 1, "practice")[0]
    with any_ledger.read() as session:
        ranking = session.exec(select(Gold.ranking).where(Gold.pair_id == pair)).one()
    any_ledger.write(lambda session: add_gold(session, "practice--0", ranking, "", "off"))
    assert standing(any_ledger, "bob")["qualification"] == {"needed": 0, "done": 0, "right": 0, "passed": True}


def test_twenty_people_start_practising_at_once(any_ledger: Ledger) -> None:
    people = [f"person-{number}" for number in range(20)]
    fill(any_ledger, 2, annotators=people)
    fill_gold(any_ledger, 3, "practice")
    set_(any_ledger, qualification=3)
    got: dict[str, list[int]] = {}
    _together([lambda who=who: got.update({who: [t.slot for t in queue.claim(any_ledger, who, 3)]}) for who in people])
    assert all(len(found) == 3 for found in got.values())
    assert len({slot for found in got.values() for slot in found}) == 60


@pytest.mark.parametrize(
    ("said", "known", "right"),
    [
        ([["a"], ["b"]], [["a"], ["b"]], True),
        ([["b"], ["a"]], [["a"], ["b"]], False),
        ([["a", "b"]], [["a"], ["b"]], False),
        ([["a", "b"]], [["a", "b"]], True),
        ([["a"], ["b"]], [["a", "b"]], False),
        ([["a"], ["b"], ["c"]], [["a"], ["b", "c"]], True),
        ([["b"], ["a"], ["c"]], [["a"], ["b", "c"]], False),
        ([["a", "b"], ["c"]], [["a"], ["b", "c"]], False),
    ],
)
def test_an_answer_is_right_when_it_orders_what_is_known(said: Any, known: Any, right: bool) -> None:
    assert is_right(said, known) == right


# ------------------------------------------------------------------------------------------------------ control


def test_control_items_come_in_their_share_look_like_others_and_enter_no_snapshot(any_ledger: Ledger) -> None:
    fill(any_ledger, 60)
    controls = set(fill_gold(any_ledger, 30, "control"))
    set_(any_ledger, gold_share=0.25)
    seen = []
    while (tasks := queue.claim(any_ledger, "ann", 4)) and len(seen) < 60:
        for task in tasks:
            assert label(any_ledger, "ann", task).feedback is None
            assert (task.practice, task.round) == (False, 1)
            seen.append(task.pair in controls)
    expected = [is_control("ann", number, 0.25) for number in range(60)]
    assert seen[:60] == expected and sum(expected) > 5
    with any_ledger.read() as session:
        assert len(list(judged_pairs(session))) == seen.count(False)
        assert len(list(judged_pairs(session, gold=True))) == len(seen)
        assert queue.count_labels(session, 1)[0] == seen.count(False)


def test_a_reload_gives_the_same_tasks_and_no_further_control_items(any_ledger: Ledger) -> None:
    fill(any_ledger, 20)
    fill_gold(any_ledger, 20, "control")
    set_(any_ledger, gold_share=0.5)
    first = [task.slot for task in queue.claim(any_ledger, "ann", 6)]
    for _ in range(5):
        assert [task.slot for task in queue.claim(any_ledger, "ann", 6)] == first


def test_the_share_of_numbers_that_are_control_is_the_one_asked_for() -> None:
    drawn = Counter(is_control(f"person {who}", number, 0.1) for who in range(20) for number in range(500))
    assert abs(drawn[True] - 1000) < 4 * (10_000 * 0.1 * 0.9) ** 0.5
    assert not any(is_control("ann", number, 0.0) for number in range(500))


def test_a_skipped_or_undone_control_item_stays_with_who_had_it(any_ledger: Ledger) -> None:
    fill(any_ledger, 3, annotators=("ann", "bob"))
    pairs = fill_gold(any_ledger, 1, "control")
    set_(any_ledger, gold_share=0.99)
    tasks = queue.claim(any_ledger, "ann", 3)
    [control] = [task for task in tasks if task.pair in pairs]
    label(any_ledger, "ann", control)
    queue.undo(any_ledger, "ann", f"ann-{control.slot:06d}")
    queue.skip(any_ledger, "ann", control.slot, "ann-skips-it", "unsure")
    assert control.pair not in {task.pair for task in queue.claim(any_ledger, "ann", 9)}
    assert control.pair in {task.pair for task in queue.claim(any_ledger, "bob", 9)}


def test_a_pair_of_a_round_becomes_gold_as_a_copy(any_ledger: Ledger) -> None:
    [pair] = fill(any_ledger, 1)
    ranking = [["prompt-1-0-1"], ["prompt-1-0-0"]]
    copy = any_ledger.write(lambda session: copy_as_gold(session, pair, ranking, "So.", "control", author="lead"))
    assert copy != pair and queue.claim(any_ledger, "ann")[0].pair == pair
    with pytest.raises(BadInput, match="exactly once"):
        any_ledger.write(lambda session: copy_as_gold(session, pair, ranking[:1], "", "control"))


# ------------------------------------------------------------------------------------------------------- topics


def fill_topics(ledger: Ledger) -> None:
    """Eight pairs, every second about violence."""
    fill(ledger, 8)

    def run(session: Session) -> None:
        for prompt in session.exec(select(Prompt).order_by(col(Prompt.id))).all():
            prompt.family = "violence" if int(prompt.id[-1]) % 2 else "cooking"
            session.add(prompt)

    ledger.write(run)


def test_topics_one_opted_out_of_are_given_back_and_never_offered(any_ledger: Ledger) -> None:
    fill_topics(any_ledger)
    fill_gold(any_ledger, 3, "control", family="violence")
    set_(any_ledger, gold_share=0.5)
    assert {task.topic for task in queue.claim(any_ledger, "ann", 8)} == {"violence", "cooking"}
    saved = save_profile(any_ledger, "ann", ProfileIn(opted_out=("violence",)))
    assert saved["opted_out"] == ["violence"] and saved["topics"] == ["cooking", "violence"]
    while tasks := queue.claim(any_ledger, "ann", 3):
        for task in tasks:
            assert task.topic == "cooking"
            label(any_ledger, "ann", task)
    assert {task.topic for task in queue.claim(any_ledger, "bob", 9)} == {"violence"}
    queue_of_ann = queue.offer(any_ledger, "ann", now=9e9)
    assert queue_of_ann.reason == "none-open", "leases of others that ran out are no way round it"


def test_who_opts_in_again_meets_what_their_search_had_passed(any_ledger: Ledger) -> None:
    fill_topics(any_ledger)
    save_profile(any_ledger, "ann", ProfileIn(opted_out=("violence",)))
    assert len(queue.claim(any_ledger, "ann", 9)) == 4
    save_profile(any_ledger, "ann", ProfileIn(opted_out=()))
    assert len(queue.claim(any_ledger, "ann", 9)) == 8


def test_a_profile_keeps_the_parts_that_are_not_sent(any_ledger: Ledger) -> None:
    fill(any_ledger, 1)
    save_profile(
        any_ledger, "ann", ProfileIn(languages=("de", "en", "de"), settings={"theme": "dark", "keys": {"1": "a"}})
    )
    save_profile(any_ledger, "ann", ProfileIn(expertise=("law",)))
    with any_ledger.read() as session:
        assert profile_of(session, "ann") == {
            "languages": ["de", "en"],
            "expertise": ["law"],
            "opted_out": [],
            "settings": {"theme": "dark", "keys": {"1": "a"}},
            "topics": [],
        }
        assert profile_of(session, "bob")["settings"] == {}


def _together(work: list[Callable[[], Any]]) -> None:
    """Run all at once in threads; what one raises is raised here."""
    failed: list[BaseException] = []
    gate = threading.Barrier(len(work))

    def run(one: Callable[[], Any]) -> None:
        gate.wait()
        try:
            one()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def test_labels_on_gold_are_facts_like_others(any_ledger: Ledger) -> None:
    fill(any_ledger, 1)
    fill_gold(any_ledger, 1, "practice")
    set_(any_ledger, qualification=1)
    label(any_ledger, "ann", queue.claim(any_ledger, "ann")[0])
    with any_ledger.read() as session:
        assert session.exec(select(Label)).one().annotator_id == "ann"
        assert queue.progress(session, "ann").mine == 1
        assert list(queue.current_labels(session)) == []
