"""The schema's migrations, and how a database is brought up to date when it is opened.

A new schema is a new file in versions/ and a new entry in REVISIONS; a file that was released is never edited.
"""

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from annotate.errors import WorkspaceError

REVISIONS = ("0001", "0002", "0003")
"""Every schema in order, the current one last."""

_LOCK = 0x7472756D  # an arbitrary number by which PostgreSQL's openers take turns


def upgrade(engine: Engine, *, where: str) -> None:
    """Bring a database to the current schema in one transaction; does nothing when it is there already.

    Raises WorkspaceError when the schema is one that this version does not know.
    """
    with engine.connect() as connection:
        if _revision(connection, where) == REVISIONS[-1]:
            return
    with engine.connect().execution_options(immediate=True) as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        if _revision(connection, where) == REVISIONS[-1]:  # another process was faster
            return
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _revision(connection: Connection, where: str) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if revision is not None and revision not in REVISIONS:
        raise WorkspaceError(
            f"its database has schema '{revision}', this Trueloop knows up to '{REVISIONS[-1]}'",
            where=where,
            next="Run: pip install --upgrade trueloop",
        )
    return revision
