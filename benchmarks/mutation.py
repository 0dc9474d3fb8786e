"""Mutation score: small defects are put into a copy of the code, one at a time; a test must fail for each.

The tests run once undisturbed and leave a map of who takes which line. A mutant then meets the tests that take its
statement, the quickest first, and no others: those cannot notice. What the mutants are is said in mutants.py.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from benchmarks.mutants import Mutant, mutants_of

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
RECORD_SECONDS = 1800
RUN_SECONDS = 600
HANGS_TIMES, HANGS_SECONDS = 10, 10
"""A test hangs that lasts so many times as long as undisturbed, and so many seconds."""
UNTAKEN = "def _planted(value: int) -> int:\n    if value:\n        return 1\n    return 2\n"


@dataclass
class MutationReport:
    """tried: mutants run. survived: those that no test noticed. stillborn: those that broke the tests' collection,
    which are not counted. untaken: of the survivors, those whose line no test takes. caught: whether a defect that
    certainly shows was killed, and a harmless change was not. postgres: whether the tests had a server."""

    possible: int
    coverage: "CoverageReport"
    tried: int = 0
    survived: list[str] = field(default_factory=list)
    stillborn: list[str] = field(default_factory=list)
    untaken: int = 0
    caught: bool = False
    postgres: bool = False
    seconds: float = 0.0

    @property
    def score(self) -> float | None:
        """Share of the mutants that some test noticed."""
        return None if not self.tried else 1 - len(self.survived) / self.tried


@dataclass(frozen=True)
class CoverageReport:
    """Branches of the guarded files, and those that the tests took; by file the share. caught: whether branches that
    were added and that no test can take are among the missing ones."""

    branches: int
    taken: int
    by_file: dict[str, float]
    caught: bool


def mutation_drill(count: int | None, *, seed: int = 0, jobs: int = 1) -> MutationReport:
    """Run so many mutants drawn by seed (None: all), and the planted pair, in copies of the tree.

    A mutant counts as killed only when a test fails or hangs; one that breaks an import is stillborn.
    """
    started = time.monotonic()
    mutants = [mutant for file in TARGETS for mutant in mutants_of(file, (ROOT / file).read_text(encoding="utf-8"))]
    possible = len(mutants)
    if count is not None:
        order = np.random.default_rng(seed).permutation(possible)[:count]
        mutants = [mutants[place] for place in sorted(order.tolist())]
    with nursery(jobs) as (trees, postgres):
        record = trees[0].record()
        free: SimpleQueue[Tree] = SimpleQueue()
        for tree in trees:
            free.put(tree)

        def run(mutant: Mutant) -> str:
            tree = free.get()
            try:
                return verdict(tree, mutant, record)
            finally:
                free.put(tree)

        with ThreadPoolExecutor(jobs) as pool:
            verdicts = list(pool.map(run, [*planted(), *mutants]))
    report = MutationReport(possible, record.coverage, postgres=postgres)
    report.caught = verdicts[:2] == ["killed", "survived"]
    for mutant, said in zip(mutants, verdicts[2:], strict=True):
        if said == "stillborn":
            report.stillborn.append(str(mutant))
            continue
        report.tried += 1
        if said != "killed":
            report.survived.append(str(mutant))
            report.untaken += said == "untaken"
    report.seconds = time.monotonic() - started
    return report


def planted() -> tuple[Mutant, Mutant]:
    """A defect that the tests of its file must kill, and a change of words alone that none may."""
    file, right, wrong = "align/promote.py", "if against:", "if not against:"
    text = (ROOT / file).read_text(encoding="utf-8")
    assert right in text, "the planted defect has its place"
    line = text[: text.index(right)].count("\n") + 1
    lines = range(line, line + 1)
    return (
        Mutant(file, line, "the gate decides the other way round", lambda text: text.replace(right, wrong), lines),
        Mutant(file, line, "nothing", lambda text: text + "\n# Nothing changes here.\n", lines),
    )


@dataclass(frozen=True)
class Record:
    """What the tests did undisturbed. seconds: by test. tests: by file those that take each line."""

    seconds: dict[str, float]
    tests: dict[str, dict[int, list[str]]]
    coverage: CoverageReport

    def noticing(self, mutant: Mutant) -> list[str]:
        """The tests that take the mutant's statement and guard its file, the quickest first; all that use the file when
        it runs at import."""
        lines = self.tests[mutant.file]
        found = {test for line in mutant.lines for test in lines.get(line, ())}
        if "" in found:
            found = set().union(*lines.values())
        guards = set(guards_of(mutant.file))
        return sorted((one for one in found if one.partition("::")[0] in guards), key=lambda one: self.seconds[one])


class Tree:
    """A copy of code and tests with a warm pytest, so that no mutant ever stands in the tree that people work in."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, folder / name)
        self.folder = folder
        own = {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TMPDIR": str(folder.parent)}
        modules = [file.removesuffix(".py").replace("/", ".") for file in TARGETS]
        self._warm = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.warm", *modules],
            cwd=folder,
            env=os.environ | own | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End its pytest."""
        self._warm.communicate()

    def test(self, tests: Sequence[str], limits: dict[str, float]) -> int | None:
        """Run tests, in this order, until one fails or hangs: pytest's exit code, None when it was over RUN_SECONDS."""
        return self._ask([*tests, "-x", "--maxfail=1"], RUN_SECONDS, limits=limits)

    def record(self) -> Record:
        """Run all tests that guard the files of TARGETS, undisturbed but for branches that no test can take.

        Raises AssertionError when a test fails. Needs the package `coverage`.
        """
        target = self.folder / "annotate/audit.py"
        original = target.read_text(encoding="utf-8")
        target.write_text(f"{original}\n\n{UNTAKEN}", encoding="utf-8")
        tests = list(dict.fromkeys(test for file in TARGETS for test in guards_of(file, self.folder)))
        code = self._ask(tests, RECORD_SECONDS, record=list(TARGETS))
        target.write_text(original, encoding="utf-8")
        if code != 0:
            said = (self.folder / "said").read_text(encoding="utf-8", errors="replace")
            raise AssertionError(f"the tests fail before anything is measured:\n{said[-2000:]}")
        for file in TARGETS:  # bytecode of what is about to change
            for path in (self.folder / file).parent.glob(f"__pycache__/{Path(file).stem}.*.pyc"):
                path.unlink()
        found = json.loads((self.folder / "recorded").read_text(encoding="utf-8"))
        lines = {name: {int(line): ids for line, ids in tests.items()} for name, tests in found["tests"].items()}
        return Record(found["seconds"], lines, _coverage(found["branches"]))

    def _ask(self, tests: Sequence[str], seconds: float, **more: Any) -> int | None:
        options = [*tests, "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        options += ["-m", "not slow and not browser and not distributed", f"--basetemp={self.folder / 'base'}"]
        asked = {"options": options, "seconds": seconds, "said": str(self.folder / "said"), "limits": {}, "record": []}
        assert self._warm.stdin is not None and self._warm.stdout is not None, "both are pipes"
        self._warm.stdin.write(json.dumps({**asked, "recorded": str(self.folder / "recorded"), **more}) + "\n")
        self._warm.stdin.flush()
        return json.loads(self._warm.stdout.readline())


def _coverage(branches: dict[str, tuple[int, int]]) -> CoverageReport:
    """By file how many there are and how many were taken, those of UNTAKEN among them."""
    there, taken = branches["annotate/audit.py"]
    branches = branches | {"annotate/audit.py": (there - 2, taken)}
    by_file = {name: round(taken / there, 3) if there else 1.0 for name, (there, taken) in branches.items()}
    sums = [sum(numbers) for numbers in zip(*branches.values(), strict=True)]
    return CoverageReport(sums[0], sums[1], by_file, taken <= there - 2)


@contextmanager
def nursery(jobs: int) -> Iterator[tuple[list[Tree], bool]]:
    """So many trees, in memory where there is some, and whether they share a PostgreSQL server; gone at the end."""
    from tests.ledgers import PostgresServer

    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        try:
            server = PostgresServer()
        except FileNotFoundError:
            server = None
        env = {"TRUELOOP_TEST_POSTGRES": str(server.folder)} if server else {}
        trees = [Tree(Path(folder) / str(number), env) for number in range(jobs)]
        try:
            yield trees, server is not None
        finally:
            for tree in trees:
                tree.close()
            if server:
                server.stop()


def verdict(tree: Tree, mutant: Mutant, record: Record) -> str:
    """Put the mutant into the copied tree and run the tests that can notice: killed, survived, untaken or stillborn."""
    tests = record.noticing(mutant)
    if not tests:
        return "untaken"
    target = tree.folder / mutant.file
    original = target.read_text(encoding="utf-8")
    target.write_text(mutant.change(original), encoding="utf-8")
    limits = {test: HANGS_SECONDS + HANGS_TIMES * record.seconds[test] for test in tests}
    try:
        code = tree.test(tests, limits)
    finally:
        target.write_text(original, encoding="utf-8")
    # pytest: 0 all passed, 1 some failed, the rest: they could not be run
    return {0: "survived", 1: "killed", None: "killed"}.get(code, "stillborn")


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
