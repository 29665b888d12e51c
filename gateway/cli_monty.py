"""The command of operators about the Monty lane's switch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gateway.client import Client


def add_monty(app: typer.Typer, gateway: Callable[[], AbstractContextManager[Client]]) -> None:
    """The command, over clients that show an operator's key."""

    @app.command()
    def monty(
        *,
        on: Annotated[bool, typer.Option("--on", help="Trust it again: programs run in Monty from now on.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print it whole as JSON.")] = False,
    ) -> None:
        """Show whether programs may run in Monty. Tells what shadow runs came to; exits with 1 where it is switched off."""
        from gateway import output, terminal

        with gateway() as client:
            view = client.restore_monty() if on else client.monty_lane()
        if as_json:
            typer.echo(view.model_dump_json(indent=2))
        else:
            terminal.show_monty(output.console(sys.stdout), view)
        if not view.on:
            raise typer.Exit(1)
