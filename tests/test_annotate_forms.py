"""Rows of other tools: recognised by their fields, read whole, refused by the field's name."""

import json

import pytest

from annotate.ballots import Answer
from annotate.errors import BadInput
from annotate.forms import form_of, parse
from annotate.messages import to_dicts
from annotate.rankings import gathered
from annotate.readers import Row

PAIRWISE = {
    "id": 7,
    "project": 2,
    "data": {"prompt": "Why?", "answer1": "Because.", "answer2": "No."},
    "annotations": [
        {
            "id": 31,
            "completed_by": {"id": 4, "email": "ann@example.org", "first_name": "Ann"},
            "was_cancelled": False,
            "created_at": "2026-01-31T16:59:52.000000Z",
            "lead_time": 12.5,
            "result": [
                {"type": "pairwise", "from_name": "pw", "to_name": "answer1,answer2", "value": {"selected": "right"}},
                {"type": "textarea", "from_name": "why", "to_name": "prompt", "value": {"text": ["shorter"]}},
                {"type": "rating", "from_name": "stars", "to_name": "answer2", "value": {"rating": 4}},
                {"type": "choices", "from_name": "topic", "to_name": "prompt", "value": {"choices": ["code"]}},
            ],
        },
        {"id": 32, "completed_by": 5, "was_cancelled": True, "result": []},
    ],
}
RANKER = {
    "id": 8,
    "data": {
        "prompt": [{"role": "user", "content": "Why?"}],
        "items": [{"id": "m1", "title": "M 1", "body": "One."}, {"id": "m2", "title": "M 2", "body": "Two."}],
    },
    "annotations": [
        {
            "id": 1,
            "completed_by": 5,
            "result": [{"type": "ranker", "to_name": "list", "value": {"ranker": {"rank": ["m2", "m1"]}}}],
        }
    ],
}
ARGILLA = {
    "id": "r1",
    "fields": {"prompt": "Why?", "response_1": "Because.", "response_2": "No."},
    "responses": {
        "preference": [
            {"value": ["response_2", "response_1"], "user_id": "u1"},
            {"value": ["response_1", "response_2"], "user_id": "u2"},
        ],
        "why": [{"value": "shorter", "user_id": "u1"}],
        "quality": [{"value": 4, "user_id": "u2"}],
    },
}
RANKS = [{"value": "response-1", "rank": 1}, {"value": "response-2", "rank": 1}]
HELPSTEER3 = {
    "context": [{"role": "user", "content": "Why?"}],
    "response1": "Because.",
    "response2": "No.",
    "overall_preference": -2,
    "individual_preference": [{"score": -2, "reasoning": "says more"}, {"score": 0, "reasoning": ""}],
}
HELPSTEER2 = {
    "prompt": "Hi\n<extra_id_1>Assistant\nHello\n<extra_id_1>User\nWhy?",
    "response_1": "Because.",
    "response_2": "No.",
    "preference_strength": 3,
}
ULTRA = {
    "source": "evol",
    "instruction": "Why?",
    "completions": [
        {
            "model": "m1",
            "response": "Because.",
            "overall_score": 10,
            "annotations": {"honesty": {"Rating": "2"}, "helpfulness": {"Rating": "3"}, "truth": {"Rating": "N/A"}},
        },
        {"model": "m2", "response": "No.", "fine-grained_score": 4.0},
    ],
}
RANKING = {
    "prompt": "Why?",
    "responses": [{"id": "x", "text": "X", "model": "m"}, {"id": "y", "text": "Y"}, {"id": "z", "text": "Z"}],
    "ranking": [["z"], ["x", "y"]],
    "order_shown": ["y", "z", "x"],
    "annotator": "ann",
    "strength": -3,
    "criteria": {"acceptable": {"x": False}, "tone": {"y": 2, "z": 5}, "language": "en"},
    "edited": {"z": "ZZ"},
    "flags": ["unsafe@x", "nonsense"],
    "guideline": "g1",
    "created_at": "2026-01-31T16:59:52+00:00",
    "active_ms": 1500,
    "both_bad": True,
    "uuid": "0123-abcd",
}


