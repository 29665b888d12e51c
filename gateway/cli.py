"""The command `airlock`: the gateway itself, and a small client for people and scripts.

Turns words into one request and an answer into an exit code; `output.py` and `terminal.py` own how things look.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeAlias

import typer
from pydantic import JsonValue

from gateway import __version__, arguments, cli_explain, cli_policy
from gateway.auth import REVIEWER_KEY, KeysError, read_key
from gateway.cli_audit import audit_app
from gateway.cli_console import console_command
from gateway.cli_monty import add_monty
from gateway.cli_webhooks import webhooks_app
from gateway.settings import ClientSettings, Settings, SettingsError, StartError, read
from gateway.wire_answers import ExecutionView

if TYPE_CHECKING:
    from gateway.client import Client  # the gateway itself needs nothing of what asks it, nor of what shows its answers

_USAGE = 2

app = typer.Typer(
    name="airlock", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)
policy_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Work with policy files.")
app.add_typer(policy_app, name="policy")

Program: TypeAlias = Annotated[str, typer.Argument(metavar="FILE", help="A Python file; - is stdin.")]
Pairs: TypeAlias = list[str] | None
Limits: TypeAlias = Annotated[Pairs, typer.Option("--limit", metavar="NAME=AMOUNT", help="As memory=128Mi, time=10s.")]


class Verdict(StrEnum):
    """A ruling, as it is typed."""

    APPROVE = "approve"
    APPROVE_EDITED = "approve-edited"
    RAISE_LIMITS = "raise-limits"
    GRANT = "grant"
    REJECT = "reject"
    ANSWER = "answer"
    ESCALATE = "escalate"


class ReviewState(StrEnum):
    """Where a review is."""

    OPEN = "open"
    DECIDED = "decided"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


class LaneChoice(StrEnum):
    """Where to run."""

    AUTO = "auto"
    MONTY = "monty"
    CONTAINER = "container"


def _version(wanted: bool) -> None:  # noqa: FBT001  # typer calls it so
    if wanted:
        typer.echo(f"airlock {__version__}")
        raise typer.Exit


@app.callback()
def main(
    *, version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell it.")] = False
) -> None:
    """Check, run, budget and review the Python that AI agents write."""


@app.command()
def serve() -> None:
    """Run the gateway. It is configured by AIRLOCK_LISTEN, _DATA, _POLICY, _DATABASE_URL and _LOG."""
    from gateway import main as gateway  # a client needs none of it
    from gateway.policy_file import PolicyError

    try:
        gateway.serve(read(Settings))
    except (StartError, PolicyError) as error:
        _fail(str(error), os.EX_CONFIG)


@app.command()
def run(  # noqa: PLR0913  # the options of a program
    file: Program,
    *,
    task: Annotated[str | None, typer.Option(help="What the program belongs to.")] = None,
    inputs: Annotated[Pairs, typer.Option("--input", metavar="NAME=VALUE", help="JSON, or else text.")] = None,
    limits: Limits = None,
    files: Annotated[list[Path] | None, typer.Option("--file", help="A file that the program finds.")] = None,
    outputs: Annotated[Pairs, typer.Option("--output", metavar="GLOB", help="Files to bring back.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to put them.")] = None,
    stdin_file: Annotated[Path | None, typer.Option(help="What the program reads from stdin.")] = None,
    schema: Annotated[Path | None, typer.Option(metavar="FILE", help="A JSON Schema that the result keeps.")] = None,
    expect: Annotated[
        Pairs, typer.Option(metavar="NAME=VALUE", help='As max_stdout_bytes=99, files=["a.csv"].')
    ] = None,
    lane: Annotated[LaneChoice, typer.Option(help="Where to run.")] = LaneChoice.AUTO,
    force: Annotated[bool, typer.Option("--force", help="Run it although a name surely does not exist.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run it although its result may be known.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Print what it prints while it runs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")] = False,
) -> None:
    """Run a program, print what it prints, and exit as it does."""
    from gateway import output, terminal

    if follow and as_json:
        raise typer.BadParameter("--follow prints as it comes, --json prints the whole at the end: take one")
    request: dict[str, JsonValue] = {
        "code": arguments.text_of(file),
        "inputs": arguments.values(inputs or ()),
        "files": [arguments.file_in(path) for path in files or ()],
        "outputs": list(outputs or ()),
        "lane": lane,
        "force": force,
    }
    if task is not None:
        request["task_id"] = task
    if stdin_file is not None:
        request["stdin"] = arguments.text_of(str(stdin_file))
    if limits:
        request["limits"] = arguments.values(limits)
    if schema or expect:
        promised = {"result_schema": arguments.json_value(arguments.text_of(str(schema)))} if schema else {}
        request["expect"] = {**promised, **arguments.values(expect or ())}
    with _gateway() as client:
        with output.spinner() if not follow else nullcontext():
            view = _submit(client, request, fresh=fresh, wait=not follow)
        if follow:
            view = _follow(client, view.id)
        elif as_json:
            typer.echo(json.dumps(json.loads(view.model_dump_json()), indent=2))
        else:
            output.show(view)
        output.save(view, out, client.file)
    raise typer.Exit(terminal.exit_code(view))


@app.command()
def events(
    execution_id: Annotated[str, typer.Argument(metavar="ID")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the events instead, one JSON object a line.")] = False,
) -> None:
    """Follow an execution from its beginning: print what it prints, and exit as it does."""
    from gateway import terminal

    with _gateway() as client:
        if as_json:
            for event in client.follow(execution_id):
                typer.echo(json.dumps({"event": event.name, "id": event.id, "data": event.data}))
            view = client.execution(execution_id)
        else:
            view = _follow(client, execution_id)
    raise typer.Exit(terminal.exit_code(view))


@app.command()
def status() -> None:
    """Tell what the gateway can do now; exit 0 when it takes programs."""
    from gateway import output, terminal

    with _gateway() as client:
        ready = client.readiness()
    terminal.show_readiness(output.console(sys.stdout), ready)
    raise typer.Exit(0 if ready.ready else 1)


@app.command()
def task(
    task_id: Annotated[str, typer.Argument(metavar="ID")],
    *,
    wait: Annotated[int, typer.Option(min=0, max=86400, help="Seconds to wait for the agent's turn.")] = 0,
) -> None:
    """Show a task."""
    from gateway import output, terminal
    from gateway.client import LONGEST_POLL

    until = time.monotonic() + wait
    with _gateway() as client, output.spinner() if wait else nullcontext():
        view = client.task(task_id, wait_seconds=min(wait, LONGEST_POLL))
        while view.turn not in {"agent", "nobody"} and (left := int(until - time.monotonic())) > 0:
            view = client.task(task_id, wait_seconds=min(left, LONGEST_POLL))
    terminal.show_task(output.console(sys.stdout), view)


@app.command()
def reviews(*, state: Annotated[ReviewState | None, typer.Option(help="Only these.")] = None) -> None:
    """List the reviews of the tenant."""
    from gateway import output, terminal

    with _gateway(reviewer=True) as client:
        found = client.reviews(state.value if state else None)
    terminal.show_reviews(output.console(sys.stdout), found)


@app.command()
def review(review_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Show a review: the tries, the code, what went wrong, and how to rule."""
    from gateway import output, terminal

    with _gateway(reviewer=True) as client:
        terminal.show_review(output.console(sys.stdout), client.review(review_id))


