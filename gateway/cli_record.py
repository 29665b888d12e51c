"""The commands about the record on disk, beside a gateway at work or without one: is it whole, and a copy of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli_client import USAGE, fail
from gateway.cli_options import Database
from gateway.settings import Settings, StartError, read


def verify(
    *,
    database: Database = None,
    heads: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Compare with it; write it where it is not.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An export instead of a store; needs nothing else.")
    ] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Write FILE anew where all is well.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Look whether the record is whole. Works beside a gateway or without one; exits with 1 where it is not."""
    from gateway import output, verifying  # a client needs none of it

    try:
        if export is not None:
            report = verifying.run_export(export)
        else:
            url = database or read(Settings).database
            report = verifying.run(url, heads, renew=renew, console=output.console(sys.stderr))
    except (StartError, verifying.VerifyError) as error:
        fail(str(error), USAGE)
    if as_json:
        typer.echo(verifying.as_json(report))
    else:
        verifying.show(output.console(sys.stdout), report)
    raise typer.Exit(1 if report.flaws else 0)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; it must not be there yet.")],
    *,
    database: Database = None,
) -> None:
    """Copy the gateway's database while it is at work or not. The copy is as private as the original."""
    from gateway.database import DatabaseError, back_up  # a client needs none of it

    try:
        back_up(database or read(Settings).database, file)
    except (StartError, DatabaseError) as error:
        fail(str(error), USAGE)
