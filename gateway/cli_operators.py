"""The commands of operators about a gateway at work: what it can do, what isolates programs, what it deletes, its lanes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gateway.cli_client import reached
from gateway.cli_options import AsJson


def status() -> None:
    """Tell what the gateway can do now. Exits with 0 when it takes programs."""
    from gateway import output, terminal

    with reached() as client:
        ready = client.readiness()
    terminal.show_readiness(output.console(sys.stdout), ready)
    raise typer.Exit(0 if ready.ready else 1)


def isolation(
    *,
    test: Annotated[bool, typer.Option("--test", help="Run the self-test now; takes an operator's key.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what isolates programs, and how that was proven. Exits with 1 where something did not hold."""
    from gateway import output, terminal

    with reached(reviewer=test) as client:
        view = client.prove_isolation() if test else client.isolation()
    if as_json:
        typer.echo(view.model_dump_json(indent=2))
    else:
        terminal.show_isolation(output.console(sys.stdout), view)
    if not view.held:
        raise typer.Exit(1)


def prune(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what is due, and delete nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete now what retention allows to. The gateway does so by itself as well. Takes an operator's key."""
    from gateway import output, terminal

    with reached(reviewer=True) as client:
        view = client.retention() if dry_run else client.prune()
    if as_json:
        typer.echo(view.model_dump_json(indent=2))
    else:
        terminal.show_retention(output.console(sys.stdout), view)


def monty(
    *,
    on: Annotated[bool, typer.Option("--on", help="Trust it again: programs run in Monty from now on.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show whether programs may run in Monty. Tells what shadow runs came to; exits with 1 where it is switched off."""
    from gateway import output, terminal

    with reached(reviewer=True) as client:
        view = client.restore_monty() if on else client.monty_lane()
    if as_json:
        typer.echo(view.model_dump_json(indent=2))
    else:
        terminal.show_monty(output.console(sys.stdout), view)
    if not view.on:
        raise typer.Exit(1)
