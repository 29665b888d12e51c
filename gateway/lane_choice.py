"""The lane that can tell the truth about a program that may run, and why it is not Monty where it is not."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence

from pydantic import JsonValue

from gateway.events import Verdict
from gateway.policy import CacheScope, Profile
from gateway.reports import SHOWN, Report
from gateway.requests import ExecutionRequest
from gateway.source import imports
from gateway.wire_answers import Finding
from sandbox.determinism import deterministic
from sandbox.exactness import inexact
from sandbox.job import Lane
from sandbox.monty import Gate, GateVerdict


def admitted(  # noqa: PLR0913, PLR0917  # all that the lane depends on
    request: ExecutionRequest,
    profile: Profile,
    gate: GateVerdict,
    tree: ast.Module,
    types: Sequence[Finding],
    off: str | None,
) -> Report:
    """The report of a program that may run; `off` says why nothing runs in Monty now."""
    reasons = [*([(off, None)] if off else []), *_why_not_monty(request, profile, gate, tree, types)]
    kept = tuple(one for one in types if one.severity == "warning" or request.force)
    if not reasons:
        asks = profile.cache.scope is not CacheScope.NONE or profile.lanes.shadow > 0
        return Report(Verdict.ADMIT, Lane.MONTY, kept, _imported(tree), asks and deterministic(tree))
    notes = tuple(
        Finding(rule="lane.container", severity="info", message=text, line=line) for text, line in reasons[:SHOWN]
    )
    if request.lane == "monty":
        refused = [note.model_copy(update={"rule": "lane.monty", "severity": "error"}) for note in notes]
        return Report(Verdict.INEXACT, Lane.CONTAINER, (*refused, *kept))
    return Report(Verdict.ADMIT, Lane.CONTAINER, (*kept, *notes), _imported(tree))


def _why_not_monty(
    request: ExecutionRequest, profile: Profile, gate: GateVerdict, tree: ast.Module, types: Sequence[Finding]
) -> Iterator[tuple[str, int | None]]:
    """Why Monty could not tell the truth about it, or may not try."""
    if request.lane == "container":
        yield "the request asks for the container", None
    if not profile.lanes.monty:
        yield "the policy has the Monty lane switched off", None
    if needs_a_box(request):
        yield "the request has stdin, args, env, files or outputs", None
    if gate.gate is not Gate.OK:
        yield gate.message, gate.line
    yield from ((one.message, one.line) for one in types if one.severity == "info")
    yield from (
        (reason.what, reason.line or None) for reason in inexact(tree, floats_come_in=holds_float(request.inputs))
    )


def _imported(tree: ast.Module) -> str:
    packages = {one.module.partition(".")[0] for one in imports(tree)}
    return hashlib.sha256("\n".join(sorted(packages)).encode()).hexdigest()


def needs_a_box(request: ExecutionRequest) -> bool:
    """Whether it has what only a process of its own can be given."""
    return bool(request.stdin or request.args or request.env or request.files or request.outputs)


def holds_float(value: JsonValue) -> bool:
    """Whether floats come in with it. A bool is equal to a number as a float is, and as a key it can take its place."""
    if isinstance(value, (bool, float)):
        return True
    if isinstance(value, dict):
        return any(map(holds_float, value.values()))
    return isinstance(value, list) and any(map(holds_float, value))
