"""The HTTP routes under /api: the same queue for the page, for scripts and for simulated annotators.

Thin on purpose: guard.py has let the caller in, queue.py decides what a judgment may do. Here requests are parsed, and
errors get their status. Every error has the form {"error", "where", "next"}.
"""

import logging
from collections.abc import Awaitable, Callable
from html import escape
from itertools import chain
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response, StreamingResponse

from annotate import auth, desk, errors, exports, queue
from annotate.auth import Person, Throttle
from annotate.chat import Responder
from annotate.encodings import MEDIA, Format
from annotate.guard import MAX_BODY_BYTES, cookie_name, refusal, session_secret, whoami
from annotate.ledger import Ledger

log = logging.getLogger(__name__)

STATUS: dict[type[Exception], int] = {
    auth.NotSignedIn: 401,
    auth.TooManyAttempts: 429,
    errors.NotAllowed: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Locked: 409,
    errors.NotStored: 503,
    errors.BadInput: 422,
    errors.TrueloopError: 400,
}
"""The first class that fits gives the status."""

_OF_ROUND = {"round", "have", "need", "pairs"}

Slot = Annotated[int, Field(ge=1, lt=2**31)]
Uuid = Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{8,64}$")]


class Body(BaseModel):
    """What a request carries; a field nobody knows is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Credentials(Body):
    """A name with its password, or a token."""

    name: str = Field(default="", max_length=200)
    password: str = Field(default="", max_length=1024)
    token: str = Field(default="", max_length=200)


class PasswordIn(Body):
    """A new password, and the current one where there is one."""

    current: str = Field(default="", max_length=1024)
    password: str = Field(max_length=1024)


class LabelIn(queue.Judgment):
    """A judgment; `supersedes` is the uuid of the label that it revises."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    supersedes: Uuid | None = None


class SkipIn(Body):
    """Why a pair is skipped; `uuid` is made by the client, once for each skip."""

    uuid: Uuid
    reason: str = Field(min_length=1, max_length=500)


class RenewIn(Body):
    """The slots whose leases are to be renewed."""

    slots: list[Slot] = Field(min_length=1, max_length=100)


def router(ledger: Ledger, *, root_path: str = "", responder: Responder | None = None) -> APIRouter:
    """All routes under /api, on this ledger.

    root_path: the prefix under which a proxy serves them. responder: who answers live conversations.
    """
    routes = APIRouter(prefix="/api", max_body_size=MAX_BODY_BYTES)
    desk.add_routes(routes, ledger, responder)
    # One client may mistype a name five times; many clients together get no further with it than a hundred an hour.
    per_name, per_client = Throttle(limit=5, seconds=300), Throttle(limit=50, seconds=300)
    everywhere = Throttle(limit=100, seconds=3600)
    Me = Annotated[Person, Depends(whoami)]

    @routes.post("/login")
    def login(request: Request, response: Response, sent: Credentials) -> dict[str, str]:
        """Sign in by name and password, by token, or by a one-time link's secret; answers with a session cookie."""
        client, name = request.client.host if request.client else "", auth.clean(sent.name)
        keys = [(per_client, client), (per_name, f"{client} {name}")]
        if not sent.token:
            keys.append((everywhere, name))
        for throttle, key in keys:
            throttle.take(key)
        secure = request.url.scheme == "https"
        if sent.token:
            secret = auth.login_by_token(ledger, sent.token)
        else:
            secret = auth.login(ledger, sent.name, sent.password)
        for throttle, key in keys:
            throttle.forgive(key)
        before = session_secret(request.headers, secure=secure)
        if before:
            auth.logout(ledger, before)
        set_cookie(response, secret, secure=secure, path=root_path)
        with ledger.read() as session:
            person = auth.identify(session, secret, "session")
        assert person is not None, "the session was just made"
        return {"name": person.name, "role": person.role}

    @routes.post("/logout")
    def logout(request: Request, response: Response, me: Me) -> dict[str, bool]:
        """End this browser's session; a bearer token stays valid."""
        secure = request.url.scheme == "https"
        auth.logout(ledger, session_secret(request.headers, secure=secure))
        set_cookie(response, "", secure=secure, path=root_path, seconds=0)
        return {"signed_out": True}

    @routes.post("/password")
    def password(request: Request, response: Response, me: Me, sent: PasswordIn) -> dict[str, bool]:
        """Set my password, giving the current one where there is one; my other browser sessions end."""
        per_name.take(f"password {me.id}")
        auth.change_password(ledger, me, sent.current, sent.password)
        per_name.forgive(f"password {me.id}")
        secure = request.url.scheme == "https"
        if session_secret(request.headers, secure=secure):
            secret = auth.login(ledger, me.name, sent.password)
            set_cookie(response, secret, secure=secure, path=root_path)
        return {"changed": True}

    @routes.get("/me")
    def who(me: Me) -> dict[str, str]:
        """Who I am: pseudonym, name, role."""
        return {"id": me.id, "name": me.name, "role": me.role}

    @routes.get("/tasks")
    def tasks(me: Me, n: Annotated[int, Query(ge=1, le=queue.MOST_TASKS)] = 6) -> queue.Offer:
        """Up to n pairs leased to me, those I hold already first; responses in the order to be shown.

        When there is none, `reason` says why: most-per-day, most-per-annotator, qualification or none-open.
        """
        return queue.offer(ledger, me.id, n)

    @routes.post("/labels", response_model_exclude_none=True)
    def label(me: Me, sent: LabelIn) -> queue.Stored:
        """Store a judgment; the same uuid again returns the stored result.

        One that names an earlier one of mine in supersedes takes its place.
        """
        judgment = queue.Judgment(**sent.model_dump(exclude={"supersedes"}))
        if sent.supersedes is not None:
            return queue.revise(ledger, me.id, sent.supersedes, judgment)
        return queue.submit(ledger, me.id, judgment)

    @routes.delete("/labels/{uuid}")
    def undo(me: Me, uuid: Annotated[Uuid, Path()]) -> dict[str, Any]:
        """Take my label or skip back inside the window; answers with its pair, which is leased to me again."""
        return {"uuid": uuid, "undone": True, "task": queue.undo(ledger, me.id, uuid)}

    @routes.post("/slots/{slot}/skip", response_model_exclude_none=True)
    def skip(me: Me, slot: Annotated[Slot, Path()], sent: SkipIn) -> queue.Stored:
        """Pass a pair on to someone else, with a reason."""
        return queue.skip(ledger, me.id, slot, sent.uuid, sent.reason)

    @routes.post("/slots/renew")
    def renew(me: Me, sent: RenewIn) -> dict[str, float]:
        """Hold my leases longer."""
        return {"lease_until": queue.renew(ledger, me.id, sent.slots)}

    @routes.get("/progress")
    def progress(me: Me) -> dict[str, Any]:
        """Counts for me, and for the round that is being labelled; no round while nothing is to be labelled."""
        with ledger.read() as session:
            counts = queue.progress(session, me.id)
        return {
            "mine": {"labels": counts.mine, "in_round": counts.mine_round, "skipped": counts.skipped},
            "round": None if counts.round is None else counts.model_dump(include=_OF_ROUND),
        }

    @routes.get("/export", response_class=StreamingResponse)
    def export(me: Me, what: exports.What, format: Format = "jsonl") -> StreamingResponse:
        """Everything, as JSON lines, CSV or Parquet; for reviewers and leads."""
        blocks = exports.export_file(ledger, what, format)
        first = next(blocks, b"")  # an error on the way to the first row still gets its status
        headers = {"content-disposition": f'attachment; filename="{what}.{format}"'}
        return StreamingResponse(chain([first], blocks), media_type=MEDIA[format], headers=headers)

    @routes.get("/health")
    def health() -> dict[str, str]:
        """Whether the server and its database answer."""
        with ledger.read() as session:
            session.connection().execute(text("SELECT 1"))
        return {"status": "ok"}

    @routes.get("/openapi.json", include_in_schema=False)
    def openapi(request: Request, me: Me) -> Any:
        return request.app.openapi()

    @routes.get("/docs", include_in_schema=False)
    def docs(request: Request, me: Me) -> HTMLResponse:
        return HTMLResponse(docs_page(request.app.openapi()))

    return routes


