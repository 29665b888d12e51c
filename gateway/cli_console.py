"""The command that opens the console."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gateway.client import Client


def console_command(gateway: Callable[[], AbstractContextManager[Client]]) -> Callable[..., None]:
    """The command, over clients that show a reviewer's key."""

    def console(
        *, open_: Annotated[bool, typer.Option("--open", help="Open it in this machine's browser as well.")] = False
    ) -> None:
        """Print a link to the console that logs you in. It works once, within a minute."""
        with gateway() as client:
            link, address = client.console_link()
        typer.echo(address)
        typer.echo(f"logs in {link.name}, once, within {link.seconds:.0f} s", err=True)
        if open_ and not webbrowser.open(address):
            typer.echo("no browser could be opened here: open the link yourself", err=True)

    return console
