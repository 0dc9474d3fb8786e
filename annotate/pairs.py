"""Which responses are put before people: pairs (or k-sets) chosen at random, each with its propensity.

Pure: rows in, candidates out, the same ones for the same seed. Storing them and labelling is queue.py's business.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from annotate.errors import BadInput
from annotate.messages import digest, normalised, words


class PairsSection(BaseModel):
    """Which responses of a round are compared, and by how many people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_prompt: int = Field(default=1, ge=1)
    """Pairs a prompt."""
    most: int = Field(default=128, ge=1)
    """Pairs a round at most, drawn at random among those that the prompts give."""
    overlap: int = Field(default=1, ge=1)
    """Labels a pair, each by another person."""
    k: int = Field(default=2, ge=2, le=8)
    """Responses shown together; more than two are ranked."""
    near: float = Field(default=0.95, gt=0, le=1)
    """Share of word pairs in common from which two responses count as the same and are not compared."""


@dataclass(frozen=True)
class CandidatePair:
    """k >= 2 responses to one prompt that should be compared.

    propensity: probability with which exactly this set was chosen. overlap: labels wanted, 0 for none.
    """

    prompt_id: str
    responses: tuple[str, ...]
    round: int
    objective: str = "helpful"
    strategy: str = "random"
    propensity: float | None = None
    acquisition: float | None = None
    gold_response_id: str | None = None
    overlap: int = 1
    source: str = ""

    def __post_init__(self) -> None:
        if len(self.responses) < 2 or len(set(self.responses)) != len(self.responses):
            raise BadInput("a pair needs at least two different responses", where=f"prompt {self.prompt_id}")
        if self.overlap < 0:
            raise BadInput("a pair's overlap is 0 or more", where=f"prompt {self.prompt_id}")
        if self.gold_response_id is not None and self.gold_response_id not in self.responses:
            raise BadInput("a pair's gold response is one of its own", where=f"prompt {self.prompt_id}")

    @property
    def id(self) -> str:
        """The same responses asked about twice in a round, for the same objective, are one pair."""
        return digest(["pair", self.round, self.prompt_id, sorted(self.responses), self.objective])

    def row(self) -> dict[str, Any]:
        """The candidate as a JSON row."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "CandidatePair":
        """The candidate that `row` was made of."""
        return cls(**{**row, "responses": tuple(row["responses"])})


def choose_pairs(
    rows: Iterable[Mapping[str, Any]], section: PairsSection, *, round: int, seed: int, objective: str = "helpful"
) -> list[CandidatePair]:
    """For every prompt `per_prompt` sets of k responses, uniformly among its distinct ones; fewer where there are few.

    rows: responses {id, prompt_id, text}; their order does not matter. Of near-identical responses to a prompt the one
    with the lowest id stands for all. Of more than `most` sets a uniform sample is kept. Ordered by prompt.
    """
    by_prompt: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        by_prompt[row["prompt_id"]][row["id"]] = row["text"]
    chosen = []
    for prompt_id, texts in sorted(by_prompt.items()):
        distinct = _distinct(texts, section.near)
        sets = math.comb(len(distinct), section.k)
        count = min(section.per_prompt, sets)
        for responses in _draw(distinct, section.k, count, _rng(seed, round, prompt_id)):
            chosen.append(
                CandidatePair(
                    prompt_id=prompt_id,
                    responses=responses,
                    round=round,
                    objective=objective,
                    propensity=count / sets,
                    overlap=section.overlap,
                    source="round",
                )
            )
    return _sample(chosen, section.most, seed)


def _sample(chosen: list[CandidatePair], most: int, seed: int) -> list[CandidatePair]:
    """At most so many, each subset equally likely, in the same order; propensities are those of both draws."""
    if len(chosen) <= most:
        return chosen
    kept = sorted(chosen, key=lambda pair: hashlib.sha256(f"{seed}/{pair.id}".encode()).digest())[:most]
    share = most / len(chosen)
    return [replace(pair, propensity=(pair.propensity or 0) * share) for pair in chosen if pair in kept]


def near_identical(first: str, second: str, threshold: float = 0.95) -> bool:
    """Whether two texts are equal but for case and white space, or share that part of their word pairs.

    Source: Llama 3 leaves near-identical responses out of its comparisons, https://arxiv.org/abs/2407.21783, 4.2.1.
    """
    return _alike(_word_pairs(first), _word_pairs(second), threshold)


def _distinct(texts: Mapping[str, str], threshold: float) -> list[str]:
    """Ids of responses no two of which are near-identical, sorted; empty responses are kept as one."""
    kept: dict[str, Counter[tuple[str, ...]]] = {}
    for identity, text in sorted(texts.items()):
        pairs = _word_pairs(text)
        if not any(_alike(pairs, other, threshold) for other in kept.values()):
            kept[identity] = pairs
    return list(kept)


def _word_pairs(text: str) -> Counter[tuple[str, ...]]:
    # The ends count, so that a single word is a text too.
    return Counter(pairwise(["", *words(normalised(text)), ""]))


def _alike(first: Counter[tuple[str, ...]], second: Counter[tuple[str, ...]], threshold: float) -> bool:
    return (first & second).total() >= threshold * (first | second).total()


def _rng(seed: int, round: int, prompt_id: str) -> np.random.Generator:
    """A stream of its own for each prompt, so that one more prompt changes nothing for the others."""
    return np.random.default_rng(int(hashlib.sha256(f"{seed}/{round}/{prompt_id}".encode()).hexdigest()[:16], 16))


def _draw(distinct: list[str], k: int, count: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """`count` different k-subsets, each set of subsets equally likely; needs count <= comb(len(distinct), k)."""
    drawn: dict[tuple[str, ...], None] = {}
    while len(drawn) < count:
        index = sorted(rng.choice(len(distinct), size=k, replace=False).tolist())
        drawn[tuple(distinct[place] for place in index)] = None
    return list(drawn)
