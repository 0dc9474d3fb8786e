"""The columns of everything that is exported, their types, and a value as a CSV cell and back.

A file of ours says which kind of rows it holds (CSV in the header of its last column, Parquet in its metadata), so that
reading it back gives the very rows that were written. Formula injection ends here: a text cell that a spreadsheet
would take for a formula gets an apostrophe in front, numbers stay numbers.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

MARK = "trueloop:"
"""What the header of a CSV's last column begins with, and the key of a Parquet file's metadata."""

_LABEL = {
    "active_ms": "whole?",
    "annotator": "text",
    "both_bad": "flag",
    "created_at": "text",
    "criteria": "object",
    "edited": "object",
    "flags": "texts",
    "guideline": "text?",
    "objective": "text",
    "order_shown": "texts",
    "pair": "text",
    "prompt_id": "text",
    "ranking": "tiers",
    "rationale": "text",
    "round": "whole",
    "source": "text",
    "split": "text",
    "strength": "whole?",
    "supersedes": "text?",
    "uuid": "text",
}
_JUDGED = {
    "annotators": "texts",
    "chosen": "turns",
    "chosen_acceptable": "number?",
    "chosen_id": "text",
    "chosen_model": "text",
    "chosen_ratings": "ratings",
    "chosen_safety": "text?",
    "chosen_shown_left": "number?",
    "group": "text",
    "labels": "texts",
    "objective": "text",
    "pair": "text",
    "prompt": "turns",
    "prompt_id": "text",
    "propensity": "number?",
    "rejected": "turns",
    "rejected_acceptable": "number?",
    "rejected_id": "text",
    "rejected_model": "text",
    "rejected_ratings": "ratings",
    "rejected_safety": "text?",
    "round": "whole",
    "soft_target": "number",
    "source": "text",
    "split": "text",
    "strength": "number?",
    "votes_chosen": "number",
    "votes_rejected": "number",
    "votes_tie": "number",
    "weight": "number",
}
_ANSWER = {
    "completion": "turns",
    "group": "text",
    "model": "text",
    "objective": "text",
    "pair": "text",
    "prompt": "turns",
    "prompt_id": "text",
    "response": "text",
    "round": "whole",
    "source": "text",
    "split": "text",
}
COLUMNS: dict[str, dict[str, str]] = {
    "preferences": _JUDGED,
    "preferences-implicit": {name: kind for name, kind in _JUDGED.items() if name != "prompt"},
    "preferences-text": _JUDGED | {"prompt": "text", "chosen": "text", "rejected": "text"},
    "kto": _ANSWER
    | {"annotators": "texts", "label": "flag", "labels": "texts", "votes_bad": "whole", "votes_good": "whole"},
    "sft": _ANSWER
    | {
        "active_ms": "whole?",
        "annotators": "texts",
        "created_at": "text?",
        "guideline": "text?",
        "labels": "texts",
        "order_shown": "texts?",
        "origin": "text",
    },
    "votes": _LABEL | {"prompt": "turns", "responses": "answers"},
    "labels": _LABEL | {"models": "texts", "responses": "texts", "slot": "whole?"},
    "prompts": {
        "family": "text",
        "group": "text",
        "id": "text",
        "messages": "turns",
        "source": "text",
        "split": "text",
    },
}
"""By kind of row: its columns and their types; '?' for one that may be null.

turns: a conversation; texts: a list of texts; tiers: a list of lists of texts; answers: a list of {id, text, model};
ratings: a list of {name, mean, votes};
object: a JSON object. These are JSON in a CSV's cells.
"""

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_ESCAPED = re.compile(r"'+[=+\-@\t\r\n＝＋－＠]")


def guarded(text: str) -> str:
    """A text as a CSV's cell: an apostrophe stands before what a spreadsheet would run; undone by `unguarded`.

    Source: OWASP, CSV Injection, https://owasp.org/www-community/attacks/CSV_Injection.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def unguarded(cell: str) -> str:
    """The text that `guarded` made the cell of."""
    return cell[1:] if _ESCAPED.match(cell) else cell


def as_cell(kind: str, value: Any) -> str:
    """A value of a column's type as the cell of a CSV; empty for null."""
    if value is None:
        return ""
    kind = kind.rstrip("?")
    if kind == "text":
        return guarded(value)
    if kind in ("whole", "number"):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)  # true and false, lists and objects: none begins like a formula


def from_cell(kind: str, cell: str, parse: Callable[[str], Any] = json.loads) -> Any:
    """The value that `as_cell` made the cell of; a cell that is no such value, as a spreadsheet may leave, is text.

    parse: reads JSON, and raises ValueError for what is none.
    """
    if kind == "text" or (cell == "" and not kind.endswith("?")):
        return unguarded(cell)
    if cell == "":
        return None
    try:
        return _FROM_CELL.get(kind.rstrip("?"), parse)(cell)
    except ValueError:
        return cell


def restored(
    columns: Mapping[str, str], row: dict[str, Any], parse: Callable[[str], Any] = json.loads
) -> dict[str, Any]:
    """A row of our own Parquet as it was written: objects and parts of messages, which have no fixed fields, parsed.

    Raises ValueError when one of them is no JSON.
    """
    for name, kind in columns.items():
        value = row.get(name)
        if value is None:
            continue
        if kind.startswith("object") and isinstance(value, str):
            row[name] = parse(value)
        elif kind.startswith("turns") and isinstance(value, list):
            row[name] = [_turn(turn, parse) for turn in value]
    return row


def flattened(columns: Mapping[str, str], row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as Parquet holds it; see `restored`."""
    flat = dict(row)
    for name, kind in columns.items():
        value = flat[name]
        if value is None:
            continue
        if kind.startswith("object"):
            flat[name] = json.dumps(value, ensure_ascii=False)
        elif kind.startswith("turns") and any(not isinstance(turn["content"], str) for turn in value):
            flat[name] = [
                turn
                if isinstance(turn["content"], str)
                else {"role": turn["role"], "parts": json.dumps(turn["content"], ensure_ascii=False)}
                for turn in value
            ]
    return flat


def columns_of(names: Iterable[str]) -> dict[str, str]:
    """The columns of the kind of row that has just these; none when it is no row of ours."""
    found = frozenset(names)
    return next((columns for columns in COLUMNS.values() if columns.keys() == found), {})


def _turn(turn: Mapping[str, Any], parse: Callable[[str], Any]) -> dict[str, Any]:
    parts = turn.get("parts")
    return {"role": turn["role"], "content": turn["content"] if parts is None else parse(parts)}


_FROM_CELL: dict[str, Callable[[str], Any]] = {"text": unguarded, "whole": int, "number": float}
