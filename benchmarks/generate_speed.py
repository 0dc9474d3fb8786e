"""Tokens a second of our sampler beside the library's own `generate`, on the tiny model with the same batch.

python benchmarks/generate_speed.py [--model DIR] [--repeats N] prints one JSON. Both take turns in one process, and the
ratio is the median of the turns' ratios; tokens after the end of a response are not counted for either.
Without --model a tiny one is fine-tuned first, for about a minute.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from align.generate import eos_ids, sample
from annotate.messages import as_messages, to_dicts
from annotate.progress import silent
from annotate.worlds import load_world
from reward.backbone import encode_prompt, load_model, load_tokenizer

BATCHES = ((256, 1), (256, 4), (512, 4))
"""Responses a batch, and responses a prompt."""


def run(folder: Path, repeats: int, max_new_tokens: int = 96) -> dict[str, Any]:
    """Tokens a second of both and their ratio, for each batch."""
    import torch

    tokenizer = load_tokenizer(folder)
    model = load_model(folder, tokenizer)
    prompts = [encode_prompt(tokenizer, as_messages(text)) for text in load_world("pantry").prompts(512, 5)]
    stops = eos_ids(model, tokenizer)

    def ours(rows: list[list[int]], seed: int) -> int:
        made = sample(
            model,
            rows,
            eos=stops,
            pad=tokenizer.pad_token_id,
            max_new_tokens=max_new_tokens,
            seed=seed,
            batch_size=len(rows),
        )
        return sum(len(row.token_ids) for row in made)

    def theirs(rows: list[list[int]], seed: int) -> int:
        torch.manual_seed(seed)
        batch = tokenizer.pad({"input_ids": rows}, return_tensors="pt")
        with torch.no_grad():
            whole = model.generate(**batch, do_sample=True, top_k=0, top_p=1.0, max_new_tokens=max_new_tokens)
        answers = whole[:, batch["input_ids"].shape[1] :]
        return int((answers != tokenizer.pad_token_id).sum())

    found = []
    for batch, each in BATCHES:
        rows = [prompt for prompt in prompts[: batch // each] for _ in range(each)]
        ours(rows, 0)
        theirs(rows, 0)
        speeds = [(_speed(ours, rows, turn), _speed(theirs, rows, turn)) for turn in range(1, repeats + 1)]
        found.append(
            {
                "batch": batch,
                "responses_a_prompt": each,
                "tokens_per_s": round(statistics.median(ours for ours, _ in speeds)),
                "library_tokens_per_s": round(statistics.median(theirs for _, theirs in speeds)),
                "ratio": round(statistics.median(ours / theirs for ours, theirs in speeds), 2),
                "ratios": [round(ours / theirs, 2) for ours, theirs in speeds],
            }
        )
    commit = ["git", "rev-parse", "--short", "HEAD"]
    return {
        "metric": "tokens a second, end of response included, padding not",
        "results": found,
        "repeats": repeats,
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 1),
        "device": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {"torch": version("torch"), "transformers": version("transformers")},
        "commit": subprocess.run(
            commit, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        ).stdout.strip(),
    }


def _speed(generator: Callable[[list[list[int]], int], int], rows: list[list[int]], seed: int) -> float:
    started = time.perf_counter()
    tokens = generator(rows, seed)
    return tokens / (time.perf_counter() - started)


def fine_tuned(folder: Path) -> Path:
    """A tiny model of the shipped world, so that responses end as they do in the demo."""
    from align.algorithms.sft import SftSection
    from align.algorithms.sft import run as fine_tune

    with (folder / "demonstrations.jsonl").open("w", encoding="utf-8") as file:
        for prompt, response in load_world("pantry").demonstrations(3000, 0):
            file.write(json.dumps({"prompt": to_dicts(as_messages(prompt)), "response": response}) + "\n")
    out = folder / "sft"
    out.mkdir()
    fine_tune({"demonstrations": folder}, SftSection(), out, seed=0, progress=silent)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a transformers folder")
    parser.add_argument("--repeats", type=int, default=7)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(run(asked.model or fine_tuned(Path(folder)), asked.repeats)))


if __name__ == "__main__":
    main()
