"""Aligns the policy by RLOO against a reward model, through TRL's RLOOTrainer with our own sampler.

The policy restarts from the SFT model. align/guard.py watches it on held-out prompts, leads it back when it collapses,
and picks the checkpoint whose improvement is surest, which is seldom the last.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from annotate.errors import BadInput
from annotate.messages import as_messages, to_dicts
from annotate.progress import Progress


class RlooSection(BaseModel):
    """How the policy is aligned against the reward model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["rloo"] = "rloo"
    steps: int = Field(default=60, ge=1)
    """Optimizer steps."""
    prompts_per_step: int = Field(default=24, ge=1)
    """Distinct prompts a step."""
    samples: int = Field(default=4, ge=2)
    """Responses a prompt, each the baseline of the others."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Peak of a linear decay after three warm-up steps; a real model wants about 1e-6."""
    beta: float = Field(default=0.02, ge=0)
    """Reward taken off for each nat of divergence from the SFT model, in spreads of the SFT model's rewards."""
    pessimism: float = Field(default=0.7, ge=0)
    """Standard deviations of the reward model taken off its mean."""
    max_new_tokens: int = Field(default=96, ge=1)
    """Longest response sampled, in tokens."""
    max_prompt_tokens: int = Field(default=512, ge=1)
    """Longest prompt, in tokens; longer ones are cut from the left."""
    missing_eos_penalty: float = Field(default=1.0, ge=0)
    """Taken off a response that does not end within max_new_tokens, in the same unit."""
    probe_steps: int = Field(default=10, ge=1)
    """Steps between looks at held-out prompts; a checkpoint is written at each."""
    probe_prompts: int = Field(default=96, ge=1)
    """Held-out prompts of a look, two responses to each."""
    kl_budget: float = Field(default=25.0, gt=0)
    """Nats a response that the promoted policy may lie from the SFT model."""
    length_budget: float = Field(default=2.5, gt=1)
    """Factor by which the mean length may rise; it may fall by its power of 1.5, at 2.5 to a quarter."""
    lora_rank: int = Field(default=0, ge=0)
    """Rank of LoRA on all linear layers, merged at the end; 0 trains every weight."""


