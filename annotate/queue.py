"""All labelling logic: what happens to a judgment. Pages, API, simulation and clients go through here.

A pair has `overlap` slots. A slot is open, leased to one person for a while, done, or set aside because its pair was
replaced before anybody took it; nobody meets a pair twice.
Labels are facts, skips, revisions and retractions among them; slots only say what is still wanted (slots.py).
"""

import time
from collections.abc import Sequence

from sqlalchemy import insert, text
from sqlmodel import Session, SQLModel, select

from annotate import campaign, gold, slots
from annotate.campaign import InForce
from annotate.edits import add_edits
from annotate.errors import BadInput, Conflict, NotAllowed, NotFound
from annotate.judgment import Judgment, Skip, Stored, check_asked, check_ranking
from annotate.ledger import Ledger
from annotate.offers import LEASE_SECONDS, MOST_TASKS, Offer, claim, offer
from annotate.slots import Place, Shown, Task, add_pairs, ask_only
from annotate.tables import Annotator, Guideline, Label, Slot
from annotate.tally import Counts, count_labels, current_labels, progress

__all__ = [
    "LEASE_SECONDS",
    "MOST_TASKS",
    "Counts",
    "Judgment",
    "Offer",
    "Shown",
    "Stored",
    "Task",
    "add_pairs",
    "ask_only",
    "claim",
    "count_labels",
    "current_labels",
    "offer",
    "progress",
    "register",
    "renew",
    "revise",
    "skip",
    "submit",
    "undo",
]

UNDO_SECONDS = 600


def register(session: Session, annotator_id: str, kind: str = "human", role: str = "annotator") -> Annotator:
    """The annotator with this pseudonym, added when new; one who is known stays as they are."""
    known = session.get(Annotator, annotator_id)
    if known is None:
        known = Annotator(id=annotator_id, kind=kind, role=role, created_at=time.time())
        session.add(known)
        session.flush()
    return known


def submit(ledger: Ledger, annotator_id: str, judgment: Judgment, *, now: float | None = None) -> Stored:
    """Store a judgment for good and close its slot; the same one sent again gets the same answer.

    A lease that ran out is good as long as nobody else took the slot. Raises BadInput when the ranking does not name
    each response once or it says what the campaign does not ask, NotFound for an unknown slot or annotator, Conflict
    when the slot is somebody else's or was judged, or the uuid stands for something else, NotAllowed when the uuid is
    somebody else's.
    """
    at = time.time() if now is None else now

    def run(session: Session) -> Stored:
        who = slots.person(session, annotator_id, at)
        place = slots.find(session, judgment.slot)
        label = _label(annotator_id, judgment, place, at)
        known = _known(session, judgment.uuid)
        if known is not None:
            return _again(session, place, known, label)
        _check_holds(session, place, annotator_id)
        _check_says(session, who.asked, place, judgment, label, begun=place.claimed_at)
        slots.close(session, place, annotator_id, label.order_shown)
        return _store(session, label, place)

    return ledger.write(run)


def revise(ledger: Ledger, annotator_id: str, old: str, judgment: Judgment, *, now: float | None = None) -> Stored:
    """Replace one's own judgment `old` by a new one: its row stays, the new one supersedes it. Idempotent by uuid.

    Raises NotFound or NotAllowed when the old one is not there or not theirs, Conflict when it does not count any
    more, BadInput when the ranking does not fit.
    """
    at = time.time() if now is None else now

    def run(session: Session) -> Stored:
        who = slots.person(session, annotator_id, at)
        before = _own_label(session, annotator_id, old)
        if before.skip_reason is not None or before.slot_id != judgment.slot:
            raise Conflict("only a judgment of the same task can be revised", where=f"label {old}")
        place = slots.find(session, judgment.slot)
        label = _label(annotator_id, judgment, place, at, order=before.order_shown, supersedes=old)
        known = _known(session, judgment.uuid)
        if known is not None:
            return _again(session, place, known, label)
        _check_counts(session, before)
        if gold.feedback(session, place, before):
            raise Conflict("a practice item is judged once", where=f"label {old}", next="Claim the next task")
        _check_says(session, who.asked, place, judgment, label)
        return _store(session, label, place)

    return ledger.write(run)


