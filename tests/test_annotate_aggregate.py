"""How the labels of a pair become preferences; numbers derived by hand."""

import pytest

from annotate.aggregate import JudgedPair, SnapshotSection, comparisons, preferences
from annotate.tables import Label, Pair, Prompt, Response

PROMPT = Prompt(
    id="p", messages=[{"role": "user", "content": "Why?"}], text="Why?", group="g", split="train", created_at=0
)


def judged(*rankings, texts=("one", "two", "three"), **fields) -> JudgedPair:
    """A pair with one label a ranking, written as "ab" (a before b) or "a=b"; fields: lists, one entry a label."""
    ids = sorted(set("".join(rankings)) - {"="})
    responses = tuple(
        Response(id=one, prompt_id="p", text=text, model=f"model {one}", sampling={}, created_at=0)
        for one, text in zip(ids, texts, strict=False)
    )
    labels = []
    for number, ranking in enumerate(rankings):
        tied: list[list[str]] = []
        for place, one in enumerate(ranking.replace("=", "")):
            if place and "=" in ranking[ranking.index(one) - 1]:
                tied[-1].append(one)
            else:
                tied.append([one])
        own = {name: values[number] for name, values in fields.items()}
        labels.append(
            Label(
                uuid=f"u{number}",
                pair_id="x",
                annotator_id=f"ann{number}",
                ranking=tied,
                flags=[],
                created_at=0,
                **{"order_shown": [], "criteria": {}, "edited": {}, **own},
            )
        )
    pair = Pair(id="x", prompt_id="p", round=2, objective="safe", propensity=0.5, created_at=0)
    return JudgedPair(pair, PROMPT, responses, tuple(labels))


def only(judged, **section):
    (preference,) = preferences(judged, SnapshotSection(**section))
    return preference


def test_one_clear_vote_is_a_clear_preference():
    row = only(judged("ba"))
    assert (row.chosen_id, row.rejected_id, row.soft_target, row.weight) == ("b", "a", 1.0, 1.0)
    assert (row.votes_chosen, row.votes_rejected, row.votes_tie) == (1, 0, 0)
    assert (row.chosen[0].text, row.chosen_model, row.rejected_model) == ("two", "model b", "model a")
    assert (row.round, row.objective, row.propensity, row.split, row.group) == (2, "safe", 0.5, "train", "g")
    assert (row.labels, row.annotators) == (("u0",), ("ann0",))


def test_three_votes_to_one_and_a_tie():
    """(3 + 1/2) / 5 = 0.7 for b; the weight is the five votes behind it."""
    row = only(judged("ba", "ba", "ba", "ab", "a=b"))
    assert row.chosen_id == "b"
    assert row.soft_target == pytest.approx(0.7)
    assert (row.votes_chosen, row.votes_rejected, row.votes_tie, row.weight) == (3, 1, 1, 5)


def test_smoothing_adds_votes_to_both_sides():
    """(1 + 1) / (1 + 2) = 2/3; with 0.5 to each side (1 + 0.5) / 2 = 0.75."""
    assert only(judged("ab"), smoothing=1).soft_target == pytest.approx(2 / 3)
    assert only(judged("ab"), smoothing=0.5).soft_target == pytest.approx(0.75)


@pytest.mark.parametrize("rankings", [("a=b",), ("ab", "ba"), ("ab", "ba", "a=b")])
def test_pairs_without_a_winner_are_ties_and_may_be_dropped(rankings):
    assert only(judged(*rankings)).is_tie
    assert preferences(judged(*rankings), SnapshotSection(ties="drop")) == []


def test_too_few_votes_make_no_preference():
    assert preferences(judged("ab", "ab"), SnapshotSection(min_votes=3)) == []
    assert only(judged("ab", "ab"), min_votes=2)


def test_one_text_twice_makes_no_preference():
    assert preferences(judged("ab", texts=("same", "same")), SnapshotSection()) == []


def test_a_ranking_of_three_makes_three_preferences_that_weigh_one_label_together():
    rows = preferences(judged("bca"), SnapshotSection())
    assert {(row.chosen_id, row.rejected_id) for row in rows} == {("b", "c"), ("b", "a"), ("c", "a")}
    assert [row.weight for row in rows] == [pytest.approx(1 / 3)] * 3


