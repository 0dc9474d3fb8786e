"""One label with everything about its pair, and the verdicts on it."""

import pytest
from serving import numbered, put_into_queue

from annotate import auth, queue, reviews
from annotate.auth import Person
from annotate.errors import BadInput, NotFound
from annotate.ledger import Ledger
from annotate.queue import Judgment

REVIEWER = Person("a-reviewer", "Rex", "reviewer")


def judged(ledger: Ledger, who: str, uuid: str) -> queue.Task:
    ledger.write(lambda session: queue.register(session, who))
    task = queue.claim(ledger, who)[0]
    queue.submit(ledger, who, Judgment(uuid=uuid, slot=task.slot, ranking=tuple((one.id,) for one in task.responses)))
    return task


def test_a_label_opens_with_every_vote_and_their_history(any_ledger: Ledger) -> None:
    put_into_queue(any_ledger, numbered(1), overlap=2)
    task = judged(any_ledger, "ann", "ann-first-0")
    tied = Judgment(uuid="ann-second-0", slot=task.slot, ranking=(tuple(one.id for one in task.responses),))
    queue.revise(any_ledger, "ann", "ann-first-0", tied)
    judged(any_ledger, "bob", "bob-first-0")
    with any_ledger.read() as session:
        found = reviews.open_label(session, "bob-first-0")
    assert [(vote.label.uuid, vote.superseded_by) for vote in found.votes] == [
        ("ann-first-0", "ann-second-0"),
        ("ann-second-0", None),
        ("bob-first-0", None),
    ]
    assert [vote.name for vote in found.votes] == ["ann", "ann", "bob"]
    assert {one.id for one in found.responses} == {one.id for one in task.responses}
    assert found.prompt.messages == [{"role": "user", "content": "Question 0?"}]
    assert found.reviews == []


def test_a_review_is_added_to_those_before_and_audited(any_ledger: Ledger) -> None:
    put_into_queue(any_ledger, numbered(1))
    judged(any_ledger, "ann", "ann-first-0")
    reviews.review(any_ledger, REVIEWER, "ann-first-0", "disagree", "  The other one is right. ")
    reviews.review(any_ledger, REVIEWER, "ann-first-0", "agree", "")
    with any_ledger.read() as session:
        found = reviews.open_label(session, "ann-first-0").reviews
    assert [(row.verdict, row.reason, name) for row, name in found] == [
        ("disagree", "The other one is right.", "a-reviewer"),
        ("agree", "", "a-reviewer"),
    ]
    assert any_ledger.check() == []


@pytest.mark.parametrize(
    ("verdict", "reason", "said"),
    [
        ("", "why", "choose a verdict"),
        ("maybe", "why", "choose a verdict"),
        ("disagree", "  ", "needs a reason"),
        ("unusable", "", "needs a reason"),
        ("agree", "x" * 2001, "at most 2000"),
    ],
)
def test_a_review_that_says_too_little_or_too_much_is_refused(
    ledger: Ledger, verdict: str, reason: str, said: str
) -> None:
    put_into_queue(ledger, numbered(1))
    judged(ledger, "ann", "ann-first-0")
    with pytest.raises(BadInput, match=said):
        reviews.review(ledger, REVIEWER, "ann-first-0", verdict, reason)


def test_a_label_that_is_not_there_is_neither_opened_nor_reviewed(ledger: Ledger) -> None:
    auth.new_token(ledger, "Rex", "reviewer")
    with pytest.raises(NotFound), ledger.read() as session:
        reviews.open_label(session, "nothing-here")
    with pytest.raises(NotFound):
        reviews.review(ledger, REVIEWER, "nothing-here", "agree", "")


def test_a_sure_label_becomes_a_gold_item_until_it_is_taken_out(any_ledger: Ledger) -> None:
    put_into_queue(any_ledger, numbered(1))
    judged(any_ledger, "ann", "ann-first-0")
    with pytest.raises(BadInput, match="what it is for"):
        reviews.make_gold(any_ledger, REVIEWER, "ann-first-0", "off", "It is short.")
    with pytest.raises(BadInput, match="explanation has 1 to"):
        reviews.make_gold(any_ledger, REVIEWER, "ann-first-0", "control", " ")
    made = reviews.make_gold(any_ledger, REVIEWER, "ann-first-0", "practice", "It is short.")
    with any_ledger.read() as session:
        items = reviews.gold_items(session)
    assert items == [(made, "Question 0?", "practice", "It is short.", 0)]
    reviews.drop_gold(any_ledger, REVIEWER, made)
    with any_ledger.read() as session:
        assert [(item.pair, item.use) for item in reviews.gold_items(session)] == [(made, "off")]
    with pytest.raises(NotFound):
        reviews.drop_gold(any_ledger, REVIEWER, "nothing")
