"""Drills of the store: killed writers, readers that hold on, replays, lineage at scale. `make figures` prints them.

Each returns a dict with its counts, and does the same once with a planted defect, which it must catch: a 0 that
nothing could have raised is no evidence. python benchmarks/drills.py NAME [--count N] prints one JSON.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a script: the repository's root is not on the path yet
    sys.path.insert(0, str(Path(__file__).parent.parent))

from annotate import queue
from annotate.ledger import Ledger
from annotate.messages import digest
from annotate.tables import Label
from annotate.workspace import Workspace
from benchmarks.claim import build

PEOPLE = 4
_INSERT_LABEL = (
    "INSERT INTO label (uuid, slot_id, pair_id, annotator_id, ranking, both_bad, criteria, rationale, edited, flags, "
    "order_shown, retracted, source, created_at) "
    "VALUES (?, ?, ?, ?, '[]', 0, '{}', '', '{}', '[]', '[]', 0, 'drill', 1)"
)


def kill_drill(kills: int, *, seed: int = 0) -> dict[str, Any]:
    """SIGKILL processes in which four people label, at random moments; then look for every acknowledged label.

    planted: a writer that acknowledges before the label is stored, and one that stores every third label twice.
    """
    started = time.perf_counter()
    found = _killed(kills, seed, "none")
    planted = min(kills, 8)
    early, twice = _killed(planted, seed + 1, "early"), _killed(min(planted, 3), seed + 2, "twice")
    return {
        **found,
        "seed": seed,
        "planted": {"lost": early["lost"], "doubled": twice["doubled"]},
        "caught": early["lost"] > 0 and twice["doubled"] > 0,
        "seconds": round(time.perf_counter() - started, 1),
    }


def locked_drill(writes: int) -> dict[str, Any]:
    """Durable writes from twenty threads and a second process while a trainer holds long reads; counts refusals.

    planted: a writer of the usual kind (its own connection, no patience) on the same file at the same time.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        workspace = _workspace(Path(folder), pairs=1)
        context, stop = _processes(), multiprocessing.get_context("forkserver").Event()
        answers, ours = context.Pipe(duplex=False)
        share = writes // 10
        other = context.Process(target=_write_rows, args=(workspace.path, "other", share, 4, ours))
        reader = context.Process(target=_read_long, args=(workspace.path, stop))
        impatient: list[int] = []
        plant = threading.Thread(target=lambda: impatient.extend(_impatient(workspace.database_path, stop)))
        for one in (reader, plant, other):
            one.start()
        refused = _many_rows(workspace.path, "own", writes - share, 20)
        refused += answers.recv()
        stop.set()
        for one in (other, reader, plant):
            one.join()
        with sqlite3.connect(workspace.database_path) as database:
            stored = database.execute("SELECT count(*) FROM guideline WHERE text = 'drill'").fetchone()[0]
    seconds = time.perf_counter() - started
    return {
        "writes": writes,
        "stored": stored,
        "refused": refused,
        "writes_per_s": round(writes / seconds, 1),
        "planted": {"tries": impatient[0], "refused": impatient[1]},
        "caught": impatient[1] > 0,
        "seconds": round(seconds, 1),
    }


