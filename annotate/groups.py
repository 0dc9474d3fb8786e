"""Near-duplicate groups of texts: MinHash signatures of character 5-grams, candidates by banding, leaders by Jaccard.

Prompts of one group always share a split. Which prompts are stored, and where, is prompts.py's business.
"""

from collections import defaultdict

import numpy as np

from annotate.messages import Messages, normalised

PERMUTATIONS = 128
SHINGLE = 5
_RNG = np.random.default_rng(20240607)
_FACTORS_P = _RNG.integers(0, 2**63, PERMUTATIONS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_OFFSETS_P = _RNG.integers(0, 2**63, PERMUTATIONS, dtype=np.uint64)


def root_text(messages: Messages) -> str:
    """What a conversation is grouped by: its first turn that is not the system's, normalised."""
    root = next((turn for turn in messages if turn.role != "system"), messages[0])
    return normalised(root.text)


def shingles(text: str) -> np.ndarray:
    """The distinct 64-bit hashes of the text's character 5-grams, sorted; a shorter text is one shingle."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    count = max(1, len(codes) - SHINGLE + 1)
    hashes = np.zeros(count, dtype=np.uint64)
    for offset in range(min(SHINGLE, len(codes))):
        hashes = (hashes ^ codes[offset : offset + count]) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
    return np.unique(hashes)


def jaccard(first: np.ndarray, second: np.ndarray) -> float:
    """Size of the intersection over size of the union of two sets of shingles."""
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)


def signature(hashes: np.ndarray) -> np.ndarray:
    """MinHash signature, shape (PERMUTATIONS,): two agree in each place with probability equal to their Jaccard index.

    Source: Broder 1997, On the resemblance and containment of documents; hashing by multiply-shift (Dietzfelbinger
    et al. 1997), which needs no modulus.
    """
    lowest = np.full(PERMUTATIONS, 2**32 - 1, dtype=np.uint32)
    for start in range(0, len(hashes), 4096):  # in blocks: a long text times all permutations would not fit
        mixed = (hashes[start : start + 4096, None] * _FACTORS_P + _OFFSETS_P) >> np.uint64(32)
        lowest = np.minimum(lowest, mixed.min(axis=0).astype(np.uint32))
    return lowest


class Groups:
    """Leaders of near-duplicate groups: a text joins its closest leader, or leads a group of its own.

    Groups are stars around their leader, never chains, so no two prompts of a group are far apart, and a prompt that
    comes later never merges two groups or moves what is placed already.
    """

    def __init__(self, threshold: float = 0.85) -> None:
        """threshold: Jaccard index of normalised 5-grams from which a text counts as a near-duplicate."""
        assert 0 < threshold <= 1, "threshold is a Jaccard index"
        self.threshold = threshold
        self.ids: list[str] = []
        self._known: set[str] = set()
        self._texts: list[str] = []
        self._signatures = np.empty((256, PERMUTATIONS), dtype=np.uint32)
        self._rows = _rows_per_band(threshold)
        self._buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)

    def __contains__(self, group: str) -> bool:
        return group in self._known

    def __len__(self) -> int:
        return len(self.ids)

    def lead(self, group: str, text: str) -> None:
        """Make a normalised text the leader of a new group, however near it is to others."""
        self._add(group, text, signature(shingles(text)))

    def place(self, group: str, text: str) -> tuple[str, float]:
        """The group of the closest leader and the Jaccard index with it; none near enough makes `group` new, with 0.

        A group that leads already keeps leading: a transaction that is tried again finds itself here.
        """
        if group in self:
            return group, 0.0
        hashes = shingles(text)
        mark = signature(hashes)
        candidates = sorted({i for key in self._bands(mark) for i in self._buckets.get(key, ())})
        if candidates:
            likeness = (self._signatures[candidates] == mark).mean(axis=1)
            # The estimate is off by up to 0.1 (three standard errors): those that may be near are compared exactly.
            best = [i for i in np.argsort(-likeness, kind="stable")[:32] if likeness[i] >= self.threshold - 0.1]
            exact = [(jaccard(hashes, shingles(self._texts[candidates[i]])), -candidates[i]) for i in best]
            closest, index = max(exact, default=(0.0, 0))
            if closest >= self.threshold:
                return self.ids[-index], closest
        self._add(group, text, mark)
        return group, 0.0

    def _add(self, group: str, text: str, mark: np.ndarray) -> None:
        index = len(self.ids)
        if index == len(self._signatures):
            self._signatures = np.concatenate([self._signatures, np.empty_like(self._signatures)])
        self._signatures[index] = mark
        self.ids.append(group)
        self._known.add(group)
        self._texts.append(text)
        for key in self._bands(mark):
            self._buckets[key].append(index)

    def _bands(self, mark: np.ndarray) -> list[tuple[int, bytes]]:
        return [(start, mark[start : start + self._rows].tobytes()) for start in range(0, PERMUTATIONS, self._rows)]


def _rows_per_band(threshold: float) -> int:
    """The widest band with which a text at the threshold still shares a bucket with its leader 99 times in 100."""
    fitting = [rows for rows in (32, 16, 8, 4, 2) if 1 - (1 - threshold**rows) ** (PERMUTATIONS // rows) >= 0.99]
    return fitting[0] if fitting else 1
