"""Rows of a file, one at a time, with the number of the line each stands on; broken rows are named, never guessed at.

Knows JSONL, JSON, CSV, Parquet and plain text, gzipped or not, and nothing about what the rows mean (formats.py does).
What an export wrote comes back as it was: its CSV and its Parquet say which kind of rows they hold (columns.py).
"""

import codecs
import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from annotate.columns import COLUMNS, MARK, from_cell, restored
from annotate.errors import BadInput, MissingExtra, NotFound, TrueloopError

TABLES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet")
TEXTS = (".txt", ".txt.gz")
MAX_LINE = 16 * 2**20
"""Bytes a line, or an object of a .json file, may have: a file without line ends must not fill the memory."""
MAX_DEPTH = 32
"""Levels a row may be nested: far more than any conversation needs, far fewer than the interpreter's stack."""


_Bytes = BinaryIO | gzip.GzipFile


class Row(NamedTuple):
    """One row of a file: its line (or row number), its fields, and why it cannot be used ('' when it can)."""

    line: int
    fields: dict[str, Any]
    broken: str = ""


@dataclass
class Report:
    """What an import did: every row read is stored, a duplicate, or rejected with its line and the reason."""

    read: int = 0
    stored: int = 0
    duplicates: int = 0
    rejected: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)

    def reject(self, line: int, why: str) -> None:
        self.rejected.append({"line": line, "why": why})

    def as_dict(self) -> dict[str, Any]:
        """The report as the command line prints it."""
        return {
            "read": self.read,
            "stored": self.stored,
            "duplicates": self.duplicates,
            "rejected": self.rejected,
            **self.counts,
        }


