"""The whole loop on a world, with simulated annotators in people's place: they label through the same queue.

Only the turn-taking is here: advance, label, advance. A demo that was stopped goes on where it stood.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from align.recipe import Recipe, find_recipe, load_recipe, write_recipe
from align.report import write_report
from align.rounds import Loop
from align.terminal import bars, runnable, say, show_json, show_table
from annotate.errors import BadInput
from annotate.ledger import Ledger
from annotate.simulate import run as simulate
from annotate.workspace import Workspace
from annotate.worlds import load_world

COLUMNS = ("round", "labels", "verdict", "win_rate", "win_rate_ci", "gold_win_rate", "gold_win_rate_ci", "prompts")


def run_demo(arguments: argparse.Namespace) -> int:
    """Run rounds of the loop, show a table of each, and write report.html."""
    started = time.monotonic()
    recipe = load_recipe(find_recipe(arguments.recipe), [f"seed={arguments.seed}", *arguments.overrides])
    if arguments.world:
        path = Path(arguments.world)
        world = str(path.resolve()) if path.suffix == ".py" else arguments.world
        recipe = recipe.model_copy(update={"world": world})
    if recipe.world is None:
        raise BadInput("a demo needs a world", next="Run: trueloop demo --world pantry")
    workspace = _workspace(
        arguments.workspace or Path(f"trueloop-demo-{Path(recipe.world).stem}-{arguments.seed}"), recipe
    )
    with workspace.lock(), Ledger(workspace) as ledger, bars(arguments.json) as progress:
        loop = Loop(workspace, ledger, recipe, progress)
        announce = None if arguments.json else _announce
        result = loop.advance(on_stage=announce)
        while result.round <= arguments.rounds:
            assert result.waiting is not None, "an advance ends where labels are missing"
            missing = result.waiting.need - result.waiting.have
            count = simulate(ledger, load_world(recipe.world), seed=recipe.seed, limit=missing, progress=progress)
            if count < missing:
                raise BadInput(
                    f"the simulated annotators could give only {count} of {missing} labels",
                    where=f"round {result.round}",
                    next="Lower pairs.overlap in the recipe",
                )
            finished = result.round
            result = loop.advance(on_stage=announce)
            if not arguments.json:
                _show([row_of(loop, finished)])
        rounds = [row_of(loop, number) for number in range(1, arguments.rounds + 1)]
        report = write_report(workspace, ledger)
    found = {
        "workspace": str(workspace.path),
        "seconds": round(time.monotonic() - started, 1),
        "champion": result.champion,
        "rounds": rounds,
        "report": str(report),
    }
    if arguments.json:
        show_json(found)
    else:
        _show(rounds)
        print(f"Report: {report}")
        say(runnable(f"Label round {arguments.rounds + 1} yourself: trueloop annotate", workspace.path))
    return 0


def row_of(loop: Loop, number: int) -> dict[str, Any]:
    """One round in figures: its labels, the verdict, and its candidate's win rates against the SFT model."""
    evaluation, promotion = loop.ledger.latest("evaluation", number), loop.ledger.latest("promotion", number)
    snapshot = loop.ledger.latest("snapshot", number)
    assert evaluation and promotion and snapshot, f"round {number} is whole"
    before = loop.ledger.latest("snapshot", number - 1) if number > 1 else None
    labels = int(snapshot.metrics["votes"]) - (int(before.metrics["votes"]) if before else 0)
    metrics = evaluation.metrics
    return {
        "round": number,
        "labels": labels,
        "verdict": promotion.metrics["verdict"],
        "reasons": promotion.metrics["reasons"],
        **{name: metrics.get(name) for name in COLUMNS[3:]},
    }


def _workspace(path: Path, recipe: Recipe) -> Workspace:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return Workspace.init(path, write_recipe(recipe))
    workspace = Workspace.open(path)
    if load_recipe(workspace.recipe_path) != recipe:
        raise BadInput(
            "this workspace was made by another recipe, seed or world",
            where=str(path),
            next="Name another one with --workspace DIR, or go on with this one: trueloop advance",
        )
    return workspace


def _announce(round: int, stage: str) -> None:
    print(f"round {round}  {stage}", file=sys.stderr, flush=True)


def _show(rows: list[dict[str, Any]]) -> None:
    header = ("round", "labels", "verdict", "wins over SFT", "95% interval", "by gold", "95% interval", "prompts")
    show_table("", header, [[row[name] for name in COLUMNS] for row in rows])
