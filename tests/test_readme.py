"""The README's tree has one line a file, the file's own first sentence; run this file to write it anew."""

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
START, END = "<!-- TREE -->", "<!-- /TREE -->"
OTHERS = {
    "configs": "One YAML a whole loop; its head says how to run it and what to expect.",
    "tests": "One file a module; tests/worlds holds worlds that nothing was tuned on.",
    "benchmarks": "Figures, each one JSON; LOG.md keeps all of them with their seeds.",
    "docs": "Architecture, the command line, HTTP, deployment, security, a run on real judgments.",
}


def tree() -> str:
    """Every module of the three packages with the first sentence of its docstring, then the other folders."""
    lines = ["```text"]
    for package in ("annotate", "reward", "align"):
        lines.append(f"{package}/")
        for path in sorted((ROOT / package).rglob("*.py")):
            doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            name = path.relative_to(ROOT / package).as_posix()
            if name.endswith("__init__.py"):
                continue
            lines.append(f"    {name:<26}  {first_sentence(doc)}")
    lines += [f"{name + '/':<32}{line}" for name, line in OTHERS.items()]
    return "\n".join([*lines, "```"])


def first_sentence(doc: str) -> str:
    """The docstring up to its first full stop, on one line."""
    return re.split(r"(?<=[^.])\.(?:\s|$)", " ".join(doc.split()), maxsplit=1)[0] + "."


def parts() -> tuple[str, str, str]:
    before, _, rest = README.read_text(encoding="utf-8").partition(START)
    inside, _, after = rest.partition(END)
    return before, inside.strip(), after


def test_the_readmes_tree_is_true() -> None:
    assert parts()[1] == tree(), "run: python tests/test_readme.py"


def test_every_module_says_what_it_is() -> None:
    empty = [
        str(path.relative_to(ROOT))
        for package in ("annotate", "reward", "align")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert empty == []


def test_nothing_in_the_project_names_a_machines_path_or_a_registry() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    words = ("/ro" + "ot/", "/wo" + "rk/", "--extra-index" + "-url", "find-li" + "nks")
    named = [
        f"{name}: {word}"
        for name in tracked
        for word in words
        if word in (ROOT / name).read_text(encoding="utf-8", errors="replace")
    ]
    assert named == []


if __name__ == "__main__":
    before, _, after = parts()
    README.write_text(f"{before}{START}\n{tree()}\n{END}{after}", encoding="utf-8")
