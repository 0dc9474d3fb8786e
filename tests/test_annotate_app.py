"""The labelling page in a real browser, on a real server and ledger: the plain comparison, and what always holds."""

import json
from typing import Any

from desk import NEEDS_CHROMIUM, chromium, desk, labels, one_server, server
from serving import Example, Server, numbered, put_into_queue

from annotate import auth

__all__ = ["chromium", "desk", "one_server", "server"]

CODE = "if a <b and c> d: List<int>"
pytestmark = NEEDS_CHROMIUM


def test_a_pair_is_judged_by_one_key_and_the_next_one_comes(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(3))
    ann = desk()
    for key, better in (("1", 0), ("2", 1), ("ArrowRight", 1)):
        ann.ready()
        shown = ann.texts
        ann.press(key)
        ann.saved()
        label = labels(server.ledger)[-1]
        assert server.text(label.ranking[0][0]) == shown[better]
        assert [server.text(each) for each in label.order_shown] == shown
        assert label.active_ms is not None and label.active_ms > 0
    ann.said("Round 1 is complete")
    assert len(labels(server.ledger)) == 3


def test_ties_bad_pairs_and_skips_have_their_keys(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(5))
    ann = desk()
    ann.press("t", "0", "b", "s")
    ann.page.keyboard.press("2")
    ann.ready()
    ann.saved()
    tie, zero, bad, skip = labels(server.ledger)
    assert [len(each.ranking) for each in (tie, zero, bad)] == [1, 1, 1]
    assert [each.both_bad for each in (tie, zero, bad)] == [False, False, True]
    assert (skip.skip_reason, skip.ranking) == ("expertise", [])


def test_a_skip_can_be_called_off(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(1))
    ann = desk().ready()
    slot = ann.slot
    ann.press("s", "Escape", "1")
    ann.saved()
    assert [(str(each.slot_id), each.skip_reason) for each in labels(server.ledger)] == [(slot, None)]


def test_undo_brings_the_last_pair_back(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(2))
    ann = desk().ready()
    slot, texts = ann.slot, ann.texts
    ann.press("1", "u")
    ann.page.wait_for_selector(f'.tl[data-slot="{slot}"]')
    assert ann.texts == texts
    ann.said("You had said: first is better")
    ann.press("2")
    ann.ready()
    ann.saved()
    made, undone, again = labels(server.ledger)
    assert undone.retracted and undone.supersedes == made.uuid
    assert server.text(again.ranking[0][0]) == texts[1]


def test_undo_takes_back_the_last_label_of_a_round(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(1))
    ann = desk()
    ann.press("1")
    ann.said("Round 1 is complete")
    ann.page.keyboard.press("u")
    ann.ready()


def test_a_reload_keeps_the_pair(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(9))
    ann = desk().ready()
    for _ in range(3):
        texts = ann.texts
        ann.page.reload()
        assert ann.ready().texts == texts
        ann.press("1")
        ann.ready()
        ann.saved()


def test_text_is_shown_exactly_as_it_was_written(desk: Any, server: Server) -> None:
    tags = "<script>window.hit = 1</script><img src=x onerror='window.hit = 2'>"
    nasty = f"{CODE}\n\t{tags}\n  &amp; ${{value}} {{{{value}}}}  "
    put_into_queue(
        server.ledger, [Example(f"<style>*{{display:none}}</style>{CODE}", (nasty, "**bold** <b>\u202eabc"))]
    )
    ann = desk().ready()
    assert set(ann.texts) == {nasty, "**bold** <b>\u202eabc"}
    assert ann.page.locator(".tl-prompt .tl-text").text_content() == f"<style>*{{display:none}}</style>{CODE}"
    assert ann.page.locator(".tl-card .tl-text").first.is_visible()
    assert ann.page.evaluate("window.hit") is None
    assert (
        ann.page.locator(".tl-card .tl-text").first.evaluate("each => getComputedStyle(each).whiteSpaceCollapse")
        == "preserve"
    )


def test_a_conversation_is_shown_turn_by_turn_with_the_system_message_folded(desk: Any, server: Server) -> None:
    prompt = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Tea?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "How long?"},
    ]
    put_into_queue(server.ledger, [Example(prompt, ("Three minutes.", "Long."))])
    ann = desk().ready()
    turns = ann.page.locator(".tl-turn")
    assert turns.evaluate_all("all => all.map(each => each.dataset.role)") == ["system", "user", "assistant", "user"]
    system = ann.page.get_by_text("Be brief.")
    assert not system.is_visible()
    ann.page.locator("summary").click()
    assert system.is_visible()


def test_a_long_prompt_is_folded_and_unfolds_by_key(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, [Example("A line.\n" * 200, ("Yes.", "No.")), *numbered(1)])
    ann = desk().ready()
    if "Question" in ann.page.text_content(".tl-prompt"):
        assert not ann.page.locator(".tl-more").is_visible()
        ann.press("1")
    ann.ready()
    assert ann.page.get_by_role("button", name="Whole prompt").is_visible()
    ann.page.keyboard.press("p")
    ann.page.get_by_role("button", name="Fold the prompt").wait_for()
    whole = "each => each.scrollHeight === each.clientHeight"
    assert ann.page.locator(".tl-prompt").evaluate(whole)
    ann.page.keyboard.press("p")
    assert not ann.page.locator(".tl-prompt").evaluate(whole)


def test_three_quick_presses_make_one_label(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(5))
    ann = desk().ready()
    for _ in range(3):
        ann.page.keyboard.press("1", delay=5)
    ann.ready()
    ann.saved()
    assert len(labels(server.ledger)) == 1
    ann.page.evaluate(
        "for (let i = 0; i < 3; i++) document.dispatchEvent(new KeyboardEvent('keydown', {key: '2', bubbles: true}))"
    )
    ann.ready()
    ann.saved()
    assert len(labels(server.ledger)) == 2


