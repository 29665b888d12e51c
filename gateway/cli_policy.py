"""The commands that try a policy file out before it is trusted: is it sound, what would it change, does it do as it should.

Each exits with 0 where all is as it was or should be, with 1 where it is not, with 2 where that could not be found out.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from gateway.cli_client import fail
from gateway.cli_options import Database
from gateway.settings import Settings, StartError, read

if TYPE_CHECKING:
    from gateway.policy import Policy
    from gateway.policy_diff import Change
    from gateway.policy_file import Problem
    from gateway.replaying import Replayed

_TROUBLE = 2
_SHOWN = 20  # of what changes, in words; all of it with --json
_VERSION = re.compile(r"3\.[0-9]{1,3}")
_SPAN = re.compile(r"([1-9][0-9]{0,4})([dh])")

PolicyFile: TypeAlias = Annotated[Path | None, typer.Argument(help="A policy file; without it, AIRLOCK_POLICY.")]
Since: TypeAlias = Annotated[str, typer.Option(metavar="SPAN", help="How far back: 7d, 12h.")]
GuestPython: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="VERSION",
        help="The Python of the boxes, such as 3.13, for which a gateway asks its engine. Without it, what depends on"
        " it (requires-python, syntax that this Python cannot read) is decided as where the engine is away.",
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


def add_to(policy_app: typer.Typer) -> None:
    """Add the commands to `airlock policy`."""
    policy_app.command("check")(check)
    policy_app.command("diff")(diff)
    policy_app.command("test")(run_tests)
    policy_app.command("replay")(replay)
    policy_app.command("learn")(learn)


def check(file: PolicyFile = None, *, as_json: AsJson = False) -> None:
    """Say what is wrong with a policy file, one line for each: file:line:column."""
    from gateway.policy_file import PolicyError, read_policy

    path = _path(file)
    try:
        policy = read_policy(path)
    except PolicyError as error:
        _tell_problems(error.problems, as_json=as_json)
        raise typer.Exit(1) from None
    if as_json:
        _print_json({"file": str(path), "name": policy.name, "problems": []})
    else:
        typer.echo(f"{path}: fine; profiles: {', '.join(sorted(policy.profiles))}; keys: {len(policy.keys)}")


def diff(
    old: Annotated[Path, typer.Argument(help="A policy file.")],
    new: Annotated[Path, typer.Argument(help="Another one.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Say key by key what another policy would change: wider, narrower or different, and for whom."""
    from gateway.policy_diff import differences

    changes = differences(_sound(old), _sound(new))
    if as_json:
        _print_json({"changes": [asdict(one) for one in changes]})
    else:
        for line in _compared(changes):
            _print(line)
    raise typer.Exit(1 if changes else 0)


def _compared(changes: Iterable[Change]) -> Iterator[str]:
    for one in changes:
        whom = f" ({', '.join(one.whom)})" if one.whom else ""
        yield f"{one.way:9} {one.key}: {one.old} -> {one.new}{whom}"


def run_tests(file: PolicyFile = None, *, guest_python: GuestPython = None, as_json: AsJson = False) -> None:
    """Run a policy's own tests, which stand beside it in NAME.tests.yaml."""
    from gateway.policy_cases import beside, read_cases

    path = _path(file)
    policy = _sound(path)
    with _refusing():
        cases = read_cases(beside(path))
        problems = asyncio.run(_tested(policy, path, _guest(guest_python)))
    if as_json:
        _tell_problems(problems, as_json=True, cases=len(cases.cases))
    else:
        _tell_problems(problems, as_json=False)
        typer.echo(
            f"{cases.file}: {len(cases.cases)} cases, {len({one.path.split('.')[0] for one in problems})} do not hold"
        )
    raise typer.Exit(1 if problems else 0)


async def _tested(policy: Policy, path: Path, guest: Callable[[], Awaitable[str | None]]) -> tuple[Problem, ...]:
    from gateway.checks import Checker
    from gateway.policy_cases import beside, read_cases, run_cases
    from sandbox.monty import Monty

    monty = Monty()
    try:
        return await run_cases(policy, read_cases(beside(path)), Checker(monty, guest))
    finally:
        await monty.close()


def _guest(version: str | None) -> Callable[[], Awaitable[str | None]]:
    """What a gateway asks its engine for."""
    if version is not None and not _VERSION.fullmatch(version):
        raise typer.BadParameter(f"{version!r} is no version (write 3.13)", param_hint="--guest-python")

    async def told() -> str | None:
        return version

    return told


