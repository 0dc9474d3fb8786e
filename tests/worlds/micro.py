"""The smallest world that closes the loop: sixteen fruits, prompts that ask for two of them, answers that name some.

For drills that run the loop many times in seconds. It shows that the machinery works, not that anything is learned.
"""

from collections import Counter
from itertools import permutations

import numpy as np

FRUITS = (
    "apple", "plum", "fig", "cherry", "quince", "melon", "grape", "lemon",
    "orange", "kiwi", "mango", "papaya", "peach", "olive", "banana", "lime",
)  # fmt: skip
PROMPT = "Name {} and {}."


class Micro:
    name = "micro"

    def prompts(self, n: int, seed: int) -> list[str]:
        """n distinct prompts, at most 240: one for each ordered pair of fruits."""
        asked = list(permutations(FRUITS, 2))
        if n > len(asked):
            raise ValueError(f"this world has {len(asked)} prompts, not {n}")
        order = np.random.default_rng([seed, 1]).permutation(len(asked))
        return [PROMPT.format(*asked[place]) for place in order[:n]]

    def demonstrations(self, n: int, seed: int) -> list[tuple[str, str]]:
        """n (prompt, response): each asked fruit is named four times out of five, up to two others besides."""
        rng = np.random.default_rng([seed, 2])
        rows = []
        for _ in range(n):
            asked = [FRUITS[place] for place in rng.permutation(len(FRUITS))[:2]]
            named = [fruit for fruit in asked if rng.random() < 0.8]
            named += [FRUITS[int(rng.integers(len(FRUITS)))] for _ in range(int(rng.integers(3)))]
            rows.append((PROMPT.format(*asked), " ".join(named) or "none"))
        return rows

    def gold(self, prompt: str, response: str) -> float:
        """Points: 1 and a little for each asked fruit that is named, a third off for every other word."""
        asked = [word.strip(".") for word in prompt.split() if word.strip(".") in FRUITS]
        words = Counter(response.split())
        named = [fruit for fruit in asked if words[fruit]]
        return sum(1 + FRUITS.index(fruit) / 20 for fruit in named) - (words.total() - len(named)) / 3


WORLD = Micro()
