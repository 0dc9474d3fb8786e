"""Browse and search labels: filters, words, and pages by key that cost the same at a million labels.

Rows come from the catalog, newest first. A page looks at ever larger stretches of it and stops when it is full or its
time is up: the next page goes on from there. Words are those of prompt, responses and rationale; a pair's texts stand
in the index once, at its first label, and find all of its labels.
"""

import re
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import JSON, Row, bindparam, text
from sqlmodel import Session, select

from annotate.tables import Identity

MOST = 50
"""Rows a page."""
SECONDS = 0.05
"""How long a page may look for rows; beyond it only the rows themselves are read."""
FIRST_STRETCH = 2000


class Wanted(BaseModel):
    """Which labels are looked for; what is left out is not asked.

    words: all of them, in any order; those in double quotes side by side. only: one kind of label.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: str = Field(default="", max_length=500)
    round: int | None = None
    annotator: str = ""
    objective: str = ""
    split: str = ""
    flagged: bool = False
    both_bad: bool = False
    disagreement: bool = False
    skipped: bool = False


class Found(NamedTuple):
    """One label in a list. prompt: the beginning of it. name: the annotator's, the pseudonym where there is none."""

    id: int
    uuid: str
    pair: str
    round: int
    annotator: str
    name: str
    objective: str
    split: str
    prompt: str
    ranking: list[list[str]]
    order_shown: list[str]
    strength: int | None
    both_bad: bool
    flags: list[str]
    rationale: str
    skip_reason: str | None
    created_at: float
    reviewed: str | None


class Page(NamedTuple):
    """next: where the page after this one begins, None at the end of the catalog."""

    rows: list[Found]
    next: int | None


def find(session: Session, wanted: Wanted, before: int | None = None, *, most: int = MOST) -> Page:
    """The newest labels that are wanted, of those before a catalog number; superseded ones are left out.

    A page may hold fewer than `most` rows, even none, and still have a next one.
    """
    connection = session.connection()
    end = time.monotonic() + SECONDS
    top = before if before is not None else (connection.execute(_TOP).scalar() or 0) + 1
    query = match(wanted.words, connection.dialect.name)
    step = _by_words if query else _by_stretch
    rows: list[int] = []
    size = most if query else FIRST_STRETCH
    next: int | None = top
    while next is not None and len(rows) < most:
        found, next = step(session, wanted, query, next, size, most - len(rows))
        rows += found
        size *= 2
        if time.monotonic() > end:
            break
    return Page(_read(session, rows), next)


def pseudonym(session: Session, name: str) -> str:
    """The pseudonym of who has this name; the name itself where nobody has it, as it may be a pseudonym."""
    return session.exec(select(Identity.annotator_id).where(Identity.name == name)).first() or name


def match(words: str, dialect: str) -> str:
    """The words as a query that means nothing but words; empty when there is none."""
    parts = [quoted or word for quoted, word in re.findall(r'"([^"]+)"|([^\s"]+)', words.replace("\0", " "))]
    parts = [part for part in parts if re.search(r"\w", part)]
    if dialect == "postgresql":
        return " ".join(f'"{part}"' for part in parts)  # for websearch_to_tsquery
    return " AND ".join(f'"{part}"' for part in parts)


def _by_stretch(
    session: Session, wanted: Wanted, _: str, top: int, size: int, most: int
) -> tuple[list[int], int | None]:
    """Catalog numbers in the stretch of `size` below top, and where to go on."""
    bottom = max(0, top - size)
    conditions, values = _conditions(wanted)
    query = text(
        f"SELECT entry.id FROM catalog AS entry WHERE entry.id < :top AND entry.id >= :bottom AND {conditions} "
        "ORDER BY entry.id DESC LIMIT :most"
    )
    values |= {"top": top, "bottom": bottom, "most": most}
    found = list(session.connection().execute(query, values).scalars())
    if len(found) == most:
        return found, found[-1]
    return found, bottom or None


