"""Typed fields of a row that others wrote: the value, None where it is absent, or BadInput naming the field.

CSV knows neither null nor numbers: an empty cell is an absent field, and digits are a number.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from annotate.errors import BadInput

MAX_VOTES = 1000
"""Votes that one row may stand for."""
YEAR_2100 = 4_102_444_800
"""Seconds since 1970: a larger time is in milliseconds by mistake."""


def required(row: Mapping[str, Any], name: str) -> str:
    """The text in a field that must be there."""
    value = row.get(name)
    if not isinstance(value, str):
        raise BadInput(f"{name}: {'missing' if value is None else f'expected text, found {short(value)}'}")
    return value


def text_in(row: Mapping[str, Any], name: str) -> str:
    """The text in a field, '' when it is absent."""
    return "" if row.get(name) is None else required(row, name)


def number_in(row: Mapping[str, Any], name: str, *, high: float) -> float | None:
    """The number in a field, from 0 to `high`; None when it is absent."""
    value = row.get(name)
    if value == "":  # CSV has no null
        return None
    if isinstance(value, str):  # nor numbers
        try:
            value = float(value)
        except ValueError:
            raise BadInput(f"{name}: expected a number, found {short(value)}") from None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= high:
        raise BadInput(f"{name}: expected a number from 0 to {high:g}, found {short(value)}")
    return float(value)


def count_in(row: Mapping[str, Any], name: str) -> int | None:
    """The whole number in a field, at most MAX_VOTES; None when it is absent."""
    value = number_in(row, name, high=MAX_VOTES)
    if value is not None and value != int(value):
        raise BadInput(f"{name}: expected a whole number of votes, found {short(value)}")
    return None if value is None else int(value)


def strength_in(row: Mapping[str, Any]) -> int | None:
    """How much better the better side is: clear (2), slight (1) or 0 to 3; None when it was not asked."""
    value = row.get("strength")
    if isinstance(value, str) and value in ("clear", "slight"):
        return {"clear": 2, "slight": 1}[value]
    number = number_in(row, "strength", high=3)
    if number is not None and number != int(number):
        raise BadInput(f"strength: expected clear, slight or 1 to 3, found {short(value)}")
    return None if number is None else int(number)


def grade_in(row: Mapping[str, Any], name: str, *, low: int = -3, high: int = 3) -> int | None:
    """The whole number in a field, from `low` to `high`; None when it is absent."""
    value = row.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,3}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high or value != int(value):
        raise BadInput(f"{name}: expected a whole number from {low} to {high}, found {short(value)}")
    return int(value)


def flag_in(row: Mapping[str, Any], name: str) -> bool | None:
    """A yes or no; None when it is absent."""
    value = row.get(name)
    if value is None or isinstance(value, bool):
        return value
    answers = {"yes": True, "true": True, "no": False, "false": False, "": None}
    if not isinstance(value, str) or value.lower() not in answers:
        raise BadInput(f"{name}: expected yes or no, true or false, found {short(value)}")
    return answers[value.lower()]


def time_in(row: Mapping[str, Any], name: str) -> float | None:
    """A time as seconds since 1970; None when it is absent."""
    value = row.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, datetime):  # Parquet has times of its own
        moment = value
    elif isinstance(value, str) and not value.replace(".", "", 1).isdigit():
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise BadInput(f"{name}: expected a time such as 2026-01-31T16:59:52Z, found {short(value)}") from None
    else:
        return number_in(row, name, high=YEAR_2100)
    seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not 0 <= seconds <= YEAR_2100:
        raise BadInput(f"{name}: {moment} is not between 1970 and 2100")
    return seconds


def short(value: Any) -> str:
    """A value as an error message may hold it: short, on one line."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
