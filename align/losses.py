"""Losses of policies as pure functions of log-probabilities. No model, no data, no trainer.

The reward model's losses are in reward/losses.py.
"""

from torch import Tensor
from torch.nn.functional import logsigmoid


def dpo(
    chosen_ratio_B: Tensor,
    rejected_ratio_B: Tensor,
    beta: float,
    soft_target_B: Tensor | None = None,
    weight_B: Tensor | None = None,
) -> Tensor:
    """Negative log-likelihood of the preferences under the policy's implicit reward, mean over the batch.

    chosen_ratio_B, rejected_ratio_B: log pi(y|x) - log ref(y|x), summed over the answer's tokens (nats), shape (B,).
    beta: strength of the pull to the reference; the implicit reward is beta times the ratio.
    soft_target_B: probability q that chosen is the better one, shape (B,); None means 1. The loss of a pair is
    -q log s(beta d) - (1 - q) log s(-beta d), conservative DPO: a tie holds the margin d at zero.
    weight_B: share of each pair, mean 1 over the data set (not over the batch), shape (B,); None means 1.
    Raises ValueError when shapes differ.
    Source: DPO, https://arxiv.org/abs/2305.18290, eq. 7; label smoothing as in its reference implementation's cDPO.
    """
    for other in (rejected_ratio_B, soft_target_B, weight_B):
        if other is not None and other.shape != chosen_ratio_B.shape:
            raise ValueError(f"shapes differ: {tuple(chosen_ratio_B.shape)} and {tuple(other.shape)}")
    logit_B = beta * (chosen_ratio_B - rejected_ratio_B)
    loss_B = -logsigmoid(logit_B)
    if soft_target_B is not None:
        loss_B = soft_target_B * loss_B - (1 - soft_target_B) * logsigmoid(-logit_B)
    if weight_B is not None:
        loss_B = weight_B * loss_B
    return loss_B.mean()