def _by_words(
    session: Session, wanted: Wanted, query: str, top: int, size: int, most: int
) -> tuple[list[int], int | None]:
    """Labels of the next places where the words stand, and where to go on."""
    connection = session.connection()
    postgresql = connection.dialect.name == "postgresql"
    asked = {"query": query, "top": top, "size": size}
    places = list(connection.execute(_PLACES_POSTGRESQL if postgresql else _PLACES, asked).scalars())
    if not places:
        return [], None
    conditions, values = _conditions(wanted)
    stands = _STANDS_POSTGRESQL if postgresql else _STANDS
    # The texts of a pair find all of its labels, a rationale only its own; where both do, the label comes once.
    whole_pair = f"place.first AND {stands.format(at='place')}"
    once = (
        "(place.first OR NOT EXISTS (SELECT 1 FROM catalog AS start WHERE start.pair_id = place.pair_id "
        f"AND start.first AND {stands.format(at='start')}))"
    )
    statement = text(
        "SELECT place.id AS place, entry.id FROM catalog AS place JOIN catalog AS entry "
        f"ON entry.pair_id = place.pair_id AND (entry.id = place.id OR ({whole_pair})) "
        f"WHERE place.id IN :places AND {once} AND {conditions} ORDER BY place.id DESC, entry.id DESC"
    ).bindparams(bindparam("places", expanding=True))
    found: list[int] = []
    texts = query if postgresql else f"texts : ({query})"
    rows = connection.execute(statement, values | {"places": places, "texts": texts}).all()
    for number, row in enumerate(rows):
        found.append(row.id)
        whole = number + 1 == len(rows) or rows[number + 1].place != row.place
        if len(found) >= most and whole:
            return found, row.place
    return found, places[-1] if len(places) == size else None


def _conditions(wanted: Wanted) -> tuple[str, dict[str, Any]]:
    """What a row `entry` of the catalog must be, as SQL with its values."""
    conditions = ["entry.skipped" if wanted.skipped else "NOT entry.skipped", _COUNTS]
    values: dict[str, Any] = {}
    for name, value in (
        ("round", wanted.round),
        ("annotator_id", wanted.annotator or None),
        ("objective", wanted.objective or None),
        ("split", wanted.split or None),
    ):
        if value is not None:
            conditions.append(f"entry.{name} = :{name}")
            values[name] = value
    conditions += [f"entry.{name}" for name in ("flagged", "both_bad") if getattr(wanted, name)]
    if wanted.disagreement:
        conditions.append(_DISPUTED)
    return " AND ".join(conditions), values


def _read(session: Session, numbers: Sequence[int]) -> list[Found]:
    """The rows of these catalog numbers, in their order."""
    if not numbers:
        return []
    rows: dict[int, Row[Any]] = {
        row.id: row for row in session.connection().execute(_ROWS, {"numbers": list(numbers)}).all()
    }
    return [Found._make(rows[number]) for number in numbers]


_TOP = text("SELECT max(id) FROM catalog")
_PLACES = text(
    "SELECT rowid FROM catalog_words WHERE catalog_words MATCH :query AND rowid < :top ORDER BY rowid DESC LIMIT :size"
)
_PLACES_POSTGRESQL = text(
    "SELECT id FROM catalog_words WHERE words @@ websearch_to_tsquery('simple', :query) AND id < :top "
    "ORDER BY id DESC LIMIT :size"
)
_STANDS = "EXISTS (SELECT 1 FROM catalog_words WHERE catalog_words MATCH :texts AND catalog_words.rowid = {at}.id)"
_STANDS_POSTGRESQL = (
    "EXISTS (SELECT 1 FROM catalog_words WHERE catalog_words.id = {at}.id "
    "AND texts @@ websearch_to_tsquery('simple', :texts))"
)
_COUNTS = "NOT EXISTS (SELECT 1 FROM label AS later WHERE later.supersedes = entry.label_uuid)"
_DISPUTED = (
    "EXISTS (SELECT 1 FROM label AS mine JOIN label AS other ON other.pair_id = mine.pair_id "
    "WHERE mine.uuid = entry.label_uuid AND other.skip_reason IS NULL AND NOT other.retracted "
    "AND CAST(other.ranking AS TEXT) <> CAST(mine.ranking AS TEXT) "
    "AND NOT EXISTS (SELECT 1 FROM label AS after WHERE after.supersedes = other.uuid))"
)
_ROWS = (
    text(
        "SELECT entry.id, label.uuid, label.pair_id, entry.round, label.annotator_id, "
        "COALESCE(identity.name, label.annotator_id), entry.objective, entry.split, substr(prompt.text, 1, 200), "
        "label.ranking, label.order_shown, label.strength, label.both_bad, label.flags, "
        "substr(label.rationale, 1, 200), label.skip_reason, label.created_at, "
        "(SELECT verdict FROM review WHERE review.label_uuid = label.uuid ORDER BY review.id DESC LIMIT 1) "
        "FROM catalog AS entry JOIN label ON label.uuid = entry.label_uuid JOIN pair ON pair.id = label.pair_id "
        "JOIN prompt ON prompt.id = pair.prompt_id LEFT JOIN identity ON identity.annotator_id = label.annotator_id "
        "WHERE entry.id IN :numbers"
    )
    .bindparams(bindparam("numbers", expanding=True))
    .columns(ranking=JSON, order_shown=JSON, flags=JSON)
)
