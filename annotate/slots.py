"""Slots: how pairs come into the queue, and which slot is whose. What a judgment does to them is queue.py's business.

Priorities shuffle the slots; each person's cursor says where their search starts, so that somebody with thousands of
labels never walks past their own pairs again.
"""

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Row, insert
from sqlmodel import Session, col, select

from annotate import statements as sql
from annotate.campaign import InForce, of_id
from annotate.errors import BadInput, NotAllowed, NotFound
from annotate.pairs import CandidatePair
from annotate.tables import Pair, PairResponse, Response, Slot

BAND = 2**32
"""Priorities a round: round r has -r * BAND and up, so that newer rounds come first."""
RETURNED = 2**62
"""Slots given back by a skip follow from here, behind every cursor."""
FIRST = -(2**63)


class Shown(BaseModel):
    """One response as the annotator sees it."""

    model_config = ConfigDict(frozen=True)

    id: str
    text: str


class Task(BaseModel):
    """One slot: what to compare, in the order to show it. lease_until: seconds since 1970, None when it is not leased.

    topic: the prompt's family, which one can opt out of. practice: an item of the qualification round.
    """

    model_config = ConfigDict(frozen=True)

    slot: int
    pair: str
    round: int
    prompt: tuple[dict[str, Any], ...]
    responses: tuple[Shown, ...]
    criteria: tuple[str, ...]
    objective: str
    topic: str
    practice: bool
    guideline: str | None
    lease_until: float | None


class Person(NamedTuple):
    """Who asks, and from which priority on an open slot may be for them, as of so many batches of pairs.

    holds: whether slots are leased to them. expired: whether any lease at all has run out. opted_out: topics that
    they do not want. asked: the campaign in force.
    """

    id: str
    kind: str
    opted_out: tuple[str, ...]
    asked: InForce
    start: int
    batches: int
    holds: bool
    expired: bool


class Place(NamedTuple):
    """A slot as it stands: open, leased or done, whose, and the pair's responses in canonical order.

    A replica below 0 was made for one person alone (gold.py): it never runs out and never comes into the queue.
    """

    id: int
    pair_id: str
    state: str
    annotator_id: str | None
    order_shown: list[str] | None
    responses: list[str]
    replica: int
    seed: int
    prompt_id: str
    claimed_at: float | None

    def order_for(self, annotator_id: str) -> list[str]:
        """The order in which this person saw or would see the responses."""
        if self.annotator_id == annotator_id and self.order_shown:
            return self.order_shown
        return order_shown(self.seed, self.pair_id, self.replica, annotator_id, self.responses)


def add_pairs(
    session: Session,
    candidates: Iterable[CandidatePair],
    *,
    artifact_id: str | None = None,
    seed: int = 0,
    now: float | None = None,
) -> list[str]:
    """Store pairs with their open slots; returns the ids of the new ones. A pair that is known is left as it is.

    seed: fixes in which order slots are given out and on which side each response is shown.
    Raises BadInput when a response is unknown or answers another prompt.
    """
    created_at = time.time() if now is None else now
    added: list[str] = []
    waiting = iter(candidates)
    queued = False
    while chunk := list(islice(waiting, 1000)):
        queued = queued or any(one.overlap for one in chunk)  # others open no slot that a cursor could have passed
        added += _add(session, {one.id: one for one in chunk}, artifact_id, seed, created_at)
    if queued:
        session.connection().execute(sql.NEW_BATCH)
    return added


def ask_only(session: Session, round: int, pairs: Iterable[str]) -> int:
    """Of the pairs that stages made for a round, ask about these alone; returns how many slots changed.

    Open slots of others (whose responses a rollback or another recipe replaced) are set aside, and those of these
    pairs that were set aside are open again. What somebody holds or has judged stays, and so do imported pairs.
    """
    wanted = set(pairs)
    connection = session.connection()
    found = connection.execute(sql.UNHELD, {"round": round}).all()
    aside = [row.id for row in found if row.state == "open" and row.pair_id not in wanted]
    back = [row.id for row in found if row.state == "aside" and row.pair_id in wanted]
    for state, changed in (("aside", aside), ("open", back)):
        if changed:
            connection.execute(sql.SET_STATE, [{"state": state, "slot": slot} for slot in changed])
    if back:
        connection.execute(sql.NEW_BATCH)
    if aside or back:
        connection.execute(sql.RESIZE_ROUND, {"round": round, "slots": len(back) - len(aside)})
    return len(aside) + len(back)


