"""What usually goes wrong, checked in seconds: the installation, and the workspace if there is one. Reads only."""

import importlib.metadata
import importlib.util
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from annotate.errors import TrueloopError

if TYPE_CHECKING:
    from annotate.ledger import Ledger
    from annotate.workspace import Workspace


class Finding(NamedTuple):
    """One check: whether it is fine, what was looked at, what was found, and the next command if it is not."""

    ok: bool
    what: str
    found: str
    next: str = ""


def examine(path: Path | None) -> list[Finding]:
    """All findings; a workspace is examined when `path`, the environment or the current directory names one."""
    return [_python(), *_packages(), *_extras(), _disk(path or Path()), *_workspace(path)]


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(sys.version_info >= (3, 11), "Python 3.11 or newer", version, "make PYTHON=python3.11 env")


def _packages() -> list[Finding]:
    # `align` and `annotate` are other projects on PyPI too; whoever imports first wins.
    home = Path(__file__).resolve().parent.parent
    findings = []
    for name in ("annotate", "reward", "align"):
        found = importlib.util.find_spec(name)
        origin = Path(found.origin).resolve() if found and found.origin else None
        ours = origin is not None and origin.parent.parent == home
        findings.append(
            Finding(
                ours, f"package {name} is Trueloop's", str(origin), f"pip uninstall {name}, then pip install trueloop"
            )
        )
    return findings


def _extras() -> list[Finding]:
    findings = []
    for module, extra in (("torch", "train"), ("trl", "train"), ("gradio", ""), ("sqlmodel", "")):
        found = importlib.util.find_spec(module) is not None
        package = f"trueloop[{extra}]" if extra else "trueloop"
        version = importlib.metadata.version(module) if found else "not installed"
        findings.append(
            Finding(found, f"{module} for {'training' if extra else 'labelling'}", version, f"pip install '{package}'")
        )
    return findings


def _disk(path: Path) -> Finding:
    free = shutil.disk_usage(path if path.exists() else Path()).free / 2**30
    return Finding(free > 1, "at least 1 GiB of disk is free", f"{free:.1f} GiB", "free some space")


def _workspace(path: Path | None) -> list[Finding]:
    from annotate.ledger import Ledger
    from annotate.workspace import Workspace

    try:
        workspace = Workspace.resolve(path)
    except TrueloopError as error:
        return [Finding(path is None, "workspace", error.what, error.next)]
    findings = [Finding(True, "workspace", str(workspace.path))]
    try:
        from align.recipe import load_recipe

        recipe = load_recipe(workspace.recipe_path)
        findings.append(Finding(True, "recipe", recipe.name))
        with Ledger(workspace) as ledger:
            findings += _ledger(workspace, ledger)
    except TrueloopError as error:
        findings.append(Finding(False, "workspace can be used", str(error), error.next))
    return findings


def _ledger(workspace: "Workspace", ledger: "Ledger") -> list[Finding]:
    from align.rounds import content_hash

    broken = ledger.check()
    findings = [
        Finding(not broken, "database, triggers and audit chain", "; ".join(broken) or "whole", "restore a backup")
    ]
    changed = []
    for made in ledger.artifacts():
        folder = workspace.path / made.path
        if not folder.is_dir():
            changed.append(f"{made.stage} {made.id} is gone")
        elif content_hash(folder) != made.content_hash:
            changed.append(f"{made.stage} {made.id} was changed")
    findings.append(
        Finding(not changed, "artifacts are as they were made", "; ".join(changed) or "whole", "restore a backup")
    )
    return findings
