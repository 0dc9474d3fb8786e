"""The page of the campaign: what people are asked, the guideline with its versions, and what is put into the queue.

A campaign is shown against the one in force before it takes its place.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gradio as gr
from pydantic import ValidationError
from sqlmodel import Session

from annotate.campaign import PRESETS, CampaignSection, Criterion, in_force, set_campaign
from annotate.errors import BadInput
from annotate.imports import import_file
from annotate.ledger import Ledger, audit
from annotate.pages.frame import Desk, Told, area, begin, clickable, on
from annotate.pages.markup import Markup, el, join, table
from annotate.readers import Report
from annotate.reviews import drop_gold, gold_items
from annotate.versions import changes, diff, versions

FILES = [".jsonl", ".json", ".csv", ".parquet", ".gz"]
RATIONALES = [("Not asked", "off"), ("May be given", "optional"), ("Demanded", "demanded")]
FIELDS = (
    "preset",
    "objective",
    "grades",
    "ties",
    "both_bad",
    "acceptable",
    "safety_bins",
    "edit",
    "rationale",
    "criteria",
    "most_per_annotator",
    "most_per_day",
    "break_after_minutes",
    "gold_share",
    "qualification",
    "pass_share",
    "guideline",
)


def build(demo: gr.Blocks, ledger: Ledger) -> None:
    """The page, inside its Blocks context."""
    begin(demo, ledger, "campaign", "Campaign")
    now = area(el("p", "Loading …", class_="ld-empty"))
    with gr.Tabs():
        with gr.Tab("What is asked"):
            fields = _questions()
            with gr.Row(elem_classes="ld-buttons"):
                check = gr.Button("See what changes")
                apply = gr.Button("Put in force", visible=False, variant="primary")
                seen = gr.Textbox(visible=False)
                reset = gr.Button("As it is now")
            told = area()
            difference = area()
        with gr.Tab("Versions"):
            history = area()
        with gr.Tab("Gold items"):
            items_told = area()
            items = clickable()
        with gr.Tab("Import"):
            kind, overlap, lenient, file, send = _imports()
            outcome = area()

    shown = [now, history, *fields]
    on(ledger, demo.load, "campaign.show", show, outputs=shown, told=told)
    on(ledger, reset.click, "campaign.show", show, outputs=shown, told=told)
    on(ledger, fields[0].input, "campaign.preset", fill, [fields[0]], fields[1:10], told=told)
    on(ledger, check.click, "campaign.check", compare, fields, [difference, seen, apply], told=told)
    after = [difference, apply, now, history]
    on(ledger, apply.click, "campaign.apply", put_in_force, [seen, *fields], after, told=told)
    on(ledger, demo.load, "campaign.gold", list_gold, outputs=[items], told=items_told)
    on(ledger, items.click, "campaign.ungold", take_out, outputs=[items], told=items_told, clicked=True)
    on(ledger, send.click, "campaign.import", take_in, [kind, overlap, lenient, file], [file], told=outcome)


def _questions() -> list[Any]:
    """The form, in the order of FIELDS."""
    with gr.Row(elem_classes="ld-filters"):
        preset = gr.Dropdown(list(PRESETS), label="Preset", info="Fills the questions below", filterable=False)
        objective = gr.Dropdown(["helpful", "safe"], label="Better means", filterable=False)
        grades = gr.Dropdown(
            [("Only which one", 0), ("1 strength", 1), ("2 strengths", 2), ("3 strengths", 3)],
            label="How much better",
            filterable=False,
        )
        rationale = gr.Dropdown(RATIONALES, label="Reason in words", filterable=False)
    with gr.Row(elem_classes="ld-checks"):
        ties = gr.Checkbox(label="A tie may be said")
        bad = gr.Checkbox(label="Both may be called bad")
        acceptable = gr.Checkbox(label="Is each acceptable?")
        bins = gr.Checkbox(label="Safe, borderline or unsafe?")
        edit = gr.Checkbox(label="The better one may be mended")
    criteria = gr.Textbox(
        label="Ratings of each response",
        info="One a line: name | question | low end | high end | highest number. Only the name is needed.",
        lines=2,
    )
    with gr.Row(elem_classes="ld-filters"):
        most = gr.Textbox(label="Labels a person and round", placeholder="no limit", max_lines=1, min_width=140)
        day = gr.Textbox(label="Labels a person and day", placeholder="no limit", max_lines=1, min_width=140)
        rest = gr.Textbox(label="Break after minutes", info="0: never", max_lines=1, min_width=140)
        gold = gr.Textbox(label="Control items, share", info="0 to 1, never marked", max_lines=1, min_width=140)
        practice = gr.Textbox(label="Practice items first", info="0: none", max_lines=1, min_width=140)
        passed = gr.Textbox(label="Of those right, share", info="0 to 1", max_lines=1, min_width=140)
    guideline = gr.Textbox(label="Guideline, in Markdown", lines=14, max_lines=40)
    return [
        *(preset, objective, grades, ties, bad, acceptable, bins, edit, rationale, criteria),
        *(most, day, rest, gold, practice, passed, guideline),
    ]


def _imports() -> tuple[gr.Radio, gr.Textbox, gr.Checkbox, gr.File, gr.Button]:
    with gr.Row():
        kind = gr.Radio(
            [("Prompts", "prompts"), ("Pairs to be labelled", "pairs")], value="pairs", label="What the file holds"
        )
        overlap = gr.Textbox(value="1", label="Labels wanted for each pair", max_lines=1)
    lenient = gr.Checkbox(label="Leave bad lines out instead of refusing the file")
    file = gr.File(label="JSONL, JSON, CSV or Parquet, gzipped or not, up to 64 MB", file_types=FILES, height=140)
    return kind, overlap, lenient, file, gr.Button("Import", variant="primary", elem_classes="ld-send")


def show(desk: Desk) -> list[Any]:
    """The campaign in force, its history, and the form filled with it."""
    with desk.ledger.read() as session:
        return [*_standing(session), *_values(in_force(session).settings)]


def fill(desk: Desk, preset: str | None) -> list[Any]:
    """The questions of a preset; caps, gold and guideline stay as they are in the form."""
    return _values(_section({"preset": preset or "none"}))[1:10]


def compare(desk: Desk, *values: Any) -> Told:
    """What the form would change, and the button that changes it."""
    wanted = _wanted(values)
    with desk.ledger.read() as session:
        before = in_force(session).settings
    if wanted == before:
        return Told(["", "", gr.Button(visible=False)], "Nothing changes.")
    return Told([_changes(before, wanted), wanted.model_dump_json(), gr.Button(visible=True)], "")


def put_in_force(desk: Desk, seen: str | None, *values: Any) -> Told:
    """Append the campaign of the form; labels given from now on are held against it."""
    wanted = _wanted(values)
    if wanted.model_dump_json() != seen:
        raise BadInput("the form is not as it was when you saw what changes", next="Press See what changes again")

    def write(session: Session) -> None:
        identity = set_campaign(session, wanted, desk.person.id)
        audit(session, desk.person.id, "campaign.set", identity, {"preset": wanted.preset})

    desk.ledger.write(write)
    with desk.ledger.read() as session:
        return Told(["", gr.Button(visible=False), *_standing(session)], "In force from now on.")


def take_in(desk: Desk, kind: str | None, overlap: str | None, lenient: bool | None, file: str | None) -> Told:
    """Import an uploaded file and remove it."""
    if file is None:
        raise BadInput("choose a file first")
    path = Path(file)
    try:
        if path.suffix.lower() not in FILES:
            raise BadInput(f"a file of this kind is not taken; use one of {', '.join(FILES)}", where=path.name)
        wanted = _number("Labels wanted for each pair", overlap, int) or 1
        if not 1 <= wanted <= 100:
            raise BadInput("one to a hundred labels a pair", where="Labels wanted for each pair")
        chosen: Any = "prompts" if kind == "prompts" else "pairs"
        report = import_file(desk.ledger, path, chosen, keep_going=bool(lenient), overlap=wanted)
    finally:
        path.unlink(missing_ok=True)
    action = {"kind": chosen, "stored": report.stored}
    desk.ledger.write(lambda session: audit(session, desk.person.id, "file.imported", desk.person.id, action))
    return Told([None], _reported(report))


def list_gold(desk: Desk) -> list[Markup]:
    """The items whose answer is known."""
    with desk.ledger.read() as session:
        found = gold_items(session)
    rows = [
        (
            join(item.prompt, el("span", item.explanation, class_="ld-quote") if item.explanation else None),
            item.use,
            f"{item.answers:,}",
            None
            if item.use == "off"
            else el(
                "button",
                "Take out",
                type="button",
                data_do="off",
                data_id=item.pair,
                aria_label=f"Take out: {item.prompt[:60]}",
                class_="ld-button ld-small",
            ),
        )
        for item in found
    ]
    none = "There are none. Open a label whose answer is surely right, and make it one."
    return [table("Gold items", ["Prompt", "Use", "#Answers", "What to do"], rows, empty=none)]


def take_out(desk: Desk, clicked: dict[str, str]) -> Told:
    """Stop giving out an item; what was answered stays."""
    drop_gold(desk.ledger, desk.person, clicked.get("id", ""))
    return Told(list_gold(desk), "It is not given out any more.")


def _reported(report: Report) -> str:
    said = f"{report.read:,} rows read, {report.stored:,} stored, {report.duplicates:,} were here before"
    if report.rejected:
        first = report.rejected[0]
        said += f", {len(report.rejected):,} left out, the first in line {first['line']}: {first['why']}"
    return f"{said}."


def _values(section: CampaignSection) -> list[Any]:
    """The form's values, in the order of FIELDS."""
    shown = section.model_dump(mode="json") | {"criteria": "\n".join(map(_criterion_line, section.criteria))}
    texts = FIELDS[10:16]
    return [("" if shown[name] is None else str(shown[name])) if name in texts else shown[name] for name in FIELDS]


