"""Evaluation: ties, both orders, length, KL at zero, and a whole run side by side on held-out prompts."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from align.divergence import divergence, repetition, variety
from align.evaluate import Answers, EvaluateSection, compare, held_out_prompts, run
from align.judge import Comparison, ScorerJudge, agreement, length_controlled, win_shares
from annotate.errors import BadInput
from annotate.messages import Messages, as_messages
from annotate.progress import silent
from reward.backbone import load_model, load_tokenizer

QUICK = EvaluateSection(prompts=20, samples=2, max_new_tokens=8)
WORLD = """
class World:
    name = "lengths"
    def prompts(self, n, seed):
        return [f"Say {k}" for k in range(n)]
    def demonstrations(self, n, seed):
        return [(f"Say {k}", "salt") for k in range(n)]
    def gold(self, prompt, response):
        assert prompt.startswith("Say")
        return float(len(response))
WORLD = World()
"""

FAMILIES = """
    def family(self, prompt):
        return "count" if prompt.startswith("Say the number") else "say"
    def held_out_prompts(self, n, seed):
        return [f"Say the number {seed} {k}" for k in range(n)]
    def responses(self, prompt, n, seed):
        return ["salt"] * n
WORLD = World()
"""


class Lengths:
    """A scorer that likes long responses, or short ones."""

    def __init__(self, sign: float = 1.0) -> None:
        self.sign, self.asked = sign, 0

    def score(self, prompts: Sequence[Messages], responses: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        self.asked += len(responses)
        return self.sign * np.array([len(text) for text in responses], dtype=float), np.zeros(len(responses))


class LeftLover:
    """A judge with a position bias: 0.9 for the left one where lengths tie, and 0.2 more for the left one always."""

    order_free = False

    def prefer(self, prompts: Sequence[Messages], lefts: Sequence[str], rights: Sequence[str]) -> np.ndarray:
        sure = np.array([0.4 * np.sign(len(left) - len(right)) for left, right in zip(lefts, rights, strict=True)])
        return np.clip(0.5 + sure + 0.1, 0, 1)


PROMPT = as_messages("Say it")


def answers(texts: list[list[str]]) -> Answers:
    tokens = [[[1] * max(1, len(text)) for text in row] for row in texts]
    return Answers(texts, tokens, [[True] * len(row) for row in texts])


def test_every_response_meets_every_other_and_ties_count_half() -> None:
    """Ours have 2 and 4 letters, theirs 2 and 3: tie, loss; win, win."""
    judge = ScorerJudge(Lengths())
    (shares,) = win_shares(judge, [PROMPT], [["aa", "aaaa"]], [["aa", "aaa"]])
    assert shares.tolist() == [[0.5, 0.0], [1.0, 1.0]]


def test_a_scorer_sees_each_response_once() -> None:
    scorer = Lengths()
    judge = ScorerJudge(scorer)
    for _ in range(2):
        win_shares(judge, [PROMPT] * 2, [["a", "bb"], ["a", "cc"]], [["ddd"], ["a"]])
    assert scorer.asked == 4
    win_shares(judge, [as_messages("Another")], [["a"]], [["bb"]])
    assert scorer.asked == 6, "the same text to another prompt is another response"


def test_a_judge_that_loves_the_left_is_asked_both_ways_round() -> None:
    """Bias +0.1 for the left cancels: equal lengths give 1/2; longer gives (1.0 + (1 - 0.2)) / 2 = 0.9, not 1."""
    (shares,) = win_shares(LeftLover(), [PROMPT], [["aa", "aaa"]], [["aa"]])
    assert shares.ravel() == pytest.approx([0.5, 0.9])
    (mirrored,) = win_shares(LeftLover(), [PROMPT], [["aa"]], [["aa", "aaa"]])
    assert mirrored.ravel() == pytest.approx([0.5, 0.1])


def test_agreement_is_one_with_itself_zero_with_its_opposite_and_half_on_ties() -> None:
    longer, shorter = ScorerJudge(Lengths()), ScorerJudge(Lengths(-1.0))
    own = [["a", "bb", "ccc"], ["a", "b"], ["alone"]]
    prompts = [PROMPT] * 3
    assert agreement(longer, longer, prompts, own)[:2] == [1.0, 0.5]
    assert agreement(longer, shorter, prompts, own)[:2] == [0.0, 0.5]
    assert np.isnan(agreement(longer, longer, prompts, own)[2])


def test_a_win_rate_that_is_all_length_is_one_half_at_equal_length() -> None:
    """Verdicts drawn at sigmoid(2 tanh(x)) of the length difference alone, ours longer by one unit on average."""
    rng = np.random.default_rng(0)
    length = rng.normal(1, 1, 6000)
    scaled = np.tanh(length / np.sqrt(np.mean(length**2)))
    verdict = (rng.random(6000) < 1 / (1 + np.exp(-2 * scaled))).astype(float)
    assert verdict.mean() > 0.65
    rate, low, high = length_controlled(Comparison(verdict, length, np.arange(6000) // 4))
    assert rate == pytest.approx(0.5, abs=0.03)
    assert low < 0.5 < high


def test_a_win_rate_that_owes_nothing_to_length_is_kept() -> None:
    rng = np.random.default_rng(1)
    length, verdict = rng.normal(1, 1, 4000), (rng.random(4000) < 0.7).astype(float)
    rate, low, high = length_controlled(Comparison(verdict, length, np.arange(4000)))
    assert low < 0.7 < high
    assert rate == pytest.approx(0.7, abs=0.05)


def test_length_control_survives_data_that_length_separates_and_equal_lengths() -> None:
    separable = length_controlled(Comparison(np.array([0.0, 1.0] * 20), np.array([-1.0, 1.0] * 20), np.arange(40)))
    assert separable.mean == pytest.approx(0.5, abs=1e-6)
    equal = length_controlled(Comparison(np.array([1.0] * 30 + [0.0] * 10), np.zeros(40), np.arange(40)))
    assert equal.mean == pytest.approx(0.75, abs=0.001)
    assert np.isnan(length_controlled(Comparison(np.ones(4), np.zeros(4), np.zeros(4))).low)


def test_copies_of_a_prompt_do_not_narrow_the_length_controlled_interval() -> None:
    rng = np.random.default_rng(2)
    verdict, length = (rng.random(200) < 0.6).astype(float), rng.normal(size=200)
    once = length_controlled(Comparison(verdict, length, np.arange(200)))
    copied = length_controlled(Comparison(np.tile(verdict, 9), np.tile(length, 9), np.tile(np.arange(200), 9)))
    assert copied.high - copied.low == pytest.approx(once.high - once.low, rel=0.05)


def test_win_rates_are_clustered_by_prompt_group_and_gold_stands_beside_the_referee() -> None:
    groups = [str(number // 2) for number in range(60)]
    ours = answers([["aaa" if number % 3 else "a"] for number in range(60)])
    theirs = answers([["aa"] for _ in range(60)])
    judges = {"referee": ScorerJudge(Lengths()), "gold": ScorerJudge(Lengths(-1.0))}
    models = {"policy": ours, "sft": theirs, "champion": theirs}
    figures = compare(judges, [PROMPT] * 60, models, groups, seed=0)
    assert figures["win_rate"] == pytest.approx(2 / 3)
    assert figures["gold_win_rate"] == pytest.approx(1 / 3)
    assert figures["gold_win_rate_ci"] == pytest.approx([1 - bound for bound in reversed(figures["win_rate_ci"])])
    single = compare(judges, [PROMPT] * 60, models, [str(number) for number in range(60)], seed=0)
    assert single["win_rate_ci"] != figures["win_rate_ci"]
    assert figures["prompts_needed"] == 68  # ((0.97998 + 0.84162 * sqrt(2/9)) / (1/6))^2 = 68.2
    assert figures["resolution"] == pytest.approx(0.18, abs=0.01)


def test_a_model_is_nowhere_from_itself_and_kl_is_what_the_definition_says(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    model, other = load_model(tiny_model, tokenizer), load_model(tiny_model, tokenizer)
    prompts, responses = [[1, 30, 31], [1, 40]], [[50, 51, 2], [60]]
    same = divergence(model, other, prompts, responses)
    np.testing.assert_allclose(same.exact, 0, atol=1e-6)
    np.testing.assert_allclose(same.sampled, 0, atol=1e-6)
    with torch.no_grad():
        other.get_input_embeddings().weight.mul_(3.0)
    moved = divergence(model, other, prompts, responses, temperature=0.7)
    for row in range(2):
        ids = torch.tensor([prompts[row] + responses[row]])
        with torch.no_grad():
            ours = (model(ids).logits[0] / 0.7).log_softmax(-1)
            theirs = (other(ids).logits[0] / 0.7).log_softmax(-1)
        at = range(len(prompts[row]) - 1, ids.shape[1] - 1)
        exact = sum(float((ours[t].exp() * (ours[t] - theirs[t])).sum()) for t in at)
        sampled = sum(float(ours[t, ids[0, t + 1]] - theirs[t, ids[0, t + 1]]) for t in at)
        assert moved.exact[row] == pytest.approx(exact, rel=1e-4)
        assert moved.sampled[row] == pytest.approx(sampled, rel=1e-4)
    assert (moved.exact > 0).all()


def test_the_sampled_kl_has_the_exact_one_as_its_mean(tiny_model: Path) -> None:
    from align.generate import generate

    tokenizer = load_tokenizer(tiny_model)
    model, other = load_model(tiny_model, tokenizer), load_model(tiny_model, tokenizer)
    with torch.no_grad():
        other.get_input_embeddings().weight.mul_(6.0)
    (row,) = generate(model, tokenizer, [as_messages("Say")], n=300, max_new_tokens=6, seed=0)
    from reward.backbone import encode_prompt

    prompt = encode_prompt(tokenizer, as_messages("Say"))
    found = divergence(model, other, [prompt] * 300, [one.token_ids for one in row])
    error = found.sampled.std() / 300**0.5
    assert found.sampled.mean() == pytest.approx(found.exact.mean(), abs=4 * error)
    assert found.exact.std() < found.sampled.std()


def test_repetition_and_variety_are_counted_by_word_pairs() -> None:
    """a b a b a: pairs ab, ba, ab, ba: half repeated. a b c: none. Together: ab, ba, bc of six pairs."""
    assert repetition(["a b a b a", "a b c", "a"]) == pytest.approx((0.5 + 0 + 0) / 3)
    assert variety(["a b a b a", "a b c", "a"]) == pytest.approx(3 / 6)
    assert repetition(["好吃好吃好"]) == pytest.approx(0.5)
    assert repetition([]) == variety([""]) == 0


@pytest.fixture(scope="module")
def inputs(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, make_snapshot: Callable[..., Path]
) -> dict[str, Path]:
    """Artifacts of a small round: a policy moved a little, prompts of three splits, a reward model and a referee."""
    from reward.config import HeadSection
    from reward.head import run as fit

    root = tmp_path_factory.mktemp("round")
    tokenizer = load_tokenizer(tiny_model)
    model = load_model(tiny_model, tokenizer)
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(1.5)
    model.save_pretrained(root / "policy")
    tokenizer.save_pretrained(root / "policy")
    snapshot = make_snapshot(60, 60)
    for split, name in (("train", "reward"), ("validation", "referee")):
        (root / name).mkdir()
        fit({"sft": tiny_model, "snapshot": snapshot}, HeadSection(), root / name, seed=0, progress=silent, split=split)
    (root / "prompts").mkdir()
    with (root / "prompts" / "prompts.jsonl").open("w", encoding="utf-8") as file:
        for number in range(60):
            turns = [{"role": "user", "content": f"Say {number}"}]
            split = ("train", "validation", "test")[number % 3]
            row = {"id": f"p{number}", "messages": turns, "split": split, "group": f"g{number // 6}", "family": "say"}
            file.write(json.dumps({**row, "family": "say" if number < 30 else "tell"}) + "\n")
    (root / "world.py").write_text(WORLD, encoding="utf-8")
    return {"sft": tiny_model, **{name: root / name for name in ("policy", "reward", "referee", "prompts")}}


def test_a_whole_evaluation_writes_figures_and_samples_side_by_side(tmp_path: Path, inputs: dict[str, Path]) -> None:
    world = str(inputs["policy"].parent / "world.py")
    figures = run(inputs, QUICK, tmp_path, seed=3, progress=silent, world=world)
    assert figures["prompts"] == 20
    assert figures["win_rate"] == figures["win_rate_champion"], "without a champion the SFT model is it"
    low, high = figures["win_rate_ci"]
    assert low <= figures["win_rate"] <= high
    assert figures["kl"] > 0
    for key in ("gold_win_rate", "gold_win_rate_champion", "proxy_win_rate", "agreement", "length", "length_sft"):
        assert isinstance(figures[key], float), key
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 20
    assert {row["id"] for row in rows} == {f"p{number}" for number in range(2, 60, 3)}
    for row in rows:
        assert row["models"].keys() == {"policy", "sft", "champion"}
        for model in row["models"].values():
            assert len(model["responses"]) == len(model["referee"]) == 2
            assert model["gold"] == [float(len(text)) for text in model["responses"]]
    stored = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert stored["families"].keys() == {"say", "tell"}
    assert sum(family["prompts"] for family in stored["families"].values()) == 20
    assert json.loads((tmp_path / "metrics.jsonl").read_text(encoding="utf-8"))["step"] == 0


def test_a_family_held_out_from_training_is_reported_apart_and_changes_no_other_figure(
    tmp_path: Path, inputs: dict[str, Path]
) -> None:
    """A quarter as many prompts as the others: 5 of 20."""
    world = tmp_path / "families.py"
    world.write_text(WORLD.replace("WORLD = World()\n", "") + FAMILIES.lstrip("\n"), encoding="utf-8")
    figures = {}
    for name, path in (("without", inputs["policy"].parent / "world.py"), ("with", world)):
        (tmp_path / name).mkdir()
        figures[name] = run(inputs, QUICK, tmp_path / name, seed=3, progress=silent, world=str(path))
    assert (tmp_path / "with" / "samples.jsonl").read_bytes() == (tmp_path / "without" / "samples.jsonl").read_bytes()
    apart = {name: value for name, value in figures["with"].items() if name not in figures["without"]}
    assert {name: figures["with"][name] for name in figures["without"]} == figures["without"]
    assert {name.removesuffix("_ci") for name in apart} == {
        f"held_out_family_{judge}win_rate{suffix}"
        for judge in ("", "gold_", "proxy_")
        for suffix in ("", "_champion", *(() if judge else ("_length_controlled", "_champion_length_controlled")))
    }
    lines = (tmp_path / "with" / "held_out_family.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["prompt"][-1]["content"] for row in rows] == [f"Say the number 3 {k}" for k in range(5)]
    assert len({row["id"] for row in rows}) == 5
    gold = [[np.array(row["models"][name]["gold"]) for name in ("policy", "sft")] for row in rows]
    wins = [((ours[:, None] > sft) + (ours[:, None] == sft) / 2).mean() for ours, sft in gold]
    assert apart["held_out_family_gold_win_rate"] == pytest.approx(np.mean(wins))
    stored = json.loads((tmp_path / "with" / "metrics.json").read_text(encoding="utf-8"))["families"]
    assert stored["count"]["held_out"] is True and stored["count"]["prompts"] == 5
    assert not any("held_out" in stored[name] for name in ("say", "tell"))


def test_a_candidate_that_is_the_sft_model_ties_exactly(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Same weights, same seeds, same sampling: the same responses, a win rate of exactly one half, and KL 0."""
    figures = run({**inputs, "policy": inputs["sft"]}, QUICK, tmp_path, seed=0, progress=silent)
    assert figures["win_rate"] == 0.5
    assert figures["kl"] == pytest.approx(0, abs=1e-6)
    assert "gold_win_rate" not in figures
    copied = tmp_path / "copy"
    shutil.copytree(inputs["sft"], copied)
    (tmp_path / "again").mkdir()
    again = run({**inputs, "policy": copied}, QUICK, tmp_path / "again", seed=0, progress=silent)
    assert again["win_rate"] == 0.5


