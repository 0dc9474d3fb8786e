"""How far labelling is: counts that cost the same at a million labels, and the labels that count.

Counts are kept by a trigger and by slots.add_pairs. What the labels say is quality.py's and snapshot.py's business.
"""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict
from sqlalchemy import func
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from annotate.tables import Gold, Label, Pair, RoundSize, Tally


class Counts(BaseModel):
    """have of need labels of the newest round, its pairs; and what one person labelled and skipped, in all rounds.

    round is None while no round has pairs to label. mine_round: of `mine`, those in that round.
    """

    model_config = ConfigDict(frozen=True)

    round: int | None = None
    have: int = 0
    need: int = 0
    pairs: int = 0
    mine: int = 0
    mine_round: int = 0
    skipped: int = 0


def count_labels(session: Session, round: int) -> tuple[int, int]:
    """How many labels of a round count, and how many its pairs ask for."""
    have = session.exec(select(func.coalesce(func.sum(Tally.labels), 0)).where(Tally.round == round)).one()
    slots = session.exec(select(RoundSize.slots).where(RoundSize.round == round)).first()
    return int(have), slots or 0


def progress(session: Session, annotator_id: str | None = None) -> Counts:
    """The newest round's counts, and one annotator's own."""
    size = session.exec(select(RoundSize).where(RoundSize.slots > 0).order_by(col(RoundSize.round).desc())).first()
    mine = session.exec(select(Tally).where(Tally.annotator_id == annotator_id)).all() if annotator_id else []
    newest = None if size is None else size.round
    return Counts(
        round=newest,
        have=0 if newest is None else count_labels(session, newest)[0],
        need=0 if size is None else size.slots,
        pairs=0 if size is None else size.pairs,
        mine=sum(row.labels for row in mine),
        mine_round=sum(row.labels for row in mine if row.round == newest),
        skipped=sum(row.skips for row in mine),
    )


def current_labels(
    session: Session,
    *,
    round: int | None = None,
    pair: str | None = None,
    annotator_id: str | None = None,
    up_to: int | None = None,
    by_pair: bool = False,
    gold: bool = False,
) -> Iterator[Label]:
    """The labels that count: not superseded, not retracted, no skips; of a round, pair or person, or up to a round.

    gold: whether those on gold pairs are among them. Oldest first; by_pair: pair after pair by id, the oldest first in
    each.
    """
    later = aliased(Label)
    query = (
        select(Label)
        .where(
            col(Label.retracted).is_(False),
            col(Label.skip_reason).is_(None),
            ~select(later.uuid).where(later.supersedes == Label.uuid).exists(),
        )
        .order_by(*([col(Label.pair_id)] if by_pair else []), col(Label.created_at), col(Label.uuid))
    )
    if not gold:
        query = query.where(~select(Gold.id).where(Gold.pair_id == Label.pair_id).exists())
    if up_to is not None:
        query = query.join(Pair, col(Pair.id) == col(Label.pair_id)).where(Pair.round <= up_to)
    if round is not None:
        query = query.join(Pair, col(Pair.id) == col(Label.pair_id)).where(Pair.round == round)
    if pair is not None:
        query = query.where(Label.pair_id == pair)
    if annotator_id is not None:
        query = query.where(Label.annotator_id == annotator_id)
    with session.exec(query.execution_options(yield_per=1000)) as rows:
        yield from rows
