"""The commands that tell of a policy file: what it may hold, and what it decides about a request."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from pydantic import ValidationError

from gateway import arguments
from gateway.settings import Settings, StartError, read, secret

if TYPE_CHECKING:
    from gateway.client import Client
    from gateway.policy import Policy
    from gateway.wire_policy import ExplanationView

_USAGE = 2


def add_to(policy_app: typer.Typer, gateway: Callable[[], AbstractContextManager[Client]]) -> None:
    """Add the commands to `airlock policy`; `gateway` is who is asked about what was."""

    @policy_app.command("schema")
    def schema() -> None:
        """Print the JSON Schema of policy files, for editors."""
        from gateway.policy_schema import schema_text

        typer.echo(schema_text(), nl=False)

    @policy_app.command("explain")
    def explain(  # noqa: PLR0913  # whose request it is can be said in several ways
        file: Annotated[Path | None, typer.Argument(help="A policy file; without it, AIRLOCK_POLICY.")] = None,
        *,
        key: Annotated[str | None, typer.Option(metavar="NAME", help="A key, by its name in the policy.")] = None,
        key_env: Annotated[str | None, typer.Option(metavar="VARIABLE", help="The variable that holds a key.")] = None,
        key_stdin: Annotated[bool, typer.Option("--key-stdin", help="Read a key from stdin.")] = False,
        profile: Annotated[str | None, typer.Option(metavar="NAME", help="A profile, instead of the key's.")] = None,
        request: Annotated[
            str | None, typer.Option(metavar="FILE", help="The JSON of a POST /v1/executions; - is stdin.")
        ] = None,
        execution: Annotated[
            str | None, typer.Option(metavar="ID", help="What decided this one, as the gateway recorded it.")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    ) -> None:
        """Print what a policy decides about a request, with the line of the file that decides it each time."""
        if execution is not None:
            if any((file, key, key_env, key_stdin, profile, request)):
                raise typer.BadParameter("--execution asks the gateway what was: leave the rest out")
            view = _recorded(gateway, execution)
        else:
            policy = _policy(file)
            if key_env is not None or key_stdin:
                key = _name_of(policy, _secret(key_env))
            view = _explained(policy, key, profile, request)
        if as_json:
            typer.echo(json.dumps(json.loads(view.model_dump_json()), indent=2))
        else:
            for line in _lines(view):
                typer.echo(line)


def _lines(view: ExplanationView) -> Iterator[str]:
    """A line for each decision, and below it what had a part in it."""
    from gateway.spelling import visible

    yield visible(f"policy {view.policy or '(no name)'}, profile {view.profile}, {view.digest}")
    for one in view.decisions:
        alone = len(one.made) == 1 and not one.why
        yield visible(
            f"{one.decision} = {one.value}{f': {one.why}' if one.why else f'  [{one.made[0].place}]' if alone else ''}"
        )
        for part in () if alone else one.made:
            yield visible(f"    {part.key}{f' = {part.value}' if part.value else ''}  [{part.place}]")


def _fail(message: str, code: int) -> NoReturn:
    from gateway.spelling import visible

    typer.echo(visible(message), err=True)
    raise typer.Exit(code)


def _policy(file: Path | None) -> Policy:
    from gateway.policy_file import PolicyError, read_policy

    try:
        return read_policy(file or read(Settings).policy)
    except StartError as error:
        _fail(str(error), _USAGE)
    except PolicyError as error:
        _fail(str(error), 1)


def _secret(variable: str | None) -> str:
    try:
        return (secret(variable, None) if variable is not None else sys.stdin.read()).strip()
    except StartError as error:
        _fail(str(error), _USAGE)


def _name_of(policy: Policy, text: str) -> str:
    """The name of the key that this is; nothing of it is repeated."""
    from gateway.callers import digest_of

    for key in policy.keys:
        if key.sha256 == digest_of(text):
            return key.name
    _fail("The policy does not know this key.", 1)


def _explained(policy: Policy, key: str | None, profile: str | None, request: str | None) -> ExplanationView:
    from gateway.explaining import explanation
    from gateway.requests import ExplainRequest

    try:
        body = arguments.json_value(arguments.text_of(request)) if request is not None else None
        return explanation(policy, ExplainRequest.model_validate({"key": key, "profile": profile, "request": body}))
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False)]
        _fail("\n".join(wrong), _USAGE)
    except KeyError as error:
        _fail(error.args[0], 1)


def _recorded(gateway: Callable[[], AbstractContextManager[Client]], execution: str) -> ExplanationView:
    from gateway.explaining import recorded
    from gateway.wire_policy import ExplanationView

    with gateway() as client:
        view = client.policy_of(execution)
    return ExplanationView(
        policy=view.name, profile=view.profile, digest=view.digest, decisions=recorded(view.document)
    )
