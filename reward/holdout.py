"""Which preferences train a reward model and which measure it, always on disjoint prompts.

The split itself was fixed when the prompts came in (annotate/prompts.py); nothing is split anew here but folds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from annotate.errors import BadInput
from annotate.messages import prompt_id
from annotate.preference import Preference, Split

ENOUGH = 50
"""Preferences without a tie that a measurement on other splits needs; with fewer, folds of the own split are used."""


class Holdout(NamedTuple):
    """Preferences to train on, those of other prompts to measure on, and in words where the latter come from."""

    train: list[Preference]
    measure: list[Preference]
    source: str


def hold_out(preferences: Sequence[Preference], split: Split, seed: int) -> Holdout:
    """Train on one split and measure on the others; when they hold too few, give up a fifth of the own prompts.

    Test prompts are never trained on. Raises BadInput when the split holds no preference.
    """
    own, others, source = by_split(preferences, split)
    if enough(others):
        return Holdout(own, others, source)
    if len({group_of(preference) for preference in own}) < 10:  # a fifth of fewer prompts would measure nothing
        return Holdout(own, others, source)
    fold = folds(own, 5, seed)
    train = [preference for preference, at in zip(own, fold, strict=True) if at != 0]
    kept = [preference for preference, at in zip(own, fold, strict=True) if at == 0]
    return Holdout(train, [*others, *kept], f"{source} and a fifth of the {split} prompts, kept out of training")


def by_split(preferences: Sequence[Preference], split: Split) -> Holdout:
    """The preferences of one split, and those of all others. Raises BadInput when the split holds none."""
    own = [preference for preference in preferences if preference.split == split]
    others = [preference for preference in preferences if preference.split != split]
    if not own:
        raise BadInput(
            f"no preference lies on a prompt of the {split} split",
            where="snapshot",
            next="Label more pairs: trueloop annotate; or import more: trueloop import",
        )
    names = [name for name in ("train", "validation", "test") if any(one.split == name for one in others)]
    return Holdout(own, others, " and ".join(names) + " split" + "s" * (len(names) > 1) if names else "no other split")


def enough(preferences: Sequence[Preference]) -> bool:
    """Whether there are preferences enough, ties aside, to measure an accuracy on."""
    return sum(not preference.is_tie for preference in preferences) >= ENOUGH


def folds(preferences: Sequence[Preference], count: int, seed: int) -> np.ndarray:
    """A fold number for each preference, 0 to count - 1, shape (N,); preferences of one prompt group share theirs."""
    groups = sorted({group_of(preference) for preference in preferences})
    order = np.random.default_rng(seed).permutation(len(groups))
    fold = {group: int(place) % count for group, place in zip(groups, order, strict=True)}
    return np.array([fold[group_of(preference)] for preference in preferences], dtype=int)


def group_of(preference: Preference) -> str:
    """What preferences of one prompt share: its group, else its id, else the hash of its text."""
    return preference.group or preference.prompt_id or prompt_id(preference.prompt)
