"""The page of exports: every kind with what it is for and how much it holds, each a link that streams the file."""

from importlib.util import find_spec
from typing import get_args

import gradio as gr

from annotate.effort import totals
from annotate.encodings import Format
from annotate.exports import Count, What, export_rows
from annotate.ledger import Ledger
from annotate.pages.frame import Desk, area, begin, on
from annotate.pages.markup import Markup, el, join, table

COUNTED = 2000
"""Labels up to which the rows of every kind are counted when the page opens: it takes as long as an export."""
FOR: dict[What, tuple[str, str]] = {
    "preferences": ("Preferences", "TRL's DPO and reward trainers: prompt, chosen and rejected as messages"),
    "preferences-implicit": ("Preferences, implicit prompt", "the same, the prompt inside chosen and rejected"),
    "preferences-text": ("Preferences as text", "the same as plain texts; conversations of several turns are left out"),
    "kto": ("Single verdicts", "TRL's KTO trainer: one response a row, good or bad"),
    "sft": ("Demonstrations", "fine-tuning: edited responses, and those that were preferred"),
    "votes": ("Votes with texts", "analysis, and import into another workspace"),
    "labels": ("Labels in ids", "analysis beside the prompts: the smallest file with every judgment"),
    "prompts": ("Prompts", "with their split and near-duplicate group"),
}


def build(demo: gr.Blocks, ledger: Ledger) -> None:
    """The page, inside its Blocks context."""
    begin(demo, ledger, "export", "Export")
    problem = area()
    shown = area(el("p", "Loading …", class_="ld-empty"))
    on(ledger, demo.load, "export.show", show, outputs=[shown], told=problem)


def show(desk: Desk) -> list[Markup]:
    """Every kind of export, with its rows where they are quickly counted, and its links."""
    with desk.ledger.read() as session:
        labels, prompts = totals(session)
    known: dict[What, int] = {"labels": labels, "votes": labels, "prompts": prompts}
    rows = [
        (
            join(FOR[what][0], el("span", FOR[what][1], class_="ld-quote")),
            _count(desk.ledger, what, known, labels),
            el("span", [_link(what, format) for format in get_args(Format)], class_="ld-links"),
        )
        for what in get_args(What)
    ]
    return [
        join(
            el("p", f"{labels:,} labels count now, on {prompts:,} prompts in all.", class_="ld-note"),
            table("Exports", ["What", "#Rows", "Download"], rows, empty="There is nothing to export."),
            el(
                "p",
                "Every file is written while it is sent, from one state of the ledger. Rows carry the annotator's "
                "pseudonym, times, the order shown and the guideline's version; CSV is safe to open in a spreadsheet.",
                class_="ld-note",
            ),
        )
    ]


def _count(ledger: Ledger, what: What, known: dict[What, int], labels: int) -> str:
    if what in known:
        return f"{known[what]:,}"
    if labels > COUNTED:
        return "–"
    count = Count()
    for _ in export_rows(ledger, what, count):
        pass
    return f"{count.rows:,}" + (f" ({count.left_out:,} left out)" if count.left_out else "")


def _link(what: What, format: Format) -> Markup | None:
    if format == "parquet" and find_spec("pyarrow") is None:
        return None
    name = {"jsonl": "JSONL", "csv": "CSV", "parquet": "Parquet"}[format]
    return el(
        "a",
        name,
        href=f"../api/export?what={what}&format={format}",
        download=f"{what}.{format}",
        aria_label=f"{FOR[what][0]} as {name}",
        class_="ld-button ld-small",
    )