def person(session: Session, annotator_id: str, now: float) -> Person:
    """The annotator, whose claims wait for each other from here on.

    Raises NotFound when there is none of that name, NotAllowed when they may not label any more.
    """
    connection = session.connection()
    if connection.dialect.name == "postgresql":  # on its own: who has waited must see what the one before has done
        connection.execute(sql.LOCK_PERSON, {"who": annotator_id})
    row = connection.execute(sql.PERSON, {"who": annotator_id, "now": now}).first()
    if row is None:
        raise NotFound("there is no such annotator", where=annotator_id)
    if not row.active:
        raise NotAllowed("this annotator does not label any more", where=annotator_id)
    batches = row.batches or 0
    # Pairs added since the cursor was written may have come in anywhere.
    start = row.priority if row.seen == batches else FIRST
    opted_out = tuple(row.opted_out or ())
    asked = of_id(session, row.campaign, row.guideline)
    return Person(annotator_id, row.kind, opted_out, asked, start, batches, bool(row.holds), bool(row.expired))


def held(session: Session, who: Person, most: int) -> list[int]:
    """Slots leased to this person, run out or not, longest held first."""
    if not who.holds:
        return []
    return list(session.connection().execute(sql.HELD, {"who": who.id, "most": most}).scalars())


def find_expired(session: Session, who: Person, now: float, most: int) -> list[int]:
    """Slots of pairs new to this person whose lease ran out, one a pair; empty when there are none."""
    if not who.expired:
        return []
    connection = session.connection()
    lock = connection.dialect.name == "postgresql"
    query = sql.searching(sql.FIND_EXPIRED, topics=bool(who.opted_out), lock=lock)
    return _one_a_pair(connection.execute(query, {"now": now, **_asking(who, most)}).all())


def find_open(session: Session, who: Person, most: int) -> list[int]:
    """Open slots of pairs new to this person, one a pair; empty when there are none. Moves their cursor."""
    connection = session.connection()
    asked = {"start": who.start, **_asking(who, most)}
    plain = sql.searching(sql.FIND_OPEN, topics=bool(who.opted_out), lock=False)
    if connection.dialect.name == "postgresql":
        # Where the cursor may go is asked without locks: a slot that is locked now may still come back open.
        first = connection.execute(plain, {**asked, "most": 1}).first()
        found = connection.execute(sql.searching(sql.FIND_OPEN, topics=bool(who.opted_out), lock=True), asked).all()
    else:
        found = connection.execute(plain, asked).all()
        first = found[0] if found else None
    start = first.priority if first is not None else connection.execute(sql.PAST_OPEN).scalar()
    if start is not None and start != who.start:
        connection.execute(sql.MOVE_CURSOR, {"who": who.id, "start": start, "batches": who.batches})
    return _one_a_pair(found)


def lease(
    session: Session, slots: Sequence[int], annotator_id: str, asked: InForce, *, now: float, until: float
) -> list[Task]:
    """Lease these slots to one person until then and return their tasks, in the order given."""
    tasks = tasks_of(session, slots, annotator_id, asked, until=until)
    if tasks:
        leases = [
            {
                "slot": task.slot,
                "who": annotator_id,
                "now": now,
                "until": until,
                "order": [response.id for response in task.responses],
            }
            for task in tasks
        ]
        session.connection().execute(sql.LEASE, leases)
    return tasks


def tasks_of(
    session: Session, slots: Sequence[int], annotator_id: str, asked: InForce, *, until: float | None = None
) -> list[Task]:
    """What these slots show to a person, in the order given."""
    if not slots:
        return []
    connection = session.connection()
    rows: dict[int, list[Row[Any]]] = {}
    for row in connection.execute(sql.CONTENT, {"slots": list(slots)}):
        rows.setdefault(row.slot, []).append(row)
    criteria = tuple(one.name for one in asked.settings.criteria)
    tasks = []
    for slot in slots:
        first, texts = rows[slot][0], {row.response: row.text for row in rows[slot]}
        order = first.order_shown if first.annotator_id == annotator_id else None
        order = order or order_shown(first.seed, first.pair, first.replica, annotator_id, texts)
        use, round = "", first.round
        if first.replica < 0:  # a control item looks like any other
            gold = connection.execute(sql.GOLD_OF, {"pair": first.pair}).first()
            use, round = gold.use if gold else "", connection.execute(sql.NEWEST_ROUND).scalar() or 0
        tasks.append(
            Task(
                slot=slot,
                pair=first.pair,
                round=round,
                prompt=tuple(first.messages),
                responses=tuple(Shown(id=identity, text=texts[identity]) for identity in order),
                criteria=criteria or (first.objective,),
                objective=first.objective,
                topic=first.family,
                practice=use == "practice",
                guideline=asked.guideline,
                lease_until=until,
            )
        )
    return tasks


def renew(session: Session, slots: Sequence[int], annotator_id: str, until: float) -> int:
    """Extend the leases this person still holds among these slots; returns how many."""
    asked = {"who": annotator_id, "until": until, "slots": sorted(set(slots))}
    return session.connection().execute(sql.RENEW, asked).rowcount


