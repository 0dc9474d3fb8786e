"""A warm pytest: what all tests import is loaded once, and each run of tests is a fork that ends with it.

Run in a copied tree as `python -m benchmarks.warm MODULE ...` with the modules that change between runs: those are
loaded after the fork, so each run sees them as they stand. Reads one JSON object a line and answers with one.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

PLUGINS = ("pytest_timeout", "_hypothesis_pytestplugin")
LOADED = ("pytest", *PLUGINS, "hypothesis.strategies", "numpy", "alembic.autogenerate", "alembic.command", "psycopg")
LOADED_OF_TREE = ("annotate.tables", "annotate.pairs", "annotate.judgment", "annotate.workspace", "annotate.statistics")


class Limits:
    """A pytest plugin: a test may hang so many seconds, by its id, before the run ends as failed."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds

    def pytest_collection_modifyitems(self, items: "list[pytest.Item]") -> None:
        import pytest

        for item in items:
            if item.nodeid in self.seconds:
                item.add_marker(pytest.mark.timeout(self.seconds[item.nodeid], method="thread"))


class Recorder:
    """A pytest plugin: which lines of which files each test takes, in any thread, and how long it lasts."""

    def __init__(self, include: list[str]) -> None:
        from coverage import Coverage

        self.coverage = Coverage(branch=True, include=include, data_file=None)
        self.seconds: dict[str, float] = {}
        self.coverage.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.coverage.switch_context(nodeid)
        self.seconds[nodeid] = -time.monotonic()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.seconds[nodeid] += time.monotonic()

    def found(self) -> dict[str, Any]:
        """Seconds by test; by file the tests of each line, "" for what runs at import, and how many branches there are
        and were taken."""
        self.coverage.stop()
        data, tests, branches = self.coverage.get_data(), {}, {}
        with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
            self.coverage.json_report(outfile=file.name)
            files = json.load(file)["files"]
        for name, about in files.items():
            tests[name] = data.contexts_by_lineno(str(Path(name).resolve()))
            branches[name] = (about["summary"]["num_branches"], about["summary"]["covered_branches"])
        return {"seconds": self.seconds, "tests": tests, "branches": branches}


def run(asked: dict[str, Any]) -> int | None:
    """Run pytest in a fork and return its exit code, or None when it took too long.

    options: pytest's arguments. seconds: for all of it. limits: seconds by test. said: the file for its output.
    record: the files whose lines are recorded, into the file recorded.
    """
    child = os.fork()
    if child == 0:
        code = 3  # pytest's own code for an error inside it
        with contextlib.suppress(BaseException):
            code = _child(**asked)
        os._exit(code)
    until, code = time.monotonic() + asked["seconds"], None
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            break
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):  # it, when it hangs, and what the tests left behind
        os.killpg(child, signal.SIGKILL)
    if code is None:
        os.waitpid(child, 0)
    return code


def _child(
    options: list[str],
    said: str,
    seconds: float,
    limits: dict[str, float],
    record: list[str],
    recorded: str,
) -> int:
    import pytest

    os.setsid()
    for descriptor, path, mode in ((0, os.devnull, os.O_RDONLY), (1, said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)):
        os.dup2(os.open(path, mode), descriptor)
    os.dup2(1, 2)
    sys.dont_write_bytecode = not record  # a mutant must not leave its bytecode to the next one
    recorder = Recorder(record) if record else None
    options = [*options, *(part for name in PLUGINS for part in ("-p", name))]
    try:
        code = int(pytest.main(options, plugins=[Limits(limits), *([recorder] if recorder else [])]))
    except Exception:  # a connection that was left open is told this late
        traceback.print_exc()
        code = 1
    if recorder:
        Path(recorded).write_text(json.dumps(recorder.found()), encoding="utf-8")
    return code


def main() -> None:
    """Answer until there is no more to read."""
    for name in (*LOADED, *LOADED_OF_TREE):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    early = set(sys.argv[1:]) & set(sys.modules)
    assert not early, f"loaded before the fork: {early}"
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
