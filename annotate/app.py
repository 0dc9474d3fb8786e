"""The web application: the labelling page in Gradio, the sign-in page, the lead pages, and api.py, behind one guard.

The labelling page is a single widget of static/ that talks to /api itself; Gradio's state holds nothing of a judgment.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from annotate import api, auth
from annotate.chat import Responder
from annotate.errors import BadInput
from annotate.guard import Guard
from annotate.ledger import Ledger
from annotate.proxy import Proxied, checked_prefix
from annotate.workspace import Workspace

STATIC = Path(str(files("annotate") / "static"))
LOOPBACK = ("127.0.0.1", "localhost", "::1")

_NOT_AT_ONCE = ("early.js", "login.js", "password.js", "ar.js")
_PRELOADED = sorted(
    path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*.js") if path.name not in _NOT_AT_ONCE
)
_HEAD = "\n".join(
    (
        '<script src="./page/early.js"></script>',
        '<link rel="icon" href="./page/icon.svg">',
        '<link rel="stylesheet" href="./page/trueloop.css">',
        '<link rel="stylesheet" href="./page/label.css">',
        *(f'<link rel="modulepreload" href="./page/{name}">' for name in _PRELOADED),
        '<script type="module" src="./page/boot.js"></script>',
    )
)
_PLACE = "tl-page"
"""Where boot.js puts the widget. Gradio's own HTML component makes code out of text, which the policy forbids."""


def create_app(
    ledger: Ledger, *, root_path: str = "", proxies: Sequence[str] = (), responder: Responder | None = None
) -> FastAPI:
    """The whole application on this ledger, ready for any ASGI server.

    responder: who answers live conversations; without one there are none.
    root_path: the prefix under which a proxy serves it. proxies: whose word about client and scheme is taken.
    """
    app = FastAPI(title="Trueloop", docs_url=None, redoc_url=None, openapi_url=None)
    root_path = checked_prefix(root_path)
    app.include_router(api.router(ledger, root_path=root_path, responder=responder))
    app.mount("/page", StaticFiles(directory=STATIC), name="page")

    @app.get("/login", include_in_schema=False)
    def login() -> Response:
        """The sign-in page; it takes the secret of a one-time link from behind the #, which no log ever sees."""
        return FileResponse(STATIC / "login.html")

    @app.get("/password", include_in_schema=False)
    def password() -> Response:
        """Where people choose their password."""
        return FileResponse(STATIC / "password.html")

    @app.get("/lead", include_in_schema=False)
    def lead() -> Response:
        return RedirectResponse(f"{root_path}/lead/", 308)

    @app.get("/favicon.ico", include_in_schema=False)
    def icon() -> Response:
        return FileResponse(STATIC / "icon.svg")

    # The innermost middleware is added first. No other origin may read an answer; having this here keeps Gradio from
    # adding its own, which lets any site in on hosts other than localhost.
    app.add_middleware(Guard, ledger=ledger, root_path=root_path)
    app.add_middleware(CORSMiddleware, allow_origins=[])
    app.add_middleware(Proxied, root_path=root_path, trusted=tuple(proxies))
    api.add_error_answers(app)
    _in_a_loop(lambda: _mount_pages(app, ledger, root_path))
    return app


def serve(
    workspace: Workspace,
    host: str = "127.0.0.1",
    port: int = 7860,
    *,
    root_path: str = "",
    proxies: Sequence[str] = (),
    responder: Callable[[Ledger], Responder] | None = None,
) -> None:
    """Serve the workspace's labelling page until interrupted; prints a link that signs the first admin in once.

    port: 0 takes a free one. root_path, proxies: as `create_app` takes them. Raises BadInput when the address cannot
    be used.
    """
    import uvicorn

    with _listen(host, port) as listener, Ledger(workspace) as ledger:
        answering = responder(ledger) if responder else None
        app = create_app(ledger, root_path=root_path, proxies=proxies, responder=answering)
        name, secret = auth.sign_in_link(ledger)
        url = address(host, listener.getsockname()[1])
        print(f"Sign in as {name} (works once, within the hour): {url}{sign_in_path(secret)}", flush=True)
        if host not in LOOPBACK and not proxies:
            print(
                "Other machines can reach this page: put a proxy with TLS in front of it (docs/deploy.md).", flush=True
            )
        # What a proxy says is proxy.py's business; requests are not logged.
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, proxy_headers=False)
        with suppress(KeyboardInterrupt):  # Ctrl-C is how one stops it, after the open requests are answered
            uvicorn.Server(config).run(sockets=[listener])


def sign_in_path(secret: str, *, invited: bool = False) -> str:
    """What follows the server's address in a one-time link; who is invited is led on to choose a password."""
    return f"/login#{'invited' if invited else 'token'}={secret}"


def address(host: str, port: int) -> str:
    """The URL to open in a browser for a server bound to `host`."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port < 65536:
        raise BadInput(f"there is no port {port}", next="Use one from 1 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadInput(
            f"the address cannot be used ({reason})", where=f"{host}:{port}", next="Use another --port or --host"
        ) from error


def _in_a_loop(build: Callable[[], None]) -> None:
    """Call `build` inside a running event loop: without one Gradio opens a loop for each of its locks, for good."""

    async def run() -> None:
        build()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(run())
    else:
        build()


def _mount_pages(app: FastAPI, ledger: Ledger, root_path: str) -> None:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr

    from annotate.pages import site

    site.mount(app, ledger, root_path)
    with gr.Blocks(title="Trueloop", analytics_enabled=False) as page:
        gr.Column(elem_id=_PLACE)
    theme = gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        theme=theme,
        head=_HEAD,
        root_path=root_path or None,
    )
