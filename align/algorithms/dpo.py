"""Direct preference optimisation on the snapshot's train split, through TRL's DPOTrainer with our own loss.

TRL's sigmoid loss knows neither ties nor soft targets, so the loss is align/losses.py's. The policy starts from the SFT
model, which is the reference too; with LoRA that is the same model with the adapter off, never a second copy.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from annotate.errors import BadInput
from annotate.messages import Messages
from annotate.preference import Preference, read_preferences
from annotate.progress import Progress

logger = logging.getLogger(__name__)


class DpoSection(BaseModel):
    """How the policy learns from preferences directly."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["dpo"] = "dpo"
    beta: float = Field(default=0.1, gt=0)
    """Pull to the reference: reward in units of one nat of log-ratio."""
    learning_rate: float = Field(default=3e-4, gt=0)
    """Peak of a linear schedule; a real model wants 5e-7 to 1e-6."""
    epochs: float = Field(default=2.0, gt=0)
    """Passes over the preferences; more soon hurt."""
    batch_size: int = Field(default=16, ge=1)
    """Preferences a step."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Chance that a preference is the wrong way round, beyond what its soft target says."""
    max_tokens: int = Field(default=512, ge=8)
    """Longest prompt and answer together; the prompt is cut from the left."""
    lora_rank: int = Field(default=0, ge=0)
    """Rank of LoRA on all linear layers, merged at the end; 0 trains every weight."""
    checkpoint_steps: int = Field(default=100, ge=1)
    """Optimizer steps between checkpoints, from which a killed run goes on."""


def run(
    inputs: Mapping[str, Path], config: DpoSection, out: Path, *, seed: int, progress: Progress
) -> dict[str, float | int | str | None]:
    """Train inputs["sft"] on the train split of inputs["snapshot"]/preferences.jsonl; save the policy to `out`.

    metrics.jsonl holds loss, implicit rewards and the absolute log-probabilities of chosen and rejected answers: the
    chosen ones fall too as a rule, which is normal while the margin grows. Returns the last of them and counts.
    Raises BadInput without preferences on train prompts, BadModel when the model cannot be used, and AssertionError
    when policy and reference differ before the first step.
    """
    from datasets import Dataset
    from trl import DPOConfig

    from align.algorithms.sft import save_model
    from reward.backbone import load_model, load_tokenizer
    from reward.training import last_checkpoint, quiet_arguments, remove_checkpoints, reporter, silence, write_curves

    source = inputs["snapshot"] / "preferences.jsonl"
    preferences = [preference for preference in read_preferences(source) if preference.split == "train"]
    if not preferences:
        raise BadInput("no preference lies on a train prompt", where=str(source), next="Run: trueloop annotate")
    tokenizer = load_tokenizer(inputs["sft"])
    rows, cut = encode_rows(tokenizer, preferences, config)
    if cut:
        logger.warning("%d of %d pairs were longer than %d tokens and cut", cut, len(rows), config.max_tokens)
    reference, peft_config = None, None
    if config.lora_rank:
        from peft import LoraConfig

        peft_config = LoraConfig(r=config.lora_rank, lora_alpha=2 * config.lora_rank, target_modules="all-linear")
    else:
        reference = load_model(inputs["sft"], tokenizer)
    arguments = DPOConfig(
        **quiet_arguments(out, seed=seed),
        beta=config.beta,
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=0.1,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        max_length=None,  # encode_rows has cut them already, and dropped none
        save_steps=config.checkpoint_steps,
        logging_steps=1,
    )
    trainer = _trainer_class()(
        model=load_model(inputs["sft"], tokenizer),
        ref_model=reference,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=[reporter(out, progress, "aligning (DPO)")],
    )
    silence(trainer)
    checkpoint = last_checkpoint(out)
    if checkpoint is None:
        check_start(trainer)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)

    trained: Any = trainer.model
    if config.lora_rank:
        trained = trained.merge_and_unload()
    trained.config.use_cache = True  # the trainer turns it off
    save_model(trained, tokenizer, out)
    write_curves(out / "metrics.jsonl", trainer.state.log_history)
    remove_checkpoints(out)
    history = [entry for entry in trainer.state.log_history if "rewards/margins" in entry]
    last: dict[str, Any] = history[-1] if history else {}
    return {
        "loss": last.get("loss"),
        "margin": last.get("rewards/margins"),
        "accuracy": last.get("rewards/accuracies"),
        "logp_chosen": last.get("logps/chosen"),
        "logp_rejected": last.get("logps/rejected"),
        "steps": int(trainer.state.global_step),
        "preferences": len(rows),
        "ties": sum(preference.is_tie for preference in preferences),
        "cut": cut,
    }