@app.command()
def rule(  # noqa: PLR0913  # the parts of a ruling
    review_id: Annotated[str, typer.Argument(metavar="ID")],
    verdict: Verdict,
    *,
    message: Annotated[str, typer.Option("--message", "-m", help="For the agent.")] = "",
    code: Annotated[str | None, typer.Option(metavar="FILE", help="approve-edited: your version; - is stdin.")] = None,
    limits: Limits = None,
    failures: Annotated[int | None, typer.Option(help="grant: how many failures more.")] = None,
    result: Annotated[str | None, typer.Option(metavar="JSON", help="answer: the result.")] = None,
    not_final: Annotated[bool, typer.Option("--not-final", help="reject: the task goes on.")] = False,
    token: Annotated[str | None, typer.Option(help="Of the review that you looked at.")] = None,
) -> None:
    """Decide a review. Without --token, what it is now is shown and decided on."""
    from gateway import output, terminal

    ruling: dict[str, JsonValue] = {"ruling": verdict.replace("-", "_"), "message": message, "final": not not_final}
    if code is not None:
        ruling["code"] = arguments.text_of(code)
    if limits:
        ruling["limits"] = arguments.values(limits)
    if failures is not None:
        ruling["failures"] = failures
    if result is not None:
        ruling["result"] = arguments.json_value(result)
    arguments.check_ruling(ruling)
    console = output.console(sys.stdout)
    with _gateway(reviewer=True) as client:
        if token is None:
            seen = client.review(review_id)
            terminal.show_review(console, seen)
            token = seen.token or "decided"
        decided = client.rule(review_id, {**ruling, "token": token})
    terminal.show_reviews(console, [decided])