def test_an_evaluation_is_the_same_twice_and_another_with_another_seed(tmp_path: Path, inputs: dict[str, Path]) -> None:
    for name, seed in (("one", 5), ("two", 5), ("three", 6)):
        (tmp_path / name).mkdir()
        run(inputs, QUICK, tmp_path / name, seed=seed, progress=silent)
    one, two, three = ((tmp_path / name / "samples.jsonl").read_bytes() for name in ("one", "two", "three"))
    assert one == two
    assert one != three


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, inputs: dict[str, Path]) -> bytes:
    """The samples of the quick section."""
    out = tmp_path_factory.mktemp("plain")
    run(inputs, QUICK, out, seed=0, progress=silent)
    return (out / "samples.jsonl").read_bytes()


@pytest.mark.parametrize("change", [{"prompts": 10}, {"samples": 3}, {"max_new_tokens": 4}, {"temperature": 0.3}])
def test_every_field_changes_the_evaluation(
    tmp_path: Path, inputs: dict[str, Path], plain: bytes, change: dict[str, Any]
) -> None:
    run(inputs, QUICK.model_copy(update=change), tmp_path, seed=0, progress=silent)
    assert (tmp_path / "samples.jsonl").read_bytes() != plain


def test_test_prompts_are_chosen_by_seed_and_none_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    rows = [{"id": str(number), "split": "test", "messages": []} for number in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    few = held_out_prompts(path, 10, seed=0)
    assert [int(row["id"]) for row in few] == sorted(int(row["id"]) for row in few)
    assert few != held_out_prompts(path, 10, seed=1)
    assert len(held_out_prompts(path, 100, seed=0)) == 30
    path.write_text(json.dumps({"id": "1", "split": "train"}) + "\n")
    with pytest.raises(BadInput, match=r"test split is empty.*trueloop prompts"):
        held_out_prompts(path, 10, seed=0)
