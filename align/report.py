"""The workspace's report.html: one self-contained page a person can read, save and send. Reads only.

Rounds and verdicts, win rates with intervals, curves, samples before and after side by side, lineage. All text of
models and people is escaped; nothing is loaded from anywhere.
"""

import json
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from sqlmodel import select

from align.charts import Interval, Series, interval_chart, line_chart
from align.recipe import load_recipe
from align.terminal import as_cell
from annotate.ledger import Ledger
from annotate.messages import as_messages, last_text
from annotate.tables import Artifact, ArtifactParent
from annotate.workspace import Workspace

SAMPLES = 8
CURVES = {
    "sft": {"loss": "nats a token"},
    "policy": {
        "held_out_reward": "by the optimised reward model",
        "held_out_kl": "nats a response",
        "held_out_tokens": "tokens a response",
        "entropy": "nats a token",
        "rewards/margins": "nats",
        "logps/chosen": "nats; may fall too while the margin grows",
    },
}
"""Which columns of metrics.jsonl are drawn, with their units; a column that an algorithm does not write is left out."""


def write_report(workspace: Workspace, ledger: Ledger) -> Path:
    """Write report.html into the workspace and return its path."""
    made = sorted(ledger.artifacts(), key=lambda one: (one.round, one.created_at))
    rounds = sorted({one.round for one in made if one.stage == "promotion"})
    latest = {(one.round, one.stage): one for one in made}
    path = workspace.path / "report.html"
    champion = ledger.champion() or next((one.id for one in made if one.stage == "sft"), "")
    sections = [
        _summary(latest, rounds, next((one for one in made if one.id == champion), None)),
        _win_rates(latest, rounds),
        *(_families(workspace, latest[number, "evaluation"]) for number in rounds[-1:]),
        _reward_cards(workspace, latest, rounds),
        _curves(workspace, latest, rounds),
        *(_samples(workspace, latest[number, "evaluation"]) for number in rounds[-1:]),
        _lineage(ledger, made, champion),
    ]
    name = escape(load_recipe(workspace.recipe_path).name)
    page = PAGE.replace("{{name}}", name).replace("{{body}}", "\n".join(one for one in sections if one))
    temporary = path.with_suffix(".tmp")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(path)
    return path


def _summary(latest: dict[tuple[int, str], Artifact], rounds: list[int], champion: Artifact | None) -> str:
    if not rounds or champion is None:
        return "<p>No round is finished yet.</p>"
    rows = []
    for number in rounds:
        evaluation, promotion = latest[number, "evaluation"].metrics, latest[number, "promotion"].metrics
        verdict = str(promotion["verdict"])
        rows.append(
            [
                number,
                latest[number, "snapshot"].metrics.get("votes"),
                f'<b class="{verdict}">{escape(verdict)}</b>',
                *(_cell(evaluation, name) for name in ("win_rate", "gold_win_rate", "win_rate_champion")),
                *(as_cell(evaluation.get(name)) for name in ("kl", "length", "length_sft", "prompts")),
                f'<div class="why">{escape(str(promotion.get("reasons", "")))}</div>',
            ]
        )
    header = ["round", "labels so far", "verdict", "wins over SFT", "by gold", "wins over champion"]
    header += ["KL, nats", "tokens", "tokens of SFT", "prompts", "why"]
    return _headline(latest, rounds, champion) + _table(header, rows)


def _headline(latest: dict[tuple[int, str], Artifact], rounds: list[int], champion: Artifact) -> str:
    """What came of it all, in a sentence or two: whose policy is the champion, and how it does against its start."""
    labels = latest[rounds[-1], "snapshot"].metrics.get("votes")
    number, identity = champion.round, f"<code>{escape(champion.id)}</code>"
    whose = f"round {number}'s policy" if champion.stage == "policy" else "still the SFT model"
    said = f"After {labels} labels in {len(rounds)} round{'s'[: len(rounds) > 1]} the champion is {whose} {identity}."
    judged = latest.get((number, "evaluation"))
    if judged is None or latest[number, "policy"].id != champion.id:
        return f"<p>{said}</p>"
    low, high = judged.metrics["win_rate_ci"]
    return (
        f"<p>{said} On prompts it never saw it wins <b>{judged.metrics['win_rate']:.0%}</b> of its comparisons with "
        f"the SFT model (95% interval {low:.0%} to {high:.0%}).</p>"
    )


