"""Intervals, the human ceiling and the power of a comparison."""

import gzip
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotate.statistics import beta_binomial_ceiling, clustered_bootstrap, clustered_interval, prompts_needed

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "preferences"


def test_the_interval_of_independent_values_is_that_of_the_normal_approximation() -> None:
    """400 values, 240 ones: 0.6 +- 1.966 * sqrt(0.6 * 0.4 / 400) = [0.552, 0.648]."""
    values = [1.0] * 240 + [0.0] * 160
    mean, low, high = clustered_bootstrap(values, range(400), seed=0, n=20_000)
    assert mean == 0.6
    assert low == pytest.approx(0.552, abs=0.003)
    assert high == pytest.approx(0.648, abs=0.003)


def test_copies_of_a_cluster_do_not_narrow_the_interval() -> None:
    values = [1.0] * 12 + [0.0] * 8
    once = clustered_bootstrap(values, range(20), seed=3)
    copied = clustered_bootstrap(values * 50, list(range(20)) * 50, seed=3)
    assert copied == pytest.approx(once)
    pretended = clustered_bootstrap(values * 50, range(1000), seed=3)
    assert pretended.high - pretended.low < 0.3 * (once.high - once.low)


def test_intervals_of_few_clusters_cover_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(400):
        values = rng.normal(size=8)
        _, low, high = clustered_bootstrap(values, range(8), seed=trial, n=500)
        covered += low <= 0 <= high
    assert 0.91 <= covered / 400 <= 0.98


def test_one_cluster_has_no_interval_and_no_values_have_no_mean() -> None:
    mean, low, high = clustered_bootstrap([0.0, 1.0], ["a", "a"], seed=0)
    assert mean == 0.5
    assert np.isnan(low)
    assert np.isnan(high)
    assert np.isnan(clustered_bootstrap([], [], seed=0).mean)
    with pytest.raises(ValueError, match="2 values but 1 clusters"):
        clustered_bootstrap([0.0, 1.0], ["a"], seed=0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 5)), min_size=2, max_size=30), st.integers(0, 9))
def test_mirrored_values_have_a_mirrored_interval(rows: list[tuple[float, int]], seed: int) -> None:
    values, clusters = np.array([row[0] for row in rows]), [row[1] for row in rows]
    here, there = clustered_bootstrap(values, clusters, seed), clustered_bootstrap(1 - values, clusters, seed)
    assert here.mean == pytest.approx(1 - there.mean)
    if not np.isnan(here.low):
        assert here.low == pytest.approx(1 - there.high, abs=1e-9)


@pytest.mark.parametrize(("a", "expected"), [(1.0, 0.75), (0.5, 0.5 + 1 / np.pi)])
def test_the_ceiling_of_drawn_votes_is_the_one_they_were_drawn_from(a: float, expected: float) -> None:
    """Beta(1, 1): the mean of max(p, 1-p) is 3/4. Beta(1/2, 1/2), the arcsine law: 1/2 + 1/pi = 0.818."""
    rng = np.random.default_rng(1)
    shares = rng.beta(a, a, size=4000)
    ones = rng.binomial(5, shares)
    ceiling, low, high = beta_binomial_ceiling((int(one), int(5 - one)) for one in ones)
    assert ceiling == pytest.approx(expected, abs=0.012)
    assert low < expected < high
    assert high - low < 0.05


def test_the_ceiling_does_not_depend_on_which_side_comes_first() -> None:
    votes = [(3.0, 0.0), (1.0, 2.0), (2.0, 2.0), (0.0, 4.0)]
    assert beta_binomial_ceiling(votes) == beta_binomial_ceiling([(b, a) for a, b in votes])


def test_unanimous_votes_have_a_ceiling_near_one_and_even_votes_near_one_half() -> None:
    assert beta_binomial_ceiling([(3, 0)] * 50).mean > 0.99
    assert beta_binomial_ceiling([(5, 5)] * 50).mean < 0.52
    assert np.isnan(beta_binomial_ceiling([(1, 0), (0, 1)]).mean), "single votes cannot tell how people agree"


@pytest.mark.parametrize(("name", "measured"), [("convarg", 0.812), ("llmfao", 0.754)])
def test_the_ceiling_of_real_votes_is_what_single_votes_against_the_others_majority_give(
    name: str, measured: float
) -> None:
    """Both figures are votes against the majority of the other votes, counted on the same files."""
    path = DATA / f"{name}_annotations.jsonl.gz"
    if not path.exists():
        pytest.skip(f"the preference data is not at {path.parent}")
    votes: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if row["preference"] != "tie":
                votes[row["pair_id"]]["ab".index(row["preference"])] += 1
    assert beta_binomial_ceiling((a, b) for a, b in votes.values()).mean == pytest.approx(measured, abs=0.01)


def test_the_prompts_that_a_win_rate_needs_are_the_published_ones() -> None:
    assert [prompts_needed(rate) for rate in (0.53, 0.55, 0.57, 0.6)] == [2178, 783, 398, 194]
    assert prompts_needed(0.4) == prompts_needed(0.6)
    assert prompts_needed(0.5) is None


def test_any_statistic_is_resampled_as_the_mean_is() -> None:
    rng = np.random.default_rng(0)
    values, clusters = rng.normal(size=300), rng.integers(60, size=300)
    mean = clustered_bootstrap(values, clusters, seed=0, n=4000)
    same = clustered_interval(lambda rows: float(values[rows].mean()), clusters, seed=1, n=4000)
    assert same == pytest.approx(mean, abs=0.01)
    assert np.isnan(clustered_interval(lambda rows: 1.0, ["a", "a"], seed=0).low)
    assert np.isnan(clustered_interval(lambda rows: float("nan"), clusters, seed=0, n=20).low)
