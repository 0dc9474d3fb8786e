"""How commands show themselves: progress bars on standard error, tables or one JSON object on standard output."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from annotate.progress import Progress, silent

_COMMAND = re.compile(r"\btrueloop ([a-z]+)(?! --workspace)\b")


@contextmanager
def bars(quiet: bool) -> Iterator[Progress]:
    """Progress bars for long work, one a task; nothing when quiet or when nobody watches."""
    if quiet or not sys.stderr.isatty():
        yield silent if quiet else _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True)) as shown:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what, total=total)
            shown.update(tasks[what], completed=done, total=total)
            if done >= total:  # the next call of the same name is another stage's
                del tasks[what]

        yield report


def _lines() -> Progress:
    """One line a task when standard error is a file or a pipe."""
    begun: set[str] = set()

    def report(what: str, done: int, total: int) -> None:
        if what not in begun:
            begun.add(what)
            print(f"  {what} ({total})", file=sys.stderr, flush=True)
        if done >= total:
            begun.discard(what)

    return report


def say(text: str) -> None:
    """One line for people, on standard output."""
    print(printable(text))


def printable(text: str) -> str:
    """Text with control characters spelt out, so that no file's content can steer a terminal."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode("ascii") for char in text
    )


def runnable(text: str, workspace: Path | None = None) -> str:
    """Text whose `trueloop VERB` can be pasted as they stand: by the path of this program where it has one, and with
    the workspace that the caller named."""
    started = Path(sys.argv[0])
    program = sys.argv[0] if started.name == "trueloop" and shutil.which("trueloop") is None else "trueloop"
    where = "" if workspace is None else f" --workspace {shlex.quote(str(workspace))}"
    return _COMMAND.sub(lambda found: f"{program} {found[1]}{'' if found[1] in ('init', 'demo') else where}", text)


def show_json(value: Any) -> None:
    """One JSON object, and nothing else, on standard output."""
    print(_CONTROLS.sub(lambda found: f"\\u{ord(found.group()):04x}", json.dumps(value, ensure_ascii=False)))


_CONTROLS = re.compile("[\x7f-\x9f]")
"""Control characters that JSON leaves bare, and a terminal obeys."""


def show_table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table for people; cells are shown as plain text."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=printable(title) or None,
        title_justify="left",
        header_style="dim",
        box=None,
        pad_edge=False,
        padding=(0, 2),
    )
    for name in header:
        table.add_column(name)
    for row in rows:
        table.add_row(*(Text(printable(as_cell(cell))) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def as_cell(value: Any) -> str:
    """A value as a person reads it: three digits of a float, a dash for nothing."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(one, float) for one in value):
        return f"{value[0]:.3f} to {value[1]:.3f}"
    return str(value)
