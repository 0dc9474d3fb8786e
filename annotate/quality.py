"""How well labels agree: pairwise agreement, Krippendorff's alpha, the majority, and the ceiling they set.

Each function takes one list of outcomes an item (votes of one pair), any hashable value an outcome. Who of the
annotators is reliable is not judged here; intervals and the ceiling's model are statistics.py's.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from annotate.statistics import Interval, beta_binomial_ceiling, clustered_bootstrap

TIE = 0
Outcomes = Sequence[Hashable]


class Agreement(NamedTuple):
    """Summary of a set of votes; NaN where the votes cannot say (no item with two votes, no two outcomes)."""

    raw: float
    raw_without_ties: float
    alpha: float
    ceiling: Interval
    items: int
    items_with_two: int
    votes: int
    annotators: int


def summary(items: Iterable[Outcomes], annotators: int) -> Agreement:
    """All figures of the votes at once; outcomes are 1 and -1 for the two sides and TIE.

    Source of the ceiling: a symmetric beta-binomial fit to the votes without ties (statistics.beta_binomial_ceiling).
    """
    votes = list(items)
    return Agreement(
        raw=pairwise_agreement(votes),
        raw_without_ties=pairwise_agreement(without_ties(votes)),
        alpha=krippendorff_alpha(votes),
        ceiling=beta_binomial_ceiling((Counter(item)[1], Counter(item)[-1]) for item in votes),
        items=len(votes),
        items_with_two=sum(len(item) > 1 for item in votes),
        votes=sum(map(len, votes)),
        annotators=annotators,
    )


def without_ties(items: Iterable[Outcomes]) -> list[list[Hashable]]:
    """The same items without their votes for TIE; items left with none stay, empty."""
    return [[outcome for outcome in item if outcome != TIE] for item in items]


def pairwise_agreement(items: Iterable[Outcomes]) -> float:
    """Share of pairs of votes on the same item that agree, over all items together; NaN without such a pair."""
    agreeing = together = 0
    for item in items:
        counts = Counter(item).values()
        agreeing += sum(count * (count - 1) for count in counts)
        together += len(item) * (len(item) - 1)
    return agreeing / together if together else float("nan")


def agreement_interval(items: Sequence[Outcomes], clusters: Sequence[Hashable], seed: int) -> Interval:
    """Mean over items of their pairwise agreement, with a 95% interval from resampling clusters (say, prompts).

    Items with fewer than two votes say nothing and are left out. Every item weighs the same, whatever its votes.
    """
    kept = [
        (pairwise_agreement([item]), cluster) for item, cluster in zip(items, clusters, strict=True) if len(item) > 1
    ]
    return clustered_bootstrap([value for value, _ in kept], [cluster for _, cluster in kept], seed)


def krippendorff_alpha(items: Iterable[Outcomes]) -> float:
    """Krippendorff's alpha for nominal outcomes: 1 - observed over expected disagreement, missing votes allowed.

    1 is perfect, 0 what chance gives. NaN when no item has two votes or all votes are the same.
    Source: Krippendorff, Content Analysis (2nd ed. 2004), chapter 11.3: every ordered pair of votes on an item of m
    votes counts 1/(m - 1) in the matrix of coincidences.
    """
    observed = total = 0.0
    margins: Counter[Hashable] = Counter()
    for item in items:
        if len(item) < 2:
            continue
        counts = Counter(item)
        margins.update(counts)
        total += len(item)
        observed += sum(count * (len(item) - count) for count in counts.values()) / (len(item) - 1)
    expected = sum(count * (total - count) for count in margins.values()) / (total - 1) if total else 0.0
    return 1 - observed / expected if expected else float("nan")


def majority(item: Outcomes) -> Hashable:
    """The most frequent outcome; TIE when the first place is shared."""
    ranked = Counter(item).most_common(2)
    return TIE if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]) else ranked[0][0]
