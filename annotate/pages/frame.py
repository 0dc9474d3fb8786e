"""The frame of the lead pages: look, navigation, and the inventory of their handlers with the role each needs.

Every event of every page is made by `on`, which looks up the role and asks the request itself who is calling: nothing
of a person lives in the page's state. Which routes Gradio needs for this stands in guard.py.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

import gradio as gr

from annotate.auth import Person, Role
from annotate.errors import NotAllowed, TrueloopError
from annotate.guard import whoami
from annotate.ledger import Ledger
from annotate.pages.markup import Markup, el

log = logging.getLogger(__name__)

PAGES: tuple[tuple[str, str, Role], ...] = (
    ("", "Progress", "reviewer"),
    ("labels", "Labels", "reviewer"),
    ("people", "People", "lead"),
    ("campaign", "Campaign", "lead"),
    ("export", "Export", "reviewer"),
)
"""Path below /lead, name, and the role that sees it."""

HANDLERS: dict[str, Role] = {
    "frame.navigation": "reviewer",
    "progress.show": "reviewer",
    "labels.find": "reviewer",
    "labels.click": "reviewer",
    "labels.review": "reviewer",
    "labels.gold": "lead",
    "labels.back": "reviewer",
    "people.list": "lead",
    "people.invite": "lead",
    "people.click": "lead",
    "people.describe": "lead",
    "campaign.show": "lead",
    "campaign.preset": "lead",
    "campaign.check": "lead",
    "campaign.apply": "lead",
    "campaign.gold": "lead",
    "campaign.ungold": "lead",
    "campaign.import": "lead",
    "export.show": "reviewer",
}
"""Every handler with the role it needs; one that is not listed cannot be attached."""

HEAD = """
<link rel="icon" href="../page/icon.svg">
<link rel="stylesheet" href="../page/trueloop.css">
<link rel="stylesheet" href="../page/lead.css">
"""

_CLICKS = (
    "element.addEventListener('click', (event) => {"
    " const made = event.target.closest('[data-do]');"
    " if (made) { event.preventDefault(); trigger('click', {...made.dataset}); } });"
)


@dataclass(frozen=True)
class Desk:
    """Who is calling, and the ledger they work on; made anew for each call."""

    ledger: Ledger
    person: Person

    def may(self, role: Role) -> bool:
        return self.person.may(role)


class Told(NamedTuple):
    """What a handler returns with a word to the person: the values of its outputs, and what was done."""

    values: Sequence[Any]
    done: str


def on(
    ledger: Ledger,
    event: Any,
    name: str,
    run: Callable[..., Any],
    inputs: Sequence[Any] = (),
    outputs: Sequence[Any] = (),
    *,
    told: gr.HTML | None = None,
    clicked: bool = False,
    **options: Any,
) -> None:
    """Attach `run(desk, *values)` to a Gradio event, for those whose role HANDLERS allows.

    run returns one value an output, as a list, or Told. told: where the person reads what was done or went wrong; of an
    error that is no TrueloopError only that there was one, as its text may hold a label's. clicked: what was clicked
    comes first among the values, as a dict of its data attributes.
    """
    role = HANDLERS[name]

    def answer(request: gr.Request, *values: Any) -> Any:
        try:
            assert request.request is not None, "a handler is only ever run by a request"
            person = whoami(request.request)
            if not person.may(role):
                raise NotAllowed(f"this needs the role {role}, yours is {person.role}")
            made = run(Desk(ledger, person), *values)
        except TrueloopError as error:
            return refuse(_sentence(error))
        except Exception as error:
            log.error("%s: %s", name, type(error).__name__)
            return refuse("An error in Trueloop: nothing was saved. See the server's log.")
        if told is None:
            return made[0] if len(outputs) == 1 else made
        if isinstance(made, Told):
            return [*made.values, el("p", made.done, class_="ld-done", role="status") if made.done else ""]
        return [*made, ""]

    def refuse(why: str) -> Any:
        if told is None:
            raise gr.Error(escape(why), duration=None, print_exception=False, title="Not done")  # it is shown as HTML
        return [*(gr.skip() for _ in outputs), el("p", why, class_="ld-problem", role="alert")]

    def answer_click(request: gr.Request, event: gr.EventData, *values: Any) -> Any:
        sent = event._data if isinstance(event._data, dict) else {}
        return answer(request, {str(key): str(value) for key, value in sent.items()}, *values)

    handler: Any = answer_click if clicked else answer
    handler.handler = name
    shown = [*outputs] if told is None else [*outputs, told]
    event(
        handler,
        list(inputs),
        shown,
        queue=False,
        show_progress="hidden",
        api_name=name,
        api_visibility="private",
        **options,
    )


def _sentence(error: TrueloopError) -> str:
    said = f"{error.where}: {error.what}" if error.where else error.what
    return f"{said[:1].upper()}{said[1:]}." + (f" {error.next}." if error.next else "")


def clickable(value: str = "", **options: Any) -> gr.HTML:
    """An area of our own HTML whose elements with data-do send a click with all their data attributes."""
    return gr.HTML(value, js_on_load=_CLICKS, apply_default_css=False, **options)


def area(value: str = "", *, js: str | None = None, **options: Any) -> gr.HTML:
    """An area of our own HTML; js runs once, when it is there."""
    return gr.HTML(value, js_on_load=js, apply_default_css=False, **options)


def begin(demo: gr.Blocks, ledger: Ledger, path: str, title: str) -> None:
    """The head of a page, inside its Blocks context: links for those who may follow them, and the title."""
    gr.Navbar(visible=False)
    links = area(_navigation(path, "reviewer", ""), elem_classes="ld-top", js=f"document.title = '{title} · Trueloop'")

    def navigation(desk: Desk) -> list[Markup]:
        return [_navigation(path, desk.person.role, desk.person.name)]

    on(ledger, demo.load, "frame.navigation", navigation, outputs=[links])
    area(el("h1", title, class_="ld-title", id="ld-title"))


def _navigation(path: str, role: Role, name: str) -> Markup:
    person = Person("", "", role)
    return el(
        "nav",
        el("a", "Trueloop", href="./", class_="ld-brand"),
        [
            el("a", page, href=place or "./", aria_current="page" if place == path else None)
            for place, page, needed in PAGES
            if person.may(needed)
        ],
        el("a", "Label", href="../", class_="ld-out"),
        el("span", name, class_="ld-name"),
        aria_label="Pages",
    )
