"""Which route needs which role, and the guard that holds to it: what is not listed here does not exist.

One ASGI middleware in front of everything, the Gradio page included: it finds out who is calling, checks the role and
the origin of writes, ends the streams of whoever is put out, and adds the headers of policy.py. Who owns a slot or a
label is checked in queue.py.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from anyio import to_thread
from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from annotate.auth import NotSignedIn, Person, Role, identify
from annotate.ledger import Ledger
from annotate.policy import HEADERS, STRICT_TRANSPORT, policy

log = logging.getLogger(__name__)

COOKIE = "trueloop_session"
MAX_BODY_BYTES = 1 << 20
MAX_UPLOAD_BYTES = 64 << 20
"""Of a file that a lead imports."""
STREAM_SECONDS = 0.4
"""How often a stream looks whether its reader may still read."""


@dataclass(frozen=True)
class Rule:
    """One route: who may call it. `role` None is for everybody, without signing in.

    gradio: a page that it renders. evaluates: one that may make code out of text, as gr.HTML and js= of events do;
    nothing that annotators or models wrote may be put into the code of such a page. most: bytes of its body.
    """

    method: str
    path: str
    role: Role | None
    gradio: bool = False
    evaluates: bool = False
    most: int = MAX_BODY_BYTES


ROUTES: tuple[Rule, ...] = (
    Rule("GET", "/login", None),
    Rule("GET", "/page/{path:path}", None),
    Rule("GET", "/favicon.ico", None),
    Rule("POST", "/api/login", None),
    Rule("GET", "/api/health", None),
    Rule("GET", "/", "annotator", gradio=True),
    Rule("GET", "/password", "annotator"),
    Rule("POST", "/api/password", "annotator"),
    Rule("POST", "/api/logout", "annotator"),
    Rule("GET", "/api/me", "annotator"),
    Rule("GET", "/api/tasks", "annotator"),
    Rule("POST", "/api/labels", "annotator"),
    Rule("DELETE", "/api/labels/{uuid}", "annotator"),
    Rule("POST", "/api/slots/{slot}/skip", "annotator"),
    Rule("POST", "/api/slots/renew", "annotator"),
    Rule("GET", "/api/progress", "annotator"),
    Rule("GET", "/api/campaign", "annotator"),
    Rule("GET", "/api/history", "annotator"),
    Rule("GET", "/api/media/{hash}", "annotator"),
    Rule("POST", "/api/chat", "annotator"),
    Rule("GET", "/api/profile", "annotator"),
    Rule("PUT", "/api/profile", "annotator"),
    Rule("GET", "/api/export", "reviewer"),
    Rule("GET", "/api/docs", "annotator"),
    Rule("GET", "/api/openapi.json", "annotator"),
    # What Gradio's page loads; the rest of Gradio's own routes (upload, queue, proxy, file, ...) stays shut.
    Rule("GET", "/assets/{path:path}", "annotator"),
    Rule("GET", "/static/{path:path}", "annotator"),
    Rule("GET", "/theme.css", "annotator"),
    Rule("GET", "/manifest.json", "annotator"),
    # The lead pages and what they load; each handler behind the one POST checks the role again (pages/frame.py).
    Rule("GET", "/lead", "reviewer"),
    Rule("GET", "/lead/", "reviewer", gradio=True, evaluates=True),
    Rule("GET", "/lead/labels", "reviewer", gradio=True, evaluates=True),
    Rule("GET", "/lead/people", "lead", gradio=True, evaluates=True),
    Rule("GET", "/lead/campaign", "lead", gradio=True, evaluates=True),
    Rule("GET", "/lead/export", "reviewer", gradio=True, evaluates=True),
    Rule("GET", "/lead/assets/{path:path}", "reviewer"),
    Rule("GET", "/lead/static/{path:path}", "reviewer"),
    Rule("GET", "/lead/theme.css", "reviewer"),
    Rule("POST", "/lead/gradio_api/run/{api_name}", "reviewer"),
    Rule("POST", "/lead/gradio_api/upload", "lead", most=MAX_UPLOAD_BYTES),
    Rule("GET", "/lead/gradio_api/upload_progress", "lead"),
)

_COMPILED = [(rule, compile_path(rule.path)[0]) for rule in ROUTES]


def whoami(request: Request) -> Person:
    """The person the guard let in; raises NotSignedIn where there is none."""
    person: Person | None = getattr(request.state, "person", None)
    if person is None:
        raise NotSignedIn("you are not signed in", next="Open /login, or send an Authorization: Bearer header")
    return person


def refusal(
    status: int, error: str, *, where: str = "", next: str = "", headers: dict[str, str] | None = None
) -> Response:
    """The one form in which every error leaves the server."""
    return JSONResponse({"error": error, "where": where, "next": next}, status, headers)


class Guard:
    """Lets a request through to `app` when ROUTES lists it and its sender may call it; `person` is put in its state."""

    def __init__(self, app: ASGIApp, *, ledger: Ledger, root_path: str = "") -> None:
        self.app, self.ledger, self.root_path = app, ledger, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            headers = Headers(scope=scope)
            rule, methods = find_rule(scope["method"], scope["path"])
            refused = await self._check(rule, methods, scope, headers)
            if refused is not None:
                await refused(scope, receive, _Answer(send, scope, None))
            elif rule is not None and rule.role is not None:
                await self._serve(rule, headers, scope, receive, send)
            else:
                await self.app(scope, receive, _Answer(send, scope, rule))
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _serve(self, rule: Rule, headers: Headers, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer someone who may be put out meanwhile: a stream ends then, in the middle of a line if need be."""
        request = asyncio.current_task()
        watch: asyncio.Task[None] | None = None
        out = False

        async def look() -> None:
            nonlocal out
            while True:
                await asyncio.sleep(STREAM_SECONDS)
                person = await to_thread.run_sync(self._who, scope, headers)
                if person is None or rule.role is None or not person.may(rule.role):
                    out = True
                    assert request is not None, "a request is answered in a task"
                    request.cancel()
                    return

        async def watched(message: Message) -> None:
            nonlocal watch
            if watch is None and message.get("more_body"):
                watch = asyncio.create_task(look())
            await send(message)

        try:
            await self.app(scope, receive, _Answer(watched, scope, rule))
        except asyncio.CancelledError:
            if not out:
                raise
            if request is not None:
                request.uncancel()
            log.warning("a stream was ended: its reader may not read it any more")
        finally:
            if watch is not None:
                watch.cancel()
                with suppress(asyncio.CancelledError):
                    await watch

    async def _check(self, rule: Rule | None, methods: set[str], scope: Scope, headers: Headers) -> Response | None:
        where = f"{scope['method']} {scope['path']}"
        if rule is None and not methods:
            return refusal(404, "there is no such page or route", where=where, next="See /api/docs for the routes")
        if rule is None:
            allowed = ", ".join(sorted(methods))
            return refusal(405, "this route does not take that method", where=where, headers={"allow": allowed})
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > rule.most:
            return refusal(413, f"a request has at most {rule.most} bytes", where=where)
        if rule.method not in ("GET", "HEAD") and not _own_origin(headers):
            return refusal(403, "a write from another site is refused", where=where, next="Use the page itself")
        if rule.role is None:
            return None
        person = await to_thread.run_sync(self._who, scope, headers)
        if person is None:
            if rule.gradio or rule.path == "/password":
                return RedirectResponse(f"{self.root_path}/login", 303)
            next = "Open /login, or send a valid Authorization: Bearer header"
            return refusal(401, "you are not signed in", where=where, next=next, headers={"www-authenticate": "Bearer"})
        if not person.may(rule.role):
            return refusal(403, f"this needs the role {rule.role}, yours is {person.role}", where=where)
        scope.setdefault("state", {})["person"] = person
        return None

    def _who(self, scope: Scope, headers: Headers) -> Person | None:
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        with self.ledger.read() as session:
            if scheme.lower() == "bearer":
                return identify(session, secret.strip(), "token")
            cookie = session_secret(headers, secure=scope["scheme"] == "https")
            return identify(session, cookie, "session") if cookie else None


