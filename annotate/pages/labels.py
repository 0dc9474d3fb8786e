"""The page to browse and search labels, to open one with all that was said about its pair, and to review it."""

from datetime import UTC, datetime
from typing import Any

import gradio as gr

from annotate.errors import BadInput
from annotate.ledger import Ledger
from annotate.pages.frame import Desk, Told, area, begin, clickable, on
from annotate.pages.markup import Markup, el, join, table
from annotate.pages.pair import pair, ranking_words
from annotate.reviews import MOST_REASON, make_gold, open_label, review
from annotate.search import Found, Wanted, find, pseudonym

KINDS = {
    "Labels": {},
    "Flagged": {"flagged": True},
    "Both bad": {"both_bad": True},
    "In disagreement": {"disagreement": True},
    "Skips": {"skipped": True},
}
ANY = "Any"
# A screen reader and the keyboard follow: into the label that was opened, and back to its line in the list.
_FOCUS = (
    "const go = () => { const to = element.querySelector('[data-opened]');"
    " if (to && to.dataset.opened !== element.dataset.opened) {"
    " element.dataset.opened = to.dataset.opened; to.focus(); scrollTo(0, 0); } }; watch('value', go); go();"
)
_RETURN = (
    "() => { const id = document.querySelector('[data-opened]')?.dataset.opened; let left = 60;"
    " const look = () => { const all = [...document.querySelectorAll('#ld-list .ld-link')];"
    " const to = all.find((each) => each.dataset.id === id);"
    " if (to) to.focus(); else if (left-- > 0) setTimeout(look, 50); }; look(); }"
)
CHOICES = [("Agree", "agree"), ("Disagree", "disagree"), ("Unusable", "unusable")]


def build(demo: gr.Blocks, ledger: Ledger) -> None:
    """The page, inside its Blocks context."""
    begin(demo, ledger, "labels", "Labels")
    with gr.Column(elem_id="ld-list") as listing:
        with gr.Row(elem_classes="ld-filters"):
            words = gr.Textbox(label="Words", placeholder='rice "two cups"', max_lines=1, scale=3, min_width=220)
            kind = gr.Dropdown(list(KINDS), value="Labels", label="Show", min_width=150, filterable=False)
            round = gr.Textbox(label="Round", placeholder=ANY, max_lines=1, min_width=80)
            person = gr.Textbox(label="Annotator", placeholder=ANY, max_lines=1, min_width=150)
            objective = gr.Dropdown(
                [ANY, "helpful", "safe"], value=ANY, label="Objective", min_width=120, filterable=False
            )
            split = gr.Dropdown(
                [ANY, "train", "validation", "test"], value=ANY, label="Split", min_width=120, filterable=False
            )
            search = gr.Button("Search", variant="primary", min_width=110)
        problem = area()
        shown = clickable(el("p", "Loading …", class_="ld-empty"))
    with gr.Column(visible=False, elem_id="ld-opened") as opened:
        back = gr.Button("Back to the list", elem_classes="ld-back")
        label = area(js=_FOCUS)
        with gr.Column(elem_classes="ld-form"):
            verdict = gr.Radio(CHOICES, label="Your verdict on this label")
            reason = gr.Textbox(label="Reason", lines=2, max_length=MOST_REASON, info="Asked for unless you agree")
            uuid = gr.Textbox(visible=False)
            send = gr.Button("Write the review", variant="primary", elem_classes="ld-send")
            told = area()
        with gr.Accordion("Use as a gold item", open=False, visible=False) as gold:
            use = gr.Radio(
                [("Practice, with the explanation after it", "practice"), ("Control, never marked", "control")],
                label="What for",
            )
            explanation = gr.Textbox(label="Why this is the right answer", lines=2, max_length=MOST_REASON)
            make = gr.Button("Make it a gold item", elem_classes="ld-send")
            made = area()

    filters = [words, kind, round, person, objective, split]
    changed = (search.click, words.submit, round.submit, person.submit, kind.change, objective.change, split.change)
    for event in (demo.load, *changed):
        on(ledger, event, "labels.find", first_page, filters, [shown], told=problem)
    seen = [shown, listing, opened, label, uuid, verdict, reason, told, gold, use, explanation, made]
    on(ledger, shown.click, "labels.click", click, filters, seen, told=problem, clicked=True)
    on(ledger, send.click, "labels.review", write, [uuid, verdict, reason], [label, verdict, reason], told=told)
    on(ledger, make.click, "labels.gold", gild, [uuid, use, explanation], [use, explanation], told=made)
    on(ledger, back.click, "labels.back", leave, outputs=[listing, opened], js=_RETURN)


