"""The HTTP routes around a person's work: what is asked of them, what they said so far, their profile.

Thin like api.py, which has the routes of the work itself.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi import Path as ApiPath
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import FileResponse

from annotate.auth import Person
from annotate.chat import Chat, Responder, conversation_after
from annotate.errors import BadInput, NotFound
from annotate.guard import whoami
from annotate.history import MOST, history
from annotate.judgment import Text
from annotate.ledger import Ledger
from annotate.media import image_path, kind_of
from annotate.messages import Role, as_messages
from annotate.profiles import ProfileIn, profile_of, save_profile
from annotate.rules import asked_of
from annotate.slots import Task

Words = Annotated[Text, Field(max_length=20_000)]


class Turn(BaseModel):
    """One turn of a conversation, as text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    content: Words


Me = Annotated[Person, Depends(whoami)]


class ChatIn(BaseModel):
    """A conversation that ends with my words; or the slot that I judged, and what I say to the response I preferred."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    messages: Annotated[tuple[Turn, ...], Field(min_length=1, max_length=100)] | None = None
    parent: int | None = Field(default=None, ge=1, lt=2**31)
    text: Words = ""


def add_routes(routes: APIRouter, ledger: Ledger, responder: Responder | None) -> None:
    """Add them to the routes under /api; responder: who answers live conversations."""
    conversations = Chat(ledger, responder)

    @routes.post("/chat")
    def chat(me: Me, sent: ChatIn) -> dict[str, Task]:
        """Fresh responses of blinded models to my own prompt, or to what I say to the response I preferred."""
        if (sent.messages is None) == (sent.parent is None) or bool(sent.text.strip()) == (sent.parent is None):
            raise BadInput("send messages, or parent and text", where="messages")
        if sent.messages is not None:
            messages = as_messages([turn.model_dump() for turn in sent.messages])
            if messages[-1].role != "user" or not messages[-1].text.strip():
                raise BadInput("a conversation ends with what the user says", where="messages")
        else:
            with ledger.read() as session:
                messages = conversation_after(session, me.id, sent.parent or 0, sent.text)
        return {"task": conversations.ask(me.id, messages)}

    @routes.get("/campaign")
    def campaign(me: Me) -> dict[str, Any]:
        """What is asked about each pair, the guideline, and how far my qualification and my day are."""
        with ledger.read() as session:
            return asked_of(session, me.id)

    @routes.get("/history")
    def mine(
        me: Me,
        n: Annotated[int, Query(ge=1, le=MOST)] = 20,
        before: Annotated[str | None, Query(pattern=r"^[0-9A-Za-z_-]{8,64}$")] = None,
    ) -> dict[str, list[dict[str, Any]]]:
        """My own labels that count, newest first, at most n of them, older than the label `before`."""
        with ledger.read() as session:
            return {"labels": history(session, me.id, n, before)}

    @routes.get("/media/{hash}", response_class=FileResponse)
    def image(me: Me, hash: Annotated[str, ApiPath(pattern=r"^[0-9a-f]{64}$")]) -> FileResponse:
        """An image that a prompt shows, by the hash of its bytes."""
        path = image_path(ledger.media, hash)
        if path is None:
            raise NotFound("there is no such image", where=hash)
        with path.open("rb") as file:
            kind = kind_of(file.read(16))
        return FileResponse(path, media_type=kind or "application/octet-stream")

    @routes.get("/profile")
    def profile(me: Me) -> dict[str, Any]:
        """My languages, expertise, topics I do not want, settings of the page, and the topics there are."""
        with ledger.read() as session:
            return profile_of(session, me.id)

    @routes.put("/profile")
    def change_profile(me: Me, sent: ProfileIn) -> dict[str, Any]:
        """Replace the parts that are sent; tasks I hold of topics I opt out of go back to the others."""
        return save_profile(ledger, me.id, sent)
