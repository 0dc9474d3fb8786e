"""Bradley-Terry by hand, by symmetry and beside TRL."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reward.losses import bradley_terry, centring

REAL = st.floats(-8, 8, width=32)
ROWS = st.lists(st.tuples(REAL, REAL, REAL, st.floats(0, 1, width=32)), min_size=1, max_size=6)


def test_the_loss_of_two_pairs_is_the_one_worked_out_by_hand() -> None:
    """Margins 2 - 0 = 2 and 1 - 1 = 0: (ln(1 + e^-2) + ln 2) / 2 = (0.126928 + 0.693147) / 2 = 0.410038."""
    loss = bradley_terry(torch.tensor([2.0, 1.0]), torch.tensor([0.0, 1.0]))
    assert loss.item() == pytest.approx(0.410038, abs=1e-6)


def test_a_margin_moves_the_difference_that_is_asked_for() -> None:
    """2 - 0 - 1.5 = 0.5: ln(1 + e^-0.5) = 0.474077."""
    loss = bradley_terry(torch.tensor([2.0]), torch.tensor([0.0]), margin_B=torch.tensor([1.5]))
    assert loss.item() == pytest.approx(0.474077, abs=1e-6)


def test_a_soft_target_weighs_both_outcomes() -> None:
    """Difference 2, q = 0.75: 0.75 * 0.126928 + 0.25 * 2.126928 = 0.626928; a tie at 0 costs ln 2."""
    loss = bradley_terry(torch.tensor([2.0]), torch.tensor([0.0]), soft_target_B=torch.tensor([0.75]))
    assert loss.item() == pytest.approx(0.626928, abs=1e-6)
    tie = bradley_terry(torch.tensor([3.0]), torch.tensor([3.0]), soft_target_B=torch.tensor([0.5]))
    assert tie.item() == pytest.approx(math.log(2), abs=1e-6)


def test_a_tie_pulls_both_rewards_together() -> None:
    chosen = torch.tensor([2.0], requires_grad=True)
    bradley_terry(chosen, torch.tensor([0.0]), soft_target_B=torch.tensor([0.5])).backward()
    assert chosen.grad is not None
    assert chosen.grad.item() == pytest.approx(torch.sigmoid(torch.tensor(2.0)).item() - 0.5, abs=1e-6)


def test_weights_share_out_the_loss_without_renormalising_the_batch() -> None:
    """Weights 2 and 0 on losses 0.126928 and 0.693147: (2 * 0.126928 + 0) / 2 = 0.126928."""
    loss = bradley_terry(torch.tensor([2.0, 1.0]), torch.tensor([0.0, 1.0]), weight_B=torch.tensor([2.0, 0.0]))
    assert loss.item() == pytest.approx(0.126928, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_swapping_the_sides_mirrors_the_loss(rows: list[tuple[float, float, float, float]]) -> None:
    chosen, rejected, margin, target = (torch.tensor(column) for column in zip(*rows, strict=True))
    here = bradley_terry(chosen, rejected, margin, target)
    there = bradley_terry(rejected, chosen, -margin, 1 - target)
    assert here.item() == pytest.approx(there.item(), rel=1e-4, abs=1e-5)


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        bradley_terry(torch.zeros(2), torch.zeros(2), soft_target_B=torch.zeros(1))
    with pytest.raises(ValueError, match="shapes differ"):
        centring(torch.zeros(2), torch.zeros(3))


@pytest.mark.parametrize("with_margin", [False, True])
def test_hard_labels_cost_what_trls_reward_trainer_says(with_margin: bool) -> None:
    from trl import RewardTrainer

    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(16, 1, generator=generator) * 3
    chosen, rejected = logits.squeeze(-1).chunk(2)
    margin = torch.rand(8, generator=generator) if with_margin else None
    ours = bradley_terry(chosen, rejected, margin) + 0.01 * centring(chosen, rejected)
    assert ours.item() == pytest.approx(_trl_loss(RewardTrainer, logits, margin), abs=1e-5)


def _trl_loss(trainer: Any, logits: torch.Tensor, margin: torch.Tensor | None) -> float:
    """TRL's loss for given logits: its own compute_loss, with a model that returns them."""
    from collections import defaultdict

    inputs: dict[str, Any] = {"attention_mask": torch.ones(16, 1)}
    if margin is not None:
        inputs["margin"] = margin
    accelerator = SimpleNamespace(gather=lambda value: value, gather_for_metrics=lambda value: value)
    state = SimpleNamespace(
        model=SimpleNamespace(training=True),
        args=SimpleNamespace(center_rewards_coefficient=0.01),
        accelerator=accelerator,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    return float(trainer.compute_loss(state, lambda **_: SimpleNamespace(logits=logits), inputs))
