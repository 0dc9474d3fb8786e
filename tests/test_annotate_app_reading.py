"""How texts are read in a real browser: verbatim, rendered with no chance for scripts, compared, scrolled together."""

import random
from typing import Any

import pytest
from desk import NEEDS_CHROMIUM, chromium, desk, labels, one_server, server
from serving import Example, Server, put_into_queue

__all__ = ["chromium", "desk", "one_server", "server"]

pytestmark = NEEDS_CHROMIUM
MARKDOWN = """# Tea

Boil **fresh** water, wait *one* minute, `a <b and c> d`. See [the guide](https://a.example/tea) ![cup](https://a.example/c.png)

1. Warm the pot
2. Add tea
   - one spoon a cup
3. Pour

> A watched pot

| kind | minutes |
|---|--:|
| green \\| white | 2 |

```python
def steep() -> str:
    return "<b>tea</b>"
```

Heat is $Q = mc$ and costs $5 or $6.

$$E = mc^2$$
"""
PAYLOADS = [
    "<script>window.hit=1</script>",
    "<img src=x onerror='window.hit=1'>",
    "<svg onload=window.hit=1>",
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "[x](javascript:window.hit=1)",
    "[x](data:text/html,<script>window.hit=1</script>)",
    "![x](https://evil.example/a.png)",
    "![x](javascript:window.hit=1)",
    "<a href='javascript:window.hit=1'>x</a>",
    "```\n<script>window.hit=1</script>\n```",
    "| a |\n|---|\n| <img src=x onerror=window.hit=1> |",
    "# <svg/onload=window.hit=1>",
    "$<img src=x onerror=window.hit=1>$",
    "<style>*{display:none}</style>",
    "${window.hit=1} {{window.hit=1}} <%= window.hit=1 %>",
]


def in_page(ann: Any, module: str, script: str, argument: Any) -> Any:
    """The answer of a script about one of the page's modules, in the page."""
    return ann.page.evaluate(f"async (given) => {{ const it = await import('/page/{module}.js'); {script} }}", argument)


@pytest.fixture
def ann(desk: Any, server: Server) -> Any:
    put_into_queue(server.ledger, [Example("Tea?", (MARKDOWN, MARKDOWN.replace("fresh", "cold")))])
    return desk().ready()


def test_a_key_switches_to_the_rendered_view_and_back_to_the_very_text(ann: Any) -> None:
    verbatim = ann.texts
    ann.press("v")
    card = ann.page.locator(".tl-card").first
    assert card.locator("h3").text_content() == "Tea"
    assert card.locator("strong, em").all_text_contents() in (["fresh", "one"], ["cold", "one"])
    assert card.locator("p code").text_content() == "a <b and c> d"
    assert card.locator("ol > li").count() == 3 and card.locator("ol ul > li").text_content() == "one spoon a cup"
    assert card.locator("blockquote").text_content() == "A watched pot"
    assert card.locator("th, td").all_text_contents() == ["kind", "minutes", "green | white", "2"]
    assert card.locator("pre").text_content() == 'def steep() -> str:\n    return "<b>tea</b>"'
    assert card.locator(".tl-math").all_text_contents() == ["Q = mc", "E = mc^2"]
    assert card.locator(".tl-link").first.text_content() == "the guide (https://a.example/tea)"
    assert card.locator("a, img, b").count() == 0
    ann.page.reload()
    assert ann.ready().page.locator(".tl-card h3").count() == 2, "the view is kept"
    ann.press("v")
    assert ann.texts == verbatim


def test_nothing_of_a_text_runs_or_is_fetched_when_rendered(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, [Example(each, (f"{each}\n\nyes", f"no {each}")) for each in PAYLOADS])
    ann = desk().ready()
    ann.press("v")
    for _ in PAYLOADS:
        ann.ready()
        assert (
            ann.page.locator(".tl-card, .tl-prompt").locator("script, img, svg, iframe, a, style, [onerror]").count()
            == 0
        )
        assert ann.page.locator(".tl-card .tl-text").first.is_visible()
        ann.press("1")
    ann.said("Round 1 is complete")
    assert ann.page.evaluate("window.hit") is None
    assert len(labels(server.ledger)) == len(PAYLOADS)