def test_ties_inside_a_ranking_are_ties_between_those_two_only():
    rows = {frozenset((row.chosen_id, row.rejected_id)): row for row in preferences(judged("ba=c"), SnapshotSection())}
    assert rows[frozenset("ac")].is_tie
    assert rows[frozenset("ab")].chosen_id == rows[frozenset("bc")].chosen_id == "b"


def test_the_share_of_votes_that_saw_the_chosen_on_the_left():
    shown = [["a", "b"], ["b", "a"], ["b", "a"], []]
    row = only(judged("ba", "ba", "ab", "ba", order_shown=shown))
    assert row.chosen_id == "b"
    assert row.chosen_shown_left == pytest.approx(2 / 3), "of the three whose order is known"
    assert only(judged("ab")).chosen_shown_left is None


def test_strength_is_the_mean_grade_for_the_chosen_side():
    """Grades 3 and 1 for a, 2 for b, one ungraded: (3 + 1 - 2) / 3. A sign says nothing beyond the ranking."""
    row = only(judged("ab", "ab", "ba", "ab", strength=[3, -1, 2, None]))
    assert row.strength == pytest.approx(2 / 3)
    assert only(judged("ab", "ab", "ba", strength=[None, None, 3])).strength == 0
    assert only(judged("ab")).strength is None
    assert preferences(judged("bca", strength=[3]), SnapshotSection())[0].strength is None


def test_comparisons_name_the_outcome_in_canonical_order():
    two = comparisons(judged("ba", "ab", "a=b"))[0]
    assert (two.first.id, two.second.id, two.outcomes) == ("a", "b", [-1, 1, 0])


def test_an_edit_beats_what_it_came_from_and_what_that_one_beat_and_its_label_counts_once():
    """Three comparisons: b over a, the edit over b, the edit over a; each a third of the label."""
    rows = preferences(judged("ba", edited=[{"b": "two, mended"}]), SnapshotSection())
    texts = {(row.chosen[0].text, row.rejected[0].text): row.weight for row in rows}
    assert texts == {
        ("two", "one"): pytest.approx(1 / 3),
        ("two, mended", "two"): pytest.approx(1 / 3),
        ("two, mended", "one"): pytest.approx(1 / 3),
    }
    edit = next(row for row in rows if row.rejected_id == "b")
    assert (edit.chosen_model, edit.rejected_model, edit.chosen_shown_left) == ("human", "model b", None)


def test_an_edit_of_the_worse_response_says_nothing_about_the_better_one():
    rows = preferences(judged("ba", edited=[{"a": "one, mended"}]), SnapshotSection())
    assert {(row.chosen[0].text, row.rejected[0].text) for row in rows} == {("two", "one"), ("one, mended", "one")}


def test_an_edit_that_changes_nothing_is_none_and_the_same_edit_twice_is_one_with_two_votes():
    assert len(preferences(judged("ba", edited=[{"b": "two"}]), SnapshotSection())) == 1
    rows = preferences(judged("ba", "ba", edited=[{"b": "better"}, {"b": "better"}]), SnapshotSection(min_votes=2))
    assert [row.votes_chosen for row in rows] == [2, 2, 2]
    assert sum(row.weight for row in rows) == pytest.approx(2)


def test_ratings_acceptability_and_safety_go_with_their_response():
    """Tone of b: (4 + 5) / 2; a is acceptable to one of two; of safe and unsafe the median is the less safe one."""
    said = [
        {"tone": {"a": 1, "b": 4}, "acceptable": {"a": True}, "safety": {"a": "safe", "b": "safe"}, "whole": 3},
        {"tone": {"b": 5}, "acceptable": {"a": False}, "safety": {"a": "unsafe"}},
    ]
    row = only(judged("ba", "ba", criteria=said))
    assert [one.model_dump() for one in row.chosen_ratings] == [{"name": "tone", "mean": 4.5, "votes": 2}]
    assert [one.mean for one in row.rejected_ratings] == [1]
    assert (row.chosen_acceptable, row.rejected_acceptable) == (None, 0.5)
    assert (row.chosen_safety, row.rejected_safety) == ("safe", "unsafe")
    assert row.swap().swap() == row and row.swap().chosen_safety == "unsafe"
