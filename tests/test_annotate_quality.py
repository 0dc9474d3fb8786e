"""Agreement, alpha and the majority, against numbers derived by hand and on real votes."""

import gzip
import json
import math
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import pytest

from annotate.quality import TIE, agreement_interval, krippendorff_alpha, majority, pairwise_agreement, summary

DATA = Path(__file__).parents[2] / "shared" / "data" / "preferences"


def real_votes(name: str) -> dict[str, list[int]]:
    """Outcomes by pair of one of the real sets."""
    path = DATA / f"{name}_annotations.jsonl.gz"
    if not path.exists():
        pytest.skip("the shared preference data is not here")
    items: dict[str, list[int]] = defaultdict(list)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            items[row["pair_id"]].append({"a": 1, "b": -1, "tie": TIE}[row["preference"]])
    return items


def test_agreement_counts_pairs_of_votes():
    """[1,1,-1]: of 3 pairs 1 agrees; [0,0]: 1 of 1; one vote alone says nothing: 2 of 4."""
    assert pairwise_agreement([[1, 1, -1], [0, 0], [1]]) == pytest.approx(2 / 4)


def test_nothing_to_compare_is_not_a_number_rather_than_perfect():
    assert math.isnan(pairwise_agreement([[1], [-1]]))
    assert math.isnan(krippendorff_alpha([[1], [-1]]))
    assert math.isnan(krippendorff_alpha([[1, 1], [1, 1]])), "without variation there is no disagreement to expect"


def test_alpha_of_a_small_table_is_the_one_derived_by_hand():
    """Items [1,1], [-1,-1], [1,-1], each with 2 votes, n = 6, margins 3 and 3.

    Coincidences: the third item gives o(1,-1) = o(-1,1) = 1, so observed = 2. Expected = 2 * 3 * 3 / 5 = 3.6.
    alpha = 1 - 2 / 3.6 = 0.4444.
    """
    assert krippendorff_alpha([[1, 1], [-1, -1], [1, -1]]) == pytest.approx(1 - 2 / 3.6)


def test_alpha_weighs_items_by_their_votes_and_leaves_out_lone_ones():
    """[1,1,-1]: ordered pairs that differ 4, over m - 1 = 2 gives 2; [0,0]: 0; n = 5, margins 2, 1, 2.

    Expected = (2*3 + 1*4 + 2*3) / 4 = 4. alpha = 1 - 2/4 = 0.5. The lone vote changes nothing.
    """
    assert krippendorff_alpha([[1, 1, -1], [0, 0], [1]]) == pytest.approx(0.5)


def test_alpha_is_one_for_perfect_and_about_zero_for_random_votes():
    import numpy as np

    assert krippendorff_alpha([[1, 1, 1], [-1, -1], [0, 0]]) == 1
    rng = np.random.default_rng(0)
    assert abs(krippendorff_alpha(rng.integers(-1, 2, size=(4000, 3)).tolist())) < 0.03


def test_a_shared_first_place_is_a_tie():
    assert majority([1, 1, -1]) == 1
    assert majority([1, -1]) == TIE
    assert majority([]) == TIE


def test_interval_of_agreement_widens_when_items_depend_on_each_other():
    """Ten prompts, each with ten pairs that all agree or all do not: ten facts, not a hundred."""
    items = [[1, 1] if prompt % 2 else [1, -1] for prompt in range(10) for _ in range(10)]
    alone = agreement_interval(items, list(range(100)), seed=0)
    together = agreement_interval(items, [place // 10 for place in range(100)], seed=0)
    assert alone.mean == together.mean == 0.5
    assert together.high - together.low > 2 * (alone.high - alone.low)


@pytest.mark.parametrize(("name", "ceiling"), [("convarg", 0.810), ("llmfao", 0.755)])
def test_the_ceiling_of_real_votes_is_the_published_one(name, ceiling):
    figures = summary(real_votes(name).values(), annotators=0)
    assert figures.ceiling.mean == pytest.approx(ceiling, abs=0.002)
    assert figures.ceiling.low < ceiling < figures.ceiling.high


@pytest.mark.parametrize("name", ["llmfao", "openinstruct", "pandalm"])
def test_agreement_on_real_votes_equals_the_plain_count(name):
    """The same figure from a double loop over votes, and alpha from the full matrix of coincidences."""
    items = list(real_votes(name).values())
    together = [(x == y) for item in items for x, y in combinations(item, 2)]
    figures = summary(items, annotators=0)
    assert figures.raw == pytest.approx(sum(together) / len(together))
    coincidences: dict[tuple[int, int], float] = defaultdict(float)
    for item in items:
        for i, x in enumerate(item):
            for j, y in enumerate(item):
                if i != j:
                    coincidences[x, y] += 1 / (len(item) - 1)
    margin = {value: sum(v for (x, _), v in coincidences.items() if x == value) for value in (1, -1, 0)}
    total = sum(margin.values())
    observed = sum(v for (x, y), v in coincidences.items() if x != y)
    expected = sum(margin[x] * margin[y] for x in margin for y in margin if x != y) / (total - 1)
    assert figures.alpha == pytest.approx(1 - observed / expected)


@pytest.mark.parametrize(
    ("name", "raw", "clear", "alpha"),
    [("convarg", 0.52, 0.73, 0.27), ("llmfao", 0.53, 0.70, 0.29), ("pandalm", 0.92, 0.95, 0.86)],
)
def test_agreement_on_real_votes_is_near_the_published_one(name, raw, clear, alpha):
    """The published figures were counted on slightly other selections of the votes; within 0.06 they are the same."""
    figures = summary(real_votes(name).values(), annotators=0)
    assert figures.raw == pytest.approx(raw, abs=0.06)
    assert figures.raw_without_ties == pytest.approx(clear, abs=0.06)
    assert figures.alpha == pytest.approx(alpha, abs=0.06)