def find(session: Session, slot: int) -> Place:
    """Where a slot stands; others who would change it wait from here on. Raises NotFound when there is none."""
    connection = session.connection()
    query = sql.PLACE_LOCKED if connection.dialect.name == "postgresql" else sql.PLACE
    rows = connection.execute(query, {"slot": slot}).all()
    if not rows:
        raise NotFound(f"there is no slot {slot}")
    first = rows[0]
    return Place(
        id=slot,
        pair_id=first.pair_id,
        state=first.state,
        annotator_id=first.annotator_id,
        order_shown=first.order_shown,
        responses=[row.response_id for row in rows],
        replica=first.replica,
        seed=first.seed,
        prompt_id=first.prompt_id,
        claimed_at=first.claimed_at,
    )


def close(session: Session, place: Place, annotator_id: str, order: list[str]) -> None:
    """Mark a slot as done by this person."""
    session.connection().execute(sql.CLOSE, {"slot": place.id, "who": annotator_id, "order": order})


def reopen(session: Session, place: Place, annotator_id: str, order: list[str], *, now: float) -> None:
    """Take a slot back for who had it, as if they had claimed it now; `lease` says until when."""
    asked = {"slot": place.id, "who": annotator_id, "order": order, "now": now}
    session.connection().execute(sql.REOPEN, asked)


def give_back(session: Session, place: Place) -> None:
    """Open a leased slot for others, at the end of the queue; one that was made for this person is closed instead."""
    if place.replica < 0:
        assert place.annotator_id is not None, "a slot of one's own has an owner"
        close(session, place, place.annotator_id, place.order_shown or place.responses)
        return
    connection = session.connection()
    turn = connection.execute(sql.RETURN).scalar_one()
    connection.execute(sql.GIVE_BACK, {"slot": place.id, "priority": RETURNED + turn})


def order_shown(seed: int, pair_id: str, replica: int, annotator_id: str, responses: Iterable[str]) -> list[str]:
    """The order in which this person sees a pair's responses: every order equally likely, always the same one."""
    return sorted(responses, key=lambda response: _hash(seed, "order", pair_id, replica, annotator_id, response))


def priority(seed: int, round: int, pair_id: str, replica: int) -> int:
    """Where a slot stands in the queue: anywhere in its round's band, each replica of a pair somewhere else."""
    return -round * BAND + int(_hash(seed, "priority", pair_id, replica)[:8], 16)


def _hash(*parts: int | str) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogatepass")).hexdigest()


def _asking(who: Person, most: int) -> dict[str, Any]:
    asked: dict[str, Any] = {"who": who.id, "most": most}
    return {**asked, "topics": list(who.opted_out)} if who.opted_out else asked


def _one_a_pair(rows: Sequence[Row[Any]]) -> list[int]:
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(row.pair_id, row.id)
    return list(first.values())


def _add(
    session: Session, candidates: Mapping[str, CandidatePair], artifact_id: str | None, seed: int, created_at: float
) -> list[str]:
    known = set(session.exec(select(Pair.id).where(col(Pair.id).in_(list(candidates)))))
    new = {identity: one for identity, one in candidates.items() if identity not in known}
    if not new:
        return []
    wanted = {response for one in new.values() for response in one.responses}
    query = select(Response.id, Response.prompt_id).where(col(Response.id).in_(wanted))
    prompts = dict(session.exec(query).all())
    pairs: list[dict[str, Any]] = []
    members: list[dict[str, Any]] = []
    places: list[dict[str, Any]] = []
    sizes: dict[int, list[int]] = {}
    for identity, one in new.items():
        for position, response in enumerate(sorted(one.responses)):
            if prompts.get(response) != one.prompt_id:
                raise BadInput(f"response {response} is no answer to prompt {one.prompt_id}", where=f"pair {identity}")
            members.append({"pair_id": identity, "position": position, "response_id": response})
        pairs.append(
            {
                "id": identity,
                "prompt_id": one.prompt_id,
                "round": one.round,
                "objective": one.objective,
                "strategy": one.strategy,
                "propensity": one.propensity,
                "acquisition": one.acquisition,
                "gold_response_id": one.gold_response_id,
                "overlap": one.overlap,
                "seed": seed,
                "artifact_id": artifact_id,
                "source": one.source,
                "created_at": created_at,
            }
        )
        for replica in range(one.overlap):
            place = priority(seed, one.round, identity, replica)
            places.append({"pair_id": identity, "replica": replica, "priority": place, "state": "open"})
        size = sizes.setdefault(one.round, [0, 0])
        size[0] += 1
        size[1] += one.overlap
    connection = session.connection()
    connection.execute(insert(Pair), pairs)
    connection.execute(insert(PairResponse), members)
    if places:
        connection.execute(insert(Slot), places)
    for round, (count, slots) in sorted(sizes.items()):
        connection.execute(sql.GROW_ROUND, {"round": round, "pairs": count, "slots": slots})
    return list(new)
