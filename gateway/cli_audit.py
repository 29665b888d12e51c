"""The commands of auditors."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TextIO

import typer

from gateway.cli_client import USAGE, fail
from gateway.cli_options import Database

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What was asked, decided and seen, for auditors.")


@app.callback()
def audit() -> None:
    """What was asked, decided and seen, for auditors."""


@app.command()
def export(
    *,
    since: Annotated[datetime | None, typer.Option(help="Only what happened from then on (UTC).")] = None,
    task: Annotated[str | None, typer.Option(metavar="ID", help="Only this task.")] = None,
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Only this tenant.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to; it must not be there yet.")] = None,
    database: Database = None,
) -> None:
    """Write the log as JSON Lines that `airlock verify --export FILE` can verify anywhere."""
    from gateway.database import DatabaseError, looking
    from gateway.export_reading import exported
    from gateway.exporting import Choice, written
    from gateway.settings import Settings, StartError, read
    from gateway.times import stamp

    at = stamp(since.replace(tzinfo=since.tzinfo or UTC).astimezone(UTC)) if since else ""
    try:
        with (
            looking(database or read(Settings).database) as session,
            _private(out) if out else nullcontext(sys.stdout) as file,
        ):
            file.writelines(written(exported(session, Choice(at, tenant, task))))
    except (StartError, DatabaseError) as error:
        fail(str(error), USAGE)
    except OSError as error:
        fail(f"The export cannot be written: {error}", USAGE)


def _private(path: Path) -> TextIO:
    """A new file: what auditors read is nobody else's to read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
