"""A reward model trained end to end: a scalar head on the SFT model, through TRL's RewardTrainer with our own loss.

Saved as a plain transformers sequence-classification folder, LoRA merged, with its calibration beside it. For few
labels the Bayesian head of reward/head.py is the better kind.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from annotate.errors import BadModel
from annotate.messages import Messages
from annotate.preference import Preference, Split, read_preferences
from annotate.progress import Progress
from reward.config import FinetuneSection
from reward.head import calibrate
from reward.holdout import folds, hold_out
from reward.report import Measured, report

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Nats by which a score may differ alone, in a batch, and after saving; float32 rounding stays far below."""


def run(
    inputs: Mapping[str, Path],
    config: FinetuneSection,
    out: Path,
    *,
    seed: int,
    progress: Progress,
    split: Split = "train",
) -> dict[str, Any]:
    """Train on the snapshot's preferences of one split, starting from inputs["sft"]; write model and report to `out`.

    Accuracy and temperature are measured on the other splits' prompts; where those hold too few preferences, on a
    fifth of the own prompts as well, kept out of training. Returns the report's figures and counts of what was cut.
    Raises BadInput without preferences, BadModel when the model cannot be used or its scores do not hold still.
    """
    from reward.backbone import load_tokenizer
    from reward.model import make_scalar_model, rewards
    from reward.training import last_checkpoint, remove_checkpoints, silence, write_curves

    preferences = list(read_preferences(inputs["snapshot"] / "preferences.jsonl"))
    held = hold_out(preferences, split, seed)
    tokenizer = load_tokenizer(inputs["sft"])
    tokenizer.padding_side = "right"
    model = make_scalar_model(inputs["sft"], tokenizer, seed=seed)
    train = encode_pairs(tokenizer, held.train, config.max_tokens)
    cut = report_cut(held.train, train, config.max_tokens)
    check_alone(model, [row for pair in train[:8] for row in (pair.chosen, pair.rejected)], tokenizer)

    trainer = _trainer(model, tokenizer, held.train, train, config, out, seed=seed, progress=progress)
    silence(trainer)
    checkpoint = last_checkpoint(out)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trained: Any = trainer.model
    if config.lora_rank:
        trained = trained.merge_and_unload()

    pad = int(tokenizer.pad_token_id)
    measured = encode_pairs(tokenizer, held.measure, config.max_tokens)
    scores = rewards(trained, [row for pair in measured for row in (pair.chosen, pair.rejected)], pad=pad)
    margin = scores[::2] - scores[1::2]
    target = np.array([preference.soft_target for preference in held.measure])
    weight = np.array([preference.weight for preference in held.measure])
    temperature = calibrate(margin, target, weight) if len(margin) else 1.0
    fold = folds(held.measure, 5, seed) if len(margin) else np.zeros(0, dtype=int)
    probability = cross_calibrated(margin, target, weight, fold)

    _save(trained, tokenizer, out, config, temperature)
    probe = [row for pair in (measured or train)[:8] for row in (pair.chosen, pair.rejected)]
    check_saved(trained, probe, out)
    write_curves(out / "metrics.jsonl", trainer.state.log_history)
    figures = report(Measured(held.measure, margin, probability, held.source), preferences, out, seed=seed)
    remove_checkpoints(out)
    return {
        **figures,
        "preferences": len(held.train),
        "temperature": temperature,
        "steps": int(trainer.state.global_step),
        **cut,
    }


class Pair(NamedTuple):
    """Tokens of both conversations of a preference, and whether either had to be cut."""

    chosen: list[int]
    rejected: list[int]
    cut: bool


def encode_pairs(tokenizer: Any, preferences: Sequence[Preference], max_tokens: int) -> list[Pair]:
    """Both sides of each preference in tokens, in order; too long ones lose the left end of the prompt first."""
    from reward.backbone import encode

    pairs = []
    for one in preferences:
        sides, cut = [], False
        for turns in (one.chosen, one.rejected):
            prompt = (*one.prompt, *turns[:-1])
            whole = encode(tokenizer, prompt, turns[-1].text)
            kept = encode(tokenizer, prompt, turns[-1].text, max_tokens)
            cut = cut or kept != whole
            sides.append(kept.prompt + kept.completion)
        pairs.append(Pair(sides[0], sides[1], cut))
    return pairs


