"""The ledger: one database of append-only facts, read by many at once, written in order and durably.

Opening brings the schema up to date. What the rows mean is said in tables.py; labelling logic is queue.py's.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, OperationalError
from sqlmodel import Session, col, select

from annotate import lineage, migrations
from annotate.audit import audit, verify_audit
from annotate.errors import BadInput, MissingExtra, NotStored, WorkspaceError
from annotate.lineage import LabelLineage
from annotate.tables import APPEND_ONLY, Artifact, ArtifactParent, Promotion, Response
from annotate.workspace import Workspace
from annotate.writer import Writer

__all__ = ["LabelLineage", "Ledger", "audit", "verify_audit"]

log = logging.getLogger(__name__)
T = TypeVar("T")

BUSY_SECONDS = 30
_RETRIED = {"40001", "40P01", "23505"}
"""PostgreSQL's codes for a lost race: serialization failure, deadlock, unique violation by a concurrent insert."""
_ATTEMPTS = 8


class Ledger:
    """The database of a workspace; close it, or use it as a context manager.

    media: the folder of the prompts' images; None for a server's database without a workspace.
    """

    def __init__(self, workspace: Workspace, *, durable: bool = True) -> None:
        """Open a workspace's database and bring its schema up to date.

        durable: whether a write waits for the disk; False risks the last labels in a power loss, not in a crash.
        Raises WorkspaceError when a newer Trueloop wrote the database or it cannot be opened.
        """
        # not by a URL: a "?" in the directory's name would end it
        self.media: Path | None = workspace.path / "media"
        file = URL.create("sqlite", database=str(workspace.database_path))
        self._open(make_url(workspace.database) if workspace.database else file, durable)

    @classmethod
    def open(cls, url: str, *, durable: bool = True) -> "Ledger":
        """The ledger at a database URL, without a workspace around it."""
        ledger = cls.__new__(cls)
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise BadInput("this is no database URL", next="Give sqlite:///PATH or postgresql+psycopg://...") from error
        beside = parsed.drivername == "sqlite" and parsed.database not in (None, "", ":memory:")
        ledger.media = Path(str(parsed.database)).absolute().parent / "media" if beside else None
        ledger._open(parsed, durable)
        return ledger

    def _open(self, url: URL, durable: bool) -> None:
        self._engine, self.where = _engine(url)
        self.dialect = self._engine.dialect.name
        self._writer: Writer | None = None
        try:
            migrations.upgrade(self._engine, where=self.where)
        except BaseException as error:
            self._engine.dispose()
            if not isinstance(error, DBAPIError | sqlite3.Error):
                raise
            reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
            raise WorkspaceError(
                f"the database cannot be used ({reason})", where=self.where, next="Run: trueloop doctor"
            ) from error
        if self.dialect == "sqlite":
            self._writer = Writer(self._engine, durable=durable, where=self.where)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Finish what is being written and close every connection."""
        if self._writer is not None:
            self._writer.close()
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one consistent state of the ledger and cannot change it; it never waits for a writer."""
        options: dict[str, Any] = {"reading": True}
        if self.dialect == "postgresql":
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with (
            self._engine.connect().execution_options(**options) as connection,
            Session(connection) as session,
        ):
            yield session

    def write(self, run: Callable[[Session], T], *, durable: bool = True) -> T:
        """Run a closure in one transaction and return its result once that is stored.

        run: may be called again after a lost race, so it touches nothing but the session, and neither commits nor
        rolls back. durable: False for what may be lost in a power loss, such as a lease.
        Raises what the closure raised; NotStored when the database could not take it.
        """
        if self._writer is not None:
            return self._writer.write(run, durable=durable)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with Session(self._engine) as session, session.begin():
                    if not durable:
                        session.connection().exec_driver_sql("SET LOCAL synchronous_commit TO off")
                    result = run(session)
                    session.flush()
                    session.expunge_all()
                return result
            except DBAPIError as error:
                code = getattr(error.orig, "sqlstate", None)
                if isinstance(error, OperationalError) and (code is None or code.startswith(("08", "53", "57"))):
                    problem = "the database is out of reach or full; whether this was stored is not known"
                    raise NotStored(problem, where=self.where, next="Send the same again") from error
                if code not in _RETRIED or attempt == _ATTEMPTS:
                    raise
                time.sleep(0.005 * attempt)
        raise AssertionError("the last attempt returns or raises")

    # ------------------------------------------------------------------------------------------- artifacts

    def record(self, session: Session, made: Artifact, parents: Iterable[str]) -> None:
        """Add an artifact and its edges to its parents, in the caller's transaction."""
        session.add(made)
        session.flush()
        session.add_all(ArtifactParent(artifact_id=made.id, parent_id=parent) for parent in sorted(set(parents)))
        session.flush()

    def audit(self, session: Session, actor: str, action: str, subject: str, detail: dict[str, Any]) -> None:
        """Append one row to the audit, in the caller's transaction; see annotate/audit.py."""
        audit(session, actor, action, subject, detail)

    def responses_by_id(self, session: Session, identities: Iterable[str]) -> list[Response]:
        """The responses among these ids that are stored, ordered by id."""
        wanted = sorted(set(identities))
        found: list[Response] = []
        for start in range(0, len(wanted), 500):
            chunk = wanted[start : start + 500]
            found += session.exec(select(Response).where(col(Response.id).in_(chunk)).order_by(col(Response.id)))
        return found

    def find(self, identity: str) -> Artifact | None:
        """The artifact with this id."""
        with self.read() as session:
            return session.get(Artifact, identity)

    def find_prefix(self, prefix: str) -> Artifact | None:
        """The artifact whose id starts with these letters; raises BadInput when several do."""
        if not prefix:
            return None
        with self.read() as session:
            query = select(Artifact).where(col(Artifact.id).startswith(prefix, autoescape=True))
            found = list(session.exec(query.order_by(col(Artifact.id)).limit(2)))
        if len(found) > 1 and found[0].id != prefix:
            raise BadInput(f"several artifacts start with '{prefix}'", next="Give more letters of the id")
        return found[0] if found else None

    def artifacts(self, stage: str | None = None) -> list[Artifact]:
        """All artifacts, or those of one stage, oldest first."""
        query = select(Artifact).order_by(col(Artifact.created_at), col(Artifact.id))
        if stage is not None:
            query = query.where(Artifact.stage == stage)
        with self.read() as session:
            return list(session.exec(query))

    def latest(self, stage: str, round: int | None = None) -> Artifact | None:
        """The newest artifact of a stage, in any round or in one."""
        query = select(Artifact).where(Artifact.stage == stage)
        if round is not None:
            query = query.where(Artifact.round == round)
        with self.read() as session:
            return session.exec(query.order_by(col(Artifact.created_at).desc(), col(Artifact.id).desc())).first()

    def champion(self, before: int | None = None) -> str | None:
        """Id of the policy in force, or of the one in force when round `before` began; None before any promotion."""
        query = select(Promotion.champion_id).order_by(col(Promotion.id).desc())
        if before is not None:
            query = query.where(Promotion.round < before)
        with self.read() as session:
            return session.exec(query).first()

    def ancestors(self, identity: str) -> list[Artifact]:
        """All artifacts that this one was made from, oldest first."""
        with self.read() as session:
            return lineage.ancestors(session, [identity])

    def descendants(self, identity: str) -> list[Artifact]:
        """All artifacts made from this one, oldest first."""
        with self.read() as session:
            return lineage.descendants(session, [identity])

    def count_labels_behind(self, identity: str) -> int:
        """How many labels stand behind an artifact."""
        with self.read() as session:
            return lineage.count_labels_behind(session, identity)

    def labels_behind(self, identity: str) -> list[str]:
        """The uuids of the labels behind an artifact, sorted."""
        with self.read() as session:
            return lineage.labels_behind(session, identity)

    def lineage_of_label(self, uuid: str) -> LabelLineage | None:
        """Where a label came from and went; None when there is no such label."""
        with self.read() as session:
            return lineage.lineage_of_label(session, uuid)

    def check(self) -> list[str]:
        """What is wrong with the database, in words: pages, foreign keys, triggers, the audit's chain."""
        try:
            with self.read() as session:
                return self._wrong(session)
        except DatabaseError as error:
            return [f"it cannot be read ({error.orig})"]

    def _wrong(self, session: Session) -> list[str]:
        found: list[str] = []
        if self.dialect == "sqlite":
            pages = session.connection().exec_driver_sql("PRAGMA integrity_check(5)").scalars().all()
            found += [f"damaged page: {line}" for line in pages if line != "ok"]
            orphans = session.connection().exec_driver_sql("PRAGMA foreign_key_check").fetchmany(5)
            found += [f"a row of {row[0]} names a row of {row[2]} that is not there" for row in orphans]
            names = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            verbs = ["update", "delete"]
        else:
            verbs = ["update", "delete", "truncate"]
            names = (
                "SELECT tgname FROM pg_trigger "
                "WHERE NOT tgisinternal AND tgenabled <> 'D' AND pg_table_is_visible(tgrelid)"
            )
        present = set(session.connection().execute(text(names)).scalars())
        for table in APPEND_ONLY:
            if not {f"{table}_no_{verb}" for verb in verbs} <= present:
                found.append(f"table {table} is not protected from changes")
        if "label_tally" not in present:
            found.append("labels are no longer counted")
        broken = verify_audit(session)
        return [*found, broken] if broken else found


