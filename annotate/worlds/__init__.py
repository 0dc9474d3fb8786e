"""A world proves the loop without people: prompts, demonstrations of mixed quality, and a hidden utility.

Only the simulated annotators and the final scoring may call `gold`. What a world is about is its own file's business.
"""

import importlib
import importlib.util
import pkgutil
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Protocol, cast, runtime_checkable

from annotate.errors import BadInput, NotFound
from annotate.messages import digest

MEMBERS = ("prompts", "demonstrations", "gold")


class World(Protocol):
    """What every world has. Equal arguments give equal results, on every machine."""

    @property
    def name(self) -> str: ...

    def prompts(self, n: int, seed: int) -> list[str]:
        """n distinct prompts of the families that may be trained on."""

    def demonstrations(self, n: int, seed: int) -> list[tuple[str, str]]:
        """n (prompt, response) of mixed quality, to pretrain and fine-tune a tiny model on."""

    def gold(self, prompt: str, response: str) -> float:
        """The hidden utility of a response; higher is better, the unit is the world's own."""


@runtime_checkable
class Families(Protocol):
    """What a world may add: instruction families, one of which is held out from `prompts`."""

    def family(self, prompt: str) -> str:
        """The instruction family of a prompt."""

    def held_out_prompts(self, n: int, seed: int) -> list[str]:
        """n distinct prompts of the family absent from `prompts`."""

    def responses(self, prompt: str, n: int, seed: int) -> list[str]:
        """n answers to one prompt, of the demonstrations' mixed quality."""


def family_of(world: World, prompt: str) -> str:
    """The prompt's instruction family, "" in a world without families."""
    return world.family(prompt) if isinstance(world, Families) else ""


def shipped() -> list[str]:
    """Names of the worlds that come with the package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_world(name_or_path: str) -> World:
    """Return a shipped world by name, or the world of any Python file by path.

    Raises NotFound for an unknown name or a missing file; BadInput for a file that fails to import (naming its
    line), has no WORLD, or whose WORLD lacks a member. The file is run: load only worlds you trust.
    """
    if name_or_path in shipped():
        module = importlib.import_module(f"{__name__}.{name_or_path}")
        return _checked(module, name_or_path)
    path = Path(name_or_path).expanduser()
    if path.suffix != ".py":
        raise NotFound(
            f"no world is named {name_or_path!r}",
            next=f"Shipped: {', '.join(shipped())}; a world of your own is given by the path of its .py file",
        )
    if not path.is_file():
        raise NotFound("there is no such file", where=name_or_path, next="Check the path given as --world")
    return _checked(_imported(path), name_or_path)


def _imported(path: Path) -> ModuleType:
    resolved = path.resolve()
    spec = importlib.util.spec_from_file_location(f"trueloop_world_{digest(str(resolved))}", resolved)
    assert spec is not None and spec.loader is not None, "a .py file always has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        raise BadInput(
            f"the world cannot be imported: {type(error).__name__}: {error}",
            where=f"{path}, line {_failing_line(error, resolved)}",
            next="Mend the file and try again",
        ) from error
    return module


def _failing_line(error: BaseException, path: Path) -> int:
    if isinstance(error, SyntaxError) and error.lineno is not None and error.filename == str(path):
        return error.lineno
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return (lines[-1] or 1) if lines else 1


def _checked(module: ModuleType, where: str) -> World:
    world = getattr(module, "WORLD", None)
    if world is None:
        raise BadInput("the file has no WORLD", where=where, next="Add a module-level WORLD")
    missing = [member for member in MEMBERS if not callable(getattr(world, member, None))]
    if not isinstance(getattr(world, "name", None), str) or not world.name:
        missing.insert(0, "name")
    if missing:
        raise BadInput(
            f"WORLD lacks {', '.join(missing)}",
            where=where,
            next="A world has name, prompts(n, seed), demonstrations(n, seed) and gold(prompt, response)",
        )
    return cast(World, world)
