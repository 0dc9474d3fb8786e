"""The fine-tuned reward model: it learns, holds its scores still, drops no pair, and resumes to the same bytes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from annotate.errors import BadInput, BadModel
from annotate.messages import as_messages
from annotate.preference import Preference, read_preferences
from annotate.progress import silent
from reward.backbone import load_tokenizer
from reward.config import FinetuneSection
from reward.finetune import check_alone, check_saved, cross_calibrated, encode_pairs, load_finetuned, report_cut, run
from reward.model import load_scalar_model, make_scalar_model, rewards

QUICK = FinetuneSection(batch_size=8, learning_rate=3e-3)


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, make_snapshot: Callable[..., Path]
) -> tuple[Path, Path, dict[str, Any]]:
    """A snapshot, the folder of a reward model trained on it, and its metrics."""
    snapshot, out = make_snapshot(160, 80), tmp_path_factory.mktemp("reward")
    metrics = run({"sft": tiny_model, "snapshot": snapshot}, QUICK, out, seed=0, progress=silent)
    return snapshot, out, metrics


def test_it_learns_what_people_prefer_and_reports_it(trained: tuple[Path, Path, dict[str, Any]]) -> None:
    """People here prefer the answer that says "butter", whatever else it says; the other splits' prompts are others."""
    _, out, metrics = trained
    assert metrics["accuracy"] > 0.9
    assert metrics["accuracy_ci"][0] > metrics["length_only_ci"][1] - 0.2
    assert metrics["measured_on"] == "validation split"
    assert metrics["preferences"] == 160
    assert metrics["cut"] == 0
    assert {"report.json", "report.html", "reward.json", "calibration.json", "metrics.jsonl"} <= {
        path.name for path in out.iterdir()
    }
    assert not [path.name for path in out.rglob("*") if path.suffix in (".bin", ".pt", ".pth")], "no pickles are left"
    assert not (out / "checkpoints").exists()


def test_the_folder_is_a_plain_transformers_classifier(trained: tuple[Path, Path, dict[str, Any]]) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    _, out, _ = trained
    plain = AutoModelForSequenceClassification.from_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    turns = [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "salt butter"}]
    ids = tokenizer(tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False, return_tensors="pt")
    with torch.no_grad():
        logit = plain(**ids).logits.item()
    scorer = load_finetuned(out)
    mean, std = scorer.score([as_messages("How?")], ["salt butter"])
    assert mean[0] == pytest.approx(logit * scorer.temperature, abs=1e-4)
    assert std[0] == 0


def test_a_score_does_not_depend_on_its_neighbours(trained: tuple[Path, Path, dict[str, Any]]) -> None:
    scorer = load_finetuned(trained[1])
    prompts = [as_messages(f"How do I cook dish {number}?") for number in range(20)]
    texts = ["salt " * number + "butter" for number in range(20)]
    together, _ = scorer.score(prompts, texts)
    alone = [scorer.score([prompt], [text])[0][0] for prompt, text in zip(prompts, texts, strict=True)]
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert scorer.score([], [])[0].shape == (0,)


def test_lora_is_merged_and_its_head_is_saved(
    tmp_path: Path, tiny_model: Path, make_snapshot: Callable[..., Path]
) -> None:
    config = FinetuneSection(lora_rank=4, learning_rate=3e-2, batch_size=8)
    metrics = run({"sft": tiny_model, "snapshot": make_snapshot(120, 70)}, config, tmp_path, seed=0, progress=silent)
    assert not (tmp_path / "adapter_config.json").exists()
    assert metrics["accuracy"] > 0.75
    tokenizer = load_tokenizer(tmp_path)
    saved = load_scalar_model(tmp_path, tokenizer).state_dict()
    fresh = make_scalar_model(tiny_model, tokenizer, seed=0).state_dict()
    assert saved.keys() == fresh.keys()
    moved = {key for key in saved if not torch.equal(saved[key], fresh[key])}
    assert "score.weight" in moved
    assert any("q_proj" in key for key in moved)
    assert not any("norm" in key for key in moved)


