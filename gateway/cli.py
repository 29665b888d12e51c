"""The command `airlock`: the gateway itself, and a small client for people and scripts.

Turns words into one request and an answer into an exit code; `output.py` and `terminal.py` own how things look.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer
from pydantic import JsonValue

from gateway import __version__, arguments, cli_explain, cli_policy
from gateway.cli_audit import audit_app
from gateway.cli_client import USAGE, fail, reached
from gateway.cli_console import console_command
from gateway.cli_monty import add_monty
from gateway.cli_webhooks import webhooks_app
from gateway.settings import Settings, StartError, read
from gateway.wire_answers import ExecutionView

if TYPE_CHECKING:
    from gateway.client import Client  # the gateway itself needs nothing of what asks it, nor of what shows its answers

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

_RULINGS = (
    "approve: run it once, as it is. approve-edited: run your version. raise-limits: run it with more. grant: let the"
    " agent try again. reject: no, and why. answer: give the result yourself. escalate: pass it on."
)

app = typer.Typer(
    name="airlock",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=_EPILOG,
)
policy_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Work with policy files.")

Program: TypeAlias = Annotated[str, typer.Argument(metavar="FILE", help="A Python file; - is stdin.")]
Review: TypeAlias = Annotated[str, typer.Argument(metavar="ID", help="rev_..., as `airlock reviews` lists it.")]
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


@app.command(help=_SERVE)
def serve() -> None:
    """Run the gateway."""
    from gateway import main as gateway  # a client needs none of it
    from gateway.policy_file import PolicyError

    try:
        gateway.serve(read(Settings))
    except (StartError, PolicyError) as error:
        fail(str(error), os.EX_CONFIG)


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
    with reached() as client:
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
    execution_id: Annotated[str, typer.Argument(metavar="ID", help="exe_..., as an answer names it.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the events instead, one JSON object a line.")] = False,
) -> None:
    """Follow an execution from its beginning. Prints what it prints, and exits as it does."""
    from gateway import terminal

    with reached() as client:
        if as_json:
            for event in client.follow(execution_id):
                typer.echo(json.dumps({"event": event.name, "id": event.id, "data": event.data}))
            view = client.execution(execution_id)
        else:
            view = _follow(client, execution_id)
    raise typer.Exit(terminal.exit_code(view))


@app.command()
def status() -> None:
    """Tell what the gateway can do now. Exits with 0 when it takes programs."""
    from gateway import output, terminal

    with reached() as client:
        ready = client.readiness()
    terminal.show_readiness(output.console(sys.stdout), ready)
    raise typer.Exit(0 if ready.ready else 1)


@app.command()
def task(
    task_id: Annotated[str, typer.Argument(metavar="ID", help="The task's name, as its agent chose it.")],
    *,
    wait: Annotated[int, typer.Option(min=0, max=86400, help="Seconds to wait for the agent's turn.")] = 0,
) -> None:
    """Show a task."""
    from gateway import output, terminal
    from gateway.client import LONGEST_POLL

    until = time.monotonic() + wait
    with reached() as client, output.spinner() if wait else nullcontext():
        view = client.task(task_id, wait_seconds=min(wait, LONGEST_POLL))
        while view.turn not in {"agent", "nobody"} and (left := int(until - time.monotonic())) > 0:
            view = client.task(task_id, wait_seconds=min(left, LONGEST_POLL))
    terminal.show_task(output.console(sys.stdout), view)


@app.command()
def reviews(
    *,
    state: Annotated[ReviewState, typer.Option(help="Only these.")] = ReviewState.OPEN,
    everything: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
) -> None:
    """List the reviews that wait for a person."""
    from gateway import output, terminal

    with reached(reviewer=True) as client:
        found = client.reviews(None if everything else state.value)
    if found:
        terminal.show_reviews(output.console(sys.stdout), found)
    else:
        typer.echo("no review" if everything else f"no review is {state.value}", err=True)


@app.command()
def review(review_id: Review) -> None:
    """Show a review: the tries, what went wrong, how to rule."""
    from gateway import output, terminal

    with reached(reviewer=True) as client:
        terminal.show_review(output.console(sys.stdout), client.review(review_id))


@app.command()
def rule(  # noqa: PLR0913  # the parts of a ruling
    review_id: Review,
    verdict: Annotated[Verdict, typer.Argument(metavar="RULING", help=_RULINGS)],
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
    with reached(reviewer=True) as client:
        if token is None:
            seen = client.review(review_id)
            terminal.show_review(console, seen)
            token = seen.token or "decided"
        decided = client.rule(review_id, {**ruling, "token": token})
    terminal.show_reviews(console, [decided])


def _as_reviewer() -> AbstractContextManager[Client]:
    return reached(reviewer=True)


app.command("console")(console_command(_as_reviewer))


@app.command()
def isolation(
    *,
    test: Annotated[bool, typer.Option("--test", help="Run the self-test now; takes an operator's key.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it whole as JSON.")] = False,
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


@app.command()
def prune(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what is due, and delete nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it whole as JSON.")] = False,
) -> None:
    """Delete now what retention allows to. The gateway does so by itself as well. Takes an operator's key."""
    from gateway import output, terminal

    with reached(reviewer=True) as client:
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
        fail(str(error), USAGE)


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


add_monty(app, _as_reviewer)
cli_policy.add_to(policy_app)
cli_explain.add_to(policy_app, reached)
app.add_typer(policy_app, name="policy")
app.add_typer(webhooks_app(_as_reviewer), name="webhooks")
app.add_typer(audit_app(fail), name="audit")
