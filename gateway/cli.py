"""The command `airlock`: the gateway itself, and a small client for people and scripts.

Turns words into one request and an answer into an exit code; `terminal.py` owns how things look. Program output goes
out byte for byte into a pipe, and made harmless onto a terminal.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn, TextIO, TypeAlias

import typer
from pydantic import JsonValue
from rich.console import Console

from gateway import __version__, arguments, terminal
from gateway.arguments import is_clean
from gateway.auth import REVIEWER_KEY, KeysError, read_key
from gateway.client import LONGEST_POLL, Client, RefusedError, UnreachableError, is_loopback
from gateway.settings import ClientSettings, Settings, SettingsError, StartError, read
from gateway.wire import ExecutionView, FileOut

_USAGE = 2
_PIPE_WIDTH = 160

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
    from gateway import main as gateway  # noqa: PLC0415  # a client needs none of it
    from gateway.policy_file import PolicyError  # noqa: PLC0415

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
    lane: Annotated[LaneChoice, typer.Option(help="Where to run.")] = LaneChoice.AUTO,
    force: Annotated[bool, typer.Option("--force", help="Run it although a name surely does not exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")] = False,
) -> None:
    """Run a program, print what it prints, and exit as it does."""
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
    with _gateway() as client:
        with _spinner():
            view = _submit(client, request)
        if as_json:
            typer.echo(json.dumps(json.loads(view.model_dump_json()), indent=2))
        else:
            _show(view)
        _save(client, view, out)
    raise typer.Exit(terminal.exit_code(view))


@app.command()
def status() -> None:
    """Tell what the gateway can do now; exit 0 when it takes programs."""
    with _gateway() as client:
        ready = client.readiness()
    terminal.show_readiness(_console(sys.stdout), ready)
    raise typer.Exit(0 if ready.ready else 1)


@app.command()
def task(
    task_id: Annotated[str, typer.Argument(metavar="ID")],
    *,
    wait: Annotated[int, typer.Option(min=0, max=86400, help="Seconds to wait for the agent's turn.")] = 0,
) -> None:
    """Show a task."""
    until = time.monotonic() + wait
    with _gateway() as client, _spinner() if wait else nullcontext():
        view = client.task(task_id, wait_seconds=min(wait, LONGEST_POLL))
        while view.turn not in {"agent", "nobody"} and (left := int(until - time.monotonic())) > 0:
            view = client.task(task_id, wait_seconds=min(left, LONGEST_POLL))
    terminal.show_task(_console(sys.stdout), view)


@app.command()
def reviews(*, state: Annotated[ReviewState | None, typer.Option(help="Only these.")] = None) -> None:
    """List the reviews of the tenant."""
    with _gateway(reviewer=True) as client:
        found = client.reviews(state.value if state else None)
    terminal.show_reviews(_console(sys.stdout), found)


@app.command()
def review(review_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Show a review: the tries, the code, what went wrong, and how to rule."""
    with _gateway(reviewer=True) as client:
        terminal.show_review(_console(sys.stdout), client.review(review_id))


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
    console = _console(sys.stdout)
    with _gateway(reviewer=True) as client:
        if token is None:
            seen = client.review(review_id)
            terminal.show_review(console, seen)
            token = seen.token or "decided"
        decided = client.rule(review_id, {**ruling, "token": token})
    terminal.show_reviews(console, [decided])


@policy_app.command("check")
def policy_check(file: Annotated[Path, typer.Argument(help="A policy file.")]) -> None:
    """Say what is wrong with a policy file, and where."""
    from gateway.policy_file import PolicyError, read_policy  # noqa: PLC0415  # a client needs none of it

    try:
        policy = read_policy(file)
    except PolicyError as error:
        _fail("\n".join(str(problem) for problem in error.problems), 1)
    typer.echo(f"{file}: fine; profiles: {', '.join(sorted(policy.profiles))}; keys: {len(policy.keys)}")


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(terminal.visible(message), err=True)
    raise typer.Exit(code)


@contextmanager
def _gateway(*, reviewer: bool = False) -> Iterator[Client]:
    """A client of the gateway that the environment names; its refusals end the command."""
    try:
        settings = read(ClientSettings)
        key = settings.key.get_secret_value() if settings.key else None
        if key is None and reviewer and is_loopback(settings.base_url):
            key = _reviewer_key(settings.data / REVIEWER_KEY)
        with Client(settings.base_url, key) as client:
            yield client
    except SettingsError as error:
        _fail(str(error), _USAGE)
    except KeysError as error:
        _fail(str(error), 1)
    except UnreachableError as error:
        _fail(str(error), terminal.EXIT_TEMPORARY)
    except RefusedError as error:
        wrong = [f"  {one.field}: {one.message}" for one in error.problem.errors or ()]
        _fail("\n".join([error.problem.detail, *wrong]), terminal.EXIT_TEMPORARY if error.temporary else 1)


def _reviewer_key(path: Path) -> str | None:
    try:
        return read_key(path)
    except OSError:
        return None


def _submit(client: Client, request: dict[str, JsonValue]) -> ExecutionView:
    try:
        return client.submit(request)
    except RefusedError as error:
        if error.execution is None:
            raise
        return error.execution


def _show(view: ExecutionView) -> None:
    _emit(sys.stdout, view.stdout)
    _emit(sys.stderr, view.stderr)
    if view.result is not None:
        gap = "\n" if view.stdout and not view.stdout.endswith("\n") else ""
        _emit(sys.stdout, f"{gap}{terminal.result_text(view)}\n")
    terminal.show_ending(_console(sys.stderr), view)


def _emit(stream: TextIO, text: str) -> None:
    """A program's own output: its bytes into a pipe, nothing that acts onto a terminal."""
    if stream.isatty():
        stream.write(terminal.visible(text))
    else:
        stream.flush()
        stream.buffer.write(text.encode("utf-8", "replace"))
    stream.flush()


def _save(client: Client, view: ExecutionView, directory: Path | None) -> None:
    """Write what the program left below the directory, and only there; without one, tell of it."""
    for file in view.files:
        if directory is None or not is_clean(file.path):
            typer.echo(terminal.visible(f"file: {file.path} ({file.size_bytes} bytes; --out DIR saves it)"), err=True)
            continue
        target = directory / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(os.open(target, flags, 0o644), "wb") as saved:
            saved.write(client.file(view.id, file.path) if file.content is None else _content(file))


def _content(file: FileOut) -> bytes:
    text = file.content or ""
    return base64.b64decode(text) if file.encoding == "base64" else text.encode()


def _console(stream: TextIO) -> Console:
    wide = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, width=wide, markup=False, highlight=False, emoji=False)


def _spinner() -> AbstractContextManager[object]:
    console = Console(stderr=True)
    return console.status("running") if console.is_terminal else nullcontext()
