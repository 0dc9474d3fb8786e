"""Thousands of bad inputs for every parser: none may end in a traceback, hang, or be taken without a word.

Each input is good but for one place, which is surely bad, so that taking it in silence can be told from taking it
rightly. python benchmarks/bad_input.py [--count N] [--seed N] prints one JSON.
"""

import argparse
import gzip
import io
import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

if __name__ == "__main__":  # run as a script: the repository's root is not on the path yet
    sys.path.insert(0, str(Path(__file__).parent.parent))

from align.recipe import load_recipe
from annotate.errors import TrueloopError
from annotate.imports import import_file
from annotate.ledger import Ledger
from annotate.preference import Preference, read_preferences, write_preferences
from annotate.prompts import import_prompts
from annotate.workspace import Workspace
from annotate.worlds import load_world
from reward.backbone import check_model_folder

HANG_SECONDS = 5.0
ROWS = 4
"""Rows of each file, one of them bad."""

USER = {"role": "user", "content": "Why?"}
PAIRWISE = {"type": "pairwise", "to_name": "answer1,answer2", "value": {"selected": "left"}}
GOOD: dict[str, dict[str, Any]] = {
    "votes": {"prompt": "Why?", "response_a": "Yes.", "response_b": "No.", "annotator": "ann", "preference": "a"},
    "preferences": {"prompt": "Why?", "chosen": "Yes.", "rejected": "No."},
    "conversations": {
        "chosen": [USER, {"role": "assistant", "content": "Yes."}],
        "rejected": [USER, {"role": "assistant", "content": "No."}],
    },
    "transcripts": {
        "chosen": "\n\nHuman: Why?\n\nAssistant: Yes.",
        "rejected": "\n\nHuman: Why?\n\nAssistant: No.",
    },
    "pairs": {"prompt": "Why?", "responses": ["Yes.", "No."]},
    "prompts": {"prompt": "Why?"},
    "ranking": {"prompt": "Why?", "responses": ["Yes.", "No."], "ranking": [[0], [1]], "annotator": "ann"},
    "ratings": {"prompt": "Why?", "responses": ["Yes.", "No."], "ratings": [1, 2]},
    "label studio": {
        "data": {"prompt": "Why?", "answer1": "Yes.", "answer2": "No."},
        "annotations": [{"completed_by": 1, "result": [PAIRWISE]}],
    },
    "argilla": {
        "fields": {"prompt": "Why?", "response_1": "Yes.", "response_2": "No."},
        "responses": {"order": [{"user_id": "u", "value": ["response_1", "response_2"]}]},
    },
    "helpsteer2": {"prompt": "Why?", "response_1": "Yes.", "response_2": "No.", "preference_strength": 1},
    "helpsteer3": {"context": [USER], "response1": "Yes.", "response2": "No.", "individual_preference": [{"score": 1}]},
    "ultrafeedback": {
        "instruction": "Why?",
        "completions": [{"response": text, "overall_score": 3} for text in ("Yes.", "No.")],
    },
}
NEEDED = {
    "conversations": ["chosen", "rejected"],
    "argilla": ["fields"],
    "helpsteer2": ["prompt", "response_1", "response_2"],
}
"""Fields without which a row is nothing, where that is not all of them."""
FOREIGN = tuple(GOOD)[6:]
"""Forms of other tools, which are seen by their fields."""
WRONG: dict[str, list[dict[str, Any]]] = {
    "votes": [
        {"preference": "c"},
        {"preference": ""},
        {"annotator": "  "},
        {"strength": "very"},
        {"strength": -1},
        {"strength": 4},
        {"task_seconds": -5},
        {"submitted_at": "soon"},
        {"submitted_at": 1e15},
        {"shown_swapped": "maybe"},
        {"acceptable_a": "perhaps"},
        {"objective": "x"},
        {"model_a": 7},
    ],
    "preferences": [
        {"votes_chosen": -1},
        {"votes_chosen": 0},
        {"votes_tie": 1.5},
        {"votes_chosen": 1e12},
        {"strength": 9},
        {"rejected": "Yes."},
        {"chosen": []},
        {"prompt": [{"role": "assistant", "content": "Hi"}]},
        {"chosen_shown_left": 2},
    ],
    "conversations": [
        {"chosen": [USER]},
        {"chosen": [{"role": "robot", "content": "x"}]},
        {"rejected": [{"role": "user"}]},
        {"chosen": [USER, {"role": "assistant", "content": "No."}]},
        {"prompt": "Another?"},
    ],
    "transcripts": [
        {"chosen": "Yes."},
        {"chosen": "\n\nHuman: Why?"},
        {"rejected": "\n\nAssistant: No."},
        {"rejected": "\n\nHuman: Why?\n\nAssistant: Yes."},
        {"votes_tie": "two"},
    ],
    "pairs": [
        {"responses": []},
        {"responses": ["one"]},
        {"responses": ["same", "same "]},
        {"responses": ["a", None]},
        {"responses": [str(n) for n in range(99)]},
        {"models": ["m"]},
    ],
    "prompts": [
        {"prompt": " "},
        {"prompt": [{"role": "system"}]},
        {"prompt": "<p>x</p>"},
        {"prompt": "caf\ufffd"},
        {"prompt": "x" * 30_000},
        {"prompt": "bell \x07"},
        {"prompt": [{"role": "assistant", "content": "Hi"}]},
    ],
    "ranking": [
        {"ranking": [[0]]},
        {"ranking": [[0], [0]]},
        {"ranking": [[0], [7]]},
        {"ranking": [[0], []]},
        {"ranking": [0, 1]},
        {"order_shown": [0, 0]},
        {"order_shown": ["x"]},
        {"strength": -4},
        {"both_bad": "maybe"},
        {"criteria": [1]},
        {"edited": {"9": "x"}},
        {"edited": {"0": 1}},
        {"flags": [1]},
        {"active_ms": -1},
        {"created_at": "soon"},
        {"uuid": "x"},
        {"annotator": " "},
        {"objective": "x"},
        {"responses": ["one"]},
        {"responses": [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}]},
    ],
    "ratings": [{"ratings": [1]}, {"ratings": ["good", "bad"]}, {"ratings": [True, 1]}, {"models": ["m"]}],
    "label studio": [
        {"data": {"answer1": "Yes.", "answer2": "No."}},
        {"data": {"prompt": "Why?", "answer1": "Yes."}},
        {"data": {"prompt": " ", "answer1": "Yes.", "answer2": "No."}},
        {"annotations": [{"completed_by": 1}]},
        {"annotations": [{"completed_by": 1, "result": []}]},
        {"annotations": [{"completed_by": 1, "result": [PAIRWISE, PAIRWISE]}]},
        {"annotations": [{"completed_by": 1, "result": [{**PAIRWISE, "value": {}}]}]},
        {"annotations": [{"completed_by": 1, "result": [{**PAIRWISE, "value": {"selected": "up"}}]}]},
        {"annotations": [{"completed_by": 1, "result": [{**PAIRWISE, "to_name": "x"}]}]},
        {"annotations": [{"completed_by": None, "result": [PAIRWISE]}]},
        {"annotations": [{"completed_by": 1, "result": [PAIRWISE], "lead_time": -1}]},
        {"annotations": [{"completed_by": 1, "result": [PAIRWISE], "created_at": "soon"}]},
        {"annotations": [{"completed_by": 1, "result": [{"type": "ranker", "value": {"ranker": {"a": [], "b": []}}}]}]},
    ],
    "argilla": [
        {"fields": {"response_1": "Yes.", "response_2": "No."}},
        {"fields": {"prompt": "Why?", "response_1": "Yes."}},
        {"responses": 3},
        {"responses": {"order": 3}},
        {"responses": {"order": [{"user_id": None, "value": ["response_1", "response_2"]}]}},
        {"responses": {"order": [{"user_id": "u", "value": ["response_1"]}]}},
        {"responses": {"order": [{"user_id": "u", "value": [{"value": "x", "rank": 1}]}]}},
        {"responses": {"order": [{"user_id": "u", "value": [{"value": "response_1", "rank": "first"}]}]}},
        {"responses": {"order": [{"user_id": "u", "value": {}}]}},
        {"responses": {"why": [{"user_id": "u", "value": "because"}]}},
        {"responses": [{"user_id": "u", "values": 3}]},
    ],
    "helpsteer2": [
        {"preference_strength": 4},
        {"preference_strength": 0.5},
        {"preference_strength": None},
        {"three_most_similar_preferences": [3]},
        {"three_most_similar_preferences": [{"strength": "much"}]},
        {"prompt": "Hi<extra_id_1>Assistant\nHello"},
    ],
    "helpsteer3": [
        {"individual_preference": [{"score": 4}]},
        {"individual_preference": [{}]},
        {"individual_preference": [{"score": 1, "reasoning": 3}]},
        {"context": []},
        {"context": [{"role": "assistant", "content": "Hi"}]},
    ],
    "ultrafeedback": [
        {"completions": []},
        {"completions": [{"response": "Yes.", "overall_score": 3}]},
        {"completions": [{"response": "Yes.", "overall_score": "N/A"}, {"response": "No.", "overall_score": 3}]},
        {"completions": [{"response": 3, "overall_score": 3}, {"response": "No.", "overall_score": 3}]},
        {"completions": [{"response": "Yes.", "annotations": {"a": {"Rating": "x"}}}, {"response": "No."}]},
    ],
}
"""Changes to a good row that each make it a wrong one."""


