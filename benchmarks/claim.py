"""Claim and submit at a million pairs in SQLite, beside the floor: a bare UPDATE .. RETURNING on the same file.

python benchmarks/claim.py [--pairs N] [--claims N] prints one JSON. Times are wall clock in ms, *_cpu_ms processor time
of the whole process. The database is made by bulk insert in a temporary directory (about 1.5 GB at a million pairs).
"""

import argparse
import json
import os
import platform
import random
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from annotate import queue, slots
from annotate.ledger import Ledger
from annotate.messages import digest
from annotate.workspace import Workspace

PAIRS_PER_PROMPT = 4
OVERLAP = 2
SEED = 7


def run(pairs: int = 1_000_000, claims: int = 1_000, own: int = 50_000) -> dict[str, Any]:
    """Build the database and measure. own: labels the prolific annotator has already, all their pairs at the head."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.init(Path(folder) / "workspace", "name: benchmark\n")
        started = time.perf_counter()
        build(workspace, pairs=pairs, own=own)
        built = time.perf_counter() - started
        found: dict[str, Any] = {
            "pairs": pairs,
            "slots": pairs * OVERLAP,
            "bytes": workspace.database_path.stat().st_size,
            "build_s": round(built, 1),
            "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "sqlite": sqlite3.sqlite_version},
            "load": os.getloadavg()[0],
            "commit": _commit(),
            "seed": SEED,
            "synchronous": "FULL",
        }
        with Ledger(workspace) as ledger:
            found["fresh"] = _label(ledger, "fresh", claims)
            first = _label(ledger, "prolific", 1)
            found["prolific"] = {"own_labels": own, "first_claim_ms": first["claim_ms"]["median"]}
            found["prolific"].update(_label(ledger, "prolific", claims))
            with ledger.read() as session:
                started = time.perf_counter()
                counts = queue.progress(session, "prolific")
                found["progress_ms"] = round((time.perf_counter() - started) * 1e3, 3)
            assert counts.mine == own + claims + 1 and counts.need == pairs * OVERLAP, counts
        found["floor"] = _floor(workspace.database_path, claims)
        found["fsync_ms"] = _fsync(Path(folder), min(claims, 200))
    return found


def build(workspace: Workspace, *, pairs: int, own: int = 0) -> None:
    """Fill a new workspace with so many pairs of two slots each; the first `own` pairs are judged by "prolific".

    The second slots of those are put at the head of the queue: a search from the head walks past all of them.
    """
    with Ledger(workspace) as ledger:
        ledger.write(lambda session: [queue.register(session, name) for name in ("fresh", "prolific")])
    database = sqlite3.connect(workspace.database_path, isolation_level=None)
    database.execute("PRAGMA synchronous=OFF")
    database.execute("PRAGMA cache_size=-1000000")
    database.execute("BEGIN")

    def fill(table: str, columns: str, rows: Iterator[tuple[Any, ...]]) -> None:
        marks = ",".join("?" * len(columns.split(",")))
        database.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)

    prompts = -(-pairs // PAIRS_PER_PROMPT)
    ids = sorted(digest(["benchmark", number]) for number in range(prompts))
    message = json.dumps([{"role": "user", "content": "How long does rice need, and how much water?"}])
    fill(
        "prompt",
        'id,messages,text,source,family,"group",split,created_at',
        ((one, message, "How long does rice need?", "", "", one, "train", 0.0) for one in ids),
    )
    fill(
        "response",
        "id,prompt_id,text,model,sampling,source,created_at",
        (
            (f"{one}{letter}", one, f"Answer {letter}: twelve minutes in twice as much water.", "m", "{}", "", 0.0)
            for one in ids
            for letter in "abcd"
        ),
    )
    sides = ("ab", "cd", "ac", "bd")
    rows = [(one, sides[place]) for one in ids for place in range(PAIRS_PER_PROMPT)][:pairs]
    fill(
        "pair",
        "id,prompt_id,round,objective,strategy,overlap,seed,source,created_at",
        ((f"{one}{both}", one, 1, "helpful", "random", OVERLAP, SEED, "", 0.0) for one, both in rows),
    )
    fill(
        "pair_response",
        "pair_id,position,response_id",
        ((f"{one}{both}", place, f"{one}{both[place]}") for one, both in rows for place in (0, 1)),
    )
    fill("slot", "pair_id,replica,priority,state,annotator_id", _slots(rows, own))
    order = random.Random(SEED)
    fill(
        "label",
        "uuid,slot_id,pair_id,annotator_id,ranking,both_bad,criteria,rationale,edited,flags,order_shown,retracted,"
        "source,created_at",
        (
            (
                f"own-{number:08d}",
                number * OVERLAP + 1,
                f"{one}{both}",
                "prolific",
                json.dumps([[f"{one}{side}"] for side in order.sample(both, 2)]),
                0,
                "{}",
                "",
                "{}",
                "[]",
                json.dumps([f"{one}{side}" for side in both]),
                0,
                "app",
                float(number),
            )
            for number, (one, both) in enumerate(rows[:own])
        ),
    )
    fill("round_size", "round,pairs,slots", iter([(1, pairs, pairs * OVERLAP)]))
    database.execute("COMMIT")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


def _slots(rows: list[tuple[str, str]], own: int) -> Iterator[tuple[Any, ...]]:
    for number, (one, both) in enumerate(rows):
        pair = f"{one}{both}"
        for replica in range(OVERLAP):
            priority = slots.priority(SEED, 1, pair, replica)
            if number < own:
                done = replica == 0
                yield pair, replica, -2 * slots.BAND + number, "done" if done else "open", "prolific" if done else None
            else:
                yield pair, replica, priority, "open", None


def _label(ledger: Ledger, who: str, count: int) -> dict[str, Any]:
    """Claim one task and judge it, so many times, as one person does."""
    claim_s, submit_s, claim_cpu, submit_cpu = [], [], 0.0, 0.0
    for number in range(count):
        cpu, started = time.process_time(), time.perf_counter()
        task = queue.claim(ledger, who)[0]
        claim_s.append(time.perf_counter() - started)
        claim_cpu += time.process_time() - cpu
        ranking = tuple((response.id,) for response in task.responses)
        judgment = queue.Judgment(uuid=f"{who}-{task.slot}-{number}", slot=task.slot, ranking=ranking, active_ms=4000)
        cpu, started = time.process_time(), time.perf_counter()
        queue.submit(ledger, who, judgment)
        submit_s.append(time.perf_counter() - started)
        submit_cpu += time.process_time() - cpu
    return {
        "claim_ms": _spread(claim_s),
        "claim_cpu_ms": round(claim_cpu / count * 1e3, 3),
        "submit_ms": _spread(submit_s),
        "submit_cpu_ms": round(submit_cpu / count * 1e3, 3),
    }


def _floor(path: Path, count: int) -> dict[str, Any]:
    """The same step without us: one UPDATE .. RETURNING in its own transaction, waiting for the disk or not."""
    database = sqlite3.connect(path, isolation_level=None, timeout=30)
    claim = (
        "UPDATE slot SET state = 'leased', annotator_id = ?, lease_until = 1 WHERE id = (SELECT id FROM slot WHERE "
        "state = 'open' ORDER BY priority, id LIMIT 1) RETURNING id"
    )

    def once(number: int) -> None:
        database.execute("BEGIN IMMEDIATE")
        database.execute(claim, (f"bare {number}",)).fetchall()
        database.execute("COMMIT")

    found = {}
    for level in ("NORMAL", "FULL"):
        database.execute(f"PRAGMA synchronous={level}")
        found[f"update_returning_{level.lower()}_ms"] = _spread(_times(once, count))
    database.close()
    return found


def _fsync(folder: Path, count: int) -> dict[str, float]:
    with (folder / "fsync").open("wb") as file:

        def once(_: int) -> None:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())

        return _spread(_times(once, count))


def _times(once: Callable[[int], None], count: int) -> list[float]:
    taken = []
    for number in range(count):
        started = time.perf_counter()
        once(number)
        taken.append(time.perf_counter() - started)
    return taken


def _spread(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    at = {"median": 0.5, "p95": 0.95, "p99": 0.99}
    return {name: round(ordered[int(part * (len(ordered) - 1))] * 1e3, 3) for name, part in at.items()}


def _commit() -> str:
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--claims", type=int, default=1_000)
    parser.add_argument("--own", type=int, default=50_000)
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.pairs, arguments.claims, arguments.own)))
