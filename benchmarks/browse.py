"""Pages of the label browser and the progress page at a million labels in SQLite.

python benchmarks/browse.py [--labels N] [--times N] prints one JSON: wall clock in ms a page, by filter. The database
is made as claim.py makes it, every pair labelled once by one person; a few labels more are of another.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import text

from annotate import effort, search
from annotate.ledger import Ledger
from annotate.search import Wanted
from annotate.workspace import Workspace
from benchmarks.claim import _commit, _label, _spread, build

ASKED: dict[str, dict[str, Any]] = {
    "all": {},
    "round": {"round": 1},
    "one of few labels": {"annotator": "fresh"},
    "flagged": {"flagged": True},
    "both bad": {"both_bad": True},
    "disagreement": {"disagreement": True},
    "a split that has none": {"split": "test"},
    "a word in every pair": {"words": "rice"},
    "a phrase in every pair": {"words": '"twelve minutes"'},
    "a word in none": {"words": "quinoa"},
    "a word in every pair, a split that has none": {"words": "rice", "split": "test"},
}


def run(labels: int = 1_000_000, times: int = 20) -> dict[str, Any]:
    """Build the database and measure; each filter reads its first page and those that follow, `times` in all."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.init(Path(folder) / "workspace", "name: benchmark\n")
        started = time.perf_counter()
        build(workspace, pairs=labels, own=labels)
        built = time.perf_counter() - started
        found: dict[str, Any] = {
            "labels": labels,
            "bytes": workspace.database_path.stat().st_size,
            "build_s": round(built, 1),
            "commit": _commit(),
            "load": os.getloadavg()[0],
        }
        with Ledger(workspace) as ledger:
            found["submit"] = _label(ledger, "fresh", 200)
            found["pages_ms"] = {name: _pages(ledger, Wanted(**asked), times) for name, asked in ASKED.items()}
            found["progress_ms"] = _spread([_timed(lambda: _report(ledger)) for _ in range(max(3, times // 4))])
            with ledger.read() as session:
                found["catalog"] = session.connection().execute(text("SELECT count(*) FROM catalog")).scalar()
    return found


def _pages(ledger: Ledger, wanted: Wanted, times: int) -> dict[str, float]:
    """Time a page; rows: on all pages together, to_end: pages until the end, 0 when it was not reached."""
    taken: list[float] = []
    before: int | None = None
    rows = to_end = 0
    for number in range(times):
        started = time.perf_counter()
        with ledger.read() as session:
            page = search.find(session, wanted, before)
        taken.append(time.perf_counter() - started)
        rows += len(page.rows)
        before = page.next
        if before is None and not to_end:
            to_end = number + 1
    return {**_spread(taken), "max": round(max(taken) * 1e3, 3), "rows": rows, "to_end": to_end}


def _report(ledger: Ledger) -> None:
    with ledger.read() as session:
        effort.report(session)


def _timed(once: Any) -> float:
    started = time.perf_counter()
    once()
    return time.perf_counter() - started


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=20)
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.labels, arguments.times)))