def test_the_fresh_head_has_the_variance_it_should(tiny_model: Path) -> None:
    """Width 32: N(0, 1 / sqrt(33)), standard deviation 0.174; 40 seeds of 32 weights know it to 2%."""
    tokenizer = load_tokenizer(tiny_model)
    heads = [make_scalar_model(tiny_model, tokenizer, seed=seed).get_parameter("score.weight") for seed in range(40)]
    spread = torch.cat(heads).std().item()
    assert spread == pytest.approx(33**-0.5, rel=0.06)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 2.0},
        {"learning_rate": 1e-3},
        {"batch_size": 4},
        {"max_tokens": 12},
        {"lora_rank": 2},
        {"margin": 1.0},
        {"centring": 0.5},
    ],
)
def test_every_field_changes_the_model(
    tmp_path: Path, tiny_model: Path, plain: tuple[Path, bytes], change: dict[str, Any]
) -> None:
    snapshot, weights = plain
    config = QUICK.model_copy(update=change)
    run({"sft": tiny_model, "snapshot": snapshot}, config, tmp_path, seed=0, progress=silent)
    assert (tmp_path / "model.safetensors").read_bytes() != weights


@pytest.fixture(scope="module")
def plain(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, make_snapshot: Callable[..., Path]
) -> tuple[Path, bytes]:
    """A small snapshot with strengths, and the weights that the quick section makes of it."""

    def graded(number: int, preference: Preference) -> Preference:
        return preference.model_copy(update={"strength": float(number % 4)})

    snapshot, out = make_snapshot(16, edit=graded), tmp_path_factory.mktemp("plain")
    run({"sft": tiny_model, "snapshot": snapshot}, QUICK, out, seed=0, progress=silent)
    return snapshot, (out / "model.safetensors").read_bytes()


def test_soft_targets_and_weights_reach_the_loss(
    tmp_path: Path, tiny_model: Path, plain: tuple[Path, bytes], make_snapshot: Callable[..., Path]
) -> None:
    for name, update in (("soft", {"soft_target": 0.6}), ("weighted", {"weight": 0.25})):

        def edit(number: int, preference: Preference, update: dict[str, Any] = update) -> Preference:
            return preference.model_copy(update={"strength": float(number % 4), **(update if number < 3 else {})})

        (tmp_path / name).mkdir()
        run(
            {"sft": tiny_model, "snapshot": make_snapshot(16, edit=edit)},
            QUICK,
            tmp_path / name,
            seed=0,
            progress=silent,
        )
        assert (tmp_path / name / "model.safetensors").read_bytes() != plain[1]


