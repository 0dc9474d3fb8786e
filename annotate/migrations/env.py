"""Alembic's entry point: runs the migrations on the connection it is handed, inside that connection's transaction."""

from alembic import context
from sqlmodel import SQLModel

import annotate.tables  # noqa: F401  (fills the metadata)

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
