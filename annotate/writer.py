"""The one writer of a SQLite ledger: closures from all threads, in order of arrival, committed together.

SQLite's own busy handler lets waiting threads starve for seconds; a queue in front of one connection does not. What
the closures do is the callers' business; several processes still take turns by SQLite's lock.
"""

import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from annotate.errors import NotStored

log = logging.getLogger(__name__)
T = TypeVar("T")

GROUP = 256
"""Most closures in one commit."""
PATIENCE_SECONDS = 300
"""How long another process's write is waited for before callers are told."""
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk reports an I/O error",
    sqlite3.SQLITE_READONLY: "the database cannot be written to",
    sqlite3.SQLITE_CORRUPT: "the database file is damaged",
    sqlite3.SQLITE_BUSY: "another process has been writing for minutes",
    sqlite3.SQLITE_CANTOPEN: "the database cannot be opened",
}


@dataclass
class _Job:
    run: Callable[[Session], Any]
    durable: bool
    done: "Future[Any]" = field(default_factory=Future)


class Writer:
    """A thread that owns the writing connection of a SQLite database."""

    def __init__(self, engine: Engine, *, durable: bool, where: str) -> None:
        """durable: whether a durable write waits for the disk (synchronous=FULL) before it returns."""
        self._engine, self._durable, self._where = engine, durable, where
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="trueloop-writer", daemon=True)
        self._thread.start()

    def write(self, run: Callable[[Session], T], *, durable: bool) -> T:
        """Run a closure in the next transaction and return its result once that is committed.

        durable: False lets the commit reach the disk with the next durable one; a power loss may then take it back,
        never half of it. Raises what the closure raised, its own changes undone; NotStored when the commit failed.
        """
        assert threading.current_thread() is not self._thread, "a write inside a write would wait for itself"
        job = _Job(run, durable)
        with self._closing:  # nothing may queue up behind the end mark, where nobody would answer it
            assert not self._closed, "this ledger is closed"
            self._jobs.put(job)
        return job.done.result()

    def close(self) -> None:
        """Write what is queued, then end the thread."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()

    def _serve(self) -> None:
        level = ""
        connection: Connection | None = None
        while group := self._next_group():
            wanted = "FULL" if self._durable and any(job.durable for job in group) else "NORMAL"
            try:
                if connection is None:
                    connection, level = self._engine.connect().execution_options(immediate=True), ""
                if wanted != level:
                    _driver(connection).execute(f"PRAGMA synchronous={wanted}")
                    level = wanted
                self._commit(connection, group)
            except BaseException as error:  # whatever happens here, every caller must hear of it
                problem = self._explained(error)
                if not isinstance(problem, NotStored):
                    problem = NotStored("the write failed; nothing of this was stored", where=self._where)
                    problem.__cause__ = error
                for job in group:
                    if not job.done.done():
                        job.done.set_exception(problem)
                if connection is not None:
                    with contextlib.suppress(Exception):
                        connection.invalidate()
                    connection.close()
                    connection = None
        if connection is not None:
            connection.close()

    def _next_group(self) -> list[_Job]:
        """The jobs waiting now, at least one; empty at the end. Later ones wait for the next commit."""
        group: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            group.append(job)
            if len(group) == GROUP:
                return group
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return group
        if group:
            self._jobs.put(None)  # the end mark was met after work: it ends the next turn
        return group

    def _commit(self, connection: Connection, group: list[_Job]) -> None:
        results: list[tuple[_Job, Any]] = []
        self._begin(connection)
        driver = _driver(connection)
        for job in group:
            if not driver.in_transaction:  # those before it failed, and nothing is kept yet
                self._begin(connection)
            # The first needs no savepoint: when it fails, the transaction has nothing else to keep.
            savepoint = connection.begin_nested() if results else None
            try:
                with Session(connection, join_transaction_mode="rollback_only") as session:
                    result = job.run(session)
                    session.flush()
            except BaseException as error:
                if results and not driver.in_transaction:  # SQLite gave everything up: the disk is full or broken
                    raise
                if savepoint is None:
                    connection.rollback()
                elif savepoint.is_active:
                    savepoint.rollback()
                job.done.set_exception(self._explained(error))
            else:
                if savepoint is not None:
                    savepoint.commit()
                results.append((job, result))
        if results:
            connection.commit()
        for job, result in results:
            job.done.set_result(result)

    def _begin(self, connection: Connection) -> None:
        """BEGIN IMMEDIATE, waiting for another process as long as patience lasts."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                connection.begin()
                return
            except (DBAPIError, sqlite3.Error) as error:
                with contextlib.suppress(Exception):
                    connection.rollback()
                if not _BUSY & set(_codes(error)) or time.monotonic() > until:
                    raise
                log.warning("another process is writing: still waiting")

    def _explained(self, error: BaseException) -> BaseException:
        """A failure of the disk or the file in words; anything else as it is."""
        reason = next((_REASONS[code] for code in _codes(error) if code in _REASONS), None)
        if reason is None:
            return error
        problem = NotStored(f"{reason}; nothing of this was stored", where=self._where, next="Mend that and try again")
        problem.__cause__ = error
        return problem


def _driver(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection), "only SQLite needs a writer"
    return driver


def _codes(error: BaseException | None) -> Iterator[int]:
    """SQLite's primary result codes behind an error and behind those it came from, which a failed rollback hides."""
    while error is not None:
        code = getattr(error, "sqlite_errorcode", None)
        if isinstance(code, int):
            yield code & 0xFF
        error = error.__cause__ or error.__context__
