"""Exported rows as bytes: JSONL, CSV or Parquet, a block at a time, so that memory stays the same.

What the rows are is exports.py's business, what their columns mean columns.py's; readers.py reads all of it back.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Literal

from annotate.columns import COLUMNS, MARK, as_cell, flattened
from annotate.errors import MissingExtra

Format = Literal["jsonl", "csv", "parquet"]
BLOCK = 1000
"""Rows that are held in memory; a Parquet file's row group."""
MEDIA = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
Row = dict[str, Any]


def encoded(what: str, format: Format, rows: Iterable[Row], *, parts: bool = False) -> Iterator[bytes]:
    """Yield the bytes of a file of `what` rows.

    parts: whether some turn's content is a list of typed parts, for which a Parquet file needs a column of its own.
    Raises MissingExtra for Parquet without pyarrow.
    """
    if format == "parquet":
        return _parquet(what, rows, parts)
    return _csv(what, rows) if format == "csv" else _jsonl(rows)


def json_line(row: Row) -> str:
    """A row as a line of JSONL, keys sorted."""
    return _ENCODE(row) + "\n"


def _jsonl(rows: Iterable[Row]) -> Iterator[bytes]:
    for block in _blocks(rows):
        yield "".join(map(json_line, block)).encode()


def _csv(what: str, rows: Iterable[Row]) -> Iterator[bytes]:
    columns = COLUMNS[what]
    names = sorted(columns)
    held = io.StringIO(newline="")
    # Every cell is quoted: left bare, a lone carriage return would end its row.
    writer = csv.writer(held, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow([*names, MARK + what])
    for block in _blocks(rows):
        writer.writerows([*(as_cell(columns[name], row[name]) for name in names), ""] for row in block)
        yield held.getvalue().encode()
        held.seek(0)
        held.truncate()
    yield held.getvalue().encode()  # the header, when there was no row


def _parquet(what: str, rows: Iterable[Row], parts: bool) -> Iterator[bytes]:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("pyarrow", "train") from None
    columns = COLUMNS[what]
    schema = arrow.schema(
        [arrow.field(name, _arrow(arrow, columns[name], parts)) for name in sorted(columns)], metadata={MARK: what}
    )
    held = _Held()
    with parquet.ParquetWriter(held, schema, compression="zstd") as writer:
        for block in _blocks(rows):
            flat = [flattened(columns, row) for row in block]
            writer.write_table(arrow.Table.from_pylist(flat, schema))
            yield held.taken()
    yield held.taken()


def _arrow(arrow: Any, kind: str, parts: bool) -> Any:
    text = arrow.string()
    turn = [("role", text), ("content", text)] + ([("parts", text)] if parts else [])
    return {
        "text": text,
        "object": text,
        "whole": arrow.int64(),
        "number": arrow.float64(),
        "flag": arrow.bool_(),
        "texts": arrow.list_(text),
        "tiers": arrow.list_(arrow.list_(text)),
        "turns": arrow.list_(arrow.struct(turn)),
        "ratings": arrow.list_(arrow.struct([("name", text), ("mean", arrow.float64()), ("votes", arrow.int64())])),
        "answers": arrow.list_(arrow.struct([("id", text), ("text", text), ("model", text)])),
    }[kind.rstrip("?")]


class _Held:
    """A file that is only written: holds what the writer wrote until somebody takes it."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._length += len(self._parts[-1])
        return len(self._parts[-1])

    def tell(self) -> int:
        return self._length

    def flush(self) -> None:
        """Everything stands where it stands."""

    def close(self) -> None:
        self.closed = True

    def taken(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def _blocks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    source = iter(rows)
    while block := list(islice(source, BLOCK)):
        yield block


_ENCODE = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode
