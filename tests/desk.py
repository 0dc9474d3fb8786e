"""For the tests of the page: annotators at real browsers, one server and one Chromium a file. Holds no tests itself."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from browsing import CHROMIUM, browser
from serving import Server
from sqlmodel import select

from annotate import auth
from annotate.campaign import CampaignSection, set_campaign
from annotate.ledger import Ledger
from annotate.tables import Label

SHOWN = '.tl[data-state="pair"]'
NEEDS_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium"),
]


class Current:
    """Stands for whichever ledger the running test has, so that one server serves a whole file of tests."""

    ledger: Ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ledger, name)


class Desk:
    """One annotator in one browser: what they see, press and get told."""

    def __init__(self, chromium: Any, server: Server, name: str = "ann", **context: Any) -> None:
        self.server = server
        self.context = chromium.new_context(**context)
        self.context.set_default_timeout(60_000)
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.page = self.open_tab()
        self.token = auth.new_token(server.ledger, name)
        self.page.goto(f"{server.url}/login")
        signed_in = self.page.evaluate(
            "async token => (await fetch('/api/login', {method: 'POST', headers: {'content-type': 'application/json'},"
            " body: JSON.stringify({token})})).ok",
            self.token,
        )
        assert signed_in
        self.page.goto(server.url)

    def open_tab(self) -> Any:
        page = self.context.new_page()
        page.on("console", lambda said: said.type == "error" and self.problems.append(said.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        return page

    def ready(self) -> "Desk":
        """Wait until a pair is on screen and keys are taken."""
        self.page.wait_for_selector(f'{SHOWN}[aria-busy="false"]')
        return self

    def press(self, *keys: str) -> None:
        """Press keys as a person would, each on a pair that was there to be seen."""
        for key in keys:
            self.ready()
            self.page.keyboard.press(key)

    @property
    def slot(self) -> str:
        return cast(str, self.page.get_attribute(".tl", "data-slot"))

    @property
    def texts(self) -> list[str]:
        return cast(
            list[str], self.page.locator(".tl-card .tl-text").evaluate_all("all => all.map(each => each.textContent)")
        )

    def until(self, script: str, argument: Any = None) -> None:
        """Wait until a function in the page says true; the page's own policy lets no waiting code be made there."""
        for _ in range(1200):
            if self.page.evaluate(script, argument):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never came true: {script}")

    def saved(self) -> None:
        self.page.wait_for_selector('.tl-saved[data-tone="good"]')

    def said(self, text: str) -> None:
        self.page.get_by_text(text).first.wait_for()

    def leave(self) -> None:
        """Close the browser; raises when the page asked for something outside or reported an error."""
        self.context.close()
        outside = [url for url in self.requests if not url.startswith((self.server.url, "data:", "blob:"))]
        assert not outside, "the page asked for something outside"
        assert not self.problems, self.problems


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as launched:
        yield launched


@pytest.fixture(scope="module")
def one_server() -> Iterator[Server]:
    server = Server(cast(Ledger, Current()))
    yield server
    server.stop()


@pytest.fixture
def server(one_server: Server, tmp_path: Path) -> Iterator[Server]:
    """The server, on a new ledger."""
    with Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}", durable=False) as ledger:
        cast(Current, one_server.ledger).ledger = ledger
        one_server.start()
        yield one_server


@pytest.fixture
def desk(chromium: Any, server: Server) -> Iterator[Callable[..., Desk]]:
    desks: list[Desk] = []

    def sit_down(*args: Any, **context: Any) -> Desk:
        desks.append(Desk(chromium, server, *args, **context))
        return desks[-1]

    yield sit_down
    for each in desks:
        each.leave()


def labels(ledger: Ledger) -> list[Label]:
    """All labels, oldest first."""
    with ledger.read() as session:
        return list(session.exec(select(Label).order_by(Label.created_at)))  # type: ignore[arg-type]


def ask(ledger: Ledger, **settings: Any) -> None:
    """Ask people this from now on: the fields of the recipe's campaign section."""
    ledger.write(lambda session: set_campaign(session, CampaignSection(**settings), "lead"))
