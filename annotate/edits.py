"""Edits: what a person makes of a response is a response of its own, better than the one it came from."""

from collections.abc import Mapping

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, SQLModel

from annotate.messages import digest
from annotate.slots import Place
from annotate.tables import Label

MODEL = "human"
"""The `model` of an edited response."""


def edit_id(prompt_id: str, text: str) -> str:
    """The id of an edited response: the same text for the same prompt is one response, whoever wrote it."""
    return digest(["edit", prompt_id, text])


def add_edits(session: Session, place: Place, label: Label) -> None:
    """Store the edited texts of a label as responses; those that are there already stay."""
    connection = session.connection()
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    rows = [
        {
            "id": edit_id(place.prompt_id, text),
            "prompt_id": place.prompt_id,
            "text": text,
            "model": MODEL,
            "sampling": {},
            "source": "edit",
            "created_at": label.created_at,
        }
        for text in dict.fromkeys(label.edited.values())
    ]
    connection.execute(insert(SQLModel.metadata.tables["response"]).on_conflict_do_nothing(), rows)


def edited_ids(prompt_id: str, edited: Mapping[str, str]) -> dict[str, str]:
    """Response id to the id of what it was edited to."""
    return {response: edit_id(prompt_id, text) for response, text in edited.items()}
