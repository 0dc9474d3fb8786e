"""Which route needs which role, and the guard that holds to it: what is not listed here does not exist.

One ASGI middleware in front of everything, the Gradio page included: it finds out who is calling, checks the role and
the origin of writes, and adds the security headers. Who owns a slot or a label is checked in queue.py.
"""

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

COOKIE = "trueloop_session"
MAX_BODY_BYTES = 1 << 20


@dataclass(frozen=True)
class Rule:
    """One route: who may call it. `role` None is for everybody, without signing in; gradio: a page that it renders."""

    method: str
    path: str
    role: Role | None
    gradio: bool = False


ROUTES: tuple[Rule, ...] = (
    Rule("GET", "/login", None),
    Rule("GET", "/page/{path:path}", None),
    Rule("GET", "/favicon.ico", None),
    Rule("POST", "/api/login", None),
    Rule("GET", "/api/health", None),
    Rule("GET", "/", "annotator", gradio=True),
    Rule("POST", "/api/logout", "annotator"),
    Rule("GET", "/api/me", "annotator"),
    Rule("GET", "/api/tasks", "annotator"),
    Rule("POST", "/api/labels", "annotator"),
    Rule("DELETE", "/api/labels/{uuid}", "annotator"),
    Rule("POST", "/api/slots/{slot}/skip", "annotator"),
    Rule("POST", "/api/slots/renew", "annotator"),
    Rule("GET", "/api/progress", "annotator"),
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
    Rule("GET", "/lead/", "reviewer", gradio=True),
    Rule("GET", "/lead/assets/{path:path}", "reviewer"),
    Rule("GET", "/lead/static/{path:path}", "reviewer"),
    Rule("GET", "/lead/theme.css", "reviewer"),
    Rule("POST", "/lead/gradio_api/run/{api_name}", "reviewer"),
)

_COMPILED = [(rule, compile_path(rule.path)[0]) for rule in ROUTES]

_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src {scripts}",
        "style-src {styles}",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


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

    def __init__(self, app: ASGIApp, *, ledger: Ledger) -> None:
        self.app, self.ledger = app, ledger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            headers = Headers(scope=scope)
            rule, methods = find_rule(scope["method"], scope["path"])
            refused = await self._check(rule, methods, scope, headers)
            answer = _with_headers(send, scope["path"], gradio=rule is not None and rule.gradio)
            await (refused or self.app)(scope, receive, answer)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _check(self, rule: Rule | None, methods: set[str], scope: Scope, headers: Headers) -> Response | None:
        where = f"{scope['method']} {scope['path']}"
        if rule is None and not methods:
            return refusal(404, "there is no such page or route", where=where, next="See /api/docs for the routes")
        if rule is None:
            allowed = ", ".join(sorted(methods))
            return refusal(405, "this route does not take that method", where=where, headers={"allow": allowed})
        if int(headers.get("content-length", "0")) > MAX_BODY_BYTES:
            return refusal(413, f"a request has at most {MAX_BODY_BYTES} bytes", where=where)
        if rule.method not in ("GET", "HEAD") and not _own_origin(headers):
            return refusal(403, "a write from another site is refused", where=where, next="Use the page itself")
        if rule.role is None:
            return None
        person = await to_thread.run_sync(self._who, headers)
        if person is None:
            if rule.gradio:
                return RedirectResponse("/login", 303)
            next = "Open /login, or send a valid Authorization: Bearer header"
            return refusal(401, "you are not signed in", where=where, next=next, headers={"www-authenticate": "Bearer"})
        if not person.may(rule.role):
            return refusal(403, f"this needs the role {rule.role}, yours is {person.role}", where=where)
        scope.setdefault("state", {})["person"] = person
        return None

    def _who(self, headers: Headers) -> Person | None:
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        with self.ledger.read() as session:
            if scheme.lower() == "bearer":
                return identify(session, secret.strip(), "token")
            cookie = session_secret(headers)
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


def session_secret(headers: Headers) -> str:
    """The secret in the session cookie, empty when there is none."""
    request = Request({"type": "http", "headers": headers.raw})
    return request.cookies.get(COOKIE, "")


def _own_origin(headers: Headers) -> bool:
    """Whether a write comes from our own page or from a program; a browser always sends Origin on a write."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "none") in ("same-origin", "none")
    return origin != "null" and urlsplit(origin).netloc == headers.get("host", "")


def _with_headers(send: Send, path: str, *, gradio: bool) -> Send:
    # Gradio's page needs inline scripts and styles, and builds templates with `new Function`
    policy = _POLICY.format(
        scripts="'self' 'unsafe-inline' 'unsafe-eval'" if gradio else "'self'",
        styles="'self' 'unsafe-inline'" if gradio else "'self'",
    )

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["content-security-policy"] = policy
            for name, value in _HEADERS.items():
                headers[name] = value
            if gradio or path.startswith(("/api/", "/login")):
                headers["cache-control"] = "no-store"
        await send(message)

    return answer
