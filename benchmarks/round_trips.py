"""Judgments written in each form that Trueloop reads, imported, exported as JSONL, CSV and Parquet, imported again.

What comes out must be what went in: every text to the last character, every rank, tie, strength, time and annotator
that the form can hold. python benchmarks/round_trips.py [--count N] [--seed N] prints one JSON.
"""

import argparse
import hashlib
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

if __name__ == "__main__":  # run as a script: the repository's root is not on the path yet
    sys.path.insert(0, str(Path(__file__).parent.parent))

from annotate.encodings import Format
from annotate.errors import TrueloopError
from annotate.exports import What, export_file, export_rows
from annotate.imports import import_file
from annotate.ledger import Ledger
from annotate.media import store_image
from annotate.readers import read_rows

Row = dict[str, Any]
_SCRAPS = (
    *(
        "plain words",
        "",
        " ",
        "\n",
        "\r\n",
        "\t",
        "\r",
        '"',
        "'",
        "''",
        ",",
        ";",
        "\\",
        "\\n",
        "{}",
        "[1]",
        "null",
        "-3",
    ),
    *(
        "=1+1",
        "+49",
        "-",
        "@SUM(A1)",
        "'=x",
        "＝x",
        "ünïcödé",
        "\u202eשלום",
        "مرحبا بالعالم",
        "日本語",
        "👩‍👩‍👧 👍🏽",
        "e\u0301",
    ),
    *("\u2028", "\x85", "\x0b", "\x1b[31m", "\x7f", "\ufeff", "</script>", "a" * 4000, "0", "1e9", "true", "NaN"),
)


@dataclass(frozen=True)
class Trip:
    """How a form is written down: the kind it is imported as, the file's suffix, a row of it, and what it can hold."""

    kind: str
    suffix: str
    row: Callable[[Row], Row | list[Row]]
    holds: frozenset[str]
    k: tuple[int, int] = (2, 2)


@dataclass
class Found:
    """lossless: forms that came back whole; lossy: form, container and the first difference."""

    lossless: list[str] = field(default_factory=list)
    lossy: list[str] = field(default_factory=list)
    files: int = 0
    judgments: int = 0
    nul_taken: int = 0
    planted: list[str] = field(default_factory=list)
    caught: bool = False
    seconds: float = 0.0


def round_trip_drill(count: int, *, seed: int = 0) -> Found:
    """Send `count` rows of each form around. planted: a CSV that trims its cells, and one that forgets ties."""
    started, found = time.perf_counter(), Found()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, (form, trip) in enumerate(TRIPS.items()):
            judgments = [_judgment(random.Random(f"{seed}/{form}/{n}"), trip, n) for n in range(count)]
            differences = _around(folder / str(number), trip, judgments, found)
            found.lossy += [f"{form}, {one}" for one in differences]
            found.lossless += [] if differences else [form]
        judgments = [_judgment(random.Random(f"{seed}/planted/{n}"), TRIPS["ranking"], n) for n in range(count)]
        for defect, spoil in {"trims its texts": _trimmed, "forgets ties": _untied}.items():
            trip = Trip("votes", "jsonl", lambda said, spoil=spoil: spoil(_ranking(said)), _ALL, (2, 5))  # type: ignore[misc]
            if _around(folder / defect, trip, judgments, Found()):
                found.planted.append(defect)
        found.nul_taken = _nul_taken(folder)
    found.caught = len(found.planted) == 2
    found.seconds = round(time.perf_counter() - started, 1)
    return found


def _around(folder: Path, trip: Trip, judgments: list[Row], found: Found) -> list[str]:
    """Import the judgments' file, export, import each export into a new ledger; what differs, by the file's name."""
    folder.mkdir()
    first = folder / f"first.{trip.suffix}"
    _write(first, trip, judgments)
    found.judgments += len(judgments)
    for number in range(len(judgments)):
        store_image(folder / "media", _png(number))
    expected = sorted(_said(said, trip.holds) for said in judgments)
    differences = []
    with Ledger.open(f"sqlite:///{folder}/first.db", durable=False) as ledger:
        import_file(ledger, first, trip.kind)  # type: ignore[arg-type]
        found.files += 1
        differences += _compared(first.name, expected, _heard(ledger, trip.holds))
        whole = sorted(_said(_as_said(row), _ALL) for row in export_rows(ledger, "votes"))
        for format in get_args(Format):
            path = folder / f"votes.{format}"
            path.write_bytes(b"".join(export_file(ledger, "votes", format)))
            found.files += 1
            with Ledger.open(f"sqlite:///{folder}/{format}.db", durable=False) as other:
                import_file(other, path, "votes")
                differences += _compared(path.name, whole, _heard(other, _ALL))
        for what in get_args(What):
            rows = list(export_rows(ledger, what))
            for format in get_args(Format):
                path = folder / f"{what}.{format}"
                path.write_bytes(b"".join(export_file(ledger, what, format)))
                found.files += 1
                read = [row.fields if not row.broken else {"broken": row.broken} for row in read_rows(path)]
                differences += _compared(path.name, list(map(_text, rows)), list(map(_text, read)))
    return differences


