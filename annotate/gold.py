"""Gold: pairs whose answer is known, given to one person at a time as practice or as hidden control items.

They belong to no round and never enter the open queue: each person gets a slot of their own for them. What they are for
is said by the campaign; labels on them are facts like others, but enter no snapshot.
"""

import hashlib
import time
from collections.abc import Sequence
from typing import Literal, NamedTuple

from sqlmodel import Session, col, select

from annotate import statements as sql
from annotate.campaign import CampaignSection
from annotate.errors import BadInput, NotFound
from annotate.judgment import Feedback
from annotate.pairs import CandidatePair
from annotate.slots import Person, Place, add_pairs
from annotate.tables import Gold, Label, Pair, PairResponse

Use = Literal["practice", "control", "off"]
ROUND = -1
"""The round of gold pairs: none of the loop's."""


class Qualification(NamedTuple):
    """How far one person's qualification is: practice items needed, done, right among the last `needed`, and passed."""

    needed: int = 0
    done: int = 0
    right: int = 0
    passed: bool = True


def add_gold(
    session: Session,
    prompt_id: str,
    ranking: Sequence[Sequence[str]],
    explanation: str,
    use: Use,
    *,
    author: str = "",
    objective: str = "helpful",
    now: float | None = None,
) -> str:
    """Make a gold item of responses to a prompt, best first, ties sharing a list; returns its pair's id.

    The same responses again replace the answer, its explanation and use; `off` takes the item out of use.
    Raises BadInput when a response does not answer the prompt, or for less than two.
    """
    responses = tuple(response for tied in ranking for response in tied)
    pair = CandidatePair(prompt_id, responses, ROUND, objective=objective, strategy="gold", overlap=0, source="gold")
    add_pairs(session, [pair], now=now)
    row = Gold(
        pair_id=pair.id,
        ranking=[sorted(tied) for tied in ranking if tied],
        explanation=explanation,
        use=use,
        author=author,
        created_at=time.time() if now is None else now,
    )
    session.add(row)
    session.flush()
    return pair.id


def copy_as_gold(
    session: Session, pair_id: str, ranking: Sequence[Sequence[str]], explanation: str, use: Use, *, author: str = ""
) -> str:
    """Make a gold item of a pair that stands in a round; that pair itself stays as it is. Returns the new pair's id."""
    pair = session.get(Pair, pair_id)
    if pair is None:
        raise NotFound("there is no such pair", where=pair_id)
    members = session.exec(select(PairResponse.response_id).where(col(PairResponse.pair_id) == pair_id)).all()
    if sorted(members) != sorted(response for tied in ranking for response in tied):
        raise BadInput("a ranking names every response of the pair exactly once", where=f"pair {pair_id}")
    return add_gold(session, pair.prompt_id, ranking, explanation, use, author=author, objective=pair.objective)


def give(session: Session, who: Person, use: Use) -> int | None:
    """A slot of their own on the next gold item this person has not had, to be leased; None when there is none."""
    connection = session.connection()
    asked = {"use": use, "who": who.id, "topics": list(who.opted_out), "start": ""}
    if use == "control":  # everybody starts somewhere else, so that neighbours do not see the same ones at once
        asked["start"] = hashlib.sha256(who.id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    pair = connection.execute(sql.NEXT_PRACTICE if use == "practice" else sql.NEXT_CONTROL, asked).scalar()
    if pair is None:
        return None
    if connection.dialect.name == "postgresql":
        connection.execute(sql.LOCK_PAIR, {"pair": pair})
    return int(connection.execute(sql.GIVE_GOLD, {"pair": pair}).scalar_one())


def qualification(session: Session, annotator_id: str, asked: CampaignSection) -> Qualification:
    """How far this person is; nothing is needed while the campaign asks for none, or has no practice items."""
    if not asked.qualification:
        return Qualification()
    connection = session.connection()
    needed = min(asked.qualification, connection.execute(sql.COUNT_GOLD, {"use": "practice"}).scalar_one())
    rows = connection.execute(sql.PRACTISED, {"use": "practice", "who": annotator_id}).all()
    results = [row.skip_reason is None and is_right(row.ranking, row.known) for row in rows]
    right = sum(results[len(results) - needed :]) if needed <= len(results) else sum(results)
    passed = needed == 0 or (len(results) >= needed and right >= asked.pass_share * needed - 1e-9)
    return Qualification(needed, len(results), right if needed else 0, passed)


def feedback(session: Session, place: Place, label: Label) -> Feedback | None:
    """What a judgment of a practice item is answered with; None for any other."""
    if place.replica >= 0 or label.skip_reason is not None:
        return None
    gold = session.connection().execute(sql.GOLD_OF, {"pair": place.pair_id}).first()
    if gold is None or gold.use != "practice":
        return None
    return Feedback(right=is_right(label.ranking, gold.ranking), ranking=gold.ranking, explanation=gold.explanation)


def is_right(ranking: Sequence[Sequence[str]], known: Sequence[Sequence[str]]) -> bool:
    """Whether a ranking orders as the known one whatever that orders; a known tie of all wants a tie of all."""
    if len(known) == 1:
        return len(ranking) == 1
    rank = {response: place for place, tied in enumerate(ranking) for response in tied}
    return all(
        rank[better] < rank[worse]
        for place, tied in enumerate(known)
        for better in tied
        for later in known[place + 1 :]
        for worse in later
    )
