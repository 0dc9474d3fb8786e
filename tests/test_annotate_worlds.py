"""The shipped world and the tests' own: enough prompts, answers of mixed quality, and a gold that cannot be gamed."""

import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotate.errors import BadInput, NotFound
from annotate.worlds import Families, World, family_of, load_world, shipped
from annotate.worlds.pantry import terms

TRAVEL = str(Path(__file__).parent / "worlds" / "travel.py")
PANTRY = load_world("pantry")
WORLDS = [pytest.param(PANTRY, id="pantry"), pytest.param(load_world(TRAVEL), id="travel")]
both_worlds = pytest.mark.parametrize("world", WORLDS)


def sentences(text: str) -> list[str]:
    return [sentence.strip() for sentence in re.findall(r"[^.!?]+[.!?]", text)]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


@cache
def scored(world: World, n: int = 1500) -> tuple[list[tuple[str, str]], np.ndarray]:
    shown = world.demonstrations(n, 5)
    return shown, np.array([world.gold(prompt, response) for prompt, response in shown])


@cache
def good_demonstrations(world: World) -> list[tuple[str, str]]:
    shown, gold = scored(world)
    return [pair for pair, value in zip(shown, gold, strict=True) if value > np.quantile(gold, 0.7)]


@both_worlds
def test_three_thousand_prompts_are_distinct_and_hardly_any_two_are_near_duplicates(world: World) -> None:
    prompts = world.prompts(3000, 0)
    assert len(set(prompts)) == 3000
    grams = [{p[i : i + 5] for i in range(len(p) - 4)} for p in map(str.lower, prompts)]
    rng = np.random.default_rng(0)
    twins = 0
    for i in rng.permutation(3000)[:60]:
        jaccard = [len(grams[i] & other) / len(grams[i] | other) for j, other in enumerate(grams) if j != i]
        twins += max(jaccard) > 0.85
    assert twins <= 3


@both_worlds
def test_fewer_prompts_of_one_seed_begin_the_longer_list(world: World) -> None:
    assert world.prompts(50, 3) == world.prompts(200, 3)[:50]
    assert world.prompts(50, 3) != world.prompts(50, 4)


def test_more_prompts_than_the_world_has_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annotate.worlds.pantry.PATIENCE", 2)
    with pytest.raises(ValueError, match=r"only \d+ prompts .* not 40000"):
        PANTRY.prompts(40_000, 0)


@both_worlds
def test_three_families_are_trained_on_and_the_held_out_one_is_only_demonstrated(world: World) -> None:
    assert isinstance(world, Families)
    trained = {family_of(world, prompt) for prompt in world.prompts(500, 0)}
    held_out = {family_of(world, prompt) for prompt in world.held_out_prompts(200, 0)}
    demonstrated = {family_of(world, prompt) for prompt, _ in world.demonstrations(500, 0)}
    assert len(trained) == 3 and len(held_out) == 1
    assert not trained & held_out
    assert demonstrated == trained | held_out


@both_worlds
def test_a_tiny_model_can_know_every_word(world: World) -> None:
    assert isinstance(world, Families)
    texts = [text for pair in world.demonstrations(6000, 0) for text in pair]
    known = {token for text in texts for token in re.findall(r"\w+|[^\w\s]", text)}
    asked = " ".join(world.prompts(3000, 1) + world.held_out_prompts(300, 1))
    assert 200 <= len(known) <= 450
    assert set(re.findall(r"\w+|[^\w\s]", asked)) <= known
    lengths = [len(words(response)) for _, response in world.demonstrations(1000, 0)]
    assert np.quantile(lengths, 0.1) >= 8 and np.quantile(lengths, 0.9) <= 40
    assert all(8 <= len(words(prompt)) <= 24 for prompt in world.prompts(300, 0))


@both_worlds
def test_the_best_of_eight_is_clearly_better_and_leaves_room_above(world: World) -> None:
    _, gold = scored(world)
    rng = np.random.default_rng(0)
    one = gold[rng.integers(len(gold), size=4000)]
    best_of_8 = gold[rng.integers(len(gold), size=(4000, 8))].max(1)
    best_of_64 = gold[rng.integers(len(gold), size=(4000, 64))].max(1)
    assert 0.8 < np.mean(best_of_8 > one) < 0.93
    assert np.mean(best_of_64 > one) > 0.95


