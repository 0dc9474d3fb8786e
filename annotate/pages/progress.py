"""The page of a round's progress: how much is done, how fast, how well people agree, and when it will be finished."""

import math
import time
from datetime import UTC, datetime

import gradio as gr

from annotate.effort import COMPARED, HOURS, Forecast, Report, Work, report
from annotate.ledger import Ledger
from annotate.pages.frame import Desk, area, begin, on
from annotate.pages.markup import Markup, el, join, table

REFRESH_SECONDS = 20
SKIPPED = {
    "unclear": "The prompt is unclear",
    "expertise": "Not enough expertise",
    "broken": "The text is broken or empty",
    "unsafe": "Would rather not read this",
    "other": "Another reason",
}
FLAGGED = {
    "unsafe": "Unsafe",
    "personal-data": "Personal data",
    "nonsense": "Nonsense",
    "named-itself": "The model named itself",
}


def build(demo: gr.Blocks, ledger: Ledger) -> None:
    """The page, inside its Blocks context."""
    begin(demo, ledger, "", "Progress")
    shown = area(el("p", "Loading …", class_="ld-empty"))
    on(ledger, demo.load, "progress.show", show, outputs=[shown])
    on(ledger, gr.Timer(REFRESH_SECONDS).tick, "progress.show", show, outputs=[shown])


def show(desk: Desk) -> list[Markup]:
    """The whole page, as of now; names for leads, pseudonyms for reviewers."""
    now = time.time()
    with desk.ledger.read() as session:
        found = report(session, now=now)
    return [_all(found, now, named=desk.may("lead"))]


def _all(found: Report, now: float, *, named: bool) -> Markup:
    return join(
        _tiles(found),
        el(
            "div",
            _section("Labels per hour", _hours(found.hourly, now)),
            _section("Skips", _reasons(found.skips, SKIPPED, "Nothing was skipped lately.")),
            _section("Flags", _reasons(found.flags, FLAGGED, "Nothing was flagged lately.")),
            class_="ld-columns",
        ),
        _section("People", _people(found.people, now, named=named)),
        el(
            "p",
            f"Times, skips and flags are of the newest {found.recent:,} judgments, agreement of their newest "
            f"{COMPARED:,} pairs; the bounds hold 95%. "
            f"Updated at {_clock(now)} UTC, and again every {REFRESH_SECONDS} seconds.",
            class_="ld-note",
        ),
    )


def _tiles(found: Report) -> Markup:
    counts = found.counts
    done = counts.have / counts.need if counts.need else 0.0
    agreement = found.agreement
    hours = found.person_hours
    return el(
        "dl",
        _tile(
            "Nothing to label" if counts.round is None else f"Round {counts.round}",
            f"{counts.have:,} of {counts.need:,}",
            f"{counts.pairs:,} pairs, {done:.0%} of the labels",
            meter=done,
        ),
        _tile(
            "Done in",
            _time_left(found.forecast),
            _bounds(found.forecast) if counts.need > counts.have else "Every label is in",
        ),
        _tile(
            "Work left",
            _duration(hours.mean),
            f"{_duration(hours.low)} to {_duration(hours.high)} of people's time"
            if math.isfinite(hours.low)
            else "of people's time",
        ),
        _tile(
            "Labels per hour",
            f"{sum(found.hourly[:-1]) / HOURS:,.1f}",
            f"over the last {HOURS}; {found.hourly[-1]:,} in this one so far",
        ),
        _tile("Time per label", _seconds(found.median_ms), "median, active on the page"),
        _tile(
            "Agreement",
            _share(agreement.mean),
            f"{_range(agreement.low, agreement.high)}of {found.compared:,} pairs with two votes or more, "
            f"alpha {_number(found.alpha)}",
        ),
        class_="ld-tiles",
    )


def _tile(name: str, figure: str, note: str, *, meter: float | None = None) -> Markup:
    bar = None
    if meter is not None:
        bar = el("span", el("span", style=f"width:{min(1.0, meter):.1%}"), class_="ld-meter", aria_hidden="true")
    return el("div", el("dt", name), el("dd", el("b", figure), el("small", note), bar))


def _section(name: str, *children: object) -> Markup:
    return el("section", el("h2", name), *children, class_="ld-section")


def _hours(hourly: list[int], now: float) -> Markup:
    """A bar an hour, as a list that reads well without its bars."""
    most = max(*hourly, 1)
    first = int(now // 3600) - HOURS
    bars = [
        el(
            "li",
            el("span", f"{(first + place) % 24:02d}:00 UTC, {count:,} labels", class_="ld-sr"),
            el("span", class_="ld-bar", style=f"height:{100 * count / most:.1f}%", aria_hidden="true"),
            title=f"{(first + place) % 24:02d}:00 UTC: {count:,}",
            class_="ld-now" if place == HOURS else None,
        )
        for place, count in enumerate(hourly)
    ]
    ends = el("p", el("span", f"{HOURS} hours ago"), el("span", f"most: {max(hourly):,}"), el("span", "now"))
    return el("div", el("ol", bars), ends, class_="ld-hours")


def _reasons(counts: list[tuple[str, int]], words: dict[str, str], none: str) -> Markup:
    most = max((count for _, count in counts), default=1)
    rows = [
        el(
            "li",
            el("span", words.get(reason, reason)),
            el("b", f"{count:,}"),
            el("span", el("span", style=f"width:{count / most:.1%}"), class_="ld-meter", aria_hidden="true"),
        )
        for reason, count in counts[:8]
    ]
    return el("ul", rows, class_="ld-reasons") if rows else el("p", none, class_="ld-empty")


def _people(people: list[Work], now: float, *, named: bool) -> Markup:
    return table(
        "Labels by person",
        ["Person", "#Labels", "#Skips", "#Time per label", "Last label"],
        [
            (
                join(one.name if named else one.id, None if one.active else el("small", " deactivated")),
                f"{one.labels:,}",
                f"{one.skips:,}",
                _seconds(one.median_ms),
                "–" if one.last_at is None else f"{_duration((now - one.last_at) / 3600)} ago",
            )
            for one in people
        ],
        empty="Nobody has labelled anything yet.",
    )


def _time_left(forecast: Forecast | None) -> str:
    if forecast is None:
        return "too early"
    return _duration(forecast.hours)


def _bounds(forecast: Forecast | None) -> str:
    if forecast is None:
        return f"a forecast needs three hours with labels among the last {HOURS}"
    high = _duration(forecast.high) if math.isfinite(forecast.high) else "more than 60 days"
    return f"{_duration(forecast.low)} to {high} at the pace of the last {HOURS} hours"


def _duration(hours: float) -> str:
    if math.isnan(hours):
        return "–"
    if math.isinf(hours):
        return "> 60 days"
    minutes = round(hours * 60)
    if minutes < 1:
        return "under a minute" if hours > 0 else "0 min"
    if minutes < 100:
        return f"{minutes} min"
    return f"{hours:,.1f} h" if hours < 48 else f"{hours / 24:,.1f} days"


def _seconds(ms: float | None) -> str:
    return "–" if ms is None else f"{ms / 1000:,.1f} s"


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.0%}"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _range(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"{low:.0%} to {high:.0%} "


def _clock(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%H:%M:%S")
