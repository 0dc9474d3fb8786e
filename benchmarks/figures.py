"""What Trueloop says about itself: a table of figures, each with the tries behind it and the defect it must catch.

    python benchmarks/figures.py [--full] [--json] [--only 3,5]

Small counts take a few minutes; --full takes hours. A check that misses its planted defect has measured nothing: its
figure is not printed and the exit code is 1, as it is when an aim of zero is not met.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a script: the repository's root is not on the path yet
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

ROOT = Path(__file__).resolve().parent.parent
SEED = 0


@dataclass(frozen=True)
class Figure:
    """One row. found: the figure with its tries. met: whether the aim is reached; None where the counts are too small
    to tell, or the machine decides. holds: what must be true at any count. caught: the planted defect."""

    number: int
    what: str
    found: str
    aim: str
    met: bool | None
    holds: bool
    caught: bool
    detail: dict[str, Any]


def locked(full: bool) -> Figure:
    """Row 3."""
    from benchmarks.drills import locked_drill

    found = locked_drill(1_000_000 if full else 10_000)
    clean = found["refused"] == 0 and found["stored"] == found["writes"]
    return Figure(
        3,
        '"database is locked" seen by a user',
        f"{found['refused']} in {found['writes']:,} writes, {found['stored']:,} stored",
        "0 in 1,000,000",
        (clean and found["writes"] >= 1_000_000) or (None if clean else False),
        clean,
        found["caught"],
        found,
    )


def killed(full: bool) -> Figure:
    """Row 4."""
    from benchmarks.drills import kill_drill

    found = kill_drill(1_000 if full else 20, seed=SEED)
    clean = found["lost"] == 0 and found["doubled"] == 0
    return Figure(
        4,
        "SIGKILLs during writes; acknowledged labels lost; doubled",
        f"{found['kills']:,} kills, {found['acknowledged']:,} labels: {found['lost']} lost, {found['doubled']} doubled",
        ">= 1,000; 0; 0",
        (clean and found["kills"] >= 1_000) or (None if clean else False),
        clean,
        found["caught"],
        found,
    )


def crashes(full: bool) -> Figure:
    """Row 5."""
    from benchmarks.drills_loop import crash_drill

    found = crash_drill(full=full, seed=SEED)
    clean = not found.different and not found.unreached
    return Figure(
        5,
        "crash points over a round that resume to identical artifacts",
        f"{len(found.points)} points, {len(found.different)} runs differ, {len(found.unreached)} not reached",
        "100% of >= 60",
        (clean and len(found.points) >= 60) or (None if clean else False),
        clean,
        found.caught,
        asdict(found),
    )


def replayed(full: bool) -> Figure:
    """Row 10."""
    from benchmarks.drills import replay_drill

    found = replay_drill(10_000 if full else 1_000)
    clean = found["second_rows"] == 0 and found["unanswered"] == 0
    return Figure(
        10,
        "replayed submits that made a second row",
        f"{found['second_rows']} of {found['replays']:,}",
        "0 of >= 10,000",
        (clean and found["replays"] >= 10_000) or (None if clean else False),
        clean,
        found["caught"],
        found,
    )


def mutants(full: bool) -> Figure:
    """Row 12; erasing comes with its own issue."""
    from benchmarks.mutation import mutation_drill

    found = mutation_drill(None if full else 60, seed=SEED, jobs=min(2, os.cpu_count() or 1))
    covered, score = found.coverage, found.score or 0
    branches = covered.taken / covered.branches
    drawn = f"{found.tried} of {found.possible} mutants" + ("" if full else ", a sample")
    return Figure(
        12,
        "branch coverage; mutation score of store, gate, lineage, audit",
        f"{branches:.1%} of {covered.branches} branches; {score:.0%} of {drawn}"
        + ("" if found.postgres else "; without PostgreSQL"),
        ">= 95%; >= 85%",
        branches >= 0.95 and score >= 0.85 if full else None if branches >= 0.95 else False,
        True,
        covered.caught and found.caught,
        asdict(found),
    )


def knobs(full: bool) -> Figure:
    """Row 13."""
    from benchmarks.drills_knobs import knob_drill

    found = knob_drill()
    clean = not found.dead and not found.failed
    return Figure(
        13,
        "configuration fields that change nothing",
        f"{len(found.dead)} of {len(found.tried)} tried, of {found.fields} there are",
        "0, every field tried",
        (clean and len(found.tried) == found.fields) or (None if clean else False),
        clean,
        found.caught,
        asdict(found),
    )


def bad_inputs(full: bool) -> Figure:
    """Row 14."""
    from benchmarks.bad_input import bad_input_drill

    found = bad_input_drill(5_000 if full else 600, seed=SEED)
    clean = not (found["tracebacks"] or found["hangs"] or found["silently_accepted"])
    return Figure(
        14,
        "bad inputs tried; tracebacks; hangs over 5 s; silently accepted",
        f"{found['tries']:,} over {found['parsers']} parsers: {found['tracebacks']}; {found['hangs']}; "
        f"{found['silently_accepted']}",
        ">= 5,000 over >= 12 parsers; 0; 0; 0",
        (clean and found["tries"] >= 5_000 and found["parsers"] >= 12) or (None if clean else False),
        clean,
        found["caught"],
        found,
    )


def output(full: bool) -> Figure:
    """Row 21."""
    from benchmarks.drills_output import output_drill

    found = output_drill(5_000 if full else 60, seed=SEED)
    clean = not found.formulas and not found.escapes
    return Figure(
        21,
        "unescaped spreadsheet formulas in exports; raw terminal escapes printed",
        f"{found.formulas} of {found.cells:,} cells; {found.escapes} of {found.shown:,} outputs",
        "0; 0",
        clean,
        clean,
        found.caught,
        asdict(found),
    )


def api_requests(full: bool) -> Figure:
    """Row 15."""
    from benchmarks.api_requests import request_drill

    found = request_drill(50_000 if full else 1_000, seed=SEED)
    clean = not found["failed"]
    return Figure(
        15,
        "generated API requests; answers of 5xx",
        f"{found['requests']:,} over {found['operations']} operations: {len(found['failed'])}",
        ">= 50,000; 0",
        (clean and found["requests"] >= 50_000) or (None if clean else False),
        clean,
        found["caught"],
        found,
    )


def lineage(full: bool) -> Figure:
    """Row 30."""
    from benchmarks.drills import lineage_drill

    found = lineage_drill(1_000_000 if full else 100_000)
    clean = found["both_ways"] == found["promoted"]
    slowest = max(found["seconds_up"], found["seconds_down"])
    return Figure(
        30,
        "promoted models with lineage both ways; time to answer",
        f"{found['both_ways']} of {found['promoted']}; {slowest:.2f} s at {found['labels']:,} labels",
        "100%; <= 1 s at 1,000,000",
        (clean and slowest <= 1 and found["labels"] >= 1_000_000) or (None if clean and slowest <= 1 else False),
        clean,
        found["caught"],
        found,
    )


def docs(full: bool) -> Figure:
    """Row 34."""
    from benchmarks.docs_check import docs_drill

    found = docs_drill()
    blocks = len(found.ran) + len(found.failed) + len(found.not_run)
    lies = len(found.undocumented) + len(found.stale)
    clean = not found.failed and not lies
    return Figure(
        34,
        "code blocks of the docs that run; undocumented flags, keys, routes, errors",
        f"{len(found.ran)} of {blocks}, {len(found.not_run)} cannot; {lies} of {found.looked_at}",
        "100%; 0",
        clean and not found.not_run,
        clean,
        found.caught,
        asdict(found),
    )


def round_trips(full: bool) -> Figure:
    """Row 35."""
    from benchmarks.round_trips import round_trip_drill

    found = round_trip_drill(200 if full else 5, seed=SEED)
    forms = len(found.lossless) + len(found.lossy)
    clean = not found.lossy and not found.nul_taken
    return Figure(
        35,
        "forms of files round-tripped without loss",
        f"{len(found.lossless)} of {forms}, {found.judgments:,} judgments through {found.files} files",
        ">= 12",
        clean and len(found.lossless) >= 12,
        clean,
        found.caught,
        asdict(found),
    )


def first_contact(full: bool) -> Figure:
    """Row 36."""
    from benchmarks.install import demo_minutes, heavy_among, help_seconds, light_install

    detail: dict[str, Any] = {"help_s": help_seconds()}
    parts, met, clean = [f"--help {detail['help_s']:.2f} s"], detail["help_s"] <= 0.4, True
    if full:
        install = light_install()
        minutes, verdict = demo_minutes(SEED)
        detail |= {"install": asdict(install), "demo_min": minutes, "demo": verdict}
        clean = not install.heavy
        parts = [f"install {install.seconds:.0f} s, {install.packages} packages", *parts, f"demo {minutes:.1f} min"]
        met = met and clean and install.seconds <= 30 and minutes <= 5
    return Figure(
        36,
        "light install; --help; demo to a verdict",
        "; ".join(parts),
        "<= 30 s without torch; <= 0.4 s; <= 5 min",
        met if full or not met else None,
        clean,
        heavy_among({"torch", "numpy"}) == ["torch"],
        detail,
    )


ROWS: dict[int, Callable[[bool], Figure]] = {
    3: locked,
    4: killed,
    5: crashes,
    10: replayed,
    12: mutants,
    13: knobs,
    14: bad_inputs,
    15: api_requests,
    21: output,
    30: lineage,
    34: docs,
    35: round_trips,
    36: first_contact,
}


def main(argv: list[str] | None = None) -> int:
    """Measure the rows, print the table or one JSON object, and say by the exit code whether all of it holds."""
    parser = argparse.ArgumentParser(description="Print the figures that Trueloop publishes about itself.")
    parser.add_argument("--full", action="store_true", help="full counts: hours instead of minutes")
    parser.add_argument("--json", action="store_true", help="one JSON object with every detail")
    parser.add_argument("--only", metavar="3,5", help="these rows alone")
    arguments = parser.parse_args(argv)
    os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")
    warnings.filterwarnings("ignore", category=FutureWarning)
    wanted = [int(one) for one in arguments.only.split(",")] if arguments.only else list(ROWS)
    started = time.monotonic()
    rows, times, errors = [], {}, {}
    for number in wanted:
        began = time.monotonic()
        print(f"row {number} ...", file=sys.stderr, flush=True)
        try:
            rows.append(ROWS[number](arguments.full))
        except Exception as error:  # one check that breaks must not take the others along
            errors[number] = f"{type(error).__name__}: {error}"
        times[number] = time.monotonic() - began
    about = machine() | {"seed": SEED, "full": arguments.full, "seconds": round(time.monotonic() - started, 1)}
    if arguments.json:
        print(json.dumps({**about, "rows": [asdict(row) for row in rows], "errors": errors, "row_seconds": times}))
    else:
        show(rows, times, errors, about)
    return int(bool(errors) or not all(row.caught and row.holds for row in rows))


def show(rows: list[Figure], times: dict[int, float], errors: dict[int, str], about: dict[str, Any]) -> None:
    """The table for people, what is wrong below it."""
    from align.terminal import show_table

    cells = []
    for row in rows:
        aim = {True: "met", False: "NOT MET", None: "so far"}[row.met]
        found = row.found if row.caught else "not measured"
        planted = "caught" if row.caught else "MISSED"
        cells.append((row.number, row.what, found, row.aim, aim, planted, f"{times[row.number]:.0f} s"))
    show_table("", ("#", "figure", "found", "aim", "", "planted defect", "took"), cells)
    for number, said in errors.items():
        print(f"row {number} could not be measured: {said}")
    for row in rows:
        for name in ("different", "unreached", "dead", "failed", "undocumented", "stale", "lossy"):
            for line in row.detail.get(name) or []:
                print(f"row {row.number}, {name}: {line}")
    print("  ".join(f"{name} {value}" for name, value in about.items()))


def machine() -> dict[str, Any]:
    """Commit, processor, load and versions."""
    asked = ["git", "describe", "--always", "--dirty", "--abbrev=9"]
    commit = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    load = os.getloadavg()[0]
    return {
        "commit": commit,
        "cpus": os.cpu_count(),
        "load": round(load, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    sys.exit(main())
