"""Samples responses from a causal language model in batches: a lean loop over a key-value cache.

Each prompt is read once for its n responses, finished rows leave the batch, and each response draws from random
numbers of its own, so that it depends on seed and prompt and not on its neighbours. Servers are align/endpoint.py's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from annotate.messages import Messages
from annotate.progress import Progress, silent

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# A batch is copied to a smaller one when this share of its rows has finished: copying costs about one step.
_COMPACT_AT = 0.15


class Completion(NamedTuple):
    """One sampled response. logprob: natural log-probability of its tokens, EOS included, as they were sampled
    (temperature and top_p applied; untempered for greedy); None where a server does not tell."""

    text: str
    token_ids: list[int]
    logprob: float | None
    finished: bool


class Sampled(NamedTuple):
    """Token ids of one response, EOS included; their log-probability; whether EOS came before the limit."""

    token_ids: list[int]
    logprob: float
    finished: bool


def generate_from(
    source: str | Path,
    prompts: Sequence[Messages],
    *,
    n: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
    batch_size: int = 256,
    progress: Progress = silent,
) -> list[list[Completion]]:
    """n responses to each prompt from a model folder, a hub name or the URL of an OpenAI-compatible server.

    Raises BadModel when the model cannot be used, BadInput when the server cannot.
    """
    if str(source).startswith(("http://", "https://")):
        from align.endpoint import complete

        return complete(
            str(source),
            prompts,
            n=n,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            progress=progress,
        )
    from reward.backbone import load_model, load_tokenizer

    tokenizer = load_tokenizer(source)
    model = load_model(source, tokenizer)
    return generate(
        model,
        tokenizer,
        prompts,
        n=n,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
    )


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Messages],
    *,
    n: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
    batch_size: int = 256,
    max_prompt_tokens: int | None = None,
    progress: Progress = silent,
) -> list[list[Completion]]:
    """n responses to each prompt, in the order of the prompts.

    temperature 0 is greedy. batch_size: responses sampled at once. max_prompt_tokens: longer prompts are cut from
    the left; by default they are cut to what the model's window leaves beside the response.
    """
    from reward.backbone import encode_prompt

    window = getattr(model.config, "max_position_embeddings", None)
    if max_prompt_tokens is None and window:
        max_prompt_tokens = max(1, window - max_new_tokens)
    ids = [encode_prompt(tokenizer, prompt, max_prompt_tokens) for prompt in prompts]
    rows = sample(
        model,
        [row for row in ids for _ in range(n)],
        eos=eos_ids(model, tokenizer),
        pad=int(tokenizer.pad_token_id or 0),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
    )
    texts = tokenizer.batch_decode([row.token_ids for row in rows], skip_special_tokens=True)
    answers = [Completion(text, *row) for text, row in zip(texts, rows, strict=True)]
    return [answers[start : start + n] for start in range(0, len(answers), n)]


def sample(
    model: PreTrainedModel,
    prompt_ids: Sequence[Sequence[int]],
    *,
    eos: Sequence[int],
    pad: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
    batch_size: int = 256,
    progress: Progress = silent,
) -> list[Sampled]:
    """One response to each row of prompt_ids, in their order; equal rows are read once and answered differently."""
    import torch

    assert all(len(row) > 0 for row in prompt_ids), "a prompt has at least one token"
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, row in enumerate(prompt_ids):
        groups.setdefault(tuple(row), []).append(index)
    # Prompts of similar length share a batch, so little of it is padding.
    order = sorted(groups, key=lambda row: (len(row), row))
    found: dict[int, Sampled] = {}
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch in _batches(order, groups, batch_size):
                found.update(_sample_batch(model, batch, set(eos), pad, max_new_tokens, temperature, top_p, seed))
                progress("sampling", len(found), len(prompt_ids))
    finally:
        model.train(was_training)
    return [found[index] for index in range(len(prompt_ids))]


def eos_ids(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends a response: the tokenizer's and those the model declares."""
    declared = getattr(model.generation_config, "eos_token_id", None)
    declared = [] if declared is None else [declared] if isinstance(declared, int) else list(declared)
    return sorted({int(token) for token in [tokenizer.eos_token_id, *declared] if token is not None})


