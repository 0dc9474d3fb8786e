"""The ledger: schema, append-only facts, one durable writer, readers that never wait, the audit, lineage, crashes."""

import multiprocessing
import resource
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from ledgers import fill, judgment
from sqlalchemy import create_engine, insert, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, SQLModel, select

from annotate import migrations, queue, writer
from annotate.audit import FIRST, head
from annotate.campaign import CampaignSection, set_campaign
from annotate.errors import BadInput, NotStored, WorkspaceError
from annotate.gold import add_gold
from annotate.ledger import Ledger, audit, verify_audit
from annotate.tables import APPEND_ONLY, Artifact, Audit, Guideline, Promotion, Response, SnapshotLabel
from benchmarks import drills


def guideline(identity: str) -> Callable[[Session], None]:
    """A small write."""
    return lambda session: session.add(Guideline(id=identity, version=1, text="", created_at=0))


def guidelines(ledger: Ledger) -> list[str]:
    with ledger.read() as session:
        return sorted(session.exec(select(Guideline.id)))


def sql(ledger: Ledger, statement: str, **values: Any) -> Any:
    return ledger.write(lambda session: session.connection().execute(text(statement), values))


# ---------------------------------------------------------------------------------------------------- schema


SCHEMA: dict[str, Any] = {
    "compare_server_default": True,
    "include_name": lambda name, kind, _: kind != "table" or not name.startswith("catalog_words"),  # the text search
}


def test_the_migrations_make_exactly_the_models_schema(any_ledger: Ledger) -> None:
    with any_ledger.read() as session:
        differences = compare_metadata(MigrationContext.configure(session.connection(), opts=SCHEMA), SQLModel.metadata)
    assert differences == []


def test_the_migrations_make_the_same_sqlite_schema_as_the_models_word_by_word(ledger: Ledger, tmp_path: Path) -> None:
    """Partial indexes and column orders too, which the comparison of metadata does not see."""
    engine = create_engine(f"sqlite:///{tmp_path / 'models.db'}")
    SQLModel.metadata.create_all(engine)
    query = text("SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'index') AND name <> 'alembic_version'")

    def words(statement: str | None) -> list[str]:
        return [] if statement is None else sorted(statement.replace(",", " ").replace('"', "").split())

    with engine.connect() as connection, ledger.read() as session:
        models = {name: words(made) for name, made in connection.execute(query)}
        migrated = {name: words(made) for name, made in session.connection().execute(query)}
    engine.dispose()
    migrated.pop("sqlite_autoindex_alembic_version_1")
    migrated = {name: made for name, made in migrated.items() if not name.startswith("catalog_words")}
    assert migrated == models and len(models) > 30


def test_every_migration_is_listed_in_order() -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert tuple(reversed([script.revision for script in scripts.walk_revisions()])) == migrations.REVISIONS
    assert scripts.get_heads() == [migrations.REVISIONS[-1]]


def test_a_database_of_the_first_schema_keeps_its_labels(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as old:
        old.setattr(migrations, "REVISIONS", ("0001",))
        config = "alembic.command.upgrade"
        upgrade = command.upgrade
        old.setattr(config, lambda config, _: upgrade(config, "0001"))
        with Ledger.open(database_url) as ledger:
            sql(ledger, "INSERT INTO guideline (id, version, text, created_at) VALUES ('g1', 1, 'Be kind.', 0)")
            with ledger.read() as session:
                assert not inspect(session.connection()).has_table("campaign")
    with Ledger.open(database_url) as ledger:
        assert guidelines(ledger) == ["g1"]
        fill_append_only(ledger)
        assert ledger.check() == []


def test_a_database_of_a_newer_schema_is_refused_and_left_alone(database_url: str) -> None:
    with Ledger.open(database_url) as ledger:
        sql(ledger, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(WorkspaceError, match=r"schema '9999'.*pip install --upgrade trueloop"):
        Ledger.open(database_url)


def test_opening_again_keeps_what_is_there(database_url: str) -> None:
    for name in ("one", "two"):
        with Ledger.open(database_url) as ledger:
            ledger.write(guideline(name))
    with Ledger.open(database_url) as ledger:
        assert guidelines(ledger) == ["one", "two"]


def test_many_may_open_a_new_database_at_once(database_url: str) -> None:
    opened: list[Ledger] = []

    def open_it() -> None:
        opened.append(Ledger.open(database_url))

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, ledger in enumerate(opened):
        ledger.write(guideline(f"g{number}"))
    assert len(guidelines(opened[0])) == len(opened) == 6
    for ledger in opened:
        ledger.close()


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "labels.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(WorkspaceError, match="not a database"):
        Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}")
    with pytest.raises(WorkspaceError, match="unable to open"):
        Ledger.open(f"sqlite:///{tmp_path / 'no' / 'such' / 'labels.db'}")
    for url in ("sqlite://", "sqlite:///:memory:", "mysql://x/y", "no url"):
        with pytest.raises(BadInput, match="Give sqlite"):
            Ledger.open(url)


def test_a_server_out_of_reach_is_told_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError) as told:
        Ledger.open(f"postgresql+psycopg://me:secret@/loop?host={tmp_path}")
    assert "cannot be used" in str(told.value) and "secret" not in str(told.value)


