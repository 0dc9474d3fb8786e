"""The gate: whether a candidate replaces the champion, decided from the metrics of its evaluation alone.

Pure: who is champion, and rolling back, are rows in the ledger. A world's gold never enters: people have none.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from annotate.statistics import prompts_needed


class GateSection(BaseModel):
    """What a candidate must show. Every figure is by the referee, on held-out prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    win_rate: float = Field(default=0.5, ge=0, lt=1)
    """The lower 95% bound of the win rate against the champion must exceed this."""
    min_prompts: int = Field(default=50, ge=2)
    """Fewest held-out prompts a verdict may rest on."""
    max_kl: float = Field(default=30.0, gt=0)
    """Highest mean divergence from the SFT model, nats a response."""
    max_length_ratio: float = Field(default=1.8, ge=1)
    """Mean length may be at most this many times the SFT model's: growing answers are how reward models are gamed."""
    min_length_ratio: float = Field(default=0.25, ge=0, le=1)
    """Mean length may be at least this many times the SFT model's: brevity can be what people want, silence is not."""
    max_repetition: float = Field(default=0.1, ge=0, le=1)
    """How much the share of repeated word pairs may exceed the SFT model's."""
    max_unfinished: float = Field(default=0.1, ge=0, le=1)
    """How much the share of responses without an end may exceed the SFT model's."""
    min_agreement: float = Field(default=0.45, ge=0, le=1)
    """Least agreement of reward model and referee on pairs of the candidate's own responses; 0.5 is chance."""


class Verdict(NamedTuple):
    """The decision, its reasons in plain words (what failed, or what carried it), and the figures it rests on."""

    promoted: bool
    reasons: tuple[str, ...]
    evidence: dict[str, Any]


EVIDENCE = (
    "win_rate_champion",
    "win_rate_champion_ci",
    "win_rate",
    "win_rate_ci",
    "prompts",
    "kl",
    "length",
    "length_sft",
    "repetition",
    "repetition_sft",
    "finished",
    "finished_sft",
    "agreement",
    "agreement_sft",
)


def decide(metrics: Mapping[str, Any], gate: GateSection) -> Verdict:
    """Promote when the referee's lower bound against the champion is above the bar and nothing guarded regressed.

    metrics: as align/evaluate.py returns them. A figure that is None could not be measured and guards nothing, except
    the win rate itself: without its interval nothing is promoted.
    """
    against = [*_not_better(metrics, gate), *_regressed(metrics, gate)]
    evidence = {key: metrics.get(key) for key in EVIDENCE}
    if against:
        return Verdict(False, tuple(against), evidence)
    low, high = metrics["win_rate_champion_ci"]
    reason = (
        f"by the referee it wins {metrics['win_rate_champion']:.1%} of its comparisons with the champion on "
        f"{metrics['prompts']} prompts (95% interval {low:.1%} to {high:.1%}), and nothing guarded regressed"
    )
    return Verdict(True, (reason,), evidence)


def _not_better(metrics: Mapping[str, Any], gate: GateSection) -> list[str]:
    prompts = metrics["prompts"]
    if prompts < gate.min_prompts:
        return [f"only {prompts} held-out prompts; the gate wants {gate.min_prompts}"]
    interval, rate = metrics["win_rate_champion_ci"], metrics["win_rate_champion"]
    if interval is None:
        return ["the win rate against the champion has no interval"]
    found = []
    low, high = interval
    if low <= gate.win_rate:
        found.append(
            f"the win rate against the champion is {rate:.1%}, but its 95% interval {low:.1%} to {high:.1%} "
            f"does not lie above {gate.win_rate:.0%}" + _power(rate, prompts)
        )
    if metrics["win_rate"] < 0.5:
        found.append(f"the referee prefers the SFT model: the win rate against it is {metrics['win_rate']:.1%}")
    return found


def _power(rate: float, prompts: int) -> str:
    """What to do about an interval too wide to tell."""
    needed = prompts_needed(rate)
    if rate <= 0.5 or needed is None or needed <= prompts:
        return ""
    return f"; telling {rate:.1%} from one half takes about {needed} prompts, here are {prompts}"


def _regressed(metrics: Mapping[str, Any], gate: GateSection) -> list[str]:
    found = []
    kl = metrics.get("kl")
    if kl is not None and kl > gate.max_kl:
        found.append(f"it moved {kl:.1f} nats a response away from the SFT model; the budget is {gate.max_kl:.1f}")
    length, before = metrics.get("length"), metrics.get("length_sft")
    if length is not None and before and not gate.min_length_ratio <= length / before <= gate.max_length_ratio:
        way = "longer" if length > before else "shorter"
        found.append(f"its responses are much {way}: {length:.1f} tokens on average, the SFT model's {before:.1f}")
    rise = _rise(metrics, "repetition")
    if rise is not None and rise > gate.max_repetition:
        found.append(
            f"it repeats itself: {metrics['repetition']:.1%} repeated word pairs, {rise:+.1%} on the SFT model"
        )
    fall = _rise(metrics, "finished")
    if fall is not None and -fall > gate.max_unfinished:
        found.append(f"only {metrics['finished']:.1%} of its responses come to an end, {fall:+.1%} on the SFT model")
    agreement = metrics.get("agreement")
    if agreement is not None and agreement < gate.min_agreement:
        found.append(
            f"the reward model was gamed: it agrees with the referee on only {agreement:.1%} of pairs of the "
            "candidate's own responses, worse than chance"
        )
    return found


def _rise(metrics: Mapping[str, Any], name: str) -> float | None:
    now, before = metrics.get(name), metrics.get(f"{name}_sft")
    return None if now is None or before is None else now - before
