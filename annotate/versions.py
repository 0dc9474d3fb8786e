"""Campaigns over time: which were in force, their guidelines, and what one changes over another."""

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

from sqlmodel import Session, col, select

from annotate.campaign import CampaignSection
from annotate.tables import Campaign, Guideline, Identity

MOST = 50


class Version(NamedTuple):
    """A campaign that was put in force: by whom (a name, or `recipe`), when, and its guideline's version."""

    version: int
    settings: CampaignSection
    guideline: int | None
    author: str
    created_at: float


class Change(NamedTuple):
    """A line of a diff: kept, added or removed; `skipped` stands for so many kept lines."""

    kind: Literal["kept", "added", "removed", "skipped"]
    line: str


def versions(session: Session) -> list[Version]:
    """The campaigns that were put in force, newest first, at most MOST."""
    query = (
        select(Campaign, Guideline.version, Identity.name)
        .join(Guideline, col(Guideline.id) == col(Campaign.guideline_id), isouter=True)
        .join(Identity, col(Identity.annotator_id) == col(Campaign.author), isouter=True)
        .order_by(col(Campaign.version).desc())
        .limit(MOST)
    )
    return [
        Version(
            row.version, CampaignSection.model_validate(row.settings), guideline, name or row.author, row.created_at
        )
        for row, guideline, name in session.exec(query)
    ]


def changes(before: CampaignSection, after: CampaignSection) -> list[tuple[str, object, object]]:
    """The settings that differ, the guideline's text left out: name, before, after."""
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    return [(name, old[name], new[name]) for name in new if name != "guideline" and old[name] != new[name]]


def diff(before: str, after: str, context: int = 2) -> Iterator[Change]:
    """What became of the lines, with a few that were kept around each change."""
    old, new = before.splitlines(), after.splitlines()
    for group in SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
        kind, a, b, c, d = group
        if kind == "equal":
            lines = old[a:b]
            head = lines[:context] if a > 0 else []
            tail = lines[len(head) :][-context:] if b < len(old) or d < len(new) else []
            hidden = len(lines) - len(head) - len(tail)
            yield from (Change("kept", line) for line in head)
            if hidden:
                yield Change("skipped", str(hidden))
            yield from (Change("kept", line) for line in tail)
            continue
        yield from (Change("removed", line) for line in old[a:b])
        yield from (Change("added", line) for line in new[c:d])
