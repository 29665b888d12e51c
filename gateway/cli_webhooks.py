"""The commands of operators about webhooks."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from gateway.cli_client import reached

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Letters to webhooks and mail addresses that nobody took."
)


@app.command("list")
def list_(*, as_json: Annotated[bool, typer.Option("--json", help="Print them whole, one a line.")] = False) -> None:
    """List the dead letters, oldest first."""
    from gateway import output, terminal

    with reached(reviewer=True) as client:
        letters = client.dead_letters()
    if as_json:
        for letter in letters:
            typer.echo(json.dumps(json.loads(letter.model_dump_json())))
    else:
        terminal.show_letters(output.console(sys.stdout), letters)


@app.command()
def replay(
    letters: Annotated[list[str] | None, typer.Argument(metavar="ID...")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that there are.")] = False,
) -> None:
    """Try to deliver dead letters again."""
    if bool(letters) is everything:
        raise typer.BadParameter("name letters, or take --all")
    from gateway import output, terminal

    with reached(reviewer=True) as client:
        chosen = letters or [letter.id for letter in client.dead_letters()]
        terminal.show_letters(output.console(sys.stdout), [client.replay_letter(letter) for letter in chosen])


@app.command()
def drop(letters: Annotated[list[str], typer.Argument(metavar="ID...")]) -> None:
    """Forget dead letters."""
    with reached(reviewer=True) as client:
        for letter in letters:
            client.drop_letter(letter)