def test_a_ledger_that_cannot_be_opened_leaves_no_file_open(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    path.write_bytes(b"not a database at all" * 100)
    newer = tmp_path / "newer.db"
    with Ledger.open(f"sqlite:///{newer}") as ledger:
        sql(ledger, "UPDATE alembic_version SET version_num = '9999'")
    told: list[WorkspaceError] = []  # kept, as a traceback keeps what it passed through
    for refused in (path, newer):
        try:
            Ledger.open(f"sqlite:///{refused}")
        except WorkspaceError as error:
            told.append(error)
    assert len(told) == 2 and opened(tmp_path) == []


def opened(folder: Path) -> list[str]:
    """The files in this folder that this process has open."""
    names = [str(link.resolve()) for link in Path("/proc/self/fd").iterdir()]
    return [name for name in names if name.startswith(str(folder))]


def test_a_ledger_closes_its_files_at_the_end_of_its_block(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}") as ledger:
        ledger.write(guideline("one"))
        assert guidelines(ledger) == ["one"] and opened(tmp_path) != []
    assert opened(tmp_path) == []
    with pytest.raises(AssertionError, match="closed"):
        ledger.write(guideline("two"))


def test_a_program_that_forgets_to_close_its_ledger_still_ends(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=open_and_forget, args=(f"sqlite:///{tmp_path / 'labels.db'}",))
    child.start()
    child.join(60)
    ended = child.exitcode == 0
    child.kill()
    child.join()
    assert ended
    with Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}") as ledger:
        assert guidelines(ledger) == ["kept"]


def open_and_forget(url: str) -> None:
    Ledger.open(url).write(guideline("kept"))


# ------------------------------------------------------------------------------------------------ append-only


