"""How good a reward model is: accuracy beside its floor and its ceiling, calibration, dependence on length.

Takes scores that were made on held-out prompts; making them, and which prompts those are, is the callers' business.
"""

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from annotate.messages import flat_text
from annotate.preference import Preference
from annotate.statistics import Interval, beta_binomial_ceiling, clustered_bootstrap, clustered_interval
from reward.holdout import group_of


class Measured(NamedTuple):
    """Held-out preferences as a reward model sees them; shapes (N,).

    margin: score of chosen minus score of rejected, nats. probability: that chosen is the better one, calibrated.
    source: in words, which preferences these are and why they are prompt-disjoint.
    """

    preferences: Sequence[Preference]
    margin: np.ndarray
    probability: np.ndarray
    source: str


class Bin(NamedTuple):
    """Pairs of similar confidence: the model's mean confidence, the share it is right in, with a Wilson interval."""

    confidence: float
    accuracy: float
    low: float
    high: float
    pairs: int


def report(measured: Measured, votes_from: Sequence[Preference], out: Path, *, seed: int) -> dict[str, Any]:
    """Measure a reward model; write report.json and report.html to `out` and return the figures.

    votes_from: preferences whose repeated votes give the human ceiling, the whole snapshot as a rule.
    accuracy: share of preferences, ties aside, where chosen scores higher; equal scores count one half.
    length_only: the same for "the longer one wins". ceiling: best accuracy against one fresh vote, None without
    repeated votes. vote_accuracy: share of single votes agreed with, what the ceiling bounds. ece, brier: of the
    calibrated probabilities, outcomes drawn by the soft target, so that a coin's Brier score is 1/4.
    length_correlation: partial correlation of reward and log length, given the preference. Every *_ci is [low, high]
    at 95%, resampled by prompt group; None where nothing was measured.
    """
    figures = measure(measured, votes_from, seed=seed)
    curve = reliability(measured)
    whole = {**figures, "reliability": [bin._asdict() for bin in curve]}
    (out / "report.json").write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (out / "report.html").write_text(_page(figures, curve), encoding="utf-8")
    return figures


def measure(measured: Measured, votes_from: Sequence[Preference], *, seed: int) -> dict[str, Any]:
    """The figures of `report`, nothing written."""
    preferences = list(measured.preferences)
    margin, probability = np.asarray(measured.margin, float), np.asarray(measured.probability, float)
    clusters = np.array([group_of(preference) for preference in preferences])
    target = np.array([preference.soft_target for preference in preferences])
    longer = _length_margin(preferences)
    judged = target != 0.5
    ceiling = beta_binomial_ceiling((one.votes_chosen, one.votes_rejected) for one in votes_from)
    right = _wins(margin)
    agreed, votes = _agreed_votes(preferences, right)
    vote_accuracy = clustered_interval(lambda rows: _ratio(agreed[rows], votes[rows]), clusters, seed)
    ratio = Interval(*(value / ceiling.mean for value in vote_accuracy))

    figures: dict[str, Any] = {
        "measured_on": measured.source,
        "pairs": int(judged.sum()),
        "ties": int((~judged).sum()),
        "prompts": len(set(clusters)),
    }
    intervals = {
        "accuracy": clustered_bootstrap(right[judged], clusters[judged], seed),
        "length_only": clustered_bootstrap(_wins(longer)[judged], clusters[judged], seed),
        "ceiling": ceiling,
        "vote_accuracy": vote_accuracy,
        "accuracy_over_ceiling": ratio,
        "ece": clustered_interval(
            lambda rows: calibration_error(probability[rows], target[rows]), clusters, seed, n=300
        ),
        "brier": clustered_bootstrap(target * (1 - probability) ** 2 + (1 - target) * probability**2, clusters, seed),
        "length_correlation": clustered_interval(
            lambda rows: _partial_correlation(margin[rows], longer[rows], 2 * target[rows] - 1), clusters, seed
        ),
    }
    for name, interval in intervals.items():
        figures[name] = _number(interval.mean)
        bounds = [_number(interval.low), _number(interval.high)]
        figures[f"{name}_ci"] = None if None in bounds else bounds
    return figures