def _compared(name: str, expected: list[str], heard: list[str]) -> list[str]:
    if expected == heard:
        return []
    if len(expected) != len(heard):
        return [f"{name}: {len(heard)} of {len(expected)}"]
    left, right = next((a, b) for a, b in zip(expected, heard, strict=True) if a != b)
    at = next((n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    return [f"{name}: {left[max(0, at - 30) : at + 30]!r} became {right[max(0, at - 30) : at + 30]!r}"]


def _nul_taken(folder: Path) -> int:
    """How many of some rows with a NUL were stored; no database holds one."""
    taken = 0
    for place in ("prompt", "annotator", "rationale"):
        path = folder / "nul.jsonl"
        row = {"prompt": "p", "annotator": "a", "responses": ["x", "y"], "ranking": [[0], [1]], "rationale": "r"}
        path.write_text(json.dumps({**row, place: "a\0b"}) + "\n", encoding="utf-8")
        with Ledger.open(f"sqlite:///{folder}/nul.db", durable=False) as ledger:
            try:
                taken += import_file(ledger, path, "votes").stored
            except TrueloopError:
                continue
    return taken


# ------------------------------------------------------------------------------------------------ what is said


def _png(number: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + str(number).encode()


def _judgment(rng: random.Random, trip: Trip, number: int) -> Row:
    """One judgment with all that the form can hold; texts differ from each other by more than case and space."""
    k = rng.randint(*trip.k)
    answers = [{"text": f"{_words(rng)}#{place}{_words(rng)}", "model": f"m{place}"} for place in range(k)]
    order = rng.sample(range(k), k)
    tiers = [[place] for place in order]
    if "ties" in trip.holds and rng.random() < 0.4:
        tiers = [sorted(order[:2]), *([place] for place in order[2:])]
    content: Any = f"{number} {_words(rng)}?"
    if "images" in trip.holds and rng.random() < 0.2:
        content = [
            {"type": "text", "text": content},
            {"type": "image", "image": f"media:{hashlib.sha256(_png(number)).hexdigest()}"},
        ]
    if "stripped" in trip.holds:  # HH's transcripts hold no outer white space, and no empty turn
        content = content.strip()
        answers = [{**one, "text": f"a{one['text']}z"} for one in answers]
    prompt = [{"role": "user", "content": content}]
    if "turns" in trip.holds and rng.random() < 0.5:
        prompt = [{"role": "user", "content": f"{number} first"}, {"role": "assistant", "content": "well"}, *prompt]
    if "system" in trip.holds and rng.random() < 0.3:
        prompt = [{"role": "system", "content": _words(rng)}, *prompt]
    tied = len(tiers) == 1
    return {
        "number": number,
        "prompt": prompt,
        "answers": answers,
        "tiers": tiers,
        "annotator": f"ann-{rng.randint(1, 5)}",
        "strength": 0 if tied else rng.randint(1, 3),
        "both_bad": rng.random() < 0.2,
        "rationale": _words(rng),
        "created_at": 1_700_000_000 + number + 0.25,
        "active_ms": rng.randint(1, 90_000),
        "shown": rng.sample(range(k), k),
        "edited": {rng.randrange(k): _words(rng)} if rng.random() < 0.3 else {},
        "flags": rng.sample(["unsafe", "nonsense"], rng.randint(0, 2)),
        "criteria": {"tone": {place: rng.randint(1, 5) for place in range(k)}},
        "guideline": f"g{rng.randint(1, 2)}",
        "uuid": f"label-{rng.getrandbits(64):016x}",
    }


def _words(rng: random.Random) -> str:
    return "".join(rng.choice(_SCRAPS) for _ in range(rng.randint(0, 4)))


def _said(said: Row, holds: frozenset[str]) -> str:
    """What a judgment says, as far as the form holds it, by the responses' texts: their order says nothing."""
    names = [[one["text"], one["model"] if "models" in holds else ""] for one in said["answers"]]
    told: Row = {"prompt": said["prompt"], "tiers": [sorted(names[place] for place in tied) for tied in said["tiers"]]}
    told |= {name: said[name] for name in ("annotator", "strength", "both_bad", "rationale") if name in holds}
    told |= {name: said[name] for name in ("created_at", "active_ms", "guideline", "uuid") if name in holds}
    if "shown" in holds:
        told["shown"] = [names[place] for place in said["shown"]]
    for name in {"edited", "criteria", "flags"} & holds:
        told[name] = _by_text(said[name], names)
    return _text(told)


def _by_text(value: Any, names: list[list[str]]) -> Any:
    if isinstance(value, dict):
        inner = [[names[at] if isinstance(at, int) else at, _by_text(each, names)] for at, each in value.items()]
        return sorted(inner, key=_text)
    return sorted(value) if isinstance(value, list) else value


def _as_said(row: Row) -> Row:
    """A row of the votes export as a judgment."""
    places = {one["id"]: place for place, one in enumerate(row["responses"])}

    def by_place(value: Any) -> Any:
        return {places.get(at, at): each for at, each in value.items()} if isinstance(value, dict) else value

    return {
        **row,
        "answers": row["responses"],
        "tiers": [[places[one] for one in tied] for tied in row["ranking"]],
        "shown": [places[one] for one in row["order_shown"]],
        "edited": by_place(row["edited"]),
        "criteria": {name: by_place(value) for name, value in row["criteria"].items()},
        "created_at": _seconds(row["created_at"]),
    }


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def _heard(ledger: Ledger, holds: frozenset[str]) -> list[str]:
    return sorted(_said(_as_said(row), holds) for row in export_rows(ledger, "votes"))


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


# ------------------------------------------------------------------------------------------------ the forms


def _write(path: Path, trip: Trip, judgments: list[Row]) -> None:
    rows: list[Row] = []
    for said in judgments:
        made = trip.row(said)
        rows += made if isinstance(made, list) else [made]
    if trip.suffix == "json":
        path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    elif trip.suffix == "csv":
        import csv

        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(_text(row) + "\n" for row in rows), encoding="utf-8")


def _texts(said: Row) -> list[str]:
    return [one["text"] for one in said["answers"]]


def _side(said: Row) -> str:
    return "tie" if len(said["tiers"]) == 1 else "ab"[said["tiers"][0][0]]


def _grade(said: Row) -> int:
    """HelpSteer's -3 (the first is much better) to 3."""
    return 0 if len(said["tiers"]) == 1 else said["strength"] * (-1 if said["tiers"][0] == [0] else 1)


def _sides(said: Row) -> tuple[str, str]:
    texts = _texts(said)
    best = said["tiers"][0][0]
    return texts[best], texts[1 - best]


def _stamp(said: Row) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(said["created_at"], UTC).isoformat()


def _prompt(said: Row) -> str:
    return said["prompt"][-1]["content"]


def _vote(said: Row) -> Row:
    return {
        "prompt": _prompt(said),
        **{f"response_{side}": one["text"] for side, one in zip("ab", said["answers"], strict=True)},
        **{f"model_{side}": one["model"] for side, one in zip("ab", said["answers"], strict=True)},
        "annotator": said["annotator"],
        "preference": _side(said),
        "strength": said["strength"],
        "rationale": said["rationale"],
        "shown_swapped": "yes" if said["shown"] == [1, 0] else "no",
        "submitted_at": _stamp(said),
        "task_seconds": said["active_ms"] / 1000,
    }


def _ranking(said: Row) -> Row:
    ids = [f"r{place}" for place in range(len(said["answers"]))]
    return {
        "prompt": said["prompt"],
        "responses": [{"id": ids[place], **one} for place, one in enumerate(said["answers"])],
        "ranking": [[ids[place] for place in tied] for tied in said["tiers"]],
        "order_shown": [ids[place] for place in said["shown"]],
        "edited": {ids[place]: text for place, text in said["edited"].items()},
        "criteria": {
            name: {ids[place]: each for place, each in value.items()} for name, value in said["criteria"].items()
        },
        "created_at": _stamp(said),
        **{name: said[name] for name in ("annotator", "strength", "both_bad", "rationale", "flags", "uuid")},
        **{name: said[name] for name in ("active_ms", "guideline")},
    }


def _hh(said: Row) -> Row:
    chosen, rejected = _sides(said)
    head = "".join(
        f"\n\n{'Human' if turn['role'] == 'user' else 'Assistant'}: {turn['content']}" for turn in said["prompt"]
    )
    return {"chosen": f"{head}\n\nAssistant: {chosen}", "rejected": f"{head}\n\nAssistant: {rejected}"}


def _trl(said: Row) -> Row:
    chosen, rejected = _sides(said)
    return {"prompt": _prompt(said), "chosen": chosen, "rejected": rejected}


def _conversational(said: Row) -> Row:
    chosen, rejected = ([*said["prompt"], {"role": "assistant", "content": text}] for text in _sides(said))
    return {"chosen": chosen, "rejected": rejected}


def _label_studio(said: Row, data: Row, result: Row) -> Row:
    reasons = [{"type": "textarea", "from_name": "why", "to_name": "prompt", "value": {"text": [said["rationale"]]}}]
    return {
        "id": said["number"],
        "project": 1,
        "data": {"prompt": _prompt(said), **data},
        "annotations": [
            {
                "id": said["number"] + 1000,
                "completed_by": int(said["annotator"][-1]),
                "was_cancelled": False,
                "created_at": _stamp(said),
                "lead_time": said["active_ms"] / 1000,
                "result": [result, *(reasons if said["rationale"] else [])],
            }
        ],
    }


def _pairwise(said: Row) -> Row:
    selected = {"a": "left", "b": "right"}[_side(said)]
    result = {"type": "pairwise", "from_name": "pw", "to_name": "answer1,answer2", "value": {"selected": selected}}
    return _label_studio(said, dict(zip(("answer1", "answer2"), _texts(said), strict=True)), result)


def _ranker(said: Row) -> Row:
    items = [{"id": f"i{n}", "title": one["model"], "body": one["text"]} for n, one in enumerate(said["answers"])]
    order = [f"i{place}" for tied in said["tiers"] for place in tied]
    value = {"ranker": {"rank": order}}
    return _label_studio(
        said, {"items": items}, {"type": "ranker", "from_name": "rank", "to_name": "l", "value": value}
    )


def _fields(said: Row) -> Row:
    return {"prompt": _prompt(said), **{f"response-{n}": text for n, text in enumerate(_texts(said), 1)}}


def _ranks(said: Row) -> list[Row]:
    return [{"value": f"response-{p + 1}", "rank": rank} for rank, tied in enumerate(said["tiers"], 1) for p in tied]


def _argilla1(said: Row) -> Row:
    values = {"order": {"value": _ranks(said)}, "why": {"value": said["rationale"]}}
    reply = {"user_id": said["annotator"], "status": "submitted", "values": values}
    return {"external_id": str(said["number"]), "fields": _fields(said), "responses": [reply]}


def _argilla1_flat(said: Row) -> Row:
    about = {"user_id": said["annotator"], "status": "submitted"}
    order, why = [{**about, "value": _ranks(said)}], [{**about, "value": said["rationale"]}]
    return {"external_id": str(said["number"]), "order": order, "why": why, **_fields(said)}


def _argilla2(said: Row) -> Row:
    order = [one["value"] for one in _ranks(said)]
    replies = {"order": order, "why": said["rationale"]}
    responses = {name: [{"value": value, "user_id": said["annotator"]}] for name, value in replies.items()}
    return {"id": str(said["number"]), "fields": _fields(said), "responses": responses, "suggestions": {}}


def _argilla2_flat(said: Row) -> Row:
    row = {"id": str(said["number"]), **_fields(said)}
    for name, value in (("order", [one["value"] for one in _ranks(said)]), ("why", said["rationale"])):
        row |= {f"{name}.responses": [value], f"{name}.responses.users": [said["annotator"]]}
    return row


def _helpsteer(said: Row) -> list[Row]:
    rank = {place: len(said["tiers"]) - tier for tier, tied in enumerate(said["tiers"]) for place in tied}
    return [
        {"prompt": _prompt(said), "response": text, "helpfulness": rank[place], "verbosity": 2}
        for place, text in enumerate(_texts(said))
    ]


def _helpsteer2(said: Row) -> Row:
    first, *rest = said["prompt"]
    turns = "".join(f"\n<extra_id_1>{turn['role'].capitalize()}\n{turn['content']}" for turn in rest)
    row = {"prompt": first["content"] + turns, "preference_strength": _grade(said)}
    return row | {"preference_elaboration": said["rationale"], **_numbered(said, "response_")}


def _helpsteer3(said: Row) -> Row:
    one = {"score": _grade(said), "reasoning": said["rationale"]}
    return {"context": said["prompt"], "individual_preference": [one], **_numbered(said, "response")}


def _numbered(said: Row, name: str) -> Row:
    return {f"{name}{number}": text for number, text in enumerate(_texts(said), 1)}


def _scores(said: Row) -> list[int]:
    rank = {place: len(said["tiers"]) - tier for tier, tied in enumerate(said["tiers"]) for place in tied}
    return [rank[place] for place in range(len(rank))]


def _ultrafeedback(said: Row) -> Row:
    completions = [
        {"model": one["model"], "response": one["text"], "annotations": {"helpfulness": {"Rating": str(score)}}}
        for one, score in zip(said["answers"], _scores(said), strict=True)
    ]
    return {"instruction": _prompt(said), "completions": completions}


def _ratings(said: Row) -> Row:
    row = {"prompt": said["prompt"], "responses": _texts(said), "ratings": _scores(said)}
    return row | {"models": [one["model"] for one in said["answers"]], "annotator": said["annotator"]}


def _trimmed(row: Row) -> Row:
    return row | {"responses": [{**one, "text": one["text"].strip()} for one in row["responses"]]}


def _untied(row: Row) -> Row:
    return row | {"ranking": [[one] for tied in row["ranking"] for one in tied]}


def _holds(names: str) -> frozenset[str]:
    return frozenset(names.split())


_ALL = _holds(
    "ties images turns system models annotator strength both_bad rationale created_at active_ms shown edited flags "
    "criteria guideline uuid"
)
_BESIDE = "annotator rationale created_at active_ms"
TRIPS: dict[str, Trip] = {
    "votes": Trip("votes", "jsonl", _vote, _holds(f"ties models strength shown {_BESIDE}")),
    "votes, CSV": Trip("votes", "csv", _vote, _holds(f"ties models strength shown {_BESIDE}")),
    "ranking": Trip("votes", "jsonl", _ranking, _ALL, (2, 9)),
    "TRL explicit": Trip("preferences", "jsonl", _trl, _holds("")),
    "TRL conversational": Trip("preferences", "jsonl", _conversational, _holds("images turns system")),
    "HH": Trip("preferences", "jsonl", _hh, _holds("turns stripped")),
    "Label Studio Pairwise": Trip("votes", "json", _pairwise, _holds(_BESIDE.removeprefix("annotator "))),
    "Label Studio Ranker": Trip(
        "votes", "json", _ranker, _holds(f"models {_BESIDE.removeprefix('annotator ')}"), (2, 9)
    ),
    "Argilla 1": Trip("votes", "json", _argilla1, _holds("ties annotator rationale"), (2, 9)),
    "Argilla 1, flat": Trip("votes", "jsonl", _argilla1_flat, _holds("ties annotator rationale"), (2, 9)),
    "Argilla 2": Trip("votes", "json", _argilla2, _holds("annotator rationale"), (2, 9)),
    "Argilla 2, flat": Trip("votes", "jsonl", _argilla2_flat, _holds("annotator rationale"), (2, 9)),
    "HelpSteer": Trip("votes", "jsonl", _helpsteer, _holds("ties"), (2, 4)),
    "HelpSteer2": Trip("preferences", "jsonl", _helpsteer2, _holds("ties turns strength rationale")),
    "HelpSteer3": Trip("preferences", "jsonl", _helpsteer3, _holds("ties turns images strength rationale")),
    "UltraFeedback": Trip("votes", "jsonl", _ultrafeedback, _holds("ties models"), (2, 5)),
    "ratings": Trip("votes", "jsonl", _ratings, _holds("ties models annotator images turns system"), (2, 9)),
}


def main() -> None:
    """Print the drill's figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(json.dumps(round_trip_drill(arguments.count, seed=arguments.seed).__dict__, indent=1))


if __name__ == "__main__":
    main()