def test_a_key_held_down_acts_once(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(5))
    ann = desk().ready()
    ann.page.keyboard.down("1")
    for _ in range(5):
        ann.ready()
        ann.page.keyboard.down("1")
    ann.page.keyboard.up("1")
    ann.saved()
    assert len(labels(server.ledger)) == 1


def test_what_was_judged_offline_is_sent_once_when_the_connection_is_back(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(6))
    ann = desk().ready()
    ann.context.set_offline(True)
    ann.press("1", "2", "0")
    ann.said("Offline, 3 waiting")
    assert labels(server.ledger) == []
    ann.context.set_offline(False)
    ann.saved()
    assert len(labels(server.ledger)) == 3
    ann.problems.clear()  # the browser itself reports requests that failed while it was offline


def test_what_waits_in_the_browser_survives_a_reload_and_is_not_doubled(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(6))
    ann = desk().ready()
    answered: list[str] = []

    def lose_the_answer(route: Any) -> None:
        answered.append(json.loads(route.request.post_data)["uuid"])
        route.fetch()  # the server stores it, the browser never hears of it
        route.abort()

    ann.page.route("**/api/labels", lose_the_answer)
    ann.press("1")
    ann.press("2")
    ann.said("Offline, 2 waiting")
    assert len(labels(server.ledger)) == 1
    ann.page.unroute("**/api/labels")
    ann.page.reload()
    ann.ready()
    ann.saved()
    stored = labels(server.ledger)
    assert len(stored) == 2 and stored[0].uuid == answered[0]
    assert len({each.slot_id for each in stored}) == 2
    ann.problems.clear()


def test_a_judgment_that_the_server_refuses_is_told_and_not_dropped_in_silence(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(2))
    ann = desk().ready()
    token = auth.new_token(server.ledger, "ann")
    server.judge_by_api(token, int(ann.slot))
    ann.press("1")
    ann.said("could not be saved")
    ann.press("2")
    ann.page.get_by_text("Round 1 is complete").wait_for()
    assert len(labels(server.ledger)) == 2
    ann.problems.clear()  # the browser itself reports the 409


def test_a_restart_of_the_server_keeps_the_session_and_the_pair(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(3))
    ann = desk().ready()
    texts = ann.texts
    server.stop()
    server.start()
    ann.page.reload()
    assert ann.ready().texts == texts
    ann.press("1")
    ann.saved()


def test_a_revoked_session_is_told_and_loses_nothing(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(3))
    ann = desk().ready()
    auth.set_password(server.ledger, "ann", "correct horse")  # ends the sessions
    ann.press("1")
    ann.said("You are signed out. One judgment waits in this browser")
    ann.problems.clear()
    ann.page.get_by_role("link", name="Sign in").click()
    ann.page.get_by_label("Name").fill("ann")
    ann.page.get_by_label("Password").fill("wrong horse")
    ann.page.get_by_role("button", name="Sign in", exact=True).click()
    ann.said("the name and password do not fit")
    ann.page.get_by_label("Password").fill("correct horse")
    ann.page.get_by_role("button", name="Sign in", exact=True).click()
    ann.ready()
    ann.saved()
    assert len(labels(server.ledger)) == 1
    ann.problems.clear()


def test_two_annotators_never_get_the_same_place(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(12))
    ann, bob = desk("ann").ready(), desk("bob").ready()
    assert ann.texts != bob.texts
    ann.press("1")
    bob.press("1")
    ann.saved()
    bob.saved()
    assert len({each.slot_id for each in labels(server.ledger)}) == 2


def test_everything_works_by_mouse_too(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(5))
    ann = desk()
    for name in ("First is better", "Tie", "Second is better", "Both bad"):
        ann.ready().page.get_by_role("button", name=name).click()
    ann.ready().page.get_by_role("button", name="Undo").click()
    ann.said("You had said: both bad")
    ann.ready().page.get_by_role("button", name="Skip").click()
    ann.page.get_by_role("button", name="The text is broken or empty").click()
    ann.ready()
    ann.saved()
    assert [each.skip_reason for each in labels(server.ledger)][-1] == "broken"


def test_a_space_after_a_click_judges_nothing(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(3))
    ann = desk().ready()
    ann.page.get_by_role("button", name="First is better").click()
    ann.press("Space", "Enter")
    ann.saved()
    assert len(labels(server.ledger)) == 1


def test_the_keys_are_listed_and_named_for_screen_readers(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(1))
    ann = desk().ready()
    ann.page.keyboard.press("?")
    assert ann.page.get_by_role("dialog", name="Keys").is_visible()
    ann.page.keyboard.press("1")
    ann.page.keyboard.press("Escape")
    assert not ann.page.get_by_role("dialog", name="Keys").is_visible()
    assert labels(server.ledger) == []
    for role, name in [
        ("region", "Prompt"),
        ("article", "Response 1"),
        ("article", "Response 2"),
        ("toolbar", "Your judgment"),
        ("progressbar", "Labels of this round"),
        ("button", "Undo"),
    ]:
        assert ann.page.get_by_role(role, name=name).count() == 1, (role, name)
    assert ann.page.locator("[role=status][aria-live=polite].tl-last").count() == 1


def test_an_empty_queue_says_what_to_do_and_looks_again_by_itself(desk: Any, server: Server) -> None:
    ann = desk()
    ann.said("No pairs yet")
    put_into_queue(server.ledger, numbered(1))
    ann.ready()
