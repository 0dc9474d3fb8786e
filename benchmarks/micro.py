"""The micro loop: a whole round on the micro world in seconds, for drills that need many of them.

A recipe, a workspace, and the turn-taking between the loop and its simulated annotators. No figure is made here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from align.recipe import Recipe, parse_recipe, write_recipe
from align.rounds import Advanced, Loop
from annotate.ledger import Ledger
from annotate.progress import Progress, silent
from annotate.simulate import run as simulate
from annotate.workspace import Workspace
from annotate.worlds import load_world

ROOT = Path(__file__).resolve().parent.parent
WORLD = ROOT / "tests" / "worlds" / "micro.py"

FIELDS: dict[str, Any] = {
    "name": "micro",
    "world": str(WORLD),
    "prompts": {"count": 90},
    "demonstrations": {"count": 160},
    "sft": {
        "tiny": {"width": 32, "layers": 1, "words": 64},
        "epochs": 3,
        "learning_rate": 0.02,
        "batch_size": 16,
        "max_tokens": 64,
        "checkpoint_steps": 10,
    },
    "generate": {"prompts": 48, "responses": 3, "max_new_tokens": 8, "validation_share": 0.4},
    "labels": {"per_round": 40},
    "reward": {"hidden": 4, "ngrams": 8},
    "referee": {"hidden": 4, "ngrams": 8},
    "policy": {
        "steps": 6,
        "prompts_per_step": 8,
        "samples": 4,
        "learning_rate": 0.005,
        "pessimism": 0,
        "max_new_tokens": 8,
        "probe_steps": 2,
        "probe_prompts": 4,
    },
    "evaluate": {"prompts": 12, "samples": 2, "max_new_tokens": 8},
    "gate": {"min_prompts": 2},
}
"""The micro recipe: every stage runs, and every training stage writes a checkpoint before its end."""

FINETUNE: dict[str, Any] = {"kind": "finetune", "batch_size": 4, "checkpoint_steps": 2, "max_tokens": 64}
DPO: dict[str, Any] = {"kind": "dpo", "batch_size": 4, "checkpoint_steps": 2, "max_tokens": 64}
"""Micro sections of the other kinds."""


def micro_recipe(overrides: list[str] | None = None, **sections: dict[str, Any]) -> Recipe:
    """The micro recipe, with whole sections replaced and overrides as the command line takes them."""
    return parse_recipe(FIELDS | sections, overrides)


def make_workspace(path: Path, recipe: Recipe | None = None) -> Workspace:
    """A new workspace of the micro recipe, or of another one."""
    return Workspace.init(path, write_recipe(recipe or micro_recipe()))


def advance(
    loop: Loop,
    until: str = "promotion",
    *,
    on_stage: Callable[[int, str], None] | None = None,
    labelling: Progress = silent,
) -> Advanced:
    """Run round 1 until a stage stands, with simulated annotators giving the labels that it waits for."""
    result = loop.advance(until, on_stage=on_stage)
    if result.waiting is not None:
        missing = result.waiting.need - result.waiting.have
        given = simulate(
            loop.ledger, load_world(str(loop.recipe.world)), seed=loop.recipe.seed, limit=missing, progress=labelling
        )
        assert given == missing, f"{given} of {missing} labels were given"
        result = loop.advance(until, on_stage=on_stage)
    assert result.waiting is None, f"round {result.round} still waits: {result.waiting}"
    return result


def run_round(path: Path, recipe: Recipe | None = None) -> Workspace:
    """A workspace whose first round has run to its verdict."""
    recipe = recipe or micro_recipe()
    workspace = make_workspace(path, recipe)
    with workspace.lock(), Ledger(workspace) as ledger:
        advance(Loop(workspace, ledger, recipe))
    return workspace