@app.command()
def isolation(
    *,
    test: Annotated[bool, typer.Option("--test", help="Run the self-test now; takes an operator's key.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it whole as JSON.")] = False,
) -> None:
    """Show what isolates programs and how that was proven; exit with 1 where something did not hold."""
    from gateway import output, terminal

    with _gateway(reviewer=test) as client:
        view = client.prove_isolation() if test else client.isolation()
    if as_json:
        typer.echo(view.model_dump_json(indent=2))
    else:
        terminal.show_isolation(output.console(sys.stdout), view)
    if not view.held:
        raise typer.Exit(1)


@app.command()
def prune(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what is due, and delete nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it whole as JSON.")] = False,
) -> None:
    """Delete now what retention allows to; the gateway does so by itself as well. Takes an operator's key."""
    from gateway import output, terminal

    with _gateway(reviewer=True) as client:
        view = client.retention() if dry_run else client.prune()
    if as_json:
        typer.echo(view.model_dump_json(indent=2))
    else:
        terminal.show_retention(output.console(sys.stdout), view)


@app.command()
def verify(
    *,
    database: Annotated[str | None, typer.Option(metavar="URL", help="Other than the gateway's own.")] = None,
    heads: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Compare with it; write it where it is not.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An export instead of a store; needs nothing else.")
    ] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Write FILE anew where all is well.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Look whether the record is whole, beside a gateway at work or without one; exit with 1 where it is not."""
    from gateway import output, verifying  # a client needs none of it

    try:
        if export is not None:
            report = verifying.run_export(export)
        else:
            url = database or read(Settings).database
            report = verifying.run(url, heads, renew=renew, console=output.console(sys.stderr))
    except (StartError, verifying.VerifyError) as error:
        _fail(str(error), _USAGE)
    if as_json:
        typer.echo(verifying.as_json(report))
    else:
        verifying.show(output.console(sys.stdout), report)
    raise typer.Exit(1 if report.flaws else 0)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; it must not be there yet.")],
    *,
    database: Annotated[str | None, typer.Option(metavar="URL", help="Other than the gateway's own.")] = None,
) -> None:
    """Copy the gateway's database while it is at work or not. The copy is as private as the original."""
    from gateway.database import DatabaseError, back_up  # a client needs none of it

    try:
        back_up(database or read(Settings).database, file)
    except (StartError, DatabaseError) as error:
        _fail(str(error), _USAGE)


def _fail(message: str, code: int) -> NoReturn:
    from gateway.spelling import visible

    typer.echo(visible(message), err=True)
    raise typer.Exit(code)


@contextmanager
def _gateway(*, reviewer: bool = False) -> Iterator[Client]:
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
        _fail(str(error), _USAGE)
    except (KeysError, output.SaveError) as error:
        _fail(str(error), 1)
    except UnreachableError as error:
        _fail(str(error), terminal.EXIT_TEMPORARY)
    except RefusedError as error:
        wrong = [f"  {one.field}: {one.message}" for one in error.problem.errors or ()]
        wrong += [f"  {words}" for words in terminal.findings_of(error.problem)]
        _fail("\n".join([error.problem.detail, *wrong]), terminal.EXIT_TEMPORARY if error.temporary else 1)


def _reviewer_key(path: Path) -> str | None:
    try:
        return read_key(path)
    except OSError:
        return None


def _follow(client: Client, execution: str) -> ExecutionView:
    """Print what an execution prints until it ends, then the rest of its answer."""
    from gateway import output

    output.follow(client.follow(execution))
    view = client.execution(execution)
    output.show(view, printed=True)
    return view


def _submit(client: Client, request: dict[str, JsonValue], *, fresh: bool, wait: bool = True) -> ExecutionView:
    from gateway.client import RefusedError

    try:
        return client.submit(request, fresh=fresh, wait=wait)
    except RefusedError as error:
        if error.execution is None:
            raise
        return error.execution


add_monty(app, lambda: _gateway(reviewer=True))
cli_policy.add_to(policy_app)
cli_explain.add_to(policy_app, _gateway)
app.add_typer(webhooks_app(lambda: _gateway(reviewer=True)), name="webhooks")
app.command("console")(console_command(lambda: _gateway(reviewer=True)))
app.add_typer(audit_app(_fail), name="audit")