def set_cookie(
    response: Response, secret: str, *, secure: bool, path: str = "", seconds: float = auth.SESSION_SECONDS
) -> None:
    """Put a session's secret into the browser: out of scripts' reach, and not sent along by other sites' forms."""
    name = cookie_name(secure=secure)
    response.set_cookie(
        name, secret, max_age=int(seconds), httponly=True, samesite="lax", secure=secure, path=path or "/"
    )


def add_error_answers(app: FastAPI) -> None:
    """Make every error of this app leave as JSON with its status, and unforeseen ones without a word about insides."""
    answers: dict[type[Exception], Callable[[Request, Any], Awaitable[Response]]] = {
        errors.TrueloopError: _trueloop_error,
        RequestValidationError: _invalid_request,
        HTTPException: _http_error,
        DBAPIError: _database_error,
        Exception: _unforeseen,
    }
    for kind, answer in answers.items():
        app.add_exception_handler(kind, answer)


async def _trueloop_error(request: Request, error: errors.TrueloopError) -> Response:
    status = next(code for kind, code in STATUS.items() if isinstance(error, kind))
    headers = {"retry-after": str(error.seconds)} if isinstance(error, auth.TooManyAttempts) else None
    return refusal(status, error.what, where=error.where, next=error.next, headers=headers)


async def _invalid_request(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    where = ".".join(str(step) for step in first["loc"])
    broken = first["type"] == "json_invalid"
    return refusal(400 if broken else 422, first["msg"], where=where, next="See /api/docs for what this route takes")


async def _http_error(request: Request, error: HTTPException) -> Response:
    return refusal(error.status_code, str(error.detail), where=request.url.path)


async def _database_error(request: Request, error: DBAPIError) -> Response:
    log.error("%s %s: the database failed: %s", request.method, request.url.path, type(error.orig).__name__)
    return refusal(503, "the database cannot be used, nothing was saved", next="Send it again; see the server's log")


async def _unforeseen(request: Request, error: Exception) -> Response:
    return refusal(500, "an error in Trueloop, nothing was saved", next="Send it again; see the server's log")


def docs_page(schema: dict[str, Any]) -> str:
    """The routes as one plain page without scripts: method, path, what it does, what it takes."""
    parts = [
        f"<h2>{escape(method.upper())} {escape(path)}</h2><p>{escape(operation.get('description', ''))}</p>"
        f"<p><small>{escape(_takes(schema, operation))}</small></p>"
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
        if path.startswith("/api/")
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Routes · Trueloop</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="../page/icon.svg"><link rel="stylesheet" href="../page/trueloop.css">'
        f'<body class="tl-docs"><main><h1>Routes</h1>{"".join(parts)}'
        '<p>The full schema: <a href="openapi.json">/api/openapi.json</a></p></main>'
    )


def _takes(schema: dict[str, Any], operation: dict[str, Any]) -> str:
    takes = [f"{each['name']} ({each['in']})" for each in operation.get("parameters", ())]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        model = schema["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
        required = model.get("required", ())
        fields = [name if name in required else f"{name}?" for name in model.get("properties", ())]
        takes.append("{" + ", ".join(fields) + "}")
    return "Takes " + ", ".join(takes) if takes else "Takes nothing"