def undo(
    ledger: Ledger, annotator_id: str, uuid: str, *, lease_seconds: float = LEASE_SECONDS, now: float | None = None
) -> Task:
    """Take back one's own judgment or skip within UNDO_SECONDS; returns its task, leased again.

    Its row stays and a retracting row follows; a second undo of the same does nothing more. Raises NotFound and
    NotAllowed as `revise` does, Conflict when the time is over or somebody else has the task by now.
    """
    at = time.time() if now is None else now

    def run(session: Session) -> Task:
        who = slots.person(session, annotator_id, at)
        label = _own_label(session, annotator_id, uuid)
        if label.retracted or label.slot_id is None:
            raise Conflict("this cannot be undone", where=f"label {uuid}")
        place = slots.find(session, label.slot_id)
        retraction = f"undo:{uuid}"  # a name that no client can give
        if _known(session, retraction) is not None:
            if place.state != "leased" or place.annotator_id != annotator_id:
                raise Conflict("this was undone before, and its task has moved on", where=f"label {uuid}")
        else:
            _check_counts(session, label)
            if at > label.created_at + UNDO_SECONDS:
                minutes = UNDO_SECONDS // 60
                raise Conflict(f"it is older than {minutes} minutes", where=f"label {uuid}", next="Revise it instead")
            if place.state != "open" and place.annotator_id != annotator_id:
                raise Conflict("somebody else has this task by now", where=f"label {uuid}")
            if gold.feedback(session, place, label):
                raise Conflict("a practice item is judged once", where=f"label {uuid}", next="Claim the next task")
            _store(session, _retraction(label, retraction, at), place)
            slots.reopen(session, place, annotator_id, label.order_shown, now=at)
        return slots.lease(session, [label.slot_id], annotator_id, who.asked, now=at, until=at + lease_seconds)[0]

    return ledger.write(run)


def skip(ledger: Ledger, annotator_id: str, slot: int, uuid: str, reason: str, *, now: float | None = None) -> Stored:
    """Give a task back for others, at the end of the queue; one does not meet it again. Idempotent by uuid.

    Raises BadInput for a reason that is empty or over 500 characters, else as `submit` does.
    """
    at = time.time() if now is None else now
    try:
        asked = Skip(uuid=uuid, slot=slot, reason=reason)
    except ValueError as error:
        raise BadInput("a skip has a uuid, a slot and a reason of 1 to 500 characters") from error

    def run(session: Session) -> Stored:
        who = slots.person(session, annotator_id, at)
        place = slots.find(session, asked.slot)
        label = _label(annotator_id, asked, place, at)
        known = _known(session, asked.uuid)
        if known is not None:
            return _again(session, place, known, label)
        _check_holds(session, place, annotator_id)
        slots.give_back(session, place)
        label.guideline_id = who.asked.guideline
        return _store(session, label, place)

    return ledger.write(run)


def renew(
    ledger: Ledger,
    annotator_id: str,
    held: Sequence[int],
    *,
    lease_seconds: float = LEASE_SECONDS,
    now: float | None = None,
) -> float:
    """Extend the leases this person still holds among these slots; returns until when.

    Raises Conflict when they hold none of them any more, NotFound and NotAllowed as `claim` does.
    """
    at = time.time() if now is None else now
    until = at + lease_seconds

    def run(session: Session) -> float:
        slots.person(session, annotator_id, at)
        if not slots.renew(session, held, annotator_id, until):
            raise Conflict("none of these tasks is yours any more", next="Claim new ones")
        return until

    return ledger.write(run, durable=False)


def _check_holds(session: Session, place: Place, annotator_id: str) -> None:
    where = f"slot {place.id}"
    if place.annotator_id == annotator_id:
        if place.state == "done":
            raise Conflict("you have judged this task already", where=where, next="Revise that judgment instead")
        return
    if place.state != "open":
        raise Conflict("this task is not yours: its lease ran out, or never was", where=where, next="Claim another")
    # An open slot is nobody's. Who knows its responses had it before a power loss took the lease back.
    slot = select(Slot.id).where(Slot.pair_id == place.pair_id, Slot.annotator_id == annotator_id)
    label = select(Label.uuid).where(Label.pair_id == place.pair_id, Label.annotator_id == annotator_id)
    if session.exec(slot).first() is not None or session.exec(label).first() is not None:
        raise Conflict("you had this pair already", where=where, next="Claim another")


def _check_says(
    session: Session, asked: InForce, place: Place, judgment: Judgment, label: Label, *, begun: float | None = None
) -> None:
    """Raise BadInput unless the judgment fits the pair and what is asked, now or when it was begun.

    Also sets the guideline: the one that was seen, else the one in force.
    """
    check_ranking(judgment, place.responses)
    label.guideline_id = judgment.guideline or asked.guideline
    if judgment.guideline and session.get(Guideline, judgment.guideline) is None:
        raise BadInput("there is no such guideline", where="guideline", next="Send the task's guideline")
    try:
        check_asked(judgment, place.responses, asked.settings)
    except BadInput as refused:
        # Nobody's work is lost because a lead changed the questions while it was on the screen, or in an outbox.
        before = asked if begun is None else campaign.in_force_at(session, begun)
        if before.id == asked.id:
            raise
        try:
            check_asked(judgment, place.responses, before.settings)
        except BadInput:
            raise refused from None


