"""Labels are found by words and filters, a page at a time, in both databases."""

import pytest
from serving import Example, put_into_queue

from annotate import queue, search
from annotate.ledger import Ledger
from annotate.queue import Judgment
from annotate.search import Wanted
from annotate.tables import Label

RICE = Example("How long does rice need?", ("Twelve minutes.", "Über an hour, said <b>nobody</b>."))
TEA = Example("How long does tea need?", ("Three minutes.", "A week."))


def label(ledger: Ledger, who: str, at: float, first: str, **more: object) -> str:
    """A label by `who` on the pair that they get next; first: which texts come first, if the pair has one of them."""
    ledger.write(lambda session: queue.register(session, who))
    task = queue.claim(ledger, who, now=at)[0]
    ids = [response.id for response in sorted(task.responses, key=lambda one: (first not in one.text, one.text))]
    said = Judgment(uuid=f"{who}-{int(at):08d}", slot=task.slot, ranking=tuple((one,) for one in ids), **more)  # type: ignore[arg-type]
    queue.submit(ledger, who, said, now=at)
    return said.uuid


def found(ledger: Ledger, before: int | None = None, most: int = 50, **wanted: object) -> list[str]:
    with ledger.read() as session:
        return [row.uuid for row in search.find(session, Wanted(**wanted), before, most=most).rows]  # type: ignore[arg-type]


@pytest.fixture
def labelled(any_ledger: Ledger) -> Ledger:
    """Two pairs, two votes each: they agree about rice and differ about tea."""
    for number, example in enumerate((RICE, TEA)):
        put_into_queue(any_ledger, [example], round=number + 1, overlap=2)
        label(any_ledger, "ann", 10 + number, "minutes", flags=("unsafe",) if number else ())
        label(any_ledger, "bob", 20 + number, "week", rationale="The second invents things, 100%." if number else "")
    return any_ledger


def test_the_newest_come_first_and_filters_narrow_them(labelled: Ledger) -> None:
    everything = ["bob-00000021", "ann-00000011", "bob-00000020", "ann-00000010"]
    assert found(labelled) == everything
    assert found(labelled, round=1) == everything[2:]
    assert found(labelled, annotator="ann") == [everything[1], everything[3]]
    assert found(labelled, flagged=True) == [everything[1]]
    assert found(labelled, disagreement=True) == everything[:2]
    assert found(labelled, objective="safe") == found(labelled, split="test") == found(labelled, both_bad=True) == []
    assert found(labelled, objective="helpful", split="train", annotator="bob", round=2) == [everything[0]]


def test_words_are_found_in_prompts_responses_and_rationales(labelled: Ledger) -> None:
    assert found(labelled, words="rice") == ["bob-00000020", "ann-00000010"]
    assert found(labelled, words="ÜBER nobody") == ["bob-00000020", "ann-00000010"]
    assert found(labelled, words="invents") == ["bob-00000021"]
    assert len(found(labelled, words="minutes")) == 4
    assert found(labelled, words='"three minutes"') == ["bob-00000021", "ann-00000011"]
    assert found(labelled, words='"minutes three"') == found(labelled, words="rice tea") == []


def test_a_rationale_finds_its_own_label_alone_the_pairs_first_one_too(any_ledger: Ledger) -> None:
    put_into_queue(any_ledger, [RICE], overlap=2)
    label(any_ledger, "ann", 1, "Twelve", rationale="so it says")
    label(any_ledger, "bob", 2, "Twelve")
    assert found(any_ledger, words="says") == ["ann-00000001"]
    assert found(any_ledger, words="says rice") == ["ann-00000001"]


def test_words_and_filters_together_find_a_pairs_later_votes_too(labelled: Ledger) -> None:
    assert found(labelled, words="rice", annotator="bob") == ["bob-00000020"]
    assert found(labelled, words="tea", flagged=True) == ["ann-00000011"]


def test_a_label_whose_pair_and_rationale_both_have_the_word_comes_once(any_ledger: Ledger) -> None:
    put_into_queue(any_ledger, [RICE], overlap=2)
    label(any_ledger, "ann", 1, "Twelve")
    label(any_ledger, "bob", 2, "Twelve", rationale="rice takes twelve")
    assert found(any_ledger, words="rice") == ["bob-00000002", "ann-00000001"]


@pytest.mark.parametrize(
    "words", ['"', "*", "a AND", "NEAR(", "-x", "body:rice", "()", "' OR 1=1 --", "%", "^", "\x00a"]
)
def test_no_words_are_a_command(labelled: Ledger, words: str) -> None:
    found(labelled, words=words)


def test_words_without_a_letter_do_not_narrow(labelled: Ledger) -> None:
    assert len(found(labelled, words='"! ?')) == 4


@pytest.mark.parametrize("wanted", [{}, {"words": "minutes"}, {"annotator": "ann"}])
def test_pages_follow_each_other_without_gap_or_repeat(labelled: Ledger, wanted: dict[str, str]) -> None:
    whole = found(labelled, **wanted)
    pages, before = [], None
    for _ in range(9):
        with labelled.read() as session:
            page = search.find(session, Wanted(**wanted), before, most=1)  # type: ignore[arg-type]
        pages += [row.uuid for row in page.rows]
        before = page.next
        if before is None:
            break
    assert pages == whole and before is None


def test_what_was_revised_undone_or_skipped_is_not_among_the_labels(any_ledger: Ledger) -> None:
    put_into_queue(any_ledger, [RICE, TEA], overlap=1)
    old = label(any_ledger, "ann", 1, "minutes")
    with any_ledger.read() as session:
        row = session.get(Label, old)
        assert row is not None and row.slot_id is not None
    again = Judgment(uuid="ann-again", slot=row.slot_id, ranking=(tuple(row.order_shown),))
    queue.revise(any_ledger, "ann", old, again, now=2)
    undone = label(any_ledger, "ann", 3, "minutes")
    task = queue.undo(any_ledger, "ann", undone, now=4)
    queue.skip(any_ledger, "ann", task.slot, "ann-skips", "unclear", now=5)
    assert found(any_ledger) == ["ann-again"]
    assert found(any_ledger, skipped=True) == ["ann-skips"]
