"""The benchmark of label budgets: every arm spends exactly its budget and is measured the same way."""

import pytest

from benchmarks.loop import ARMS, ROUNDS, recipe_of, run
from benchmarks.micro import FIELDS, WORLD


def test_an_arm_s_recipe_spends_the_budget_over_its_rounds() -> None:
    for arm, sections in ARMS.items():
        recipe = recipe_of(sections, "pantry", 3, 256, ROUNDS[arm])
        assert recipe.labels.per_round * ROUNDS[arm] == 256
        assert recipe.generate.prompts > recipe.labels.per_round and recipe.seed == 3
    assert recipe_of(ARMS["b0"], "pantry", 0, 64, 1).policy.kind == "dpo"


@pytest.mark.slow
def test_all_arms_run_on_a_micro_world() -> None:
    found = run(str(WORLD), list(ARMS), [36], [0], base=FIELDS)
    assert [(row["arm"], row["labels"]) for row in found["results"]] == [(arm, 36) for arm in ARMS]
    assert all(0 <= row["gold_win_rate"] <= 1 and row["prompts"] == 12 for row in found["results"])
    assert [row["seeds"] for row in found["summary"]] == [1, 1, 1] and found["summary"][0]["ci"] is None
