"""What a person says about a task, as it comes in from any client; what becomes of it is queue.py's business."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from annotate.errors import BadInput

_UUID = r"^[0-9A-Za-z_-]{8,64}$"


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("a text cannot hold a NUL character")
    return text


Text = Annotated[str, AfterValidator(_storable)]


class Judgment(BaseModel):
    """What one person says about one task.

    ranking: response ids, best first, ties sharing a list. strength: how much better the best is, 0 (hardly) to 3; a
    slider's negative sign is kept but says nothing beyond the ranking. active_ms: time really spent on it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    uuid: str = Field(pattern=_UUID)
    slot: int = Field(ge=1, lt=2**31)
    ranking: tuple[tuple[str, ...], ...] = Field(min_length=1, max_length=16)
    strength: int | None = Field(default=None, ge=-3, le=3)
    both_bad: bool = False
    criteria: dict[Text, Text | int | float | bool] = Field(default_factory=dict, max_length=32)
    rationale: Text = Field(default="", max_length=20_000)
    edited: dict[str, Annotated[Text, Field(max_length=200_000)]] = Field(default_factory=dict, max_length=16)
    flags: tuple[Text, ...] = Field(default=(), max_length=32)
    active_ms: int | None = Field(default=None, ge=0, lt=2**31)
    source: Text = Field(default="app", max_length=64)


class Skip(BaseModel):
    """One person passes a task on, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    uuid: str = Field(pattern=_UUID)
    slot: int = Field(ge=1, lt=2**31)
    reason: Text = Field(min_length=1, max_length=500)


class Stored(BaseModel):
    """A judgment that is safely in the ledger, and until when it may be undone (seconds since 1970)."""

    model_config = ConfigDict(frozen=True)

    uuid: str
    stored: bool = True
    undo_until: float


def check_ranking(judgment: Judgment, responses: Iterable[str]) -> None:
    """Raise BadInput unless the ranking names each of the pair's responses once, and edits only them."""
    named = sorted(identity for tied in judgment.ranking for identity in tied)
    if named != sorted(responses) or not all(judgment.ranking):
        raise BadInput("a ranking names every response of the pair exactly once", where=f"slot {judgment.slot}")
    if not set(judgment.edited) <= set(named):
        raise BadInput("only a response of the pair can be edited", where=f"slot {judgment.slot}")
