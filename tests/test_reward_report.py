"""The figures of a reward model: worked out by hand, ties included, on disjoint prompts only."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotate.errors import BadInput
from annotate.messages import Message
from annotate.preference import Preference
from reward.holdout import ENOUGH, by_split, folds, group_of, hold_out
from reward.report import Measured, calibration_error, measure, reliability, report


def preference(chosen: str = "ab", rejected: str = "a", group: str = "g", **fields: Any) -> Preference:
    return Preference(
        prompt=(Message(role="user", content=f"prompt {group}"),),
        chosen=(Message(role="assistant", content=chosen),),
        rejected=(Message(role="assistant", content=rejected),),
        group=group,
        **fields,
    )


def measured(margins: list[float], preferences: list[Preference], scale: float = 1.0) -> Measured:
    margin = np.array(margins)
    return Measured(preferences, margin, 1 / (1 + np.exp(-scale * margin)), "test split")


def test_accuracy_counts_equal_scores_half_and_leaves_ties_out() -> None:
    """Right, wrong, equal and a tie: (1 + 0 + 1/2) / 3 = 1/2. The longer is chosen in 2 of 3, once equal: 2.5 / 3."""
    pairs = [
        preference(group="a"),
        preference(group="b"),
        preference("a", "b", group="c"),
        preference("long", "s", group="d", soft_target=0.5),
    ]
    figures = measure(measured([1, -1, 0, 9], pairs), pairs, seed=0)
    assert figures["accuracy"] == pytest.approx(0.5)
    assert figures["length_only"] == pytest.approx(2.5 / 3)
    assert (figures["pairs"], figures["ties"], figures["prompts"]) == (3, 1, 4)
    assert figures["accuracy_ci"][0] < 0.5 < figures["accuracy_ci"][1]


def test_agreement_with_votes_is_bounded_by_the_ceiling_of_those_votes() -> None:
    """Half of the pairs are decided 3:0, half 2:1; whoever always takes the majority agrees with 5 of 6 votes."""
    pairs = [
        preference(group=str(k), votes_chosen=3 if k % 2 else 2, votes_rejected=0 if k % 2 else 1) for k in range(80)
    ]
    figures = measure(measured([1.0] * 80, pairs), pairs, seed=0)
    assert figures["vote_accuracy"] == pytest.approx(5 / 6)
    assert figures["accuracy_over_ceiling"] == pytest.approx(figures["vote_accuracy"] / figures["ceiling"])
    assert figures["ceiling_ci"][0] < figures["ceiling"] < figures["ceiling_ci"][1]


def test_without_repeated_votes_there_is_no_ceiling() -> None:
    pairs = [preference(group=str(k)) for k in range(20)]
    figures = measure(measured([1.0] * 20, pairs), pairs, seed=0)
    assert figures["ceiling"] is None
    assert figures["accuracy_over_ceiling"] is None
    assert figures["vote_accuracy"] == 1.0


def test_calibration_error_and_brier_are_the_ones_worked_out_by_hand() -> None:
    """Ten pairs at confidence 0.8 with six right: |0.8 - 0.6| = 0.2; Brier 0.6 * 0.04 + 0.4 * 0.64 = 0.28."""
    probability = np.array([0.8] * 6 + [0.2] * 4)
    assert calibration_error(probability, np.ones(10)) == pytest.approx(0.2)
    pairs = [preference(group=str(k)) for k in range(10)]
    figures = measure(Measured(pairs, probability - 0.5, probability, ""), pairs, seed=0)
    assert figures["ece"] == pytest.approx(0.2)
    assert figures["brier"] == pytest.approx(0.28)


def test_a_coin_is_calibrated_and_has_a_brier_score_of_a_quarter_ties_or_not() -> None:
    assert calibration_error(np.full(30, 0.5), np.full(30, 0.5)) == 0
    pairs = [preference(group=str(k), soft_target=(0.5, 0.8, 1.0)[k % 3]) for k in range(30)]
    assert measure(Measured(pairs, np.zeros(30), np.full(30, 0.5), ""), pairs, seed=0)["brier"] == pytest.approx(0.25)


def test_calibration_does_not_depend_on_which_side_is_called_chosen() -> None:
    rng = np.random.default_rng(0)
    probability, target = rng.random(60), rng.choice([0.5, 0.7, 1.0], 60)
    swapped = calibration_error(1 - probability, 1 - target)
    assert calibration_error(probability, target) == pytest.approx(swapped)


def test_length_correlation_finds_a_model_that_only_measures_length() -> None:
    """The answers' lengths are random given the preference; one model reads the length, the other does not."""
    rng = np.random.default_rng(1)
    pairs = [preference("x" * rng.integers(1, 90), "x" * rng.integers(1, 90), group=str(k)) for k in range(300)]
    by_length = [float(np.log((len(one.chosen[0].text) + 1) / (len(one.rejected[0].text) + 1))) + 0.5 for one in pairs]
    other = list(rng.normal(size=300) + 0.5)
    assert measure(measured(by_length, pairs), pairs, seed=0)["length_correlation"] > 0.95
    low, high = measure(measured(other, pairs), pairs, seed=0)["length_correlation_ci"]
    assert low < 0 < high


