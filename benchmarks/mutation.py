"""Mutation score: small defects are put into a copy of the code, one at a time; a test must fail for each.

The operators are those that matter in this code: swapped comparisons and arithmetic, negated conditions, moved
constants, statements and results left out. Defects that a type checker would find are not tried.
"""

import ast
import copy
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from queue import SimpleQueue

import numpy as np

ROOT = Path(__file__).resolve().parent.parent

TARGETS: dict[str, tuple[str, ...]] = {
    "annotate/ledger.py": ("ledger", "writer", "lineage", "migrations", "queue"),
    "annotate/writer.py": ("writer", "ledger", "queue"),
    "annotate/lineage.py": ("lineage", "ledger"),
    "annotate/audit.py": ("audit", "ledger"),
    "annotate/queue.py": ("queue", "slots", "tally"),
    "annotate/slots.py": ("slots", "queue", "tally"),
    "annotate/tally.py": ("tally", "queue", "slots"),
    "align/promote.py": ("promote",),
}
"""Store, lineage, audit and gate, each with the words in the names of the tests that are to guard it, nearest first."""

COPIED = ("annotate", "reward", "align", "configs", "tests", "benchmarks", "pyproject.toml")
LIMIT_SECONDS = 600
TEST_SECONDS = 60

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
}


@dataclass(frozen=True)
class Mutant:
    """One defect: where, what was done, and how to make the file's text with it from the original."""

    file: str
    line: int
    what: str
    change: Callable[[str], str]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.what}"


@dataclass
class MutationReport:
    """tried: mutants run. survived: those that no test noticed. stillborn: those that broke the tests' collection,
    which are not counted. caught: whether a defect that certainly shows was killed, and a harmless change was not."""

    possible: int
    tried: int = 0
    survived: list[str] = field(default_factory=list)
    stillborn: list[str] = field(default_factory=list)
    caught: bool = False
    seconds: float = 0.0

    @property
    def score(self) -> float | None:
        """Share of the mutants that some test noticed."""
        return None if not self.tried else 1 - len(self.survived) / self.tried


def mutation_drill(count: int | None, *, seed: int = 0, jobs: int = 1) -> MutationReport:
    """Run so many mutants drawn by seed (None: all), and the planted pair, in copies of the tree.

    A mutant counts as killed only when a test fails or hangs for a minute; one that breaks an import is stillborn.
    """
    started = time.monotonic()
    mutants = [mutant for file in TARGETS for mutant in mutants_of(file, (ROOT / file).read_text(encoding="utf-8"))]
    report = MutationReport(len(mutants))
    if count is not None:
        order = np.random.default_rng(seed).permutation(len(mutants))[:count]
        mutants = [mutants[place] for place in sorted(order.tolist())]
    with tempfile.TemporaryDirectory() as folder:
        free: SimpleQueue[Path] = SimpleQueue()
        for number in range(jobs):
            free.put(copy_tree(Path(folder) / str(number)))

        def run(mutant: Mutant) -> str:
            tree = free.get()
            try:
                return verdict(tree, mutant)
            finally:
                free.put(tree)

        with ThreadPoolExecutor(jobs) as pool:
            verdicts = list(pool.map(run, [*planted(), *mutants]))
    report.caught = verdicts[:2] == ["killed", "survived"]
    for mutant, said in zip(mutants, verdicts[2:], strict=True):
        if said == "stillborn":
            report.stillborn.append(str(mutant))
            continue
        report.tried += 1
        if said == "survived":
            report.survived.append(str(mutant))
    report.seconds = time.monotonic() - started
    return report


@dataclass(frozen=True)
class CoverageReport:
    """Branches of the guarded files, and those that the tests took; by file the share. caught: whether branches that
    were added and that no test can take are among the missing ones."""

    branches: int
    taken: int
    by_file: dict[str, float]
    caught: bool
    seconds: float


