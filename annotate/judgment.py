"""What a person says about a task, as it comes in from any client; what becomes of it is queue.py's business."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from annotate.campaign import BINS, CampaignSection
from annotate.errors import BadInput

_UUID = r"^[0-9A-Za-z_-]{8,64}$"


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("a text cannot hold a NUL character")
    return text


Text = Annotated[str, AfterValidator(_storable)]
Value = Text | int | float | bool
Flags = ("unsafe", "personal-data", "nonsense", "named-itself")
"""Flags that every page offers; each may name one response, as in "unsafe@ID"."""


class Judgment(BaseModel):
    """What one person says about one task.

    ranking: response ids, best first, ties sharing a list. strength: how much better the best is, 0 (hardly) to 3; a
    slider's negative sign is kept but says nothing beyond the ranking. criteria: a name's value, or a value for each
    response id. edited: response id to the text it should have been. guideline: id of the one that was seen.
    active_ms: time really spent on it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    uuid: str = Field(pattern=_UUID)
    slot: int = Field(ge=1, lt=2**31)
    ranking: tuple[tuple[str, ...], ...] = Field(min_length=1, max_length=16)
    strength: int | None = Field(default=None, ge=-3, le=3)
    both_bad: bool = False
    criteria: dict[Text, Value | dict[Text, Value]] = Field(default_factory=dict, max_length=32)
    rationale: Text = Field(default="", max_length=20_000)
    edited: dict[str, Annotated[Text, Field(max_length=200_000)]] = Field(default_factory=dict, max_length=16)
    flags: tuple[Text, ...] = Field(default=(), max_length=32)
    guideline: Text | None = Field(default=None, max_length=64)
    active_ms: int | None = Field(default=None, ge=0, lt=2**31)
    source: Text = Field(default="app", max_length=64)


class Skip(BaseModel):
    """One person passes a task on, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    uuid: str = Field(pattern=_UUID)
    slot: int = Field(ge=1, lt=2**31)
    reason: Text = Field(min_length=1, max_length=500)


class Feedback(BaseModel):
    """What a practice item teaches: whether the answer was right, the known ranking, and why."""

    model_config = ConfigDict(frozen=True)

    right: bool
    ranking: list[list[str]]
    explanation: str


class Stored(BaseModel):
    """A judgment that is safely in the ledger, and until when it may be undone (seconds since 1970)."""

    model_config = ConfigDict(frozen=True)

    uuid: str
    stored: bool = True
    undo_until: float
    feedback: Feedback | None = None


def check_ranking(judgment: Judgment, responses: Iterable[str]) -> None:
    """Raise BadInput unless the ranking names each of the pair's responses once, and edits only them."""
    named = sorted(identity for tied in judgment.ranking for identity in tied)
    if named != sorted(responses) or not all(judgment.ranking):
        raise BadInput("a ranking names every response of the pair exactly once", where=f"slot {judgment.slot}")
    if not set(judgment.edited) <= set(named):
        raise BadInput("only a response of the pair can be edited", where=f"slot {judgment.slot}")


def check_asked(judgment: Judgment, responses: Iterable[str], asked: CampaignSection) -> None:
    """Raise BadInput, whose `where` is the field, unless the judgment says what the campaign asks and no more."""
    known = set(responses)
    for flag in judgment.flags:
        name, _, response = flag.partition("@")
        if name in Flags and response and response not in known:
            raise BadInput(f"'{flag}' names no response of this pair", where="flags")
    any_strength = asked.is_open and not asked.grades  # a client may say what the page does not ask
    if judgment.strength is not None and not any_strength and abs(judgment.strength) > asked.grades:
        highest = f"at most {asked.grades}" if asked.grades else "not asked"
        raise BadInput(f"strength {judgment.strength} is out of range: it is {highest} here", where="strength")
    if not (asked.ties or judgment.both_bad) and any(len(tied) > 1 for tied in judgment.ranking):
        raise BadInput("ties are not offered: say which one is better", where="ranking")
    if judgment.both_bad and not asked.both_bad:
        raise BadInput("calling all of them bad is not offered: say which one is better", where="both_bad")
    if judgment.edited and not asked.edit:
        raise BadInput("rewriting a response is not offered", where="edited")
    if asked.rationale == "demanded" and not judgment.rationale.strip():
        raise BadInput("a reason in words is asked for", where="rationale")
    if asked.rationale == "off" and judgment.rationale.strip():
        raise BadInput("no reason is asked for", where="rationale")
    for name, said in judgment.criteria.items():
        _check_criterion(name, said, known, asked)


def _check_criterion(name: str, said: Value | dict[str, Value], known: set[str], asked: CampaignSection) -> None:
    where = f"criteria.{name}"
    values = said if isinstance(said, dict) else {"": said}
    if isinstance(said, dict) and not said.keys() <= known:
        raise BadInput("a value is given for a response id, one of this pair's", where=where)
    if name in ("acceptable", "safety"):
        offered = asked.acceptable if name == "acceptable" else asked.safety_bins
        if not isinstance(said, dict) or not (offered or asked.is_open):
            raise BadInput("is asked of each response" if offered else "is not asked", where=where)
        fits = (isinstance(one, bool) if name == "acceptable" else one in BINS for one in said.values())
        if not all(fits):
            raise BadInput("true or false" if name == "acceptable" else f"one of {', '.join(BINS)}", where=where)
        return
    criterion = next((one for one in asked.criteria if one.name == name), None)
    if criterion is None:
        if asked.is_open:
            return
        raise BadInput("there is no such criterion", where=where, next=f"Asked: {_names(asked)}")
    for one in values.values():
        if isinstance(one, bool | str) or not 1 <= one <= criterion.most:
            raise BadInput(f"expected a number from 1 to {criterion.most}, found {one!r:.40}", where=where)


def _names(asked: CampaignSection) -> str:
    return ", ".join(one.name for one in asked.criteria) or "none"