def fill_append_only(ledger: Ledger) -> None:
    fill(ledger, 1)
    [task] = queue.claim(ledger, "ann")
    queue.submit(ledger, "ann", judgment(task, "a-label-1"))

    def rest(session: Session) -> None:
        for identity in ("one", "two"):
            ledger.record(session, artifact(identity), ["one"] if identity == "two" else [])
        session.add(SnapshotLabel(artifact_id="two", label_uuid="a-label-1"))
        session.add(promotion("one", 1))
        audit(session, "ann", "looked", "two", {})
        set_campaign(session, CampaignSection(guideline="Be kind."), "lead")
        add_gold(session, "prompt-1-0", [["prompt-1-0-0"], ["prompt-1-0-1"]], "It answers.", "practice")
        session.connection().execute(
            text("INSERT INTO review (verdict, reason, reviewer_id, created_at) VALUES ('ok', '', 'bob', 0)")
        )

    ledger.write(rest)


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_facts_cannot_be_changed_or_deleted(any_ledger: Ledger, table: str) -> None:
    fill_append_only(any_ledger)
    with any_ledger.read() as session:
        before = session.connection().execute(text(f"SELECT * FROM {table}")).all()
        column = inspect(session.connection()).get_columns(table)[0]["name"]
    assert before
    refused = [f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"]
    if any_ledger.dialect == "sqlite":
        refused.append(f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")
    else:
        refused.append(f"TRUNCATE {table} CASCADE")
    for statement in refused:
        with pytest.raises(DBAPIError, match="is append-only"):
            sql(any_ledger, statement)
    with any_ledger.read() as session:
        assert session.connection().execute(text(f"SELECT * FROM {table}")).all() == before


def test_a_check_finds_what_protects_no_more(any_ledger: Ledger) -> None:
    fill_append_only(any_ledger)
    assert any_ledger.check() == []
    on = "" if any_ledger.dialect == "sqlite" else " ON {}"
    sql(any_ledger, "DROP TRIGGER label_no_delete" + on.format("label"))
    sql(any_ledger, "DROP TRIGGER label_tally" + on.format("label"))
    assert any_ledger.check() == ["table label is not protected from changes", "labels are no longer counted"]


def test_a_check_finds_a_table_that_can_be_emptied_at_once(postgres_server: Callable[[], str]) -> None:
    with Ledger.open(postgres_server()) as ledger:
        sql(ledger, "DROP TRIGGER audit_no_truncate ON audit")
        assert ledger.check() == ["table audit is not protected from changes"]


def test_a_check_finds_rows_without_what_they_refer_to(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}") as ledger:
        fill(ledger, 1)
        with pytest.raises(DBAPIError, match="FOREIGN KEY"):
            sql(ledger, "DELETE FROM response")
        with sqlite3.connect(tmp_path / "labels.db") as careless:
            careless.execute("DELETE FROM response WHERE id = 'prompt-1-0-0'")
        careless.close()
        assert ledger.check() == ["a row of pair_response names a row of response that is not there"]


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda page: page.replace(b"prompt-1-7", b"prompt-1-X"), "damaged page: "),
        (lambda page: b"\xff" * len(page), ""),
    ],
)
def test_a_check_finds_a_damaged_page(damage: Callable[[bytes], bytes], found: str, tmp_path: Path) -> None:
    """Once a page with a wrong value, once one that SQLite cannot read at all."""
    path = tmp_path / "labels.db"
    with Ledger.open(f"sqlite:///{path}") as ledger:
        fill(ledger, 9)
        at = sql_value(ledger, "SELECT rootpage FROM sqlite_master WHERE name = 'ix_pair_prompt_id'")
        size = sql_value(ledger, "PRAGMA page_size")
        assert ledger.check() == []
    with path.open("r+b") as file:
        file.seek((at - 1) * size)
        page = file.read(size)
        file.seek((at - 1) * size)
        file.write(damage(page))
    with Ledger.open(f"sqlite:///{path}") as ledger:
        told = ledger.check()
    assert told and all(line.startswith(found or "it cannot be read (") for line in told)


# --------------------------------------------------------------------------------------------------- the writer


def blocked(ledger: Ledger, *writes: Callable[[Session], Any], durable: bool | Sequence[bool] = True) -> list[Any]:
    """Run writes in one commit: they pile up behind a first one that waits. Results, or what was raised, in order."""
    durables = [durable] * len(writes) if isinstance(durable, bool) else durable
    begun, go = threading.Event(), threading.Event()
    results: list[Any] = [None] * len(writes)

    def wait(session: Session) -> None:
        begun.set()
        assert go.wait(60)

    def attempt(place: int) -> None:
        try:
            results[place] = ledger.write(writes[place], durable=durables[place])
        except Exception as error:
            results[place] = error

    first = threading.Thread(target=lambda: ledger.write(wait))
    first.start()
    assert begun.wait(60)
    threads = [threading.Thread(target=attempt, args=(place,)) for place in range(len(writes))]
    assert ledger._writer is not None
    for waiting, thread in enumerate(threads, 1):
        thread.start()
        while ledger._writer._jobs.qsize() < waiting:
            time.sleep(0.001)
    go.set()
    for thread in [first, *threads]:
        thread.join()
    return results


def test_writes_run_in_the_order_in_which_they_came(ledger: Ledger) -> None:
    order: list[int] = []
    blocked(ledger, *(lambda session, number=number: order.append(number) for number in range(50)))
    assert order == list(range(50))