def test_rendering_keeps_every_word_whatever_the_text(ann: Any) -> None:
    """Random pieces of Markdown, opened and closed anyhow: words neither vanish nor appear, and none takes long."""
    rng = random.Random(5)
    signs = [
        "**",
        "*",
        "_",
        "`",
        "```\n",
        "\n\n",
        "\n",
        "- ",
        "1. ",
        "> ",
        "| ",
        "|---|\n",
        "$",
        "$$",
        "# ",
        "[",
        "](",
        ")",
        "\\",
        "  ",
    ]
    texts = [
        "".join(rng.choice(signs) if rng.random() < 0.6 else f"w{rng.randrange(99)} " for _ in range(rng.randrange(60)))
        for _ in range(1500)
    ]
    lost = in_page(
        ann,
        "render",
        "const words = (text) => (text.match(/w\\d+/g) ?? []).join();"
        "return given.filter((text) => words(it.render(text).textContent) !== words(text))",
        texts,
    )
    lost = [text for text in lost if "```" not in text]  # a word beside a fence's marks names its language
    assert lost == []
    hostile = [
        "*" * 20_000,
        "[" * 20_000,
        "`" * 20_000,
        "> " * 5_000,
        "_a" * 9_000,
        "$a" * 9_000,
        "**a " * 5_000,
        "|" * 20_000,
    ]
    slowest = in_page(
        ann,
        "render",
        "const took = (text) => { const from = performance.now(); it.render(text); return performance.now() - from };"
        "return Math.max(...given.map(took))",
        hostile,
    )
    assert slowest < 20_000, "a text that never ends to be read"


def test_differences_are_marked_only_while_asked_for(ann: Any) -> None:
    marks = ann.page.locator("mark")
    verbatim = ann.texts
    assert marks.count() == 0
    ann.page.keyboard.press("d")
    assert sorted(marks.all_text_contents()) == ["cold", "fresh"] and ann.texts == verbatim
    ann.page.keyboard.press("d")
    assert marks.count() == 0 and ann.texts == verbatim
    ann.page.keyboard.down("d")
    assert marks.count() == 2
    ann.page.evaluate("() => { const now = performance.now.bind(performance); performance.now = () => now() + 1000 }")
    ann.page.keyboard.up("d")
    assert marks.count() == 0, "held down, they are marked only that long"


def test_the_pieces_of_a_comparison_are_the_texts_and_what_is_common_is_longest(ann: Any) -> None:
    rng = random.Random(3)
    pairs = [["+".join(rng.choices("abc", k=rng.randrange(12))) for _ in range(2)] for _ in range(1500)]
    wrong = in_page(
        ann,
        "diff",
        """
        const longest = (a, b) => {
          const row = () => new Array(b.length + 1).fill(0);
          const best = Array.from({ length: a.length + 1 }, row);
          a.forEach((x, i) => b.forEach((y, j) => {
            best[i + 1][j + 1] = x === y ? best[i][j] + 1 : Math.max(best[i][j + 1], best[i + 1][j]);
          }));
          return best[a.length][b.length];
        };
        const joined = (pieces, own) => pieces.filter((each) => own || !each.own).map((each) => each.text).join("");
        return given.filter(([first, second]) => {
          const [a, b] = it.compare(first, second);
          return joined(a, true) !== first || joined(b, true) !== second || joined(a, false) !== joined(b, false)
            || it.words(joined(a, false)).length !== longest(it.words(first), it.words(second));
        });
        """,
        pairs,
    )
    assert wrong == []


def test_long_responses_scroll_in_parallel_until_told_otherwise(desk: Any, server: Server) -> None:
    long, longer = "A line.\n" * 200, "Another line.\n" * 400
    put_into_queue(server.ledger, [Example("Tea?", (long, longer))])
    ann = desk(viewport={"width": 1200, "height": 800}).ready()
    bodies = ann.page.locator(".tl-body")
    share = "each => Math.round(100 * each.scrollTop / (each.scrollHeight - each.clientHeight))"
    both = "() => [...document.querySelectorAll('.tl-body')].every((each) => each.scrollTop > 0)"
    ann.page.keyboard.press("PageDown")
    ann.until(both)
    assert abs(bodies.nth(0).evaluate(share) - bodies.nth(1).evaluate(share)) <= 1
    assert ann.page.evaluate("scrollY") == 0 and ann.page.locator(".tl-bar").is_visible()
    bodies.nth(0).evaluate("each => (each.scrollTop = each.scrollHeight)")
    ann.until(
        "() => { const each = document.querySelectorAll('.tl-body')[1];"
        " return each.scrollTop + each.clientHeight > each.scrollHeight - 3 }"
    )
    ann.page.keyboard.press("l")
    bodies.nth(0).evaluate("each => (each.scrollTop = 0)")
    ann.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert bodies.nth(1).evaluate(share) >= 99


def test_each_text_has_its_own_direction(desk: Any, server: Server) -> None:
    put_into_queue(server.ledger, [Example("ما هو الشاي؟", ("الشاي مشروب.", "Tea is a drink."))])
    ann = desk().ready()
    direction = "each => getComputedStyle(each).direction"
    by_text = {
        text: ann.page.get_by_text(text).evaluate(direction)
        for text in ("الشاي مشروب.", "Tea is a drink.", "ما هو الشاي؟")
    }
    assert by_text == {"الشاي مشروب.": "rtl", "Tea is a drink.": "ltr", "ما هو الشاي؟": "rtl"}