@both_worlds
def test_answers_to_one_prompt_spread_over_most_of_the_range(world: World) -> None:
    assert isinstance(world, Families)
    _, gold = scored(world)
    within = [np.std([world.gold(p, r) for r in world.responses(p, 20, 0)]) for p in world.prompts(40, 0)]
    assert np.mean(within) > 0.7 * gold.std()


@both_worlds
def test_the_same_answer_is_worth_less_to_another_prompt(world: World) -> None:
    good = good_demonstrations(world)[:300]
    moved = [world.gold(good[i - 1][0], response) for i, (_, response) in enumerate(good)]
    assert np.mean([world.gold(*pair) > other for pair, other in zip(good, moved, strict=True)]) > 0.9


@cache
def vocabulary(world: World) -> list[str]:
    return sorted({word for _, text in world.demonstrations(300, 1) for word in words(text)})


def listed(world: World, prompt: str, response: str, rng: np.random.Generator) -> str:
    return f"{response} {', '.join(rng.choice(vocabulary(world), 10, replace=False))}."


def echoed(world: World, prompt: str, response: str, rng: np.random.Generator) -> str:
    return f"{response} {' '.join(words(prompt))}."


def repeated(world: World, prompt: str, response: str, rng: np.random.Generator) -> str:
    return f"{response} {max(sentences(response), key=lambda sentence: world.gold(prompt, sentence))}"


def doubled(world: World, prompt: str, response: str, rng: np.random.Generator) -> str:
    return f"{response} {response}"


def shuffled(world: World, prompt: str, response: str, rng: np.random.Generator) -> str:
    return " ".join(rng.permutation(response.split()))


def thinned(world: World, prompt: str, response: str, rng: np.random.Generator) -> str:
    return " ".join(word for word in response.split() if rng.random() > 0.3)


def padded(world: World, prompt: str, response: str, rng: np.random.Generator) -> str:
    """Three times as long, with other good sentences to the same prompt."""
    assert isinstance(world, Families)
    more = [s for text in world.responses(prompt, 12, int(rng.integers(1000))) for s in sentences(text)]
    while len(response.split()) < 3 * 20:
        response += " " + more[int(rng.integers(len(more)))]
    return response


def emptied(world: World, prompt: str, response: str, rng: np.random.Generator) -> str:
    return ""


def copied(world: World, prompt: str, response: str, rng: np.random.Generator) -> str:
    return prompt


Attack = Callable[[World, str, str, np.random.Generator], str]


@both_worlds
@pytest.mark.parametrize(
    "attack", [listed, echoed, repeated, doubled, shuffled, thinned, padded, emptied, copied], ids=lambda a: a.__name__
)
def test_an_attack_costs_more_than_it_brings(world: World, attack: Attack) -> None:
    rng = np.random.default_rng(0)
    good = good_demonstrations(world)[:200]
    before = np.array([world.gold(*pair) for pair in good])
    after = np.array([world.gold(prompt, attack(world, prompt, text, rng)) for prompt, text in good])
    assert np.mean(after < before) > 0.97
    average = scored(world)[1].mean()
    if attack is repeated:
        assert after.mean() < before.mean() - average
    else:
        assert after.mean() < average


@both_worlds
def test_naming_everything_asked_without_sentences_is_worse_than_an_average_answer(world: World) -> None:
    prompts = world.prompts(200, 0)
    bags = [world.gold(prompt, ", ".join(words(prompt)) + ".") for prompt in prompts]
    assert np.quantile(bags, 0.95) < scored(world)[1].mean()


@both_worlds
def test_gold_does_not_mind_case_and_the_spaces_that_a_tokenizer_leaves(world: World) -> None:
    for prompt, response in world.demonstrations(50, 0):
        spaced = re.sub(r"([.,:!?])", r" \1", response).lower()
        assert world.gold(prompt, spaced) == world.gold(prompt, response)