def test_long_pairs_are_cut_counted_and_kept(
    tiny_model: Path, make_snapshot: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    def long_prompt(number: int, preference: Preference) -> Preference:
        if number % 2:
            return preference
        return preference.model_copy(update={"prompt": as_messages("salt " * 300 + "?")})

    preferences = list(read_preferences(make_snapshot(10, edit=long_prompt) / "preferences.jsonl"))
    tokenizer = load_tokenizer(tiny_model)
    pairs = encode_pairs(tokenizer, preferences, 64)
    assert len(pairs) == 10
    assert [pair.cut for pair in pairs] == [True, False] * 5
    assert all(pair.chosen[-1] == tokenizer.eos_token_id for pair in pairs), "the answer's end is kept"
    counts = report_cut(preferences, pairs, 64)
    assert counts["cut"] == 5
    assert 0 <= counts["cut_longer_won"] <= 5
    assert "5 of 10 pairs were longer than 64 tokens" in caplog.text


def test_a_model_whose_scores_change_on_saving_is_refused(
    tmp_path: Path, trained: tuple[Path, Path, dict[str, Any]]
) -> None:
    shutil.copytree(trained[1], tmp_path / "reward")
    tokenizer = load_tokenizer(tmp_path / "reward")
    model = load_scalar_model(tmp_path / "reward", tokenizer)
    check_saved(model, [[5, 6, 7], [8, 9]], tmp_path / "reward")
    with torch.no_grad():
        model.get_parameter("score.weight").add_(0.1)
    with pytest.raises(BadModel, match="before and after saving"):
        check_saved(model, [[5, 6, 7], [8, 9]], tmp_path / "reward")


def test_a_model_that_reads_its_padding_is_refused(trained: tuple[Path, Path, dict[str, Any]]) -> None:
    tokenizer = load_tokenizer(trained[1])
    model = load_scalar_model(trained[1], tokenizer)
    model.config.pad_token_id = 7  # so that the head is read at a token of padding
    with pytest.raises(BadModel, match="alone and in a batch"):
        check_alone(model, [[30, 31, 32, 33, 34], [35, 36]], tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    with pytest.raises(BadModel, match="padding and end of sequence"):
        check_alone(model, [[5]], tokenizer)


def test_calibration_turns_margins_into_probabilities_that_hold() -> None:
    """Labels drawn at log-odds of half the margin: the fitted probabilities beat the raw ones out of fold."""
    rng = np.random.default_rng(0)
    margin = rng.normal(0, 4, 600)
    flip = rng.random(600) > 1 / (1 + np.exp(-margin / 2))
    margin = np.where(flip, -margin, margin)  # seen from the chosen side
    probability = cross_calibrated(margin, np.ones(600), np.ones(600), np.arange(600) % 5)
    raw = 1 / (1 + np.exp(-margin))
    assert np.mean((1 - probability) ** 2) < np.mean((1 - raw) ** 2)


def test_a_killed_run_goes_on_to_the_same_bytes(
    tmp_path: Path, tiny_model: Path, make_snapshot: Callable[..., Path]
) -> None:
    inputs = {"sft": tiny_model, "snapshot": make_snapshot(48)}
    config = QUICK.model_copy(update={"checkpoint_steps": 2})
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    run(inputs, config, whole, seed=0, progress=silent)

    class Killed(BaseException):
        pass

    def kill(_: str, done: int, total: int) -> None:
        if done == 3:
            raise Killed

    with pytest.raises(Killed):
        run(inputs, config, killed, seed=0, progress=kill)
    assert list(killed.glob("checkpoints/checkpoint-2"))
    run(inputs, config, killed, seed=0, progress=silent)
    names = sorted(path.name for path in whole.iterdir())
    assert sorted(path.name for path in killed.iterdir()) == names
    for name in names:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name


def test_the_referee_trains_on_the_validation_split_alone(
    tmp_path: Path, tiny_model: Path, make_snapshot: Callable[..., Path]
) -> None:
    snapshot = make_snapshot(70, 16)
    inputs = {"sft": tiny_model, "snapshot": snapshot}
    metrics = run(inputs, QUICK, tmp_path, seed=0, progress=silent, split="validation")
    assert metrics["preferences"] == 16
    assert metrics["measured_on"] == "train split"
    only_train = make_snapshot(8)
    with pytest.raises(BadInput, match="validation split"):
        run({"sft": tiny_model, "snapshot": only_train}, QUICK, tmp_path, seed=0, progress=silent, split="validation")


def test_only_ties_train_a_model_that_prefers_nothing_and_no_accuracy_is_claimed(
    tmp_path: Path, tiny_model: Path, make_snapshot: Callable[..., Path]
) -> None:
    def tie(_: int, preference: Preference) -> Preference:
        return preference.model_copy(update={"soft_target": 0.5})

    snapshot = make_snapshot(24, 8, edit=tie)
    metrics = run({"sft": tiny_model, "snapshot": snapshot}, QUICK, tmp_path, seed=0, progress=silent)
    assert metrics["accuracy"] is None
    assert metrics["ties"] == 8 + 6  # the validation split, and three of the twelve train prompts, two pairs each
    assert json.loads((tmp_path / "report.json").read_text())["accuracy"] is None


@pytest.mark.parametrize("broken", ["reward.json", "calibration.json", "config.json", "model.safetensors"])
def test_a_damaged_folder_is_refused_with_the_next_step(
    tmp_path: Path, trained: tuple[Path, Path, dict[str, Any]], broken: str
) -> None:
    shutil.copytree(trained[1], tmp_path / "reward")
    (tmp_path / "reward" / broken).write_bytes(b"{}")
    with pytest.raises(BadModel, match=r"Run: trueloop|reward\.kind"):
        load_finetuned(tmp_path / "reward")


def test_rewards_are_read_at_the_last_token_whatever_the_row_holds(trained: tuple[Path, Path, dict[str, Any]]) -> None:
    tokenizer = load_tokenizer(trained[1])
    model = load_scalar_model(trained[1], tokenizer)
    rows = [[30, 31, 32], [33], [34, 35]]
    found = rewards(model, rows, pad=int(tokenizer.pad_token_id))
    for row, reward in zip(rows, found, strict=True):
        with torch.no_grad():
            hidden_D = model.base_model(input_ids=torch.tensor([row])).last_hidden_state[0, -1]
            expected = float(hidden_D @ model.get_parameter("score.weight")[0])
        assert reward == pytest.approx(expected, abs=1e-5)
