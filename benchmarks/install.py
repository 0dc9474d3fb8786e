"""Light install, `--help`, and the demo: how long a person waits before anything happens.

The install goes into a fresh environment, from this checkout and the package index that pip is set up for.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "demo", "build", "*.egg-info", "__pycache__", ".*_cache")


@dataclass(frozen=True)
class Install:
    """seconds: pip's. heavy: packages of the training side that came along, which should be none."""

    seconds: float
    packages: int
    heavy: list[str]
    help_s: float


def light_install() -> Install:
    """Install Trueloop without extras into a fresh environment, and ask it for help there."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        shutil.copytree(ROOT, source, ignore=LEFT_OUT)
        home = Path(folder) / "venv"
        venv.create(home, with_pip=True)
        started = time.monotonic()
        subprocess.run([home / "bin" / "pip", "install", "--quiet", source], check=True, capture_output=True)
        seconds = time.monotonic() - started
        listed = subprocess.run(
            [home / "bin" / "pip", "list", "--format", "json"], check=True, capture_output=True, text=True
        ).stdout
        names = {one["name"].lower() for one in json.loads(listed)}
        return Install(seconds, len(names), heavy_among(names), help_seconds(home / "bin" / "trueloop"))


def heavy_among(names: set[str]) -> list[str]:
    """Those of the packages that only training needs."""
    return sorted(names & {"torch", "transformers", "trl", "peft", "accelerate", "datasets", "deepspeed"})


def help_seconds(command: Path | None = None, runs: int = 10) -> float:
    """Median wall-clock seconds of `trueloop --help`, after one run that warms the caches."""
    command = command or Path(sys.executable).with_name("trueloop")
    taken = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        subprocess.run([command, "--help"], check=True, capture_output=True)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


def demo_minutes(seed: int = 0) -> tuple[float, str]:
    """Minutes of the demo to its second verdict, and that verdict."""
    with tempfile.TemporaryDirectory() as folder:
        trueloop = str(Path(sys.executable).with_name("trueloop"))
        command = [trueloop, "demo", "--rounds", "2", "--seed", str(seed), "--json"]
        env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        started = time.monotonic()
        done = subprocess.run(
            [*command, "--workspace", f"{folder}/demo"], env=env, check=True, capture_output=True, text=True
        )
        return (time.monotonic() - started) / 60, json.loads(done.stdout)["rounds"][-1]["verdict"]