def test_a_pairwise_task_keeps_annotator_time_and_what_stands_beside_the_judgment():
    ballot = parse("votes", PAIRWISE)
    assert ballot.answers == (Answer("Because."), Answer("No."))
    (vote,) = ballot.votes
    assert (vote.annotator, vote.ranking, vote.rationale) == ("label-studio#4", ((1,), (0,)), "shorter")
    assert (vote.active_ms, vote.submitted_at) == (12_500, 1_769_878_792.0)
    assert vote.criteria == {"stars": {1: 4}, "topic": "code"}


def test_an_annotation_is_known_again_when_the_task_got_another():
    more = json.loads(json.dumps(PAIRWISE))
    more["annotations"].append({**more["annotations"][0], "id": 33, "completed_by": 6})
    first, both = parse("votes", PAIRWISE), parse("votes", more)
    assert first.votes[0].key == both.votes[0].key != both.votes[1].key


def test_an_address_never_becomes_a_pseudonym():
    task = json.loads(json.dumps(PAIRWISE))
    for who in ({"email": "ann@example.org"}, "ann@example.org"):
        task["annotations"][0]["completed_by"] = who
        assert "ann" not in parse("votes", task).votes[0].annotator


def test_a_ranked_list_keeps_models_and_order():
    ballot = parse("votes", RANKER)
    assert ballot.answers == (Answer("One.", "M 1"), Answer("Two.", "M 2"))
    assert ballot.votes[0].ranking == ((1,), (0,))
    aside = json.loads(json.dumps(RANKER))
    aside["data"]["items"].append({"id": "m3", "title": "Three."})
    aside["annotations"][0]["result"][0]["value"] = {"ranker": {"rank": ["m3"], "_": ["m1", "m2"]}}
    assert parse("votes", aside).votes[0].ranking == ((2,), (0, 1))


def test_a_task_that_nobody_judged_is_a_set_to_be_labelled():
    for task in (PAIRWISE, RANKER):
        ballot = parse("pairs", {**task, "annotations": []})
        assert (len(ballot.answers), ballot.votes) == (2, ())
        assert parse("pairs", task).votes == ()


def test_a_record_of_version_two_is_a_vote_for_each_user():
    ballot = parse("votes", ARGILLA)
    one, two = ballot.votes
    assert (one.annotator, one.ranking, one.rationale, one.criteria) == ("u1", ((1,), (0,)), "shorter", {})
    assert (two.annotator, two.ranking, two.criteria) == ("u2", ((0,), (1,)), {"quality": 4})
    assert one.key != two.key


def test_all_forms_of_a_record_say_the_same():
    fields = {"prompt": "Why?", "response-1": "Because.", "response-2": "No."}
    said = {"user_id": "u1", "value": RANKS, "status": "submitted"}
    draft = {"user_id": "u2", "value": RANKS, "status": "draft"}
    rank_columns = {"rank": [1, 1], "value": ["response-1", "response-2"]}
    forms = [
        {
            "fields": fields,
            "responses": [
                {"user_id": "u1", "values": {"order": {"value": RANKS}}, "status": "submitted"},
                {"user_id": "u2", "values": None, "status": "discarded"},
            ],
        },
        {**fields, "order": [said, draft], "order-suggestion": None, "metadata": "{}"},
        {**fields, "order": {"user_id": ["u1"], "value": [rank_columns], "status": ["submitted"]}},
        {"fields": fields, "responses": {"order": [{"user_id": "u1", "value": "tie"}]}},
        {
            **fields,
            "order.responses": ["tie"],
            "order.responses.users": ["u1"],
            "order.responses.status": ["submitted"],
        },
    ]
    for form in forms:
        ballot = parse("votes", form)
        assert [answer.text for answer in ballot.answers] == ["Because.", "No."], form
        assert [(vote.annotator, vote.ranking) for vote in ballot.votes] == [("u1", ((0, 1),))], form