def first_page(desk: Desk, *filters: Any) -> list[Markup]:
    """The newest labels that the filters ask for."""
    return [_page(desk, filters, None)]


def click(desk: Desk, clicked: dict[str, str], *filters: Any) -> list[Any]:
    """What was clicked in the list: a label to be opened, or the way to older ones."""
    if clicked.get("do") == "open":
        shown = opened(desk, clicked.get("id", ""))
        hide, show = gr.Column(visible=False), gr.Column(visible=True)
        gold = gr.Accordion(visible=desk.may("lead"))
        return [gr.skip(), hide, show, shown, clicked["id"], None, "", "", gold, None, "", ""]
    try:
        before = int(clicked.get("before", ""))
    except ValueError:
        raise BadInput("there is no such page") from None
    return [_page(desk, filters, before), *[gr.skip()] * 11]


def opened(desk: Desk, uuid: str) -> Markup:
    """One label, with everything about its pair; names for leads, pseudonyms for reviewers."""
    with desk.ledger.read() as session:
        found = open_label(session, uuid)
    return pair(found, uuid, named=desk.may("lead"))


def write(desk: Desk, uuid: str | None, verdict: str | None, reason: str | None) -> Told:
    """Store a review, and show the label with it."""
    review(desk.ledger, desk.person, uuid or "", verdict or "", reason or "")
    return Told([opened(desk, uuid or ""), None, ""], "Written.")


def gild(desk: Desk, uuid: str | None, use: str | None, explanation: str | None) -> Told:
    """Make a gold item of the label that is open: its ranking is the answer."""
    make_gold(desk.ledger, desk.person, uuid or "", use or "", explanation or "")
    return Told([None, ""], "It is a gold item now; the campaign says how many of them people get.")


def leave(desk: Desk) -> list[Any]:
    """Back to the list, as it was."""
    return [gr.Column(visible=True), gr.Column(visible=False)]


def _page(desk: Desk, filters: tuple[Any, ...], before: int | None) -> Markup:
    wanted = _wanted(*filters)
    named = desk.may("lead")
    with desk.ledger.read() as session:
        if named and wanted.annotator:
            wanted = wanted.model_copy(update={"annotator": pseudonym(session, wanted.annotator)})
        page = find(session, wanted, before)
    rows = [_row(row, named=named) for row in page.rows]
    none = "Nothing fits." if page.next is None else "Nothing fits among the labels looked at so far."
    return join(
        table(
            "Skips" if wanted.skipped else "Labels",
            ["Prompt", "Said", "By", "Round", "When"],
            rows,
            empty=none,
        ),
        el(
            "p",
            None
            if before is None
            else el("button", "Newest", type="button", data_do="page", data_before=2**62, class_="ld-button"),
            None
            if page.next is None
            else el("button", "Older", type="button", data_do="page", data_before=page.next, class_="ld-button"),
            class_="ld-pager",
        ),
    )


def _wanted(
    words: str | None, kind: str | None, round: str | None, person: str | None, objective: str | None, split: str | None
) -> Wanted:
    number = (round or "").strip()
    if number and not number.lstrip("-").isdecimal():
        raise BadInput("a round is a number", where="Round")
    try:
        return Wanted(
            words=words or "",
            round=int(number) if number else None,
            annotator=(person or "").strip(),
            objective="" if objective in (None, ANY) else objective,
            split="" if split in (None, ANY) else split,
            **KINDS.get(kind or "Labels", {}),
        )
    except ValueError as error:
        raise BadInput("the search is too long", where="Words") from error


def _row(row: Found, *, named: bool) -> tuple[object, ...]:
    return (
        el("button", row.prompt or "(no text)", type="button", data_do="open", data_id=row.uuid, class_="ld-link"),
        join(_said(row), el("span", row.rationale, class_="ld-quote") if row.rationale else None),
        row.name if named else row.annotator,
        f"{row.round}" if row.round else "imported",
        el("time", datetime.fromtimestamp(row.created_at, UTC).strftime("%Y-%m-%d %H:%M")),
    )


def _said(row: Found) -> Markup:
    """The judgment in a few words: by the place where the best response was shown."""
    if row.skip_reason is not None:
        return join("skipped: ", row.skip_reason)
    marks = [el("span", flag.split("@")[0], class_="ld-mark") for flag in row.flags]
    if row.reviewed:
        marks.append(el("span", f"review: {row.reviewed}", class_="ld-mark"))
    numbers = {response: f"{place + 1}" for place, response in enumerate(row.order_shown)}
    return join(ranking_words(row.ranking, numbers, row.strength, row.both_bad), marks)
