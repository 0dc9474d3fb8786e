"""Export the ledger a row at a time, in TRL's forms, as raw votes and as prompts; memory stays the same at any size.

Judgments name response ids here too: the side on which a response was shown only stands in order_shown. Rows as bytes
of a file are encodings.py's business. A row that stands for one label says who gave it, when, in which order the
responses were shown and which guideline was seen; one that stands for several names annotators and labels behind it.
"""

import json
import json.scanner
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import JSON, String, cast, literal
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from annotate.aggregate import SnapshotSection, judged_pairs, preferences, totals
from annotate.encodings import Format, Row, encoded, json_line
from annotate.errors import BadInput
from annotate.ledger import Ledger
from annotate.prompts import all_prompts
from annotate.tables import Gold, Label, Pair, PairResponse, Prompt, Response

What = Literal["preferences", "preferences-implicit", "preferences-text", "kto", "sft", "votes", "labels", "prompts"]
PAGE = 500
"""Labels whose responses are read at a time."""


@dataclass
class Count:
    """How many rows an export had, and how many its form could not hold."""

    rows: int = 0
    left_out: int = 0


def export(ledger: Ledger, what: What) -> Iterator[str]:
    """Yield the lines of an export as JSONL, each with its line end; see `export_rows`."""
    return map(json_line, export_rows(ledger, what))


def export_file(ledger: Ledger, what: What, format: Format, count: Count | None = None) -> Iterator[bytes]:
    """Yield the bytes of an export as a file; see `export_rows`. Raises MissingExtra for Parquet without pyarrow."""
    if format not in get_args(Format):
        raise BadInput(f"expected one of {', '.join(get_args(Format))}, found '{format}'", where="format")
    rows = export_rows(ledger, what, count)
    return encoded(what, format, rows, parts=format == "parquet" and has_parts(ledger))


def export_rows(ledger: Ledger, what: What, count: Count | None = None) -> Iterator[Row]:
    """Yield the rows of an export, all from one consistent state of the ledger.

    preferences: what a snapshot of all labels with the default section would hold, prompt, chosen and rejected as
    messages. preferences-implicit: the same with the prompt inside chosen and rejected. preferences-text: the same as
    texts; prompts of more than one turn are left out. kto: each response that more labels call good than bad, or the
    other way round. sft: edited responses, and those that were preferred and not edited. votes: every effective
    judgment with the texts, as `import --as votes` takes it. labels: the same in ids alone. prompts: with split and
    group. Raises BadInput for anything else.
    """
    if what not in get_args(What):
        raise BadInput(f"expected one of {', '.join(get_args(What))}, found '{what}'", where="what")
    return _rows(ledger, what, count or Count())


def _rows(ledger: Ledger, what: What, count: Count) -> Iterator[Row]:
    with ledger.read() as session:
        for row in _KINDS[what](session):
            if row is None:
                count.left_out += 1
            else:
                count.rows += 1
                yield row


def has_parts(ledger: Ledger) -> bool:
    """Whether some prompt has a turn of typed parts, such as an image."""
    with ledger.read() as session:
        query = select(Prompt.id).where(cast(col(Prompt.messages), String).contains('"type"')).limit(1)
        return session.exec(query).first() is not None


# --------------------------------------------------------------------------------------------- aggregated rows


def _preferences(session: Session) -> Iterator[Row]:
    section = SnapshotSection()
    scale = totals(session, section).scale
    for judged in judged_pairs(session):
        for made in preferences(judged, section):
            yield made.model_copy(update={"weight": made.weight * scale}).row()


def _implicit(session: Session) -> Iterator[Row]:
    for row in _preferences(session):
        prompt = row.pop("prompt")
        yield row | {"chosen": prompt + row["chosen"], "rejected": prompt + row["rejected"]}


def _texts(session: Session) -> Iterator[Row | None]:
    for row in _preferences(session):
        turns = [*row["prompt"], *row["chosen"], *row["rejected"]]
        if [turn["role"] for turn in turns] != ["user", "assistant", "assistant"] or any(
            not isinstance(turn["content"], str) for turn in turns
        ):
            yield None
        else:
            yield row | {name: row[name][0]["content"] for name in ("prompt", "chosen", "rejected")}