def suffix_of(path: Path) -> str:
    """The file's format by its name, such as '.jsonl.gz', in lower case."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return "".join(suffixes[-2:]) if suffixes[-1:] == [".gz"] else "".join(suffixes[-1:])


def read_rows(path: Path, allowed: tuple[str, ...] = TABLES) -> Iterator[Row]:
    """Yield the rows of one file; a plain text's lines come as {"text": line}.

    Raises NotFound when there is no such file and BadInput when it as a whole cannot be read (unknown suffix, not what
    its suffix says). A row that cannot be read is yielded with the reason; where the rest of the file is lost with it
    (a gzip cut short), the reason says so and the iteration ends.
    """
    suffix = suffix_of(path)
    if not path.exists():
        raise NotFound("there is no such file", where=str(path))
    if not path.is_file():
        raise BadInput("this is not a file", where=str(path))
    if suffix not in allowed:
        raise BadInput(
            f"the suffix '{suffix}' says no known format",
            where=str(path),
            next=f"Give a file named {', '.join(allowed)}",
        )
    try:
        if suffix == ".parquet":
            yield from _parquet_rows(path)
        else:
            with _open(path, suffix) as file:
                kind = suffix.removesuffix(".gz")
                yield from _READERS[kind](file, path)
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror or error})", where=str(path)) from error


def parse_json(text: str) -> Any:
    """Parse strict JSON: no NaN, no infinite number, no key twice, no deep nesting.

    Raises ValueError saying what is wrong.
    """
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(value)
    return value


def text_problem(value: Any) -> str:
    """Why some text inside `value` cannot be stored, '' when all can: no database holds lone surrogates and NUL."""
    if isinstance(value, str):
        if "\x00" in value:
            return "broken encoding: a NUL character"
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                return f"broken encoding: lone surrogate U+{ord(value[error.start]):04X}"
        return ""
    if isinstance(value, dict):
        return next((why for item in value.items() for part in item if (why := text_problem(part))), "")
    if isinstance(value, list | tuple):
        return next((why for part in value if (why := text_problem(part))), "")
    return ""


def _row(line: int, value: Any) -> Row:
    if not isinstance(value, dict):
        return Row(line, {}, f"expected an object {{...}}, found {_kind(value)}")
    return Row(line, value, text_problem(value))


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true/false", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _open(path: Path, suffix: str) -> _Bytes:
    with path.open("rb") as file:
        head = file.read(4)
    zipped = head.startswith(b"\x1f\x8b")
    if zipped != suffix.endswith(".gz") and head:
        raise BadInput(
            "this file is gzipped" if zipped else "this file is not gzipped",
            where=str(path),
            next="Rename it so that its suffix says what it is",
        )
    if head.startswith(b"PAR1"):
        raise BadInput("this file is Parquet", where=str(path), next="Rename it to .parquet")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadInput("this file is UTF-16", where=str(path), next="Save it as UTF-8")
    return gzip.GzipFile(path) if zipped else path.open("rb")


class _Line(NamedTuple):
    number: int
    text: str
    broken: str
    fatal: bool


def _lines(file: _Bytes) -> Iterator[_Line]:
    """Lines as ended by a line feed alone: U+2028 and its like are text."""
    number = 0
    while True:
        number += 1
        try:
            raw = file.readline(MAX_LINE + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            yield _Line(number, "", f"the gzip is damaged or cut off here, the rest is lost ({error})", True)
            return
        if not raw:
            return
        if len(raw) > MAX_LINE:
            yield _Line(number, "", f"a line of more than {MAX_LINE // 2**20} MiB, the rest is not read", True)
            return
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            yield _Line(number, "", f"broken encoding: byte {error.start + 1} of the line is not UTF-8", False)
            continue
        yield _Line(number, text, "", False)


def _jsonl_rows(file: _Bytes, path: Path) -> Iterator[Row]:
    for line in _lines(file):
        if line.broken:
            yield Row(line.number, {}, line.broken)
            continue
        if not line.text.strip():
            continue
        try:
            value = parse_json(line.text.rstrip("\r\n"))  # a line cut off inside a string ends there, not at the feed
        except ValueError as error:
            why = str(error)
            if isinstance(error, json.JSONDecodeError):
                why = f"{error.msg.removesuffix(' at')}, column {error.colno}"
            yield Row(line.number, {}, f"broken JSON: {why}")
            continue
        yield _row(line.number, value)


def _json_rows(file: _Bytes, path: Path) -> Iterator[Row]:
    """The objects of a list, parsed one at a time; or JSONL under another name."""
    text = _Window(file)
    try:
        listed = text.skip("[")
        more = bool(text.peek()) and not (listed and text.skip("]"))
        while more:
            text.peek()
            line = text.line
            yield _row(line, text.value())
            more = text.skip(",") if listed else bool(text.peek())
            if listed and not more and not text.skip("]"):
                raise ValueError("expected ',' or ']' after an object")
        if text.peek():
            raise ValueError("something stands after the list")
    except ValueError as error:
        why = f"broken JSON: {error.msg}" if isinstance(error, json.JSONDecodeError) else str(error)
        yield Row(text.line, {}, f"{why}, the rest is not read")


class _Window:
    """The text of a file of JSON values, of which no more is held than the value that is being read."""

    def __init__(self, file: _Bytes) -> None:
        self.file, self.line = file, 1
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at, self._ended = "", 0, False

    def peek(self) -> str:
        """The next character that is no white space, '' at the end; raises ValueError for what cannot be read."""
        while True:
            while self._at < len(self._text):
                if (char := self._text[self._at]) not in " \t\r\n":
                    return char
                self.line += char == "\n"
                self._at += 1
            if not self._more(2**16):
                return ""

    def skip(self, char: str) -> bool:
        """Whether that character is next, which is then left behind."""
        found = self.peek() == char
        self._at += len(char) if found else 0
        return found

    def value(self) -> Any:
        """Parse the value that starts here. Raises ValueError saying what is wrong."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except RecursionError:
                raise ValueError("nested too deeply") from None
            except json.JSONDecodeError:
                held = len(self._text) - self._at
                if held > MAX_LINE:
                    raise ValueError(f"an object of more than {MAX_LINE // 2**20} MiB, or broken JSON") from None
                if not self._more(max(2**16, held)):  # it may only be cut off: twice as much, then again
                    raise
                continue
            if end < len(self._text) or self._ended:
                break
            self._more(2**16)  # a number's end is known by what follows it
        if self._text.count("[", self._at, end) + self._text.count("{", self._at, end) > MAX_DEPTH:
            _check_depth(value)
        self.line += self._text.count("\n", self._at, end)
        self._at = end
        return value

    def _more(self, size: int) -> bool:
        if self._ended:
            return False
        try:
            data = self.file.read(size)
            self._ended = not data
            self._text = self._text[self._at :] + self._decoder.decode(data, final=self._ended)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self._ended = True
            raise ValueError(f"the gzip is damaged or cut off here ({error})") from error
        except UnicodeDecodeError as error:
            self._ended = True
            raise ValueError("broken encoding: a byte that is not UTF-8") from error
        self._at = 0
        return not self._ended