def test_a_long_queue_is_committed_piece_by_piece(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nobody waits for all who came after them: here three at once."""
    monkeypatch.setattr(writer, "GROUP", 3)
    seen: list[int] = []

    def write(number: int) -> Callable[[Session], None]:
        def run(session: Session) -> None:
            seen.append(len(guidelines(ledger)))
            guideline(f"g{number}")(session)

        return run

    assert blocked(ledger, *(write(number) for number in range(8))) == [None] * 8
    assert seen == [0, 0, 0, 3, 3, 3, 6, 6] and len(guidelines(ledger)) == 8


def test_a_write_that_fails_takes_no_other_along(ledger: Ledger) -> None:
    def fail(session: Session) -> None:
        guideline("half")(session)
        session.flush()
        raise ValueError("changed my mind")

    results = blocked(ledger, fail, guideline("a"), fail, guideline("a"), guideline("b"), fail)
    kinds = [type(result).__name__ for result in results]
    assert kinds == ["ValueError", "NoneType", "ValueError", "IntegrityError", "NoneType", "ValueError"]
    assert guidelines(ledger) == ["a", "b"]


def test_a_full_disk_is_told_and_nothing_that_was_acknowledged_is_lost(tmp_path: Path) -> None:
    """The file may not grow: writes are stored until it is full, then all are refused, then stored again."""
    with Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}") as ledger:

        def long_row(identity: str) -> Callable[[Session], str]:
            def run(session: Session) -> str:
                session.add(Guideline(id=identity, version=1, text="x" * 3000, created_at=0))
                return identity

            return run

        pages = sql_value(ledger, "PRAGMA page_count")
        ledger.write(lambda session: session.connection().exec_driver_sql(f"PRAGMA max_page_count={pages + 40}").all())
        results: list[Any] = []
        for batch in range(6):
            results += blocked(ledger, *(long_row(f"{batch}-{number:02d}") for number in range(12)))
        stored = [result for result in results if isinstance(result, str)]
        refused = [result for result in results if isinstance(result, NotStored)]
        assert len(stored) + len(refused) == len(results) == 72 and len(stored) > 5 and len(refused) > 5
        assert "the disk is full; nothing of this was stored" in str(refused[0])
        assert guidelines(ledger) == stored
    with Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}") as ledger:
        assert ledger.write(long_row("space-again")) == "space-again"
        assert guidelines(ledger) == sorted([*stored, "space-again"]) and ledger.check() == []


def test_a_full_disk_is_told_even_when_a_write_fails_over_it_in_its_own_way(ledger: Ledger) -> None:
    pages = sql_value(ledger, "PRAGMA page_count")
    ledger.write(lambda session: session.connection().exec_driver_sql(f"PRAGMA max_page_count={pages + 2}").all())

    def run(session: Session) -> None:
        try:
            session.add(Guideline(id="long", version=1, text="x" * 100_000, created_at=0))
            session.flush()
        except DBAPIError:
            raise ValueError("and so I cannot go on")  # noqa: B904

    with pytest.raises(NotStored, match="the disk is full"):
        ledger.write(run)
    ledger.write(guideline("short"))
    assert guidelines(ledger) == ["short"]


def test_a_disk_that_takes_no_more_is_told_and_recovered_from(tmp_path: Path) -> None:
    """The operating system refuses to let files grow, then allows it again: no acknowledged write is lost."""
    path = tmp_path / "labels.db"
    Ledger.open(f"sqlite:///{path}").close()
    context = multiprocessing.get_context("spawn")
    answers, ours = context.Pipe(duplex=False)
    child = context.Process(target=write_until_full, args=(path, ours))
    child.start()
    stored, refused = answers.recv()
    child.join()
    assert len(refused) == 20 and all("nothing of this was stored" in told for told in refused)
    assert stored[-1] == "space again" and len(stored) > 10
    with Ledger.open(f"sqlite:///{path}") as ledger:
        assert guidelines(ledger) == sorted(stored) and ledger.check() == []


def write_until_full(path: Path, answer: Connection) -> None:
    """Write rows while no file may grow past a limit; answers with what was acknowledged and what was refused."""
    stored, refused = [], []
    with Ledger.open(f"sqlite:///{path}") as ledger:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 200_000, hard))
        while len(refused) < 20:
            identity = f"row {len(stored) + len(refused)}"
            row = Guideline(id=identity, version=1, text="x" * 5000, created_at=0)
            try:
                ledger.write(lambda session, row=row: session.add(row))
                stored.append(identity)
            except NotStored as error:
                refused.append(str(error))
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        ledger.write(guideline("space again"))
        stored.append("space again")
    answer.send((stored, refused))


def sql_value(ledger: Ledger, statement: str) -> Any:
    return ledger.write(lambda session: session.connection().exec_driver_sql(statement).scalar())


def test_only_what_must_be_durable_waits_for_the_disk(tmp_path: Path) -> None:
    """SQLite's PRAGMA synchronous: 1 is NORMAL, 2 is FULL. A group is as durable as the most durable of its writes."""

    def level(session: Session) -> int:
        return session.connection().exec_driver_sql("PRAGMA synchronous").scalar_one()

    with Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}") as ledger:
        assert [ledger.write(level), ledger.write(level, durable=False), ledger.write(level)] == [2, 1, 2]
        assert blocked(ledger, level, level, durable=False) == [1, 1]
        assert blocked(ledger, level, level, level, durable=[False, True, False]) == [2, 2, 2]
    with Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}", durable=False) as ledger:
        assert ledger.write(level) == 1


