"""The shell blocks of the docs, run as they stand: in one shell a document, beside files with the names they use.

docs_prelude.sh makes small what they would wait for (people, a big model). A block that cannot run says why in a
comment above it: <!-- not run: REASON -->
"""

import gzip
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.tiny import TinySection, make_tiny
from annotate.worlds import load_world
from benchmarks.micro import ROOT, WORLD

NOT_RUN = re.compile(r"<!--\s*not run:\s*(?P<why>.+?)\s*-->")
LIMIT_SECONDS = 900
SHELLS = ("```bash", "```sh", "```shell", "```console")


@dataclass(frozen=True)
class Block:
    """One shell block of a document; `why` says why it cannot run, "" when it can."""

    file: str
    line: int
    text: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def documents() -> list[Path]:
    """The README and all of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks_of(path: Path) -> list[Block]:
    """The bash blocks of a document, in order."""
    found: list[Block] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        if lines[number].strip() in SHELLS:
            end = next(at for at in range(number + 1, len(lines)) if lines[at].strip() == "```")
            above = next((line for line in reversed(lines[:number]) if line.strip()), "")
            said = NOT_RUN.search(above)
            why = said["why"] if said else ""
            found.append(Block(path.name, number + 1, "\n".join(lines[number + 1 : end]) + "\n", why))
            number = end
        number += 1
    return found


_HAS_ONE = """command trueloop init given --recipe tiny
export TRUELOOP_WORKSPACE=$PWD/given
command trueloop import votes.jsonl --as votes
"""


def run_blocks(blocks: list[Block], folder: Path) -> dict[Block, str]:
    """Run blocks one after the other in one shell; returns those in which a command failed, with what it said.

    A document that makes no workspace of its own speaks of one the reader has: it gets one with some votes.
    """
    folder.mkdir(parents=True)
    write_files(folder, model=any("path/to/model" in block.text for block in blocks))
    parts = [(ROOT / "benchmarks" / "docs_prelude.sh").read_text(encoding="utf-8")]
    if any("trueloop " in block.text for block in blocks) and not any(
        "trueloop init" in block.text for block in blocks
    ):
        parts.append(_HAS_ONE)
    parts += [f"__block={number}\n{block.text}" for number, block in enumerate(blocks)]
    script = folder / "blocks.sh"
    script.write_text("\n".join(parts), encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    env |= {"PYTHON": sys.executable, "WORLD": str(WORLD)}
    env.pop("TRUELOOP_WORKSPACE", None)
    done = subprocess.run(
        ["bash", script.name], cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    failures: dict[Block, str] = {}
    log = folder / "failures"
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else []:
        number, code, command = line.split("\t", 2)
        failures.setdefault(blocks[int(number)], f"exit code {code} of: {command}\n{done.stderr[-800:]}")
    if done.returncode not in (0, 3) and not failures and blocks:
        failures[blocks[-1]] = f"exit code {done.returncode}\n{done.stderr[-800:]}"
    return failures


def write_files(folder: Path, *, model: bool) -> None:
    """The files that the docs name: prompts, votes, pairs and preferences to import, rows to score, and a model."""
    world = load_world(str(WORLD))
    asked = world.prompts(240, 3)
    told = world.demonstrations(240, 3)

    def rows(name: str, values: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(value) + "\n" for value in values)
        path = folder / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())

    rows("questions.jsonl", [{"prompt": prompt} for prompt in asked[:120]])
    rows("logs.jsonl", [{"prompt": prompt, "responses": ["fig lime", "kiwi", "plum"]} for prompt in asked[120:130]])
    votes = [
        {
            "prompt": prompt,
            "response_a": told[number][1],
            "response_b": f"{told[number + 1][1]} fig lime",
            "annotator": f"person {number % 3}",
            "preference": "ab"[number % 2],
        }
        for number, prompt in enumerate(asked[130:190])
    ]
    for name in ("votes.jsonl", "openinstruct_annotations.jsonl.gz", "llmfao_annotations.jsonl.gz"):
        rows(name, votes)
    transcript = "\n\nHuman: {}\n\nAssistant: {}"
    pairs = [
        {"chosen": transcript.format(prompt, "fig"), "rejected": transcript.format(prompt, f"lime {number}")}
        for number, prompt in enumerate(asked[190:230])
    ]
    rows("hh.jsonl.gz", pairs)
    rows(
        "hh_harmless_pairs.jsonl.gz",
        [{"prompt": prompt, "chosen": "fig", "rejected": "lime"} for prompt in asked[190:]],
    )
    rows("rows.jsonl", [{"prompt": prompt, "response": response} for prompt, response in told[:10]])
    if model:
        texts = [text for pair in told for text in pair]
        make_tiny(texts, folder / "path" / "to" / "model", TinySection(width=32, layers=1))
