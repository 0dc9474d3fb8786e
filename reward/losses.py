"""Losses of reward models as pure functions of reward logits. No model, no data, no trainer.

The Bayesian head has its own likelihood in reward/head.py; DPO's loss is in align/losses.py.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def bradley_terry(
    chosen_B: Tensor,
    rejected_B: Tensor,
    margin_B: Tensor | None = None,
    soft_target_B: Tensor | None = None,
    weight_B: Tensor | None = None,
) -> Tensor:
    """Negative log-likelihood that chosen beats rejected, mean over the batch.

    chosen_B, rejected_B: reward logits (nats), shape (B,).
    margin_B: how much better chosen is, same unit, shape (B,); None means 0.
    soft_target_B: probability that chosen is the better one, shape (B,); 0.5 is a tie, None means 1.
    weight_B: share of each pair, mean 1 over the data set (not over the batch), shape (B,); None means 1.
    Raises ValueError when shapes differ.
    Source: Llama 2, https://arxiv.org/abs/2307.09288, eq. 2; soft targets by the cross entropy of both outcomes.
    """
    _same_shape(chosen_B, rejected_B, margin_B, soft_target_B, weight_B)
    logit_B = chosen_B - rejected_B
    if margin_B is not None:
        logit_B = logit_B - margin_B
    loss_B = -logsigmoid(logit_B)
    if soft_target_B is not None:
        loss_B = soft_target_B * loss_B - (1 - soft_target_B) * logsigmoid(-logit_B)
    if weight_B is not None:
        loss_B = weight_B * loss_B
    return loss_B.mean()


def centring(chosen_B: Tensor, rejected_B: Tensor) -> Tensor:
    """Mean squared sum of both rewards: pulls a pair's mean to zero, which Bradley-Terry leaves free.

    chosen_B, rejected_B: reward logits (nats), shape (B,). Multiply by about 0.01.
    Raises ValueError when shapes differ.
    Source: Eisenstein et al. 2023, https://arxiv.org/abs/2312.09244, eq. 2.
    """
    _same_shape(chosen_B, rejected_B)
    return torch.mean((chosen_B + rejected_B) ** 2)


def _same_shape(first: Tensor, *others: Tensor | None) -> None:
    for other in others:
        if other is not None and other.shape != first.shape:
            raise ValueError(f"shapes differ: {tuple(first.shape)} and {tuple(other.shape)}")
