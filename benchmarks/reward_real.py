"""Reward models on real human judgments beside the floors they must beat, on prompt-disjoint data.

python benchmarks/reward_real.py [--data DIR] [--json]. One loop: openinstruct and llmfao (votes) and hh_harmless
(preferences) imported into one workspace, a snapshot, both kinds of reward model, accuracy on the held-out splits. Then
each set alone, five folds by prompt group, as the floors of the data's README were taken. About 15 CPU-minutes.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":  # run as a script: the repository's root is not on the path yet
    sys.path.insert(0, str(Path(__file__).parent.parent))

from annotate.messages import flat_text
from annotate.preference import Preference, read_preferences
from annotate.statistics import clustered_bootstrap
from reward.config import FinetuneSection, HeadSection
from reward.holdout import by_split, folds, group_of

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "preferences"
VOTES, PAIRS = ("openinstruct", "llmfao"), ("hh_harmless",)
SETS = ("openinstruct", "hh_harmless", "llmfao", "pandalm", "llmbar")
SLOTS = 1 << 15
SEED = 0

RECIPE = """
name: real
demonstrations: {path: demonstrations.jsonl, count: 6000}
sft: {epochs: 2}
"""


def run(data: Path = DATA) -> dict[str, Any]:
    """All figures, with the machine, versions and seed they were taken at."""
    started = time.perf_counter()
    return {
        "benchmark": "reward_real",
        "metric": "accuracy on prompt-disjoint human preferences, ties left out, 95% interval by prompt group",
        "seed": SEED,
        "commit": _commit(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "loop": loop(data),
        "folds": {name: in_folds(data / f"{name}_pairs.jsonl.gz") for name in SETS},
        "seconds": round(time.perf_counter() - started, 1),
    }


def loop(data: Path) -> dict[str, Any]:
    """Import, snapshot, SFT on the train split's unlabelled answers, reward models of each kind, and the floors."""
    from annotate.progress import silent
    from reward import finetune, head

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        snapshot = snapshot_of(
            root,
            [(data / f"{name}_annotations.jsonl.gz", "votes") for name in VOTES]
            + [(data / f"{name}_pairs.jsonl.gz", "preferences") for name in PAIRS],
        )
        preferences = list(read_preferences(snapshot / "preferences.jsonl"))
        train, measure, source = by_split(preferences, "train")
        sft = _language_model(root, train)
        found: dict[str, Any] = {
            "preferences": {
                split: sum(one.split == split for one in preferences) for split in ("train", "validation", "test")
            },
            "measured_on": source,
        }
        kinds: list[tuple[str, Any, dict[str, Path]]] = [
            ("head, text alone", HeadSection(hidden=0), {"snapshot": snapshot}),
            ("head, tiny language model", HeadSection(), {"snapshot": snapshot, "sft": sft}),
            ("finetune, tiny language model", FinetuneSection(max_tokens=384), {"snapshot": snapshot, "sft": sft}),
        ]
        for number, (name, section, inputs) in enumerate(kinds):
            out = root / f"reward{number}"
            out.mkdir()
            stage = head.run if isinstance(section, HeadSection) else finetune.run
            started = time.process_time()
            figures = stage(inputs, section, out, seed=SEED, progress=silent)  # type: ignore[operator]
            found[name] = {key: figures[key] for key in REPORTED} | {
                "cpu_seconds": round(time.process_time() - started, 1),
                "by_source": _by_source(out, measure),
            }
        found["floors"] = {name: scored(margin, measure) for name, margin in floors(train, measure).items()}
        return found


REPORTED = (
    "accuracy", "accuracy_ci", "length_only", "length_only_ci", "ceiling", "vote_accuracy", "accuracy_over_ceiling",
    "ece", "brier", "length_correlation", "pairs", "ties", "prompts",
)  # fmt: skip


def in_folds(path: Path) -> dict[str, Any]:
    """One set alone, five folds by prompt group: the floors and the head on text alone."""
    from reward.features import Features
    from reward.head import Judgments, cross_validated

    with tempfile.TemporaryDirectory() as folder:
        snapshot = snapshot_of(Path(folder), [(path, "preferences")])
        preferences = [one for one in read_preferences(snapshot / "preferences.jsonl") if not one.is_tie]
    fold = folds(preferences, 5, SEED)
    margins: dict[str, np.ndarray] = {}
    for number in range(5):
        inside = fold == number
        train = [one for one, here in zip(preferences, inside, strict=True) if not here]
        measure = [one for one, here in zip(preferences, inside, strict=True) if here]
        for name, margin in floors(train, measure).items():
            margins.setdefault(name, np.zeros(len(preferences)))[inside] = margin
    section = HeadSection(hidden=0)
    judgments = Judgments.of(preferences)
    # The features are fitted to all answers, without their labels; the head only to the other folds' labels.
    features, blocks = Features.fit(judgments.items, None, hidden=0, ngrams=section.ngrams)
    margins["head, text alone"] = cross_validated(judgments, blocks, fold, features, section)
    return {
        "pairs": len(preferences),
        "prompts": len({group_of(one) for one in preferences}),
        **{name: scored(margin, preferences) for name, margin in margins.items()},
    }


def scored(margin: np.ndarray, preferences: Sequence[Preference]) -> dict[str, Any]:
    """Accuracy of margins with its interval, ties left out and equal scores one half."""
    judged = np.array([not one.is_tie for one in preferences])
    right = np.where(margin > 0, 1.0, np.where(margin < 0, 0.0, 0.5))[judged]
    groups = np.array([group_of(one) for one in preferences])[judged]
    mean, low, high = clustered_bootstrap(right, groups, SEED)
    return {"accuracy": round(mean, 3), "ci": None if np.isnan(low) else [round(low, 3), round(high, 3)]}