def report_cut(preferences: Sequence[Preference], pairs: Sequence[Pair], max_tokens: int) -> dict[str, int]:
    """How many pairs were cut, and in how many of them the longer answer was the preferred one; a warning if any.

    Leaving long pairs out instead would select by length, and so teach length.
    """
    cut = [one for one, pair in zip(preferences, pairs, strict=True) if pair.cut]
    longer = sum(len(one.chosen[-1].text) > len(one.rejected[-1].text) for one in cut)
    if cut:
        logger.warning(
            "%d of %d pairs were longer than %d tokens and lost the start of their prompt; the longer answer won %d",
            len(cut),
            len(pairs),
            max_tokens,
            longer,
        )
    return {"cut": len(cut), "cut_longer_won": longer}


def check_alone(model: "PreTrainedModel", rows: Sequence[list[int]], tokenizer: "PreTrainedTokenizerBase") -> None:
    """Raise BadModel unless each row scores the same alone and in a padded batch, and padding is not EOS."""
    from reward.model import rewards

    pad = int(tokenizer.pad_token_id)
    if pad == tokenizer.eos_token_id:
        raise BadModel("padding and end of sequence are one token, so the end is not seen", next="Add a pad token")
    together = rewards(model, rows, pad=pad)
    alone = np.array([rewards(model, [row], pad=pad)[0] for row in rows])
    _same("alone and in a batch", alone, together)


def check_saved(model: "PreTrainedModel", rows: Sequence[list[int]], folder: Path) -> None:
    """Raise BadModel unless the saved model, loaded afresh, scores as the trained one does, alone and in a batch."""
    from reward.backbone import load_tokenizer
    from reward.model import load_scalar_model, rewards

    tokenizer = load_tokenizer(folder)
    again = load_scalar_model(folder, tokenizer)
    check_alone(again, rows, tokenizer)
    pad = int(tokenizer.pad_token_id)
    _same("before and after saving", rewards(model, rows, pad=pad), rewards(again, rows, pad=pad))