def test_a_rating_of_each_response_is_a_ranking():
    record = {
        "fields": {"instruction": "Why?", "response_1": "Because.", "response_2": "No."},
        "responses": {f"rating_{n}": [{"value": n + 2, "user_id": "u"}] for n in (1, 2)},
    }
    (vote,) = parse("votes", record).votes
    assert (vote.ranking, vote.criteria) == (((1,), (0,)), {"rating": {0: 3, 1: 4}})


def test_helpsteer_three_keeps_each_annotators_grade_and_reason():
    votes = parse("preferences", HELPSTEER3).votes
    assert sorted((vote.ranking, vote.strength, vote.rationale) for vote in votes) == [
        (((0,), (1,)), 2, "says more"),
        (((0, 1),), 0, ""),
    ]
    assert {vote.annotator for vote in votes} == {"helpsteer3#1", "helpsteer3#2"}


def test_helpsteer_two_parts_the_turns_of_its_prompt():
    ballot = parse("votes", HELPSTEER2)
    assert [turn["content"] for turn in to_dicts(ballot.prompt)] == ["Hi", "Hello", "Why?"]
    assert (ballot.votes[0].ranking, ballot.votes[0].strength) == (((1,), (0,)), 3)
    three = [{"strength": n, "statement": "s", "elaboration": "e"} for n in (1, 2, -1)]
    votes = parse("votes", {**HELPSTEER2, "three_most_similar_preferences": three}).votes
    assert [vote.strength for vote in votes] == [1, 2, 1] and votes[0].rationale == "s\n\ne"


def test_rated_responses_to_the_same_prompt_are_compared():
    rows = [{"prompt": "Why?", "response": text, "helpfulness": n, "verbosity": 1} for text, n in (("A", 1), ("B", 4))]
    alone = {"prompt": "Who?", "response": "C", "helpfulness": 2}
    together, single = gathered(Row(n, row) for n, row in enumerate([*rows, alone], 1))
    vote = parse("votes", together.fields).votes[0]
    assert (together.line, single.line, vote.ranking) == (1, 3, ((1,), (0,)))
    assert vote.criteria == {"helpfulness": {0: 1, 1: 4}, "verbosity": {0: 1, 1: 1}}
    with pytest.raises(BadInput, match="the only one to its prompt"):
        parse("votes", single.fields)


def test_ultrafeedback_ranks_by_the_mean_of_its_aspects():
    ballot = parse("votes", ULTRA)
    assert (ballot.source, ballot.votes[0].ranking) == ("evol", ((1,), (0,)))
    assert ballot.votes[0].criteria == {"honesty": {0: 2.0}, "helpfulness": {0: 3.0}}
    rated = {
        "instruction": "Why?",
        "generations": ["A", "B", "C"],
        "ratings": [1, 5, 5],
        "model_names": ["a", "b", "c"],
    }
    ballot = parse("votes", rated)
    assert ballot.votes[0].ranking == ((1, 2), (0,)) and ballot.answers[2] == Answer("C", "c")


