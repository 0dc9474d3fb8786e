"""Prompts: read from files or `datasets`, cleaned, deduplicated, and split by near-duplicate group, fixed for good.

Cleaning never changes a prompt and never drops one silently: what is refused stands in the report with its line.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import func
from sqlmodel import Session, col, insert, select

from annotate.columns import columns_of, restored
from annotate.errors import BadInput, MissingExtra, NotFound
from annotate.formats import USED, parse_prompt
from annotate.groups import Groups, jaccard, root_text, shingles
from annotate.ledger import Ledger
from annotate.media import take_images
from annotate.messages import Messages, as_messages, flat_text, normalised, prompt_id, to_dicts
from annotate.progress import Progress, silent
from annotate.readers import TABLES, TEXTS, Report, Row, parse_json, read_rows, text_problem
from annotate.tables import Prompt

SPLITS = ("train", "validation", "test")
BATCH = 1000
T = TypeVar("T")


class PromptsSection(BaseModel):
    """Which prompts are taken, and how they are cleaned, grouped and split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(default=2880, ge=1)
    """How many prompts to take from the world; files are taken whole."""
    split: tuple[float, float, float] = (0.70, 0.15, 0.15)
    """Shares of train, validation and test; a group keeps the split it once got."""
    near: float = Field(default=0.85, gt=0, le=1)
    """Jaccard index of character 5-grams from which two prompts share a group."""
    near_duplicates: Literal["keep", "drop"] = "keep"
    """Whether a near-duplicate of a prompt that is there already is stored too."""
    max_chars: int = Field(default=20_000, ge=1)
    """Characters a prompt from a file may have, all turns together."""
    html: Literal["reject", "keep"] = "reject"
    """Whether prompts from a file with tags or entities left over from a web page are taken."""

    @model_validator(mode="after")
    def _shares(self) -> "PromptsSection":
        if min(self.split) < 0 or abs(sum(self.split) - 1) > 1e-9:
            raise ValueError("split: three shares of at least 0 that add up to 1")
        return self


@dataclass(frozen=True)
class NewPrompt:
    """A prompt about to be stored; `family` is the kind of task, where it is known."""

    messages: Messages
    source: str = ""
    family: str = ""


@dataclass
class Placed:
    """Where prompts went: their ids in the order given ('' for one that was dropped), and how many were new."""

    ids: list[str]
    stored: int = 0
    duplicates: int = 0
    near_duplicates: int = 0


def import_prompts(
    ledger: Ledger,
    source: str | Path,
    section: PromptsSection | None = None,
    *,
    strict: bool = True,
    dataset_split: str = "train",
    progress: Progress = silent,
) -> Report:
    """Store the prompts of a file (.jsonl, .csv, .parquet, .txt; gzipped or not) or of a `datasets` name or folder.

    Rows: see formats.parse_prompt. A row that cannot be understood (broken JSON, no prompt) stops everything before
    anything is stored, unless `strict` is off: then it is listed in the report like the prompts that the cleaning
    refuses. dataset_split: of a `datasets` source, which split to read.
    Raises BadInput naming the line; NotFound when there is no such file; MissingExtra without `datasets` or pyarrow.
    """
    section = section or PromptsSection()
    rows, name = rows_of(source, TABLES + TEXTS, dataset_split)
    images = ledger.media, folder_of(source)
    read = sum(1 for _ in _checked(rows(), name, strict, *images))  # all of it before the first row is stored
    report = Report(counts={"near_duplicates": 0})
    unused: set[str] = set()
    groups = Groups(section.near)
    for batch in batches(_checked(rows(), name, strict, *images), BATCH):
        fresh: list[NewPrompt] = []
        for row, messages in batch:
            report.read += 1
            unused |= row.fields.keys() - USED["prompts"]
            why = row.broken or problem(messages, section)
            if why:
                report.reject(row.line, why)
                continue
            origin, family = row.fields.get("source"), row.fields.get("family")
            fresh.append(NewPrompt(messages, str(origin or name), str(family or "")))
        _count(report, ledger.write(_placing(fresh, section, groups)))
        progress("prompts", report.read, read)
    report.counts["ignored_columns"] = sorted(unused)
    return report


