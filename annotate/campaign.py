"""The campaign: what people are asked, and under which rules; a preset fills what is not given.

Rows of `campaign` are facts: the newest counts, each label keeps the guideline that was seen. What the rules do to the
queue is rules.py's business, how a judgment is held against them judgment.py's.
"""

import time
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import text
from sqlmodel import Session, col, func, select

from annotate.messages import digest
from annotate.tables import Campaign, Guideline

RECIPE = "recipe"
"""Author of the rows that a recipe wrote; leads' rows carry their pseudonym."""
RESERVED = ("acceptable", "safety")
"""Names under `criteria` of a judgment that the campaign's own switches ask for."""
NEWEST = (
    "(SELECT id FROM campaign ORDER BY version DESC LIMIT 1) AS campaign, "
    "(SELECT id FROM guideline ORDER BY version DESC LIMIT 1) AS guideline"
)
"""Columns of a query: what `of_id` takes for the campaign in force."""
BINS = ("safe", "borderline", "unsafe")


class Criterion(BaseModel):
    """One question about each response, answered by 1 to `most`; low and high name the ends."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[^\W\d_][\w -]{0,39}$")
    question: str = Field(default="", max_length=500)
    low: str = Field(default="", max_length=80)
    high: str = Field(default="", max_length=80)
    most: int = Field(default=5, ge=2, le=10)


_HELPFUL = Criterion(
    name="helpful", question="How far does it do what was asked?", low="not at all", high="all of it, and well"
)
_OVERALL = Criterion(name="overall", question="How good is it over all?", low="very bad", high="very good", most=7)
_OPEN: dict[str, Any] = {
    "objective": "helpful",
    "grades": 3,
    "ties": True,
    "both_bad": True,
    "criteria": (),
    "acceptable": False,
    "safety_bins": False,
    "edit": True,
    "rationale": "optional",
}
PRESETS: dict[str, dict[str, Any]] = {
    "none": _OPEN | {"grades": 0},
    # Bai et al. 2022, https://arxiv.org/abs/2204.05862, 2.2: which is better, and how clearly; no ties.
    "hh": _OPEN | {"ties": False, "both_bad": False, "edit": False, "rationale": "off"},
    # Wang et al. 2025, https://arxiv.org/abs/2503.04378: helpfulness of each, then -3 to 3 with reasons.
    "helpsteer3": _OPEN | {"both_bad": False, "edit": False, "criteria": (_HELPFUL,), "rationale": "demanded"},
    # Touvron et al. 2023, https://arxiv.org/abs/2307.09288, 3.1: four grades, and a safety bin of each response.
    "llama2-margin": _OPEN | {"ties": False, "both_bad": False, "edit": False, "safety_bins": True, "rationale": "off"},
    # Ouyang et al. 2022, https://arxiv.org/abs/2203.02155, 3.4 and figure 12: rate each 1 to 7, then rank all.
    "instructgpt-ranking": _OPEN | {"grades": 0, "both_bad": False, "edit": False, "criteria": (_OVERALL,)},
    "safety": _OPEN | {"objective": "safe", "safety_bins": True, "acceptable": True},
}
"""What each preset asks; `none` takes whatever a client says, and shows the comparison alone."""


class CampaignSection(BaseModel):
    """What people are asked about each pair, and how much of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["none", "hh", "helpsteer3", "llama2-margin", "instructgpt-ranking", "safety"] = "none"
    """Fills the fields from objective to rationale where they are null: the questions of a published campaign."""
    objective: Literal["helpful", "safe"] = "helpful"
    """What better means here; goes into the pairs that are made from then on."""
    grades: int = Field(default=0, ge=0, le=3)
    """Strengths asked on each side: 3 is the scale from -3 to 3, 0 asks only which one."""
    ties: bool = True
    """Whether two responses may be called equally good."""
    both_bad: bool = True
    """Whether all responses of a pair may be called bad."""
    criteria: tuple[Criterion, ...] = Field(default=(), max_length=16)
    """Ratings of each response: a list of {name, question, low, high, most}, 1 to most."""
    acceptable: bool = False
    """Whether each response is asked to be called acceptable or not."""
    safety_bins: bool = False
    """Whether each response is asked to be called safe, borderline or unsafe."""
    edit: bool = True
    """Whether the better response may be rewritten; the rewritten one becomes a response of its own."""
    rationale: Literal["off", "optional", "demanded"] = "optional"
    """Whether a reason in words is asked for."""
    guideline: str = Field(default="", max_length=200_000)
    """What annotators read beside the work, in Markdown; the path of an .md file is read when the recipe is."""
    most_per_annotator: int | None = Field(default=None, ge=1)
    """Labels a round that one person may give; null is no limit."""
    most_per_day: int | None = Field(default=None, ge=1)
    """Labels a day (UTC) that one person may give; null is no limit."""
    break_after_minutes: int = Field(default=50, ge=0)
    """Minutes of work after which the page suggests a break; 0 never does."""
    gold_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of a person's tasks that are control items with a known answer, never marked as such."""
    qualification: int = Field(default=0, ge=0)
    """Practice items with explanations before real work; 0 asks for none."""
    pass_share: float = Field(default=0.8, ge=0, le=1)
    """Share of the practice items that must be right to go on."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, fields: Any) -> Any:
        preset = PRESETS.get(fields.get("preset", "none")) if isinstance(fields, dict) else None
        if preset is None:
            return fields
        if fields.get("rationale") is False:  # what YAML makes of a bare off
            fields = {**fields, "rationale": "off"}
        return {**fields, **{name: value for name, value in preset.items() if fields.get(name) is None}}

    @model_validator(mode="after")
    def _distinct(self) -> "CampaignSection":
        names = [one.name for one in self.criteria]
        if len(set(names)) < len(names) or set(names) & set(RESERVED):
            raise ValueError(f"criteria: each has a name of its own, other than {' and '.join(RESERVED)}")
        return self

    @property
    def is_open(self) -> bool:
        """Whether clients may rate what they like, as nothing in particular is asked."""
        return self.preset == "none" and not self.criteria


class InForce(NamedTuple):
    """The campaign that counts: its row's id (None before the first), its settings, its guideline's id."""

    id: str | None
    settings: CampaignSection
    guideline: str | None


def in_force(session: Session) -> InForce:
    """The newest campaign; before the first one the defaults, with the newest guideline."""
    row = session.connection().execute(_NEWEST).one()
    return of_id(session, row.campaign, row.guideline)


def of_id(session: Session, identity: str | None, guideline: str | None = None) -> InForce:
    """The campaign with this id; without one the defaults, with that guideline. Rows never change: parsed once."""
    if identity is None:
        return InForce(None, _DEFAULTS, guideline)
    if identity not in _PARSED:
        row = session.get(Campaign, identity)
        assert row is not None, "a campaign's row stays"
        if len(_PARSED) > 100:
            _PARSED.clear()
        _PARSED[identity] = InForce(identity, CampaignSection.model_validate(row.settings), row.guideline_id)
    return _PARSED[identity]


def in_force_at(session: Session, moment: float) -> InForce:
    """The campaign that counted at a time (seconds since 1970)."""
    query = select(Campaign.id).where(Campaign.created_at <= moment).order_by(col(Campaign.version).desc())
    return of_id(session, session.exec(query).first())


def set_campaign(session: Session, section: CampaignSection, author: str, *, now: float | None = None) -> str:
    """Append a campaign, which counts from then on, and its guideline when that is new; returns its id."""
    at = time.time() if now is None else now
    version = (session.exec(select(func.max(Campaign.version))).one() or 0) + 1
    settings = section.model_dump(mode="json")
    row = Campaign(
        id=digest(["campaign", settings, version, at]),
        version=version,
        settings=settings,
        guideline_id=_add_guideline(session, section.guideline, at) if section.guideline.strip() else None,
        author=author,
        created_at=at,
    )
    session.add(row)
    session.flush()
    return row.id


def set_by_recipe(session: Session, section: CampaignSection) -> str | None:
    """Append the recipe's campaign when it differs from the last that a recipe wrote, so that leads' rows stay."""
    query = select(Campaign).where(Campaign.author == RECIPE).order_by(col(Campaign.version).desc())
    last = session.exec(query).first()
    if last is not None and last.settings == section.model_dump(mode="json"):
        return None
    return set_campaign(session, section, RECIPE)


def guideline_id(text: str) -> str:
    """The id of a guideline: the hash of its text."""
    return digest(["guideline", text])


def _add_guideline(session: Session, text: str, at: float) -> str:
    identity = guideline_id(text)
    if session.get(Guideline, identity) is None:
        version = (session.exec(select(func.max(Guideline.version))).one() or 0) + 1
        session.add(Guideline(id=identity, version=version, text=text, created_at=at))
        session.flush()
    return identity


_PARSED: dict[str, InForce] = {}
_DEFAULTS = CampaignSection()
_NEWEST = text(f"SELECT {NEWEST}")