def encode_rows(
    tokenizer: Any, preferences: Sequence[Preference], config: DpoSection
) -> tuple[list[dict[str, Any]], int]:
    """Rows of token ids, soft targets and weights for the trainer, in order, and how many pairs had to be cut.

    Both answers follow the same prompt tokens, so the longer one decides how much of the prompt is kept.
    """
    from reward.backbone import encode

    rows, cut = [], 0
    for preference in preferences:
        sides = [_side(preference, "chosen"), _side(preference, "rejected")]
        whole = [encode(tokenizer, prompt, text) for prompt, text in sides]
        kept = [encode(tokenizer, prompt, text, config.max_tokens) for prompt, text in sides]
        cut += whole != kept
        prompt_ids = min((one.prompt for one in kept), key=len)
        target = preference.soft_target
        rows.append(
            {
                "prompt_ids": prompt_ids,
                "chosen_ids": kept[0].completion,
                "rejected_ids": kept[1].completion,
                "soft_target": target * (1 - config.label_smoothing) + (1 - target) * config.label_smoothing,
                "weight": preference.weight,
            }
        )
    return rows, cut


def check_start(trainer: Any) -> None:
    """Assert that policy and reference agree on the first pairs before any step: ratio 1, KL 0."""
    import torch

    rows = [trainer.train_dataset[index] for index in range(min(4, len(trainer.train_dataset)))]
    with torch.no_grad():
        ratios = trainer.log_ratios(trainer.model, trainer._prepare_inputs(trainer.data_collator(rows)))
    apart = max(float(ratio.abs().max()) for ratio in ratios[:2])
    assert apart < 1e-3, (
        f"before the first step the policy is {apart:.3g} nats away from its reference: "
        "another model, active dropout, or an adapter that is not off"
    )


def _side(preference: Preference, side: Literal["chosen", "rejected"]) -> tuple[Messages, str]:
    turns = getattr(preference, side)
    return (*preference.prompt, *turns[:-1]), turns[-1].text


def _trainer_class() -> Any:
    """TRL's trainer with soft targets and weights; made on call, so that importing this module stays light."""
    import torch
    from trl import DPOTrainer
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    from align.losses import dpo

    class Collator(DataCollatorForPreference):
        def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
            batch: dict[str, Any] = super().torch_call(examples)
            for key in ("soft_target", "weight"):
                batch[key] = torch.tensor([example[key] for example in examples])
            return batch

    class SoftDPOTrainer(DPOTrainer):
        def __init__(self, *, processing_class: Any, **rest: Any) -> None:
            collator = Collator(pad_token_id=processing_class.pad_token_id)
            super().__init__(processing_class=processing_class, data_collator=collator, **rest)

        def _prepare_dataset(self, dataset: Any, *rest: Any) -> Any:
            return dataset  # tokenised once, in encode_rows

        def _set_signature_columns_if_needed(self) -> None:
            self._signature_columns: Any = ["prompt_ids", "chosen_ids", "rejected_ids", "soft_target", "weight"]

        def log_ratios(self, model: Any, inputs: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
            """Log-ratios and log-probabilities of chosen and rejected answers, summed over tokens, shapes (B,)."""
            labels_2B_T = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
            batch = {
                "input_ids": inputs["input_ids"],
                "attention_mask": inputs["attention_mask"],
                "labels": labels_2B_T,
                "use_cache": False,
                "fused_lm_head": True,
            }
            chosen_B, rejected_B = model(**batch).log_probs.sum(1).chunk(2)
            policy, reference = cast(Any, self.model), cast(Any, self.ref_model)
            with torch.no_grad():
                if reference is not None:
                    reference_2B_T = reference(**batch).log_probs
                else:
                    with self.accelerator.unwrap_model(policy).disable_adapter():
                        reference_2B_T = policy(**batch).log_probs
            chosen_ref_B, rejected_ref_B = reference_2B_T.sum(1).chunk(2)
            return chosen_B - chosen_ref_B, rejected_B - rejected_ref_B, chosen_B, rejected_B

        def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
            assert not return_outputs, "the logits are not kept"
            chosen_ratio_B, rejected_ratio_B, chosen_B, rejected_B = self.log_ratios(model, inputs)
            loss = dpo(chosen_ratio_B, rejected_ratio_B, self.beta, inputs["soft_target"], inputs["weight"])
            figures = {
                "logps/chosen": chosen_B,
                "logps/rejected": rejected_B,
                "rewards/chosen": self.beta * chosen_ratio_B,
                "rewards/rejected": self.beta * rejected_ratio_B,
                "rewards/margins": self.beta * (chosen_ratio_B - rejected_ratio_B),
                "rewards/accuracies": (chosen_ratio_B > rejected_ratio_B).float(),
            }
            mode = "train" if model.training else "eval"
            for name, value_B in figures.items():
                self._metrics[mode][name].append(self.accelerator.gather(value_B.detach()).mean().item())
            return loss

    return SoftDPOTrainer
