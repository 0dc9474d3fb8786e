"""The audit: who did what, as a chain of hashes in which an edited, deleted or reordered row shows.

A chain cannot show that its end was cut off; whoever needs that keeps `head` elsewhere.
"""

import hashlib
import json
import time
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from annotate.tables import Audit

FIRST = "0" * 64
"""What the first row names as the hash before it."""

_LOCK = 0x7472756C  # an arbitrary number by which PostgreSQL's writers of the chain take turns


def audit(session: Session, actor: str, action: str, subject: str, detail: dict[str, Any]) -> None:
    """Append one row to the chain, in the caller's transaction.

    actor, subject: pseudonyms and ids, never names. detail: what JSON can hold; no text of labels, no secrets.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.exec(select(func.pg_advisory_xact_lock(_LOCK)))
    previous = head(session)
    detail = json.loads(json.dumps(detail))
    row = Audit(
        actor=actor,
        action=action,
        subject=subject,
        detail=detail,
        previous_hash=previous,
        hash="",
        created_at=time.time(),
    )
    row.hash = _hash(row)
    session.add(row)


def head(session: Session) -> str:
    """The hash of the last row, FIRST when there is none."""
    return session.exec(select(Audit.hash).order_by(col(Audit.id).desc()).limit(1)).first() or FIRST


def verify_audit(session: Session) -> str | None:
    """None when the chain is whole, else what is wrong with the first row that does not fit."""
    previous = FIRST
    query = select(Audit).order_by(col(Audit.id)).execution_options(yield_per=1000)
    with session.exec(query) as rows:
        for row in rows:
            if row.previous_hash != previous:
                return f"audit row {row.id} does not follow the row before it"
            if row.hash != _hash(row):
                return f"audit row {row.id} was changed"
            previous = row.hash
    return None


def _hash(row: Audit) -> str:
    facts = [row.actor, row.action, row.subject, row.detail, row.previous_hash, row.created_at]
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
