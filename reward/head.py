"""A Bayesian Bradley-Terry head on frozen features: Newton's method, Laplace's approximation, no gradient descent.

Gives a reward with its uncertainty, from any number of labels, in well under a second. The features are
reward/features.py's; a network trained end to end is reward/finetune.py's.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from annotate.errors import BadInput, BadModel
from annotate.messages import Messages, as_messages, flat_text, to_dicts
from annotate.preference import Preference, Split, read_preferences
from annotate.progress import Progress
from reward.config import HeadSection
from reward.features import Features, Item
from reward.holdout import by_split, enough, folds
from reward.report import Measured, report

# Standard deviation (nats) that a block of features gives the reward before any label, and how far the labels may
# move its logarithm: vetted on templated worlds and on real pairs, see benchmarks/LOG.md.
PRIOR = {"text": 0.8, "likelihood": 0.8, "hidden": 1.0, "ngrams": 1.0}
_PRIOR_SPREAD = 1.0
_SEARCHED = 600
_ROUNDS = 4


@dataclass(frozen=True)
class Judgments:
    """Pairs as the head is fitted to them, shapes (N,): `first` and `second` index rows of the items' features.

    target: probability that first is better. weight: share in the likelihood. left: 1 when first was shown on the
    left, -1 on the right, 0 unknown. annotator: row of `names`, -1 for several or unknown annotators.
    """

    first: np.ndarray
    second: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    left: np.ndarray
    annotator: np.ndarray
    names: tuple[str, ...]
    items: tuple[Item, ...]

    @classmethod
    def of(cls, preferences: Sequence[Preference]) -> "Judgments":
        """Judgments over distinct items. Raises BadInput when there is none."""
        if not preferences:
            raise BadInput("there is no preference to learn from", next="Run: trueloop annotate")
        rows: dict[tuple[str, str], int] = {}
        items: list[Item] = []

        def row(prompt: Messages, answer: Messages) -> int:
            response = flat_text(answer)
            key = (json.dumps(to_dicts(prompt)), response)
            if key not in rows:
                rows[key] = len(items)
                items.append(Item(prompt, response))
            return rows[key]

        names = sorted({one.annotators[0] for one in preferences if len(one.annotators) == 1})
        place = {name: index for index, name in enumerate(names)}
        return cls(
            np.array([row(one.prompt, one.chosen) for one in preferences]),
            np.array([row(one.prompt, one.rejected) for one in preferences]),
            np.array([one.soft_target for one in preferences], dtype=float),
            np.array([one.weight for one in preferences], dtype=float),
            np.array([0.0 if one.chosen_shown_left is None else 2 * one.chosen_shown_left - 1 for one in preferences]),
            np.array([place[one.annotators[0]] if len(one.annotators) == 1 else -1 for one in preferences]),
            tuple(names),
            tuple(items),
        )

    def take(self, rows: np.ndarray) -> "Judgments":
        """The judgments of some rows; items and names stay."""
        return replace(
            self,
            first=self.first[rows],
            second=self.second[rows],
            target=self.target[rows],
            weight=self.weight[rows],
            left=self.left[rows],
            annotator=self.annotator[rows],
        )


@dataclass
class Head:
    """A fitted head. weights (D,) and covariance (D, D) belong to the features times their block's prior scale.

    scales: block -> prior standard deviation of the reward. temperature: what calibration multiplied weights and
    deviations by, so that a difference of rewards is a log-odds. annotators: name -> (sharpness, bias for the left
    in nats).
    """

    features: Features
    scales: dict[str, float]
    weights: np.ndarray
    covariance: np.ndarray
    temperature: float = 1.0
    annotators: dict[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        preferences: Sequence[Preference],
        features: Features,
        section: HeadSection | None = None,
        *,
        scales: Mapping[str, float] | None = None,
    ) -> "Head":
        """Fit to preferences; the blocks' prior scales follow from their marginal likelihood unless given."""
        judgments = Judgments.of(preferences)
        return cls.fit_judgments(judgments, features, features(judgments.items), section, scales=scales)

    @classmethod
    def fit_judgments(
        cls,
        judgments: Judgments,
        features: Features,
        blocks: Mapping[str, np.ndarray],
        section: HeadSection | None = None,
        *,
        scales: Mapping[str, float] | None = None,
    ) -> "Head":
        """As `fit`, with the features of judgments.items at hand: blocks, name -> (items, K)."""
        section = section or HeadSection()
        if scales is None:
            scales = choose_scales(judgments, blocks)
        design = stacked(blocks, scales)
        found = _laplace(design[judgments.first] - design[judgments.second], judgments, section)
        return cls(features, dict(scales), found.weights, found.covariance, 1.0, found.annotators)

    def predict(self, items: Sequence[Item]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the reward in nats, shapes (N,); zero is the average fitted response."""
        if not items:
            return np.zeros(0), np.zeros(0)
        return self.predict_blocks(self.features(items))

    def predict_blocks(self, blocks: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """As `predict`, with the items' features at hand."""
        design = stacked(blocks, self.scales)
        variance = np.einsum("nd,nd->n", design @ self.covariance, design)
        return design @ self.weights, np.sqrt(np.maximum(variance, 0.0))

    def score(self, prompts: Sequence[Messages], responses: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """`predict` for prompts and responses side by side."""
        return self.predict([Item(prompt, text) for prompt, text in zip(prompts, responses, strict=True)])

    def improvement(self, before: Sequence[Item], after: Sequence[Item]) -> tuple[float, float]:
        """Mean reward of `after` over that of `before`, and its standard deviation as the weights' uncertainty has it.

        Errors of the weights are shared by all responses, so more responses do not shrink it.
        """
        shift = stacked(self.features(after), self.scales).mean(0) - stacked(self.features(before), self.scales).mean(0)
        return float(shift @ self.weights), float(np.sqrt(max(0.0, shift @ self.covariance @ shift)))

    def calibrated(self, temperature: float) -> "Head":
        """The head whose margins are `temperature` times as large."""
        return replace(
            self,
            weights=self.weights * temperature,
            covariance=self.covariance * temperature**2,
            temperature=self.temperature * temperature,
        )

    def save(self, out: Path) -> None:
        """Write head.safetensors and head.json; the language model is saved beside them by `run`."""
        from safetensors.numpy import save_file

        arrays = {f"features.{name}": value for name, value in self.features.state().items()}
        arrays["weights"], arrays["covariance"] = self.weights.astype(np.float32), self.covariance.astype(np.float32)
        save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, str(out / "head.safetensors"))
        fields = {
            "kind": "head",
            "version": 1,
            "scales": self.scales,
            "temperature": self.temperature,
            "annotators": {name: list(pair) for name, pair in self.annotators.items()},
            "pool": [to_dicts(prompt) for prompt in self.features.pool],
            "backbone": self.features.backbone is not None,
        }
        (out / "head.json").write_text(json.dumps(fields, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Head":
        """Read what `save` wrote, with the language model in folder/backbone. Raises BadModel when it is not whole."""
        from safetensors.numpy import load_file

        try:
            fields = json.loads((folder / "head.json").read_text(encoding="utf-8"))
            arrays = load_file(str(folder / "head.safetensors"))
            backbone = None
            if fields["backbone"]:
                from reward.backbone import load_model, load_tokenizer

                tokenizer = load_tokenizer(folder / "backbone")
                backbone = (load_model(folder / "backbone", tokenizer), tokenizer)
            named = {name[9:]: value for name, value in arrays.items() if name.startswith("features.")}
            return cls(
                Features.from_state(named, backbone, [as_messages(prompt) for prompt in fields["pool"]]),
                {name: float(value) for name, value in fields["scales"].items()},
                arrays["weights"].astype(np.float64),
                arrays["covariance"].astype(np.float64),
                float(fields["temperature"]),
                {name: (float(pair[0]), float(pair[1])) for name, pair in fields["annotators"].items()},
            )
        except BadModel:
            raise
        except Exception as error:  # json, safetensors and numpy each raise kinds of their own
            raise BadModel(
                f"the reward head cannot be read: {str(error)[:200]}", where=str(folder), next="Run: trueloop reward"
            ) from error


def run(
    inputs: Mapping[str, Path],
    config: HeadSection,
    out: Path,
    *,
    seed: int,
    progress: Progress,
    split: Split = "train",
) -> dict[str, float | int | str | None]:
    """Fit a head to the snapshot's preferences of one split and write it, with its report, to `out`.

    inputs: "snapshot" (preferences.jsonl), and "sft", the language model whose states are features; without it the
    head sees text alone. Accuracy is measured on the other splits' prompts, or by cross-validation over prompt
    groups where those hold too few preferences.
    """
    preferences = list(read_preferences(inputs["snapshot"] / "preferences.jsonl"))
    held = by_split(preferences, split)
    backbone = None
    if "sft" in inputs and config.hidden:
        from reward.backbone import load_model, load_tokenizer

        tokenizer = load_tokenizer(inputs["sft"])
        backbone = (load_model(inputs["sft"], tokenizer), tokenizer)
        _link_model(inputs["sft"], out / "backbone")
    progress("features", 0, 1)
    # Responses, without their labels, may come from any split but the test prompts.
    seen = [one for one in preferences if one.split != "test"]
    everything = Judgments.of(seen)
    features, blocks = Features.fit(everything.items, backbone, hidden=config.hidden, ngrams=config.ngrams)
    judgments = everything.take(np.flatnonzero([one.split == split for one in seen]))
    progress("features", 1, 1)

    margin = cross_validated(judgments, blocks, folds(held.train, 5, seed), features, config)
    temperature = calibrate(margin, judgments.target, judgments.weight)
    head = Head.fit_judgments(judgments, features, blocks, config).calibrated(temperature)
    margin = margin * temperature
    head.save(out)
    progress("fitting", 1, 1)

    source = f"{held.source}: five folds of the {split} prompts"
    measured = list(held.train)
    if enough(held.measure):
        source, measured = held.source, list(held.measure)
        others = Judgments.of(measured)
        mean, _ = head.predict(others.items)
        margin = mean[others.first] - mean[others.second]
    figures = report(Measured(measured, margin, _sigmoid(margin), source), preferences, out, seed=seed)
    return {
        **figures,
        "preferences": len(held.train),
        "temperature": head.temperature,
        **{f"scale_{name}": value for name, value in sorted(head.scales.items())},
    }


def stacked(blocks: Mapping[str, np.ndarray], scales: Mapping[str, float]) -> np.ndarray:
    """Blocks times their prior scales side by side, shape (N, D), in the order of their names."""
    return np.hstack([blocks[name] * scales[name] for name in sorted(scales)])


def choose_scales(judgments: Judgments, blocks: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Prior scale of each block by coordinate ascent on the marginal likelihood times a log-normal hyperprior."""
    rows = np.arange(len(judgments.first))
    if len(rows) > _SEARCHED:
        rows = np.sort(np.random.default_rng(0).permutation(len(rows))[:_SEARCHED])
    taken = judgments.take(rows)
    grams = {}
    for name, block in blocks.items():
        difference = block[taken.first] - block[taken.second]
        grams[name] = difference @ difference.T
    logs = dict.fromkeys(blocks, 0.0)

    def objective(steps: Mapping[str, float]) -> float:
        kernel = sum(np.exp(2 * steps[name]) * PRIOR[name] ** 2 * gram for name, gram in grams.items())
        penalty = sum(step**2 for step in steps.values()) / (2 * _PRIOR_SPREAD**2)
        return _log_evidence(np.asarray(kernel), taken) - penalty

    best = objective(logs)
    for size in (0.8, 0.4):
        for _ in range(3):
            before = best
            for name in sorted(blocks):
                for step in (size, -size):
                    tried = {**logs, name: logs[name] + step}
                    value = objective(tried)
                    if value > best + 1e-6:
                        best, logs = value, tried
                        break
            if best == before:
                break
    return {name: PRIOR[name] * float(np.exp(step)) for name, step in logs.items()}


def cross_validated(
    judgments: Judgments, blocks: Mapping[str, np.ndarray], fold: np.ndarray, features: Features, section: HeadSection
) -> np.ndarray:
    """Margin of each judgment's first over its second response, by a head that never saw its prompt; shape (N,)."""
    margin = np.zeros(len(fold))
    scales = choose_scales(judgments, blocks)
    for number in np.unique(fold):
        train = np.flatnonzero(fold != number)
        if len(train) == 0:
            continue
        head = Head.fit_judgments(judgments.take(train), features, blocks, section, scales=scales)
        mean, _ = head.predict_blocks(blocks)
        rows = fold == number
        margin[rows] = mean[judgments.first[rows]] - mean[judgments.second[rows]]
    return margin


def calibrate(margin: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """The factor that makes margins log-odds: maximum likelihood under a prior that holds it near 1 for few labels."""
    tries = np.exp(np.linspace(-2.5, 1.5, 161))
    logits = margin[None, :] * tries[:, None]
    losses = (weight * (target * np.logaddexp(0, -logits) + (1 - target) * np.logaddexp(0, logits))).sum(1)
    return float(tries[int(np.argmin(losses + np.log(tries) ** 2 / (2 * 0.5**2)))])


@dataclass(frozen=True)
class _Fit:
    weights: np.ndarray
    covariance: np.ndarray
    annotators: dict[str, tuple[float, float]]


def _laplace(difference_N_D: np.ndarray, judgments: Judgments, section: HeadSection) -> _Fit:
    """Posterior mode and covariance of the weights under a unit prior, annotators' traits fitted beside them."""
    count, full = difference_N_D.shape
    # Fewer pairs than features leave the weights free across directions that no pair has: those keep their prior.
    basis_D_K = np.eye(full)
    if count < full:
        _, singular, right_K_D = np.linalg.svd(difference_N_D, full_matrices=False)
        basis_D_K = right_K_D[singular > 1e-9 * max(1e-12, float(singular.max(initial=0.0)))].T
        difference_N_D = difference_N_D @ basis_D_K
    width = basis_D_K.shape[1]
    weights = np.zeros(width)
    known = judgments.annotator >= 0
    people = len(judgments.names)
    sharpness, side = np.ones(max(1, people)), np.zeros(max(1, people))
    hessian = np.eye(width)
    for outer in range(_ROUNDS):
        scale_N = np.where(known, sharpness[judgments.annotator], 1.0)
        shift_N = np.where(known, side[judgments.annotator], 0.0) * judgments.left
        design = difference_N_D * scale_N[:, None]
        for _ in range(30):
            chance_N = _sigmoid(design @ weights + shift_N)
            gradient = design.T @ (judgments.weight * (judgments.target - chance_N)) - weights
            hessian = np.eye(width) + (design * (judgments.weight * chance_N * (1 - chance_N))[:, None]).T @ design
            step = np.linalg.solve(hessian, gradient)
            # Far from the mode a whole Newton step can overshoot; the logistic likelihood bounds what one may change.
            step *= min(1.0, 6.0 / max(1e-12, float(np.abs(design @ step).max(initial=0.0))))
            weights = weights + step
            if float(np.abs(design @ step).max(initial=0.0)) < 1e-5:
                break
        if outer == _ROUNDS - 1 or not known.any() or (section.scale_spread == 0 and section.side_spread == 0):
            break
        margin_N = difference_N_D @ weights
        for person in range(people):
            rows = np.flatnonzero(judgments.annotator == person)
            sharpness[person], side[person] = _traits(margin_N[rows], judgments.take(rows), section)
    named = {name: (float(sharpness[i]), float(side[i])) for i, name in enumerate(judgments.names)}
    inside = basis_D_K @ (np.linalg.inv(hessian) - np.eye(width)) @ basis_D_K.T
    return _Fit(basis_D_K @ weights, np.eye(full) + inside, named)


def _traits(margin_n: np.ndarray, judgments: Judgments, section: HeadSection) -> tuple[float, float]:
    """Mode of one annotator's sharpness and left bias, given the margins of the pairs they judged."""
    traits = np.array([1.0, 0.0])
    spread = np.array([section.scale_spread, section.side_spread])
    free = spread > 0
    precision = np.diag(np.where(free, 1 / np.maximum(spread, 1e-6) ** 2, 1.0))
    design = np.stack([margin_n, judgments.left], 1) * free
    fixed_n = margin_n * (not free[0])
    for _ in range(20):
        chance_n = _sigmoid(design @ traits + fixed_n)
        gradient = design.T @ (judgments.weight * (judgments.target - chance_n)) - precision @ (traits - [1.0, 0.0])
        hessian = precision + (design * (judgments.weight * chance_n * (1 - chance_n))[:, None]).T @ design
        step = np.linalg.solve(hessian, gradient)
        traits = traits + step
        if float(np.abs(step).max()) < 1e-8:
            break
    # An annotator who seems to invert every judgment is taken for noise, not for a mirror.
    return max(0.0, float(traits[0])), float(traits[1])


def _log_evidence(kernel_N_N: np.ndarray, judgments: Judgments) -> float:
    """Laplace's log marginal likelihood of the judgments under a Gaussian process on their margins.

    Source: Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, algorithms 3.1 and 3.2.
    """
    from scipy.linalg import cho_factor, cho_solve

    target, weight = judgments.target, judgments.weight
    margin = np.zeros(len(target))
    alpha = np.zeros(len(target))
    value = -np.inf
    factor = None
    for _ in range(30):
        chance = _sigmoid(margin)
        curvature = weight * chance * (1 - chance)
        root = np.sqrt(curvature)
        factor = cho_factor(np.eye(len(target)) + root[:, None] * kernel_N_N * root, lower=True)
        right = curvature * margin + weight * (target - chance)
        alpha = right - root * cho_solve(factor, root * (kernel_N_N @ right))
        margin = kernel_N_N @ alpha
        loss = (weight * (target * np.logaddexp(0, -margin) + (1 - target) * np.logaddexp(0, margin))).sum()
        new = -0.5 * float(alpha @ margin) - float(loss)
        if abs(new - value) < 1e-3:
            value = new
            break
        value = new
    assert factor is not None, "thirty iterations were allowed"
    return value - float(np.log(np.diag(factor[0])).sum())


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _link_model(source: Path, target: Path) -> None:
    """Put the language model beside its head without storing it twice: hard links, copies where there are none."""
    target.mkdir(exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix in (".json", ".jinja", ".safetensors", ".model", ".txt"):
            if path.name in ("artifact.json", "report.json"):
                continue
            copy = target / path.name
            copy.unlink(missing_ok=True)
            link: Callable[[str, str], object] = os.link
            try:
                link(str(path), str(copy))
            except OSError:
                shutil.copyfile(path, copy)
