"""Intervals and ceilings: the pure statistics that data quality, reward reports and evaluation share.

No files, no tables, no plots; annotators' individual reliability is annotate/quality.py's business.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """An estimate with the bounds of its 95% interval; bounds are NaN where the data cannot give any."""

    mean: float
    low: float
    high: float


def clustered_bootstrap(
    values: Sequence[float] | np.ndarray, clusters: Sequence[Hashable] | np.ndarray, seed: int, n: int = 2000
) -> Interval:
    """Mean of `values` with a 95% interval from resampling whole clusters.

    values, clusters: shape (N,); rows of one cluster (say, one prompt) depend on each other. seed: of the resampling.
    n: resamples. With one cluster the bounds are NaN; with no value all three are. The percentiles are widened for few
    clusters, where the plain ones cover too little; values that all agree still give a width of zero.
    Raises ValueError when lengths differ.
    Source: Hesterberg 2014, https://arxiv.org/abs/1411.5279, section 5 (expanded percentile interval).
    """
    if len(values) != len(clusters):
        raise ValueError(f"{len(values)} values but {len(clusters)} clusters")
    if len(values) == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    numbers = np.asarray(values, dtype=float)
    code, groups = _codes(clusters)
    mean = float(numbers.mean())
    if groups == 1:
        return Interval(mean, float("nan"), float("nan"))
    sums = np.bincount(code, weights=numbers)
    counts = np.bincount(code).astype(float)
    rng = np.random.default_rng(seed)
    means = np.empty(n)
    for start in range(0, n, 256):  # in blocks: thousands of clusters times thousands of resamples would not fit
        share = rng.multinomial(groups, np.full(groups, 1 / groups), size=min(256, n - start))
        means[start : start + len(share)] = (share @ sums) / (share @ counts)
    low, high = np.quantile(means, _tails(groups))
    return Interval(mean, float(low), float(high))


def clustered_interval(
    statistic: Callable[[np.ndarray], float], clusters: Sequence[Hashable] | np.ndarray, seed: int, n: int = 500
) -> Interval:
    """Any statistic of rows with a 95% interval from resampling whole clusters; means have `clustered_bootstrap`.

    statistic: takes row numbers, shape (M,), and returns one number; resamples where it is NaN are left out.
    """
    code, groups = _codes(clusters)
    whole = float(statistic(np.arange(len(code)))) if len(code) else float("nan")
    if groups < 2:
        return Interval(whole, float("nan"), float("nan"))
    order = np.argsort(code, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(code))[:-1])
    rng = np.random.default_rng(seed)
    found = np.array(
        [statistic(np.concatenate([rows[k] for k in rng.integers(groups, size=groups)])) for _ in range(n)]
    )
    found = found[~np.isnan(found)]
    if len(found) < n / 2:
        return Interval(whole, float("nan"), float("nan"))
    low, high = np.quantile(found, _tails(groups))
    return Interval(whole, float(low), float(high))


def beta_binomial_ceiling(votes: Iterable[tuple[float, float]]) -> Interval:
    """Best accuracy that any predictor can reach against one fresh vote, with its 95% profile-likelihood interval.

    votes: for each pair the votes for one side and for the other, ties left out; pairs with fewer than two votes say
    nothing and are skipped. Which side comes first does not matter. All NaN when no pair has two votes.
    Model: the share p of people who prefer one side is Beta(a, a) over pairs; the ceiling is the mean of max(p, 1 - p),
    1/2 + 4^-a / (a B(a, a)). Agreement alone gives only an upper bound, as the mean of a convex function.
    """
    from scipy.optimize import brentq, minimize_scalar
    from scipy.special import betaln

    cells = Counter((max(pair), min(pair)) for pair in votes if sum(pair) >= 2)
    if not cells:
        return Interval(float("nan"), float("nan"), float("nan"))
    more = np.array([cell[0] for cell in cells], dtype=float)
    less = np.array([cell[1] for cell in cells], dtype=float)
    count = np.array(list(cells.values()), dtype=float)

    def loss(log_a: float) -> float:
        a = np.exp(log_a)
        return -float(count @ (betaln(more + a, less + a) - betaln(a, a)))

    def ceiling(log_a: float) -> float:
        a = np.exp(log_a)
        return float(0.5 + np.exp(-2 * a * np.log(2) - np.log(a) - betaln(a, a)))

    edges = (-7.0, 7.0)  # ceilings of 0.9997 and 0.509: beyond them the likelihood is flat
    best = float(minimize_scalar(loss, bounds=edges, method="bounded").x)
    best = min((best, *edges), key=loss)

    def excess(log_a: float) -> float:
        return loss(log_a) - loss(best) - 1.920729  # half the 95% point of chi-square with one degree of freedom

    strict = brentq(excess, edges[0], best) if best > edges[0] and excess(edges[0]) > 0 else edges[0]
    loose = brentq(excess, best, edges[1]) if best < edges[1] and excess(edges[1]) > 0 else edges[1]
    return Interval(ceiling(best), ceiling(float(loose)), ceiling(float(strict)))


def prompts_needed(rate: float) -> int | None:
    """Independent comparisons that tell a win rate from one half, two-sided at 5% with 80% power; None for one half.

    Source: the normal approximation for one proportion; 0.53 needs 2178, 0.55 783, 0.57 398, 0.60 194.
    """
    if abs(rate - 0.5) < 1e-9:
        return None
    z_alpha, z_power = 1.959963984540054, 0.8416212335729143
    spread = z_alpha * 0.5 + z_power * float(np.sqrt(max(rate * (1 - rate), 0.0)))
    return round((spread / (rate - 0.5)) ** 2)


def _codes(clusters: Sequence[Hashable] | np.ndarray) -> tuple[np.ndarray, int]:
    numbers: dict[Hashable, int] = {}
    code = np.fromiter((numbers.setdefault(cluster, len(numbers)) for cluster in clusters), int, len(clusters))
    return code, len(numbers)


def _tails(groups: int) -> list[float]:
    """Quantiles that bound 95% when a bootstrap over so few clusters spreads too little."""
    from scipy.stats import norm, t

    tail = float(norm.cdf(np.sqrt(groups / (groups - 1)) * t.ppf(0.025, groups - 1)))
    return [tail, 1 - tail]