class _Row(NamedTuple):
    """One response to be sampled: where it goes, and how many before it answer the same prompt."""

    place: int
    replica: int


_Batch = list[tuple[tuple[int, ...], list[_Row]]]


def _batches(order: list[tuple[int, ...]], groups: dict[tuple[int, ...], list[int]], batch_size: int) -> list[_Batch]:
    batches: list[_Batch] = []
    room = 0
    for prompt in order:
        rows = [_Row(place, replica) for replica, place in enumerate(groups[prompt])]
        while rows:
            if room == 0:
                batches.append([])
                room = batch_size
            batches[-1].append((prompt, rows[:room]))
            taken = min(room, len(rows))
            rows, room = rows[taken:], room - taken
    return batches


def _sample_batch(
    model: Any,
    batch: _Batch,
    eos: set[int],
    pad: int,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    seed: int,
) -> dict[int, Sampled]:
    import torch

    device = next(model.parameters()).device
    counts = [len(rows) for _, rows in batch]
    rows = [row for _, group in batch for row in group]
    width = max(len(prompt) for prompt, _ in batch)
    prompt_P_T = torch.full((len(batch), width), pad, dtype=torch.long)
    mask_P_T = torch.zeros((len(batch), width), dtype=torch.long)
    for place, (prompt, _) in enumerate(batch):
        prompt_P_T[place, width - len(prompt) :] = torch.tensor(prompt)
        mask_P_T[place, width - len(prompt) :] = 1
    cache = _make_cache(model.config, width + max_new_tokens)
    out = model(
        input_ids=prompt_P_T.to(device),
        attention_mask=mask_P_T.to(device),
        position_ids=(mask_P_T.cumsum(1) - 1).clamp(min=0).to(device),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    which = torch.repeat_interleave(torch.arange(len(batch)), torch.tensor(counts)).to(device)
    cache.batch_select_indices(which)
    logits_B_V = out.logits[:, -1].float()[which]
    # Padding on the left is the same at every step, so the mask grows inside one tensor.
    mask_B_T = torch.ones((len(rows), width + max_new_tokens), dtype=torch.long, device=device)
    mask_B_T[:, :width] = mask_P_T.to(device)[which]
    position_B = mask_P_T.sum(1).to(device)[which]
    padded = bool((mask_P_T == 0).any())

    draws = np.stack([_draws(seed, prompt, row.replica, max_new_tokens) for prompt, group in batch for row in group])
    draws_B_T = torch.from_numpy(draws).to(device)
    tokens_B_T = torch.full((len(rows), max_new_tokens), pad, dtype=torch.long, device=device)
    logp_B = torch.zeros(len(rows), dtype=torch.float64, device=device)
    length_B = torch.full((len(rows),), max_new_tokens, dtype=torch.long, device=device)
    done_B = torch.zeros(len(rows), dtype=torch.bool, device=device)
    stop_E = torch.tensor(sorted(eos), device=device)
    live = torch.arange(len(rows), device=device)  # row of the batch -> row of the result
    for step in range(max_new_tokens):
        token_L, step_logp_L = _draw(logits_B_V, draws_B_T[live, step], temperature, top_p)
        running_L = ~done_B[live]
        tokens_B_T[live, step] = torch.where(running_L, token_L, pad)
        logp_B[live] += torch.where(running_L, step_logp_L.double(), 0.0)
        ended_L = running_L & torch.isin(token_L, stop_E)
        length_B[live[ended_L]] = step + 1
        done_B[live] |= ended_L
        alive_L = ~done_B[live]
        alive = int(alive_L.sum())
        if alive == 0 or step + 1 == max_new_tokens:
            break
        if len(live) - alive >= max(1, _COMPACT_AT * len(live)):
            keep = alive_L.nonzero()[:, 0]
            cache.batch_select_indices(keep)
            live, token_L, mask_B_T, position_B = live[keep], token_L[keep], mask_B_T[keep], position_B[keep]
        logits_B_V = (
            model(
                input_ids=token_L[:, None],
                attention_mask=mask_B_T[:, : width + step + 1] if padded else None,
                position_ids=position_B[:, None],
                past_key_values=cache,
                use_cache=True,
            )
            .logits[:, -1]
            .float()
        )
        position_B = position_B + 1
    return {
        row.place: Sampled(ids[:length], logp, done)
        for row, ids, length, logp, done in zip(
            rows, tokens_B_T.tolist(), length_B.tolist(), logp_B.tolist(), done_B.tolist(), strict=True
        )
    }


def _draw(
    logits_B_V: torch.Tensor, uniform_B: torch.Tensor, temperature: float, top_p: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token of each row by inversion of the cumulative distribution, and its log-probability."""
    import torch

    if temperature == 0:
        token_B = logits_B_V.argmax(-1)
        return token_B, logits_B_V.log_softmax(-1).gather(1, token_B[:, None])[:, 0]
    probs_B_V = (logits_B_V / temperature if temperature != 1 else logits_B_V).softmax(-1)
    if top_p < 1:
        sorted_B_V, order_B_V = probs_B_V.sort(-1, descending=True)
        outside_B_V = sorted_B_V.cumsum(-1) - sorted_B_V >= top_p
        probs_B_V = probs_B_V.masked_fill(outside_B_V.scatter(1, order_B_V, outside_B_V), 0.0)
    total_B_V = probs_B_V.cumsum(-1)
    mass_B = total_B_V[:, -1]
    token_B = torch.searchsorted(total_B_V, (uniform_B.to(mass_B) * mass_B)[:, None], right=True)[:, 0]
    # Rounding may put the draw on the total mass itself: then the last token that has any is meant.
    token_B = token_B.clamp(max=probs_B_V.shape[1] - 1)
    picked_B = probs_B_V.gather(1, token_B[:, None])[:, 0]
    if bool((picked_B == 0).any()):
        token_B = torch.where(picked_B == 0, probs_B_V.argmax(-1), token_B)
        picked_B = probs_B_V.gather(1, token_B[:, None])[:, 0]
    return token_B, (picked_B / mass_B).log()


def _draws(seed: int, prompt: tuple[int, ...], replica: int, steps: int) -> np.ndarray:
    """Uniform numbers of one response, which depend on seed, prompt and replica alone."""
    word = int.from_bytes(hashlib.sha256(np.asarray(prompt, dtype="<i8").tobytes()).digest()[:8], "big")
    return np.random.default_rng([seed, word, replica]).random(steps, dtype=np.float32)


def _make_cache(config: Any, room: int) -> Any:
    """A key-value cache with room for all steps; kinds of layers other than plain attention keep their own."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    class RoomyLayer(DynamicLayer):
        """Writes each step in place; the plain layer copies the whole cache at every step."""

        filled = 0

        def get_seq_length(self) -> int:
            return self.filled

        def update(
            self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
        ) -> tuple[torch.Tensor, torch.Tensor]:
            if not self.is_initialized:
                self.dtype, self.device = key_states.dtype, key_states.device
                batch, heads, _, size = key_states.shape
                self.keys = key_states.new_zeros((batch, heads, room, size))
                self.values = value_states.new_zeros((batch, heads, room, value_states.shape[-1]))
                self.is_initialized = True
            end = self.filled + key_states.shape[-2]
            assert self.keys is not None and self.values is not None
            self.keys[:, :, self.filled : end] = key_states
            self.values[:, :, self.filled : end] = value_states
            self.filled = end
            return self.keys[:, :, :end], self.values[:, :, :end]

        def batch_select_indices(self, indices: torch.Tensor) -> None:
            # Only what is filled is copied; most of the room is still empty.
            for name in ("keys", "values"):
                old = getattr(self, name)
                new = old.new_empty((len(indices), *old.shape[1:]))
                new[:, :, : self.filled] = old[indices, :, : self.filled]
                setattr(self, name, new)

    cache = DynamicCache(config=config)
    if all(type(layer) is DynamicLayer for layer in cache.layers):
        cache.layers = [RoomyLayer() for _ in cache.layers]
    return cache
