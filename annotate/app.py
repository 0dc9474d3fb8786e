"""The web application: the labelling page in Gradio, the sign-in page, the lead pages, and api.py, behind one guard.

The labelling page is a single widget of static/ that talks to /api itself; Gradio's state holds nothing of a judgment.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from annotate import api, auth
from annotate.errors import BadInput
from annotate.guard import Guard
from annotate.ledger import Ledger
from annotate.workspace import Workspace

STATIC = Path(str(files("annotate") / "static"))
LOOPBACK = ("127.0.0.1", "localhost", "::1")

_HEAD = """
<link rel="icon" href="/page/icon.svg">
<link rel="stylesheet" href="/page/trueloop.css">
<link rel="modulepreload" href="/page/label.js">
<link rel="modulepreload" href="/page/outbox.js">
<link rel="modulepreload" href="/page/pieces.js">
"""
_ON_LOAD = 'import("/page/label.js").then((page) => page.start(element))'


def create_app(ledger: Ledger) -> FastAPI:
    """The whole application on this ledger, ready for any ASGI server."""
    app = FastAPI(title="Trueloop", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(api.router(ledger))
    app.mount("/page", StaticFiles(directory=STATIC), name="page")

    @app.get("/login", include_in_schema=False)
    def login(request: Request, token: str = "") -> Response:
        """The sign-in page; with the token of a one-time link, a session and the way on without it."""
        if not token:
            return FileResponse(STATIC / "login.html")
        try:
            secret = auth.login_by_token(ledger, token)
        except auth.NotSignedIn:
            return RedirectResponse("/login?reason=link", 303)
        answer = RedirectResponse("/", 303)
        api.set_cookie(answer, secret, secure=request.url.scheme == "https")
        return answer

    @app.get("/lead", include_in_schema=False)
    def lead() -> Response:
        return RedirectResponse("/lead/", 308)

    @app.get("/favicon.ico", include_in_schema=False)
    def icon() -> Response:
        return FileResponse(STATIC / "icon.svg")

    # The innermost middleware is added first. No other origin may read an answer; having this here keeps Gradio from
    # adding its own, which lets any site in on hosts other than localhost.
    app.add_middleware(Guard, ledger=ledger)
    app.add_middleware(CORSMiddleware, allow_origins=[])
    api.add_error_answers(app)
    _in_a_loop(lambda: _mount_pages(app, ledger))
    return app


def serve(workspace: Workspace, host: str = "127.0.0.1", port: int = 7860) -> None:
    """Serve the workspace's labelling page until interrupted; prints a link that signs the first admin in once.

    port: 0 takes a free one. Raises BadInput when the address cannot be used.
    """
    import uvicorn

    with _listen(host, port) as listener, Ledger(workspace) as ledger:
        app = create_app(ledger)
        name, secret = auth.sign_in_link(ledger)
        url = address(host, listener.getsockname()[1])
        print(f"Sign in as {name} (works once, within the hour): {url}/login?token={secret}", flush=True)
        if host not in LOOPBACK:
            print("Other machines can reach this page: put a proxy with TLS in front of it.", flush=True)
        # Requests are not logged: the address of a sign-in link holds its secret.
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
        with suppress(KeyboardInterrupt):  # Ctrl-C is how one stops it, after the open requests are answered
            uvicorn.Server(config).run(sockets=[listener])


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


def _mount_pages(app: FastAPI, ledger: Ledger) -> None:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr

    from annotate.pages import site

    site.mount(app, ledger)
    with gr.Blocks(title="Trueloop", analytics_enabled=False) as page:
        gr.HTML(
            html_template=(STATIC / "label.html").read_text(encoding="utf-8"),
            js_on_load=_ON_LOAD,
            apply_default_css=False,
        )
    theme = gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    gr.mount_gradio_app(
        app, page, path="/", footer_links=[], run_history=False, ssr_mode=False, theme=theme, head=_HEAD
    )