@dataclass(frozen=True)
class Try:
    """One bad input: its parser's name, what is wrong with it, and a call that returns whether it was reported."""

    parser: str
    flaw: str
    call: Callable[[], bool]


def bad_input_drill(n: int, *, seed: int = 0) -> dict[str, Any]:
    """Feed n bad inputs, spread over all parsers; counts tracebacks, hangs over 5 s, and inputs taken in silence.

    planted: a reader that trusts its file (json.loads, a row's fields unchecked, one input that it never returns from).
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, Ledger.open(f"sqlite:///{folder}/labels.db", durable=False) as ledger:
        found = _run(_tries(n, random.Random(seed), Path(folder), ledger), HANG_SECONDS)
    planted = _run(_planted(200, random.Random(seed)), 0.2)
    return {
        **found,
        "seed": seed,
        "planted": {name: planted[name] for name in ("tries", "tracebacks", "hangs", "silently_accepted")},
        "caught": min(planted[name] for name in ("tracebacks", "hangs", "silently_accepted")) > 0,
        "seconds": round(time.perf_counter() - started, 1),
    }


def _run(tries: Iterator[Try], limit: float) -> dict[str, Any]:
    counts, parsers, examples = Counter[str](), Counter[str](), []
    slowest = (0.0, "")
    for one in tries:
        started = time.perf_counter()
        problem = ""
        try:
            with _at_most(limit):
                problem = "" if one.call() else "silently_accepted"
        except TrueloopError:
            pass
        except _Hang:
            problem = "hangs"
        except Exception as error:
            problem = "tracebacks"
            one = Try(one.parser, f"{one.flaw}: {type(error).__name__}: {error}"[:200], one.call)
        slowest = max(slowest, (round(time.perf_counter() - started, 3), f"{one.parser}: {one.flaw}"))
        counts[problem] += 1
        parsers[one.parser.split(":")[0]] += 1
        if problem and len(examples) < 10:
            examples.append(f"{problem}: {one.parser}: {one.flaw}")
    return {
        "tries": parsers.total(),
        "parsers": len(parsers),
        **{name: counts[name] for name in ("tracebacks", "hangs", "silently_accepted")},
        "examples": examples,
        "slowest": slowest,
    }


def _tries(n: int, rng: random.Random, folder: Path, ledger: Ledger) -> Iterator[Try]:
    makers = [
        *(partial(_jsonl, kind=kind, zipped=False) for kind in GOOD),
        partial(_jsonl, kind="votes", zipped=True),
        *(partial(_json, kind=kind) for kind in FOREIGN),
        partial(_csv, kind="votes"),
        partial(_csv, kind="prompts"),
        _parquet,
        _text,
        _preference_file,
        _recipe,
        _override,
        _workspace,
        _world,
        _model_folder,
    ]
    for number in range(n):
        yield makers[number % len(makers)](rng, folder, ledger)


# ------------------------------------------------------------------------------------------- files of rows


def _jsonl(rng: random.Random, folder: Path, ledger: Ledger, kind: str, zipped: bool) -> Try:
    place = rng.randrange(ROWS)
    lines = [json.dumps({**GOOD[kind]}).encode() for _ in range(ROWS)]
    flaw, lines[place] = _bad_line(rng, kind)
    content = b"\n".join(lines) + b"\n"
    path = folder / "rows.jsonl"
    if zipped:
        path = folder / "rows.jsonl.gz"
        content = gzip.compress(content, mtime=0)
        if rng.random() < 0.5:
            flaw, content, place = _damaged_gzip(rng, content, flaw), _damage(rng, content), -1
    path.write_bytes(content)
    return Try(f"{kind} {path.name}", flaw, partial(_import, ledger, path, kind, place, rng.random() < 0.5))


def _bad_line(rng: random.Random, kind: str) -> tuple[str, bytes]:
    good = GOOD[kind]
    text = json.dumps(good)
    field = rng.choice(NEEDED.get(kind, sorted(good)))
    odd: list[Any] = [None, 3, 2.5, True, {}, {"a": []}, [[]], [None], [{"role": "user"}], 10**300]
    flaws: dict[str, Callable[[], bytes]] = {
        "cut off": lambda: text[: rng.randrange(1, len(text))].encode(),
        "random bytes": lambda: b"\xff" + rng.randbytes(rng.randrange(1, 200)).replace(b"\n", b" "),
        "not UTF-8": lambda: text[:-2].encode() + b'\xe9"}',
        "NaN": lambda: (text[:-1] + f', "x": {rng.choice(["NaN", "Infinity", "-Infinity"])}}}').encode(),
        "huge number": lambda: (
            text[:-1] + f', "x": {rng.choice(["1e9999", "9" * 6000, "-" + "8" * 5000])}}}'
        ).encode(),
        "deep": lambda: (text[:-1] + ', "x": ' + "[" * rng.choice([40, 2000, 100_000])).encode(),
        "deep and closed": lambda: (text[:-1] + ', "x": ' + "[" * 50 + "]" * 50 + "}").encode(),
        "key twice": lambda: (text[:-1] + f', "{field}": "again"}}').encode(),
        "lone surrogate": lambda: (text[:-1] + ', "x": "\\ud8' + f'{rng.randrange(256):02x}"}}').encode(),
        "NUL": lambda: (text[:-1] + ', "x": "a\\u0000b"}').encode(),
        "raw control character": lambda: text.replace("Why", "W\x01y", 1).encode(),
        "no object": lambda: rng.choice([b"[]", b"7", b'"text"', b"null", b"true", b"[{}]"]),
        "empty object": lambda: b"{}",
        "missing field": lambda: json.dumps({name: said for name, said in good.items() if name != field}).encode(),
        "wrong type": lambda: json.dumps({**good, field: rng.choice(odd)}).encode(),
        "wrong value": lambda: json.dumps({**good, **rng.choice(WRONG[kind])}).encode(),
    }
    flaw = rng.choice(list(flaws))
    return flaw, flaws[flaw]()


def _json(rng: random.Random, folder: Path, ledger: Ledger, kind: str) -> Try:
    """A list of objects: what breaks one of them breaks what follows, so that any report of it will do."""
    lines = [json.dumps(GOOD[kind]).encode() for _ in range(ROWS)]
    flaw, lines[rng.randrange(ROWS)] = _bad_line(rng, kind)
    content = b"[" + b",\n".join(lines) + b"]\n"
    if rng.random() < 0.2:
        wrong = {"no end": content[:-2], "more after it": content + b"]", "a comma too many": content[:-2] + b",]"}
        flaw = rng.choice(list(wrong))
        content = wrong[flaw]
    path = folder / "rows.json"
    path.write_bytes(content)
    return Try(f"{kind} {path.name}", flaw, partial(_import, ledger, path, kind, -1, rng.random() < 0.5))


def _damaged_gzip(rng: random.Random, content: bytes, flaw: str) -> str:
    return f"{flaw}, in a damaged gzip"


def _damage(rng: random.Random, content: bytes) -> bytes:
    """Cut a gzip off or spoil a byte of its check sum: what is left cannot be whole."""
    if rng.random() < 0.5:
        return content[: rng.randrange(10, len(content) - 1)]
    place = len(content) - 1 - rng.randrange(8)
    return content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :]


def _csv(rng: random.Random, folder: Path, ledger: Ledger, kind: str) -> Try:
    fields = GOOD[kind]
    place = rng.randrange(ROWS)
    good = ",".join(fields.values()).encode()
    wrong = [{**fields, name: ""} for name in ("annotator", "preference", "prompt") if name in fields]
    wrong += [{**fields, **one} for one in WRONG[kind] if one.keys() <= fields.keys() and _is_plain(one)]
    flaws: dict[str, bytes] = {
        "a cell too many": good + b",more",
        "not UTF-8": good + b"\xff",
        "a quote inside": b'"a"b,' + good,
        "NUL": good.replace(b"Why", b"W\x00y"),
        "wrong value": ",".join(rng.choice(wrong).values()).encode(),
    }
    if len(fields) > 1:
        flaws["a cell too few"] = good.rsplit(b",", 1)[0]
    flaw = rng.choice(list(flaws))
    lines = [good] * ROWS
    lines[place] = flaws[flaw]
    if rng.random() < 0.1:
        flaw, place, lines[-1] = "an open quote", -1, b'"' + good
    header = ",".join(fields)
    if rng.random() < 0.1:
        flaw, place = "a header with other names", -1
        header = ",".join("x" * (n + 1) for n in range(len(fields)))
    path = folder / "rows.csv"
    path.write_bytes(header.encode() + b"\n" + b"\n".join(lines) + b"\n")
    at = place + 1 if place >= 0 else -1  # the header is a line too
    return Try(f"{kind} {path.name}", flaw, partial(_import, ledger, path, kind, at, rng.random() < 0.5))


def _is_plain(fields: dict[str, Any]) -> bool:
    return all(isinstance(value, str) and "," not in value and "\n" not in value for value in fields.values())


def _parquet(rng: random.Random, folder: Path, ledger: Ledger) -> Try:
    import pyarrow
    from pyarrow import parquet

    kind = rng.choice(["votes", "preferences", "prompts"])
    rows = [dict(GOOD[kind]) for _ in range(ROWS)]
    buffer = io.BytesIO()
    flaw = rng.choice(["cut off", "no footer", "spoiled footer", "wrong types", "missing column"])
    if flaw == "wrong types":
        name = rng.choice(sorted(GOOD[kind]))
        rows = [{**row, name: rng.choice([3, 4])} for row in rows]
    if flaw == "missing column":
        rows = [{name: said for name, said in row.items() if name != sorted(GOOD[kind])[-1]} for row in rows]
        rows = [row or {"other": 1} for row in rows]
    parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    content = buffer.getvalue()
    if flaw == "cut off":
        content = content[: rng.randrange(4, len(content))]
    if flaw == "no footer":
        content = content[:-4] + b"PAR2"
    if flaw == "spoiled footer":
        content = content[:-8] + rng.randbytes(4) + content[-4:]
    path = folder / "rows.parquet"
    path.write_bytes(content)
    return Try(path.name, f"{kind}: {flaw}", partial(_import, ledger, path, kind, -1, rng.random() < 0.5))


def _text(rng: random.Random, folder: Path, ledger: Ledger) -> Try:
    bad = [b"   ", b"\xff\xfe\xfa", b"caf\xe9", "cafÃ© is mojibake".encode(), b"bell \x07", b"NUL \x00", b"x" * 20_001]
    bad += [b"<div>x</div>", b"one<br>two", b"a&nbsp;b", "replaced \ufffd".encode(), b"\xed\xa0\x80 surrogate"]
    lines = [b"Why?"] * ROWS
    place = rng.randrange(1, ROWS)
    lines[place] = rng.choice(bad)
    path = folder / "rows.txt"
    path.write_bytes(b"\n".join(lines) + b"\n")

    def call() -> bool:
        report = import_prompts(ledger, path, strict=rng.random() < 0.5)
        return [one["line"] for one in report.rejected] == [place + 1]

    return Try(path.name, repr(lines[place][:20]), call)


def _import(ledger: Ledger, path: Path, kind: str, place: int, keep_going: bool) -> bool:
    """Import a file; whether the bad row (the one at `place`, or any for -1) is in the report."""
    kind = {"conversations": "preferences", "transcripts": "preferences"}.get(
        kind, "votes" if kind in FOREIGN else kind
    )
    report = import_file(ledger, path, kind, keep_going=keep_going)  # type: ignore[arg-type]
    lines = [one["line"] for one in report.rejected]
    return lines == [place + 1] if place >= 0 else bool(lines)


# ------------------------------------------------------------------------------------- files of other kinds


def _preference_file(rng: random.Random, folder: Path, ledger: Ledger) -> Try:
    path = folder / "preferences.jsonl"
    turn = {"role": "assistant", "content": "x"}
    good = Preference.model_validate({"prompt": [USER], "chosen": [turn], "rejected": [turn]})
    write_preferences(path, [good] * ROWS)
    lines = path.read_bytes().splitlines()
    row = json.loads(lines[0])
    changes: list[dict[str, Any]] = [
        {"soft_target": 0.2},
        {"soft_target": "high"},
        {"weight": -1},
        {"split": "dev"},
        {"strength": 7},
        {"chosen": "text"},
        {"prompt": None},
        {"labels": 3},
        {"extra": 1},
    ]
    flaws: dict[str, bytes] = {
        "wrong value": json.dumps({**row, **rng.choice(changes)}).encode(),
        "missing field": json.dumps({name: row[name] for name in row if name != "chosen"}).encode(),
        "cut off": lines[0][: rng.randrange(len(lines[0]))],
        "random bytes": b"\xff" + rng.randbytes(50).replace(b"\n", b" "),
        "NaN": json.dumps({**row, "soft_target": float("nan")}).encode(),
        "deep": b'{"prompt": ' + b"[" * 5000,
    }
    flaw = rng.choice(list(flaws))
    lines[rng.randrange(ROWS)] = flaws[flaw]
    path.write_bytes(b"\n".join(lines) + b"\n")

    def call() -> bool:
        list(read_preferences(path))
        return False

    return Try(path.name, flaw, call)


def _recipe(rng: random.Random, folder: Path, ledger: Ledger) -> Try:
    wrong = [
        "seed: many",
        "sed: 1",
        "prompts: {count: 0}",
        "prompts: {split: [1, 1, 1]}",
        "prompts: 3",
        "snapshot: {ties: maybe}",
        "snapshot: {min_votes: -1}",
        "policy: {kind: magic}",
        "policy: [1]",
        "labels: {per_round: .nan}",
        "labels: {per_round: 1e400}",
        "- a list",
        "just text",
        "seed: [1",
        "a: &a [*a]",
        "seed: 1\n\tname: tab",
        "seed: !!python/object/apply:os.getcwd []",
        "? {a: 1}\n: 2",
        "seed: 2026-13-45",
        "name: \x07",
        "[" * 3000,
    ]
    path = folder / "recipe.yaml"
    content = rng.choice(wrong).encode()
    if rng.random() < 0.2:
        content = b"\xff\xfe" + rng.randbytes(40)
    path.write_bytes(content)

    def call() -> bool:
        load_recipe(path)
        return False

    return Try(path.name, repr(content[:40]), call)


def _override(rng: random.Random, folder: Path, ledger: Ledger) -> Try:
    path = folder / "good.yaml"
    path.write_text("seed: 1\n")
    wrong = ["seed", "=", "seed=x", "no.such=1", "prompts.count=none", "prompts.count.more=1", "policy.kind=magic"]
    wrong += [
        "seed=[1",
        "snapshot.smoothing=-1",
        "..=1",
        "prompts=3",
        "snapshot.ties={a: 1}",
        "=1",
        ".seed=1",
        "seed=&a [*a]",
    ]
    override = rng.choice(wrong)

    def call() -> bool:
        load_recipe(path, [override])
        return False

    return Try("override", override, call)


def _workspace(rng: random.Random, folder: Path, ledger: Ledger) -> Try:
    here = folder / "workspace"
    here.mkdir(exist_ok=True)
    wrong: list[bytes] = [b"", b"{", b"[]", b"null", b'{"version": "1"}', b'{"version": 999, "database": null}']
    wrong += [b'{"version": 1, "database": 3}', b"\xff\xfe\x00", b'{"version": null}', b"[" * 10_000, b"{}"]
    content = rng.choice(wrong)
    (here / "workspace.json").write_bytes(content)

    def call() -> bool:
        Workspace.open(here)
        return False

    return Try("workspace.json", repr(content[:40]), call)


def _world(rng: random.Random, folder: Path, ledger: Ledger) -> Try:
    wrong = ["x = ", "import nothing_of_that_name", "1 / 0", "WORLD = 3", "WORLD = None", "", "raise SystemExit(3)"]
    wrong += [
        "class W:\n    name = 'w'\nWORLD = W()",
        "WORLD = object",
        "def f():\n  return",
    ]
    content = rng.choice(wrong).encode() if rng.random() < 0.9 else b"\xff\x00" + rng.randbytes(20)
    path = Path(tempfile.mkdtemp(dir=folder)) / "world.py"  # a name of its own: bytecode is cached by name
    path.write_bytes(content)

    def call() -> bool:
        try:
            load_world(str(path))
        except SystemExit as error:
            raise RuntimeError("SystemExit got out") from error
        return False

    return Try(path.name, repr(content[:40]), call)


def _model_folder(rng: random.Random, folder: Path, ledger: Ledger) -> Try:
    here = Path(tempfile.mkdtemp(dir=folder))
    config: bytes = b'{"model_type": "llama"}'
    flaw = rng.choice(["config", "no config", "pickle", "no weights", "auto_map", "a file", "missing"])
    if flaw == "config":
        config = rng.choice([b"", b"{", b"[]", b"3", b"\xff\xfe", b"null", b"[" * 10_000])
    if flaw == "auto_map":
        config = b'{"model_type": "llama", "auto_map": {"AutoModel": "evil.Model"}}'
    if flaw != "no config":
        (here / "config.json").write_bytes(config)
    if flaw != "no weights":
        (here / "model.safetensors").write_bytes(b"")
    if flaw == "pickle":
        (here / rng.choice(["pytorch_model.bin", "model.pt", "weights.pkl", "model.ckpt"])).write_bytes(b"\x80")
    if flaw == "a file":
        here = here / "config.json"
    if flaw == "missing":
        here = here / "nowhere"

    def call() -> bool:
        check_model_folder(here)
        return False

    return Try("model folder", flaw, call)


# -------------------------------------------------------------------------------------- the planted defect


def _planted(n: int, rng: random.Random) -> Iterator[Try]:
    for _ in range(n):
        flaw, line = _bad_line(rng, "votes")
        yield Try("planted", flaw, partial(_trusting, line))
    yield Try("planted", "an input that it never returns from", partial(time.sleep, 60))


def _trusting(line: bytes) -> bool:
    row = json.loads(line.decode(errors="replace"))
    return {"a": False, "b": False, "tie": False}[row["preference"]]


class _Hang(BaseException):
    """Took longer than allowed; no Exception, so that nothing on the way mistakes it for one of its own."""


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only there can a call be broken off
        started = time.perf_counter()
        yield
        if time.perf_counter() - started > seconds:
            raise _Hang
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise _Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main() -> None:
    """Print the drill's figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(json.dumps(bad_input_drill(arguments.count, seed=arguments.seed), indent=1))


if __name__ == "__main__":
    main()
