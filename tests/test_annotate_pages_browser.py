"""The lead pages in a real browser: one server and one browser for the whole file, a person for each test."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import CHROMIUM, Visitor, browser
from serving import Server, numbered, put_into_queue

from annotate import auth, queue
from annotate.campaign import in_force
from annotate.ledger import Ledger
from annotate.pages.frame import PAGES
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


def test_a_reviewer_finds_a_label_opens_it_and_writes_a_verdict(visit: Any) -> None:
    """By keyboard: search, open, back to the same line."""
    page = visit("Rex", "reviewer").open("labels")
    page.locator("#ld-list tbody tr").first.wait_for()
    page.get_by_label("Words").fill("says so")
    page.get_by_label("Words").press("Enter")
    rows = page.locator("#ld-list tbody tr")
    rows.filter(has_text="says so").first.wait_for()
    page.wait_for_function("document.querySelectorAll('#ld-list tbody tr').length === 2")
    assert NASTY in rows.first.inner_text()
    rows.first.get_by_role("button").press("Enter")
    page.locator(".ld-card").first.wait_for()
    page.wait_for_function("document.activeElement.matches('[data-opened]')")
    assert page.evaluate("window.hit") is None
    assert not page.get_by_text("Use as a gold item").is_visible()
    page.get_by_label("Disagree").check()
    page.get_by_role("button", name="Write the review").press("Enter")
    page.get_by_role("alert").filter(has_text="this verdict needs a reason").wait_for()
    page.get_by_label("Reason").fill(f"No: {NASTY}")
    page.get_by_role("button", name="Write the review").press("Enter")
    page.get_by_text("Written.").wait_for()
    assert page.get_by_role("row", name="disagree").locator("td").first.inner_text() == f"No: {NASTY}"
    page.get_by_role("button", name="Back to the list").press("Enter")
    page.wait_for_function("document.activeElement.matches('#ld-list .ld-link')")
    assert page.evaluate("window.hit") is None


def test_filters_narrow_the_list_and_a_wrong_one_is_told(visit: Any) -> None:
    page = visit().open("labels")
    page.locator("#ld-list tbody tr").first.wait_for()
    page.get_by_label("Show").click()
    page.get_by_role("option", name="Skips").click()
    every = "[...document.querySelectorAll('#ld-list tbody tr')].every((row) => row.textContent.includes('skipped'))"
    page.wait_for_function(every)
    page.get_by_label("Annotator").fill("Bob")
    page.get_by_label("Annotator").press("Enter")
    page.wait_for_function("document.querySelectorAll('#ld-list tbody tr').length === 1")
    page.get_by_label("Round").fill("first")
    page.get_by_label("Round").press("Enter")
    page.get_by_role("alert").filter(has_text="a round is a number").wait_for()


def test_a_lead_makes_a_gold_item_of_a_label_and_takes_it_out(visit: Any) -> None:
    page = visit().open("labels")
    page.locator("#ld-list tbody tr").get_by_role("button").first.click()
    page.get_by_text("Use as a gold item").click()
    page.get_by_label("Control, never marked").check()
    page.get_by_label("Why this is the right answer").fill("It answers the question.")
    page.get_by_role("button", name="Make it a gold item").click()
    page.get_by_text("It is a gold item now").wait_for()
    page.goto(f"{page.url.rsplit('/', 1)[0]}/campaign")
    page.get_by_role("tab", name="Gold items").click()
    page.get_by_role("row", name="It answers the question.").get_by_role("button").click()
    page.get_by_text("It is not given out any more.").wait_for()


def test_somebody_is_invited_comes_in_and_is_put_out_again(visit: Any, chromium: Any, server: Server) -> None:
    page = visit().open("people")
    page.get_by_label("Name").fill("Zoë <b>")
    page.get_by_role("button", name="Make an invitation").click()
    page.get_by_text("A link for Zoë <b>.").wait_for()
    page.wait_for_function("document.querySelector('.ld-secret').textContent.startsWith('http')")
    link = page.locator(".ld-secret").inner_text()
    theirs = chromium.new_context().new_page()
    theirs.goto(link)
    theirs.wait_for_url(lambda url: "login" not in url)
    page.get_by_role("button", name="Role: Zoë <b>", exact=True).click()
    page.get_by_role("button", name="reviewer: Zoë <b>", exact=True).click()
    page.get_by_text("Zoë <b> is reviewer now.").wait_for()
    page.get_by_role("button", name="Profile: Zoë <b>").click()
    page.get_by_label("Languages").fill("German, Arabic")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("row", name="German, Arabic").wait_for()
    page.get_by_role("button", name="Put out: Zoë <b>", exact=True).click()
    page.get_by_role("button", name="No: Zoë <b>", exact=True).click()
    page.get_by_role("button", name="Put out: Zoë <b>", exact=True).click()
    page.get_by_role("button", name="Yes, put out: Zoë <b>", exact=True).click()
    page.get_by_role("button", name="Let in again: Zoë <b>").wait_for()
    assert theirs.goto(f"{server.url}/api/me").status == 401
    theirs.context.close()


def test_a_campaign_is_compared_before_it_is_put_in_force(visit: Any, server: Server) -> None:
    page = visit().open("campaign")
    page.get_by_text("in force").first.wait_for()
    page.get_by_label("Preset").click()
    page.get_by_role("option", name="hh", exact=True).click()
    page.wait_for_function("!document.querySelector('input[type=checkbox]').checked")
    page.get_by_label("Guideline, in Markdown").fill(f"Be kind.\n{NASTY}")
    page.get_by_role("button", name="See what changes").click()
    page.locator(".ld-diff ins").last.wait_for()
    assert page.locator(".ld-diff ins").all_inner_texts() == ["+ Be kind.", f"+ {NASTY}"]
    page.get_by_label("Labels a person and day").fill("many")
    page.get_by_role("button", name="Put in force").click()
    page.get_by_role("alert").filter(has_text="'many' is no whole number").wait_for()
    page.get_by_label("Labels a person and day").fill("200")
    page.get_by_role("button", name="Put in force").click()
    page.get_by_role("alert").filter(has_text="not as it was when you saw what changes").wait_for()
    page.get_by_role("button", name="See what changes").click()
    page.get_by_role("row", name="most per day").wait_for()
    page.get_by_role("button", name="Put in force").click()
    page.get_by_text("In force from now on.").wait_for()
    page.get_by_role("tab", name="Versions").click()
    page.locator(".ld-versions ins").last.wait_for()
    assert page.evaluate("window.hit") is None
    with server.ledger.read() as session:
        settings = in_force(session).settings
    assert (settings.preset, settings.ties, settings.most_per_day) == ("hh", False, 200)


def test_a_file_of_pairs_is_imported_and_bad_ones_are_told(visit: Any, tmp_path: Path) -> None:
    good, bad = tmp_path / "good-pairs.jsonl", tmp_path / "bad-pairs.jsonl"
    good.write_text('{"prompt": "Which tea?", "responses": ["Green.", "Black."]}\n')
    bad.write_text('{"prompt": "Which tea?", "responses": ["<img src=x onerror=window.hit=1>"]}\n')
    page = visit().open("campaign")
    page.get_by_role("tab", name="Import").click()
    for file, said in ((good, "1 rows read, 1 stored"), (bad, "line 1")):
        page.set_input_files("input[type=file]", file)
        page.get_by_text(file.stem, exact=False).first.wait_for()
        page.get_by_role("button", name="Import", exact=True).click()
        page.get_by_text(said).first.wait_for()
        page.reload()
        page.get_by_role("tab", name="Import").click()
    assert page.evaluate("window.hit") is None


def test_every_kind_is_downloaded_with_the_session(visit: Any) -> None:
    page = visit("Rex", "reviewer").open("export")
    page.get_by_text("labels count now").wait_for()
    with page.expect_download() as started:
        page.get_by_role("link", name="Labels in ids as JSONL").click()
    lines = Path(started.value.path()).read_text(encoding="utf-8").splitlines()
    counted = page.get_by_role("row", name="Labels in ids").locator("td").first.inner_text()
    assert len(lines) == int(counted) >= 16
    assert page.get_by_role("link", name="as CSV").count() == 8


@pytest.mark.parametrize("path", [path for path, _, _ in PAGES])
@pytest.mark.parametrize("options", [{"color_scheme": "dark"}, {"viewport": {"width": 360, "height": 740}}])
def test_no_page_is_wider_than_its_window(visit: Any, path: str, options: dict[str, Any]) -> None:
    page = visit(**options).open(path)
    page.wait_for_function("!document.body.innerText.includes('Loading …')")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