def cross_calibrated(margin: np.ndarray, target: np.ndarray, weight: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Probability that chosen is better, by a temperature fitted to the other folds' prompts, shape (N,)."""
    logit = np.zeros(len(margin))
    for number in np.unique(fold):
        inside = fold == number
        others = ~inside
        factor = calibrate(margin[others], target[others], weight[others]) if others.any() else 1.0
        logit[inside] = factor * margin[inside]
    return 0.5 * (1 + np.tanh(0.5 * logit))


class Finetuned:
    """A saved reward model, ready to score: reward logits times the fitted temperature, in nats."""

    def __init__(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", temperature: float, max_tokens: int
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.temperature, self.max_tokens = temperature, max_tokens

    def score(self, prompts: Sequence[Messages], responses: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Calibrated rewards: sigmoid of a difference is the probability to be preferred. No deviations are known."""
        from reward.backbone import encode
        from reward.model import rewards

        rows = []
        for prompt, response in zip(prompts, responses, strict=True):
            ids = encode(self.tokenizer, prompt, response, self.max_tokens)
            rows.append(ids.prompt + ids.completion)
        logits = rewards(self.model, rows, pad=int(self.tokenizer.pad_token_id))
        return self.temperature * logits, np.zeros(len(rows))


def load_finetuned(folder: Path) -> Finetuned:
    """What `run` wrote. Raises BadModel when it is not whole or unsafe to load."""
    from reward.backbone import load_tokenizer
    from reward.model import load_scalar_model

    try:
        card = json.loads((folder / "reward.json").read_text(encoding="utf-8"))
        calibration = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
        temperature, max_tokens = float(calibration["temperature"]), int(card["max_tokens"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadModel(
            "reward.json or calibration.json is missing or damaged", where=str(folder), next="Run: trueloop reward"
        ) from error
    tokenizer = load_tokenizer(folder)
    return Finetuned(load_scalar_model(folder, tokenizer), tokenizer, temperature, max_tokens)


def _save(model: Any, tokenizer: Any, out: Path, config: FinetuneSection, temperature: float) -> None:
    model.config._name_or_path = ""
    model.config.use_cache = True
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    for name, fields in (
        ("reward.json", {"kind": "finetune", "version": 1, "max_tokens": config.max_tokens}),
        ("calibration.json", {"temperature": temperature}),
    ):
        (out / name).write_text(json.dumps(fields, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _same(when: str, first: np.ndarray, second: np.ndarray) -> None:
    apart = float(np.abs(first - second).max(initial=0.0))
    if not apart <= TOLERANCE:  # a NaN is no equality either
        raise BadModel(
            f"a response's score differs by {apart:.3g} nats {when}",
            next="Use another model, or reward.kind=head",
        )


def _trainer(
    model: Any,
    tokenizer: Any,
    preferences: Sequence[Preference],
    pairs: Sequence[Pair],
    config: FinetuneSection,
    out: Path,
    *,
    seed: int,
    progress: Progress,
) -> Any:
    """TRL's trainer with soft targets, weights and margins by strength; no pair is filtered out."""
    import torch
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer
    from trl.trainer.reward_trainer import DataCollatorForPreference

    from reward.losses import bradley_terry, centring
    from reward.training import quiet_arguments, reporter

    extra = ("soft_target", "weight", "margin")

    class Collator(DataCollatorForPreference):
        def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
            batch: dict[str, Any] = super().torch_call(examples)
            for key in extra:
                batch[key] = torch.tensor([example[key] for example in examples], dtype=torch.float32)
            return batch

    class SoftRewardTrainer(RewardTrainer):
        def _set_signature_columns_if_needed(self) -> None:
            self._signature_columns: Any = ["chosen_ids", "rejected_ids", *extra]

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            assert not return_outputs, "the report scores held-out pairs itself"
            outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
            chosen_B, rejected_B = outputs.logits.squeeze(-1).chunk(2)
            loss = bradley_terry(chosen_B, rejected_B, inputs["margin"], inputs["soft_target"], inputs["weight"])
            loss = loss + config.centring * centring(chosen_B, rejected_B)
            figures = {
                "accuracy": (chosen_B > rejected_B).float(),
                "margin": chosen_B - rejected_B,
                "mean_reward": (chosen_B + rejected_B) / 2,
            }
            for name, value_B in figures.items():
                self._metrics["train"][name].append(self.accelerator.gather(value_B.detach()).mean().item())
            return loss

    peft_config = None
    if config.lora_rank:
        from peft import LoraConfig, TaskType

        peft_config = LoraConfig(
            task_type=TaskType.SEQ_CLS,
            r=config.lora_rank,
            lora_alpha=2 * config.lora_rank,
            target_modules="all-linear",
            modules_to_save=["score"],
        )
    rows = [
        {
            "chosen_ids": pair.chosen,
            "rejected_ids": pair.rejected,
            "soft_target": one.soft_target,
            "weight": one.weight,
            "margin": config.margin * (one.strength or 0.0) * (not one.is_tie),
        }
        for one, pair in zip(preferences, pairs, strict=True)
    ]
    return SoftRewardTrainer(
        model=model,
        args=RewardConfig(
            **quiet_arguments(out, seed=seed),
            learning_rate=config.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=0.05,
            num_train_epochs=config.epochs,
            per_device_train_batch_size=config.batch_size,
            max_length=None,
            save_steps=config.checkpoint_steps,
            logging_steps=1,  # a mean over several steps would tell where a run was interrupted
        ),
        data_collator=Collator(pad_token_id=tokenizer.pad_token_id),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=[reporter(out, progress, "training the reward model")],
    )
