"""Conversations, and the hash that says which prompts are the same."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.errors import BadInput
from annotate.messages import (
    UNSPACED,
    Message,
    as_messages,
    digest,
    flat_text,
    last_text,
    normalised,
    prompt_id,
    to_dicts,
    words,
)

TURNS = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": st.text()}),
    min_size=1,
    max_size=4,
)


def test_text_becomes_one_turn_of_the_user():
    assert to_dicts(as_messages("Hi there")) == [{"role": "user", "content": "Hi there"}]
    assert as_messages("Hi", "assistant")[0].role == "assistant"


@given(TURNS)
def test_messages_survive_the_way_to_dicts_and_back(turns):
    assert to_dicts(as_messages(turns)) == turns
    assert as_messages(as_messages(turns)) == as_messages(turns)
    assert json.loads(json.dumps(to_dicts(as_messages(turns)))) == turns


NO_CONVERSATIONS = [
    *(None, 3, {}, {"role": "user", "content": "x"}, b"text", [], ["Hi"], [{"role": "user"}], [{"content": "x"}]),
    *([{"role": "human", "content": "x"}], [{"role": "user", "content": 3}], [{"role": "user", "content": None}]),
]


@pytest.mark.parametrize("value", NO_CONVERSATIONS)
def test_what_is_no_conversation_is_refused(value):
    with pytest.raises(BadInput):
        as_messages(value)


def test_case_and_white_space_do_not_make_another_prompt_but_words_and_roles_do():
    same = prompt_id(as_messages("What is  a ﬁsh?\n"))
    assert same == prompt_id(as_messages("what is a fish?"))
    assert same != prompt_id(as_messages("what is a dish?"))
    assert same != prompt_id((Message(role="system", content="what is a fish?"),))


def test_where_one_turn_ends_and_the_next_begins_matters():
    one = as_messages([{"role": "user", "content": "a b"}, {"role": "user", "content": "c"}])
    other = as_messages([{"role": "user", "content": "a"}, {"role": "user", "content": "b c"}])
    assert prompt_id(one) != prompt_id(other)


def test_parts_that_are_not_text_are_left_out_of_the_text():
    parts = [
        {"type": "text", "text": "Look: "},
        {"type": "image", "path": "c.png"},
        {"type": "text", "text": "a cat"},
    ]
    messages = as_messages([{"role": "user", "content": parts}])
    assert flat_text(messages) == last_text(messages) == "Look: a cat"


def test_digest_knows_no_order_of_keys_and_takes_any_text():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest("\ud800") != digest("\ud801"), "even text that no file can hold has an id"
    assert len(digest("x", 32)) == 32


def test_normalised_text_is_stable():
    assert normalised("  Ａ\u00a0B\tc ") == "a b c"
    assert normalised(normalised("Straße ﬁn")) == normalised("Straße ﬁn")


@given(st.text())
def test_words_are_cut_at_white_space_alone_in_scripts_that_have_it(text):
    spaced = re.sub(f"[{UNSPACED}]", "", text)
    assert words(spaced) == spaced.split()


def test_each_letter_is_a_word_where_a_script_has_no_spaces():
    assert words("去杭州 2天，OK") == ["去", "杭", "州", "2", "天", "，OK"]
    assert words("すしセット") == ["す", "し", "セ", "ッ", "ト"]
    assert len(words("สวัสดี")) == 6
    assert words("안녕 세계") == ["안녕", "세계"]
