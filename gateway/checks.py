"""The checks: what is said of a program before any of it runs.

Their order is text, Monty's compile gate, CPython's own compiler and the import policy on its
tree, Monty's type check, the exactness guard. They never execute the program in the gateway.
A guardrail: the container is the boundary.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeAlias, TypeVar

from gateway.events import Verdict
from gateway.holding import held
from gateway.lane_choice import admitted, holds_float, needs_a_box
from gateway.modes import Leniency
from gateway.policy import LimitsRequest, Profile, TypeCheck
from gateway.reports import SHOWN, SIMPLER, Report, refused, wrong
from gateway.requests import ExecutionRequest
from gateway.resources import lane_of, wrong_with_declaration
from gateway.script_block import declared, may_declare
from gateway.source import Unreadable
from gateway.tree_checks import judge_text, judge_unreadable, read_tree
from gateway.wire_answers import Finding
from sandbox.diagnostics import Diagnostic, DiagnosticKind
from sandbox.job import Lane
from sandbox.monty import Gate, GateVerdict

T = TypeVar("T")
_Key: TypeAlias = tuple[bytes, str, str, bool, bool, bool, frozenset[str], LimitsRequest | None, bool, str | None]

_REMEMBERED = 2_000  # reports, of some hundred bytes each

_QUICK_CHARACTERS = 2 << 10  # read in about 2 ms, the guard included: nobody else is served meanwhile


class Inspector(Protocol):
    """What the checks need of Monty."""

    async def compile_gate(self, code: str) -> GateVerdict:
        """Compile without running."""
        ...

    async def type_check(self, code: str) -> tuple[Diagnostic, ...] | None:
        """Type-check without running; None when it took too long."""
        ...


class Checker:
    """Runs the checks. `guest_python` tells the version of the container's Python ("3.13"), None while unknown.

    `monty_is_off` says why nothing runs in Monty now; None where it may. Without `finds_lanes` only what is decided counts,
    not where a program would run: that takes most of the time.
    """

    def __init__(
        self,
        monty: Inspector,
        guest_python: Callable[[], Awaitable[str | None]],
        monty_is_off: Callable[[], str | None] = lambda: None,
        *,
        finds_lanes: bool = True,
    ) -> None:
        self._monty = monty
        self._guest_python = guest_python
        self._monty_is_off = monty_is_off
        self._finds_lanes = finds_lanes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checks")
        self._reports: OrderedDict[_Key, Report] = OrderedDict()
        self.remembered = self.judged = 0  # how many programs, each way

    async def check(self, request: ExecutionRequest, profile: Profile, *, ruled: bool = False) -> Report:
        """Judge a program; what was judged lately under the same policy is remembered.

        `ruled`: a reviewer said what it may use, and that it may run.
        """
        report = await self._report(request, profile, ruled=ruled)
        if report.verdict is not Verdict.ADMIT or ruled or (hold := held(profile, request)) is None:
            return report
        reason, findings = hold
        return replace(report, verdict=Verdict.HELD, findings=(*findings, *report.findings), reason=reason)

    async def _report(self, request: ExecutionRequest, profile: Profile, *, ruled: bool) -> Report:
        if (lane := lane_of(request)) != request.lane:
            request = request.model_copy(update={"lane": lane})
        off = self._monty_is_off()
        key = _key(request, profile, ruled=ruled, off=off)
        known = self._reports.get(key)
        if known is not None:
            self._reports.move_to_end(key)
            self.remembered += 1
            return known
        self.judged += 1
        report, lasting = await self._judge(request, profile, off)
        if report.verdict in {Verdict.ADMIT, Verdict.FIX_FIRST}:
            report, certain = await self._resources(request, profile, report, ruled=ruled)
            lasting &= certain
        if lasting:
            self._reports[key] = report
            if len(self._reports) > _REMEMBERED:
                self._reports.popitem(last=False)
        return report

    async def _judge(self, request: ExecutionRequest, profile: Profile, off: str | None) -> tuple[Report, bool]:
        """The report, and whether another try must say the same."""
        code = request.code.removeprefix("\ufeff")
        if finding := judge_text(code, profile):
            return refused(Verdict.INVALID, finding), True
        leniency = Leniency(profile.checks.mode)
        report, lasting = await self._judge_code(request, code, profile, leniency, off)
        if report.verdict is Verdict.ADMIT:
            report = replace(report, findings=(*leniency.told, *report.findings), sparing=leniency.sparing)
        return report, lasting

    async def _judge_code(  # all that it depends on
        self, request: ExecutionRequest, code: str, profile: Profile, leniency: Leniency, off: str | None
    ) -> tuple[Report, bool]:
        gate = await self._monty.compile_gate(code)
        if gate.gate is Gate.TOO_COMPLEX:
            finding = wrong("complexity.watchdog", gate.message, hint=SIMPLER)
            if not leniency.spares(Verdict.TOO_COMPLEX, [finding]):
                return refused(Verdict.TOO_COMPLEX, finding), gate.lasting
        read = await self._read(code, partial(read_tree, code, profile, leniency))
        if isinstance(read, Unreadable):
            guest = await self._guest_python()
            report = judge_unreadable(read, gate, guest, profile, leniency)
            return _where_asked(request, report, read), gate.lasting and guest is not None
        if isinstance(read, Report):
            return read, True
        checked = await self._types(request, code, profile) if gate.gate is not Gate.TOO_COMPLEX else None
        types, lasting = checked or (), gate.lasting and checked is not None
        sure = [] if request.force else [one for one in types if one.severity == "error"]
        if sure and not leniency.spares(Verdict.FIX_FIRST, sure):
            return Report(Verdict.FIX_FIRST, Lane.CONTAINER, (*sure, *_warnings(types))), lasting
        if not self._finds_lanes and request.lane != "monty":
            return Report(Verdict.ADMIT, Lane.CONTAINER, tuple(types)), lasting
        return await self._read(code, partial(admitted, request, profile, gate, read, types, off)), lasting

    async def _resources(
        self, request: ExecutionRequest, profile: Profile, report: Report, *, ruled: bool
    ) -> tuple[Report, bool]:
        """The report with what the program asks for and cannot have, and whether another try must say the same."""
        known = True
        if may_declare(request.code):
            asks = declared(request.code)
            guest = await self._guest_python() if asks.requires_python or asks.dependencies else None
            known = guest is not None or not asks.requires_python
            if refusals := tuple(wrong_with_declaration(request, profile, guest, ruled=ruled)):
                return Report(Verdict.FIX_FIRST, Lane.CONTAINER, (*refusals, *report.findings)), known
        return report, known

    async def _read(self, code: str, work: Callable[[], T]) -> T:
        """Do what grows with the program: at once where that is quick, else in a thread, so that others are served."""
        if len(code) <= _QUICK_CHARACTERS:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _types(self, request: ExecutionRequest, code: str, profile: Profile) -> tuple[Finding, ...] | None:
        """What the type check says; None where it did not come to an end."""
        if profile.checks.type_check is TypeCheck.SKIP:
            return ()
        diagnostics = await self._monty.type_check(code)
        if diagnostics is None:
            return None
        known = [one for one in diagnostics if one.name is None or one.name not in request.inputs]
        return tuple(_findings(known))


def _where_asked(request: ExecutionRequest, report: Report, problem: Unreadable) -> Report:
    """What only the guest's Python can read goes to no box that was not asked for."""
    if report.verdict is not Verdict.ADMIT or request.lane != "monty":
        return report
    return refused(Verdict.INEXACT, wrong("lane.monty", problem.message, line=problem.line))


