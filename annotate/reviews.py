"""Reviews: one pair with everything that was said about it, and the verdicts of reviewers, which are facts too."""

import time
from typing import Any, Literal, NamedTuple, get_args

from sqlmodel import Session, col, select

from annotate.auth import Person
from annotate.errors import BadInput, NotFound
from annotate.ledger import Ledger, audit
from annotate.tables import Annotator, Guideline, Identity, Label, Pair, PairResponse, Prompt, Response, Review

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
