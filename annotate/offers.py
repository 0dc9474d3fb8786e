"""Which tasks a person is offered next: what they hold, practice, control items, expired leases, then open slots.

The campaign's rules are rules.py's, how a slot is found and leased slots.py's and gold.py's business.
"""

import time
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict
from sqlmodel import Session

from annotate import gold, rules, slots
from annotate.campaign import CampaignSection
from annotate.errors import BadInput
from annotate.ledger import Ledger
from annotate.rules import Reason
from annotate.slots import Person, Task

LEASE_SECONDS = 900
MOST_TASKS = 50
"""Most tasks one person may hold at once."""
_NO_RULES = CampaignSection()


class Offer(BaseModel):
    """Tasks leased to a person; when there are none, the reason."""

    model_config = ConfigDict(frozen=True)

    tasks: tuple[Task, ...]
    reason: Reason | None = None


def claim(
    ledger: Ledger, annotator_id: str, n: int = 1, *, lease_seconds: float = LEASE_SECONDS, now: float | None = None
) -> list[Task]:
    """The tasks of `offer`."""
    return list(offer(ledger, annotator_id, n, lease_seconds=lease_seconds, now=now).tasks)


def offer(
    ledger: Ledger, annotator_id: str, n: int = 1, *, lease_seconds: float = LEASE_SECONDS, now: float | None = None
) -> Offer:
    """Up to n tasks for this person: those they hold already, then those whose lease ran out, then open ones.

    All come with a fresh lease. Newer rounds come first; inside a round the order is shuffled. The campaign's rules
    bind people: practice before real work, control items mixed in, no more tasks held than their limits leave labels.
    Raises NotFound for an unknown annotator, NotAllowed for one who may not label any more.
    """
    if not 1 <= n <= MOST_TASKS:
        raise BadInput(f"one may hold 1 to {MOST_TASKS} tasks at once, not {n}")
    at = time.time() if now is None else now
    until = at + lease_seconds

    def run(session: Session) -> Offer:
        who = slots.person(session, annotator_id, at)
        asked = who.asked
        bound = asked.settings if who.kind == "human" else _NO_RULES
        room, limit = (n, None) if bound is _NO_RULES else _room(session, who, bound, n, at)

        tasks: list[Task] = []

        def leased(found: Sequence[int]) -> list[Task]:
            # A microsecond apart: tasks held are given in the order in which they were claimed.
            return slots.lease(session, found, annotator_id, asked, now=at + len(tasks) * 1e-6, until=until)

        if room <= 0:
            return Offer(tasks=(), reason=limit)
        held = slots.held(session, who, MOST_TASKS)
        tasks += leased(held[:room])
        if bound.qualification and not (standing := gold.qualification(session, annotator_id, bound)).passed:
            outstanding = standing.needed - standing.done % standing.needed - len(held)
            while len(tasks) < room and outstanding > 0 and (slot := gold.give(session, who, "practice")):
                tasks += leased([slot])
                outstanding -= 1
            return Offer(tasks=tuple(tasks), reason=None if tasks else "qualification")
        number = rules.given(session, annotator_id) + len(held) if bound.gold_share else 0
        # Two slots of one pair may lie side by side: what was leased is looked at before the next ones are.
        while len(tasks) < room:
            found, plain = _control(session, who, bound, number), room - len(tasks)
            if bound.gold_share:  # up to the next control item
                due = (step for step in range(1, plain) if rules.is_control(who.id, number + step, bound.gold_share))
                plain = next(due, plain)
            found = found or slots.find_expired(session, who, at, plain) or slots.find_open(session, who, plain)
            if not found:
                break
            tasks += leased(found)
            number += len(found)
        return Offer(tasks=tuple(tasks), reason=None if tasks else "none-open")

    # A lease lost in a power loss is only a lease: the judgment given under it is still taken.
    return ledger.write(run, durable=False)


def _room(session: Session, who: Person, bound: CampaignSection, n: int, at: float) -> tuple[int, Reason | None]:
    room, limit = rules.room(session, who.id, bound, at)
    return (n, None) if room is None else (min(n, room), limit)


def _control(session: Session, who: Person, bound: CampaignSection, number: int) -> list[int]:
    """A control item, when the person's task of this number is to be one and there is one they have not had."""
    if not bound.gold_share or not rules.is_control(who.id, number, bound.gold_share):
        return []
    slot = gold.give(session, who, "control")
    return [] if slot is None else [slot]
