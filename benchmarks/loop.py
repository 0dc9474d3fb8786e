"""How far labels go: win rate over SFT by a world's gold on held-out prompts, for three ways to spend one budget.

python benchmarks/loop.py --world PATH --arms b0,b1,ours --budgets 64,256 --seeds 3 --json
b0    DPO on the labels of one round of random pairs
b1    a plain reward model (no annotators, no pessimism) and RLOO, one round
ours  the recipe of the demo, two rounds of half the budget each
A seed's arms share SFT model and prompts. In every arm a fifth of the labels goes to the referee, as the gate asks for.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from align.recipe import Recipe, parse_recipe, write_recipe
from align.rounds import Loop
from annotate.ledger import Ledger
from annotate.progress import Progress, silent
from annotate.simulate import run as simulate
from annotate.workspace import Workspace
from annotate.worlds import load_world

PLAIN = {"kind": "head", "scale_spread": 0.0, "side_spread": 0.0}
ARMS: dict[str, dict[str, Any]] = {
    "b0": {"policy": {"kind": "dpo"}},
    "b1": {"reward": PLAIN, "referee": PLAIN, "policy": {"kind": "rloo", "pessimism": 0.0}},
    "ours": {},
}
ROUNDS = {"b0": 1, "b1": 1, "ours": 2}


def run(
    world: str,
    arms: list[str],
    budgets: list[int],
    seeds: list[int],
    base: dict[str, Any] | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Every arm at every budget and seed. base: sections that all arms' recipes share, the demo's where absent."""
    rows = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            start = recipe_of({**(base or {})}, world, seed, 2, 1)
            shared = Workspace.init(root / "shared", write_recipe(start))
            with shared.lock(), Ledger(shared) as ledger:
                Loop(shared, ledger, start).advance(until="prompts")
            for budget in budgets:
                for arm in arms:
                    copy = Workspace.open(shutil.copytree(shared.path, root / f"{arm}-{budget}"))
                    rows.append(
                        {"arm": arm, "budget": budget, "seed": seed, **_spend(copy, world, arm, budget, seed, base)}
                    )
                    shutil.rmtree(copy.path)
                    progress(f"{arm}, {budget} labels, seed {seed}", len(rows), len(arms) * len(budgets) * len(seeds))
    return {
        "world": load_world(world).name,
        "metric": "win rate over SFT by gold on held-out prompts, ties one half",
        "results": rows,
        "summary": [_summary(rows, arm, budget) for arm in arms for budget in budgets],
        "versions": {"python": platform.python_version(), "torch": version("torch"), "trl": version("trl")},
        "device": f"{platform.machine()}, {os.cpu_count()} cores",
        "commit": _commit(),
    }


def recipe_of(fields: dict[str, Any], world: str, seed: int, budget: int, rounds: int) -> Recipe:
    """The recipe of an arm: its sections, and as many prompts and labels a round as the budget gives."""
    labels = budget // rounds
    # Half as many prompts again: one whose responses are nearly alike gives no pair, and the budget must be spent.
    generate = {**fields.get("generate", {}), "prompts": labels * 3 // 2}
    spent = {"labels": {"per_round": labels}, "pairs": {**fields.get("pairs", {}), "most": labels}}
    return parse_recipe({**fields, "world": world, "seed": seed, "generate": generate, **spent}, where="arm")


def _spend(
    workspace: Workspace, world: str, arm: str, budget: int, seed: int, base: dict[str, Any] | None
) -> dict[str, Any]:
    """One run of the loop; figures of the last round's candidate."""
    started = time.monotonic()
    fields = {**(base or {})}
    for section, changes in ARMS[arm].items():
        default = getattr(Recipe(), section).kind
        same = fields.get(section, {}).get("kind", default) == changes["kind"]
        fields[section] = {**(fields.get(section, {}) if same else {}), **changes}
    recipe = recipe_of(fields, world, seed, budget, ROUNDS[arm])
    with workspace.lock(), Ledger(workspace) as ledger:
        loop = Loop(workspace, ledger, recipe)
        result = loop.advance()
        while result.round <= ROUNDS[arm]:
            assert result.waiting is not None, "an advance ends where labels are missing"
            missing = result.waiting.need - result.waiting.have
            given = simulate(ledger, load_world(world), seed=seed, limit=missing)
            assert given == missing, f"the annotators gave {given} of {missing} labels"
            result = loop.advance()
        evaluation, snapshot = ledger.latest("evaluation", ROUNDS[arm]), ledger.latest("snapshot", ROUNDS[arm])
        assert evaluation and snapshot, "the last round is whole"
        kept = ("gold_win_rate", "gold_win_rate_ci", "win_rate", "kl", "prompts")
        figures = {name: evaluation.metrics.get(name) for name in kept}
        return {**figures, "labels": snapshot.metrics["votes"], "seconds": round(time.monotonic() - started, 1)}


def _summary(rows: list[dict[str, Any]], arm: str, budget: int) -> dict[str, Any]:
    """Mean over seeds with a 95% t interval, None for one seed; and how often the own interval lies above one half."""
    from scipy.stats import t

    taken = [row for row in rows if row["arm"] == arm and row["budget"] == budget]
    rates = np.array([row["gold_win_rate"] for row in taken], dtype=float)
    half = float(t.ppf(0.975, len(rates) - 1) * rates.std(ddof=1) / len(rates) ** 0.5) if len(rates) > 1 else None
    return {
        "arm": arm,
        "budget": budget,
        "mean": float(rates.mean()),
        "ci": None if half is None else [float(rates.mean()) - half, float(rates.mean()) + half],
        "better": sum(row["gold_win_rate_ci"][0] > 0.5 for row in taken),
        "seeds": len(rates),
    }


def _commit() -> str:
    asked = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    """Print the table, or one JSON object with --json; progress goes to standard error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="pantry", help="a shipped world, or the path of a Python file")
    parser.add_argument("--arms", default="b0,b1,ours")
    parser.add_argument("--budgets", default="64,256", help="labels in all")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    arms = asked.arms.split(",")
    if set(arms) - set(ARMS):
        parser.error(f"arms are {', '.join(ARMS)}")

    def told(what: str, done: int, total: int) -> None:
        print(f"{done}/{total}  {what}", file=sys.stderr, flush=True)

    budgets = [int(budget) for budget in asked.budgets.split(",")]
    found = run(asked.world, arms, budgets, list(range(asked.seeds)), progress=told)
    if asked.json:
        print(json.dumps(found))
        return
    for row in found["summary"]:
        interval = "" if row["ci"] is None else f"  [{row['ci'][0]:.3f}, {row['ci'][1]:.3f}]"
        better = f"better in {row['better']}/{row['seeds']}"
        print(f"{row['arm']:>5} {row['budget']:>6} labels  {row['mean']:.3f}{interval}  {better}")


if __name__ == "__main__":
    main()
