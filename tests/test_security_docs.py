"""What docs/security.md claims: every item of the list has a line, and each test that it names is there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATES = ("tested", "stated", "not applicable", "open")
ITEMS = (
    "1.2.1-5 1.3.1-2 1.5.1 2.1.1 2.2.1-2 2.3.1 3.2.1-2 3.3.1 3.4.1-2 3.5.1-3 4.1.1 4.4.1 5.2.1-2 5.3.1-2 6.1.1 6.2.1-8 "
    "6.3.1-2 6.4.1-2 7.2.1-4 7.4.1-2 8.1.1 8.2.1-2 8.3.1 9.1.1-3 9.2.1 10.4.1-5 11.3.1-2 11.4.1 12.1.1 12.2.1-2 13.4.1 "
    "14.2.1 14.3.1 15.1.1 15.2.1 15.3.1"
)
"""Level 1 of the OWASP ASVS 5.0."""


def lines(text: str) -> list[tuple[str, str, str]]:
    """Item, state and where, of each line of the table."""
    return re.findall(r"^\| ([\d.]+) \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)


def all_items() -> list[str]:
    found = []
    for each in ITEMS.split():
        head, _, last = each.rpartition(".")
        first, _, end = last.partition("-")
        found += [f"{head}.{number}" for number in range(int(first), int(end or first) + 1)]
    return found


def problems(text: str) -> list[str]:
    """What is missing or untrue in the table."""
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    there = set(re.findall(r"^def (test_\w+)", sources, re.MULTILINE))
    rows = lines(text)
    found = [f"{item} has no line" for item in all_items() if item not in {row[0] for row in rows}]
    for item, state, where in rows:
        named = re.findall(r"`(test_\w+)`", where)
        found += [f"{item}: unknown state {state}"] * (state not in STATES)
        found += [f"{item}: tested by nothing"] * (state == "tested" and not named)
        found += [f"{item}: there is no {name}" for name in named if name not in there]
    return found


def test_every_item_has_a_line_and_every_test_that_it_names_is_there() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    assert len(all_items()) == 70
    assert problems(text) == []


def test_a_test_that_is_gone_and_an_item_that_is_left_out_are_noticed() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    gone = text.replace("`test_a_websocket_is_closed`", "`test_that_nobody_wrote`").replace("| 8.1.1 |", "| 8.1.9 |")
    assert problems(gone) == ["8.1.1 has no line", "4.4.1: there is no test_that_nobody_wrote"]


def test_password_fields_are_masked_and_take_what_managers_fill_in() -> None:
    for name in ("login.html", "password.html"):
        page = (ROOT / "annotate" / "static" / name).read_text(encoding="utf-8")
        fields = re.findall(r'<input[^>]*name="(?:current|password)"[^>]*>', page)
        assert fields and all('type="password"' in field for field in fields)
        assert all(re.search(r'autocomplete="(?:current|new)-password"', field) for field in fields)
    scripts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "annotate" / "static").glob("*.js"))
    assert "onpaste" not in scripts and '"paste"' not in scripts