def _key(request: ExecutionRequest, profile: Profile, *, ruled: bool, off: str | None) -> _Key:
    """All of a request that its report depends on, besides the policy."""
    asks = may_declare(request.code)
    return (
        hashlib.sha256(request.code.encode()).digest(),
        profile.digest,
        request.lane,
        request.force,
        needs_a_box(request),
        holds_float(request.inputs),
        frozenset(request.inputs),
        request.limits if asks else None,
        ruled and asks,
        off,
    )


def _findings(diagnostics: Sequence[Diagnostic]) -> Iterator[Finding]:
    for one in list(diagnostics)[:SHOWN]:
        match one.kind:
            case DiagnosticKind.BAD_NAME:
                yield wrong("name.unknown", one.message, line=one.line, column=one.column, hint=_NAME_HINT)
            case DiagnosticKind.MONTY_GAP | DiagnosticKind.THIRD_PARTY:
                yield Finding(rule="lane.container", severity="info", message=one.message, line=one.line)
            case DiagnosticKind.TYPE:
                yield Finding(
                    rule=f"type.{one.code}", severity="warning", message=one.message, line=one.line, column=one.column
                )
            case DiagnosticKind.SYNTAX:
                pass  # CPython's compiler is the authority, and it had no objection


_NAME_HINT = (
    "Define or import it, or correct its spelling. If it does exist when the program runs, send it with `force: true`."
)


def _warnings(types: Sequence[Finding]) -> list[Finding]:
    return [one for one in types if one.severity == "warning"]