def test_a_write_waits_for_another_process_and_gives_up_in_words(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(tmp_path / "labels.db", isolation_level=None, check_same_thread=False)
    ledger.write(lambda session: session.connection().exec_driver_sql("PRAGMA busy_timeout=20").all())
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.5, lambda: other.execute("COMMIT")).start()
    ledger.write(guideline("patient"))
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(writer, "PATIENCE_SECONDS", 0)
    with pytest.raises(NotStored, match="another process has been writing for minutes"):
        ledger.write(guideline("refused"))
    monkeypatch.undo()
    other.execute("COMMIT")
    other.close()
    ledger.write(guideline("again"))
    assert guidelines(ledger) == ["again", "patient"]


def test_a_write_inside_a_write_or_after_the_end_is_a_mistake(tmp_path: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}")
    with pytest.raises(AssertionError, match="inside a write"):
        ledger.write(lambda session: ledger.write(guideline("x")))
    ledger.close()
    ledger.close()
    with pytest.raises(AssertionError, match="closed"):
        ledger.write(guideline("x"))


def test_closing_finishes_what_was_sent(tmp_path: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}")
    threads = [threading.Thread(target=ledger.write, args=(guideline(f"g{number}"),)) for number in range(30)]
    assert ledger._writer is not None
    begun = threading.Event()
    slow = threading.Thread(target=lambda: ledger.write(lambda session: (begun.set(), time.sleep(0.2))))
    slow.start()
    begun.wait(60)
    for thread in threads:
        thread.start()
    while ledger._writer._jobs.qsize() < 30:
        time.sleep(0.001)
    ledger.close()
    for thread in [slow, *threads]:
        thread.join()
    with Ledger.open(f"sqlite:///{tmp_path / 'labels.db'}") as again:
        assert len(guidelines(again)) == 30


def test_what_a_write_returns_can_be_used_after_it(any_ledger: Ledger) -> None:
    def run(session: Session) -> Guideline:
        row = Guideline(id="kept", version=3, text="abc", created_at=0)
        session.add(row)
        session.flush()
        return row

    row = any_ledger.write(run)
    assert (row.id, row.version, row.text) == ("kept", 3, "abc")


def test_a_lost_race_in_postgresql_is_run_again(postgres_server: Callable[[], str]) -> None:
    with Ledger.open(postgres_server()) as ledger:
        runs: list[int] = []

        def run(session: Session) -> str:
            runs.append(len(runs))
            guideline(f"try-{len(runs)}")(session)
            session.flush()
            if len(runs) < 3:
                raise_it = "DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END $$"
                session.connection().exec_driver_sql(raise_it)
            return "done"

        assert ledger.write(run) == "done" and guidelines(ledger) == ["try-3"]


def test_a_race_that_is_lost_every_time_is_told_in_the_end(postgres_server: Callable[[], str]) -> None:
    with Ledger.open(postgres_server()) as ledger:
        runs: list[int] = []

        def run(session: Session) -> None:
            runs.append(len(runs))
            guideline("taken")(session)

        ledger.write(run)
        with pytest.raises(DBAPIError, match="duplicate key"):
            ledger.write(run)
        assert 3 < len(runs) < 20 and guidelines(ledger) == ["taken"]


