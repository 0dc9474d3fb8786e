"""Judges of two responses, and win rates made from their verdicts: ties, both orders, and length taken into account.

A judge is anything that says how probably the left response is the better one. Nothing here trains or loads a model.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from annotate.messages import Messages, digest, to_dicts
from annotate.statistics import Interval
from reward.score import Scorer


class Judge(Protocol):
    """Compares responses two by two. order_free: the verdict cannot depend on which side a response is shown."""

    @property
    def order_free(self) -> bool: ...

    def prefer(self, prompts: Sequence[Messages], lefts: Sequence[str], rights: Sequence[str]) -> np.ndarray:
        """Probability that left is the better response to the prompt, one half for a tie, shape (N,)."""


class ScorerJudge:
    """A judge that prefers the higher score, whatever the order; each response is scored once."""

    order_free = True

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self._known: dict[tuple[str, str], float] = {}

    def scores(self, prompts: Sequence[Messages], responses: Sequence[str]) -> np.ndarray:
        """Scores of the responses, the i-th to the i-th prompt, shape (N,)."""
        keys = [(digest(to_dicts(prompt)), response) for prompt, response in zip(prompts, responses, strict=True)]
        new = {key: place for place, key in enumerate(keys) if key not in self._known}
        if new:
            mean, _ = self.scorer.score([prompts[at] for at in new.values()], [responses[at] for at in new.values()])
            self._known.update(zip(new, (float(value) for value in mean), strict=True))
        return np.array([self._known[key] for key in keys], dtype=float)

    def prefer(self, prompts: Sequence[Messages], lefts: Sequence[str], rights: Sequence[str]) -> np.ndarray:
        left, right = self.scores(prompts, lefts), self.scores(prompts, rights)
        return np.where(left > right, 1.0, np.where(left < right, 0.0, 0.5))


def win_shares(
    judge: Judge, prompts: Sequence[Messages], ours: Sequence[Sequence[str]], theirs: Sequence[Sequence[str]]
) -> list[np.ndarray]:
    """Verdicts of each of our responses over each of theirs to the same prompt, 1 for a win and 1/2 for a tie.

    Returns one array for each prompt, shape (len(ours), len(theirs)); its mean is the prompt's win rate. A judge that
    depends on the order is asked both ways round and averaged.
    """
    shapes = [(len(our), len(their)) for our, their in zip(ours, theirs, strict=True)]
    asked = [prompt for prompt, (n, m) in zip(prompts, shapes, strict=True) for _ in range(n * m)]
    lefts = [left for our, their in zip(ours, theirs, strict=True) for left in our for _ in their]
    rights = [right for our, their in zip(ours, theirs, strict=True) for _ in our for right in their]
    verdicts = judge.prefer(asked, lefts, rights)
    if not judge.order_free:
        verdicts = (verdicts + 1 - judge.prefer(asked, rights, lefts)) / 2
    edges = np.cumsum([n * m for n, m in shapes])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(verdicts, edges), shapes, strict=True)]


def agreement(
    first: Judge, second: Judge, prompts: Sequence[Messages], responses: Sequence[Sequence[str]]
) -> list[float]:
    """Share of each prompt's own pairs of responses on which two judges prefer the same one; NaN without a pair.

    A pair that either judge calls a tie counts one half. One half is chance: what a reward model falls to where its
    policy has learned to please it.
    """
    shares = []
    for ours, theirs in zip(
        win_shares(first, prompts, responses, responses), win_shares(second, prompts, responses, responses), strict=True
    ):
        above = np.triu_indices(len(ours), 1)
        same = 0.5 + 2 * (ours[above] - 0.5) * (theirs[above] - 0.5)
        shares.append(float(same.mean()) if len(same) else float("nan"))
    return shares


class Comparison(NamedTuple):
    """Single verdicts with what explains them; shapes (N,). length: log ratio of our length to theirs."""

    verdict: np.ndarray
    length: np.ndarray
    cluster: np.ndarray


def length_controlled(comparison: Comparison) -> Interval:
    """Win rate that would be had at equal length, with its 95% interval, clustered.

    A logistic regression of the verdict on an intercept and tanh of the standardised log length ratio (a little ridge
    on the slope keeps separable data finite); the intercept is read off at a difference of zero.
    Source: length-controlled AlpacaEval, https://arxiv.org/abs/2404.04475, without its terms for single prompts;
    sandwich variance over clusters.
    """
    verdict, length = comparison.verdict, comparison.length
    if not len(verdict):
        return Interval(float("nan"), float("nan"), float("nan"))
    spread = float(np.sqrt(np.mean(length**2)))
    design = np.column_stack([np.ones(len(verdict)), np.tanh(length / spread) if spread > 0 else length])
    ridge = np.diag([1e-3, 1.0])
    weights = np.zeros(2)
    for _ in range(50):
        expected = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        bread = (design * (expected * (1 - expected))[:, None]).T @ design + ridge
        step = np.linalg.solve(bread, design.T @ (verdict - expected) - ridge @ weights)
        weights = weights + step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if float(np.abs(step).max()) < 1e-10:
            break
    expected = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
    inverse = np.linalg.inv((design * (expected * (1 - expected))[:, None]).T @ design + ridge)
    _, cluster = np.unique(comparison.cluster, return_inverse=True)
    groups = int(cluster.max()) + 1
    scores = np.zeros((groups, 2))
    np.add.at(scores, cluster, design * (verdict - expected)[:, None])
    if groups < 2:
        return Interval(_sigmoid(weights[0]), float("nan"), float("nan"))
    variance = (inverse @ (scores.T @ scores) @ inverse)[0, 0] * groups / (groups - 1)
    half = 1.959964 * float(np.sqrt(variance))
    return Interval(_sigmoid(weights[0]), _sigmoid(weights[0] - half), _sigmoid(weights[0] + half))


def _sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))
