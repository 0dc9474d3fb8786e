"""Bring others' data in: single votes, judged preferences, prompts, and unlabelled sets straight into the queue.

What the rows mean is forms.py's business. Every vote becomes one label; the same row again is counted, not doubled.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, get_args
from uuid import UUID, uuid5

from sqlmodel import Session, col, insert, select

from annotate.ballots import Answer, Ballot, Vote
from annotate.errors import BadInput
from annotate.formats import Kind, row_key
from annotate.forms import form_of, parse
from annotate.groups import Groups
from annotate.ledger import Ledger
from annotate.media import take_images
from annotate.messages import digest
from annotate.pairs import CandidatePair
from annotate.progress import Progress, silent
from annotate.prompts import (
    NewPrompt,
    PromptsSection,
    batches,
    existing,
    folder_of,
    import_prompts,
    place_prompts,
    rows_of,
)
from annotate.queue import add_pairs
from annotate.rankings import gathered
from annotate.readers import TABLES, Report, Row
from annotate.tables import Annotator, Label, Response

BATCH = 1000
_NAMESPACE = UUID("6f0a3a5e-2d0c-5a55-9c57-1b5b8f4f4a10")


def import_file(
    ledger: Ledger,
    path: str | Path,
    kind: Kind,
    section: PromptsSection | None = None,
    *,
    keep_going: bool = False,
    source: str | None = None,
    round: int | None = None,
    overlap: int = 1,
    progress: Progress = silent,
) -> Report:
    """Store a file (.jsonl, .json, .csv, .parquet, gzipped or not) of votes, preferences, prompts or pairs.

    path: also the name or the folder of a data set that `datasets` loads, all its splits.

    The whole file is read before anything is stored: one bad row and nothing is, unless keep_going, which lists bad
    rows in the report instead. source: name for rows that name none; the file's, by default. round: which round's
    queue unlabelled pairs enter, by default the one after the last snapshot. overlap: labels wanted for each of them.
    section: how prompts are split.
    The report counts rows; a row is a duplicate when everything it would store is there already. Beside the rows it
    has `labels`, what of the data may need a look (empty or identical responses), rows that nobody judged yet
    (`unlabelled`: of votes and preferences nothing is stored for them) and `ignored_columns`.
    Raises BadInput naming file and line, NotFound, MissingExtra.
    """
    if kind not in get_args(Kind):
        raise BadInput(f"expected one of {', '.join(get_args(Kind))}, found '{kind}'", where="--as")
    if kind == "prompts":
        return import_prompts(ledger, path, section, strict=not keep_going, progress=progress)
    rows, name = rows_of(path, TABLES)
    images = ledger.media, folder_of(path)
    total = sum(1 for _ in _ballots(rows(), name, kind, keep_going, *images))
    store = _Store(ledger, section or PromptsSection(), kind, source or name.split(".")[0] or "import")
    if kind == "pairs":
        store.round, store.overlap = _open_round(ledger) if round is None else round, overlap
    for batch in batches(_ballots(rows(), name, kind, keep_going, *images), BATCH):
        store.add(batch)
        progress(kind, store.report.read, total)
    return store.report


@dataclass
class _Entry:
    """A row on its way into the ledger."""

    row: Row
    ballot: Ballot
    key: str
    prompt_id: str = ""
    responses: tuple[str, ...] = ()
    pair_id: str = ""

    @cached_property
    def uuids(self) -> list[str]:
        """Of its labels: the same vote always gets the same."""
        return [
            vote.uuid or str(uuid5(_NAMESPACE, vote.key or f"{self.key}/{place}"))
            for place, vote in enumerate(self.ballot.votes)
        ]


class _Store:
    """Writes batches of ballots and keeps the report."""

    def __init__(self, ledger: Ledger, section: PromptsSection, kind: Kind, source: str) -> None:
        # A near-duplicate prompt may not be dropped here: with it would go what people said about its responses.
        self.section = section.model_copy(update={"near_duplicates": "keep"})
        self.ledger, self.kind, self.source = ledger, kind, source
        self.groups = Groups(section.near)
        self.round = self.overlap = 0  # judged already: they belong to no round and ask for no label
        self.report = Report(
            counts={
                "labels": 0,
                "unlabelled": 0,
                "empty_responses": 0,
                "identical_responses": 0,
                "ignored_columns": [],
            }
        )
        self.seen: set[str] = set()

    def add(self, batch: list[tuple[Row, Ballot | None]]) -> None:
        """Store one batch in one transaction, then count it."""
        report, counts = self.report, self.report.counts
        unused = {name for row, _ in batch if not row.broken for name in self._unused(row)}
        counts["ignored_columns"] = sorted({*counts["ignored_columns"], *unused})
        report.read += len(batch)
        entries = []
        for row, ballot in batch:
            if ballot is None:
                report.reject(row.line, row.broken)
                continue
            key = row_key(self.kind, row.fields)
            if key in self.seen:
                report.duplicates += 1
                continue
            self.seen.add(key)
            if not ballot.votes and self.kind != "pairs":
                counts["unlabelled"] += 1
                continue
            entries.append(_Entry(row, ballot, key))
        stored, labels, refused = self.ledger.write(lambda session: self._store(session, entries))
        report.stored += stored
        report.duplicates += len(entries) - stored - len(refused)
        report.rejected += [{"line": entry.row.line, "why": why} for entry, why in refused]
        counts["labels"] += labels
        for entry in entries:
            texts = [answer.text for answer in entry.ballot.answers]
            counts["empty_responses"] += any(not text.strip() for text in texts)
            counts["identical_responses"] += len(set(texts)) < len(texts)

    def _unused(self, row: Row) -> set[str]:
        used = form_of(self.kind, row.fields).used
        return set() if used is None else row.fields.keys() - used

    def _store(self, session: Session, entries: list[_Entry]) -> tuple[int, int, list[tuple[_Entry, str]]]:
        """Rows stored, labels stored, and rows refused with the reason."""
        known = existing(session, Label.uuid, [uuid for entry in entries for uuid in entry.uuids])
        entries = [entry for entry in entries if self.kind == "pairs" or not known.issuperset(entry.uuids)]
        entries, refused = self._refuse_strangers(session, entries)
        now = time.time()
        prompts = [NewPrompt(entry.ballot.prompt, entry.ballot.source or self.source) for entry in entries]
        placed = place_prompts(session, prompts, self.section, self.groups, now=now)
        responses: dict[str, Callable[[], dict[str, Any]]] = {}
        for entry, prompt in zip(entries, placed.ids, strict=True):
            entry.prompt_id = prompt
            entry.responses = response_ids(prompt, entry.ballot.answers)
            for identity, answer in zip(entry.responses, entry.ballot.answers, strict=True):
                responses.setdefault(identity, partial(self._response, identity, entry, answer, now))
        _insert_new(session, Response, Response.id, responses)
        candidates = {}
        for entry in entries:
            candidate = self._candidate(entry)
            entry.pair_id = candidate.id
            candidates[entry.pair_id] = candidate
        new_pairs = add_pairs(session, candidates.values(), seed=self.round)
        if self.kind == "pairs":
            return len(new_pairs), 0, refused
        _insert_new(session, Annotator, Annotator.id, self._annotators(entries, now))
        labels = {uuid: make for entry in entries for uuid, make in self._labels(entry, now) if uuid not in known}
        return len(entries), len(_insert_new(session, Label, Label.uuid, labels)), refused

    def _refuse_strangers(
        self, session: Session, entries: list[_Entry]
    ) -> tuple[list[_Entry], list[tuple[_Entry, str]]]:
        """Votes in the name of somebody who labels here are not taken: nobody's record is written by a file."""
        names = {vote.annotator for entry in entries for vote in entry.ballot.votes}
        here = col(Annotator.id).in_(names) & (col(Annotator.kind) != "imported")
        taken = set(session.exec(select(Annotator.id).where(here)))
        kept, refused = [], []
        for entry in entries:
            own = sorted({vote.annotator for vote in entry.ballot.votes} & taken)
            if own:
                refused.append((entry, f"annotator: '{own[0]}' is an account of this workspace; rename it in the file"))
            else:
                kept.append(entry)
        return kept, refused

    def _response(self, identity: str, entry: _Entry, answer: Answer, now: float) -> dict[str, Any]:
        return {
            "id": identity,
            "prompt_id": entry.prompt_id,
            "text": answer.text,
            "model": answer.model,
            "sampling": {},
            "source": entry.ballot.source or self.source,
            "created_at": now,
        }

    def _candidate(self, entry: _Entry) -> CandidatePair:
        return CandidatePair(
            prompt_id=entry.prompt_id,
            responses=entry.responses,
            round=self.round,
            objective=entry.ballot.objective,
            strategy="imported",
            overlap=self.overlap,
            source=entry.ballot.source or self.source,
        )

    def _annotators(self, entries: list[_Entry], now: float) -> dict[str, Callable[[], dict[str, Any]]]:
        names = sorted({vote.annotator for entry in entries for vote in entry.ballot.votes})
        shared = {"role": "annotator", "kind": "imported", "active": True, "created_at": now}
        return {name: partial(dict[str, Any], id=name, **shared) for name in names}

    def _labels(self, entry: _Entry, now: float) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
        for identity, vote in zip(entry.uuids, entry.ballot.votes, strict=True):
            yield identity, partial(self._label, identity, entry, vote, now)

    def _label(self, identity: str, entry: _Entry, vote: Vote, now: float) -> dict[str, Any]:
        places = dict(enumerate(entry.responses))
        flags = (word if place is None else f"{word}@{places[place]}" for word, place in vote.flags)
        return {
            "uuid": identity,
            "pair_id": entry.pair_id,
            "annotator_id": vote.annotator,
            "ranking": [[places[place] for place in tied] for tied in vote.ranking],
            "strength": vote.strength,
            "both_bad": vote.both_bad,
            "criteria": {name: _by_id(places, value) for name, value in vote.criteria.items()},
            "rationale": vote.rationale,
            "edited": {places[place]: text for place, text in vote.edited.items()},
            "flags": list(flags),
            "active_ms": vote.active_ms,
            "order_shown": [places[place] for place in vote.shown],
            "guideline_id": vote.guideline,
            "retracted": False,
            "source": "import",
            "created_at": now if vote.submitted_at is None else vote.submitted_at,
        }