def add_prompts(
    ledger: Ledger,
    items: Iterable[tuple[Messages, str]],
    section: PromptsSection | None = None,
    *,
    source: str,
    progress: Progress = silent,
) -> Report:
    """Store (messages, family) pairs that need no cleaning, such as a world's prompts."""
    section = section or PromptsSection()
    fresh = [NewPrompt(messages, source, family) for messages, family in items]
    report = Report(counts={"near_duplicates": 0})
    groups = Groups(section.near)
    for batch in batches(fresh, BATCH):
        report.read += len(batch)
        _count(report, ledger.write(_placing(batch, section, groups)))
        progress("prompts", report.read, len(fresh))
    return report


def place_prompts(
    session: Session, items: Sequence[NewPrompt], section: PromptsSection, groups: Groups, *, now: float | None = None
) -> Placed:
    """Insert the prompts that are not there yet, each in its group's split; the building block of every import.

    groups: may be shared by the batches of one import, so that the leaders are read once.
    """
    ids = [prompt_id(item.messages) for item in items]
    known = existing(session, Prompt.id, ids)
    placed = Placed(ids)
    fresh: dict[str, NewPrompt] = {}
    for identity, item in zip(ids, items, strict=True):
        if identity in known or identity in fresh:
            placed.duplicates += 1
        else:
            fresh[identity] = item
    if not fresh:
        return placed
    leaders = _load_leaders(session, groups)
    rows, dropped = [], set()
    for identity, item in fresh.items():
        root = root_text(item.messages)
        group, likeness = groups.place(identity, root)
        near = likeness > 0 and _is_near(item.messages, leaders[group].messages, section.near)
        placed.near_duplicates += near
        if near and section.near_duplicates == "drop":
            dropped.add(identity)
            continue
        prompt = Prompt(
            id=identity,
            messages=to_dicts(item.messages),
            text=flat_text(item.messages),
            source=item.source,
            family=item.family,
            group=leaders[group].group if likeness > 0 else identity,
            split=leaders[group].split if likeness > 0 else split_of(identity, section.split),
            created_at=time.time() if now is None else now,
        )
        leaders.setdefault(identity, prompt)
        rows.append(prompt.model_dump())
    if rows:
        session.execute(insert(Prompt), rows)
    placed.stored = len(rows)
    placed.ids = ["" if identity in dropped else identity for identity in ids]
    return placed


def all_prompts(session: Session) -> Iterator[Prompt]:
    """Every prompt, by id, so that a frozen list of them is the same wherever it was made."""
    yield from session.exec(select(Prompt).order_by(col(Prompt.id))).yield_per(BATCH)


def count_prompts(session: Session) -> dict[str, int]:
    """How many prompts there are, in all, by split, and in how many near-duplicate groups."""
    query = select(Prompt.split, func.count()).group_by(Prompt.split)
    by_split: dict[str, int] = dict(session.exec(query).all())
    groups = session.exec(select(func.count(func.distinct(Prompt.group)))).one()
    return {"prompts": sum(by_split.values()), **{name: by_split.get(name, 0) for name in SPLITS}, "groups": groups}


def split_of(group: str, shares: tuple[float, float, float]) -> str:
    """The split of a group, by its hash alone: no count, no order and no seed can move it later."""
    point = int.from_bytes(hashlib.sha256(f"split:{group}".encode()).digest()[:8], "big") / 2**64
    return SPLITS[0] if point < shares[0] else SPLITS[1] if point < shares[0] + shares[1] else SPLITS[2]


