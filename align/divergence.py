"""How far a policy has moved and how its text looks: KL to the reference along its samples, repetition, variety."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from annotate.messages import words
from annotate.progress import Progress, silent

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGITS_AT_ONCE = 2**25
"""Logits of one forward pass, of each model: 128 MiB in float32."""


class Divergence(NamedTuple):
    """KL(policy || reference) of N sampled responses in nats, summed over tokens, shapes (N,).

    exact: over the whole vocabulary at each sampled prefix. sampled: log-ratio of the sampled tokens alone, which has
    the same expectation and far more noise.
    """

    exact: np.ndarray
    sampled: np.ndarray


def divergence(
    policy: "PreTrainedModel",
    reference: "PreTrainedModel",
    prompt_ids: Sequence[Sequence[int]],
    response_ids: Sequence[Sequence[int]],
    *,
    temperature: float = 1.0,
    progress: Progress = silent,
) -> Divergence:
    """Divergence of the policy from the reference on the policy's own responses.

    prompt_ids, response_ids: N rows each, EOS included. temperature: the one the responses were sampled at; both
    distributions are taken at it (greedy, 0, at 1).
    """
    import torch

    temperature = temperature or 1.0
    exact, sampled = np.zeros(len(response_ids)), np.zeros(len(response_ids))
    order = sorted(range(len(response_ids)), key=lambda row: len(prompt_ids[row]) + len(response_ids[row]))
    vocabulary = policy.get_output_embeddings().weight.shape[0]
    done = 0
    while done < len(order):
        batch: list[int] = []
        for row in order[done:]:  # rising length: the row at hand is the widest so far
            width = len(prompt_ids[row]) + len(response_ids[row])
            if batch and (len(batch) + 1) * width * vocabulary > LOGITS_AT_ONCE:
                break
            batch.append(row)
        width = max(len(prompt_ids[row]) + len(response_ids[row]) for row in batch)
        ids_B_T = torch.zeros((len(batch), width), dtype=torch.long)
        mask_B_T = torch.zeros((len(batch), width), dtype=torch.long)
        answer_B_T = torch.zeros((len(batch), width), dtype=torch.bool)
        for place, row in enumerate(batch):
            ids = [*prompt_ids[row], *response_ids[row]]
            ids_B_T[place, : len(ids)] = torch.tensor(ids)
            mask_B_T[place, : len(ids)] = 1
            answer_B_T[place, len(prompt_ids[row]) : len(ids)] = True
        device = next(policy.parameters()).device
        inputs = {"input_ids": ids_B_T.to(device), "attention_mask": mask_B_T.to(device), "use_cache": False}
        with torch.no_grad():
            # The logits at one position speak of the next token.
            ours_N_V = policy(**inputs).logits[:, :-1][answer_B_T[:, 1:]].float().div(temperature).log_softmax(-1)
            theirs_N_V = reference(**inputs).logits[:, :-1][answer_B_T[:, 1:]].float().div(temperature).log_softmax(-1)
        taken_N = ids_B_T[:, 1:][answer_B_T[:, 1:]].to(device)
        exact_N = (ours_N_V.exp() * (ours_N_V - theirs_N_V)).sum(-1).double().cpu().numpy()
        sampled_N = (ours_N_V - theirs_N_V).gather(1, taken_N[:, None])[:, 0].double().cpu().numpy()
        lengths = [len(response_ids[row]) for row in batch]
        for row, these, those in zip(
            batch, *(np.split(x, np.cumsum(lengths)[:-1]) for x in (exact_N, sampled_N)), strict=True
        ):
            exact[row], sampled[row] = these.sum(), those.sum()
        done += len(batch)
        progress("measuring KL", done, len(order))
    return Divergence(exact, sampled)


def repetition(texts: Sequence[str]) -> float:
    """Mean share of a text's adjacent word pairs that it has used before; 0 where a text has none."""
    shares = []
    for text in texts:
        pairs = list(pairwise(words(text)))
        shares.append(1 - len(set(pairs)) / len(pairs) if pairs else 0.0)
    return float(np.mean(shares)) if shares else 0.0


def variety(texts: Sequence[str]) -> float:
    """Distinct-2: different adjacent word pairs over all of them, in the texts together; 0 where there are none.

    Source: Li et al. 2016, https://arxiv.org/abs/1510.03055. Falls with the number of texts: compare equal numbers.
    """
    pairs = [pair for text in texts for pair in pairwise(words(text))]
    return len(set(pairs)) / len(pairs) if pairs else 0.0