def test_the_report_is_one_page_that_asks_for_nothing_outside(tmp_path: Path) -> None:
    pairs = [preference(group=str(k)) for k in range(60)]
    rng = np.random.default_rng(0)
    figures = report(measured(list(rng.normal(1, 1, 60)), pairs), pairs, tmp_path, seed=0)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "http" not in page
    assert "<svg" in page
    assert f"{figures['accuracy']:.3f}" in page
    stored = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert stored["accuracy"] == figures["accuracy"]
    assert sum(bin["pairs"] for bin in stored["reliability"]) == 60


def test_a_report_on_nothing_says_so_instead_of_failing(tmp_path: Path) -> None:
    figures = report(Measured([], np.zeros(0), np.zeros(0), "no other split"), [], tmp_path, seed=0)
    assert figures["pairs"] == 0
    assert [figures[key] for key in ("accuracy", "accuracy_ci", "length_only", "ceiling", "ece")] == [None] * 5
    assert reliability(Measured([], np.zeros(0), np.zeros(0), "")) == []


def test_only_ties_give_no_accuracy_but_calibration(tmp_path: Path) -> None:
    pairs = [preference(group=str(k), soft_target=0.5) for k in range(12)]
    figures = report(measured([2.0] * 12, pairs), pairs, tmp_path, seed=0)
    assert figures["accuracy"] is None
    assert figures["ties"] == 12
    assert figures["ece"] == pytest.approx(1 / (1 + np.exp(-2)) - 0.5)


def test_a_model_is_measured_on_the_other_splits_where_they_hold_enough() -> None:
    rows = [preference(group=f"t{k}") for k in range(30)]
    rows += [preference(group=f"v{k}", split="validation") for k in range(ENOUGH)]
    train, others, source = hold_out(rows, "train", seed=0)
    assert (len(train), len(others), source) == (30, ENOUGH, "validation split")
    referee = hold_out(rows, "validation", seed=0)
    assert {one.split for one in referee.train} == {"validation"}
    assert not {group_of(one) for one in referee.train} & {group_of(one) for one in referee.measure}


def test_with_few_pairs_elsewhere_a_fifth_of_the_prompts_is_kept_out_of_training() -> None:
    rows = [preference(group=f"t{k // 2}") for k in range(100)] + [preference(group="v", split="test")]
    train, others, source = hold_out(rows, "train", seed=0)
    assert (len(train), len(others)) == (80, 21)
    assert "fifth" in source
    assert not {group_of(one) for one in train} & {group_of(one) for one in others}


def test_folds_keep_a_prompt_together_and_are_even() -> None:
    rows = [preference(group=str(k // 3)) for k in range(60)]
    fold = folds(rows, 5, seed=0)
    assert list(fold[::3]) == list(fold[1::3]) == list(fold[2::3])
    assert np.bincount(fold).tolist() == [12] * 5


def test_a_split_without_preferences_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(BadInput, match=r"validation split.*trueloop annotate"):
        by_split([preference()], "validation")
