"""The crash drill: a round is killed at chosen points, goes on, and must end as an uninterrupted one does.

SIGKILL hits a real process: inside a stage, between its file and its row, inside the transaction, while people label,
and at random times. What must be equal is every artifact's bytes, every row, and what `Ledger.check` says.
"""

import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
from sqlmodel import col, select

from align import rounds, stages
from align.job import Job, Metrics
from align.recipe import Recipe, load_recipe
from align.rounds import STAGES, Loop, content_hash
from annotate.ledger import Ledger
from annotate.tables import Label, Pair, Promotion, Slot, SnapshotLabel
from annotate.workspace import Workspace
from benchmarks.micro import DPO, FINETUNE, advance, make_workspace, micro_recipe

# Imported once in the server that the attempts are forked from; each attempt is then a process of its own in no time.
_PRELOADED = (
    "align.rounds",
    "align.evaluate",
    "align.generate",
    "annotate.simulate",
    "reward.score",
    "reward.finetune",
    "datasets",
    "trl.trainer.sft_trainer",
    "trl.trainer.rloo_trainer",
)
_LIMIT_SECONDS = 600
_LABELLING = "labels"


@dataclass(frozen=True)
class Point:
    """Where a run is killed. phase: "half" of a stage's progress, "written" before its directory is renamed,
    "inserting" inside the transaction that records it, "recorded" after; "random" at `seconds` after the start."""

    stage: str
    phase: str
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"random at {self.seconds:.1f} s" if self.phase == "random" else f"{self.stage} {self.phase}"


@dataclass
class CrashReport:
    """points: killed there and gone on. different: what was not as in the uninterrupted run, by the points of its run.
    unreached: points that the run passed unharmed. planted: differences found in a run with a stamp of time."""

    seed: int
    artifacts: int = 0
    points: list[str] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    planted: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def caught(self) -> bool:
        """Whether the planted defect was found, and by its name."""
        return any("demonstrations" in one for one in self.planted)


