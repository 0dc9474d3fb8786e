"""The workspace: one directory that holds a loop, and the lock that lets one process at a time advance it.

In it: workspace.json, recipe.yaml, labels.db (unless PostgreSQL is named) and artifacts/. Rows are ledger.py's.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from annotate.errors import BadInput, Locked, WorkspaceError

VERSION = 1
"""Layout of the directory; a workspace of a higher version is refused."""

MARKER = "workspace.json"
ENVIRONMENT = "TRUELOOP_WORKSPACE"


@dataclass(frozen=True)
class Workspace:
    """An existing workspace at an absolute path; `database` is a PostgreSQL URL, or None for the SQLite file in it."""

    path: Path
    database: str | None = None

    @classmethod
    def init(cls, path: Path, recipe_text: str, database_url: str | None = None) -> "Workspace":
        """Make a workspace in a new or empty directory.

        Raises WorkspaceError when something is there already, BadInput for a database URL of an unknown kind.
        """
        path = Path(path).absolute()
        if database_url is not None and not database_url.startswith("postgresql+psycopg://"):
            raise BadInput(
                "a workspace's database is its own SQLite file or a PostgreSQL URL",
                where=database_url.split("://")[0],
                next="Give --database postgresql+psycopg://USER@HOST/NAME, or leave it out",
            )
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise WorkspaceError(
                "there is something here already", where=str(path), next="Name a new directory: trueloop init DIR"
            )
        workspace = cls(path, database_url)
        workspace.artifacts.mkdir(parents=True)
        workspace.recipe_path.write_text(recipe_text, encoding="utf-8")
        marker = {"version": VERSION, "database": database_url, "created": datetime.now(UTC).isoformat()}
        # The marker comes last and whole: a directory without it is no workspace.
        temporary = path / f"{MARKER}.tmp"
        temporary.write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")
        temporary.chmod(0o600)  # a PostgreSQL URL may hold a password
        temporary.replace(path / MARKER)
        return workspace

    @classmethod
    def open(cls, path: Path) -> "Workspace":
        """The workspace at a path; raises WorkspaceError when there is none, or one of a newer version."""
        path = Path(path).absolute()
        try:
            marker = json.loads((path / MARKER).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise WorkspaceError("this is no workspace", where=str(path), next=f"Run: trueloop init {path}") from None
        except (OSError, ValueError, RecursionError) as error:
            raise WorkspaceError(f"its {MARKER} cannot be read ({error})", where=str(path)) from error
        version = marker.get("version") if isinstance(marker, dict) else None
        database = marker.get("database") if isinstance(marker, dict) else None
        if not isinstance(version, int) or not isinstance(database, str | None):
            raise WorkspaceError(f"its {MARKER} is damaged", where=str(path), next="Restore it from a backup")
        if version > VERSION:
            raise WorkspaceError(
                f"it is of version {version}, this Trueloop knows up to {VERSION}",
                where=str(path),
                next="Run: pip install --upgrade trueloop",
            )
        return cls(path, database)

    @classmethod
    def resolve(cls, path: Path | None = None) -> "Workspace":
        """The workspace at `path`, else the one TRUELOOP_WORKSPACE names, else the current directory."""
        return cls.open(path or Path(os.environ.get(ENVIRONMENT) or "."))

    @property
    def artifacts(self) -> Path:
        """Directory of the stages' artifacts, one directory each."""
        return self.path / "artifacts"

    @property
    def recipe_path(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def database_path(self) -> Path:
        """The ledger's SQLite file, unless `database` names a PostgreSQL server."""
        return self.path / "labels.db"

    @property
    def lock_path(self) -> Path:
        return self.path / "lock"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the workspace for writing artifacts; the kernel lets go when the process dies, however it dies.

        Raises Locked naming who holds it (process, host, since when).
        """
        import fcntl

        with self.lock_path.open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Locked(
                    f"{_holder(file)} is advancing this workspace",
                    where=str(self.path),
                    next="Wait for it to end, or stop it; then run the command again",
                ) from None
            file.truncate(0)
            file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}))
            file.flush()
            try:
                yield
            finally:
                file.truncate(0)


def _holder(file: Any) -> str:
    """Who wrote the lock file, in words; whoever has just taken the lock may not have written it yet."""
    for _ in range(20):
        file.seek(0)
        try:
            holder = json.loads(file.read())
            since = datetime.fromtimestamp(holder["since"]).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
            return f"process {holder['pid']} on {holder['host']}, since {since},"
        except (ValueError, KeyError, TypeError):
            time.sleep(0.01)
    return "another process"
