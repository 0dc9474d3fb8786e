"""Small charts as inline SVG, in the colours of the page around them: lines over steps, and intervals in a row."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 360, 170, 46, 22, 8


class Series(NamedTuple):
    """A named line: x and y of equal length; dashed where it is no measurement but what one is held against."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False


class Interval(NamedTuple):
    """A named estimate with its lower and upper bound; `group` picks the colour."""

    name: str
    value: float
    low: float
    high: float
    group: int = 0


def line_chart(title: str, series: Sequence[Series], unit: str = "", axis: str = "step") -> str:
    """Lines over steps (or another axis), with the y axis cut to the data. Empty when there is nothing to draw."""
    drawn = [one for one in series if len(one.x) > 1]
    if not drawn:
        return ""
    xs = [value for one in drawn for value in one.x]
    ys = [value for one in drawn for value in one.y]
    low, high = min(ys), max(ys)
    if high == low:
        low, high = low - 0.5, high + 0.5
    left, right = min(xs), max(xs)

    def place(x: float, y: float) -> str:
        across = LEFT + (x - left) / max(right - left, 1e-12) * (WIDTH - LEFT - 8)
        down = TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM)
        return f"{across:.1f},{down:.1f}"

    parts = []
    for value in (low, (low + high) / 2, high):
        down = place(left, value).split(",")[1]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 8}" y1="{down}" y2="{down}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{float(down) + 3.5:.1f}" text-anchor="end">{_number(value)}</text>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 6}">{_number(left)}</text>')
    parts.append(f'<text x="{WIDTH - 8}" y="{HEIGHT - 6}" text-anchor="end">{axis} {_number(right)}</text>')
    for index, one in enumerate(drawn):
        points = " ".join(place(x, y) for x, y in zip(one.x, one.y, strict=True))
        parts.append(
            f'<polyline class="line c{index % 4}{" dashed" if one.dashed else ""}" points="{points}">'
            f"<title>{escape(one.name)}</title></polyline>"
        )
    legend = "".join(f'<span class="key c{index % 4}">{escape(one.name)}</span>' for index, one in enumerate(drawn))
    caption = escape(title) + (f" <small>{escape(unit)}</small>" if unit else "")
    label = escape(f"{title}: " + ", ".join(f"{one.name} ends at {_number(one.y[-1])}" for one in drawn), quote=True)
    drawing = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    return f"<figure><figcaption>{caption}</figcaption>{drawing}{legend if len(drawn) > 1 else ''}</figure>"


def interval_chart(intervals: Sequence[Interval], reference: float = 0.5) -> str:
    """Estimates with whiskers, one a row, from 0 to 1, with a line at the reference."""
    if not intervals:
        return ""
    name_width, width, row = 178, 460, 24
    height = row * len(intervals) + 26

    def across(value: float) -> float:
        return name_width + min(max(value, 0.0), 1.0) * (width - name_width - 56)

    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        kind = "half" if tick == reference else "grid"
        parts.append(
            f'<line class="{kind}" x1="{across(tick):.1f}" x2="{across(tick):.1f}" y1="4" y2="{height - 20}"/>'
        )
        parts.append(f'<text x="{across(tick):.1f}" y="{height - 5}" text-anchor="middle">{tick:g}</text>')
    for index, one in enumerate(intervals):
        y = 4 + row * index + row / 2
        colour = f"c{one.group % 4}"
        parts.append(
            f'<text class="name" x="{name_width - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(one.name)}</text>'
        )
        parts.append(
            f'<line class="line {colour}" x1="{across(one.low):.1f}" x2="{across(one.high):.1f}" y1="{y}" y2="{y}"/>'
            f'<circle class="dot {colour}" cx="{across(one.value):.1f}" cy="{y}" r="4"/>'
            f'<text x="{width - 48}" y="{y + 4:.1f}">{one.value:.3f}</text>'
        )
    label = escape(
        "; ".join(f"{one.name} {one.value:.3f} ({one.low:.3f} to {one.high:.3f})" for one in intervals), quote=True
    )
    return f'<svg class="wide" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
