"""What the Bayesian head sees of a prompt and a response: numbers made without any label.

Three blocks: hidden states and likelihoods of a frozen language model (left out without one), properties of the text,
and weighted n-grams. Each block is centred and scaled to total variance one on the texts it was fitted to.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from annotate.messages import UNSPACED, Messages, flat_text

if TYPE_CHECKING:
    from scipy import sparse

HASHED = 1 << 14
"""Slots of the hashed n-grams; collisions are rare below a few thousand distinct ones."""

CUT = 4.0
"""Standard deviations at which a feature is cut off."""
POOL = 8
"""Prompts kept to measure how much of a response its own prompt explains."""

_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s]")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*|\n+")
# A response longer than this tells nothing more through its later words, and must not cost more.
_MOST_CHARACTERS = 20_000


@dataclass(frozen=True)
class Item:
    """A prompt and a response to be described."""

    prompt: Messages
    response: str


@dataclass
class Block:
    """A map of raw features to a block whose total variance is one where it was fitted.

    mean, scale (D,): raw features are standardised and cut off at CUT deviations, so that a response unlike any seen
    cannot buy reward by going further the same way. Sparse rows keep their scale and are not cut. projection (D, K).
    """

    mean: np.ndarray
    scale: np.ndarray
    projection: np.ndarray

    def __call__(self, raw_N_D: Any) -> np.ndarray:
        if hasattr(raw_N_D, "tocsr"):  # stays sparse: the mean is subtracted after the projection
            return np.asarray(raw_N_D @ self.projection) - self.mean @ self.projection
        return np.clip((raw_N_D - self.mean) * self.scale, -CUT, CUT) @ self.projection


@dataclass
class Features:
    """The fitted description of responses. `backbone` is (model, tokenizer) or None for features of text alone."""

    backbone: tuple[Any, Any] | None = None
    words: WordTable = field(default_factory=lambda: WordTable())
    blocks: dict[str, Block] = field(default_factory=dict)
    pool: list[Messages] = field(default_factory=list)

    @classmethod
    def fit(
        cls, items: Sequence[Item], backbone: tuple[Any, Any] | None = None, *, hidden: int = 96, ngrams: int = 384
    ) -> tuple[Features, dict[str, np.ndarray]]:
        """Learn word frequencies, scales and principal directions from unlabelled items; also their features.

        hidden, ngrams: most directions kept of the hidden states and of the n-grams, none at 0.
        """
        distinct = {flat_text(item.prompt): item.prompt for item in items}
        pool = [distinct[text] for text in sorted(distinct)]
        self = cls(backbone, WordTable.fit(items), {}, pool[:: max(1, len(pool) // POOL)][:POOL])
        raw = self.raw(items)
        if ngrams == 0:
            del raw["ngrams"]
        for name, matrix in raw.items():
            if name == "ngrams":
                mean, projection = _principal(matrix, ngrams)
                self.blocks[name] = Block(mean, np.ones_like(mean), projection)
                continue
            mean, scale = matrix.mean(0), _safe_inverse(matrix.std(0))
            if name == "hidden":
                _, projection = _principal((matrix - mean) * scale, hidden)
            else:
                projection = np.eye(len(mean)) / np.sqrt(max(1, int((scale > 0).sum())))
            self.blocks[name] = Block(mean, scale, projection)
        return self, {name: self.blocks[name](matrix) for name, matrix in raw.items()}

    def __call__(self, items: Sequence[Item]) -> dict[str, np.ndarray]:
        """Block name -> features, shape (N, K)."""
        return {name: self.blocks[name](matrix) for name, matrix in self.raw(items).items()}

    def raw(self, items: Sequence[Item]) -> dict[str, Any]:
        """Unscaled features by block; the n-grams are a sparse matrix."""
        found: dict[str, Any] = {"text": np.array([self.words.describe(item) for item in items], dtype=np.float64)}
        if not self.blocks or "ngrams" in self.blocks:
            found["ngrams"] = self.words.ngrams(items)
        if self.backbone is not None:
            from reward.hidden import read

            found["likelihood"], found["hidden"] = read(*self.backbone, items, self.pool)
        return found

    def state(self) -> dict[str, np.ndarray]:
        """Every fitted number by name, for safetensors."""
        arrays = {f"words.{name}": value for name, value in self.words.state().items()}
        for name, block in self.blocks.items():
            arrays[f"{name}.mean"] = block.mean.astype(np.float32)
            arrays[f"{name}.scale"] = block.scale.astype(np.float32)
            arrays[f"{name}.projection"] = block.projection.astype(np.float32)
        return arrays

    @classmethod
    def from_state(
        cls, arrays: Mapping[str, np.ndarray], backbone: tuple[Any, Any] | None, pool: Sequence[Messages] = ()
    ) -> Features:
        """The inverse of `state`."""
        words = {name[6:]: value for name, value in arrays.items() if name.startswith("words.")}
        names = [name[:-5] for name in arrays if name.endswith(".mean") and not name.startswith("words.")]
        blocks = {
            name: Block(*(arrays[f"{name}.{part}"].astype(np.float64) for part in ("mean", "scale", "projection")))
            for name in sorted(names)
        }
        return cls(backbone, WordTable.from_state(words), blocks, list(pool))


@dataclass
class WordTable:
    """How often words occur in responses and in prompts, by hashed slot; shapes (HASHED,)."""

    idf: np.ndarray = field(default_factory=lambda: np.ones(HASHED))
    in_prompts: np.ndarray = field(default_factory=lambda: np.zeros(HASHED))

    @classmethod
    def fit(cls, items: Sequence[Item]) -> WordTable:
        """Count in how many responses each n-gram, and in which share of distinct prompts each word stands."""
        seen: Counter[int] = Counter()
        for item in items:
            seen.update(set(_grams(_words(item.response))))
        prompts = sorted({flat_text(item.prompt) for item in items})
        asked: Counter[int] = Counter()
        for prompt in prompts:
            asked.update({_slot(word) for word in _words(prompt)})
        idf = np.full(HASHED, np.log((1 + len(items)) / 1.0) + 1)
        for slot, count in seen.items():
            idf[slot] = np.log((1 + len(items)) / (1 + count)) + 1
        share = np.zeros(HASHED)
        for slot, count in asked.items():
            share[slot] = count / max(1, len(prompts))
        return cls(idf, share)

    def state(self) -> dict[str, np.ndarray]:
        return {"idf": self.idf.astype(np.float32), "in_prompts": self.in_prompts.astype(np.float32)}

    @classmethod
    def from_state(cls, arrays: Mapping[str, np.ndarray]) -> WordTable:
        return cls(arrays["idf"].astype(np.float64), arrays["in_prompts"].astype(np.float64))

    def describe(self, item: Item) -> list[float]:
        """Properties of one response, one number for each of TEXT_FEATURES."""
        text = item.response[:_MOST_CHARACTERS]
        words = _words(text)
        asked = {_slot(word) for word in _words(flat_text(item.prompt)[-_MOST_CHARACTERS:])}
        slots = [_slot(word) for word in words]
        # Words that tell prompts apart: named by this prompt they are on topic, named only by others they are not.
        telling = {slot for slot in asked if self.in_prompts[slot] < 0.4}
        topical = [slot for slot in slots if 0 < self.in_prompts[slot] < 0.4]
        on = {slot for slot in topical if slot in telling}
        off = {slot for slot in topical if slot not in telling}
        count = len(words)
        bigrams = list(pairwise(words))
        sentences = [part.strip() for part in _SENTENCE.split(text) if part.strip()]
        letters = max(1, len(text))
        return [
            np.log1p(count),
            np.log1p(count) ** 2,
            letters / max(1, count),
            len(on) / max(1, len(telling)),
            float(min(3, len(on))),
            float(min(4, len(off))),
            len(off) / max(1, len(off) + len(on)),
            sum(slot in asked for slot in slots) / max(1, count),
            float(np.mean([self.idf[slot] for slot in slots])) if slots else 0.0,
            1 - len(set(bigrams)) / max(1, len(bigrams)) if bigrams else 0.0,
            len(set(words)) / max(1, count),
            float(len(sentences) - len(set(sentences))),
            np.log1p(len(sentences)),
            count / max(1, len(sentences)) ** 0.5,
            float(bool(text.rstrip()) and text.rstrip()[-1] in ".!?。！？\"')"),
            float(text.count("?") > 0),
            float(text.count("!") > 0),
            sum(letter.isdigit() for letter in text) / letters,
            sum(letter.isupper() for letter in text) / letters,
            np.log1p(text.count("\n")),
            float(count == 0),
        ]

    def ngrams(self, items: Sequence[Item]) -> sparse.csr_matrix:
        """Weighted 1- and 2-grams of the responses, each row of length one (an empty response is zero)."""
        from scipy import sparse

        data: list[float] = []
        columns: list[int] = []
        starts = [0]
        for item in items:
            counts = Counter(_grams(_words(item.response[:_MOST_CHARACTERS])))
            values = np.array([(1 + np.log(count)) * self.idf[slot] for slot, count in counts.items()])
            norm = float(np.sqrt((values**2).sum())) or 1.0
            data += (values / norm).tolist()
            columns += list(counts)
            starts.append(len(columns))
        return sparse.csr_matrix((data, columns, starts), shape=(len(items), HASHED))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _grams(words: Sequence[str]) -> list[int]:
    return [_slot(word) for word in words] + [_slot(f"{a} {b}") for a, b in pairwise(words)]


_slots: dict[str, int] = {}


def _slot(gram: str) -> int:
    slot = _slots.get(gram)
    if slot is None:
        slot = int.from_bytes(hashlib.blake2b(gram.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "big")
        slot %= HASHED
        if len(_slots) < 200_000:
            _slots[gram] = slot
    return slot


def _safe_inverse(scale: np.ndarray) -> np.ndarray:
    """1 / scale, zero where a feature does not vary."""
    return np.where(scale > 1e-8, 1 / np.maximum(scale, 1e-8), 0.0)


def _principal(matrix_N_D: Any, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and principal directions (D, K) of rows, dense or sparse, not whitened, of total variance one."""
    rows = matrix_N_D.shape[0]
    mean = np.asarray(matrix_N_D.mean(0)).ravel()
    if rows <= 3000 or not hasattr(matrix_N_D, "tocsr"):
        dense = matrix_N_D.toarray() if hasattr(matrix_N_D, "toarray") else np.asarray(matrix_N_D)
        used = np.flatnonzero(np.abs(dense).sum(0) > 0)
        centred = dense[:, used] - mean[used]
        if len(used) == 0:
            return mean, np.zeros((len(mean), 1))
        if rows <= len(used):
            values, left = np.linalg.eigh(centred @ centred.T)
        else:
            values, right = np.linalg.eigh(centred.T @ centred)
        order = np.argsort(-values, kind="stable")[:most]
        order = order[values[order] > 1e-9 * max(float(values.max()), 1e-12)]
        if rows <= len(used):
            directions = (centred.T @ left[:, order]) / np.sqrt(values[order])
        else:
            directions = right[:, order]
        whole = np.zeros((len(mean), len(order)))
        whole[used] = directions
    else:
        from scipy.sparse.linalg import svds

        centred_scale = min(most, rows - 1)
        start = np.random.default_rng(0).normal(size=min(matrix_N_D.shape))
        _, singular, right_T = svds(matrix_N_D.tocsr(), k=centred_scale, v0=start)
        values, order = singular**2, np.argsort(-singular, kind="stable")
        whole = right_T.T[:, order]
    if whole.shape[1] == 0:
        return mean, np.zeros((len(mean), 1))
    # A direction's sign is arbitrary; fixing it keeps the saved bytes equal between machines with one library.
    signs = np.sign(whole[np.abs(whole).argmax(0), np.arange(whole.shape[1])])
    whole = whole * np.where(signs == 0, 1.0, signs)
    spread = float(np.sqrt((np.asarray(matrix_N_D @ whole) - mean @ whole).var(0).sum()))
    return mean, whole / max(spread, 1e-8)