def _cell(metrics: dict[str, Any], name: str) -> str:
    if metrics.get(name) is None:
        return "-"
    low, high = metrics.get(f"{name}_ci") or (None, None)
    return f"{metrics[name]:.3f}" + (f" <small>{low:.3f} to {high:.3f}</small>" if low is not None else "")


def _win_rates(latest: dict[tuple[int, str], Artifact], rounds: list[int]) -> str:
    names = {"win_rate": "referee", "gold_win_rate": "gold", "win_rate_champion": "referee, over champion"}
    intervals = []
    for number in rounds:
        metrics = latest[number, "evaluation"].metrics
        for group, (name, judge) in enumerate(names.items()):
            if metrics.get(f"{name}_ci"):
                low, high = metrics[f"{name}_ci"]
                intervals.append(Interval(f"round {number}, {judge}", metrics[name], low, high, group))
    if not intervals:
        return ""
    note = "Share of held-out prompts on which the candidate wins, ties one half; whiskers are 95% intervals by prompt."
    return f"<h2>Win rates</h2><p>{note}</p>{interval_chart(intervals)}"


def _families(workspace: Workspace, evaluation: Artifact) -> str:
    """Each instruction family's own win rates; a family that training never asked shows how far the gain carries."""
    path = workspace.path / evaluation.path / "metrics.json"
    families = json.loads(path.read_text(encoding="utf-8"))["families"] if path.is_file() else {}
    if not families:
        return ""
    rows = []
    for name, figures in sorted(families.items(), key=lambda one: bool(one[1].get("held_out"))):
        mark = " <small>held out from training</small>" if figures.get("held_out") else ""
        cells = [_cell(figures, key) for key in ("win_rate", "gold_win_rate", "win_rate_champion")]
        rows.append([escape(name) + mark, *cells, figures["prompts"]])
    header = ["family", "wins over SFT", "by gold", "wins over champion", "prompts"]
    return f"<h2>By family, round {evaluation.round}</h2>" + _table(header, rows)


def _reward_cards(workspace: Workspace, latest: dict[tuple[int, str], Artifact], rounds: list[int]) -> str:
    header = ["round", "model", "accuracy", "always longer", "human ceiling", "ECE", "labels"]
    rows = []
    for number in rounds:
        for stage in ("reward", "referee"):
            if (number, stage) in latest:
                metrics = latest[number, stage].metrics
                cells = [as_cell(metrics.get(name)) for name in ("length_only", "ceiling", "ece", "pairs")]
                rows.append([number, stage, _cell(metrics, "accuracy"), *cells])
    if not rows:
        return ""
    folder = workspace.path / latest[rounds[-1], "reward"].path
    return "<h2>Reward models</h2>" + _table(header, rows) + f'<div class="charts">{_reliability(folder)}</div>'


def _reliability(folder: Path) -> str:
    """How often the reward model was right, by how sure it was; on the dotted line it knows what it knows."""
    path = folder / "report.json"
    bins = json.loads(path.read_text(encoding="utf-8"))["reliability"] if path.is_file() else []
    sure = [one["confidence"] for one in bins]
    right = Series("right", sure, [one["accuracy"] for one in bins])
    drawn = [right, Series("as sure as right", sure, sure, dashed=True)]
    return line_chart("reliability of the last reward model", drawn, "share right over confidence", axis="confidence")


def _curves(workspace: Workspace, latest: dict[tuple[int, str], Artifact], rounds: list[int]) -> str:
    charts = []
    for stage, names in CURVES.items():
        stages = [(number, latest[number, stage]) for number in (0, *rounds) if (number, stage) in latest]
        for name, unit in names.items():
            series = []
            for number, made in stages:
                points = list(_points(workspace.path / made.path / "metrics.jsonl", name))
                if points:
                    series.append(Series(f"round {number}", [x for x, _ in points], [y for _, y in points]))
            charts.append(line_chart(f"{stage}: {name.replace('_', ' ').replace('kl', 'KL')}", series, unit))
    drawn = "".join(charts)
    return f'<h2>Curves</h2><div class="charts">{drawn}</div>' if drawn else ""


def _points(path: Path, name: str) -> Iterable[tuple[float, float]]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if isinstance(row.get(name), int | float):
                yield float(row["step"]), float(row[name])


