"""How a command reaches the gateway: where it is, the key to show, and what a refusal means for the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, NoReturn

import typer

from gateway.auth import REVIEWER_KEY, KeysError, read_key
from gateway.settings import ClientSettings, SettingsError, read

if TYPE_CHECKING:
    from gateway.client import Client, RefusedError  # the gateway itself needs nothing of what asks it

USAGE = 2


def fail(message: str, code: int) -> NoReturn:
    """Say why on stderr, and end the command."""
    from gateway.spelling import visible

    typer.echo(visible(message), err=True)
    raise typer.Exit(code)


@contextmanager
def reached(*, reviewer: bool = False) -> Iterator[Client]:
    """A client of the gateway that the environment names; its refusals end the command.

    `reviewer`: where no key is named and the gateway is on this machine, the key in its data directory is shown.
    """
    from gateway import output, terminal
    from gateway.client import Client, RefusedError, UnreachableError, is_loopback

    try:
        settings = read(ClientSettings)
        key = settings.key.get_secret_value() if settings.key else None
        whose = "The key shown is that of AIRLOCK_KEY." if key else "AIRLOCK_KEY says which key to show."
        if key is None and reviewer and is_loopback(settings.base_url):
            file = settings.data / REVIEWER_KEY
            key = _reviewer_key(settings)
            shown = f"The key shown is that of {file}" if key else f"No key was shown: there is no {file}"
            whose = f"{shown}. AIRLOCK_DATA names the gateway's data directory, or AIRLOCK_KEY holds the key to show."
        with Client(settings.base_url, key) as client:
            yield client
    except SettingsError as error:
        fail(str(error), USAGE)
    except (KeysError, output.SaveError) as error:
        fail(str(error), 1)
    except UnreachableError as error:
        fail(f"{error}\nAIRLOCK_URL names another address.", terminal.EXIT_TEMPORARY)
    except RefusedError as error:
        about_key = error.problem.status == HTTPStatus.UNAUTHORIZED or (
            error.problem.status == HTTPStatus.FORBIDDEN and key is None
        )
        fail(_words(error, [whose] if about_key else []), terminal.EXIT_TEMPORARY if error.temporary else 1)


def _reviewer_key(settings: ClientSettings) -> str | None:
    try:
        return read_key(settings.data / REVIEWER_KEY)
    except OSError:
        return None


def _words(error: RefusedError, besides: list[str]) -> str:
    """The gateway's own words, and what they do not say."""
    from gateway import terminal

    detail = error.problem.detail
    wrong = [f"{one.field}: {one.message}" for one in error.problem.errors or ()]
    told = [f"  {words}" for words in wrong if words != detail]
    told += [f"  {words}" for words in terminal.findings_of(error.problem)]
    return "\n".join([detail, *told, *besides])