def _wanted(values: tuple[Any, ...]) -> CampaignSection:
    """The campaign that the form describes; raises BadInput naming the field."""
    said = dict(zip(FIELDS, values, strict=True))
    for name in ("most_per_annotator", "most_per_day", "break_after_minutes", "qualification"):
        said[name] = _number(name.replace("_", " "), said[name], int)
    for name in ("gold_share", "pass_share"):
        said[name] = _number(name.replace("_", " "), said[name], float)
    lines = [line for line in (said["criteria"] or "").splitlines() if line.strip()]
    said["criteria"] = [_criterion(line) for line in lines]
    limits = ("most_per_annotator", "most_per_day")
    return _section({name: value for name, value in said.items() if value is not None or name in limits})


def _section(said: dict[str, Any]) -> CampaignSection:
    try:
        return CampaignSection.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"]).replace("_", " ")
        raise BadInput(first["msg"], where=where) from None


def _criterion(line: str) -> dict[str, Any]:
    parts = [part.strip() for part in line.split("|")]
    if len(parts) > 5:
        raise BadInput("a rating has at most five parts", where=parts[0][:40])
    said: dict[str, Any] = dict(zip(("name", "question", "low", "high"), parts[:4], strict=False))
    return said | ({"most": _number(parts[0], parts[4], int)} if len(parts) == 5 and parts[4] else {})


