"""Reviews: one pair with everything that was said about it, the verdicts of reviewers, and what leads make gold."""

import time
from typing import Any, Literal, NamedTuple, get_args

from sqlmodel import Session, col, func, select

from annotate.auth import Person
from annotate.errors import BadInput, NotFound
from annotate.gold import Use, copy_as_gold
from annotate.ledger import Ledger, audit
from annotate.tables import Annotator, Gold, Guideline, Identity, Label, Pair, PairResponse, Prompt, Response, Review

Verdict = Literal["agree", "disagree", "unusable"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
MOST_REASON = 2000


class Vote(NamedTuple):
    """A label with who gave it, and the label that took its place, if any. version: of the guideline that was seen."""

    label: Label
    name: str
    kind: str
    superseded_by: str | None
    version: int | None


class Opened(NamedTuple):
    """A pair as it was asked, all votes on it with their earlier versions, oldest first, and the reviews."""

    pair: Pair
    prompt: Prompt
    responses: list[Response]
    votes: list[Vote]
    reviews: list[tuple[Review, str]]


def open_label(session: Session, uuid: str) -> Opened:
    """Everything about the pair that this label is on; raises NotFound."""
    label = session.get(Label, uuid)
    if label is None:
        raise NotFound("there is no such label", where=uuid[:64])
    pair = session.get(Pair, label.pair_id)
    assert pair is not None, "a label's pair is there by foreign key"
    prompt = session.get(Prompt, pair.prompt_id)
    assert prompt is not None, "a pair's prompt is there by foreign key"
    members = (
        select(Response)
        .join(PairResponse, col(PairResponse.response_id) == col(Response.id))
        .where(PairResponse.pair_id == pair.id)
        .order_by(col(PairResponse.position))
    )
    said = (
        select(Label, Identity.name, Annotator.kind, Guideline.version)
        .join(Annotator, col(Annotator.id) == col(Label.annotator_id))
        .join(Identity, col(Identity.annotator_id) == col(Label.annotator_id), isouter=True)
        .join(Guideline, col(Guideline.id) == col(Label.guideline_id), isouter=True)
        .where(Label.pair_id == pair.id)
        .order_by(col(Label.created_at), col(Label.uuid))
    )
    rows: list[Any] = list(session.exec(said).all())
    later = {row[0].supersedes: row[0].uuid for row in rows if row[0].supersedes}
    votes = [
        Vote(label, name or label.annotator_id, kind, later.get(label.uuid), version)
        for label, name, kind, version in rows
    ]
    written = (
        select(Review, Identity.name)
        .join(Identity, col(Identity.annotator_id) == col(Review.reviewer_id), isouter=True)
        .where((col(Review.label_uuid).in_([vote.label.uuid for vote in votes])) | (col(Review.pair_id) == pair.id))
        .order_by(col(Review.id))
    )
    reviews = [(review, name or review.reviewer_id) for review, name in session.exec(written).all()]
    return Opened(pair, prompt, list(session.exec(members)), votes, reviews)


def review(ledger: Ledger, by: Person, uuid: str, verdict: str, reason: str) -> int:
    """Append a verdict on a label; returns its number. A reviewer who changes their mind writes another one.

    Raises NotFound, and BadInput for an unknown verdict, or a disagreement without a reason.
    """
    reason = reason.strip()
    if verdict not in VERDICTS:
        raise BadInput("choose a verdict", where="verdict", next=f"Use one of: {', '.join(VERDICTS)}")
    if len(reason) > MOST_REASON:
        raise BadInput(f"a reason has at most {MOST_REASON} characters", where="reason")
    if verdict != "agree" and not reason:
        raise BadInput("say why: this verdict needs a reason", where="reason")

    def write(session: Session) -> int:
        if session.get(Label, uuid) is None:
            raise NotFound("there is no such label", where=uuid[:64])
        row = Review(label_uuid=uuid, verdict=verdict, reason=reason, reviewer_id=by.id, created_at=time.time())
        session.add(row)
        session.flush()
        audit(session, by.id, "label.reviewed", uuid, {"verdict": verdict})
        assert row.id is not None, "the row was just stored"
        return row.id

    return ledger.write(write)


class Item(NamedTuple):
    """A pair whose answer is known: the beginning of its prompt, what it is for, and how many labels it got."""

    pair: str
    prompt: str
    use: str
    explanation: str
    answers: int


def gold_items(session: Session) -> list[Item]:
    """All gold items as their newest rows say, newest first."""
    newest = select(func.max(Gold.id)).group_by(col(Gold.pair_id))
    answers = (
        select(func.count(col(Label.uuid)))
        .where(Label.pair_id == Gold.pair_id, col(Label.retracted).is_(False), col(Label.skip_reason).is_(None))
        .scalar_subquery()
    )
    query = (
        select(  # type: ignore[call-overload]
            Gold.pair_id, func.substr(Prompt.text, 1, 200), Gold.use, Gold.explanation, answers
        )
        .join(Pair, col(Pair.id) == col(Gold.pair_id))
        .join(Prompt, col(Prompt.id) == col(Pair.prompt_id))
        .where(col(Gold.id).in_(newest))
        .order_by(col(Gold.id).desc())
    )
    return [Item._make(row) for row in session.exec(query)]


def make_gold(ledger: Ledger, by: Person, uuid: str, use: str, explanation: str) -> str:
    """Make a gold item of a label: its ranking is the answer. Returns the item's pair id.

    Raises NotFound, and BadInput for an unknown use, a skip, or an explanation that is missing or too long.
    """
    explanation = explanation.strip()
    if use not in ("practice", "control"):
        raise BadInput("choose what it is for", where="use", next="Use practice or control")
    if not 1 <= len(explanation) <= MOST_REASON:
        raise BadInput(f"an explanation has 1 to {MOST_REASON} characters", where="explanation")
    chosen: Use = "practice" if use == "practice" else "control"

    def write(session: Session) -> str:
        label = session.get(Label, uuid)
        if label is None:
            raise NotFound("there is no such label", where=uuid[:64])
        if not label.ranking:
            raise BadInput("a skip is no answer", where=uuid[:64])
        made = copy_as_gold(session, label.pair_id, label.ranking, explanation, chosen, author=by.id)
        audit(session, by.id, "gold.made", made, {"use": chosen})
        return made

    return ledger.write(write)


def drop_gold(ledger: Ledger, by: Person, pair_id: str) -> None:
    """Take a gold item out of use; raises NotFound."""

    def write(session: Session) -> None:
        row = session.exec(select(Gold).where(Gold.pair_id == pair_id).order_by(col(Gold.id).desc())).first()
        if row is None:
            raise NotFound("there is no such gold item", where=pair_id[:64])
        fields = row.model_dump(exclude={"id", "use", "author", "created_at"})
        session.add(Gold(**fields, use="off", author=by.id, created_at=time.time()))
        session.flush()
        audit(session, by.id, "gold.dropped", pair_id, {})

    ledger.write(write)
