"""Near-duplicate groups, against the exact Jaccard index."""

import numpy as np
import pytest

from annotate.groups import PERMUTATIONS, Groups, jaccard, root_text, shingles, signature
from annotate.messages import as_messages

WORDS = (
    "catfish",
    "oak",
    "tea",
    "jar",
    "nut",
    "doghouse",
    "suntan",
    "map",
    "pen",
    "fig",
    "lamp",
    "river",
    "stone",
    "tiger",
)


def sentences(count: int, seed: int = 0) -> list[str]:
    """Templated sentences, many of which are near-duplicates of others."""
    rng = np.random.default_rng(seed)
    return [
        f"write a short and friendly message of two sentences that explains to a {first} how the {second} works"
        for first, second in rng.choice(WORDS, size=(count, 2))
    ]


def test_jaccard_of_short_texts_is_the_one_counted_by_hand():
    """abcdef has abcde, bcdef; abcdeg has abcde, bcdeg: 1 shared of 3. Shorter than 5 is one shingle."""
    assert jaccard(shingles("abcdef"), shingles("abcdeg")) == pytest.approx(1 / 3)
    assert len(shingles("abc")) == len(shingles("")) == 1
    assert jaccard(shingles("abc"), shingles("abd")) == 0
    assert len(shingles("aaaaaaaaaa")) == 1, "a set, not a list"


def test_the_signature_estimates_jaccard_without_bias():
    texts = [shingles(text) for text in sentences(40)]
    pairs = [(i, j) for i in range(40) for j in range(i)]
    errors = [
        float((signature(texts[i]) == signature(texts[j])).mean()) - jaccard(texts[i], texts[j]) for i, j in pairs
    ]
    assert abs(np.mean(errors)) < 0.02
    assert np.std(errors) < 1.3 * np.sqrt(0.25 / PERMUTATIONS), "no worse than chance allows"


def test_a_long_text_has_the_same_signature_in_blocks():
    hashes = shingles("".join(np.random.default_rng(0).choice(list("abcdefgh"), 30_000)))
    whole = signature(hashes)
    assert np.array_equal(np.minimum(signature(hashes[:7000]), signature(hashes[7000:])), whole)


def test_groups_are_those_that_comparing_all_with_all_gives():
    texts = sentences(300)
    leaders: list[int] = []
    expected = []
    sets = [shingles(text) for text in texts]
    for index in range(len(texts)):
        best = max(((jaccard(sets[index], sets[leader]), -leader) for leader in leaders), default=(0.0, 0))
        if best[0] >= 0.85:
            expected.append(str(-best[1]))
        else:
            leaders.append(index)
            expected.append(str(index))
    groups = Groups(0.85)
    found = [groups.place(str(index), text)[0] for index, text in enumerate(texts)]
    assert len(groups) == len(leaders) < len(texts)
    # Banding finds a near-duplicate 99 times in 100, the closest of several nearly always.
    assert sum(a != b for a, b in zip(found, expected, strict=True)) <= 3


def test_groups_are_stars_and_not_chains():
    """Each step changes a little; the far end is near its neighbour but not near the leader."""
    words = [f"word{number:03d}" for number in range(60)]
    groups = Groups(0.85)
    chain = [" ".join([*(f"else{i:03d}" for i in range(step)), *words[step:]]) for step in range(0, 30, 2)]
    placed = [groups.place(str(step), text)[0] for step, text in enumerate(chain)]
    assert len(set(placed)) > 1
    for step, group in enumerate(placed):
        assert jaccard(shingles(chain[step]), shingles(chain[int(group)])) >= 0.85


def test_what_comes_later_moves_nothing():
    texts = sentences(200)
    first, both = Groups(), Groups()
    early = [first.place(str(index), text)[0] for index, text in enumerate(texts[:100])]
    all_of_them = [both.place(str(index), text)[0] for index, text in enumerate(texts)]
    assert all_of_them[:100] == early


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.85, 0.95, 1.0])
def test_equal_texts_share_a_group_at_any_threshold(threshold):
    groups = Groups(threshold)
    assert groups.place("a", "the same text, word for word") == ("a", 0.0)
    assert groups.place("b", "the same text, word for word") == ("a", 1.0)
    assert groups.place("c", "something else entirely") == ("c", 0.0)


def test_a_leader_placed_again_leads_on():
    groups = Groups()
    groups.place("a", "some text to be placed")
    assert groups.place("a", "some text to be placed") == ("a", 0.0)
    assert len(groups) == 1


def test_a_conversation_is_grouped_by_its_first_turn_that_is_not_the_systems():
    turns = [("system", "Be kind."), ("user", "Hi  THERE"), ("assistant", "Hello"), ("user", "Go on")]
    assert root_text(as_messages([{"role": role, "content": said} for role, said in turns])) == "hi there"