def problem(messages: Messages, section: PromptsSection) -> str:
    """Why the cleaning refuses a prompt, '' when it does not."""
    text = flat_text(messages)
    if not text.strip() and all(isinstance(turn.content, str) for turn in messages):
        return "empty"
    if len(text) > section.max_chars:
        return f"too long: {len(text)} characters, at most {section.max_chars} are allowed"
    if why := _encoding_problem(text):
        return f"broken encoding: {why}"
    if section.html == "reject" and (found := _html_remains(_CODE.sub("", text))):
        return f"HTML remains: {found[:20]}"
    return ""


def existing(session: Session, column: Any, values: Iterable[str]) -> set[str]:
    """Those of `values` that stand in a column already."""
    return {found for part in batches(list(dict.fromkeys(values)), 5000) for found in _present(session, column, part)}


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of up to `size` items, in order."""
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch


# Tags that web pages leave behind, opened and closed or alone, and entities; a lone <mask> or a < b is none of these.
_TAG = re.compile(
    r"<(/?)(p|div|span|a|ul|ol|li|b|i|u|em|strong|font|table|tr|td|th|h[1-6]|blockquote|center|section|article|"
    r"script|style)(?:\s[^<>]*)?>",
    re.IGNORECASE,
)
_LEFTOVER = re.compile(
    r"<(?:br|hr|img)(?:\s[^<>]*)?/?>|&(?:nbsp|amp|lt|gt|quot|apos|#\d{2,6}|#x[0-9a-f]{2,6});", re.IGNORECASE
)
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def splits_of(session: Session, prompts: Iterable[Messages], section: PromptsSection) -> list[str]:
    """The split of each prompt, or the one its group would have if it came in now; nothing is stored."""
    groups = Groups(section.near)
    _load_leaders(session, groups)
    of_prompt: dict[str, str] = dict(session.exec(select(Prompt.id, Prompt.split)).all())
    found = []
    for messages in prompts:
        identity = prompt_id(messages)
        if identity not in of_prompt:
            group, _ = groups.place(identity, root_text(messages))
            of_prompt[identity] = of_prompt.get(group) or split_of(group, section.split)
        found.append(of_prompt[identity])
    return found


def _count(report: Report, placed: Placed) -> None:
    """Add what became of a batch of prompts to an import's report."""
    report.stored += placed.stored
    report.duplicates += placed.duplicates
    report.counts["near_duplicates"] += placed.near_duplicates
    dropped = placed.ids.count("")
    if dropped:
        report.counts["near_duplicates_dropped"] = report.counts.get("near_duplicates_dropped", 0) + dropped


def _placing(items: Sequence[NewPrompt], section: PromptsSection, groups: Groups) -> Callable[[Session], Placed]:
    return lambda session: place_prompts(session, items, section, groups)


def _encoding_problem(text: str) -> str:
    if "\ufffd" in text:
        return "a replacement character U+FFFD"
    if found := _CONTROL.search(text):
        return f"a control character U+{ord(found.group()):04X}"
    if why := text_problem(text):
        return why.removeprefix("broken encoding: ")
    if not text.isascii():
        try:
            mended = text.encode("cp1252").decode("utf-8")
        except UnicodeError:
            return ""
        if mended != text:
            return "UTF-8 that was read as Windows-1252"
    return ""


def _html_remains(text: str) -> str:
    """The first leftover of a web page: an entity, a line break, or a tag that is both opened and closed."""
    if found := _LEFTOVER.search(text):
        return found.group()
    tags = [(slash, name.lower()) for slash, name in _TAG.findall(text)]
    closed = {name for slash, name in tags if slash}
    return next((f"<{name}>" for slash, name in tags if not slash and name in closed), "")


def _is_near(messages: Messages, leader: list[dict[str, Any]], threshold: float) -> bool:
    """Whether the whole conversations are near-duplicates, not only their roots."""
    texts = [normalised(flat_text(turns)) for turns in (messages, as_messages(leader))]
    return jaccard(shingles(texts[0]), shingles(texts[1])) >= threshold