def run(
    inputs: Mapping[str, Path], config: RlooSection, out: Path, *, seed: int, progress: Progress
) -> dict[str, float | int | str | None]:
    """Align inputs["sft"] against inputs["reward"] on the train prompts of inputs["prompts"], and save to `out`.

    A killed run goes on from its last checkpoint and ends in the same bytes. Returns the figures of the look that was
    kept, and warnings in words. Raises BadInput without train prompts.
    """
    import torch
    from datasets import Dataset
    from trl import RLOOConfig

    from align.algorithms.sft import save_model
    from align.guard import Guard
    from reward.backbone import load_model, load_tokenizer
    from reward.score import load_scorer
    from reward.training import last_checkpoint, quiet_arguments, remove_checkpoints, silence, write_curves

    splits = read_prompts(inputs["prompts"] / "prompts.jsonl")
    train = splits["train"]
    if not train:
        raise BadInput(
            "no prompt is in the train split", where=str(inputs["prompts"]), next="Run: trueloop prompts FILE"
        )
    # Few prompts may leave the validation split empty; the guard then looks at train prompts.
    held_out = (splits["validation"] or train)[: config.probe_prompts]
    scorer = load_scorer(inputs["reward"])
    tokenizer = load_tokenizer(inputs["sft"])
    model = load_model(inputs["sft"], tokenizer)
    guard = Guard(
        scorer,
        load_model(inputs["sft"], tokenizer),
        tokenizer,
        held_out,
        out,
        seed=seed,
        max_new_tokens=config.max_new_tokens,
        max_prompt_tokens=config.max_prompt_tokens,
        kl_budget=config.kl_budget,
        length_budget=config.length_budget,
        every=config.probe_steps,
        progress=progress,
    )
    checkpoint = last_checkpoint(out)
    guard.start(int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0)

    def reward(prompts: list[Any], completions: list[Any], completion_ids: list[list[int]], **rest: Any) -> list[float]:
        mean, std = scorer.score(
            [as_messages(prompt) for prompt in prompts], [answer[0]["content"] for answer in completions]
        )
        ended = np.array([ids[-1] in stops for ids in completion_ids])
        # In spreads of the SFT model's rewards, so that kl and the penalty mean the same whatever the labels told.
        pessimistic = (mean - config.pessimism * std) / guard.spread - config.missing_eos_penalty * ~ended
        return [float(value) for value in pessimistic]

    peft_config = None
    if config.lora_rank:
        from peft import LoraConfig

        peft_config = LoraConfig(r=config.lora_rank, lora_alpha=2 * config.lora_rank, target_modules="all-linear")
    arguments = RLOOConfig(
        **quiet_arguments(out, seed=seed),
        max_steps=config.steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=3,
        per_device_train_batch_size=config.prompts_per_step * config.samples,
        num_generations=config.samples,
        beta=config.beta,
        max_completion_length=config.max_new_tokens,
        temperature=1.0,
        top_p=1.0,
        save_steps=config.probe_steps,
        logging_steps=1,
        log_completions=False,
        shuffle_dataset=False,
    )
    trainer = _trainer_class()(
        model=model,
        reward_funcs=reward,
        args=arguments,
        train_dataset=Dataset.from_list(
            [{"prompt": to_dicts(train[index])} for index in _order(len(train), config, seed)]
        ),
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=[guard.callback()],
    )
    trainer.sampling_seed, trainer.max_prompt_tokens = seed, config.max_prompt_tokens
    stops = set(trainer.eos_token_ids)
    silence(trainer)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)

    kept = guard.best()
    trained: Any = trainer.accelerator.unwrap_model(trainer.model)
    guard.restore(trained)
    if config.lora_rank:
        trained = trained.merge_and_unload()
    for module in trained.modules():  # the trainer's fused head must not be saved into the model
        module.__dict__.pop("forward", None)
    with torch.no_grad():
        save_model(trained, tokenizer, out)
    write_curves(out / "metrics.jsonl", guard.curves(trainer.state.log_history))
    guard.clear()
    remove_checkpoints(out)
    return {**kept.metrics(), "steps": int(trainer.state.global_step), "warnings": "; ".join(guard.warnings())}


def read_prompts(path: Path) -> dict[str, list[Any]]:
    """Prompts of a prompts.jsonl by split, in file order."""
    found: dict[str, list[Any]] = {"train": [], "validation": [], "test": []}
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            found[row["split"]].append(as_messages(row["messages"]))
    return found


def _order(count: int, config: RlooSection, seed: int) -> list[int]:
    """Which prompt each place of the run takes: all steps are one pass, as a trainer's second pass does not resume."""
    rng = np.random.default_rng(seed)
    need = config.steps * config.prompts_per_step
    return np.concatenate([rng.permutation(count) for _ in range(-(-need // count))])[:need].tolist()


def _trainer_class() -> Any:
    """TRL's trainer with rollouts by align/generate.py where the whole model is in this process."""
    from trl import RLOOTrainer

    from align.generate import sample
    from reward.backbone import cut_left

    class Trainer(RLOOTrainer):
        sampling_seed = 0
        max_prompt_tokens = 512

        def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], Any, Any]:
            ids, images, fields = super()._tokenize_prompts(prompts)
            bos = self._tokenizer.bos_token_id
            return [cut_left(list(row), self.max_prompt_tokens, bos) for row in ids], images, fields

        def _generate_single_turn(
            self, prompt_ids: Sequence[Sequence[int]], images: Any, multimodal_fields: Any
        ) -> Any:
            if self.use_vllm or images or self.is_deepspeed_enabled or self.is_fsdp_enabled:
                return super()._generate_single_turn(prompt_ids, images, multimodal_fields)
            rows = sample(
                self.accelerator.unwrap_model(self.model),
                prompt_ids,
                eos=self.eos_token_ids,
                pad=self._tokenizer.pad_token_id,
                max_new_tokens=int(self.max_completion_length or 256),
                # A seed for each step and process: a resumed run samples what it would have sampled.
                seed=(self.sampling_seed * 1_000_003 + self.state.global_step) * 4099 + self.accelerator.process_index,
                batch_size=len(prompt_ids),
            )
            return [row.token_ids for row in rows]

    return Trainer