def find_rule(method: str, path: str) -> tuple[Rule | None, set[str]]:
    """The rule for a request, and the methods that its path knows; HEAD goes by the rule of GET."""
    methods: set[str] = set()
    for rule, pattern in _COMPILED:
        if pattern.match(path):
            methods.add(rule.method)
            if rule.method == ("GET" if method == "HEAD" else method):
                return rule, methods
    return None, methods


def cookie_name(*, secure: bool) -> str:
    """The name of the session cookie; over https one that a browser takes from https alone."""
    return f"__Secure-{COOKIE}" if secure else COOKIE


def session_secret(headers: Headers, *, secure: bool) -> str:
    """The secret in the session cookie, empty when there is none."""
    request = Request({"type": "http", "headers": headers.raw})
    return request.cookies.get(cookie_name(secure=secure), "")


def _own_origin(headers: Headers) -> bool:
    """Whether a write comes from our own page or from a program; a browser always sends Origin on a write."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "none") in ("same-origin", "none")
    return origin != "null" and urlsplit(origin).netloc == headers.get("host", "")


class _Answer:
    """Sends an answer on with the security headers; a page of Gradio's as a whole, as its scripts are looked at."""

    def __init__(self, send: Send, scope: Scope, rule: Rule | None) -> None:
        self.send, self.scope = send, scope
        self.page = bytearray() if rule is not None and rule.gradio and scope["method"] == "GET" else None
        self.evaluates = rule is not None and rule.evaluates
        if self.page is not None:  # compressed, nobody could look at it
            others = [header for header in scope["headers"] if header[0] != b"accept-encoding"]
            scope["headers"] = [*others, (b"accept-encoding", b"identity")]  # left out, Gradio would fail

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._add_headers(message)
            if self.page is not None:
                self.start = message
                return
        elif message["type"] == "http.response.body" and self.page is not None:
            self.page += message.get("body", b"")
            if message.get("more_body"):
                return
            headers = MutableHeaders(scope=self.start)
            headers["content-security-policy"] = policy(self.page.decode("utf-8", "replace"), evaluates=self.evaluates)
            await self.send(self.start)
            message = {"type": "http.response.body", "body": bytes(self.page)}
        await self.send(message)

    def _add_headers(self, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        headers["content-security-policy"] = policy()
        for name, value in HEADERS.items():
            headers[name] = value
        if self.scope["scheme"] == "https":
            headers["strict-transport-security"] = STRICT_TRANSPORT
        if self.page is not None or self.scope["path"].startswith(("/api/", "/login")):
            headers["cache-control"] = "no-store"
