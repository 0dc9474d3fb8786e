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
from sqlalchemy import JSON, Row, TextClause, bindparam, insert, text
from sqlmodel import Session, col, select

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
    """One leased slot: what to compare, in the order to show it. lease_until: seconds since 1970."""

    model_config = ConfigDict(frozen=True)

    slot: int
    pair: str
    round: int
    prompt: tuple[dict[str, Any], ...]
    responses: tuple[Shown, ...]
    criteria: tuple[str, ...]
    lease_until: float


class Person(NamedTuple):
    """Who asks, and from which priority on an open slot may be for them, as of so many batches of pairs.

    holds: whether slots are leased to them. expired: whether any lease at all has run out.
    """

    id: str
    start: int
    batches: int
    holds: bool
    expired: bool


class Place(NamedTuple):
    """A slot as it stands: open, leased or done, whose, and the pair's responses in canonical order."""

    id: int
    pair_id: str
    state: str
    annotator_id: str | None
    order_shown: list[str] | None
    responses: list[str]
    replica: int
    seed: int

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
    while chunk := list(islice(waiting, 1000)):
        added += _add(session, {one.id: one for one in chunk}, artifact_id, seed, created_at)
    if added:
        session.connection().execute(_NEW_BATCH)
    return added


def ask_only(session: Session, round: int, pairs: Iterable[str]) -> int:
    """Of the pairs that stages made for a round, ask about these alone; returns how many slots changed.

    Open slots of others (whose responses a rollback or another recipe replaced) are set aside, and those of these
    pairs that were set aside are open again. What somebody holds or has judged stays, and so do imported pairs.
    """
    wanted = set(pairs)
    connection = session.connection()
    found = connection.execute(_UNHELD, {"round": round}).all()
    aside = [row.id for row in found if row.state == "open" and row.pair_id not in wanted]
    back = [row.id for row in found if row.state == "aside" and row.pair_id in wanted]
    for state, changed in (("aside", aside), ("open", back)):
        if changed:
            connection.execute(_SET_STATE, [{"state": state, "slot": slot} for slot in changed])
    if back:
        connection.execute(_NEW_BATCH)
    if aside or back:
        connection.execute(_RESIZE_ROUND, {"round": round, "slots": len(back) - len(aside)})
    return len(aside) + len(back)


def person(session: Session, annotator_id: str, now: float) -> Person:
    """The annotator, whose claims wait for each other from here on.

    Raises NotFound when there is none of that name, NotAllowed when they may not label any more.
    """
    connection = session.connection()
    query = _PERSON_LOCKED if connection.dialect.name == "postgresql" else _PERSON
    row = connection.execute(query, {"who": annotator_id, "now": now}).first()
    if row is None:
        raise NotFound("there is no such annotator", where=annotator_id)
    if not row.active:
        raise NotAllowed("this annotator does not label any more", where=annotator_id)
    batches = row.batches or 0
    # Pairs added since the cursor was written may have come in anywhere.
    start = row.priority if row.seen == batches else FIRST
    return Person(annotator_id, start, batches, bool(row.holds), bool(row.expired))


def held(session: Session, who: Person, most: int) -> list[int]:
    """Slots leased to this person, run out or not, longest held first."""
    if not who.holds:
        return []
    return list(session.connection().execute(_HELD, {"who": who.id, "most": most}).scalars())


def find_expired(session: Session, who: Person, now: float, most: int) -> list[int]:
    """Slots of pairs new to this person whose lease ran out, one a pair; empty when there are none."""
    if not who.expired:
        return []
    connection = session.connection()
    query = _EXPIRED_LOCKED if connection.dialect.name == "postgresql" else _EXPIRED
    return _one_a_pair(connection.execute(query, {"who": who.id, "now": now, "most": most}).all())


def find_open(session: Session, who: Person, most: int) -> list[int]:
    """Open slots of pairs new to this person, one a pair; empty when there are none. Moves their cursor."""
    connection = session.connection()
    asked = {"who": who.id, "start": who.start, "most": most}
    if connection.dialect.name == "postgresql":
        # Where the cursor may go is asked without locks: a slot that is locked now may still come back open.
        first = connection.execute(_OPEN, {**asked, "most": 1}).first()
        found = connection.execute(_OPEN_LOCKED, asked).all()
    else:
        found = connection.execute(_OPEN, asked).all()
        first = found[0] if found else None
    start = first.priority if first is not None else connection.execute(_PAST_OPEN).scalar()
    if start is not None and start != who.start:
        connection.execute(_MOVE_CURSOR, {"who": who.id, "start": start, "batches": who.batches})
    return _one_a_pair(found)


