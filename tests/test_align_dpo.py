"""DPO: the loss by hand and beside TRL, ties and soft targets that count, a start at KL 0, resume equal to none."""

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from align.algorithms.dpo import DpoSection, _trainer_class, check_start, encode_rows, run
from align.losses import dpo
from annotate.errors import BadInput
from annotate.preference import Preference, read_preferences
from annotate.progress import silent
from reward.backbone import load_model, load_tokenizer
from reward.training import quiet_arguments

REAL = st.floats(-20, 20, width=32)
QUICK = DpoSection(epochs=1, batch_size=8, learning_rate=3e-3)


def test_the_loss_of_one_pair_is_the_one_worked_out_by_hand() -> None:
    """beta 0.1, ratios 4 and -6: logit 1, ln(1 + e^-1) = 0.313262; at q = 0.75 another quarter of the logit."""
    ratios = torch.tensor([4.0]), torch.tensor([-6.0])
    assert dpo(*ratios, 0.1).item() == pytest.approx(0.313262, abs=1e-6)
    soft = dpo(*ratios, 0.1, soft_target_B=torch.tensor([0.75]))
    assert soft.item() == pytest.approx(0.313262 + 0.25, abs=1e-6)


def test_at_the_reference_every_preference_costs_ln_2() -> None:
    zero = torch.zeros(3)
    assert dpo(zero, zero, 0.1, torch.tensor([1.0, 0.7, 0.5])).item() == pytest.approx(math.log(2))


def test_a_tie_is_least_where_nothing_moved_and_a_soft_target_at_its_own_logit() -> None:
    """The gradient of -q log s(z) - (1-q) log s(-z) is s(z) - q: zero at z = 0 for a tie, at ln 3 for q = 3/4."""
    for target, least in ((0.5, 0.0), (0.75, math.log(3))):
        ratio = torch.tensor([least / 0.1], requires_grad=True)
        dpo(ratio, torch.zeros(1), 0.1, torch.tensor([target])).backward()
        assert ratio.grad is not None
        assert ratio.grad.item() == pytest.approx(0, abs=1e-7)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(REAL, REAL, st.floats(0, 1, width=32)), min_size=1, max_size=6))
def test_swapping_the_sides_mirrors_the_loss(rows: list[tuple[float, float, float]]) -> None:
    chosen, rejected, target = (torch.tensor(column) for column in zip(*rows, strict=True))
    here, there = dpo(chosen, rejected, 0.1, target), dpo(rejected, chosen, 0.1, 1 - target)
    assert here.item() == pytest.approx(there.item(), rel=1e-4, abs=1e-6)


def test_weights_and_shapes() -> None:
    chosen, rejected = torch.tensor([4.0, 0.0]), torch.tensor([-6.0, 0.0])
    weighted = dpo(chosen, rejected, 0.1, weight_B=torch.tensor([2.0, 0.0]))
    assert weighted.item() == pytest.approx(0.313262, abs=1e-6)
    with pytest.raises(ValueError, match="shapes differ"):
        dpo(chosen, torch.zeros(1), 0.1)


