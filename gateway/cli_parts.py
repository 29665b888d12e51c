"""What commands share: a client of the gateway that they ask, options, and how they end where it cannot be done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn, TypeAlias

import typer

from gateway.auth import REVIEWER_KEY, KeysError, read_key
from gateway.settings import ClientSettings, SettingsError, read

if TYPE_CHECKING:
    from gateway.client import Client  # the gateway itself needs nothing of what asks it, nor of what shows its answers

USAGE: Final = 2
"""The exit code of what was asked for wrongly."""

Pairs: TypeAlias = list[str] | None
Limits: TypeAlias = Annotated[Pairs, typer.Option("--limit", metavar="NAME=AMOUNT", help="As memory=128Mi, time=10s.")]
Database: TypeAlias = Annotated[str | None, typer.Option(metavar="URL", help="Other than the gateway's own.")]


def fail(message: str, code: int) -> NoReturn:
    """Say why a command cannot be done, and end it."""
    from gateway.spelling import visible

    typer.echo(visible(message), err=True)
    raise typer.Exit(code)


@contextmanager
def gateway(*, reviewer: bool = False) -> Iterator[Client]:
    """A client of the gateway that the environment names; its refusals end the command."""
    from gateway import output, terminal
    from gateway.client import Client, RefusedError, UnreachableError, is_loopback

    try:
        settings = read(ClientSettings)
        key = settings.key.get_secret_value() if settings.key else None
        if key is None and reviewer and is_loopback(settings.base_url):
            key = _reviewer_key(settings.data / REVIEWER_KEY)
        with Client(settings.base_url, key) as client:
            yield client
    except SettingsError as error:
        fail(str(error), USAGE)
    except (KeysError, output.SaveError) as error:
        fail(str(error), 1)
    except UnreachableError as error:
        fail(str(error), terminal.EXIT_TEMPORARY)
    except RefusedError as error:
        wrong = [f"  {one.field}: {one.message}" for one in error.problem.errors or ()]
        wrong += [f"  {words}" for words in terminal.findings_of(error.problem)]
        fail("\n".join([error.problem.detail, *wrong]), terminal.EXIT_TEMPORARY if error.temporary else 1)


def _reviewer_key(path: Path) -> str | None:
    try:
        return read_key(path)
    except OSError:
        return None
