"""What can go wrong around a page that is open all day, in a real browser: nothing is lost, nothing is doubled."""

from typing import Any

from desk import NEEDS_CHROMIUM, ask, chromium, desk, labels, one_server, server
from serving import Server, numbered, put_into_queue

from annotate import auth

__all__ = ["chromium", "desk", "one_server", "server"]

pytestmark = NEEDS_CHROMIUM


def test_two_minutes_offline_lose_nothing_and_double_nothing(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(12))
    ann = desk()
    ann.ready().page.wait_for_load_state("networkidle")
    ann.context.set_offline(True)
    ann.press("1", "2", "0", "b", "1", "2")
    ann.said("No connection")
    ann.said("Offline, 6 waiting")
    # Two minutes of tries that fail, at the pace of a browser that is asked again and again.
    for _ in range(8):
        ann.page.evaluate("dispatchEvent(new Event('online'))")
        ann.page.evaluate("() => new Promise((done) => setTimeout(done, 50))")
    assert labels(server.ledger) == []
    ann.context.set_offline(False)
    ann.saved()
    ann.ready()
    stored = labels(server.ledger)
    assert len(stored) == 6 == len({each.slot_id for each in stored})
    ann.problems.clear()  # the browser itself reports requests that failed while it was offline


def test_a_restart_in_the_middle_is_bridged(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(9))
    ann = desk()
    ann.press("1")
    ann.ready()
    ann.saved()
    server.stop()
    ann.press("2", "0")
    ann.said("Offline, 2 waiting")
    server.start()
    ann.saved()
    ann.press("b")
    ann.ready()
    ann.saved()
    stored = labels(server.ledger)
    assert len(stored) == 4 == len({each.slot_id for each in stored})
    ann.problems.clear()


def test_a_second_tab_shows_the_same_pair_and_lets_go_of_it(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(9))
    ann = desk().ready()
    slot = ann.slot
    first, second = ann.page, ann.open_tab()
    second.goto(server.url)
    ann.page = second
    assert ann.ready().slot == slot
    first.keyboard.press("1")
    second.wait_for_selector(f'.tl:not([data-slot="{slot}"])')
    ann.said("That pair was judged in another tab")
    ann.press("2")
    ann.saved()
    ann.page = first
    ann.press("0")
    ann.saved()
    stored = labels(server.ledger)
    assert len(stored) == 3 == len({each.slot_id for each in stored})


def test_a_session_that_ends_in_the_middle_of_a_label_keeps_all_of_it(desk: Any, server: Server) -> None:
    ask(server.ledger, grades=0, rationale="optional")
    put_into_queue(server.ledger, numbered(4))
    ann = desk().ready()
    ann.press("r")
    ann.page.keyboard.type("Half a thought")
    auth.set_password(server.ledger, "ann", "correct horse")  # ends the sessions
    ann.page.keyboard.press("Escape")
    ann.press("1")
    ann.said("You are signed out. One judgment waits in this browser")
    ann.page.get_by_role("link", name="Sign in").click()
    ann.page.get_by_label("Name").fill("ann")
    ann.page.get_by_label("Password").fill("correct horse")
    ann.page.get_by_role("button", name="Sign in", exact=True).click()
    ann.ready()
    ann.saved()
    [label] = labels(server.ledger)
    assert label.rationale == "Half a thought"
    ann.problems.clear()  # the browser itself reports the 401


def test_a_full_storage_is_told_and_the_label_still_goes(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(4))
    ann = desk().ready()
    ann.page.evaluate(
        "() => { for (let size = 1 << 22; size >= 1; size >>= 1) { try { for (let n = 0; ; n++)"
        " localStorage.setItem(`full${size}.${n}`, 'x'.repeat(size)) } catch {} } }"
    )
    ann.press("1")
    ann.said("This browser's storage is full")
    ann.press("2")
    ann.saved()
    assert len(labels(server.ledger)) == 2
