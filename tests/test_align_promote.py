"""The gate promotes what is better and says in plain words why not otherwise."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.promote import GateSection, decide

GOOD: dict[str, Any] = {
    "prompts": 300,
    "win_rate": 0.7,
    "win_rate_ci": [0.65, 0.75],
    "win_rate_champion": 0.6,
    "win_rate_champion_ci": [0.55, 0.65],
    "kl": 5.0,
    "length": 22.0,
    "length_sft": 20.0,
    "repetition": 0.05,
    "repetition_sft": 0.04,
    "finished": 0.99,
    "finished_sft": 0.98,
    "agreement": 0.6,
    "agreement_sft": 0.65,
}


def test_a_candidate_that_is_better_and_whole_is_promoted() -> None:
    verdict = decide(GOOD, GateSection())
    assert verdict.promoted
    assert "wins 60.0% of its comparisons with the champion on 300 prompts" in verdict.reasons[0]
    assert verdict.evidence["win_rate_champion_ci"] == [0.55, 0.65]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"win_rate_champion_ci": [0.5, 0.6]}, "does not lie above 50%"),
        ({"win_rate_champion_ci": None}, "no interval"),
        ({"win_rate": 0.45}, "prefers the SFT model"),
        ({"prompts": 49}, "only 49 held-out prompts"),
        ({"kl": 30.1}, "nats a response"),
        ({"length": 36.1}, "much longer"),
        ({"length": 4.9}, "much shorter"),
        ({"repetition": 0.15}, "repeats itself"),
        ({"finished": 0.87}, "come to an end"),
        ({"agreement": 0.44}, "was gamed"),
    ],
)
def test_each_guard_alone_rejects_and_says_why(change: dict[str, Any], said: str) -> None:
    verdict = decide(GOOD | change, GateSection())
    assert not verdict.promoted
    assert len(verdict.reasons) == 1
    assert said in verdict.reasons[0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("win_rate", 0.55),
        ("min_prompts", 301),
        ("max_kl", 4.9),
        ("max_length_ratio", 1.05),
        ("max_repetition", 0.005),
        ("max_unfinished", 0.0),
        ("min_agreement", 0.61),
    ],
)
def test_every_field_of_the_gate_can_turn_the_verdict(field: str, value: float) -> None:
    metrics = GOOD | {"finished": 0.979}
    assert decide(metrics, GateSection()).promoted
    assert not decide(metrics, GateSection(**{field: value})).promoted


def test_answers_may_get_much_shorter_but_not_silent() -> None:
    shorter = GOOD | {"length": 11.0}
    assert decide(shorter, GateSection()).promoted
    assert not decide(shorter, GateSection(min_length_ratio=0.6)).promoted


AT_ITS_LIMIT = {"win_rate": 0.5, "prompts": 50, "kl": 30.0, "repetition": 0.125, "repetition_sft": 0.0}
AT_ITS_LIMIT |= {"finished": 0.875, "finished_sft": 1.0, "agreement": 0.45}


@pytest.mark.parametrize("length", [5.0, 36.0])
def test_a_figure_exactly_at_its_limit_is_still_within_it(length: float) -> None:
    gate = GateSection(max_repetition=0.125, max_unfinished=0.125)
    assert decide(GOOD | AT_ITS_LIMIT | {"length": length}, gate).promoted


def test_every_reason_against_a_candidate_is_told_at_once() -> None:
    bad = {"win_rate_champion_ci": [0.4, 0.6], "win_rate": 0.4, "kl": 31.0, "length": 60.0, "repetition": 0.5}
    verdict = decide(GOOD | bad | {"finished": 0.5, "agreement": 0.2}, GateSection())
    assert len(verdict.reasons) == 7 and not verdict.promoted


@pytest.mark.parametrize("without", ["repetition_sft", "finished_sft", "length_sft", "length"])
def test_a_guard_needs_both_its_figures(without: str) -> None:
    assert decide(GOOD | {without: None}, GateSection()).promoted
    assert decide({name: value for name, value in GOOD.items() if name != without}, GateSection()).promoted


def test_a_change_is_told_with_its_direction() -> None:
    verdict = decide(GOOD | {"repetition": 0.24, "finished": 0.68}, GateSection())
    assert "24.0% repeated word pairs, +20.0% on the SFT model" in verdict.reasons[0]
    assert "only 68.0% of its responses come to an end, -30.0% on the SFT model" in verdict.reasons[1]


@pytest.mark.parametrize(("rate", "prompts"), [(0.4, 300), (0.5, 300), (0.6, 194), (0.6, 300)])
def test_more_prompts_are_advised_only_where_they_could_tell(rate: float, prompts: int) -> None:
    """A candidate that loses is not helped by more of them, nor one that has as many as its margin takes (0.6: 194)."""
    metrics = GOOD | {"win_rate_champion": rate, "win_rate_champion_ci": [0.3, 0.7], "prompts": prompts}
    [reason] = decide(metrics, GateSection()).reasons
    assert reason.endswith("does not lie above 50%")


def test_a_margin_too_small_for_so_few_prompts_names_how_many_it_takes() -> None:
    verdict = decide(GOOD | {"win_rate_champion": 0.53, "win_rate_champion_ci": [0.48, 0.58]}, GateSection())
    assert "takes about 2178 prompts, here are 300" in verdict.reasons[0]


def test_figures_that_could_not_be_measured_guard_nothing() -> None:
    metrics = GOOD | dict.fromkeys(("kl", "length", "repetition", "finished", "agreement"))
    assert decide(metrics, GateSection()).promoted


@given(st.floats(0, 1))
def test_gold_never_enters_the_verdict(gold: float) -> None:
    with_gold = GOOD | {"gold_win_rate": gold, "gold_win_rate_ci": [gold, gold], "gold_win_rate_champion": gold}
    assert decide(with_gold, GateSection()) == decide(GOOD, GateSection())