def replay_drill(replays: int) -> dict[str, Any]:
    """Send judgments again and again from eight threads, some while the first is still on its way; counts second rows.

    planted: the same replays with a new uuid each time, past the queue.
    """
    started = time.perf_counter()
    judgments = max(1, min(2_000, replays // 10))
    with tempfile.TemporaryDirectory() as folder:
        workspace = _workspace(Path(folder), pairs=judgments)
        with Ledger(workspace) as ledger:
            given: list[queue.Judgment] = []
            answers: list[queue.Stored | None] = [None] * (replays + judgments)
            for _ in range(-(-judgments // queue.MOST_TASKS)):
                batch = [_judgment(task) for task in queue.claim(ledger, "p0", min(50, judgments - len(given)))]
                sends = [one for one in batch for _ in range(2)]  # each once more while the first is on its way
                at = 2 * len(given)
                _spread(8, len(sends), lambda n, sends=sends, at=at: _send(ledger, sends[n], answers, at + n))
                given += batch
            rest = range(2 * len(given), replays + judgments)
            _spread(8, len(rest), lambda n: _send(ledger, given[n % len(given)], answers, rest[n]))
        second = _second_rows(workspace.database_path)
        unanswered = sum(answer is None for answer in answers)
        with sqlite3.connect(workspace.database_path) as database:
            for number in range(5):
                one = given[number % len(given)]
                pair = database.execute("SELECT pair_id FROM slot WHERE id = ?", (one.slot,)).fetchone()[0]
                database.execute(_INSERT_LABEL, (f"replay-{number}", one.slot, pair, "p0"))
        planted = _second_rows(workspace.database_path)
    return {
        "replays": replays,
        "judgments": len(given),
        "second_rows": second,
        "unanswered": unanswered,
        "planted": {"second_rows": planted},
        "caught": planted > second,
        "seconds": round(time.perf_counter() - started, 1),
    }


def lineage_drill(labels: int) -> dict[str, Any]:
    """Ask for the lineage of promoted models and of labels in a ledger of four rounds; slowest answer in seconds.

    planted: a promoted model whose snapshot was never recorded as its parent.
    """
    rounds = 4
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.init(Path(folder) / "workspace", "name: drill\n")
        build(workspace, pairs=labels, own=labels)
        _rounds(workspace.database_path, labels, rounds)
        slowest, whole = {"up": 0.0, "down": 0.0}, 0
        with Ledger(workspace) as ledger:
            promoted = [f"policy-{number}" for number in range(1, rounds + 1)]
            for number, identity in enumerate(promoted, 1):
                started = time.perf_counter()
                above, count = ledger.ancestors(identity), ledger.count_labels_behind(identity)
                slowest["up"] = max(slowest["up"], time.perf_counter() - started)
                # The oldest label is behind every model, and is the way down.
                started = time.perf_counter()
                below = ledger.lineage_of_label("own-00000000")
                slowest["down"] = max(slowest["down"], time.perf_counter() - started)
                assert below is not None, "the label was built"
                reached = {made.id for made in below.descendants}
                snapshots = sum(made.stage == "snapshot" for made in above)
                whole += count == labels * number // rounds and identity in reached and snapshots == number
            orphan = ledger.count_labels_behind("policy-orphan")
    return {
        "labels": labels,
        "promoted": len(promoted),
        "both_ways": whole,
        "seconds_up": round(slowest["up"], 3),
        "seconds_down": round(slowest["down"], 3),
        "planted": {"labels_behind_orphan": orphan},
        "caught": orphan == 0,
    }


# ------------------------------------------------------------------------------------------------- killed writers


def _killed(kills: int, seed: int, defect: str) -> dict[str, Any]:
    rng = random.Random(seed)
    context = _processes()
    acknowledged: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        workspace = _workspace(Path(folder), pairs=60 * kills + 60)
        for number in range(kills):
            ours, theirs = context.Pipe(duplex=False)
            child = context.Process(target=_label_until_killed, args=(workspace.path, number, defect, theirs))
            child.start()
            theirs.close()
            wanted, heard = rng.randrange(12), 0
            while heard < wanted:
                acknowledged.append(ours.recv_bytes().decode())
                heard += 1
            time.sleep(rng.random() * 0.02)
            assert child.pid is not None, "the child was started"
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            with suppress(EOFError):
                while True:
                    acknowledged.append(ours.recv_bytes().decode())
            ours.close()
        with Ledger(workspace) as ledger:
            broken = ledger.check()
            with ledger.read() as session:
                have, _ = queue.count_labels(session, 1)
        with sqlite3.connect(workspace.database_path) as database:
            stored = [row[0] for row in database.execute("SELECT uuid FROM label")]
            done = database.execute("SELECT count(*) FROM slot WHERE state = 'done'").fetchone()[0]
        doubled = _second_rows(workspace.database_path)
    assert broken == [] and have == len(stored), (broken, have, len(stored))
    assert done == len(stored) or defect == "twice", (done, len(stored))
    return {
        "kills": kills,
        "acknowledged": len(acknowledged),
        "stored": len(stored),
        "lost": len(set(acknowledged) - set(stored)),
        "doubled": doubled,
    }


def _label_until_killed(path: Path, number: int, defect: str, acknowledge: Connection) -> None:
    """Four people label as fast as they can and say so after each label; ends by SIGKILL."""
    ledger = Ledger(Workspace.open(path))
    saying = threading.Lock()

    def say(uuid: str) -> None:
        with saying:
            acknowledge.send_bytes(uuid.encode())

    def work(who: str) -> None:
        count = 0
        while tasks := queue.claim(ledger, who):
            one = _judgment(tasks[0], f"{number}-{who}-{count:06d}")
            if defect == "early":
                say(one.uuid)
            queue.submit(ledger, who, one)
            if defect == "twice" and count % 3 == 0:
                again = _copy(tasks[0], one, who)
                ledger.write(lambda session, again=again: session.add(again))
            if defect != "early":
                say(one.uuid)
            count += 1

    people = [threading.Thread(target=work, args=(f"p{place}",)) for place in range(PEOPLE)]
    for one in people:
        one.start()
    for one in people:
        one.join()
    time.sleep(600)  # out of work: the kill is on its way


def _copy(task: queue.Task, one: queue.Judgment, who: str) -> Label:
    return Label(
        uuid=f"{one.uuid}-again",
        slot_id=task.slot,
        pair_id=task.pair,
        annotator_id=who,
        ranking=[],
        criteria={},
        edited={},
        flags=[],
        order_shown=[],
        created_at=1.0,
    )


def _second_rows(path: Path) -> int:
    """Labels beyond the first of one person for one pair."""
    with sqlite3.connect(path) as database:
        return database.execute(
            "SELECT coalesce(sum(n - 1), 0) FROM (SELECT count(*) AS n FROM label GROUP BY pair_id, annotator_id)"
        ).fetchone()[0]


# -------------------------------------------------------------------------------------------- readers that hold on


def _many_rows(path: Path, name: str, count: int, threads: int) -> int:
    """Store so many rows, each in a write of its own; returns how many were refused."""
    refused = [0] * threads
    with Ledger(Workspace.open(path)) as ledger:

        def once(number: int, thread: int) -> None:
            try:
                ledger.write(
                    lambda session: session.connection().exec_driver_sql(
                        "INSERT INTO guideline (id, version, text, created_at) VALUES (?, 1, 'drill', 0)",
                        (f"{name}-{number}",),
                    )
                )
            except Exception:
                refused[thread] += 1

        _threads(threads, lambda thread: [once(number, thread) for number in range(thread, count, threads)])
    return sum(refused)


def _write_rows(path: Path, name: str, count: int, threads: int, answer: Connection) -> None:
    answer.send(_many_rows(path, name, count, threads))


def _read_long(path: Path, stop: Any) -> None:
    """Read as a trainer does: one consistent state, held for a second while rows are gone through."""
    with Ledger(Workspace.open(path)) as ledger:
        while not stop.is_set():
            with ledger.read() as session:
                until = time.monotonic() + 1
                while time.monotonic() < until and not stop.is_set():
                    session.connection().exec_driver_sql("SELECT count(*) FROM guideline").all()
                    time.sleep(0.05)


def _impatient(path: Path, stop: Any) -> tuple[int, int]:
    database, tries, refused = sqlite3.connect(path, isolation_level=None, timeout=0), 0, 0
    while not stop.is_set():
        tries += 1
        try:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
        except sqlite3.OperationalError:
            refused += 1
        time.sleep(0.005)
    database.close()
    return tries, refused


# --------------------------------------------------------------------------------------------------- common ground


def _processes() -> ForkServerContext:
    """Processes that are forked from one that has imported all this, and has no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "benchmarks.drills"])
    return context


def _workspace(folder: Path, *, pairs: int) -> Workspace:
    workspace = Workspace.init(folder / "workspace", "name: drill\n")
    build(workspace, pairs=pairs)
    with Ledger(workspace) as ledger:
        ledger.write(lambda session: [queue.register(session, f"p{place}") for place in range(PEOPLE)])
    return workspace


def _judgment(task: queue.Task, uuid: str = "") -> queue.Judgment:
    ranking = tuple((response.id,) for response in task.responses)
    return queue.Judgment(uuid=uuid or f"judged-{task.slot:08d}", slot=task.slot, ranking=ranking)


def _send(ledger: Ledger, one: queue.Judgment, answers: list[queue.Stored | None], at: int) -> None:
    answers[at] = queue.submit(ledger, "p0", one)


def _spread(threads: int, count: int, once: Callable[[int], None]) -> None:
    _threads(threads, lambda thread: [once(number) for number in range(thread, count, threads)])


def _threads(count: int, work: Callable[[int], Any]) -> None:
    people = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for one in people:
        one.start()
    for one in people:
        one.join()


def _rounds(path: Path, labels: int, rounds: int) -> None:
    """Record the artifacts of so many rounds, whose snapshots freeze more and more of the labels."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA synchronous=OFF")
    database.execute("BEGIN")

    def made(identity: str, stage: str, number: int, *parents: str) -> None:
        database.execute(
            "INSERT INTO artifact "
            "(id, stage, round, config, metrics, content_hash, path, git_sha, seconds, created_at) "
            "VALUES (?, ?, ?, '{}', '{}', ?, '', '', 1, ?)",
            (identity, stage, number, digest(identity), float(number)),
        )
        edges = [(identity, parent) for parent in parents]
        database.executemany("INSERT INTO artifact_parent (artifact_id, parent_id) VALUES (?, ?)", edges)

    made("sft", "sft", 0)
    champion = "sft"
    for number in range(1, rounds + 1):
        made(f"responses-{number}", "responses", number, champion)
        made(f"snapshot-{number}", "snapshot", number, f"responses-{number}")
        made(f"reward-{number}", "reward", number, f"snapshot-{number}")
        champion = f"policy-{number}"
        made(champion, "policy", number, f"reward-{number}", "sft")
        frozen = ((f"snapshot-{number}", f"own-{one:08d}") for one in range(labels * number // rounds))
        database.executemany("INSERT INTO snapshot_label (artifact_id, label_uuid) VALUES (?, ?)", frozen)
    made("policy-orphan", "policy", rounds, "sft")
    database.execute("UPDATE response SET artifact_id = 'responses-1'")
    database.execute("COMMIT")
    database.close()


if __name__ == "__main__":
    drills = {"kill": (kill_drill, 20), "locked": (locked_drill, 2000), "replay": (replay_drill, 1000)}
    drills["lineage"] = (lineage_drill, 100_000)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(drills))
    parser.add_argument("--count", type=int)
    arguments = parser.parse_args()
    drill, small = drills[arguments.name]
    print(json.dumps({"drill": arguments.name, **drill(arguments.count or small)}))
