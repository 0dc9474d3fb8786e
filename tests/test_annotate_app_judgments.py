"""Every kind of judgment a campaign can ask for, given by keys (and by hand where a hand does it) in a real browser."""

from typing import Any

from desk import NEEDS_CHROMIUM, Desk, ask, chromium, desk, labels, one_server, server
from serving import Example, Server, numbered, put_into_queue

__all__ = ["chromium", "desk", "one_server", "server"]

pytestmark = NEEDS_CHROMIUM
GREETINGS = Example("Greet me.", ("Hello.", "Good morning!", "Oi.", "Good day to you."))


def places(ann: Desk, server: Server) -> list[list[int]]:
    """The ranking of the last label, as numbers of the cards now on screen."""
    numbers = {text: number for number, text in enumerate(ann.texts, 1)}
    return [sorted(numbers[server.text(each)] for each in tied) for tied in labels(server.ledger)[-1].ranking]


def test_one_key_gives_a_graded_judgment(desk: Any, server: Server) -> None:
    ask(server.ledger, grades=3)
    put_into_queue(server.ledger, numbered(9))
    ann = desk()
    for key, winner, strength in [("1", 0, 3), ("3", 0, 1), ("4", None, 0), ("0", None, 0), ("5", 1, 1), ("7", 1, 3)]:
        ann.ready()
        shown = ann.texts
        ann.press(key)
        ann.saved()
        label = labels(server.ledger)[-1]
        assert label.strength == strength
        best = [server.text(each) for each in label.ranking[0]]
        assert sorted(best) == sorted(shown if winner is None else [shown[winner]])
    ann.said("Last: second is much better")


def test_without_ties_the_scale_has_no_middle(desk: Any, server: Server) -> None:
    ask(server.ledger, preset="hh")
    put_into_queue(server.ledger, numbered(2))
    ann = desk().ready()
    shown = ann.texts
    assert ann.page.locator(".tl-judge [data-point]").count() == 6
    ann.press("0", "b", "4")
    ann.saved()
    [label] = labels(server.ledger)
    assert (server.text(label.ranking[0][0]), label.strength) == (shown[1], 1)


def test_strength_and_safety_take_two_keys(desk: Any, server: Server) -> None:
    ask(server.ledger, preset="llama2-margin")
    put_into_queue(server.ledger, numbered(2))
    ann = desk()
    ann.press("Shift+Digit3", "6")
    ann.saved()
    [label] = labels(server.ledger)
    assert label.strength == 3 and label.criteria == {"safety": dict.fromkeys(label.order_shown, "unsafe")}


def test_each_response_is_rated_on_each_criterion_before_they_are_compared(desk: Any, server: Server) -> None:
    criteria = [{"name": "helpful", "low": "not at all", "high": "very"}, {"name": "correct", "most": 3}]
    ask(server.ledger, grades=0, criteria=criteria, acceptable=True)
    put_into_queue(server.ledger, numbered(2))
    ann = desk().ready()
    now = ann.page.locator(".tl-question[data-now=true]")
    assert "helpful" in now.text_content()
    ann.press("4", "2", "9", "n")  # there is no 9; n leaves the first answer to "correct" open
    ann.press("3", "1", "2", "ArrowLeft")
    ann.said("Still open for response 1: correct")
    assert labels(server.ledger) == []
    ann.press("1")
    ann.saved()
    [label] = labels(server.ledger)
    first, second = label.order_shown
    assert label.criteria == {
        "helpful": {first: 4, second: 2},
        "correct": {first: 1, second: 3},
        "acceptable": {first: True, second: False},
    }
    assert label.ranking == [[first], [second]]


def test_a_demanded_reason_is_asked_for_before_the_judgment_goes(desk: Any, server: Server) -> None:
    ask(server.ledger, grades=3, rationale="demanded")
    put_into_queue(server.ledger, numbered(2))
    ann = desk()
    ann.press("2")
    note = ann.page.get_by_label("Why did you judge so?")
    note.wait_for()
    ann.page.keyboard.type("1 is shorter.")
    ann.page.keyboard.press("Escape")
    assert labels(server.ledger) == [] and not note.is_visible()
    ann.page.reload()  # what was written is still there, the comparison is asked again
    ann.press("r")
    assert note.input_value() == "1 is shorter."
    ann.page.keyboard.press("End")
    ann.page.keyboard.type(" And right.")
    ann.page.keyboard.press("Control+Enter")
    ann.press("3")
    ann.saved()
    [label] = labels(server.ledger)
    assert (label.rationale, label.strength) == ("1 is shorter. And right.", 1)


def test_the_better_response_can_be_improved(desk: Any, server: Server) -> None:
    ask(server.ledger, grades=0, edit=True)
    put_into_queue(server.ledger, numbered(2))
    ann = desk().ready()
    better = ann.texts[1]
    ann.press("e")
    ann.said("Now choose the better response")
    ann.press("2")
    note = ann.page.get_by_label("Improve the better response")
    assert note.input_value() == better
    ann.page.keyboard.press("Control+a")
    ann.page.keyboard.type("Better still.")
    ann.page.keyboard.press("Control+Enter")
    ann.ready()
    ann.saved()
    [label] = labels(server.ledger)
    assert label.edited == {label.ranking[0][0]: "Better still."}
    assert server.text(label.ranking[0][0]) == better


