"""A snapshot: all labels as they stand, frozen into files whose bytes depend on the labels alone.

preferences.jsonl (all splits), train.jsonl, validation.jsonl and test.jsonl (the same rows, by split), votes.jsonl (one
row a label, for models of annotators), card.json (query, counts, agreement, hashes) and README.md, which tells
`datasets.load_dataset` the columns' types. How votes become preferences is aggregate.py's business.
"""

import hashlib
import json
import math
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

from sqlmodel import col, select

from annotate.aggregate import JudgedPair, SnapshotSection, Totals, comparisons, judged_pairs, preferences, totals
from annotate.errors import BadInput
from annotate.ledger import Ledger
from annotate.media import image_path, images_in
from annotate.preference import Preference, Split
from annotate.quality import Agreement, agreement_interval, summary
from annotate.statistics import Interval
from annotate.tables import Annotator, Label

__all__ = ["SnapshotSection", "freeze", "labels_in"]

SPLITS: tuple[str, ...] = get_args(Split)
Metrics = dict[str, float | int | str | None]


def freeze(ledger: Ledger, out: Path, section: SnapshotSection, *, round: int = 0) -> Metrics:
    """Write the snapshot of all labels up to a round (0: of all) into an existing directory; returns its figures.

    Raises BadInput with the next command when there is no label, or when the section leaves no pair.
    """
    counts = _Counts()
    with ledger.read() as session:
        kinds = dict(session.exec(select(Annotator.id, Annotator.kind).order_by(col(Annotator.id))).all())
        found = totals(session, section, round or None)
        _check(found)
        with ExitStack() as stack:
            files = _Files(out, stack)
            for judged in judged_pairs(session, round or None, objective=section.objective):
                counts.add_votes(judged, kinds)
                counts.images.update(images_in(judged.prompt.messages))
                for row in _vote_rows(judged, kinds):
                    files.write("votes", row)
                for made in preferences(judged, section):
                    preference = made.model_copy(update={"weight": made.weight * found.scale})
                    counts.add(preference)
                    row = preference.row()
                    if found.images:
                        row["prompt"] = [_in_parts(turn) for turn in row["prompt"]]
                    files.write("preferences", row)
                    files.write(preference.split, row)
    _copy_images(ledger.media, out, counts.images)
    figures = summary(counts.outcomes, len(counts.annotators))
    card = _card(section, round, counts, found, figures, out)
    _write_text(out / "README.md", _readme(counts))
    _write_text(out / "card.json", json.dumps(card, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    return {
        "preferences": counts.preferences,
        "votes": counts.votes,
        "ties": counts.ties,
        **{split: counts.splits[split] for split in SPLITS},
        "annotators": len(counts.annotators),
        "agreement": _number(figures.raw),
        "agreement_without_ties": _number(figures.raw_without_ties),
        "alpha": _number(figures.alpha),
        "ceiling": _number(figures.ceiling.mean),
    }


def labels_in(snapshot: Path) -> list[str]:
    """The uuids of the labels that a snapshot froze, in the order of its file."""
    with (snapshot / "votes.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line)["label"] for line in file]


class _Counts:
    """What the card says about the rows, gathered while they are written."""

    def __init__(self) -> None:
        self.preferences = self.votes = self.ties = self.edits = 0
        self.images: set[str] = set()
        self.splits = Counter[str]()
        self.split_votes = Counter[str]()
        self.objectives = Counter[str]()
        self.sources = Counter[str]()
        self.rounds = Counter[str]()
        self.annotators: dict[str, str] = {}
        self.outcomes: list[list[int]] = []
        self.groups: list[str] = []

    def add(self, preference: Preference) -> None:
        self.preferences += 1
        self.ties += preference.is_tie
        self.splits[preference.split] += 1
        self.objectives[preference.objective] += 1
        self.sources[preference.source] += 1
        self.rounds[str(preference.round)] += 1

    def add_votes(self, judged: JudgedPair, kinds: dict[str, str]) -> None:
        self.votes += len(judged.labels)
        self.split_votes[judged.prompt.split] += len(judged.labels)
        self.annotators.update((label.annotator_id, kinds[label.annotator_id]) for label in judged.labels)
        for two in comparisons(judged):
            if two.is_edit:  # nobody else was asked about it
                self.edits += 1
                continue
            self.outcomes.append(two.outcomes)
            self.groups.append(judged.prompt.group)


class _Files:
    """The snapshot's JSONL files; a split's file is made when its first row comes, as an empty one has no columns."""

    def __init__(self, out: Path, stack: ExitStack) -> None:
        self.out, self.stack = out, stack
        self.open = {name: self._make(name) for name in ("preferences", "votes")}

    def write(self, name: str, row: dict[str, Any]) -> None:
        if name not in self.open:
            self.open[name] = self._make(name)
        self.open[name].write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")

    def _make(self, name: str) -> Any:
        return self.stack.enter_context((self.out / f"{name}.jsonl").open("w", encoding="utf-8", newline="\n"))


def _check(found: Totals) -> None:
    if found.preferences:
        return
    if found.labels == 0:
        raise BadInput(
            "there are no labels to freeze", next="Run: trueloop annotate, or trueloop import FILE --as votes"
        )
    reasons = ", ".join(f"{count} for {reason}" for reason, count in _left_out(found).items())
    raise BadInput(
        f"all judged pairs are left out ({reasons})",
        where="recipe, snapshot",
        next="Collect more with trueloop annotate, or run: trueloop snapshot snapshot.min_votes=1 snapshot.ties=keep",
    )


def _left_out(found: Totals) -> dict[str, int]:
    reasons = {
        "identical responses": found.identical,
        "too few votes": found.too_few,
        "ties": found.ties_dropped,
    }
    return {reason: count for reason, count in reasons.items() if count}


def _vote_rows(judged: JudgedPair, kinds: dict[str, str]) -> Iterator[dict[str, Any]]:
    """One row a label: what a model of annotators needs. No clock time, which no two runs of a loop would share."""
    for label in judged.labels:
        yield {
            "label": label.uuid,
            "pair": judged.pair.id,
            "prompt_id": judged.prompt.id,
            "group": judged.prompt.group,
            "split": judged.prompt.split,
            "round": judged.pair.round,
            "objective": judged.pair.objective,
            "annotator": label.annotator_id,
            "kind": kinds[label.annotator_id],
            "ranking": label.ranking,
            "responses": [response.id for response in judged.responses],
            "models": [response.model for response in judged.responses],
            "characters": [len(response.text) for response in judged.responses],
            "order_shown": label.order_shown,
            "strength": label.strength,
            "both_bad": label.both_bad,
            "flags": label.flags,
            "criteria": _answers(label),
            "edited": [{"response": one, "text": text} for one, text in sorted(label.edited.items())],
            "active_ms": label.active_ms,
            "guideline": label.guideline_id,
            "propensity": judged.pair.propensity,
        }


def _answers(label: Label) -> list[dict[str, Any]]:
    """What a label says to each question, of one response or (response null) of the pair; of fixed columns."""
    return [
        {
            "name": name,
            "response": response,
            "value": float(value) if isinstance(value, bool | int | float) else None,
            "text": value if isinstance(value, str) else None,
        }
        for name, said in sorted(label.criteria.items())
        for response, value in (sorted(said.items()) if isinstance(said, dict) else [(None, said)])
    ]


def _card(
    section: SnapshotSection, round: int, counts: _Counts, found: Totals, figures: Agreement, out: Path
) -> dict[str, Any]:
    kinds = Counter(counts.annotators.values())
    return {
        "query": {"rounds": f"up to {round}" if round else "all", **section.model_dump()},
        "preferences": counts.preferences,
        "ties": counts.ties,
        "left_out": _left_out(found),
        "votes": counts.votes,
        "splits": {split: counts.splits[split] for split in SPLITS},
        "votes_by_split": {split: counts.split_votes[split] for split in SPLITS},
        "objectives": dict(counts.objectives),
        "edits": counts.edits,
        "images": len(counts.images),
        "sources": dict(counts.sources),
        "rounds": dict(counts.rounds),
        "annotators": {"count": len(counts.annotators), **kinds},
        "agreement": {
            "pairs_with_two_votes": figures.items_with_two,
            "raw": _number(figures.raw),
            "mean_over_pairs": _interval(agreement_interval(counts.outcomes, counts.groups, seed=0)),
            "raw_without_ties": _number(figures.raw_without_ties),
            "krippendorff_alpha": _number(figures.alpha),
            "ceiling": _interval(figures.ceiling),
        },
        "warnings": _warnings(counts, figures),
        "sha256": {path.name: _sha256(path) for path in sorted(out.glob("*.jsonl"))},
    }


def _warnings(counts: _Counts, figures: Agreement) -> list[str]:
    found = []
    if counts.ties == counts.preferences:
        found.append("every pair is a tie: a reward model can learn nothing from these labels")
    if len(counts.objectives) > 1:
        found.append("helpful and safe judgments are mixed: a model of one takes snapshot.objective")
    if len(counts.annotators) == 1:
        found.append("a single annotator gave all labels: how far people agree cannot be measured")
    elif figures.items_with_two == 0:
        found.append("no pair has two labels: how far people agree cannot be measured. Raise pairs.overlap")
    found += [f"no preference is in the {split} split" for split in SPLITS if not counts.splits[split]]
    return found


def _readme(counts: _Counts) -> str:
    """The data set's card: without the columns' types, a split whose optional column is all null would not load."""
    splits = [split for split in SPLITS if counts.splits[split]]
    files = "\n".join(f"  - split: {split}\n    path: {split}.jsonl" for split in splits)
    columns = "\n".join(_column(name, parts=bool(counts.images)) for name in sorted(Preference.model_fields))
    return (
        f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}\n"
        "- config_name: votes\n  data_files: votes.jsonl\n"
        f"dataset_info:\n- config_name: default\n  features:\n{columns}\n---\n\n"
        f"# Preferences\n\n{counts.preferences} preferences from {counts.votes} labels by {len(counts.annotators)} "
        "annotators, frozen by Trueloop. Each row is a pair of responses and what people think of them: `chosen` is "
        "the better one with probability `soft_target`. See card.json for what went in.\n"
    )


def _copy_images(media: Path | None, out: Path, images: set[str]) -> None:
    """Put the images beside the rows that name them: what trains on a snapshot shares nothing else with us."""
    for name in sorted(images):
        path = image_path(media, name)
        if path is None:
            raise BadInput(f"the image {name} is gone", where=str(media), next="Restore it from a backup")
        (out / "media").mkdir(exist_ok=True)
        shutil.copyfile(path, out / "media" / name)


def _in_parts(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn as a list of parts with the same fields each, as a table's column wants them."""
    parts = turn["content"] if isinstance(turn["content"], list) else [{"type": "text", "text": turn["content"]}]
    return {**turn, "content": [{"text": None, "image": None, **part} for part in parts]}


def _column(name: str, *, parts: bool) -> str:
    kind = Preference.model_fields[name].annotation
    if name == "prompt" and parts:
        part = "\n".join(f"      - name: {field}\n        dtype: string" for field in ("type", "text", "image"))
        role = "    - name: role\n      dtype: string"
        return f"  - name: {name}\n    list:\n{role}\n    - name: content\n      list:\n{part}"
    if name in ("prompt", "chosen", "rejected"):
        turn = "  - name: role\n      dtype: string\n    - name: content\n      dtype: string"
        return f"  - name: {name}\n    list:\n  {turn}"
    if name.endswith("_ratings"):
        fields = {"name": "string", "mean": "float64", "votes": "int64"}
        rating = "\n".join(f"    - name: {field}\n      dtype: {dtype}" for field, dtype in fields.items())
        return f"  - name: {name}\n    list:\n{rating}"
    if name in ("annotators", "labels"):
        return f"  - name: {name}\n    list: string"
    dtype = "int64" if kind is int else "float64" if kind in (float, float | None) else "string"
    return f"  - name: {name}\n    dtype: {dtype}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _interval(figure: Interval) -> dict[str, float | None]:
    return {"mean": _number(figure.mean), "low": _number(figure.low), "high": _number(figure.high)}


def _number(value: float) -> float | None:
    """A figure for JSON, which has no NaN."""
    return None if math.isnan(value) else value