def _known(session: Session, uuid: str) -> Label | None:
    """The label of this uuid; a new one, the usual case, costs a look at the index."""
    if session.connection().execute(_IS_KNOWN, {"uuid": uuid}).first() is None:
        return None
    return session.get(Label, uuid)


def _own_label(session: Session, annotator_id: str, uuid: str) -> Label:
    label = session.get(Label, uuid)
    if label is None:
        raise NotFound("there is no such label", where=uuid)
    if label.annotator_id != annotator_id:
        raise NotAllowed("this label is somebody else's", where=uuid)
    return label


def _check_counts(session: Session, label: Label) -> None:
    later = session.exec(select(Label).where(Label.supersedes == label.uuid)).first()
    if label.retracted or later is not None:
        done = "undone" if label.retracted or (later is not None and later.retracted) else "revised"
        raise Conflict(f"this was {done} already", where=f"label {label.uuid}")


def _label(
    annotator_id: str,
    said: Judgment | Skip,
    place: Place,
    at: float,
    *,
    order: list[str] | None = None,
    supersedes: str | None = None,
) -> Label:
    """The row for what was said, not yet stored; ties in canonical order, as their order says nothing."""
    judged = said if isinstance(said, Judgment) else None
    return Label(
        uuid=said.uuid,
        slot_id=place.id,
        pair_id=place.pair_id,
        annotator_id=annotator_id,
        ranking=[sorted(tied) for tied in judged.ranking] if judged else [],
        strength=judged.strength if judged else None,
        both_bad=judged.both_bad if judged else False,
        criteria={name: dict(said) if isinstance(said, dict) else said for name, said in judged.criteria.items()}
        if judged
        else {},
        rationale=judged.rationale if judged else "",
        edited=dict(judged.edited) if judged else {},
        flags=list(judged.flags) if judged else [],
        skip_reason=said.reason if isinstance(said, Skip) else None,
        active_ms=judged.active_ms if judged else None,
        order_shown=order or place.order_for(annotator_id),
        supersedes=supersedes,
        source=judged.source if judged else "app",
        created_at=at,
    )


_CONTENT = (
    "slot_id",
    "ranking",
    "strength",
    "both_bad",
    "criteria",
    "rationale",
    "edited",
    "flags",
    "skip_reason",
    "supersedes",
    "retracted",
)


def _again(session: Session, place: Place, known: Label, sent: Label) -> Stored:
    """The answer to a uuid that is stored already: the stored result when it says the same."""
    if known.annotator_id != sent.annotator_id:
        raise NotAllowed("this uuid is somebody else's", where=known.uuid, next="Make a new uuid for each label")
    if any(getattr(known, name) != getattr(sent, name) for name in _CONTENT):
        raise Conflict("this uuid stands for another judgment", where=known.uuid, next="Make a new uuid for each label")
    return _stored(session, place, known)


def _retraction(label: Label, uuid: str, at: float) -> Label:
    """The row that takes a label back; it keeps a skip's reason, so that the count of skips is mended too."""
    return Label(
        uuid=uuid,
        slot_id=label.slot_id,
        pair_id=label.pair_id,
        annotator_id=label.annotator_id,
        ranking=[],
        criteria={},
        edited={},
        flags=[],
        skip_reason=label.skip_reason,
        order_shown=label.order_shown,
        supersedes=label.uuid,
        retracted=True,
        source=label.source,
        created_at=at,
    )


def _store(session: Session, label: Label, place: Place) -> Stored:
    """Insert the row, and its edited texts as responses of their own."""
    connection = session.connection()
    if label.edited:
        add_edits(session, place, label)
    connection.execute(_INSERT, label.model_dump())
    return _stored(session, place, label)


_IS_KNOWN = text("SELECT 1 FROM label WHERE uuid = :uuid")
_INSERT = insert(SQLModel.metadata.tables["label"])


def _stored(session: Session, place: Place, label: Label) -> Stored:
    feedback = gold.feedback(session, place, label)
    return Stored(uuid=label.uuid, undo_until=label.created_at + UNDO_SECONDS, feedback=feedback)
