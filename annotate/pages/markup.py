"""HTML for the lead pages, escaped unless it was made here: text can never become an element.

Gradio's own templates are not used for data: its Handlebars output is run as a JavaScript template.
"""

from collections.abc import Iterable, Sequence
from html import escape

Attribute = str | int | float | bool | None
_VOID = {"br", "hr", "input", "col"}


class Markup(str):
    """HTML that was made by `el`, `join` or a literal of ours; every other string is text."""

    __slots__ = ()


def el(name: str, *children: object, **attributes: Attribute) -> Markup:
    """An element. Attributes by keyword: class_, for_, data_id, aria_label; None and False leave one out, True is bare.

    Children are text, elements, or lists of those; None is nothing.
    """
    shown = []
    for key, value in attributes.items():
        word = key.rstrip("_").replace("_", "-")
        if value is True:
            shown.append(f" {word}")
        elif value is not None and value is not False:
            shown.append(f' {word}="{escape(str(value))}"')
    opened = f"<{name}{''.join(shown)}>"
    return Markup(opened if name in _VOID else f"{opened}{join(*children)}</{name}>")


def join(*children: object) -> Markup:
    """Children side by side, each escaped unless it is Markup already."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, Iterable) and not isinstance(child, str):
            parts.append(join(*child))
        else:
            parts.append(escape(str(child)))
    return Markup("".join(parts))


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> Markup:
    """A table that scrolls sideways where it is wider than the page; the first cell of a row is its heading.

    columns: their headings; one that starts with "#" is of numbers. empty: said when there are no rows.
    """
    numeric = [column.startswith("#") for column in columns]
    head = [
        el("th", column.lstrip("#"), scope="col", class_="num" if number else None)
        for column, number in zip(columns, numeric, strict=True)
    ]
    body = [
        el(
            "tr",
            [
                el("td" if place else "th", cell, scope=None if place else "row", class_="num" if number else None)
                for place, (cell, number) in enumerate(zip(row, numeric, strict=True))
            ],
        )
        for row in rows
    ]
    if not body:
        return el("p", empty, class_="ld-empty")
    shown = el("table", el("caption", caption), el("thead", el("tr", head)), el("tbody", body))
    return el("div", shown, class_="ld-scroll", tabindex=0, role="region", aria_label=caption)