def test_flags_are_set_by_digits_for_the_pair_or_for_one_response(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(2))
    ann = desk()
    ann.press("f")
    ann.page.keyboard.press("2")
    for key in ("ArrowRight", "ArrowRight", "1", "4", "4"):
        ann.page.keyboard.press(key)
    assert ann.page.get_by_role("checkbox", name="Unsafe: Response 2").is_checked()
    ann.page.keyboard.press("f")
    assert ann.page.get_by_role("button", name="Flag").get_attribute("aria-pressed") == "true"
    ann.press("1")
    ann.saved()
    [label] = labels(server.ledger)
    assert sorted(label.flags) == ["personal-data", f"unsafe@{label.order_shown[1]}"]


def test_responses_are_ranked_by_their_numbers_ties_and_all(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, [GREETINGS])
    ann = desk().ready()
    for key in ("2", "4", "Backspace", "3", "=", "1", "4"):
        ann.page.keyboard.press(key)
    ann.saved()
    ann.said("Round 1 is complete")
    assert places(ann, server) == [[2], [1, 3], [4]]
    ann.said("Last: 2 > 3 = 1 > 4")


def test_the_last_response_falls_into_place_where_ties_are_not_offered(desk: Any, server: Server) -> None:
    ask(server.ledger, ties=False)
    put_into_queue(server.ledger, [GREETINGS])
    ann = desk().ready()
    for key in ("4", "0", "=", "1", "2"):
        ann.page.keyboard.press(key)
    ann.saved()
    ann.said("Round 1 is complete")
    assert places(ann, server) == [[4], [1], [2], [3]]


def test_responses_are_ranked_by_dragging_and_the_arrows_move_them_too(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, [GREETINGS])
    ann = desk().ready()
    token = ann.page.get_by_role("group", name="Your ranking").get_by_role("button", name="Response").nth

    def drag(number: int, target: str) -> None:
        ann.page.locator(f".tl-token >> text='{number}'").drag_to(ann.page.locator(target))

    drag(3, ".tl-last-gap")
    drag(1, "[data-insert='0']")
    drag(2, "[data-join='1']")
    drag(4, ".tl-last-gap")
    assert labels(server.ledger) == [], "a drag alone sends nothing"
    shown = ann.page.locator(".tl-place").evaluate_all("all => all.map(each => each.textContent)")
    assert shown == ["1", "32", "4"]
    token(3).focus()
    ann.page.keyboard.press("ArrowLeft")  # 4 joins 3 and 2
    ann.page.keyboard.press("ArrowLeft")  # and passes them
    ann.page.keyboard.press("Tab")
    ann.page.locator(".tl-pair").focus()
    ann.page.keyboard.press("Enter")
    ann.said("Round 1 is complete")
    ann.saved()
    assert places(ann, server) == [[1], [4], [2, 3]]


def test_a_key_can_be_changed_and_single_keys_switched_off(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(6))
    ann = desk()
    ann.press("?")
    dialog = ann.page.get_by_role("dialog", name="Keys")
    dialog.get_by_role("button", name="both are bad").click()
    ann.page.keyboard.press("x")
    ann.page.keyboard.press("Escape")
    ann.press("b")
    ann.press("x")
    ann.saved()
    assert [each.both_bad for each in labels(server.ledger)] == [True], "b does nothing any more"
    ann.page.reload()
    ann.press("x")
    ann.saved()
    assert len(labels(server.ledger)) == 2, "the new key is kept"
    ann.page.get_by_role("button", name="Keys").click()
    dialog.get_by_label("Keys of a single character").uncheck()
    ann.page.keyboard.press("Escape")
    ann.press("1", "x", "ArrowLeft")
    ann.saved()
    assert len(labels(server.ledger)) == 3
    assert ann.page.locator(".tl-bar kbd:visible").count() == 0
    ann.ready().page.get_by_role("button", name="First is better").click()
    ann.ready()
    ann.saved()
    assert len(labels(server.ledger)) == 4


def test_what_was_judged_can_be_looked_at_and_revised(desk: Any, server: Server) -> None:
    ask(server.ledger, grades=3)
    put_into_queue(server.ledger, numbered(3))
    ann = desk().ready()
    shown = ann.texts
    ann.press("1", "4")
    ann.ready()
    waiting = ann.texts
    ann.saved()
    ann.press("h")
    rows = ann.page.get_by_role("dialog", name="What you have judged").locator("li")
    rows.nth(1).wait_for()
    assert rows.all_text_contents()[1].startswith("first is much better")
    rows.nth(1).click()
    ann.said("You are judging this pair anew")
    assert ann.ready().texts == shown
    ann.press("6")
    ann.ready()
    ann.saved()
    assert ann.texts == waiting, "back at the pair that waited"
    first, _, again = labels(server.ledger)
    assert again.supersedes == first.uuid and again.slot_id == first.slot_id
    assert (server.text(again.ranking[0][0]), again.strength) == (shown[1], 2)
    ann.press("h")
    rows.nth(0).click()
    ann.press("Backspace")
    assert ann.ready().texts == waiting and len(labels(server.ledger)) == 3


def test_a_topic_can_be_left_out_when_skipping(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, [Example(f"Poison {n}?", ("Yes.", "No."), "poison") for n in range(3)])
    put_into_queue(server.ledger, [Example("Tea?", ("Yes please.", "No thanks."), "tea")])
    ann = desk().ready()
    while "Poison" not in ann.page.text_content(".tl-prompt"):
        ann.press("1")
        ann.ready()
    ann.press("s")
    ann.page.get_by_label("nothing more on the topic “poison”").check()
    ann.page.get_by_role("button", name="I would rather not read this").click()
    gone = "() => !document.querySelector('.tl-pair').checkVisibility() || !document.body.innerText.includes('Poison')"
    ann.until(gone)
    ann.page.reload()
    ann.page.wait_for_selector(".tl[data-state=pair], .tl[data-state=rest]")
    assert ann.page.evaluate(gone)
