"""The campaign's rules for one person: how many tasks they may have now, and when a control item is due.

Only people are bound by them, simulated annotators and models are not. Who gets which slot is slots.py's and gold.py's
business; the clock's day is UTC.
"""

import hashlib
import time
from typing import Any, Literal

from sqlmodel import Session

from annotate import statements as sql
from annotate.campaign import CampaignSection, InForce, in_force
from annotate.gold import qualification
from annotate.tables import Guideline

Reason = Literal["most-per-day", "most-per-annotator", "qualification", "none-open"]
"""Why there is no task: a limit is reached, the practice items were not passed, or nothing is open for this person."""
DAY = 86_400


def room(session: Session, annotator_id: str, asked: CampaignSection, now: float) -> tuple[int | None, Reason | None]:
    """How many tasks this person may still hold and judge, and which limit says so; (None, None) without a limit."""
    limits: list[tuple[int, Reason]] = []
    if asked.most_per_day is not None:
        limits.append((asked.most_per_day - labels_today(session, annotator_id, now), "most-per-day"))
    if asked.most_per_annotator is not None:
        limits.append((asked.most_per_annotator - _labels_in_round(session, annotator_id), "most-per-annotator"))
    if not limits:
        return None, None
    left, reason = min(limits)
    return max(left, 0), reason


def labels_today(session: Session, annotator_id: str, now: float) -> int:
    """Labels this person gave since midnight UTC, those undone not counted."""
    since = now // DAY * DAY
    return int(session.connection().execute(sql.LABELS_SINCE, {"who": annotator_id, "since": since}).scalar_one())


def given(session: Session, annotator_id: str) -> int:
    """How many tasks this person has answered, by a label or a skip."""
    return int(session.connection().execute(sql.GIVEN, {"who": annotator_id}).scalar_one())


def is_control(annotator_id: str, number: int, share: float) -> bool:
    """Whether a person's task of this number is a control item: the share of all numbers, the same ones each time."""
    word = hashlib.sha256(f"control\0{annotator_id}\0{number}".encode("utf-8", "surrogatepass")).digest()[:8]
    return int.from_bytes(word, "big") < share * 2**64


def asked_of(session: Session, annotator_id: str, *, now: float | None = None) -> dict[str, Any]:
    """What the campaign in force asks of this person, and where they stand: the answer of GET /api/campaign."""
    asked: InForce = in_force(session)
    guideline = session.get(Guideline, asked.guideline) if asked.guideline else None
    standing = qualification(session, annotator_id, asked.settings)
    shown = asked.settings.model_dump(
        mode="json",
        include={
            "preset",
            "objective",
            "grades",
            "ties",
            "both_bad",
            "criteria",
            "acceptable",
            "safety_bins",
            "edit",
            "rationale",
            "break_after_minutes",
        },
    )
    return {
        **shown,
        "guideline": guideline and {"id": guideline.id, "version": guideline.version, "text": guideline.text},
        "qualification": standing._asdict(),
        "today": {
            "labels": labels_today(session, annotator_id, time.time() if now is None else now),
            "most": asked.settings.most_per_day,
        },
    }


def _labels_in_round(session: Session, annotator_id: str) -> int:
    """Labels this person gave in the newest round that has pairs to label."""
    connection = session.connection()
    round = connection.execute(sql.NEWEST_ROUND).scalar()
    if round is None:
        return 0
    return int(connection.execute(sql.GIVEN_IN_ROUND, {"who": annotator_id, "round": round}).scalar() or 0)
