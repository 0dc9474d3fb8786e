"""What a stage is handed: where it reads and writes, its recipe and its seed; and what goes into its fingerprint.

The stages themselves are align/stages.py's, their order align/rounds.py's.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from align.recipe import Recipe
from annotate.ledger import Ledger
from annotate.messages import digest
from annotate.progress import Progress
from annotate.workspace import Workspace

LATER: tuple[str, ...] = ("snapshot.objective",)
"""Fields that came to a section after artifacts had been made under it."""

Metrics = dict[str, Any]
"""What the ledger keeps of a stage: numbers, intervals as [low, high], words; None where nothing was measured."""


@dataclass(frozen=True)
class Job:
    """One stage about to run: where it writes, what it reads, and its own seed."""

    workspace: Workspace
    ledger: Ledger
    recipe: Recipe
    id: str
    round: int
    parents: Mapping[str, str]
    progress: Progress

    @property
    def out(self) -> Path:
        """The directory that becomes the artifact when the stage is whole."""
        return self.workspace.artifacts / f"{self.id}.tmp"

    @property
    def made(self) -> Path:
        """Where the artifact lies once it is whole."""
        return self.workspace.artifacts / self.id

    @property
    def inputs(self) -> dict[str, Path]:
        """Directories of the parents, by the names of the stages that made them."""
        return {name: self.workspace.artifacts / identity for name, identity in self.parents.items()}

    @property
    def seed(self) -> int:
        """Seed of this stage in this round, derived from the recipe's."""
        return derived_seed(self.recipe.seed, self.id)


def derived_seed(seed: int, *parts: Any) -> int:
    """A 31-bit seed that depends on the recipe's seed and on what it is for."""
    return int(digest([seed, *parts], 12), 16) % 2**31


def config_of(recipe: Recipe, sections: tuple[str, ...]) -> dict[str, Any]:
    """The resolved values of sections, and of single fields such as "campaign.objective".

    A world's file enters with its content, so that an edited world is another. A single field, like one of LATER,
    enters only when it is not the default: what was made before there was such a field stands.
    """
    fields = recipe.model_dump(mode="json", include={name for name in sections if "." not in name})
    for path in LATER:
        section, _, name = path.partition(".")
        if section in fields and _is_default(recipe, section, name):
            del fields[section][name]
    for path in sections:
        section, _, name = path.partition(".")
        if name and not _is_default(recipe, section, name):
            fields[path] = getattr(getattr(recipe, section), name)
    if fields.get("world"):
        fields["world"] = {"name": Path(fields["world"]).stem, "content": _world_content(fields["world"])}
    return fields


def _is_default(recipe: Recipe, section: str, name: str) -> bool:
    model = getattr(recipe, section)
    return bool(getattr(model, name) == type(model).model_fields[name].default)


def _world_content(world: str) -> str:
    from annotate import worlds

    path = Path(world) if world.endswith(".py") else Path(worlds.__file__).with_name(f"{world}.py")
    if not path.is_file():
        worlds.load_world(world)  # raises, saying which worlds there are
    return digest(path.read_text(encoding="utf-8"))


def is_needed(stage: str, recipe: Recipe) -> bool:
    """Whether a stage has anything to do under a recipe: a model taken as it is needs no demonstrations."""
    return not (stage == "demonstrations" and recipe.sft.kind == "none")


@cache
def git_sha() -> str:
    """The commit this code runs from, empty outside a checkout."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