def _samples(workspace: Workspace, evaluation: Artifact) -> str:
    path = workspace.path / evaluation.path / "samples.jsonl"
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    shown = rows[:: max(len(rows) // SAMPLES, 1)][:SAMPLES]
    cards = []
    for row in shown:
        prompt = escape(last_text(as_messages(row["prompt"])))
        before, after = (escape(_first(row, name)) for name in ("sft", "policy"))
        cards.append(
            f'<article><p class="prompt" dir="auto">{prompt}</p><div class="pair">'
            f'<section><h3>before</h3><p dir="auto">{before}</p></section>'
            f'<section><h3>after</h3><p dir="auto">{after}</p></section></div></article>'
        )
    note = f"Round {evaluation.round}: the first sample of the SFT model and of the candidate, on prompts neither saw."
    return f"<h2>Samples</h2><p>{note} Chosen by position, not by merit.</p>{''.join(cards)}"


def _first(row: dict[str, Any], model: str) -> str:
    return str(row["models"][model]["responses"][0])


def _lineage(ledger: Ledger, made: list[Artifact], champion: str) -> str:
    with ledger.read() as session:
        edges = [(edge.artifact_id, edge.parent_id) for edge in session.exec(select(ArtifactParent))]
    stages = {one.id: one.stage for one in made}
    rows = []
    for one in made:
        from_ = [parent for artifact, parent in edges if artifact == one.id]
        links = (f'<a href="#{parent}" title="{parent}">{stages[parent]}</a>' for parent in sorted(from_))
        parents = f'<div class="why">{" ".join(links)}</div>'
        mark = " <b>champion</b>" if one.id == champion else ""
        identity = f'<code id="{one.id}">{one.id}</code>{mark}'
        rows.append(
            [one.round, one.stage, identity, parents, f"<code>{one.content_hash[:12]}</code>", f"{one.seconds:.1f}"]
        )
    header = ["round", "stage", "artifact", "made from", "content hash", "seconds"]
    return "<h2>Lineage</h2>" + _table(header, rows)


def _table(header: list[str], rows: list[list[Any]]) -> str:
    head = "".join(f"<th scope=col>{name}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{name}} · Trueloop report</title>
<style>
:root { color-scheme: light dark; --ink: #1d2129; --soft: #5d6573; --line: #e2e5ea; --page: #fff; --card: #f7f8fa;
  --c0: #2f5fd0; --c1: #b4540a; --c2: #2a7d4f; --c3: #8a3fa8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --soft: #9aa3b2; --line: #30353f; --page: #15181d;
  --card: #1d2127; --c0: #86a8ff; --c1: #eba066; --c2: #74c99a; --c3: #cf9ae6; } }
body { font: 15px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 1060px;
  margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: .72rem; letter-spacing: .06em; text-transform: uppercase; color: var(--soft); margin: 0 0 .35rem; }
p, small { color: var(--soft); } b { font-weight: 600; } .promoted { color: var(--c2); } .rejected { color: var(--c1); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-size: .75rem; font-weight: 500; color: var(--soft); }
th, td { padding: .4rem 1rem .4rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td small { display: block; white-space: nowrap; } .why { min-width: 15rem; } td code { white-space: nowrap; }
code { font-size: .82em; } a { color: var(--c0); }
.charts { margin-top: 1rem; display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 1.25rem; }
figure { margin: 0; } figcaption { font-size: .85rem; }
svg { width: 100%; height: auto; } svg.wide { max-width: 580px; }
svg text { fill: var(--soft); font: 10.5px system-ui, sans-serif; }
svg text.name { font-size: 11.5px; fill: var(--ink); }
.grid { stroke: var(--line); } .half { stroke: var(--soft); stroke-dasharray: 3 3; }
.line { fill: none; stroke-width: 1.8; } .dashed { stroke-dasharray: 5 4; }
.c0 { stroke: var(--c0); } .c1 { stroke: var(--c1); } .c2 { stroke: var(--c2); }
.c3 { stroke: var(--c3); } .dot.c0 { fill: var(--c0); } .dot.c1 { fill: var(--c1); } .dot.c2 { fill: var(--c2); }
.key { font-size: .78rem; margin-right: .9rem; } .key::before { content: "\\25CF "; }
.key.c0::before { color: var(--c0); } .key.c1::before { color: var(--c1); } .key.c2::before { color: var(--c2); }
.key.c3::before { color: var(--c3); }
article { margin: 1.25rem 0; } .prompt { color: var(--ink); font-weight: 600; margin: 0 0 .5rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(280px, 1fr)); gap: .75rem; }
.pair section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .75rem 1rem; }
.pair p { color: var(--ink); margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
</style></head>
<body><h1>Trueloop report: {{name}}</h1>
{{body}}
</body></html>
"""
