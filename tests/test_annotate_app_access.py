"""Everybody can work with the page: axe-core, keyboard alone, zoom, phone width, both directions, every word."""

import importlib.util
import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from desk import NEEDS_CHROMIUM, ask, chromium, desk, labels, one_server, server
from serving import Example, Server, numbered, put_into_queue

from annotate.app import STATIC

__all__ = ["chromium", "desk", "one_server", "server"]

pytestmark = NEEDS_CHROMIUM
LONG = "# Tea\n\nA paragraph, *long* enough.\n\n" * 30
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
WIDTHS = {"desk": (1366, 820), "zoomed": (683, 410), "phone": (375, 740)}
QUICK = [("desk", "en", "light"), ("phone", "ar", "dark"), ("zoomed", "ar", "light")]
LOOKS = [
    pytest.param(*look, marks=[] if look in QUICK else [pytest.mark.slow])
    for look in product(WIDTHS, ("en", "ar"), ("light", "dark"))
]


@pytest.fixture(scope="module")
def axe() -> str:
    """The script of axe-core, which the package axe-playwright-python carries."""
    spec = importlib.util.find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        pytest.skip("needs axe-playwright-python, one of the dev extra")
    return (Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")


def findings(page: Any, axe: str) -> list[str]:
    """What axe-core has to say about the page as it is now, each with the elements meant."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(axe)
    found = page.evaluate(
        "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']}).then((all) => all.violations.map("
        "(each) => each.id + ': ' + each.nodes.map((node) => node.target.join(' ') + ' ' + node.failureSummary)"
        "))",
        RULES,
    )
    return list(found)


@pytest.mark.parametrize(("width", "locale", "theme"), LOOKS)
def test_axe_finds_nothing_on_any_state_of_the_page(
    desk: Any, server: Server, axe: str, width: str, locale: str, theme: str
) -> None:
    criteria = [{"name": "helpful", "question": "Helpful?", "low": "no", "high": "very"}]
    guideline = "# Better\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\ncode\n```"
    ask(server.ledger, preset="safety", grades=3, criteria=criteria, guideline=guideline)
    put_into_queue(
        server.ledger,
        [Example([{"role": "system", "content": "Be brief."}, {"role": "user", "content": LONG}], (LONG, "Short."))],
    )
    put_into_queue(server.ledger, [Example("Greet me.", ("Hello.", "Hi.", "Oi."))], round=2)
    ann = desk(viewport=dict(zip(("width", "height"), WIDTHS[width], strict=True)), color_scheme=theme, locale=locale)
    page = ann.ready().page
    seen = {"ranking": findings(page, axe)}
    for key, name in [
        ("h", "history"),
        (",", "settings"),
        ("?", "keys"),
        ("f", "flags"),
        ("s", "skip"),
        ("r", "reason"),
    ]:
        page.keyboard.press(key)
        seen[name] = findings(page, axe)
        page.keyboard.press("Escape")
    for key in ("Shift+1", "Shift+1", "Shift+1", "1", "2", "3"):
        page.keyboard.press(key)
    ann.ready()
    page.keyboard.press("v")
    seen["scale"] = findings(page, axe)
    page.keyboard.press("d")
    seen["differences"] = findings(page, axe)
    for key in ("Shift+1", "Shift+1", "Shift+1", "6"):
        page.keyboard.press(key)
    page.wait_for_selector(".tl[data-state=rest]")
    seen["rest"] = findings(page, axe)
    page.goto(f"{server.url}/password")
    seen["password"] = findings(page, axe)
    page.evaluate("fetch('/api/logout', {method: 'POST'})")
    page.goto(f"{server.url}/login")
    seen["sign-in"] = findings(page, axe)
    assert {name: found for name, found in seen.items() if found} == {}
    assert len(labels(server.ledger)) == 2
    ann.problems.clear()  # the browser itself reports what the page asked for after it was signed out


@pytest.mark.parametrize("locale", ["en", "ar"])
def test_nothing_sticks_out_at_phone_width_or_twice_the_size(desk: Any, server: Server, locale: str) -> None:
    ask(server.ledger, preset="safety", criteria=[{"name": "helpful", "low": "not at all", "high": "very much so"}])
    put_into_queue(server.ledger, [Example("x" * 300, ("long" * 100, LONG, "Short."))])
    put_into_queue(server.ledger, numbered(2), round=2)
    ann = desk(viewport={"width": 1366, "height": 820}, locale=locale)
    for width, height in (*WIDTHS.values(), (320, 640)):
        ann.page.set_viewport_size({"width": width, "height": height})
        ann.page.reload()
        ann.ready()
        wide = ann.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{wide} > {width}"
        outside = ann.page.evaluate(
            "width => [...document.querySelectorAll('.tl button')].filter((each) => {"
            " const { left, right, width: own } = each.getBoundingClientRect();"
            " return own && (left < -1 || right > width + 1) }).map((each) => each.textContent)",
            width,
        )
        assert outside == []


def test_all_of_it_is_done_by_tab_and_enter_with_single_keys_off(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, numbered(2))
    ann = desk().ready()

    def tab_to(name: str) -> None:
        for _ in range(60):
            ann.page.keyboard.press("Tab")
            if ann.page.evaluate("document.activeElement.textContent").strip().endswith(name):
                return
        raise AssertionError(f"Tab never reaches {name}")

    ann.page.keyboard.press("?")
    ann.page.keyboard.press("Space")
    assert not ann.page.get_by_label("Keys of a single character").is_checked()
    ann.page.keyboard.press("Escape")
    ann.page.keyboard.press("1")
    tab_to("Tie")
    ann.page.keyboard.press("Enter")
    ann.ready()
    tab_to("Skip")
    ann.page.keyboard.press("Enter")
    tab_to("Another reason")
    ann.page.keyboard.press("Space")
    ann.page.wait_for_selector(".tl[data-state=rest], .tl[aria-busy=false]")
    ann.saved()
    tie, skip = labels(server.ledger)
    assert len(tie.ranking) == 1 and skip.skip_reason == "other"


def test_every_word_is_translated_and_none_is_written_elsewhere(desk: Any, server: Server) -> None:
    ann = desk()
    words = ann.page.evaluate(
        "async () => Object.fromEntries(await Promise.all(['en', 'ar'].map("
        "async (each) => [each, (await import(`/page/strings/${each}.js`)).default])))"
    )
    english, arabic = words["en"], words["ar"]
    assert english.keys() == arabic.keys()
    for key, said in english.items():
        forms = [said] if isinstance(said, str) else list(said.values())
        others = [arabic[key]] if isinstance(arabic[key], str) else list(arabic[key].values())
        names = set(re.findall(r"\{\w+\}", " ".join(forms)))
        assert set(re.findall(r"\{\w+\}", " ".join(others))) <= names, key
        assert names <= set(re.findall(r"\{\w+\}", others[-1])) | {"{n}"}, key
        assert all(others) and (forms != others or key.startswith("said.")), f"{key} is not translated"
    arabic_forms = {"zero", "one", "two", "few", "many", "other"}
    assert all(set(said) == arabic_forms for said in arabic.values() if isinstance(said, dict))
    html = "".join(path.read_text(encoding="utf-8") for path in STATIC.glob("*.html"))
    code = "".join(path.read_text(encoding="utf-8") for path in STATIC.glob("*.js"))
    asked = set(re.findall(r'data-t(?:-label)?="([^"]+)"', html)) | set(re.findall(r'\bt\("([^"]+)"', code))
    starts = set(re.findall(r"\bt\(`([^`$]+)\$", code))
    assert asked <= english.keys()
    unused = {key for key in english.keys() - asked - {"direction"} if not key.startswith(tuple(starts))}
    choices = set(re.findall(r'"([a-z][a-z.]*)"', code))
    assert unused - choices == set(), "words that nothing says"