def lease(session: Session, slots: Sequence[int], annotator_id: str, *, now: float, until: float) -> list[Task]:
    """Lease these slots to one person until then and return their tasks, in the order given."""
    if not slots:
        return []
    connection = session.connection()
    rows: dict[int, list[Row[Any]]] = {}
    for row in connection.execute(_CONTENT, {"slots": list(slots)}):
        rows.setdefault(row.slot, []).append(row)
    tasks, leases = [], []
    for slot in slots:
        first, texts = rows[slot][0], {row.response: row.text for row in rows[slot]}
        order = first.order_shown if first.annotator_id == annotator_id else None
        order = order or order_shown(first.seed, first.pair, first.replica, annotator_id, texts)
        leases.append({"slot": slot, "who": annotator_id, "now": now, "until": until, "order": order})
        tasks.append(
            Task(
                slot=slot,
                pair=first.pair,
                round=first.round,
                prompt=tuple(first.messages),
                responses=tuple(Shown(id=identity, text=texts[identity]) for identity in order),
                criteria=(first.objective,),
                lease_until=until,
            )
        )
    connection.execute(_LEASE, leases)
    return tasks


def renew(session: Session, slots: Sequence[int], annotator_id: str, until: float) -> int:
    """Extend the leases this person still holds among these slots; returns how many."""
    asked = {"who": annotator_id, "until": until, "slots": sorted(set(slots))}
    return session.connection().execute(_RENEW, asked).rowcount


def find(session: Session, slot: int) -> Place:
    """Where a slot stands; others who would change it wait from here on. Raises NotFound when there is none."""
    connection = session.connection()
    query = _PLACE_LOCKED if connection.dialect.name == "postgresql" else _PLACE
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
    )


def close(session: Session, place: Place, annotator_id: str, order: list[str]) -> None:
    """Mark a slot as done by this person."""
    session.connection().execute(_CLOSE, {"slot": place.id, "who": annotator_id, "order": order})


def reopen(session: Session, place: Place, annotator_id: str, order: list[str], *, now: float) -> None:
    """Take a slot back for who had it, as if they had claimed it now; `lease` says until when."""
    asked = {"slot": place.id, "who": annotator_id, "order": order, "now": now}
    session.connection().execute(_REOPEN, asked)


def give_back(session: Session, place: Place) -> None:
    """Open a leased slot for others, at the end of the queue."""
    connection = session.connection()
    turn = connection.execute(_RETURN).scalar_one()
    connection.execute(_GIVE_BACK, {"slot": place.id, "priority": RETURNED + turn})


def order_shown(seed: int, pair_id: str, replica: int, annotator_id: str, responses: Iterable[str]) -> list[str]:
    """The order in which this person sees a pair's responses: every order equally likely, always the same one."""
    return sorted(responses, key=lambda response: _hash(seed, "order", pair_id, replica, annotator_id, response))


def priority(seed: int, round: int, pair_id: str, replica: int) -> int:
    """Where a slot stands in the queue: anywhere in its round's band, each replica of a pair somewhere else."""
    return -round * BAND + int(_hash(seed, "priority", pair_id, replica)[:8], 16)


def _hash(*parts: int | str) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogatepass")).hexdigest()


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
        connection.execute(_GROW_ROUND, {"round": round, "pairs": count, "slots": slots})
    return list(new)


# ------------------------------------------------------------------------------------------ statements
# Plain SQL where a claim passes a million times. States are literals, as the partial indexes need them.


def _locking(query: str) -> TextClause:
    return text(f"{query} FOR UPDATE OF slot SKIP LOCKED")


_FIND_PERSON = (
    "SELECT annotator.active, queue_cursor.priority, queue_cursor.batches AS seen, queue_state.batches, "
    "EXISTS (SELECT 1 FROM slot WHERE annotator_id = :who AND state = 'leased') AS holds, "
    "EXISTS (SELECT 1 FROM slot WHERE state = 'leased' AND lease_until < :now) AS expired "
    "FROM annotator LEFT JOIN queue_cursor ON queue_cursor.annotator_id = annotator.id "
    "LEFT JOIN queue_state ON queue_state.id = 1 WHERE annotator.id = :who"
)
_PERSON = text(_FIND_PERSON)
_PERSON_LOCKED = text(f"{_FIND_PERSON} FOR NO KEY UPDATE OF annotator")

_HELD = text(
    "SELECT id FROM slot WHERE annotator_id = :who AND state = 'leased' ORDER BY claimed_at, priority, id LIMIT :most"
)

_UNSEEN = (
    "NOT EXISTS (SELECT 1 FROM slot AS mine WHERE mine.pair_id = slot.pair_id AND mine.annotator_id = :who) "
    "AND NOT EXISTS (SELECT 1 FROM label WHERE label.pair_id = slot.pair_id AND label.annotator_id = :who)"
)
_FIND_EXPIRED = (
    "SELECT slot.id, slot.pair_id FROM slot WHERE slot.state = 'leased' AND slot.lease_until < :now "
    f"AND {_UNSEEN} ORDER BY slot.lease_until, slot.id LIMIT :most"
)
_EXPIRED, _EXPIRED_LOCKED = text(_FIND_EXPIRED), _locking(_FIND_EXPIRED)

