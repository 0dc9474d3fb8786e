"""What an annotator says about themselves: languages, expertise, topics they do not want, settings of their page.

Not a fact but a wish: a profile is overwritten. Topics one opts out of are given back at once and not offered again.
"""

import json
import time
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy import text
from sqlmodel import Session

from annotate import slots
from annotate import statements as sql
from annotate.judgment import Text
from annotate.ledger import Ledger
from annotate.readers import text_problem
from annotate.tables import Profile

MAX_SETTINGS = 64 * 1024
Words = Annotated[tuple[Annotated[Text, Field(min_length=1, max_length=200)], ...], Field(max_length=100)]


class ProfileIn(BaseModel):
    """The parts of a profile that are to be replaced; those left out stay. settings: JSON of up to 64 KiB."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    languages: Words | None = None
    expertise: Words | None = None
    opted_out: Words | None = None
    settings: dict[Text, Any] | None = None

    @field_validator("settings")
    @classmethod
    def _small(cls, settings: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            problem = text_problem(settings) or ("too long" if len(json.dumps(settings)) > MAX_SETTINGS else "")
        except RecursionError:
            problem = "nested too deeply"
        if problem:
            raise ValueError(f"settings: {problem}")
        return settings


def profile_of(session: Session, annotator_id: str) -> dict[str, Any]:
    """A person's profile, and the topics there are to opt out of."""
    found = session.get(Profile, annotator_id)
    return {
        "languages": found.languages if found else [],
        "expertise": found.expertise if found else [],
        "opted_out": found.opted_out if found else [],
        "settings": found.settings if found else {},
        "topics": [row for row in session.connection().execute(_TOPICS).scalars() if row],
    }


def save_profile(ledger: Ledger, annotator_id: str, change: ProfileIn, *, now: float | None = None) -> dict[str, Any]:
    """Replace parts of a person's profile and return it; leased tasks of topics they opted out of are given back."""
    at = time.time() if now is None else now
    wanted = {name: value for name, value in change.model_dump().items() if value is not None}

    def run(session: Session) -> dict[str, Any]:
        slots.person(session, annotator_id, at)
        profile = session.get(Profile, annotator_id) or Profile(
            annotator_id=annotator_id, languages=[], expertise=[], opted_out=[], settings={}, updated_at=at
        )
        for name, value in wanted.items():
            setattr(profile, name, value if name == "settings" else list(dict.fromkeys(value)))
        profile.updated_at = at
        session.add(profile)
        session.flush()
        if "opted_out" in wanted:
            # Their search has passed the slots of topics they did not want until now.
            session.connection().execute(sql.FORGET_CURSOR, {"who": annotator_id})
            asked = {"who": annotator_id, "topics": profile.opted_out or [""]}
            for slot in session.connection().execute(sql.RELEASED, asked).scalars().all() if profile.opted_out else ():
                slots.give_back(session, slots.find(session, slot))
        return profile_of(session, annotator_id)

    return ledger.write(run)


# One look at the index for each topic, however many prompts there are.
_TOPICS = text(
    "WITH RECURSIVE topic(name) AS (SELECT min(family) FROM prompt UNION ALL "
    "SELECT (SELECT min(family) FROM prompt WHERE family > topic.name) FROM topic WHERE topic.name IS NOT NULL) "
    "SELECT name FROM topic WHERE name IS NOT NULL LIMIT 1000"
)
