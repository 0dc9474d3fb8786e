"""Compares a candidate with the SFT model and the champion on held-out prompts, side by side, with intervals.

The referee judges, trained on prompts that the optimised reward model never saw; a world's gold is reported beside it.
What follows from the figures is the gate's business (align/promote.py).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from annotate.errors import BadInput
from annotate.messages import Messages, as_messages, digest, last_text, to_dicts
from annotate.progress import Progress
from annotate.statistics import Interval, clustered_bootstrap, prompts_needed

if TYPE_CHECKING:
    from align.generate import Completion
    from align.judge import Judge, ScorerJudge
    from annotate.worlds import World


class EvaluateSection(BaseModel):
    """What the models are asked for the comparison, and how they sample: the same for all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: int = Field(default=400, ge=1)
    """Most held-out prompts asked; all of the test split where it has fewer."""
    samples: int = Field(default=4, ge=1)
    """Responses of each model to each prompt."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Longest response in tokens."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature; 0 is greedy."""
    batch_size: int = Field(default=256, ge=1)
    """Responses sampled at once."""


@dataclass(frozen=True)
class Answers:
    """One model's responses, for each prompt as many as samples."""

    texts: list[list[str]]
    tokens: list[list[list[int]]]
    finished: list[list[bool]]

    @classmethod
    def of(cls, completions: Sequence[Sequence["Completion"]]) -> "Answers":
        return cls(
            [[one.text for one in row] for row in completions],
            [[one.token_ids for one in row] for row in completions],
            [[one.finished for one in row] for row in completions],
        )


