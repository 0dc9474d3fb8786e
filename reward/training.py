"""What every trainer here shares: resume from the last whole checkpoint, progress, curves to metrics.jsonl.

Nothing of an algorithm is in here, and no setting of one.
"""

import json
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotate.progress import Progress

if TYPE_CHECKING:
    from transformers import TrainerCallback

CHECKPOINTS = "checkpoints"
# What depends on the machine's speed, or on whether the run was ever interrupted (train_loss is a mean over the steps
# since then, num_tokens a count), has no place in a file whose bytes must not change.
_TIMING = ("runtime", "per_second", "step_time", "total_flos", "profiling", "train_loss", "num_tokens")


def quiet_arguments(out: Path, *, seed: int) -> dict[str, Any]:
    """Arguments for any TrainingArguments: float32, no telemetry, no progress bar, checkpoints under `out`."""
    import torch

    return {
        "output_dir": str(out / CHECKPOINTS),
        "seed": seed,
        "data_seed": seed,
        "bf16": False,
        "fp16": False,
        "activation_checkpointing": False,
        "report_to": "none",
        "disable_tqdm": True,
        "push_to_hub": False,
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "save_total_limit": 1,
        "logging_first_step": True,
    }


def silence(trainer: Any) -> None:
    """Keep the trainer from printing its log; it stands in metrics.jsonl."""
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)


def last_checkpoint(out: Path) -> Path | None:
    """The newest whole checkpoint under `out`; half-written ones, left by a kill, are removed."""
    whole: list[tuple[int, Path]] = []
    for folder in (out / CHECKPOINTS).glob("checkpoint-*"):
        try:
            state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
            whole.append((int(state["global_step"]), folder))
        except (OSError, ValueError, KeyError):  # trainer_state.json is written last
            shutil.rmtree(folder, ignore_errors=True)
    return max(whole)[1] if whole else None


def remove_checkpoints(out: Path) -> None:
    """Delete what only a resume needs."""
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)


def write_curves(path: Path, history: list[dict[str, Any]]) -> None:
    """Write one JSON object a line, each with "step": the trainer's log without timings."""
    lines = []
    for entry in history:
        row = {
            key: value
            for key, value in entry.items()
            if not any(word in key for word in _TIMING) and (not isinstance(value, float) or math.isfinite(value))
        }
        if len(row) > 1:
            lines.append(json.dumps(row, sort_keys=True))
    part = path.with_suffix(".part")
    part.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    part.replace(path)


def reporter(out: Path, progress: Progress, what: str) -> "TrainerCallback":
    """A callback that tells progress at each step and rewrites out/metrics.jsonl at each log."""
    from transformers import TrainerCallback

    class Reporter(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            progress(what, state.global_step, state.max_steps)

        def on_log(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            write_curves(out / "metrics.jsonl", state.log_history)

    return Reporter()