def _text_rows(file: _Bytes, path: Path) -> Iterator[Row]:
    for line in _lines(file):
        fields = {"text": line.text.rstrip("\r\n")}
        yield Row(line.number, {}, line.broken) if line.broken else _row(line.number, fields)


def _csv_rows(file: _Bytes, path: Path) -> Iterator[Row]:
    broken: list[_Line] = []

    def good() -> Iterator[str]:
        for line in _lines(file):
            if line.broken:
                broken.append(line)
                if line.fatal:
                    return
            yield line.text

    csv.field_size_limit(MAX_LINE)  # the module's own limit, 128 KiB, is shorter than some responses
    reader = csv.reader(good(), strict=True)
    try:
        header = next(reader, None)
    except csv.Error as error:
        raise BadInput(f"the header cannot be read ({error})", where=f"{path}, line 1") from error
    if not header or broken:
        raise BadInput(
            broken[0].broken if broken else "the file is empty",
            where=f"{path}, line 1",
            next="Give a first line with the columns' names",
        )
    if len(set(header)) < len(header):
        raise BadInput("a column's name appears twice in the header", where=f"{path}, line 1")
    own = header[-1].startswith(MARK)
    kinds = COLUMNS.get(header[-1].removeprefix(MARK), {}) if own else {}
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Row(line, {}, f"broken CSV: {error}")
            continue
        if broken:
            yield Row(broken[0].number, {}, broken[0].broken)
            if broken[0].fatal:
                return
            broken.clear()
        elif cells is None:
            return
        elif not cells and len(header) == 1:
            yield _row(line, {header[0]: ""})  # of a single column an empty line is an empty cell
        elif cells and len(cells) != len(header):
            yield Row(line, {}, f"broken CSV: {len(cells)} cells, the header has {len(header)}")
        elif own:
            named = list(zip(header, cells, strict=True))[:-1]
            yield _row(line, {name: from_cell(kinds.get(name, "text"), cell, parse_json) for name, cell in named})
        elif cells:
            yield _row(line, {name: _cell(name, cell) for name, cell in zip(header, cells, strict=True)})


def _cell(column: str, cell: str) -> Any:
    """A CSV cell as its column means it: conversations and lists of responses are written as JSON, the rest is text."""
    if not (cell.startswith("[") and cell.rstrip().endswith("]")):
        return cell
    try:
        value = parse_json(cell)
    except ValueError:
        return cell
    is_conversation = bool(value) and all(isinstance(turn, dict) and "role" in turn for turn in value)
    return value if is_conversation or column in _LISTS else cell


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("pyarrow", "train") from None
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            own = (file.schema_arrow.metadata or {}).get(MARK.encode(), b"").decode(errors="replace")
            kinds = COLUMNS.get(own, {})
            for batch in file.iter_batches(batch_size=1000):
                for fields in batch.to_pylist():
                    number += 1
                    yield _own_row(number, kinds, fields) if kinds else _row(number, fields)
    except TrueloopError:
        raise
    except (arrow.ArrowException, ValueError, OSError) as error:  # OverflowError and UnicodeDecodeError are ValueErrors
        why = f"this Parquet file is damaged ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        if number == 0:
            raise BadInput(why, where=str(path)) from error
        yield Row(number + 1, {}, f"{why}, the rest is lost")


def _own_row(number: int, kinds: dict[str, str], fields: dict[str, Any]) -> Row:
    try:
        return _row(number, restored(kinds, fields, parse_json))
    except ValueError as error:
        return Row(number, {}, f"broken JSON: {error}")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number too large to hold")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a key appears twice in one object")
    return fields


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [part for item in level for part in _parts(item)]
        if not level:
            return
    raise ValueError("nested too deeply")


def _parts(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique_keys)
_LISTS = ("responses", "models", "generations", "model_names", "ranking", "ratings", "order_shown")
_READERS = {".jsonl": _jsonl_rows, ".json": _json_rows, ".csv": _csv_rows, ".txt": _text_rows}