def _engine(url: URL) -> tuple[Engine, str]:
    """An engine for the URL, and the database's name without its password."""
    if url.drivername == "postgresql+psycopg":
        try:
            engine = create_engine(url, pool_size=10, max_overflow=40, pool_pre_ping=True)
        except ModuleNotFoundError as error:
            raise MissingExtra("psycopg", "postgres") from error
        return engine, url.render_as_string(hide_password=True)
    if url.drivername != "sqlite" or url.database in (None, "", ":memory:"):
        raise BadInput(
            f"a ledger cannot live in {url.drivername}", next="Give sqlite:///PATH or postgresql+psycopg://..."
        )
    engine = create_engine(
        url, pool_size=8, max_overflow=-1, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False}
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine, str(Path(str(url.database)))


def _prepare_sqlite(driver: Any, _: Any) -> None:
    driver.isolation_level = None  # the begin event says BEGIN; Python's module must not
    driver.execute("PRAGMA journal_mode=WAL")
    driver.execute("PRAGMA synchronous=FULL")
    driver.execute("PRAGMA foreign_keys=ON")
    driver.execute("PRAGMA recursive_triggers=ON")  # else INSERT OR REPLACE deletes rows past the delete triggers
    driver.execute("PRAGMA journal_size_limit=67108864")
    driver.execute("PRAGMA cache_size=-16384")


def _begin_sqlite(connection: Connection) -> None:
    options, driver = connection.get_execution_options(), connection.connection.driver_connection
    assert driver is not None, "a connection that begins is connected"
    reading = int(options.get("reading", False))
    if connection.info.get("query_only") != reading:
        driver.execute(f"PRAGMA query_only={reading}")
        connection.info["query_only"] = reading
    driver.execute("BEGIN IMMEDIATE" if options.get("immediate") else "BEGIN")
