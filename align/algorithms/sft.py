"""Supervised fine-tuning on demonstrations, through TRL's SFTTrainer; the loss counts the answer's tokens alone.

Starts from any transformers model, or from a tiny one made on the spot. Knows nothing of preferences.
"""

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from align.tiny import TinySection, make_tiny, texts_of
from annotate.errors import BadInput
from annotate.messages import Messages, as_messages, prompt_id
from annotate.progress import Progress


class SftSection(BaseModel):
    """How the first policy is made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["sft", "none"] = "sft"
    """"none" takes the model as it is: the first policy is a copy of it."""
    model: str = "tiny"
    """Folder or hub name of the model to start from; "tiny" makes one from the demonstrations."""
    tiny: TinySection = TinySection()
    """Shape of the tiny model."""
    epochs: float = Field(default=3.0, gt=0)
    """Passes over the demonstrations."""
    learning_rate: float = Field(default=8e-3, gt=0)
    """Peak of a cosine schedule; a real model wants about 1e-5."""
    batch_size: int = Field(default=48, ge=1)
    """Demonstrations a step."""
    max_tokens: int = Field(default=512, ge=8)
    """Longest prompt and answer together; the prompt is cut from the left."""
    lora_rank: int = Field(default=0, ge=0)
    """Rank of LoRA on all linear layers, merged at the end; 0 trains every weight."""
    checkpoint_steps: int = Field(default=100, ge=1)
    """Optimizer steps between checkpoints, from which a killed run goes on."""


def run(
    inputs: Mapping[str, Path], config: SftSection, out: Path, *, seed: int, progress: Progress
) -> dict[str, float | int | str | None]:
    """Fine-tune on inputs["demonstrations"]/demonstrations.jsonl and save model and tokenizer to `out`.

    Returns eval_loss (nats a token) on one twentieth of the prompts, held out, and counts of rows and of cut ones.
    Raises BadInput without demonstrations, BadModel when the model cannot be used.
    """
    if config.kind == "none":
        return _take(config.model, out)
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from reward.backbone import encode, load_model, load_tokenizer
    from reward.training import last_checkpoint, quiet_arguments, remove_checkpoints, reporter, silence, write_curves

    source = inputs["demonstrations"] / "demonstrations.jsonl"
    rows = read_demonstrations(source)
    start: str | Path = config.model
    if config.model == "tiny":
        start = out / "initial"
        start.mkdir(exist_ok=True)
        make_tiny(texts_of(source), start, config.tiny, seed=seed)
    tokenizer = load_tokenizer(start)
    model = load_model(start, tokenizer)

    held_out = _held_out(rows)
    cut = 0
    encoded: dict[bool, list[dict[str, list[int]]]] = {False: [], True: []}
    for index, (prompt, response) in enumerate(rows):
        ids = encode(tokenizer, prompt, response, config.max_tokens)
        cut += len(ids.prompt) + len(ids.completion) >= config.max_tokens
        labels = [-100] * len(ids.prompt) + ids.completion
        encoded[index in held_out].append({"input_ids": ids.prompt + ids.completion, "labels": labels})

    peft_config = None
    if config.lora_rank:
        from peft import LoraConfig

        peft_config = LoraConfig(r=config.lora_rank, lora_alpha=2 * config.lora_rank, target_modules="all-linear")
    arguments = SFTConfig(
        **quiet_arguments(out, seed=seed),
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=20,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=2 * config.batch_size,
        max_length=config.max_tokens,
        dataset_kwargs={"skip_prepare_dataset": True},
        # Curves are measured where checkpoints are written, so that no row tells where a run was interrupted.
        eval_strategy="steps" if encoded[True] else "no",
        eval_steps=config.checkpoint_steps,
        save_steps=config.checkpoint_steps,
        logging_steps=math.gcd(10, config.checkpoint_steps),
    )
    order = ByLength([len(row["input_ids"]) for row in encoded[False]], config.batch_size, seed)

    class Trainer(SFTTrainer):
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return order

    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(encoded[False]),
        eval_dataset=Dataset.from_list(encoded[True]) if encoded[True] else None,
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=[reporter(out, progress, "fine-tuning")],
    )
    silence(trainer)
    checkpoint = last_checkpoint(out)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    metrics: dict[str, Any] = trainer.evaluate() if encoded[True] else {}

    trained: Any = trainer.model
    if config.lora_rank:
        trained = trained.merge_and_unload()
    save_model(trained, tokenizer, out)
    write_curves(out / "metrics.jsonl", trainer.state.log_history)
    remove_checkpoints(out)
    shutil.rmtree(out / "initial", ignore_errors=True)
    return {
        "eval_loss": metrics.get("eval_loss"),
        "eval_accuracy": metrics.get("eval_mean_token_accuracy"),
        "steps": int(trainer.state.global_step),
        "demonstrations": len(encoded[False]),
        "held_out": len(encoded[True]),
        "cut": cut,
        "parameters": sum(parameter.numel() for parameter in trained.parameters()),
    }


class ByLength:
    """The order of the rows in each epoch: shuffled, but rows of one batch are of similar length.

    It depends on seed and epoch alone; transformers' own takes what the generators happen to hold, and a run that goes
    on from a checkpoint then sees other batches.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.block, self.seed, self.epoch = np.array(lengths), 50 * batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer at the start of each epoch, the one it goes on with too."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.lengths))
        for start in range(0, len(order), self.block):
            block = order[start : start + self.block]
            yield from block[np.argsort(-self.lengths[block], kind="stable")].tolist()


def _take(name: str, out: Path) -> dict[str, float | int | str | None]:
    from reward.backbone import load_model, load_tokenizer

    tokenizer = load_tokenizer(name)
    model = load_model(name, tokenizer)
    save_model(model, tokenizer, out)
    return {"steps": 0, "parameters": sum(parameter.numel() for parameter in model.parameters())}


def read_demonstrations(path: Path) -> list[tuple[Messages, str]]:
    """The rows of a demonstrations.jsonl; BadInput names the first line that is none."""
    rows = []
    if not path.exists():
        raise BadInput("there are no demonstrations to learn from", where=str(path), next="Run: trueloop doctor")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                rows.append((as_messages(row["prompt"]), str(row["response"])))
            except (ValueError, KeyError, TypeError) as error:
                raise BadInput("expected {prompt, response}", where=f"{path}, line {number}") from error
    if not rows:
        raise BadInput("the file of demonstrations is empty", where=str(path), next="Run: trueloop doctor")
    return rows


def save_model(model: Any, tokenizer: Any, out: Path) -> None:
    """Write a plain transformers folder whose bytes depend on weights and tokenizer alone."""
    model.config._name_or_path = ""
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def _held_out(rows: list[tuple[Messages, str]]) -> set[int]:
    """Row numbers whose prompt falls in the held-out twentieth, by the prompt's hash; empty for few rows."""
    if len(rows) < 40:
        return set()
    return {index for index, (prompt, _) in enumerate(rows) if int(prompt_id(prompt), 16) % 20 == 0}