def _criterion_line(one: Criterion) -> str:
    return " | ".join((one.name, one.question, one.low, one.high, str(one.most)))


def _number(where: str, text: object, kind: type[int] | type[float]) -> Any:
    said = "" if text is None else str(text).strip()
    if not said:
        return None
    try:
        return kind(said)
    except ValueError:
        raise BadInput(f"'{said[:40]}' is no {'whole number' if kind is int else 'number'}", where=where) from None


def _standing(session: Session) -> list[Markup]:
    """What is in force in a sentence, and the versions with what each changed."""
    known = versions(session)
    if not known:
        return [el("p", "The defaults are in force: nobody has put a campaign up yet.", class_="ld-note"), join()]
    newest = known[0]
    said = (
        f"Version {newest.version} is in force since {_when(newest.created_at)} UTC, by {newest.author}: "
        f"preset {newest.settings.preset}, "
        + ("no guideline." if newest.guideline is None else f"guideline {newest.guideline}.")
    )
    shown = []
    for number, one in enumerate(known):
        before = known[number + 1].settings if number + 1 < len(known) else CampaignSection()
        shown.append(
            el(
                "details",
                el("summary", f"Version {one.version}, {_when(one.created_at)} UTC, by {one.author}"),
                _changes(before, one.settings),
                open=number == 0,
            )
        )
    return [el("p", said, class_="ld-note"), el("div", shown, class_="ld-versions")]


def _changes(before: CampaignSection, after: CampaignSection) -> Markup:
    rows = [(name.replace("_", " "), _word(old), _word(new)) for name, old, new in changes(before, after)]
    marks = {"kept": " ", "added": "+", "removed": "-", "skipped": "…"}
    lines = [
        el(
            {"added": "ins", "removed": "del"}.get(one.kind, "span"),
            f"{marks[one.kind]} {one.line} {'line' if one.line == '1' else 'lines'} as before"
            if one.kind == "skipped"
            else f"{marks[one.kind]} {one.line}",
        )
        for one in (diff(before.guideline, after.guideline) if before.guideline != after.guideline else ())
    ]
    return join(
        table("Settings that change", ["Setting", "Before", "After"], rows, empty="No setting changes."),
        el("h3", "Guideline", class_="ld-h2") if lines else None,
        el("div", lines, class_="ld-diff") if lines else None,
    )


def _word(value: object) -> str:
    if value is None:
        return "no limit"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(str(one["name"]) for one in value) or "none"
    return str(value)


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M")