def crash_drill(*, full: bool = False, seed: int = 0) -> CrashReport:
    """Kill rounds of the micro loop at chosen points, let them go on, and compare with rounds that were left alone.

    Small: one round with a Bayesian head and RLOO killed eight times, one with the trained kinds killed twice. Full: at
    every stage's points, four in a round, and at twenty random times, one in a round.
    """
    started = time.monotonic()
    report = CrashReport(seed)
    recipes = {
        "rloo": micro_recipe([f"seed={seed}"]),
        "dpo": micro_recipe([f"seed={seed}"], reward=FINETUNE, policy=DPO),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, recipe in recipes.items():
            drill = _Drill(Path(folder) / name, _fork_server(), recipe)
            expected = drill.run("alone")
            began = time.monotonic()
            report.different += [
                f"{name} left alone twice: {line}" for line in differences(expected, drill.run("again"))
            ]
            alone_s = time.monotonic() - began
            report.artifacts += len(expected["artifacts"])
            for number, points in enumerate(_runs(name, full, alone_s, seed)):
                killed: list[Point] = []
                found = drill.run(f"killed-{number}", points, killed=killed)
                report.points += [f"{name}: {point}" for point in killed]
                report.unreached += [str(point) for point in points if point not in killed and point.phase != "random"]
                lines = differences(expected, found)
                if lines:
                    where = ", ".join(map(str, killed))
                    report.different.append(f"{name} killed at {where}: {len(lines)}, first: {'; '.join(lines[:3])}")
        report.planted = drill.planted()
    report.seconds = time.monotonic() - started
    return report


def planted_stamp(folder: Path, seed: int = 0) -> list[str]:
    """What the comparison says of two runs whose first stage writes the time of day; no training, so it is quick."""
    return _Drill(folder, _fork_server(["align.rounds"]), micro_recipe([f"seed={seed}"])).planted(
        until="demonstrations"
    )


def standing(workspace: Workspace) -> dict[str, Any]:
    """All that must not depend on where a run was interrupted: rows without their times, bytes, and what is broken."""
    with Ledger(workspace) as ledger:
        made = ledger.artifacts()
        with ledger.read() as session:
            labels = session.exec(select(Label).order_by(col(Label.uuid))).all()
            slots = session.exec(select(Slot).order_by(col(Slot.id))).all()
            promotions = session.exec(select(Promotion).order_by(col(Promotion.id))).all()
            frozen = session.exec(select(SnapshotLabel.artifact_id, SnapshotLabel.label_uuid)).all()
            pairs = session.exec(select(Pair.id).order_by(col(Pair.id))).all()
        broken = ledger.check()
    rows = {
        f"{one.stage} {one.round}": {"id": one.id, "recorded": one.content_hash, "metrics": one.metrics} for one in made
    }
    on_disk = {f"{one.stage} {one.round}": content_hash(workspace.path / one.path) for one in made}
    return {
        "bytes": on_disk,
        "artifacts": rows,
        "recorded bytes": {name: on_disk[name] == row["recorded"] for name, row in rows.items()},
        "folders": {path.name: True for path in sorted(workspace.artifacts.iterdir())},
        "labels": {one.uuid: [one.annotator_id, one.pair_id, one.ranking, one.order_shown] for one in labels},
        "slots": {str(one.id): [one.pair_id, one.replica, one.state] for one in slots},
        "pairs": dict.fromkeys(pairs, True),
        "frozen": {f"{artifact} {uuid}": True for artifact, uuid in sorted(frozen)},
        "promotions": {str(at): [one.policy_id, one.champion_id, one.verdict] for at, one in enumerate(promotions)},
        "broken": dict.fromkeys(broken, True),
    }


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Where two standings differ, one line a thing, the stages that come first before the others."""
    lines = []
    for part, rows in expected.items():
        others = found[part]
        for name in rows | others:
            if name not in others:
                lines.append(f"{part}: {name} is missing")
            elif name not in rows:
                lines.append(f"{part}: {name} is new")
            elif json.dumps(rows[name], sort_keys=True) != json.dumps(others[name], sort_keys=True):
                lines.append(f"{part}: {name} differs")
    return lines


@dataclass
class _Drill:
    folder: Path
    context: ForkServerContext
    recipe: Recipe

    def run(
        self,
        name: str,
        points: Sequence[Point] = (),
        *,
        killed: list[Point] | None = None,
        until: str = "promotion",
        stamp: bool = False,
    ) -> dict[str, Any]:
        """Run a fresh workspace, killed at each point in turn, until it is done; returns its standing."""
        workspace = make_workspace(self.folder / name, self.recipe)
        for point in points:
            if self._attempt(workspace, point, until, stamp):
                break
            if killed is not None:
                killed.append(point)
        else:
            assert self._attempt(workspace, None, until, stamp), "an attempt that nobody kills comes to its end"
        return standing(workspace)

    def planted(self, until: str = "sft") -> list[str]:
        """Differences of two runs with a stage that writes the time, one of them killed."""
        expected = self.run(f"stamped-{until}", until=until, stamp=True)
        kill = Point(until, "written")
        return differences(expected, self.run(f"stamped-killed-{until}", [kill], until=until, stamp=True))

    def _attempt(self, workspace: Workspace, point: Point | None, until: str, stamp: bool) -> bool:
        """Whether one process came to the end; False when it was killed. Anything else is an error."""
        process = self.context.Process(target=_advance_until_killed, args=(workspace.path, point, until, stamp))
        process.start()
        process.join(point.seconds if point and point.phase == "random" else _LIMIT_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
            if point is None or point.phase != "random":
                raise AssertionError(f"the attempt killed at {point} hangs")
        code = process.exitcode
        process.close()
        if code not in (0, -signal.SIGKILL):
            said = workspace.path.with_suffix(".log").read_text(encoding="utf-8")[-2000:]
            raise AssertionError(f"the attempt killed at {point} failed with exit code {code}:\n{said}")
        return code == 0


def _runs(kind: str, full: bool, alone_s: float, seed: int) -> Iterator[list[Point]]:
    """The points at which each run is killed, in the order in which they come."""
    names = [stage.name for stage in STAGES if stage.name != _LABELLING]
    if not full and kind == "dpo":
        yield [Point("reward", "half"), Point("policy", "half")]
        return
    if not full:
        yield [
            Point("demonstrations", "written"),
            Point("sft", "half"),
            Point("responses", "inserting"),
            Point(_LABELLING, "half"),
            Point("snapshot", "recorded"),
            Point("policy", "half"),
            Point("evaluation", "inserting"),
            Point("promotion", "written"),
        ]
        return
    order = {name: place for place, name in enumerate(stage.name for stage in STAGES)}
    if kind == "dpo":  # what comes before is the same in both
        names = ["reward", "policy"]
    points = [Point(name, phase) for name in names for phase in ("written", "inserting", "recorded")]
    # the stages that tell progress, and the labels, which are no stage of ours
    told = ("sft", "responses", _LABELLING, "evaluation") if kind == "rloo" else ("reward",)
    points += [Point(name, "half") for name in (*told, "policy")]
    rng = np.random.default_rng(seed)
    mixed = [points[place] for place in rng.permutation(len(points))]
    phases = ("half", "written", "inserting", "recorded")
    for start in range(0, len(mixed), 4):  # four in a round
        yield sorted(mixed[start : start + 4], key=lambda point: (order[point.stage], phases.index(point.phase)))
    for seconds in rng.uniform(0.1, 0.9 * alone_s, size=16 if kind == "rloo" else 4):
        yield [Point("", "random", float(seconds))]


def _fork_server(preload: Sequence[str] = _PRELOADED) -> ForkServerContext:
    """Starts processes by forking one that has done the heavy imports; it ends with this one."""
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    # a killed process leaves its semaphores to the tracker, which removes them and says so
    os.environ["PYTHONWARNINGS"] = "ignore::UserWarning:multiprocessing.resource_tracker"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


def _advance_until_killed(path: Path, point: Point | None, until: str, stamp: bool) -> None:
    """What an attempt does, in a process of its own."""
    _log_to(path.with_suffix(".log"))
    if stamp:
        _write_time_into_demonstrations()
    workspace = Workspace.open(path)
    current = [""]

    def kill_at(stage: str, phase: str) -> None:
        if point is not None and (stage, phase) == (point.stage, point.phase):
            os.kill(os.getpid(), signal.SIGKILL)

    def enter(_: int, stage: str) -> None:
        current[0] = stage

    def half(_: str, done: int, total: int) -> None:
        if 2 * done >= total:
            kill_at(current[0], "half")

    def half_of_labels(_: str, done: int, total: int) -> None:
        if 2 * done >= total:
            kill_at(_LABELLING, "half")

    class Watched(Loop):
        def make(self, stage: rounds.Stage, job: Job) -> Any:
            made = super().make(stage, job)
            kill_at(stage.name, "recorded")
            return made

    flush, record = rounds._flush_to_disk, Ledger.record

    def flushed(folder: Path) -> None:
        flush(folder)
        kill_at(current[0], "written")

    def recorded(self: Ledger, session: Any, row: Any, parent_ids: Any) -> None:
        record(self, session, row, parent_ids)
        session.flush()
        kill_at(current[0], "inserting")

    setattr(rounds, "_flush_to_disk", flushed)  # noqa: B010 - said aloud that this is another one's function
    setattr(Ledger, "record", recorded)  # noqa: B010
    with workspace.lock(), Ledger(workspace) as ledger:
        loop = Watched(workspace, ledger, load_recipe(workspace.recipe_path), half)
        advance(loop, until, on_stage=enter, labelling=half_of_labels)


def _log_to(path: Path) -> None:
    """Everything printed from now on, by libraries too, goes to a file."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)


def _write_time_into_demonstrations() -> None:
    """The planted defect: a stage whose bytes depend on when it ran."""

    def run(job: Job) -> Metrics | None:
        metrics = stages.demonstrations(job)
        (job.out / "written_at").write_text(str(time.time_ns()), encoding="utf-8")
        return metrics

    stamped = tuple(replace(one, run=run) if one.name == "demonstrations" else one for one in STAGES)
    setattr(rounds, "STAGES", stamped)  # noqa: B010