class _Leaders(dict[str, Prompt]):
    """Leaders of groups by id, read when they are first needed."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session

    def __missing__(self, group: str) -> Prompt:
        found = self.session.get(Prompt, group)
        assert found is not None, f"group {group} has no leader"
        self[group] = found
        return found


def _load_leaders(session: Session, groups: Groups) -> _Leaders:
    """Teach `groups` the leaders that it does not know yet, its own or another import's."""
    query = (
        select(Prompt.id).where(col(Prompt.id) == col(Prompt.group)).order_by(col(Prompt.created_at), col(Prompt.id))
    )
    unknown = [identity for identity in session.exec(query) if identity not in groups]
    for part in batches(unknown, BATCH):
        messages = dict(session.exec(select(Prompt.id, Prompt.messages).where(col(Prompt.id).in_(part))).all())
        for identity in part:
            groups.lead(identity, root_text(as_messages(messages[identity])))
    return _Leaders(session)


def _present(session: Session, column: Any, values: Sequence[str]) -> Iterable[str]:
    return session.exec(select(column).where(col(column).in_(values))).all()


def _checked(
    rows: Iterable[Row], name: str, strict: bool, media: Path | None, folder: Path | None
) -> Iterator[tuple[Row, Messages]]:
    """Rows with their prompts, images stored; one that cannot be understood raises, or carries why when not strict."""
    for row in rows:
        why = row.broken
        messages: Messages = ()
        if not why:
            try:
                messages = take_images(parse_prompt(row.fields), media, folder)
            except BadInput as error:
                why = "empty" if error.what.endswith(": empty") else error.what
        if why and strict and not why.startswith(("empty", "broken encoding")):  # those are the cleaning's business
            raise BadInput(
                why,
                where=f"{name}, line {row.line}",
                next="Nothing was imported. Mend the line, or keep the good ones with --keep-going",
            )
        yield (row._replace(broken=why) if why else row), messages


def folder_of(source: str | Path) -> Path | None:
    """The folder that a file's images lie in; None for a data set that is no file."""
    return Path(source).absolute().parent if Path(source).is_file() else None


def rows_of(
    source: str | Path, allowed: tuple[str, ...], split: str | None = None
) -> tuple[Callable[[], Iterator[Row]], str]:
    """A function that starts reading a file or a `datasets` name or folder from the top, and its name in messages.

    split: of a `datasets` source, which split to read; None for all, one after the other.
    """
    path = Path(source)
    if path.is_file() or path.suffix.lower() in (".jsonl", ".json", ".csv", ".parquet", ".txt", ".gz"):
        return (lambda: read_rows(path, allowed)), path.name
    data = _dataset(path, str(source), split)
    return (lambda: (_dataset_row(number, fields) for number, fields in enumerate(chain(*data), 1))), str(source)


def _dataset_row(number: int, fields: dict[str, Any]) -> Row:
    try:
        fields = restored(columns_of(fields), fields, parse_json)
    except ValueError as error:
        return Row(number, {}, f"broken JSON: {error}")
    return Row(number, fields, text_problem(fields))


def _dataset(path: Path, name: str, split: str | None) -> list[Any]:
    """The splits that are asked for."""
    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", "train") from None
    saved = (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()
    if not path.exists() and name.startswith((".", "/", "~")):
        raise NotFound("there is no such file or folder", where=name)
    try:
        data = datasets.load_from_disk(name) if saved else datasets.load_dataset(name)
    except Exception as error:  # the library raises its own, OSError, ValueError and what its servers answer
        raise BadInput(
            f"`datasets` cannot load this ({str(error).splitlines()[0] if str(error) else type(error).__name__})",
            where=name,
            next="Give a file, a folder saved by datasets, or the name of a data set that is in reach",
        ) from error
    if not isinstance(data, dict):
        return [data]
    if split is None:
        return list(data.values())
    if split not in data:
        raise NotFound(f"there is no split '{split}', only {', '.join(data)}", where=name)
    return [data[split]]
