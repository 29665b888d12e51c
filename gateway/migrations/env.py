"""How Alembic reaches the database: one connection, one transaction."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool

from gateway.tables import metadata


def _migrate() -> None:
    engine = create_engine(context.config.get_main_option("sqlalchemy.url") or "", poolclass=pool.NullPool)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA auto_vacuum = INCREMENTAL")  # can be said before the first table only
            connection.commit()
        context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
        with context.begin_transaction():
            context.run_migrations()


_migrate()
