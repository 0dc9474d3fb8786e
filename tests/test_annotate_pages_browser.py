"""The lead pages in a real browser: one server and one browser for the whole file, a person for each test."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from browsing import CHROMIUM, Visitor, browser
from serving import Server, numbered, put_into_queue

from annotate import auth, queue
from annotate.ledger import Ledger
from annotate.queue import Judgment

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium"),
]
NASTY = "Ann <img src=x onerror='window.hit=1'> ${window.hit=1} {{value}} `"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("pages")
    with Ledger.open(f"sqlite:///{folder / 'labels.db'}", durable=False) as ledger:
        put_into_queue(ledger, numbered(20), overlap=2)
        for name in (NASTY, "Bob"):
            label_some(ledger, name)
        running = Server(ledger)
        running.start()
        yield running
        running.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as launched:
        yield launched


@pytest.fixture
def visit(chromium: Any, server: Server) -> Iterator[Callable[..., Visitor]]:
    visitors: list[Visitor] = []

    def come(name: str = "Lea", role: auth.Role = "lead", **options: Any) -> Visitor:
        visitors.append(Visitor(chromium, server, name, role, **options))
        return visitors[-1]

    yield come
    for each in visitors:
        each.context.close()
        assert not each.outside, "the page asked for something outside"
        assert not each.problems, each.problems


def label_some(ledger: Ledger, name: str, count: int = 8) -> str:
    """So many labels by someone new, one of them a flagged one, and a skip; returns their pseudonym."""
    token = auth.new_token(ledger, name)
    with ledger.read() as session:
        person = auth.identify(session, token, "token")
    assert person is not None
    for number in range(count):
        task = queue.claim(ledger, person.id)[0]
        best, other = sorted(task.responses, key=lambda response: response.text)
        said = Judgment(
            uuid=f"{person.id}-{number:04d}",
            slot=task.slot,
            ranking=((best.id,), (other.id,)),
            active_ms=5000,
            flags=("nonsense",) if number == 0 else (),
            rationale=f"{NASTY} says so" if number == 1 else "",
        )
        queue.submit(ledger, person.id, said)
    task = queue.claim(ledger, person.id)[0]
    queue.skip(ledger, person.id, task.slot, f"{person.id}-skip", "unclear")
    return person.id


def test_a_lead_comes_from_the_labelling_page_and_sees_how_far_it_is(visit: Any) -> None:
    lea = visit()
    lea.page.get_by_role("link", name="Lead pages").click()
    lea.page.get_by_text("16 of 40").wait_for()
    assert lea.page.title() == "Progress · Trueloop"
    assert lea.page.get_by_role("heading", level=1).inner_text() == "Progress"
    lea.page.get_by_role("row", name="Bob").wait_for()
    assert lea.page.locator(".ld-reasons").first.inner_text().split("\n") == ["The prompt is unclear", "2"]
    assert lea.page.get_by_text(NASTY, exact=True).is_visible()
    assert lea.page.evaluate("window.hit") is None
    lea.page.get_by_role("link", name="Label", exact=True).click()
    lea.page.wait_for_url(f"{lea.server.url}/")


def test_the_page_keeps_itself_up_to_date(visit: Any, server: Server) -> None:
    lea = visit(role="admin")
    lea.page.clock.install(time=time.time())
    page = lea.open()
    page.get_by_text("of 40").wait_for()
    before = page.get_by_role("row").count()
    label_some(server.ledger, "Late", 1)
    page.clock.run_for(25_000)
    page.get_by_role("row", name="Late").wait_for()
    assert page.get_by_role("row").count() == before + 1


def test_a_reviewer_sees_pseudonyms_and_an_annotator_is_not_led_there(visit: Any) -> None:
    page = visit("Rex", "reviewer").open()
    page.get_by_text("of 40").wait_for()
    assert "Bob" not in page.locator("table").inner_text()
    assert page.locator("table tbody th").first.inner_text().startswith("a-")
    ann = visit("Ann", "annotator")
    ann.page.wait_for_selector('.tl[data-state="pair"]')
    assert not ann.page.locator(".tl-lead").is_visible()


@pytest.mark.parametrize("options", [{"color_scheme": "dark"}, {"viewport": {"width": 360, "height": 740}}])
def test_no_page_is_wider_than_its_window(visit: Any, options: dict[str, Any]) -> None:
    lea = visit(**options)
    page = lea.open()
    page.get_by_text("of 40").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