_FIND_OPEN = (
    "SELECT slot.id, slot.pair_id, slot.priority FROM slot WHERE slot.state = 'open' AND slot.priority >= :start "
    f"AND {_UNSEEN} ORDER BY slot.priority, slot.id LIMIT :most"
)
_OPEN, _OPEN_LOCKED = text(_FIND_OPEN), _locking(_FIND_OPEN)
_PAST_OPEN = text("SELECT priority + 1 FROM slot WHERE state = 'open' ORDER BY priority DESC LIMIT 1")
_MOVE_CURSOR = text(
    "INSERT INTO queue_cursor (annotator_id, priority, batches) VALUES (:who, :start, :batches) "
    "ON CONFLICT (annotator_id) DO UPDATE SET priority = excluded.priority, batches = excluded.batches"
)

_CONTENT = (
    text(
        "SELECT slot.id AS slot, slot.replica, slot.annotator_id, slot.order_shown, pair.id AS pair, pair.round, "
        "pair.seed, pair.objective, prompt.messages, response.id AS response, response.text FROM slot "
        "JOIN pair ON pair.id = slot.pair_id JOIN prompt ON prompt.id = pair.prompt_id "
        "JOIN pair_response ON pair_response.pair_id = pair.id "
        "JOIN response ON response.id = pair_response.response_id WHERE slot.id IN :slots"
    )
    .bindparams(bindparam("slots", expanding=True))
    .columns(order_shown=JSON, messages=JSON)
)
_LEASE = text(
    "UPDATE slot SET state = 'leased', claimed_at = CASE WHEN annotator_id = :who THEN claimed_at ELSE :now END, "
    "annotator_id = :who, lease_until = :until, order_shown = :order WHERE id = :slot"
).bindparams(bindparam("order", type_=JSON))
_RENEW = text(
    "UPDATE slot SET lease_until = :until WHERE state = 'leased' AND annotator_id = :who AND id IN :slots"
).bindparams(bindparam("slots", expanding=True))

_FIND_PLACE = (
    "SELECT slot.pair_id, slot.state, slot.annotator_id, slot.order_shown, slot.replica, pair.seed, "
    "pair_response.response_id FROM slot JOIN pair ON pair.id = slot.pair_id "
    "JOIN pair_response ON pair_response.pair_id = pair.id WHERE slot.id = :slot ORDER BY pair_response.position"
)
_PLACE = text(_FIND_PLACE).columns(order_shown=JSON)
_PLACE_LOCKED = text(f"{_FIND_PLACE} FOR UPDATE OF slot").columns(order_shown=JSON)
_CLOSE = text(
    "UPDATE slot SET state = 'done', annotator_id = :who, order_shown = :order, lease_until = NULL WHERE id = :slot"
).bindparams(bindparam("order", type_=JSON))
_REOPEN = text(
    "UPDATE slot SET state = 'leased', annotator_id = :who, order_shown = :order, claimed_at = :now WHERE id = :slot"
).bindparams(bindparam("order", type_=JSON))
_GIVE_BACK = text(
    "UPDATE slot SET state = 'open', annotator_id = NULL, order_shown = NULL, claimed_at = NULL, lease_until = NULL, "
    "priority = :priority WHERE id = :slot"
)

_UNHELD = text(
    "SELECT slot.id, slot.pair_id, slot.state FROM slot JOIN pair ON pair.id = slot.pair_id "
    "WHERE pair.round = :round AND pair.artifact_id IS NOT NULL AND slot.state IN ('open', 'aside')"
)
_SET_STATE = text("UPDATE slot SET state = :state WHERE id = :slot AND state IN ('open', 'aside')")
_RESIZE_ROUND = text(
    "UPDATE round_size SET slots = slots + :slots, pairs = (SELECT count(DISTINCT slot.pair_id) FROM slot "
    "JOIN pair ON pair.id = slot.pair_id WHERE pair.round = :round AND slot.state <> 'aside') WHERE round = :round"
)
_NEW_BATCH = text(
    "INSERT INTO queue_state (id, batches, returned) VALUES (1, 1, 0) "
    "ON CONFLICT (id) DO UPDATE SET batches = queue_state.batches + 1"
)
_RETURN = text(
    "INSERT INTO queue_state (id, batches, returned) VALUES (1, 0, 1) "
    "ON CONFLICT (id) DO UPDATE SET returned = queue_state.returned + 1 RETURNING returned"
)
_GROW_ROUND = text(
    "INSERT INTO round_size (round, pairs, slots) VALUES (:round, :pairs, :slots) ON CONFLICT (round) "
    "DO UPDATE SET pairs = round_size.pairs + excluded.pairs, slots = round_size.slots + excluded.slots"
)
