"""The HTTP routes around a person's work: what is asked of them, what they said so far, their profile.

Thin like api.py, which has the routes of the work itself.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi import Path as ApiPath
from starlette.responses import FileResponse

from annotate.auth import Person
from annotate.errors import NotFound
from annotate.guard import whoami
from annotate.history import MOST, history
from annotate.ledger import Ledger
from annotate.media import image_path, kind_of
from annotate.profiles import ProfileIn, profile_of, save_profile
from annotate.rules import asked_of

Me = Annotated[Person, Depends(whoami)]


def add_routes(routes: APIRouter, ledger: Ledger) -> None:
    """Add them to the routes under /api."""

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