@pytest.mark.parametrize(("code", "told"), [("08006", NotStored), ("53100", NotStored), ("57014", NotStored)])
def test_a_server_that_cannot_take_a_write_is_told(
    postgres_server: Callable[[], str], code: str, told: type[Exception]
) -> None:
    """Connection lost, disk full, shut down: whether it was stored is not known, so it is for the sender to repeat."""
    with Ledger.open(postgres_server()) as ledger:
        with pytest.raises(told, match="Send the same again"):
            sql(ledger, f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$")
        assert ledger._engine.pool.checkedout() == 0


@pytest.mark.parametrize("code", ["22012", "42704", "55P03"])
def test_a_mistake_in_a_write_is_raised_as_it_is_and_not_run_again(
    postgres_server: Callable[[], str], code: str
) -> None:
    with Ledger.open(postgres_server()) as ledger:
        runs: list[int] = []

        def run(session: Session) -> None:
            runs.append(1)
            raise_it = f"DO $$ BEGIN RAISE EXCEPTION 'a mistake' USING ERRCODE = '{code}'; END $$"
            session.connection().exec_driver_sql(raise_it)

        with pytest.raises(DBAPIError, match="a mistake"):
            ledger.write(run)
        assert runs == [1]


def test_only_what_must_be_durable_waits_for_postgresqls_disk(postgres_server: Callable[[], str]) -> None:
    def level(session: Session) -> str:
        return session.connection().exec_driver_sql("SHOW synchronous_commit").scalar_one()

    with Ledger.open(postgres_server()) as ledger:
        assert [ledger.write(level), ledger.write(level, durable=False), ledger.write(level)] == ["on", "off", "on"]


def test_a_connection_that_the_server_dropped_while_idle_is_replaced_unnoticed(
    postgres_server: Callable[[], str],
) -> None:
    url = postgres_server()
    with Ledger.open(url) as ledger:
        mine = ledger.write(lambda session: session.connection().exec_driver_sql("SELECT pg_backend_pid()").scalar())
        other = create_engine(url)
        with other.connect() as connection:
            connection.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": mine})
        other.dispose()
        ledger.write(guideline("after the restart"))
        assert guidelines(ledger) == ["after the restart"]


def test_a_broken_connection_to_postgresql_is_told(postgres_server: Callable[[], str]) -> None:
    with Ledger.open(postgres_server()) as ledger:
        with pytest.raises(NotStored, match=r"not known.*Send the same again"):
            sql(ledger, "SELECT pg_terminate_backend(pg_backend_pid())")
        ledger.write(guideline("again"))
        assert guidelines(ledger) == ["again"]


# -------------------------------------------------------------------------------------------------------- reads


def test_a_reader_sees_one_state_and_changes_nothing(any_ledger: Ledger) -> None:
    any_ledger.write(guideline("before"))
    with any_ledger.read() as session:
        assert list(session.exec(select(Guideline.id))) == ["before"]
        any_ledger.write(guideline("meanwhile"))
        assert list(session.exec(select(Guideline.id))) == ["before"]
    assert guidelines(any_ledger) == ["before", "meanwhile"]
    with any_ledger.read() as session, pytest.raises(DBAPIError, match=r"(?i)read-?only"):
        session.connection().execute(text("INSERT INTO guideline VALUES ('sly', 1, '', 0)"))
    any_ledger.write(guideline("the connection writes again"))
    assert "sly" not in guidelines(any_ledger)


# -------------------------------------------------------------------------------------------------------- audit


def audited(ledger: Ledger, count: int) -> None:
    for number in range(count):
        detail = {"n": number, "ü": [1.5, None]}
        ledger.write(lambda session, n=number, d=detail: ledger.audit(session, "ann", "did", f"thing {n}", d))


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        ("UPDATE audit SET actor = 'bob' WHERE id = 3", "audit row 3 was changed"),
        ("UPDATE audit SET detail = '{}' WHERE id = 1", "audit row 1 was changed"),
        ("UPDATE audit SET created_at = created_at + 1 WHERE id = 5", "audit row 5 was changed"),
        ("DELETE FROM audit WHERE id = 3", "audit row 4 does not follow the row before it"),
        ("DELETE FROM audit WHERE id = 1", "audit row 2 does not follow the row before it"),
        ("UPDATE audit SET id = 9 WHERE id = 2", "audit row 3 does not follow the row before it"),
    ],
)
def test_a_tampered_audit_is_found(any_ledger: Ledger, tamper: str, found: str) -> None:
    audited(any_ledger, 5)
    with any_ledger.read() as session:
        assert verify_audit(session) is None and head(session) != FIRST
    on = "" if any_ledger.dialect == "sqlite" else " ON audit"
    for verb in ("update", "delete"):
        sql(any_ledger, f"DROP TRIGGER audit_no_{verb}{on}")
    sql(any_ledger, tamper)
    with any_ledger.read() as session:
        assert verify_audit(session) == found
    assert any_ledger.check()[-1] == found