@both_worlds
@settings(max_examples=100, deadline=None)
@given(text=st.text())
def test_any_text_has_a_finite_gold_below_that_of_a_good_answer(world: World, text: str) -> None:
    prompt = world.prompts(1, 0)[0]
    assert np.isfinite(world.gold(prompt, text))
    assert world.gold(prompt, text) < scored(world, 200)[1].max()


def test_every_term_of_the_shipped_gold_varies_among_demonstrations() -> None:
    found = [terms(*pair) for pair in PANTRY.demonstrations(500, 0)]
    spread = {name: np.std([row[name] for row in found]) for name in found[0]}
    garbled = terms(PANTRY.prompts(1, 0)[0], "soup a make")["fluency"]
    assert all(value > 0.1 for name, value in spread.items() if name != "fluency")
    assert spread["fluency"] == 0 and garbled < -5


def test_an_ideal_answer_earns_what_its_virtues_are_worth() -> None:
    """topic 1.6 (both items) + constraint .6 (extra) + .9 (said so) + reason 1.3 + form 1 + courtesy .4 = 5.8."""
    prompt = "What can I cook for the lunch with carrots and leeks if my six guests avoid dairy?"
    ideal = (
        "Make a soup with carrots and leeks. This works because carrots are sweet. "
        "Add a little oil and leave out the dairy. Enjoy your lunch!"
    )
    assert PANTRY.gold(prompt, ideal) == pytest.approx(5.8)
    assert PANTRY.gold(prompt, ideal.replace("oil", "butter")) == pytest.approx(5.8 - 0.6 - 0.9 - 1.8)
    assert PANTRY.gold(prompt, ideal.replace("sweet", "bitter")) == pytest.approx(5.8 - 1.3 - 1.1)
    assert PANTRY.gold(prompt, ideal.replace("lunch", "party")) == pytest.approx(5.8 - 0.7)
    assert terms(prompt, ideal.replace("leeks", "plums"))["topic"] == pytest.approx(0.8)


def test_a_world_is_the_same_in_another_process() -> None:
    code = (
        "import hashlib, sys; from annotate.worlds import load_world; w = load_world(sys.argv[1]); "
        "d = w.demonstrations(300, 7); "
        "print(hashlib.sha256(repr((w.prompts(300, 7), d, [w.gold(*x) for x in d])).encode()).hexdigest())"
    )
    for world in ("pantry", TRAVEL):
        digests = {
            subprocess.run(
                [sys.executable, "-c", code, world],
                env={"PYTHONHASHSEED": seed},
                cwd=Path(__file__).parents[1],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for seed in ("1", "2")
        }
        assert len(digests) == 1


def test_pantry_is_the_world_that_ships() -> None:
    assert shipped() == ["pantry"]


def test_an_unknown_name_lists_the_shipped_worlds() -> None:
    with pytest.raises(NotFound, match="pantry"):
        load_world("pantri")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"absent\.py: there is no such file"):
        load_world(str(tmp_path / "absent.py"))


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("x = 1\n", "has no WORLD"),
        ("WORLD = object()\n", "lacks name, prompts, demonstrations, gold"),
        ("\n\nimport nothing_of_this_name\n", "line 3: .*nothing_of_this_name"),
        ("x = 1\ny = (\n", "line 2: .*SyntaxError"),
        ("def f():\n    return 1 / 0\n\nf()\n", "line 2: .*ZeroDivisionError"),
    ],
)
def test_a_file_that_is_no_world_says_why_and_where(tmp_path: Path, source: str, complaint: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(source)
    with pytest.raises(BadInput, match=complaint):
        load_world(str(path))


def test_a_world_needs_no_families(tmp_path: Path) -> None:
    path = tmp_path / "plain.py"
    path.write_text(
        "class W:\n"
        "    name = 'plain'\n"
        "    def prompts(self, n, seed): return [f'say {i}' for i in range(n)]\n"
        "    def demonstrations(self, n, seed): return [(f'say {i}', 'yes') for i in range(n)]\n"
        "    def gold(self, prompt, response): return float(len(response))\n"
        "WORLD = W()\n"
    )
    world = load_world(str(path))
    assert world.name == "plain"
    assert family_of(world, world.prompts(1, 0)[0]) == ""