def coverage_drill() -> CoverageReport:
    """Run the tests that guard the files of TARGETS, and count the branches they take. Needs the package `coverage`."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_tree(Path(folder) / "tree")
        planted_in = "annotate/audit.py"
        with (tree / planted_in).open("a", encoding="utf-8") as file:
            file.write("\n\ndef _planted(value: int) -> int:\n    if value:\n        return 1\n    return 2\n")
        tests = list(dict.fromkeys(test for target in TARGETS for test in guards_of(target, tree)))
        prefix = ["-m", "coverage", "run", "--branch", "--include=" + ",".join(TARGETS), "-m", "pytest"]
        done = run_tests(tree, tests, prefix=prefix)
        if done.returncode != 0:
            raise AssertionError(f"the tests fail before anything is measured:\n{done.stdout[-2000:]}")
        subprocess.run([sys.executable, "-m", "coverage", "json", "-q"], cwd=tree, check=True)
        found = json.loads((tree / "coverage.json").read_text(encoding="utf-8"))["files"]
    added = 2
    branches = sum(file["summary"]["num_branches"] for file in found.values()) - added
    taken = sum(file["summary"]["covered_branches"] for file in found.values())
    by_file = {}
    for name, file in found.items():
        count = file["summary"]["num_branches"] - added * (name == planted_in)
        by_file[name] = round(file["summary"]["covered_branches"] / count, 3) if count else 1.0
    caught = found[planted_in]["summary"]["missing_branches"] >= added
    return CoverageReport(branches, taken, by_file, caught, time.monotonic() - started)


def planted() -> tuple[Mutant, Mutant]:
    """A defect that the tests of its file must kill, and a change of words alone that none may."""
    file, right, wrong = "align/promote.py", "if against:", "if not against:"
    assert right in (ROOT / file).read_text(encoding="utf-8"), "the planted defect has its place"
    return (
        Mutant(file, 1, "the gate decides the other way round", lambda text: text.replace(right, wrong)),
        Mutant(file, 1, "nothing", lambda text: text + "\n# Nothing changes here.\n"),
    )


def mutants_of(file: str, text: str) -> list[Mutant]:
    """Every mutant of a source text, in the order of its lines."""
    found = []
    for place, node in enumerate(_spots(ast.parse(text))):
        for operator in _OPERATORS:
            what = operator(copy.deepcopy(node))
            if what:
                found.append(Mutant(file, getattr(node, "lineno", 0), what, partial(_changed, place, operator)))
    return sorted(found, key=lambda mutant: mutant.line)


def verdict(tree: Path, mutant: Mutant) -> str:
    """Put the mutant into the copied tree and run the tests that guard its file: killed, survived or stillborn."""
    target = tree / mutant.file
    original = target.read_text(encoding="utf-8")
    target.write_text(mutant.change(original), encoding="utf-8")
    try:
        done = run_tests(tree, guards_of(mutant.file, tree), "-x")
    except subprocess.TimeoutExpired:
        return "killed"
    finally:
        target.write_text(original, encoding="utf-8")
    # pytest: 0 all passed, 1 some failed, the rest: they could not be run
    return {0: "survived", 1: "killed"}.get(done.returncode, "stillborn")


def guards_of(file: str, tree: Path = ROOT) -> list[str]:
    """The test files that guard a source file, nearest first."""
    package = file.partition("/")[0]
    found = []
    for word in TARGETS[file]:
        found += sorted(
            path.relative_to(tree).as_posix()
            for path in (tree / "tests").glob(f"test_{package}_*.py")
            if re.search(rf"_{word}(_|\.)", path.name)
        )
    assert found, f"no test is named for {file}"
    return list(dict.fromkeys(found))


def run_tests(
    tree: Path, tests: Sequence[str], *options: str, prefix: Sequence[str] = ()
) -> subprocess.CompletedProcess:
    """Run test files in a copied tree, on its own code; output is kept in the result."""
    command = [sys.executable, "-B", *(prefix or ("-m", "pytest")), *tests, *options]
    command += ["-q", "-p", "no:cacheprovider", "-m", "not slow and not browser and not postgres and not distributed"]
    command += [f"--timeout={TEST_SECONDS}"]
    env = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        command, cwd=tree, env=env, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )


def copy_tree(to: Path) -> Path:
    """A copy of code and tests, so that no mutant ever stands in the tree that people work in."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            to.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, to / name)
    return to


# ------------------------------------------------------------------------------------------------ the operators


def _spots(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes inside functions, in a fixed order: what runs at import would only break the import."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in function.body:
                yield from _walk(statement)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """The node and what is in it, without functions inside (they are walked for themselves), types and messages."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Assert | ast.Raise):
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _walk(child)


def _changed(place: int, operator: Callable[[ast.AST], str], text: str) -> str:
    """The text with the operator applied at the place-th spot."""
    tree = ast.parse(text)
    operator(next(islice(_spots(tree), place, None)))
    return ast.unparse(ast.fix_missing_locations(tree))


def _swap_comparison(node: ast.AST) -> str:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
        old, new = type(node.ops[0]), _COMPARISONS[type(node.ops[0])]
        node.ops[0] = new()
        return f"{old.__name__} -> {new.__name__}"
    return ""


def _swap_arithmetic(node: ast.AST) -> str:
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _ARITHMETIC:
        if isinstance(node, ast.BinOp) and any(_is_text(side) for side in (node.left, node.right)):
            return ""
        old, new = type(node.op), _ARITHMETIC[type(node.op)]
        node.op = new()
        return f"{old.__name__} -> {new.__name__}"
    return ""


def _swap_boolean(node: ast.AST) -> str:
    if isinstance(node, ast.BoolOp):
        old = type(node.op)
        node.op = ast.Or() if old is ast.And else ast.And()
        return f"{old.__name__} -> {type(node.op).__name__}"
    return ""


def _negate_condition(node: ast.AST) -> str:
    if isinstance(node, ast.If | ast.While | ast.IfExp) and not isinstance(node.test, ast.Constant):
        node.test = ast.UnaryOp(ast.Not(), node.test)
        return "condition negated"
    return ""


def _move_constant(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        node.value = not node.value
        return f"{not node.value} -> {node.value}"
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        node.value += 1
        return f"{node.value - 1} -> {node.value}"
    return ""


def _leave_out(node: ast.AST) -> str:
    """Only what is run for its effect: a missing assignment would be a name that does not exist."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        text = ast.unparse(node)
        if text.startswith("log."):
            return ""
        node.value = ast.Constant(None)
        return f"left out: {text.splitlines()[0][:60]}"
    return ""


def _return_nothing(node: ast.AST) -> str:
    if isinstance(node, ast.Return) and node.value is not None:
        if isinstance(node.value, ast.Constant) and node.value.value is None:
            return ""
        node.value = ast.Constant(None)
        return "returns None"
    return ""


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


_OPERATORS = (
    _swap_comparison,
    _swap_arithmetic,
    _swap_boolean,
    _negate_condition,
    _move_constant,
    _leave_out,
    _return_nothing,
)