def test_the_audit_is_one_chain_under_many_writers(any_ledger: Ledger) -> None:
    threads = [threading.Thread(target=audited, args=(any_ledger, 5)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with any_ledger.read() as session:
        rows = list(session.exec(select(Audit)))
        assert len(rows) == len({row.previous_hash for row in rows}) == 30
        assert verify_audit(session) is None


def test_who_writes_the_audit_at_once_takes_turns(postgres_server: Callable[[], str]) -> None:
    """The second waits for the first and is not run again."""
    url = postgres_server()
    with Ledger.open(url) as ledger:
        runs: list[int] = []

        def second() -> None:
            ledger.write(lambda session: (runs.append(1), audit(session, "bob", "did", "this", {}))[0])

        engine = create_engine(url)
        with Session(engine) as first:
            audit(first, "ann", "did", "that", {})
            first.flush()
            waiting = threading.Thread(target=second)
            waiting.start()
            query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            with engine.connect() as watcher:
                while watcher.execute(query).scalar_one() == 0:
                    watcher.rollback()
            first.commit()
        waiting.join()
        engine.dispose()
        assert runs == [1] and ledger.check() == []


# ------------------------------------------------------------------------------------------- artifacts, lineage


def artifact(identity: str, stage: str = "policy", round: int = 1, at: float = 0) -> Artifact:
    return Artifact(
        id=identity, stage=stage, round=round, config={}, metrics={}, content_hash="", path=identity, created_at=at
    )


def promotion(champion: str, round: int, verdict: str = "promoted") -> Promotion:
    return Promotion(
        artifact_id="",
        policy_id=champion,
        champion_id=champion,
        round=round,
        verdict=verdict,
        evidence={},
        created_at=0,
    )


def two_rounds(ledger: Ledger) -> dict[int, str]:
    """sft -> responses -> pairs and labels -> snapshot -> policy, twice; the second from the first's policy.

    The second snapshot holds the labels of both rounds. Returns one label's uuid for each round.
    """
    labels: dict[int, str] = {}
    champion = "sft"
    ledger.write(lambda session: ledger.record(session, artifact("sft", "sft", 0), []))
    for round in (1, 2):
        made = artifact(f"responses-{round}", "responses", round, round)
        ledger.write(lambda session, made=made, champion=champion: ledger.record(session, made, [champion]))
        fill(ledger, 2, round=round)
        sql(
            ledger,
            "UPDATE response SET artifact_id = :made WHERE prompt_id LIKE :of",
            made=made.id,
            of=f"prompt-{round}-%",
        )
        for task in queue.claim(ledger, "ann", 5):
            queue.submit(ledger, "ann", judgment(task, f"round-{round}-{task.slot:04d}"))
            labels[round] = f"round-{round}-{task.slot:04d}"

        def freeze(session: Session, round: int = round) -> None:
            ledger.record(session, artifact(f"snapshot-{round}", "snapshot", round, round), [f"responses-{round}"])
            uuids = [label.uuid for label in queue.current_labels(session)]
            rows = [{"artifact_id": f"snapshot-{round}", "label_uuid": uuid} for uuid in uuids]
            session.connection().execute(insert(SnapshotLabel), rows)
            champion = artifact(f"policy-{round}", "policy", round, round + 0.5)
            ledger.record(session, champion, [f"snapshot-{round}", "sft", "sft"])

        ledger.write(freeze)
        champion = f"policy-{round}"
    return labels


def ids(rows: list[Artifact]) -> list[str]:
    return [row.id for row in rows]


def test_lineage_leads_from_a_model_to_its_labels_and_back(any_ledger: Ledger) -> None:
    labels = two_rounds(any_ledger)
    first = ["responses-1", "snapshot-1", "policy-1"]
    second = ["responses-2", "snapshot-2", "policy-2"]
    assert ids(any_ledger.ancestors("policy-1")) == ["sft", "responses-1", "snapshot-1"]
    assert ids(any_ledger.ancestors("policy-2")) == ["sft", *first, "responses-2", "snapshot-2"]
    assert ids(any_ledger.descendants("sft")) == [*first, *second]
    assert ids(any_ledger.descendants("policy-2")) == ids(any_ledger.ancestors("sft")) == []
    assert [any_ledger.count_labels_behind(one) for one in ("sft", *first, *second)] == [0, 0, 2, 2, 2, 4, 4]
    assert any_ledger.labels_behind("policy-1") == sorted(any_ledger.labels_behind("policy-2"))[:2]
    early, late = any_ledger.lineage_of_label(labels[1]), any_ledger.lineage_of_label(labels[2])
    assert early is not None and late is not None
    assert (early.round, ids(early.ancestors)) == (1, ["sft", "responses-1"])
    assert ids(early.descendants) == ["snapshot-1", "policy-1", *second]
    assert (late.round, ids(late.ancestors)) == (2, ["sft", *first, "responses-2"])
    assert ids(late.descendants) == ["snapshot-2", "policy-2"]
    assert any_ledger.lineage_of_label("no-such-label") is None
    assert any_ledger.ancestors("no-such-artifact") == [] and any_ledger.count_labels_behind("no-such-artifact") == 0


def test_artifacts_are_found_by_id_prefix_stage_and_round(any_ledger: Ledger) -> None:
    rows = [
        artifact("abc1", at=1),
        artifact("abd2", round=2, at=2),
        artifact("xy_z", "reward", at=3),
        artifact("ab", at=4),
    ]
    any_ledger.write(lambda session: [any_ledger.record(session, row.model_copy(), []) for row in rows])
    assert ids(any_ledger.artifacts()) == ["abc1", "abd2", "xy_z", "ab"]
    assert ids(any_ledger.artifacts("policy")) == ["abc1", "abd2", "ab"]
    found = [any_ledger.find_prefix(prefix) for prefix in ("abc", "xy_", "ab")]
    assert [made.id for made in found if made] == ["abc1", "xy_z", "ab"]
    assert any_ledger.find_prefix("x%") is any_ledger.find_prefix("") is any_ledger.find("abc") is None
    with pytest.raises(BadInput, match="several artifacts start with 'a'"):
        any_ledger.find_prefix("a")
    newest, second, none = (any_ledger.latest("policy", round) for round in (None, 2, 3))
    assert newest is not None and second is not None
    assert (newest.id, second.id, none) == ("ab", "abd2", None)


def test_the_champion_is_the_last_promoted_or_rolled_back_to(any_ledger: Ledger) -> None:
    assert any_ledger.champion() is None
    for champion, round in (("p1", 1), ("p2", 2), ("p1", 2), ("p3", 3)):
        any_ledger.write(lambda session, c=champion, r=round: session.add(promotion(c, r)))
    assert [any_ledger.champion(before=before) for before in (None, 4, 3, 2, 1)] == ["p3", "p3", "p1", "p1", None]


def test_responses_are_found_by_any_number_of_ids(any_ledger: Ledger) -> None:
    fill(any_ledger, 300, k=3)
    with any_ledger.read() as session:
        every = list(session.exec(select(Response.id)))
        found = any_ledger.responses_by_id(session, [*every, "no-such", every[0]])
    assert [row.id for row in found] == sorted(every) and len(every) == 900


# ------------------------------------------------------------------------------------- drills, in small numbers


def test_killed_writers_lose_and_double_nothing_they_acknowledged() -> None:
    found = drills.kill_drill(20)
    assert found["caught"], "the planted defects must show"
    assert (found["kills"], found["lost"], found["doubled"]) == (20, 0, 0) and found["acknowledged"] > 50


def test_nobody_meets_a_locked_database_while_a_trainer_reads() -> None:
    found = drills.locked_drill(1000)
    assert found["caught"], "an impatient writer must be refused now and then"
    assert (found["refused"], found["stored"]) == (0, 1000)


def test_replayed_judgments_make_no_second_row() -> None:
    found = drills.replay_drill(500)
    assert found["caught"] and (found["second_rows"], found["unanswered"]) == (0, 0)


def test_every_promoted_model_is_traced_both_ways() -> None:
    found = drills.lineage_drill(4000)
    assert found["caught"] and found["both_ways"] == found["promoted"] == 4
