"""The command `airlock`: the gateway itself, and a small client for people and scripts.

Turns words into one request and an answer into an exit code; `output.py` and `terminal.py` own how things look.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from gateway import (
    __version__,
    cli_audit,
    cli_console,
    cli_explain,
    cli_operators,
    cli_policy,
    cli_programs,
    cli_record,
    cli_reviews,
    cli_webhooks,
)
from gateway.cli_client import fail
from gateway.settings import Settings, StartError, read

_EPILOG = (
    "Commands ask the gateway at AIRLOCK_URL (http://127.0.0.1:8080) and show it AIRLOCK_KEY. Without that, those of"
    " reviewers and operators show the key that the gateway of this machine keeps in AIRLOCK_DATA (./data)."
)
_SERVE = """Run the gateway. The environment says how; in parentheses what holds without it:

\b
AIRLOCK_LISTEN        where to listen (127.0.0.1:8080)
AIRLOCK_DATA          the database, the reviewer's key (./data)
AIRLOCK_POLICY        the policy file (policies/default.yaml)
AIRLOCK_DATABASE_URL  the database (SQLite in AIRLOCK_DATA)
AIRLOCK_LOG           debug, info, warning or error (info)
AIRLOCK_LOG_FORMAT    text or json (text)
"""

app = typer.Typer(
    name="airlock",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=_EPILOG,
)
policy_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Work with policy files.")


def _version(wanted: bool) -> None:  # noqa: FBT001  # typer calls it so
    if wanted:
        typer.echo(f"airlock {__version__}")
        raise typer.Exit


@app.callback()
def main(
    *, version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell it.")] = False
) -> None:
    """Check, run, budget and review the Python that AI agents write."""


@app.command(help=_SERVE)
def serve() -> None:
    """Run the gateway."""
    from gateway import main as gateway  # a client needs none of it
    from gateway.policy_file import PolicyError

    try:
        gateway.serve(read(Settings))
    except (StartError, PolicyError) as error:
        fail(str(error), os.EX_CONFIG)


for command in (
    cli_programs.run,
    cli_programs.events,
    cli_operators.status,
    cli_programs.task,
    cli_reviews.reviews,
    cli_reviews.review,
    cli_reviews.rule,
    cli_console.console,
    cli_operators.isolation,
    cli_operators.prune,
    cli_record.verify,
    cli_record.backup,
    cli_operators.monty,
):
    app.command()(command)
cli_policy.add_to(policy_app)
cli_explain.add_to(policy_app)
app.add_typer(policy_app, name="policy")
app.add_typer(cli_webhooks.app, name="webhooks")
app.add_typer(cli_audit.app, name="audit")
