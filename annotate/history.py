"""A person's own labels, newest first, to look at and to revise; a page at a time, however many there are."""

from typing import Any

from sqlalchemy import tuple_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from annotate.campaign import in_force
from annotate.errors import NotFound
from annotate.slots import tasks_of
from annotate.tables import Label

MOST = 100


def history(session: Session, annotator_id: str, n: int = 20, before: str | None = None) -> list[dict[str, Any]]:
    """Up to n of this person's labels that count, those older than `before` when that is given.

    Raises NotFound when `before` is no label of theirs.
    """
    later = aliased(Label)
    query = select(Label).where(
        Label.annotator_id == annotator_id,
        col(Label.slot_id).is_not(None),
        col(Label.skip_reason).is_(None),
        col(Label.retracted).is_(False),
        ~select(later.uuid).where(later.supersedes == Label.uuid).exists(),
    )
    if before is not None:
        last = session.get(Label, before)
        if last is None or last.annotator_id != annotator_id:
            raise NotFound("there is no such label of yours", where=before)
        query = query.where(tuple_(col(Label.created_at), col(Label.uuid)) < (last.created_at, last.uuid))
    query = query.order_by(col(Label.created_at).desc(), col(Label.uuid).desc()).limit(n)
    labels = session.exec(query).all()
    shown = [label.slot_id for label in labels if label.slot_id is not None]
    tasks = {task.slot: task for task in tasks_of(session, shown, annotator_id, in_force(session))}
    return [
        {
            "uuid": label.uuid,
            "created_at": label.created_at,
            "task": _as_seen(tasks[label.slot_id or 0].model_dump(mode="json"), label),
            "ranking": label.ranking,
            "strength": label.strength,
            "both_bad": label.both_bad,
            "criteria": label.criteria,
            "rationale": label.rationale,
            "edited": label.edited,
            "flags": label.flags,
        }
        for label in labels
    ]


def _as_seen(task: dict[str, Any], label: Label) -> dict[str, Any]:
    """The task with the responses in the order, and the guideline, that the label was given under."""
    by_id = {response["id"]: response for response in task["responses"]}
    return {**task, "responses": [by_id[one] for one in label.order_shown], "guideline": label.guideline_id}