def _by_id(places: Mapping[int, str], value: Any) -> Any:
    """A criterion's value; one that says something of each answer by the responses' ids."""
    if isinstance(value, Mapping) and value and all(place in places for place in value):
        return {places[place]: said for place, said in value.items()}
    return value


def response_ids(prompt: str, answers: Iterable[Answer]) -> tuple[str, ...]:
    """Ids of the answers to a prompt, by text and model; a twin of an earlier one in the same set gets its own."""
    ids: list[str] = []
    for answer in answers:
        identity = digest([prompt, answer.text, answer.model])
        twin = 0
        while identity in ids:
            twin += 1
            identity = digest([prompt, answer.text, answer.model, twin])
        ids.append(identity)
    return tuple(ids)


def _ballots(
    rows: Iterable[Row], name: str, kind: Kind, keep_going: bool, media: Path | None, folder: Path | None
) -> Iterator[tuple[Row, Ballot | None]]:
    for row in gathered(rows):
        if not row.broken:
            try:
                ballot = parse(kind, row.fields)
                yield row, replace(ballot, prompt=take_images(ballot.prompt, media, folder))
                continue
            except BadInput as error:
                row = row._replace(broken=error.what)
        if not keep_going:
            raise BadInput(
                row.broken,
                where=f"{name}, line {row.line}",
                next="Nothing was imported. Mend the line, or keep the good ones with --keep-going",
            )
        yield row, None


def _insert_new(session: Session, table: Any, key: Any, rows: Mapping[str, Callable[[], dict[str, Any]]]) -> set[str]:
    """Make and insert the rows whose key is not there yet; returns their keys."""
    fresh = rows.keys() - existing(session, key, rows)
    if fresh:
        # Plain rows into the plain table: a model instance a row would cost ten times the insert.
        session.connection().execute(
            insert(table.__table__), [rows[identity]() for identity in rows if identity in fresh]
        )
    return fresh


def _open_round(ledger: Ledger) -> int:
    made = ledger.latest("snapshot")
    return 1 if made is None else made.round + 1