def _kto(session: Session) -> Iterator[Row]:
    for labels in _by_pair(session):
        for response in labels[0].responses:
            said = [verdict for one in labels if (verdict := one.verdict(response["id"])) is not None]
            good = sum(said)
            if 2 * good != len(said):
                yield _answer(labels, response, response["text"]) | {
                    "label": 2 * good > len(said),
                    "votes_good": good,
                    "votes_bad": len(said) - good,
                }


def _sft(session: Session) -> Iterator[Row]:
    for labels in _by_pair(session):
        texts = {response["id"]: response for response in labels[0].responses}
        edited = set()
        for one in labels:
            for identity, text in sorted(one.label.edited.items()):
                if identity in texts and text.strip() and text != texts[identity]["text"]:
                    edited.add(identity)
                    row = _answer([one], texts[identity], text)
                    yield row | {"origin": "edit", **{name: one.row()[name] for name in _OF_ONE}}
        best = _preferred(labels)
        if best is not None and best not in edited:
            row = _answer(labels, texts[best], texts[best]["text"])
            yield row | {"origin": "preferred", **dict.fromkeys(_OF_ONE)}


_OF_ONE = ("active_ms", "created_at", "guideline", "order_shown")
"""What a single label says of itself and several cannot."""


def _preferred(labels: list["_Judged"]) -> str | None:
    """The response that beats the others most often over all labels, unless it is shared, or as bad as the rest."""
    points: dict[str, int] = {response["id"]: 0 for response in labels[0].responses}
    said: dict[str, list[bool]] = {identity: [] for identity in points}
    for one in labels:
        places = {identity: place for place, tied in enumerate(one.label.ranking) for identity in tied}
        for identity in points:
            points[identity] += sum(places[identity] < other for other in places.values())
            points[identity] -= sum(places[identity] > other for other in places.values())
            if (verdict := one.verdict(identity)) is not None:
                said[identity].append(verdict)
    ranked = sorted(points, key=lambda identity: -points[identity])
    best, second = ranked[:2]
    good = sum(said[best])
    return best if points[best] > points[second] and 2 * good > len(said[best]) else None


def _answer(labels: list["_Judged"], response: Mapping[str, str], text: str) -> Row:
    """What rows about one response have in common."""
    label = labels[0].label
    return {
        "annotators": sorted({one.label.annotator_id for one in labels}),
        "completion": [{"role": "assistant", "content": text}],
        "group": label.group,
        "labels": sorted(one.label.uuid for one in labels),
        "model": response["model"],
        "objective": label.objective,
        "pair": label.pair_id,
        "prompt": label.messages,
        "prompt_id": label.prompt_id,
        "response": response["id"],
        "round": label.round,
        "source": label.pair_source or label.prompt_source,
        "split": label.split,
    }


# --------------------------------------------------------------------------------------------- a row a label


class _Label(NamedTuple):
    """An effective label with what stands around it."""

    uuid: str
    slot_id: int | None
    pair_id: str
    annotator_id: str
    ranking: list[list[str]]
    strength: int | None
    both_bad: bool
    criteria: dict[str, Any]
    rationale: str
    edited: dict[str, str]
    flags: list[str]
    active_ms: int | None
    order_shown: list[str]
    guideline_id: str | None
    supersedes: str | None
    source: str
    created_at: float
    round: int
    objective: str
    pair_source: str
    prompt_id: str
    split: str
    group: str
    prompt_source: str
    messages: list[dict[str, Any]]


class _Judged(NamedTuple):
    """A label and its pair's responses {id, model, text}, in canonical order."""

    label: _Label
    responses: list[dict[str, str]]

    def row(self) -> Row:
        """What every export of single labels says."""
        label = self.label
        return {
            "active_ms": label.active_ms,
            "annotator": label.annotator_id,
            "both_bad": label.both_bad,
            "created_at": datetime.fromtimestamp(label.created_at, UTC).isoformat(),
            "criteria": label.criteria,
            "edited": label.edited,
            "flags": label.flags,
            "guideline": label.guideline_id,
            "objective": label.objective,
            "order_shown": label.order_shown,
            "pair": label.pair_id,
            "prompt_id": label.prompt_id,
            "ranking": label.ranking,
            "rationale": label.rationale,
            "round": label.round,
            "split": label.split,
            "strength": label.strength,
            "supersedes": label.supersedes,
            "uuid": label.uuid,
        }

    def verdict(self, response: str) -> bool | None:
        """Whether the label calls a response good: as it was asked, or the best and the worst of a ranking."""
        acceptable = self.label.criteria.get("acceptable")
        if isinstance(acceptable, dict) and isinstance(acceptable.get(response), bool):
            return bool(acceptable[response])
        if self.label.both_bad:
            return False
        ranking = self.label.ranking
        if len(ranking) < 2:
            return None
        return True if response in ranking[0] else False if response in ranking[-1] else None