def test_a_vote_over_k_responses_keeps_everything_by_response():
    vote = parse("votes", RANKING).votes[0]
    assert (vote.ranking, vote.shown, vote.strength, vote.both_bad) == (((2,), (0, 1)), (1, 2, 0), -3, True)
    assert vote.criteria == {"acceptable": {0: False}, "tone": {1: 2, 2: 5}, "language": "en"}
    assert (vote.edited, vote.flags, vote.guideline) == ({2: "ZZ"}, (("unsafe", 0), ("nonsense", None)), "g1")
    assert (vote.uuid, vote.active_ms, vote.submitted_at) == ("0123-abcd", 1500, 1_769_878_792.0)
    places = {**RANKING, "responses": ["X", "Y"], "ranking": [[1], [0]], "edited": {"1": "YY"}}
    plain = parse("votes", {name: places[name] for name in ("prompt", "responses", "ranking", "edited", "annotator")})
    assert (plain.votes[0].ranking, plain.votes[0].edited) == (((1,), (0,)), {1: "YY"})


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (PAIRWISE, "Label Studio"),
        (RANKER, "Label Studio"),
        (ARGILLA, "Argilla"),
        (HELPSTEER3, "HelpSteer3"),
        (HELPSTEER2, "HelpSteer2"),
        (ULTRA, "UltraFeedback"),
        (RANKING, "ranking"),
        ({"prompt": "", "responses": [], "ratings": []}, "ratings"),
        ({"response_a": "", "response_b": "", "completions": 3}, "votes"),
        ({"prompt": 3}, "votes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_form_is_seen_by_its_fields(row, name):
    assert form_of("votes", row).name == name


def changed(row, path, value):
    row = json.loads(json.dumps(row))
    inner = row
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return row


NOTE = ("annotations", 0)


@pytest.mark.parametrize(
    ("row", "path", "value", "why"),
    [
        (PAIRWISE, ("data", "prompt"), None, "data: no prompt"),
        (PAIRWISE, ("data", "answer2"), 3, "no two texts of the data"),
        (PAIRWISE, (*NOTE, "result", 0, "value"), {"selected": "up"}, "selected: expected left or right"),
        (PAIRWISE, (*NOTE, "result", 0, "type"), "labels", "has 0 results of a Pairwise or Ranker"),
        (PAIRWISE, (*NOTE, "completed_by"), None, "completed_by"),
        (PAIRWISE, (*NOTE, "lead_time"), "long", "lead_time"),
        (PAIRWISE, (*NOTE, "created_at"), "soon", "created_at"),
        (PAIRWISE, (*NOTE,), "x", "expected objects"),
        (RANKER, (*NOTE, "result", 0, "value", "ranker"), {"good": ["m1"], "bad": ["m2"]}, "buckets say no order"),
        (RANKER, (*NOTE, "result", 0, "value", "ranker", "rank"), ["m1", "m9"], "no list of the data has just"),
        (ARGILLA, ("fields", "prompt"), None, "fields: no prompt"),
        (ARGILLA, ("fields", "response_2"), None, "expected 2 to 16 responses"),
        (ARGILLA, ("responses", "preference", 0, "value"), ["response_2"], "every response exactly once"),
        (ARGILLA, ("responses", "preference", 0, "user_id"), "", "user_id"),
        (ARGILLA, ("responses", "preference"), "x", "preference: expected a list"),
        (ARGILLA, ("responses", "preference"), [], "no question ranks the responses"),
        (ARGILLA, ("responses", "quality"), [{"value": ["response_1", "response_2"], "user_id": "u2"}], "several"),
        (HELPSTEER3, ("individual_preference", 0, "score"), 4, "score: expected a whole number from -3 to 3"),
        (HELPSTEER3, ("context",), [], "context"),
        (HELPSTEER3, ("response1",), None, "response1: missing"),
        (HELPSTEER2, ("preference_strength",), None, "strength: missing"),
        (ULTRA, ("completions", 1, "fine-grained_score"), "N/A", "the score is not a number"),
        (ULTRA, ("completions", 0, "response"), None, "the entry 1 has no response"),
        (ULTRA, ("completions",), [], "expected 2 to 16 of them"),
        (RANKING, ("ranking",), [["x"], ["y"]], "ranking: expected every response exactly once"),
        (RANKING, ("ranking",), [["x", "y"], ["q"]], "ranking: no response is named 'q'"),
        (RANKING, ("edited",), {"q": "x"}, "edited: no response is named 'q'"),
        (RANKING, ("order_shown",), ["x", "x"], "order_shown: a response appears twice"),
        (RANKING, ("uuid",), "no", "uuid"),
        (RANKING, ("annotator",), " ", "annotator: empty"),
        (RANKING, ("strength",), 4, "strength"),
        (RANKING, ("responses", 1, "id"), "x", "an id of its own"),
    ],
)
def test_what_cannot_be_read_is_named_by_its_field(row, path, value, why):
    with pytest.raises(BadInput, match=why):
        parse("votes", changed(row, path, value))
