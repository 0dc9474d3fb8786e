"""Lineage: what an artifact was made from, what was made from it, and which labels stand behind it.

Edges are artifact_parent, snapshot_label, and the artifacts that wrote a pair and its responses. Reads only.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import func
from sqlmodel import Session, col, select

from annotate.tables import Artifact, ArtifactParent, Label, Pair, PairResponse, Response, SnapshotLabel


@dataclass(frozen=True)
class LabelLineage:
    """What a label was given for (ancestors) and all that was made from it (descendants), oldest first."""

    round: int
    ancestors: list[Artifact]
    descendants: list[Artifact]


def ancestors(session: Session, identities: list[str]) -> list[Artifact]:
    """All artifacts that these were made from, themselves left out, oldest first."""
    found = _reached(session, identities, upwards=True)
    return _rows(session, found - set(identities))


def descendants(session: Session, identities: list[str]) -> list[Artifact]:
    """All artifacts made from these, themselves left out, oldest first."""
    found = _reached(session, identities, upwards=False)
    return _rows(session, found - set(identities))


def count_labels_behind(session: Session, identity: str) -> int:
    """How many labels the artifact depends on: those frozen by it or by any snapshot among its ancestors."""
    snapshots = _snapshots(session, identity)
    # In one snapshot no label can count twice, and counting distinct ones is the dear part.
    label = func.count() if len(snapshots) <= 1 else func.count(col(SnapshotLabel.label_uuid).distinct())
    return session.exec(select(label).where(col(SnapshotLabel.artifact_id).in_(snapshots))).one()


def labels_behind(session: Session, identity: str) -> list[str]:
    """The uuids that `count_labels_behind` counts, sorted."""
    query = select(SnapshotLabel.label_uuid).where(col(SnapshotLabel.artifact_id).in_(_snapshots(session, identity)))
    return list(session.exec(query.distinct().order_by(col(SnapshotLabel.label_uuid))))


def lineage_of_label(session: Session, uuid: str) -> LabelLineage | None:
    """Where a label came from and went, None when there is no such label.

    Ancestors: the artifacts that wrote its pair and the pair's responses, and theirs. Descendants: the snapshots that
    froze it, and theirs.
    """
    pair = session.exec(select(Pair).join(Label, col(Label.pair_id) == col(Pair.id)).where(Label.uuid == uuid)).first()
    if pair is None:
        return None
    writers = (
        select(Response.artifact_id)
        .join(PairResponse, col(PairResponse.response_id) == col(Response.id))
        .where(PairResponse.pair_id == pair.id)
    )
    sources = {made for made in [pair.artifact_id, *session.exec(writers)] if made is not None}
    frozen = select(SnapshotLabel.artifact_id).where(SnapshotLabel.label_uuid == uuid)
    return LabelLineage(
        round=pair.round,
        ancestors=_rows(session, _reached(session, sources, upwards=True)),
        descendants=_rows(session, _reached(session, session.exec(frozen), upwards=False)),
    )


def _reached(session: Session, start: Iterable[str], *, upwards: bool) -> set[str]:
    """Ids reached over the edges from `start`, which are among them."""
    edge = ArtifactParent
    source, target = (edge.artifact_id, edge.parent_id) if upwards else (edge.parent_id, edge.artifact_id)
    walk = select(Artifact.id).where(col(Artifact.id).in_(list(start))).cte("walk", recursive=True)
    step = select(target).join(walk, col(source) == walk.c.id)
    walk = walk.union(step)
    return set(session.exec(select(walk.c.id)))


def _snapshots(session: Session, identity: str) -> list[str]:
    """The artifact and its ancestors, as far as they froze labels."""
    reached = _reached(session, [identity], upwards=True)
    frozen = select(SnapshotLabel.artifact_id).where(SnapshotLabel.artifact_id == Artifact.id).exists()
    return sorted(session.exec(select(Artifact.id).where(col(Artifact.id).in_(reached), frozen)))


def _rows(session: Session, identities: set[str]) -> list[Artifact]:
    query = select(Artifact).where(col(Artifact.id).in_(identities))
    return list(session.exec(query.order_by(col(Artifact.created_at), col(Artifact.id))))