def _votes(session: Session) -> Iterator[Row]:
    for one in _judged(session, texts=True):
        source = one.label.pair_source or one.label.prompt_source
        yield one.row() | {"prompt": one.label.messages, "responses": one.responses, "source": source}


def _labels(session: Session) -> Iterator[Row]:
    for one in _judged(session, texts=False):
        yield one.row() | {
            "models": [response["model"] for response in one.responses],
            "responses": [response["id"] for response in one.responses],
            "slot": one.label.slot_id,
            "source": one.label.source,
        }


def _by_pair(session: Session) -> Iterator[list[_Judged]]:
    for _, labels in groupby(_judged(session, texts=True), key=lambda one: one.label.pair_id):
        yield list(labels)


def _judged(session: Session, *, texts: bool) -> Iterator[_Judged]:
    """Every effective judgment, by pair and uuid; as plain columns, which cost a quarter of what model objects do.

    With texts, for training on them, those on gold pairs are left out.
    """
    later = aliased(Label)
    own = [getattr(Label, name) for name in _Label._fields[: _Label._fields.index("round")]]
    around: list[Any] = [Pair.round, Pair.objective, Pair.source, Pair.prompt_id]
    around += [Prompt.split, Prompt.group, Prompt.source, Prompt.messages if texts else literal("[]")]
    columns = [cast(one, String) if isinstance(one.type, JSON) else one for one in (*own, *around)]
    query = (
        select(*columns)
        .join(Pair, col(Pair.id) == col(Label.pair_id))
        .join(Prompt, col(Prompt.id) == col(Pair.prompt_id))
        .where(
            col(Label.retracted).is_(False),
            col(Label.skip_reason).is_(None),
            ~select(later.uuid).where(later.supersedes == Label.uuid).exists(),
            *([~select(Gold.id).where(Gold.pair_id == Label.pair_id).exists()] if texts else []),
        )
        .order_by(col(Label.pair_id), col(Label.uuid))
        .execution_options(yield_per=PAGE)
    )
    fields = [_parsed if isinstance(one.type, JSON) or one is around[-1] else None for one in (*own, *around)]
    with session.connection().execute(query) as found:
        while page := found.fetchmany(PAGE):
            labels = [
                _Label._make(value if parse is None else parse(value) for parse, value in zip(fields, row, strict=True))
                for row in page
            ]
            responses = _responses(session, {label.pair_id for label in labels}, texts)
            for label in labels:
                yield _Judged(label, responses[label.pair_id])


def _parsed(text: str) -> Any:
    """What a JSON column holds; a third of the time that json.loads takes for such short texts."""
    return [] if text == "[]" else {} if text == "{}" else _SCAN(text, 0)[0]


_SCAN: Callable[[str, int], tuple[Any, int]] = json.scanner.make_scanner(json.JSONDecoder())  # type: ignore[arg-type]


def _responses(session: Session, pairs: Iterable[str], texts: bool) -> dict[str, list[dict[str, str]]]:
    query = (
        select(PairResponse.pair_id, Response.id, Response.model, *([Response.text] if texts else []))
        .join(Response, col(Response.id) == col(PairResponse.response_id))
        .where(col(PairResponse.pair_id).in_(list(pairs)))
        .order_by(col(PairResponse.pair_id), col(PairResponse.position))
    )
    found: dict[str, list[dict[str, str]]] = {}
    text: list[str]
    for pair, identity, model, *text in session.connection().execute(query):
        found.setdefault(pair, []).append({"id": identity, "model": model, **({"text": text[0]} if texts else {})})
    return found


def _prompts(session: Session) -> Iterator[Row]:
    for prompt in all_prompts(session):
        yield {
            "id": prompt.id,
            "messages": prompt.messages,
            "split": prompt.split,
            "group": prompt.group,
            "family": prompt.family,
            "source": prompt.source,
        }


_KINDS: dict[str, Callable[[Session], Iterator[Row | None]]] = {
    "preferences": _preferences,
    "preferences-implicit": _implicit,
    "preferences-text": _texts,
    "kto": _kto,
    "sft": _sft,
    "votes": _votes,
    "labels": _labels,
    "prompts": _prompts,
}
