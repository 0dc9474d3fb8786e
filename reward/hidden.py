"""Reads a frozen language model: likelihoods and hidden states of a response, given its prompt and given others.

The raw material of two blocks of reward/features.py; nothing is learned here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from annotate.messages import Messages, flat_text

if TYPE_CHECKING:
    from reward.features import Item

MAX_TOKENS = 512
"""Longest prompt and response read together."""
OTHERS = 1
"""How many other prompts a response is read after, for its pointwise mutual information with its own."""
_TOKENS_A_BATCH = 6144


def read(model: Any, tokenizer: Any, items: Sequence[Item], pool: Sequence[Messages]) -> tuple[np.ndarray, np.ndarray]:
    """Likelihood features, shape (N, 7), and hidden states, shape (N, 3 width).

    pool: prompts to take the others from. Likelihoods: log-probability of the response, whole and a token, and of its
    unlikeliest eighth of tokens; what its own prompt adds to it over the others (pointwise mutual information): whole,
    a token, the largest gain and the largest loss of one token. Hidden states: means over the response after the first
    block and after the last, and the state at its last token.
    """
    from reward.backbone import encode

    sequences = [encode(tokenizer, item.prompt, item.response, MAX_TOKENS) for item in items]
    logps, hidden = forward(model, tokenizer, sequences, hidden=True)
    elsewhere = [
        encode(tokenizer, prompt, item.response, MAX_TOKENS) for item in items for prompt in others(item.prompt, pool)
    ]
    logps_other, _ = forward(model, tokenizer, elsewhere, hidden=False)
    rows = []
    each = len(elsewhere) // max(1, len(items))
    for index, logp_T in enumerate(logps):
        worst_T = np.sort(logp_T)[: max(1, len(logp_T) // 8)]
        row = [logp_T.sum(), logp_T.mean(), worst_T.mean()]
        group = logps_other[index * each : (index + 1) * each]
        if group:
            length = min(len(logp_T), *(len(other_T) for other_T in group))
            gain_T = logp_T[:length] - np.mean([other_T[:length] for other_T in group], axis=0)
            row += [gain_T.sum(), gain_T.mean(), gain_T.max(), gain_T.min()]
        else:
            row += [0.0] * 4
        rows.append(row)
    return np.array(rows, dtype=np.float64).reshape(len(items), 7), hidden


def others(prompt: Messages, pool: Sequence[Messages]) -> list[Messages]:
    """OTHERS prompts of the pool but the given one, by its hash: a response scores the same alone and in any batch."""
    choice = [other for other in pool if other != prompt]
    if not choice:
        return []
    start = int.from_bytes(hashlib.sha256(flat_text(prompt).encode("utf-8", "surrogatepass")).digest()[:4], "big")
    return [choice[(start + step) % len(choice)] for step in range(OTHERS)]


def forward(
    model: Any, tokenizer: Any, sequences: Sequence[Any], *, hidden: bool
) -> tuple[list[np.ndarray], np.ndarray]:
    """Log-probability of each response token, and hidden features, in the order given."""
    import torch

    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i].prompt) + len(sequences[i].completion))
    logps: list[np.ndarray] = [np.zeros(0)] * len(sequences)
    states = np.zeros((len(sequences), 3 * model.get_input_embeddings().weight.shape[1] if hidden else 0))
    device = next(model.parameters()).device
    start = 0
    with torch.no_grad():
        while start < len(order):
            end = start + 1
            while end < len(order):
                longest = len(sequences[order[end]].prompt) + len(sequences[order[end]].completion)
                if (end - start + 1) * longest > _TOKENS_A_BATCH:
                    break
                end += 1
            rows = order[start:end]
            whole = [sequences[row].prompt + sequences[row].completion for row in rows]
            width = max(len(ids) for ids in whole)
            # On the right, where causal attention never sees it, padding cannot change a response's features.
            ids_B_T = torch.full((len(rows), width), int(tokenizer.pad_token_id))
            for place, ids in enumerate(whole):
                ids_B_T[place, : len(ids)] = torch.tensor(ids)
            ids_B_T = ids_B_T.to(device)
            out = model(input_ids=ids_B_T, output_hidden_states=hidden, use_cache=False)
            logp_B_T = (
                out.logits[:, :-1].float().log_softmax(-1).gather(2, ids_B_T[:, 1:, None])[:, :, 0].cpu().double()
            )
            for place, row in enumerate(rows):
                first, last = len(sequences[row].prompt), len(whole[place])
                logps[row] = logp_B_T[place, first - 1 : last - 1].numpy()
                if hidden:
                    near, far = out.hidden_states[1][place, first:last], out.hidden_states[-1][place, first:last]
                    states[row] = torch.cat([near.mean(0), far.mean(0), far[-1]]).double().cpu().numpy()
            start = end
    return logps, states
