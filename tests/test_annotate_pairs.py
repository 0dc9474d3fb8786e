"""Which responses are compared: every pair of distinct ones equally likely, with its true propensity."""

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.errors import BadInput
from annotate.pairs import CandidatePair, PairsSection, choose_pairs, near_identical

LONG = " ".join(f"word{number}" for number in range(100))


def rows(*texts: str, prompt: str = "p") -> list[dict[str, str]]:
    return [{"id": f"{prompt}{place}", "prompt_id": prompt, "text": text} for place, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        ("Twelve minutes.", "twelve  MINUTES.", True),
        ("", "  ", True),
        ("yes", "no", False),
        ("Yes, 4.", "Yes, 5.", False),
        ("", "x", False),
        (LONG, LONG.replace("word50", "other"), True),
        (LONG, LONG[: len(LONG) // 2], False),
        ("a b a b a b", "a b", False),
        ("去杭州玩" * 20, "去杭州玩" * 20 + "吧", True),
        ("带毛衣。", "带短袖。", False),
        ("take the pan off the heat", "take the heat off the pan", False),
    ],
)
def test_near_identical_means_nearly_the_same_words_in_the_same_order(first: str, second: str, alike: bool) -> None:
    assert near_identical(first, second) is near_identical(second, first) is alike


@given(st.text(), st.text())
def test_likeness_is_symmetric_and_every_text_is_like_itself(first: str, second: str) -> None:
    assert near_identical(first, first)
    assert near_identical(first, second) == near_identical(second, first)


def test_the_propensity_is_one_over_the_number_of_distinct_pairs() -> None:
    """Four distinct texts make 6 pairs, of which 2 are drawn: each with probability 2/6."""
    chosen = choose_pairs(rows("a", "b", "c", "d"), PairsSection(per_prompt=2, overlap=3), round=4, seed=0)
    assert [(pair.propensity, pair.overlap, pair.round, pair.strategy) for pair in chosen] == [
        (2 / 6, 3, 4, "random")
    ] * 2
    assert len({pair.id for pair in chosen}) == 2


def test_a_pair_is_drawn_as_often_as_its_propensity_says() -> None:
    """4000 prompts with 4 responses, 2 of 6 pairs each: 1333 times each pair, within 4 standard errors (30)."""
    many = [row for number in range(4000) for row in rows("a", "b", "c", "d", prompt=f"{number}-")]
    chosen = choose_pairs(many, PairsSection(per_prompt=2, most=8000), round=1, seed=5)
    drawn = Counter(tuple(one[-1] for one in pair.responses) for pair in chosen)
    assert set(drawn) == set(combinations("0123", 2))
    assert all(abs(count - 4000 / 3) < 4 * (4000 * 2 / 9) ** 0.5 for count in drawn.values())


def test_of_too_many_pairs_a_uniform_sample_is_kept_with_the_propensity_of_both_draws() -> None:
    """40 prompts of 3 distinct responses, one of 3 pairs each, 10 kept: 1/3 * 10/40. Over 2000 seeds each prompt is
    kept 500 times, within 4 standard errors (4 * sqrt(2000 * .25 * .75) = 77)."""
    many = [row for number in range(40) for row in rows("a", "b", "c", prompt=f"{number:02}-")]
    kept = Counter[str]()
    for seed in range(2000):
        chosen = choose_pairs(many, PairsSection(most=10), round=1, seed=seed)
        assert [pair.prompt_id for pair in chosen] == sorted({pair.prompt_id for pair in chosen})
        assert [pair.propensity for pair in chosen] == [pytest.approx(1 / 12)] * 10
        kept.update(pair.prompt_id for pair in chosen)
    assert len(kept) == 40
    assert all(abs(count - 500) < 77 for count in kept.values())
    every = choose_pairs(many, PairsSection(most=40), round=1, seed=7)
    assert [pair.propensity for pair in every] == [1 / 3] * 40
    some = choose_pairs(many, PairsSection(most=10), round=1, seed=7)
    assert {pair.id for pair in some} < {pair.id for pair in every}


def test_near_identical_responses_are_left_out() -> None:
    texts = ("Twelve minutes.", "twelve minutes.", "Ten minutes.", LONG, LONG.replace("word7 ", "word8 "))
    chosen = choose_pairs(rows(*texts), PairsSection(per_prompt=99), round=1, seed=0)
    assert {(pair.responses, pair.propensity) for pair in chosen} == {
        (both, 1.0) for both in combinations(("p0", "p2", "p3"), 2)
    }
    assert choose_pairs(rows("same", "Same", "SAME"), PairsSection(), round=1, seed=0) == []


def test_the_order_of_the_rows_and_other_prompts_change_nothing() -> None:
    some, other = rows("a", "b", "c", "d"), rows("e", "f", "g", prompt="q")
    section = PairsSection(per_prompt=2)
    alone = choose_pairs(some, section, round=1, seed=3)
    assert choose_pairs([*reversed(some), *other], section, round=1, seed=3)[:2] == alone
    seeds = {tuple(pair.id for pair in choose_pairs(some, section, round=1, seed=seed)) for seed in range(20)}
    assert len(seeds) > 3
    assert choose_pairs(some, section, round=2, seed=3)[0].id != alone[0].id


def test_more_than_two_can_be_ranked_at_once() -> None:
    """Five distinct texts make 10 triples."""
    chosen = choose_pairs(rows("a", "b", "c", "d", "e"), PairsSection(k=3, per_prompt=4), round=1, seed=0)
    assert len(chosen) == 4 and all(len(set(pair.responses)) == 3 and pair.propensity == 0.4 for pair in chosen)
    assert choose_pairs(rows("a", "b"), PairsSection(k=3), round=1, seed=0) == []


def test_a_candidate_survives_its_file_and_its_id_says_what_is_asked() -> None:
    pair = CandidatePair("p", ("x", "y"), 2, propensity=0.5, gold_response_id="y", source="import")
    assert CandidatePair.from_row(pair.row()) == pair
    assert CandidatePair("p", ("y", "x"), 2, overlap=9).id == pair.id
    others = [
        CandidatePair("q", ("x", "y"), 2),
        CandidatePair("p", ("x", "z"), 2),
        CandidatePair("p", ("x", "y"), 3),
        CandidatePair("p", ("x", "y"), 2, objective="safe"),
    ]
    assert len({pair.id, *(other.id for other in others)}) == 5


@pytest.mark.parametrize(
    "fields",
    [
        {"responses": ("x",)},
        {"responses": ("x", "x")},
        {"responses": ("x", "y"), "overlap": -1},
        {"responses": ("x", "y"), "gold_response_id": "z"},
    ],
)
def test_a_senseless_pair_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(BadInput, match="prompt p"):
        CandidatePair.from_row({"prompt_id": "p", "round": 1, **fields})