def floors(train: Sequence[Preference], measure: Sequence[Preference]) -> dict[str, np.ndarray]:
    """Margins of what needs no reward model: the longer answer, TF-IDF logistic regression, and that with length."""
    documents = [flat_text(side) for one in [*train, *measure] for side in (one.chosen, one.rejected)]
    lengths = np.log1p([len(text) for text in documents])
    words = _tf_idf(documents, fitted=2 * len(train))
    count = len(train)
    target = np.array([one.soft_target for one in train])
    word_difference, length = words[::2] - words[1::2], lengths[::2] - lengths[1::2]
    found = {"always-longer": length[count:]}
    for name, extra in (("TF-IDF", None), ("TF-IDF + length", length)):
        weights, slope = _logistic(word_difference[:count], None if extra is None else extra[:count], target)
        found[name] = word_difference[count:] @ weights + (0.0 if extra is None else slope * extra[count:])
    return found


def _tf_idf(documents: Sequence[str], fitted: int) -> Any:
    """Rows of hashed words and word pairs, log counts times inverse document frequency, unit length; sparse."""
    from zlib import crc32

    from scipy import sparse

    rows, columns, values = [], [], []
    for row, text in enumerate(documents):
        tokens = text.lower().split()
        grams = [*tokens, *(f"{a} {b}" for a, b in pairwise(tokens))]
        slots, counts = np.unique([crc32(gram.encode()) % SLOTS for gram in grams], return_counts=True)
        rows += [row] * len(slots)
        columns += slots.tolist()
        values += (1 + np.log(counts)).tolist()
    matrix = sparse.csr_matrix((values, (rows, columns)), shape=(len(documents), SLOTS))
    seen = np.bincount(matrix[:fitted].indices, minlength=SLOTS)
    weighted = matrix @ sparse.diags(np.log((1 + fitted) / (1 + seen)) + 1)
    norms = np.sqrt(np.asarray(weighted.multiply(weighted).sum(1))).ravel()
    return sparse.diags(1 / np.maximum(norms, 1e-12)) @ weighted


def _logistic(words: Any, length: np.ndarray | None, target: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights of word differences and slope of length by ridge logistic regression: C = 1, length all but free."""
    from scipy.optimize import minimize

    extra = np.zeros(len(target)) if length is None else length / max(float(length.std()), 1e-12)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, slope = parameters[:-1], parameters[-1]
        logit = words @ weights + slope * extra
        error = 1 / (1 + np.exp(-logit)) - target
        value = float(np.logaddexp(0, logit).sum() - target @ logit + 0.5 * weights @ weights + 0.005 * slope**2)
        return value, np.concatenate([words.T @ error + weights, [extra @ error + 0.01 * slope]])

    best = minimize(loss, np.zeros(words.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    return best[:-1], 0.0 if length is None else float(best[-1] / max(float(length.std()), 1e-12))


def snapshot_of(root: Path, files: Sequence[tuple[Path, str]]) -> Path:
    """Import files through the command line into a fresh workspace and freeze a snapshot; its directory."""
    workspace = root / "workspace"
    (root / "real.yaml").write_text(RECIPE.strip() + "\n", encoding="utf-8")
    _trueloop("init", str(workspace), "--recipe", str(root / "real.yaml"), "--json")
    for file, kind in files:
        _trueloop("import", str(file), "--as", kind, "--workspace", str(workspace), "--json")
    return Path(_trueloop("snapshot", "--workspace", str(workspace), "--json")["path"])


def _language_model(root: Path, train: Sequence[Preference]) -> Path:
    """A tiny language model of the train split's answers, both sides and no label; its directory."""
    from align.algorithms.sft import SftSection
    from align.algorithms.sft import run as fine_tune
    from annotate.messages import to_dicts
    from annotate.progress import silent

    (root / "demonstrations").mkdir()
    with (root / "demonstrations" / "demonstrations.jsonl").open("w", encoding="utf-8") as file:
        for one in train:
            for side in (one.chosen, one.rejected):
                row = {"prompt": to_dicts((*one.prompt, *side[:-1])), "response": side[-1].text}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    (root / "sft").mkdir()
    section = SftSection(epochs=2, max_tokens=384, batch_size=16)
    fine_tune({"demonstrations": root / "demonstrations"}, section, root / "sft", seed=SEED, progress=silent)
    return root / "sft"


def _by_source(reward: Path, measure: Sequence[Preference]) -> dict[str, Any]:
    """Accuracy on each data set's held-out pairs, by the saved reward model."""
    from reward.score import load_scorer

    scorer = load_scorer(reward)
    prompts = [(*one.prompt, *side[:-1]) for one in measure for side in (one.chosen, one.rejected)]
    mean, _ = scorer.score(prompts, [side[-1].text for one in measure for side in (one.chosen, one.rejected)])
    margin = mean[::2] - mean[1::2]
    sources = np.array([one.source for one in measure])
    return {
        str(source): scored(margin[sources == source], [one for one in measure if one.source == source])
        for source in np.unique(sources)
    }


def _trueloop(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "align.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)
    if done.returncode:
        raise RuntimeError(f"trueloop {' '.join(arguments)}: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="directory with the preference data")
    parser.add_argument("--json", action="store_true", help="accepted for symmetry: the output is always one JSON")
    print(json.dumps(run(parser.parse_args().data), indent=1))