def test_the_trainer_follows_trls_own_for_hard_labels(
    tmp_path: Path, tiny_model: Path, make_snapshot: Callable[..., Path]
) -> None:
    """Three optimizer steps of each on the same pairs in the same order: every logged loss agrees to 1e-5."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    def hard(_: int, preference: Preference) -> Preference:
        return preference.model_copy(update={"soft_target": 1.0})

    snapshot = make_snapshot(24, edit=hard)
    run({"sft": tiny_model, "snapshot": snapshot}, QUICK, tmp_path, seed=0, progress=silent)
    ours = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]

    tokenizer = load_tokenizer(tiny_model)
    rows, _ = encode_rows(tokenizer, list(read_preferences(snapshot / "preferences.jsonl")), QUICK)

    class Peer(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *rest: Any) -> Any:
            return dataset

    arguments = DPOConfig(
        **quiet_arguments(tmp_path / "peer", seed=0),
        beta=QUICK.beta,
        learning_rate=QUICK.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=0.1,
        num_train_epochs=1,
        per_device_train_batch_size=8,
        max_length=None,
        logging_steps=1,
    )
    peer = Peer(
        model=load_model(tiny_model, tokenizer),
        ref_model=load_model(tiny_model, tokenizer),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    peer.train()
    theirs = [entry["loss"] for entry in peer.state.log_history if "loss" in entry]
    assert len(theirs) == 3
    assert theirs[-1] < 0.69
    assert [entry["loss"] for entry in ours if "loss" in entry] == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_training_starts_at_the_reference_and_raises_the_margin(
    tmp_path: Path, tiny_model: Path, make_snapshot: Callable[..., Path], lora_rank: int
) -> None:
    config = DpoSection(learning_rate=1e-2, lora_rank=lora_rank, epochs=3)
    metrics = run({"sft": tiny_model, "snapshot": make_snapshot(48)}, config, tmp_path, seed=0, progress=silent)
    curve = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert curve[0]["rewards/margins"] == pytest.approx(0, abs=1e-6)
    assert curve[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert metrics["margin"] > 0.02
    assert metrics["ties"] == 6
    assert {"logps/chosen", "logps/rejected", "step"} <= curve[0].keys()
    tokenizer = load_tokenizer(tmp_path)
    moved = load_model(tmp_path, tokenizer).state_dict()
    before = load_model(tiny_model, tokenizer).state_dict()
    assert moved.keys() == before.keys(), "LoRA is merged into a plain model"
    assert any(not torch.equal(moved[key], before[key]) for key in moved)
    assert not list(tmp_path.glob("checkpoints*"))


def test_ties_alone_leave_the_policy_where_it_is(
    tmp_path: Path, tiny_model: Path, make_snapshot: Callable[..., Path]
) -> None:
    """A tie's gradient is zero at the reference, so the weights keep their very bits."""

    def tie(_: int, preference: Preference) -> Preference:
        return preference.model_copy(update={"soft_target": 0.5})

    snapshot = make_snapshot(16, edit=tie)
    run({"sft": tiny_model, "snapshot": snapshot}, QUICK, tmp_path, seed=0, progress=silent)
    tokenizer = load_tokenizer(tmp_path)
    moved, before = load_model(tmp_path, tokenizer).state_dict(), load_model(tiny_model, tokenizer).state_dict()
    for key, value in before.items():
        torch.testing.assert_close(moved[key], value, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"beta": 0.3},
        {"learning_rate": 1e-3},
        {"epochs": 2.0},
        {"batch_size": 4},
        {"label_smoothing": 0.2},
        {"max_tokens": 12},
        {"lora_rank": 2},
    ],
)
def test_every_field_changes_the_policy(
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
    """A snapshot and the weights that the quick section makes of it."""
    snapshot, out = make_snapshot(16), tmp_path_factory.mktemp("plain")
    run({"sft": tiny_model, "snapshot": snapshot}, QUICK, out, seed=0, progress=silent)
    return snapshot, (out / "model.safetensors").read_bytes()


def test_long_pairs_are_cut_and_counted_never_dropped(tiny_model: Path, make_snapshot: Callable[..., Path]) -> None:
    tokenizer = load_tokenizer(tiny_model)
    preferences = list(read_preferences(make_snapshot(8) / "preferences.jsonl"))
    rows, cut = encode_rows(tokenizer, preferences, DpoSection(max_tokens=16))
    assert len(rows) == 8
    assert cut == 8
    for row in rows:
        assert len(row["prompt_ids"]) >= 1
        assert max(len(row["chosen_ids"]), len(row["rejected_ids"])) + len(row["prompt_ids"]) <= 16
    whole, uncut = encode_rows(tokenizer, preferences, DpoSection())
    assert uncut == 0
    assert all(row["chosen_ids"][-1] == tokenizer.eos_token_id for row in whole)


def test_a_start_away_from_the_reference_is_refused(
    tmp_path: Path, tiny_model: Path, make_snapshot: Callable[..., Path]
) -> None:
    from datasets import Dataset
    from trl import DPOConfig

    tokenizer = load_tokenizer(tiny_model)
    rows, _ = encode_rows(tokenizer, list(read_preferences(make_snapshot(4) / "preferences.jsonl")), QUICK)
    reference = load_model(tiny_model, tokenizer)
    with torch.no_grad():
        reference.get_input_embeddings().weight.mul_(1.5)
    trainer = _trainer_class()(
        model=load_model(tiny_model, tokenizer),
        ref_model=reference,
        args=DPOConfig(**quiet_arguments(tmp_path, seed=0), max_length=None),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    with pytest.raises(AssertionError, match="nats away from its reference"):
        check_start(trainer)


def test_a_killed_run_goes_on_to_the_same_bytes(
    tmp_path: Path, tiny_model: Path, make_snapshot: Callable[..., Path]
) -> None:
    inputs = {"sft": tiny_model, "snapshot": make_snapshot(40)}
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
    assert hashes(killed) == hashes(whole)


def test_without_train_preferences_the_error_names_the_file(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "preferences.jsonl").write_text("")
    with pytest.raises(BadInput, match=r"preferences\.jsonl.*trueloop annotate"):
        run({"sft": tiny_model, "snapshot": tmp_path}, QUICK, tmp_path, seed=0, progress=silent)


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
