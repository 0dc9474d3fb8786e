"""What rows of others' files mean, form by form."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.ballots import Ballot, hh_turns
from annotate.errors import BadInput
from annotate.formats import (
    MAX_VOTES,
    PARSERS,
    parse_preference,
    parse_prompt,
    parse_set,
    parse_vote,
    row_key,
)
from annotate.messages import to_dicts

VOTE = {"prompt": "Why?", "response_a": "Because.", "response_b": "No.", "annotator": "ann", "preference": "a"}
USER = {"role": "user", "content": "Why?"}
YES, NO = ({"role": "assistant", "content": text} for text in ("Because.", "No."))


def test_a_vote_keeps_all_it_says():
    row = {
        **VOTE,
        "preference": "b",
        "strength": "clear",
        "shown_swapped": True,
        "model_a": "m1",
        "model_b": "m2",
        "acceptable_a": "yes",
        "acceptable_b": "no",
        "rationale": "B is shorter",
        "task_seconds": 12.5,
        "submitted_at": "2023-05-19T13:11:45",
    }
    ballot = parse_vote(row)
    (vote,) = ballot.votes
    assert [(answer.text, answer.model) for answer in ballot.answers] == [("Because.", "m1"), ("No.", "m2")]
    assert vote.ranking == ((1,), (0,))
    assert vote.shown == (1, 0), "swapped: b was shown first"
    assert (vote.strength, vote.criteria, vote.rationale) == (2, {"acceptable": {0: True, 1: False}}, "B is shorter")
    assert vote.active_ms == 12_500
    assert vote.submitted_at == 1_684_501_905.0


def test_a_tie_and_a_vote_that_says_nothing_of_the_order():
    (vote,) = parse_vote({**VOTE, "preference": "tie", "strength": None}).votes
    assert vote.ranking == ((0, 1),)
    assert vote.shown == (0, 1)
    assert vote.submitted_at is None


@pytest.mark.parametrize("zone", ["2023-05-19T13:11:45Z", "2023-05-19T15:11:45+02:00", 1_684_501_905, "1684501905.0"])
def test_times_are_understood_in_the_forms_in_use(zone):
    assert parse_vote({**VOTE, "submitted_at": zone}).votes[0].submitted_at == 1_684_501_905.0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"preference": "c"}, "preference: expected a, b or tie"),
        ({"preference": None}, "preference: missing"),
        ({"preference": 1}, "preference: expected text"),
        ({"annotator": " "}, "annotator: empty"),
        ({"annotator": 7}, "annotator: expected text"),
        ({"response_a": 3}, "response_a: expected text"),
        ({"response_b": None}, "response_b: missing"),
        ({"prompt": ""}, "prompt: empty"),
        ({"prompt": 5}, "prompt: expected text or a list of messages"),
        ({"prompt": [YES]}, "prompt: the last turn is not the user's"),
        ({"strength": "huge"}, "strength: expected a number"),
        ({"strength": 1.5}, "strength: expected clear, slight"),
        ({"strength": 10**400}, "strength: expected a number"),
        ({"shown_swapped": "perhaps"}, "shown_swapped"),
        ({"acceptable_a": 3}, "acceptable_a"),
        ({"submitted_at": "0001-01-01T00:00:00+14:00"}, "not between 1970 and 2100"),
        ({"submitted_at": "yesterday"}, "submitted_at: expected a time"),
        ({"submitted_at": 1_684_501_905_000}, "submitted_at: expected a number"),
        ({"task_seconds": -1}, "task_seconds"),
        ({"task_seconds": math.nan}, "task_seconds"),
        ({"task_seconds": True}, "task_seconds"),
        ({"objective": "funny"}, "objective: expected helpful or safe"),
    ],
)
def test_a_vote_with_a_wrong_field_is_refused_by_its_name(change, why):
    with pytest.raises(BadInput, match=why):
        parse_vote({**VOTE, **change})


PREFERENCES = {
    "explicit text": {"prompt": "Why?", "chosen": "Because.", "rejected": "No."},
    "explicit messages": {"prompt": [USER], "chosen": [YES], "rejected": [NO]},
    "the prompt repeated": {"prompt": "Why?", "chosen": [USER, YES], "rejected": [USER, NO]},
    "conversational": {"chosen": [USER, YES], "rejected": [USER, NO]},
    "HH": {"chosen": "\n\nHuman: Why?\n\nAssistant: Because.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."},
    "HH with a prompt": {"prompt": "\n\nHuman: Why?\n\nAssistant:", "chosen": " Because.", "rejected": " No."},
    "HH beside its prompt": {
        "prompt": "Why?",
        "chosen": "\n\nHuman: Why?\n\nAssistant: Because.",
        "rejected": "\n\nHuman: Why?\n\nAssistant: No.",
    },
}


@pytest.mark.parametrize("form", PREFERENCES)
def test_every_form_of_a_preference_means_the_same(form):
    ballot = parse_preference(PREFERENCES[form])
    assert to_dicts(ballot.prompt) == [USER]
    assert [answer.text for answer in ballot.answers] == ["Because.", "No."]
    assert [vote.ranking for vote in ballot.votes] == [((0,), (1,))]


@pytest.mark.parametrize("side", ["", [{"role": "assistant", "content": ""}]])
def test_an_answer_may_be_empty_as_models_do_say_nothing(side):
    ballot = parse_preference({"prompt": "Why?", "chosen": "Because.", "rejected": side})
    assert ballot.answers[1].text == ""


def test_a_longer_conversation_shares_all_but_the_last_turn():
    shared = [USER, YES, {"role": "user", "content": "Sure?"}]
    ballot = parse_preference({"chosen": [*shared, YES], "rejected": [*shared, NO]})
    assert to_dicts(ballot.prompt) == shared
    text = "\n\nHuman: Why?\n\nAssistant: Because.\n\nHuman: Sure?\n\nAssistant: "
    assert parse_preference({"chosen": text + "Yes.", "rejected": text + "No."}).prompt == ballot.prompt


def test_an_answer_that_mentions_the_assistant_stays_whole():
    text = "\n\nHuman: Who are you?\n\nAssistant: An Assistant: by name.\nHuman: no."
    assert hh_turns(text)[1].text == "An Assistant: by name.\nHuman: no."


def test_counted_votes_become_that_many_votes_by_as_many_stand_ins():
    row = {**PREFERENCES["explicit text"], "votes_chosen": 2, "votes_rejected": 3, "votes_tie": 1, "source": "set"}
    votes = parse_preference(row).votes
    assert sorted(vote.ranking for vote in votes) == sorted([((0,), (1,))] * 2 + [((1,), (0,))] * 3 + [((0, 1),)])
    assert sorted(vote.annotator for vote in votes) == [f"set#{n}" for n in range(1, 7)]
    assert parse_preference(row).votes == votes, "the same row deals the same stand-ins"


def test_no_stand_in_always_sides_with_the_majority():
    rows = [
        {**PREFERENCES["explicit text"], "prompt": f"Why {n}?", "votes_chosen": 3, "votes_tie": 1} for n in range(200)
    ]
    ties = [vote.annotator for row in rows for vote in parse_preference(row).votes if len(vote.ranking) == 1]
    assert all(30 < ties.count(f"import#{n}") < 70 for n in range(1, 5))


@pytest.mark.parametrize(("share", "shown"), [(1.0, (0, 1)), (0, (1, 0)), (0.5, ()), (None, ())])
def test_the_order_shown_is_taken_only_where_it_is_known(share, shown):
    row = {**PREFERENCES["explicit text"], "chosen_shown_left": share, "chosen_was": "a"}
    assert parse_preference(row).votes[0].shown == shown


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"prompt": "Why?", "chosen": "x"}, "rejected: missing"),
        ({"chosen": "x", "rejected": "y"}, "text needs a prompt beside it"),
        ({"prompt": "Why?", "chosen": "x", "rejected": "x"}, "are the same"),
        ({"chosen": [USER, YES], "rejected": [USER, YES]}, "are the same"),
        ({"chosen": [YES], "rejected": [NO]}, "share no prompt"),
        ({"chosen": [USER, YES, NO], "rejected": [USER, NO]}, "chosen: expected one text turn"),
        ({"chosen": [USER, YES], "rejected": [USER]}, "rejected: expected one text turn"),
        ({"prompt": "Why?", "chosen": [], "rejected": "y"}, "chosen: a conversation needs at least one message"),
        ({**PREFERENCES["explicit text"], "votes_chosen": 0}, "holds 0 votes"),
        ({**PREFERENCES["explicit text"], "votes_chosen": 1.5}, "whole number"),
        ({**PREFERENCES["explicit text"], "votes_chosen": -1}, "votes_chosen"),
        ({**PREFERENCES["explicit text"], "votes_chosen": MAX_VOTES, "votes_tie": 1}, "expected 1 to 1000"),
        ({**PREFERENCES["explicit text"], "votes_chosen": 10**30}, "votes_chosen"),
    ],
)
def test_a_preference_that_cannot_be_understood_is_refused_with_the_reason(row, why):
    with pytest.raises(BadInput, match=why):
        parse_preference(row)


def test_a_set_to_be_labelled_may_name_its_models():
    plain = parse_set({"prompt": "Why?", "responses": ["a", "b", ""]})
    assert [answer.text for answer in plain.answers] == ["a", "b", ""]
    assert plain.votes == ()
    named = parse_set({"prompt": "Why?", "responses": [{"text": "a", "model": "m"}, "b"]})
    assert [answer.model for answer in named.answers] == ["m", ""]
    assert parse_set({"prompt": "Why?", "responses": ["a", "b"], "models": ["m", "n"]}).answers[1].model == "n"


@pytest.mark.parametrize(
    "responses", [None, [], ["a"], "ab", ["a", 3], ["a", None], ["a", "a "], ["a"] * 17, [{"model": "m"}, "b"]]
)
def test_a_set_with_nothing_to_compare_is_refused(responses):
    with pytest.raises(BadInput, match="responses"):
        parse_set({"prompt": "Why?", "responses": responses})


@pytest.mark.parametrize(
    ("row", "texts"),
    [
        ({"prompt": "Why?"}, ["Why?"]),
        ({"text": "Why?", "other": 3}, ["Why?"]),
        ({"prompt": [USER]}, ["Why?"]),
        ({"messages": [USER, YES]}, ["Why?"]),
        ({"messages": [USER, YES, USER, NO]}, ["Why?", "Because.", "Why?"]),
        ({"instruction": "Sum up", "input": "A text"}, ["Sum up\n\nA text"]),
        ({"instruction": "Sum up", "input": ""}, ["Sum up"]),
        ({"prompt": None, "text": "Why?"}, ["Why?"]),
    ],
)
def test_a_prompt_is_found_in_the_columns_in_use(row, texts):
    assert [turn.text for turn in parse_prompt(row)] == texts


def test_a_row_without_a_prompt_names_the_columns_it_has():
    with pytest.raises(BadInput, match="expected one of prompt, messages, text, instruction, found answer, question"):
        parse_prompt({"question": "Why?", "answer": "Because."})


def test_rows_are_the_same_only_when_all_of_them_is():
    assert row_key("votes", {"a": 1, "b": [{"c": 2}]}) == row_key("votes", {"b": [{"c": 2}], "a": 1})
    assert row_key("votes", VOTE) != row_key("votes", {**VOTE, "submitted_at": "2023-05-19T13:11:45"})
    assert row_key("votes", VOTE) != row_key("pairs", VOTE)


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["user", "a", "tie"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "text"]), inner),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", PARSERS)
@given(data=st.data())
def test_a_row_is_understood_or_refused_whatever_it_holds(kind, data):
    good = {
        "votes": VOTE,
        "preferences": PREFERENCES["explicit text"],
        "pairs": {"prompt": "Why?", "responses": ["a", "b"]},
    }[kind]
    row = {**good, **data.draw(st.dictionaries(st.sampled_from([*sorted(good), "strength", "submitted_at"]), ANY))}
    try:
        ballot = PARSERS[kind](row)
    except BadInput:
        return
    assert isinstance(ballot, Ballot)
    assert len(ballot.answers) >= 2
    assert all(sorted(place for tied in vote.ranking for place in tied) == [0, 1] for vote in ballot.votes)
