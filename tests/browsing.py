"""For the tests of the lead pages: one real browser, and people in it who are signed in. Holds no tests itself."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from serving import Server

from annotate import auth

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def browser() -> Iterator[Any]:
    """Debian's Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


class Visitor:
    """One person in a browser of their own; `problems` and requests to elsewhere are for the test to look at."""

    def __init__(self, chromium: Any, server: Server, name: str, role: auth.Role, **options: Any) -> None:
        self.server = server
        self.context = chromium.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.problems: list[str] = []
        self.outside: list[str] = []
        self.page.on("console", lambda said: said.type == "error" and self.problems.append(said.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self._look(request.url))
        token = auth.new_token(server.ledger, name, role)
        self.page.goto(f"{server.url}/login")
        self.page.get_by_text("I have a token instead").click()
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Sign in with the token").click()
        self.page.wait_for_url(f"{server.url}/")

    def open(self, path: str = "") -> Any:
        """Open a lead page; returns the playwright page once its links are those of its role."""
        self.page.goto(f"{self.server.url}/lead/{path}")
        self.page.locator(".ld-name:not(:empty)").wait_for(state="attached")
        return self.page

    def _look(self, url: str) -> None:
        if not url.startswith((self.server.url, "data:", "blob:")):
            self.outside.append(url)