def run(
    inputs: Mapping[str, Path],
    config: EvaluateSection,
    out: Path,
    *,
    seed: int,
    progress: Progress,
    world: str | None = None,
) -> dict[str, Any]:
    """Evaluate inputs["policy"] against inputs["sft"] and inputs["champion"] (the SFT model where absent).

    Reads inputs["prompts"]/prompts.jsonl, the reward folders inputs["referee"] and, where given, inputs["reward"].
    Writes samples.jsonl (a row a prompt: every model's responses and scores side by side), metrics.json (all figures,
    by family too) and metrics.jsonl. Returns the figures; each *_ci is [low, high] at 95%, clustered by prompt group:
    win_rate (against SFT), win_rate_champion: share of response pairs, every response of one model with every one of
    the other, that the referee prefers, ties one half. win_rate_length_controlled: at equal length. gold_*: by the
    world's gold. proxy_win_rate: by the optimised reward model. agreement: of it and the referee on the candidate's
    own responses. kl: KL(candidate || SFT), nats a response. length: tokens. resolution: the margin over one half
    that so many prompts can tell with 80% power, and prompts_needed for the margin observed. held_out_family_*: on a
    quarter as many prompts of the world's family that is absent from the prompts, with held_out_family.jsonl.
    Raises BadInput without test prompts.
    """
    from align.judge import ScorerJudge
    from annotate.worlds import Families
    from reward.score import load_scorer

    rows = held_out_prompts(inputs["prompts"] / "prompts.jsonl", config.prompts, seed)
    prompts = [as_messages(row["messages"]) for row in rows]
    folders = {"policy": inputs["policy"], "sft": inputs["sft"], "champion": inputs.get("champion", inputs["sft"])}
    answers = _ask(folders, prompts, config, seed, progress)

    progress("judging", 0, 1)
    judges: dict[str, ScorerJudge] = {"referee": ScorerJudge(load_scorer(inputs["referee"]))}
    if "reward" in inputs:
        judges["reward"] = ScorerJudge(load_scorer(inputs["reward"]))
    known = None
    if world is not None:
        from annotate.worlds import load_world

        known = load_world(world)
        judges["gold"] = ScorerJudge(Gold(known))
    groups = [str(row.get("group") or row["id"]) for row in rows]
    figures = compare(judges, prompts, answers, groups, seed=seed)
    figures |= _texts(answers) | _moved(folders, prompts, answers["policy"], config, progress)
    families = {str(row.get("family") or "") for row in rows} - {""}
    figures["families"] = {
        family: _family(judges, prompts, answers, groups, [row.get("family") == family for row in rows], seed)
        for family in sorted(families)
    }
    _write_samples(out / "samples.jsonl", rows, answers, judges, prompts)
    if isinstance(known, Families):
        asked = known.held_out_prompts(-(-config.prompts // 4), seed)
        rows = [{"id": digest(text), "family": known.family(text)} for text in asked]
        prompts = [as_messages(text) for text in asked]
        answers = _ask(folders, prompts, config, seed, progress)
        held_out = _without_agreement(compare(judges, prompts, answers, asked, seed=seed))
        figures["families"][rows[0]["family"]] = {**held_out, "held_out": True}
        figures |= {f"held_out_family_{name}": value for name, value in held_out.items() if "win_rate" in name}
        _write_samples(out / "held_out_family.jsonl", rows, answers, judges, prompts)
    _write_figures(out, figures)
    progress("judging", 1, 1)
    return {key: value for key, value in figures.items() if key != "families"}


def _ask(
    folders: Mapping[str, Path], prompts: Sequence[Messages], config: EvaluateSection, seed: int, progress: Progress
) -> dict[str, Answers]:
    """Every model's responses by its name; a model that stands under two names is asked once."""
    from align.generate import generate_from

    answers: dict[str, Answers] = {}
    for name, folder in folders.items():
        same = next((other for other in answers if folders[other].resolve() == folder.resolve()), None)
        answers[name] = (
            answers[same]
            if same
            else Answers.of(
                generate_from(
                    folder,
                    prompts,
                    n=config.samples,
                    max_new_tokens=config.max_new_tokens,
                    temperature=config.temperature,
                    seed=seed,
                    batch_size=config.batch_size,
                    progress=_named(progress, name),
                )
            )
        )
    return answers


def _named(progress: Progress, name: str) -> Progress:
    return lambda what, done, total: progress(f"{name}: {what}", done, total)


def held_out_prompts(path: Path, most: int, seed: int) -> list[dict[str, Any]]:
    """At most so many rows of the test split, chosen by seed, in file order. Raises BadInput when it is empty."""
    with path.open(encoding="utf-8") as file:
        rows = [row for row in map(json.loads, file) if row["split"] == "test"]
    if not rows:
        raise BadInput(
            "there is no held-out prompt to evaluate on: the test split is empty",
            where=str(path),
            next="Import more prompts: trueloop prompts FILE",
        )
    return [rows[index] for index in sorted(np.random.default_rng(seed).permutation(len(rows))[:most])]


class Gold:
    """A world's hidden utility as a scorer; only the final scoring asks it."""

    def __init__(self, world: "World") -> None:
        self.world = world

    def score(self, prompts: Sequence[Messages], responses: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Gold utility of each response, in the world's unit, known without error."""
        gold = [self.world.gold(last_text(prompt), text) for prompt, text in zip(prompts, responses, strict=True)]
        return np.array(gold, dtype=float), np.zeros(len(gold))


def compare(
    judges: Mapping[str, "Judge"],
    prompts: Sequence[Messages],
    answers: Mapping[str, Answers],
    groups: Sequence[str],
    *,
    seed: int,
) -> dict[str, Any]:
    """Win rates of the policy by every judge, and how far the judges agree; keys as `run` says."""
    from align.judge import Comparison, agreement, length_controlled, win_shares

    ours = answers["policy"].texts
    figures: dict[str, Any] = {"prompts": len(prompts), "samples": len(ours[0])}
    prefix = {"referee": "", "gold": "gold_", "reward": "proxy_"}
    for name, judge in judges.items():
        for other, suffix in (("sft", ""), ("champion", "_champion")):
            shares = win_shares(judge, prompts, ours, answers[other].texts)
            interval = clustered_bootstrap([float(share.mean()) for share in shares], groups, seed)
            figures |= _with_interval(f"{prefix[name]}win_rate{suffix}", interval)
            if name != "referee":
                continue
            verdicts = Comparison(
                np.concatenate([share.ravel() for share in shares]),
                _length_ratios(answers["policy"], answers[other]),
                np.repeat(np.array(groups), [share.size for share in shares]),
            )
            figures |= _with_interval(f"win_rate{suffix}_length_controlled", length_controlled(verdicts))
    for first, second, name in (
        ("reward", "referee", "agreement"),
        ("reward", "gold", "gold_agreement"),
        ("referee", "gold", "referee_gold_agreement"),
    ):
        if first in judges and second in judges:
            for model, suffix in (("policy", ""), ("sft", "_sft")):
                same = np.array(agreement(judges[first], judges[second], prompts, answers[model].texts))
                known = ~np.isnan(same)
                interval = clustered_bootstrap(same[known], np.array(groups)[known], seed)
                figures |= _with_interval(f"{name}{suffix}", interval)
    figures["prompts_needed"] = prompts_needed(figures["win_rate_champion"])
    figures["resolution"] = 1.4 / len(prompts) ** 0.5  # (1.96 + 0.84) standard errors of at most 1/2 each
    return figures


def _family(
    judges: Mapping[str, "Judge"],
    prompts: Sequence[Messages],
    answers: Mapping[str, Answers],
    groups: Sequence[str],
    inside: Sequence[bool],
    seed: int,
) -> dict[str, Any]:
    rows = [row for row, yes in enumerate(inside) if yes]
    part = {
        name: Answers(
            [one.texts[row] for row in rows], [one.tokens[row] for row in rows], [one.finished[row] for row in rows]
        )
        for name, one in answers.items()
    }
    figures = compare(judges, [prompts[row] for row in rows], part, [groups[row] for row in rows], seed=seed)
    return _without_agreement(figures)


def _without_agreement(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in figures.items() if "agreement" not in key}


def _texts(answers: Mapping[str, Answers]) -> dict[str, Any]:
    """Length, repetition, variety and share of finished responses of the candidate and of the SFT model."""
    from align.divergence import repetition, variety

    figures = {}
    for name, suffix in (("policy", ""), ("sft", "_sft"), ("champion", "_champion")):
        one = answers[name]
        texts = [text for row in one.texts for text in row]
        figures[f"length{suffix}"] = float(np.mean([len(ids) for row in one.tokens for ids in row]))
        figures[f"finished{suffix}"] = float(np.mean([done for row in one.finished for done in row]))
        figures[f"repetition{suffix}"] = repetition(texts)
        figures[f"distinct_2{suffix}"] = variety(texts)
    return figures


def _moved(
    folders: Mapping[str, Path], prompts: Sequence[Messages], ours: Answers, config: EvaluateSection, progress: Progress
) -> dict[str, Any]:
    """KL of the candidate from the SFT model on the candidate's responses."""
    from align.divergence import divergence
    from reward.backbone import encode_prompt, load_model, load_tokenizer

    tokenizer = load_tokenizer(folders["sft"])
    policy, reference = (load_model(folders[name], tokenizer) for name in ("policy", "sft"))
    window = getattr(policy.config, "max_position_embeddings", None)
    room = max(1, window - config.max_new_tokens) if window else None
    ids = [encode_prompt(tokenizer, prompt, room) for prompt in prompts]
    moved = divergence(
        policy,
        reference,
        [row for row, answers in zip(ids, ours.tokens, strict=True) for _ in answers],
        [answer for answers in ours.tokens for answer in answers],
        temperature=config.temperature,
        progress=progress,
    )
    return {"kl": float(moved.exact.mean()), "kl_sampled": float(moved.sampled.mean())}


def _length_ratios(ours: Answers, theirs: Answers) -> np.ndarray:
    """Log length ratio of each of our responses to each of theirs, in the order of `win_shares`, shape (N,)."""
    parts = []
    for our, their in zip(ours.tokens, theirs.tokens, strict=True):
        mine, other = (np.log([len(ids) + 1.0 for ids in side]) for side in (our, their))
        parts.append((mine[:, None] - other[None, :]).ravel())
    return np.concatenate(parts)


def _with_interval(name: str, interval: Interval) -> dict[str, Any]:
    low, high = interval.low, interval.high
    return {
        name: None if np.isnan(interval.mean) else interval.mean,
        f"{name}_ci": None if np.isnan(low) or np.isnan(high) else [low, high],
    }


def _write_figures(out: Path, figures: Mapping[str, Any]) -> None:
    (out / "metrics.json").write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    curve = {key: value for key, value in figures.items() if isinstance(value, int | float)}
    (out / "metrics.jsonl").write_text(json.dumps({"step": 0, **curve}, sort_keys=True) + "\n", encoding="utf-8")


def _write_samples(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    answers: Mapping[str, Answers],
    judges: Mapping[str, "ScorerJudge"],
    prompts: Sequence[Messages],
) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for at, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
            models = {}
            for name, one in answers.items():
                texts = one.texts[at]
                scores = {
                    judge: judges[judge].scores([prompt] * len(texts), texts).round(6).tolist() for judge in judges
                }
                models[name] = {"responses": texts, "finished": one.finished[at], **scores}
            line = {"id": row["id"], "prompt": to_dicts(prompt), "family": row.get("family") or "", "models": models}
            file.write(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n")
