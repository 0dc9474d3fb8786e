"""The champion changed by hand: a policy promoted in spite of the gate, or a rollback. The gate is in promote.py."""

import time

from sqlmodel import Session, col, select

from annotate.errors import NotFound
from annotate.ledger import Ledger
from annotate.tables import Promotion


def roll_back(ledger: Ledger) -> Promotion:
    """Make the champion from before the last change the champion again; one more row, nothing is deleted.

    Raises NotFound when there is no earlier champion.
    """
    with ledger.read() as session:
        history = list(session.exec(select(Promotion).order_by(col(Promotion.id))))
    if not history:
        raise NotFound("nothing was ever promoted", next="Run: trueloop advance")
    current = history[-1].champion_id
    standing: list[str] = []
    for row in history:
        if row.verdict == "rolled_back":
            standing = standing[:-1]
        elif not standing or row.champion_id != standing[-1]:
            standing.append(row.champion_id)
    first = next((made.id for made in ledger.artifacts("sft")), None)
    earlier = standing[-2] if len(standing) > 1 else first
    if earlier is None or earlier == current:
        raise NotFound("there is no earlier champion", where=current, next="Run: trueloop status")
    return _record(ledger, policy=current, champion=earlier, verdict="rolled_back", reason="")


def promote_by_hand(ledger: Ledger, prefix: str, reason: str) -> Promotion:
    """Make a policy the champion whatever the gate said; the reason is kept in the audit.

    Raises NotFound when the id names no policy.
    """
    made = ledger.find_prefix(prefix)
    if made is None or made.stage not in ("policy", "sft"):
        raise NotFound(f"'{prefix}' is no policy", next="Run: trueloop status")
    return _record(ledger, policy=made.id, champion=made.id, verdict="promoted", reason=reason or "by hand")


def _record(ledger: Ledger, *, policy: str, champion: str, verdict: str, reason: str) -> Promotion:
    def insert(session: Session) -> Promotion:
        last = max((made.round for made in ledger.artifacts("promotion")), default=0)
        evidence = {"by_hand": True, "reason": reason}
        row = Promotion(
            artifact_id="",
            policy_id=policy,
            champion_id=champion,
            round=last,
            verdict=verdict,
            evidence=evidence,
            created_at=time.time(),
        )
        session.add(row)
        ledger.audit(session, "trueloop", verdict, champion, evidence)
        session.flush()
        session.refresh(row)
        session.expunge(row)
        return row

    return ledger.write(insert)
