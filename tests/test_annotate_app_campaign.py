"""What a campaign puts around the work, in a real browser: guideline, practice, limits, breaks; and own settings."""

from typing import Any

from desk import NEEDS_CHROMIUM, ask, chromium, desk, labels, one_server, server
from serving import Example, Server, numbered, put_into_queue
from sqlmodel import Session, select

from annotate.gold import copy_as_gold
from annotate.tables import Guideline, Pair, PairResponse

__all__ = ["chromium", "desk", "one_server", "server"]

pytestmark = NEEDS_CHROMIUM


def make_practice(server: Server, explanation: str) -> dict[str, str]:
    """A practice item out of a pair of round 0; returns the texts of the better and the worse response."""
    put_into_queue(server.ledger, [Example("Practice: boil an egg?", ("Six minutes.", "Never."))], round=0)

    def write(session: Session) -> dict[str, str]:
        pair = session.exec(select(Pair).where(Pair.round == 0)).one()
        members = select(PairResponse.response_id).where(PairResponse.pair_id == pair.id)
        better, worse = sorted(session.exec(members), key=server.text, reverse=True)
        copy_as_gold(session, pair.id, [[better], [worse]], explanation, "practice")
        return {"better": server.text(better), "worse": server.text(worse)}

    return server.ledger.write(write)


def test_the_guideline_stands_beside_the_work_and_a_new_version_says_so(desk: Any, server: Server) -> None:
    ask(
        server.ledger,
        guideline="# What better means\n\nPrefer the **short** one. <b>No</b> ![x](https://a.example/b.png)",
    )
    put_into_queue(server.ledger, numbered(6))
    ann = desk().ready()
    panel = ann.page.get_by_role("complementary", name="Guideline")
    assert panel.is_visible(), "one that was never seen opens by itself"
    assert panel.locator("strong").text_content() == "short" and "<b>No</b>" in panel.text_content()
    assert panel.locator("img").count() == 0
    ann.press("g")
    assert not panel.is_visible()
    ann.press("1")
    ann.page.reload()
    ann.ready()
    assert not panel.is_visible(), "one that was seen stays folded"
    ask(server.ledger, guideline="# What better means\n\nPrefer the right one.")
    ann.page.reload()
    ann.ready()
    assert panel.is_visible() and "new version 2" in panel.text_content()
    ann.press("2")
    ann.ready()
    ann.saved()
    with server.ledger.read() as session:
        versions = {each.id: each.version for each in session.exec(select(Guideline))}
    assert [versions[str(each.guideline_id)] for each in labels(server.ledger)] == [1, 2]


def test_practice_says_what_was_expected_and_why_before_real_work(desk: Any, server: Server) -> None:
    known = make_practice(server, "An egg that is never boiled is raw. <i>Really</i>.")
    ask(server.ledger, qualification=1, pass_share=0, grades=0)
    put_into_queue(server.ledger, numbered(2))
    ann = desk().ready()
    ann.said("Practice: after your judgment")
    worse = ann.texts.index(known["worse"])
    ann.press(str(worse + 1))
    ann.said("Something else was expected.")
    ann.said("An egg that is never boiled is raw. <i>Really</i>.")
    ann.said(f"Expected: {2 - worse} > {worse + 1}")
    assert known["worse"] in ann.texts, "the pair stays on screen while the feedback is read"
    ann.page.keyboard.press("1")
    assert len(labels(server.ledger)) == 1, "no key judges while it is read"
    ann.page.keyboard.press("Enter")
    ann.ready()
    assert "Question" in ann.page.text_content(".tl-prompt")
    assert not ann.page.locator(".tl-banner").is_visible()


def test_the_daily_limit_is_told_kindly(desk: Any, server: Server) -> None:
    ask(server.ledger, grades=0, most_per_day=2)
    put_into_queue(server.ledger, numbered(5))
    ann = desk()
    ann.press("1", "2")
    ann.said("That is all for today")
    ann.said("limit of 2 labels a day")
    assert len(labels(server.ledger)) == 2


def test_a_break_is_suggested_and_stops_nobody(desk: Any, server: Server) -> None:
    ask(server.ledger, grades=0, break_after_minutes=3)
    put_into_queue(server.ledger, numbered(6))
    ann = desk()
    ann.press("1")
    ann.ready()
    notice = ann.page.get_by_text("You have worked for 3 minutes")
    assert notice.count() == 0
    ann.page.evaluate("() => { const now = Date.now; Date.now = () => now() + 181_000 }")
    ann.press("1")
    ann.ready()
    notice.wait_for()
    ann.press("1")
    ann.page.get_by_role("button", name="Dismiss").click()
    ann.press("1")
    ann.ready()
    ann.saved()
    assert not notice.is_visible() and len(labels(server.ledger)) == 4


def test_theme_and_language_are_ones_own_and_kept(desk: Any, server: Server) -> None:
    ask(server.ledger, grades=0)
    put_into_queue(server.ledger, numbered(3))
    ann = desk()
    ann.press(",")
    ann.page.get_by_label("Theme").select_option("dark")
    ann.page.get_by_label("Language").select_option("ar")
    ann.said("الإعدادات")
    ann.page.keyboard.press("Escape")
    for _ in range(2):
        ann.ready()
        seen = ann.page.evaluate(
            "[document.dir, document.documentElement.lang, document.documentElement.dataset.theme]"
        )
        assert seen == ["rtl", "ar", "dark"]
        assert ann.page.get_by_role("button", name="الأول أفضل").is_visible()
        ann.page.evaluate("localStorage.clear()")  # the server knows it too
        ann.page.reload()
    ann.press("ArrowRight")
    ann.saved()
    [label] = labels(server.ledger)
    assert label.ranking[0] == label.order_shown[:1], "the first response stands on the right, and so does its key"


def test_a_campaign_that_changes_meanwhile_costs_no_judgment(desk: Any, server: Server) -> None:
    ask(server.ledger, grades=3)
    put_into_queue(server.ledger, numbered(3))
    ann = desk().ready()
    ask(server.ledger, grades=1)
    ann.press("1")
    ann.ready()
    ann.saved()
    ann.page.reload()
    ann.ready()
    assert ann.page.locator(".tl-judge [data-point]").count() == 3, "what is asked by now"
    ann.press("1")
    ann.ready()
    ann.saved()
    assert [each.strength for each in labels(server.ledger)] == [3, 1]