def replay(
    new: Annotated[Path, typer.Argument(help="The policy file to try.")],
    *,
    since: Since = "7d",
    database: Database = None,
    guest_python: GuestPython = None,
    as_json: AsJson = False,
) -> None:
    """Decide about the recorded requests by another policy, and say which decisions change. Reads only."""
    from gateway.database import DatabaseError, looking
    from gateway.reader import Reader
    from gateway.replaying import Replay

    policy, start, guest = _sound(new), _start(since), _guest(guest_python)
    try:
        with looking(database or read(Settings).database) as session:
            done = asyncio.run(Replay(Reader(session), policy, start, guest).run())
    except (StartError, DatabaseError) as error:
        fail(str(error), _TROUBLE)
    if as_json:
        _print_json(asdict(done))
    else:
        for line in _replayed(done, since):
            _print(line)
    raise typer.Exit(1 if done.changes else 0)


def _replayed(done: Replayed, since: str) -> Iterator[str]:
    from gateway.replaying import decisions_of

    yield f"{done.asked} executions of the last {since}; {done.replayed} replayed, {len(done.changes)} decided otherwise"
    for old, new, count in decisions_of(done.changes):
        yield f"  {count} {old} -> {new}"
    for count, why in (
        (done.deleted, "not replayed: retention deleted their code"),
        (done.ruled, "not replayed: a reviewer had decided"),
        (done.repeated, "not replayed: answered from the record of a failure"),
        (done.checks_changed, "decided otherwise by the old policy too: what refused them then is not in it"),
    ):
        if count:
            yield f"{count} {why}"
    yield f"reviews: {done.reviews_before} -> {done.reviews_after} ({done.reviews_after - done.reviews_before:+d})"
    for one in done.changes[:_SHOWN]:
        yield f"{one.execution} {one.caller} of {one.tenant}: {one.old} -> {one.new}{f' ({one.why})' if one.why else ''}"
    if len(done.changes) > _SHOWN:
        yield f"and {len(done.changes) - _SHOWN} more; --json has all"


def learn(
    file: PolicyFile = None,
    *,
    since: Since = "7d",
    database: Database = None,
    write: Annotated[
        bool, typer.Option("--write", help="Change the file; without it, only the diff is printed.")
    ] = False,
) -> None:
    """Propose the smallest change of a policy that would have admitted what it refused or only warned of, as a diff."""
    from gateway.database import DatabaseError, looking
    from gateway.learning import as_diff, learned, refusals, wishes
    from gateway.policy_diff import differences
    from gateway.policy_file import parse_policy
    from gateway.reader import Reader

    path = _path(file)
    policy, start = _sound(path), _start(since)
    try:
        with looking(database or read(Settings).database) as session:
            reader = Reader(session)
            found = wishes(reader.spared(start, 1_000_000), refusals(reader, start))
    except (StartError, DatabaseError) as error:
        fail(str(error), _TROUBLE)
    with path.open(encoding="utf-8", newline="") as opened:  # as it ends its lines
        text = opened.read()
    proposed = learned(text, policy, found)
    for name, wish in sorted(found.items()):
        for module, count in sorted(wish.modules.items()):
            _print(f"# profile {name}: {module} was wanted by {count} executions", err=True)
    with _refusing():
        changes = differences(policy, parse_policy(proposed, file=str(path)))  # what is proposed must be a policy
    for line in _compared(changes):  # for whom else: a list that several profiles share is widened for all of them
        _print(f"# {line}", err=True)
    if proposed == text:
        _print("# nothing to propose: no program since then would have needed another policy", err=True)
    typer.echo(as_diff(text, proposed, str(path)), nl=False)
    if write and proposed != text:
        path.write_text(proposed, "utf-8", newline="")
    raise typer.Exit(1 if proposed != text else 0)


def _start(since: str) -> datetime:
    from gateway.times import now

    match = _SPAN.fullmatch(since)
    if match is None:
        raise typer.BadParameter(f"{since!r} is no span of time (write 7d, 12h)", param_hint="--since")
    return now() - timedelta(**{"d": {"days": int(match[1])}, "h": {"hours": int(match[1])}}[match[2]])


def _path(file: Path | None) -> Path:
    try:
        return file or read(Settings).policy
    except StartError as error:
        fail(str(error), _TROUBLE)


def _sound(path: Path) -> Policy:
    from gateway.policy_file import read_policy

    with _refusing():
        return read_policy(path)


@contextmanager
def _refusing() -> Iterator[None]:
    """End with what is wrong with a file."""
    from gateway.policy_file import PolicyError

    try:
        yield
    except PolicyError as error:
        fail("\n".join(map(str, error.problems)), _TROUBLE)


def _tell_problems(problems: tuple[Problem, ...], *, as_json: bool, cases: int | None = None) -> None:
    if as_json:
        counted = {} if cases is None else {"cases": cases}
        _print_json({**counted, "problems": [{**asdict(one), "value": None} for one in problems]})
    else:
        for one in problems:
            _print(str(one), err=True)


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))


def _print(line: str, *, err: bool = False) -> None:
    from gateway.spelling import visible

    typer.echo(visible(line), err=err)
