"""How Alembic reaches the database: one synchronous connection, one transaction."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, make_url, pool

from gateway.tables import metadata


def _url() -> str:
    """The same database through its synchronous driver."""
    url = make_url(context.config.get_main_option("sqlalchemy.url") or "")
    if url.drivername == "sqlite+aiosqlite":
        url = url.set(drivername="sqlite")
    return url.render_as_string(hide_password=False)


def _migrate() -> None:
    engine = create_engine(_url(), poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
        with context.begin_transaction():
            context.run_migrations()


_migrate()
