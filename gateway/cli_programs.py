"""The commands of agents: to run a program, to follow one, and how a task stands."""

from __future__ import annotations

import json
import sys
import time
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer
from pydantic import JsonValue

from gateway import arguments
from gateway.cli_client import reached
from gateway.cli_options import Limits, Pairs
from gateway.wire_answers import ExecutionView

if TYPE_CHECKING:
    from gateway.client import Client  # the gateway itself needs nothing of what asks it, nor of what shows its answers

Program: TypeAlias = Annotated[str, typer.Argument(metavar="FILE", help="A Python file; - is stdin.")]


class LaneChoice(StrEnum):
    """Where to run."""

    AUTO = "auto"
    MONTY = "monty"
    CONTAINER = "container"


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
    optional: dict[str, JsonValue] = {
        "task_id": task,
        "stdin": arguments.text_of(str(stdin_file)) if stdin_file is not None else None,
        "limits": arguments.values(limits) if limits else None,
        "expect": _promised(schema, expect),
    }
    request |= {name: value for name, value in optional.items() if value is not None}
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


def _promised(schema: Path | None, expect: Pairs) -> dict[str, JsonValue] | None:
    """What the result is to keep, where anything is said of it."""
    if not schema and not expect:
        return None
    shape = {"result_schema": arguments.json_value(arguments.text_of(str(schema)))} if schema else {}
    return {**shape, **arguments.values(expect or ())}


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