def calibration_error(probability: np.ndarray, target: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: mean distance of confidence and rightness over bins of equally many pairs.

    probability: that chosen is better, shape (N,); target: the same as people judged it. Which side is called chosen
    does not matter. NaN for no pair. It is biased upwards when bins are small, so they hold at least ten pairs.
    """
    confidence, right = _confidence(probability, target)
    if not len(confidence):
        return float("nan")
    parts = _equal_parts(confidence, bins)
    return float(sum(len(part) * abs(confidence[part].mean() - right[part].mean()) for part in parts) / len(confidence))


def reliability(measured: Measured, bins: int = 10) -> list[Bin]:
    """The reliability curve, by rising confidence: bins of equally many pairs, at least ten in each where there are."""
    target = np.array([preference.soft_target for preference in measured.preferences])
    confidence, right = _confidence(np.asarray(measured.probability, float), target)
    curve = []
    for part in _equal_parts(confidence, bins):
        low, high = _wilson(float(right[part].mean()), len(part))
        curve.append(Bin(float(confidence[part].mean()), float(right[part].mean()), low, high, len(part)))
    return curve


def _confidence(probability: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the side the model prefers, and how far people prefer it too."""
    return np.maximum(probability, 1 - probability), np.where(probability >= 0.5, target, 1 - target)


def _equal_parts(confidence: np.ndarray, bins: int) -> list[np.ndarray]:
    if not len(confidence):
        return []
    return np.array_split(np.argsort(confidence, kind="stable"), max(1, min(bins, len(confidence) // 10)))


def _wins(margin: np.ndarray) -> np.ndarray:
    return np.where(margin > 0, 1.0, np.where(margin < 0, 0.0, 0.5))


def _length_margin(preferences: Sequence[Preference]) -> np.ndarray:
    """Log ratio of the answers' lengths in characters, chosen over rejected, shape (N,)."""
    lengths = [(len(flat_text(one.chosen)) + 1, len(flat_text(one.rejected)) + 1) for one in preferences]
    return np.array([np.log(chosen / rejected) for chosen, rejected in lengths], dtype=float)


def _agreed_votes(preferences: Sequence[Preference], right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Votes, ties aside, that fall on the side the model prefers, and how many there are, shapes (N,)."""
    chosen = np.array([one.votes_chosen for one in preferences], dtype=float)
    rejected = np.array([one.votes_rejected for one in preferences], dtype=float)
    return right * chosen + (1 - right) * rejected, chosen + rejected


def _ratio(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.sum() / whole.sum()) if whole.sum() else float("nan")


def _partial_correlation(first: np.ndarray, second: np.ndarray, given: np.ndarray) -> float:
    """Correlation of two differences between the sides of a pair, without what the preference explains of each.

    No mean is taken off: calling the sides the other way round turns all three signs, and nothing changes.
    """
    norm = float(given @ given)
    if norm:
        first = first - given * (given @ first) / norm
        second = second - given * (given @ second) / norm
    scale = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / scale if scale > 1e-12 else float("nan")


def _wilson(share: float, count: int) -> tuple[float, float]:
    z = 1.959964
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


ROWS = (
    ("accuracy", "Accuracy", "share of judged pairs where the preferred answer scores higher"),
    ("length_only", "Length-only floor", "what “the longer one wins” reaches on the same pairs"),
    ("ceiling", "Human ceiling", "best accuracy against one fresh vote, from repeated votes"),
    ("vote_accuracy", "Agreement with single votes", "what the ceiling bounds"),
    ("accuracy_over_ceiling", "Share of the ceiling", "agreement with single votes over the ceiling"),
    ("ece", "Calibration error (ECE)", "mean distance of confidence and rightness; biased upwards on few pairs"),
    ("brier", "Brier score", "squared error of the probabilities; a coin’s is 0.25"),
    ("length_correlation", "Correlation with length", "of reward and log length, given the preference"),
)


def _page(figures: dict[str, Any], curve: Sequence[Bin]) -> str:
    rows = "".join(
        f"<tr><th scope=row>{label}</th><td>{_cell(figures[key])}</td><td>{_range(figures[f'{key}_ci'])}</td>"
        f"<td class=note>{note}</td></tr>"
        for key, label, note in ROWS
    )
    about = html.escape(
        f"Measured on {figures['pairs']} judged pairs and {figures['ties']} ties "
        f"of {figures['prompts']} prompt groups: {figures['measured_on']}."
    )
    return (
        '<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">'
        "<title>Reward model</title><style>"
        ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;"
        "padding:0 1rem}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;"
        "border-bottom:1px solid #8886}td{font-variant-numeric:tabular-nums;white-space:nowrap}"
        ".note{opacity:.75;font-size:.875rem;white-space:normal}"
        "svg{max-width:100%;height:auto}</style>"
        f"<h1>Reward model</h1><p>{about}</p><table><thead><tr><th>Figure</th><th>Value</th><th>95% interval</th>"
        f"<th>Meaning</th></tr></thead><tbody>{rows}</tbody></table><h2>Reliability</h2>"
        "<p>On the line, the model is right as often as it says. Above it is too modest, below too sure.</p>"
        f"{reliability_svg(curve)}</html>\n"
    )


def reliability_svg(curve: Sequence[Bin]) -> str:
    """The reliability curve as one inline SVG, confidence from 1/2 to 1 across, share right from 0 to 1 up."""

    def x(confidence: float) -> str:
        return f"{60 + (confidence - 0.5) * 720:.1f}"

    def y(share: float) -> str:
        return f"{330 - share * 300:.1f}"

    grid = "".join(
        f'<path d="M60 {y(share)}H420" stroke="currentColor" stroke-opacity=".15"/>'
        f'<text x="52" y="{y(share)}" text-anchor="end" dominant-baseline="middle">{share:.2f}</text>'
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    )
    ticks = "".join(
        f'<text x="{x(confidence)}" y="350" text-anchor="middle">{confidence:.1f}</text>'
        for confidence in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    )
    points = "".join(
        f'<path d="M{x(bin.confidence)} {y(bin.low)}V{y(bin.high)}" stroke="#2563eb" stroke-width="2"/>'
        f'<circle cx="{x(bin.confidence)}" cy="{y(bin.accuracy)}" r="5" fill="#2563eb"><title>'
        f"confidence {bin.confidence:.2f}, right {bin.accuracy:.2f}, {bin.pairs} pairs</title></circle>"
        for bin in curve
    )
    said = "; ".join(f"{bin.confidence:.2f}: {bin.accuracy:.2f}" for bin in curve) or "nothing was measured"
    return (
        '<svg viewBox="0 0 440 390" width="440" role="img" font-size="13" fill="currentColor" '
        f'aria-label="Share right at each confidence: {said}">{grid}{ticks}'
        f'<path d="M{x(0.5)} {y(0.5)}L{x(1.0)} {y(1.0)}" stroke="currentColor" stroke-dasharray="4 4"/>{points}'
        '<text x="240" y="378" text-anchor="middle">confidence</text>'
        '<text transform="translate(14 180) rotate(-90)" text-anchor="middle">share right</text></svg>'
    )


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _range(bounds: list[float] | None) -> str:
    return "–" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
