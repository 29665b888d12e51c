"""The checks: what is said of a program before any of it runs.

Their order is text, Monty's compile gate, CPython's own compiler and the import policy on its
tree, Monty's type check, the exactness guard. They never execute the program in the gateway.
A guardrail: the container is the boundary.
"""

from __future__ import annotations

import ast
import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeAlias, TypeVar

from pydantic import JsonValue

from gateway.events import Breach, EscalationReason, Verdict
from gateway.holding import held
from gateway.modes import Leniency, Sparing
from gateway.policy import CacheScope, Imports, LimitsRequest, Profile, TypeCheck
from gateway.requests import ExecutionRequest
from gateway.resources import lane_of, wrong_with_declaration
from gateway.script_block import declared, may_declare
from gateway.source import HOST_PYTHON, Unreadable, imports, nesting, parse
from gateway.wire_answers import Error, Finding
from sandbox.determinism import deterministic
from sandbox.diagnostics import Diagnostic, DiagnosticKind
from sandbox.exactness import inexact
from sandbox.job import Lane
from sandbox.monty import Gate, GateVerdict

T = TypeVar("T")
_Key: TypeAlias = tuple[bytes, str, str, bool, bool, bool, frozenset[str], LimitsRequest | None, bool, str | None]

_REMEMBERED = 2_000  # reports, of some hundred bytes each

_QUICK_CHARACTERS = 2 << 10  # read in about 2 ms, the guard included: nobody else is served meanwhile
_SHOWN = 20  # findings of one kind: a model reads no more, and a page must stay small


class Inspector(Protocol):
    """What the checks need of Monty."""

    async def compile_gate(self, code: str) -> GateVerdict:
        """Compile without running."""
        ...

    async def type_check(self, code: str) -> tuple[Diagnostic, ...] | None:
        """Type-check without running; None when it took too long."""
        ...


@dataclass(frozen=True, slots=True)
class Report:
    """What the checks say: a verdict, the lane that can tell the truth, and why.

    `imports` is a digest of the packages that an admitted program imports, for what their use of memory says of the next.
    `reason` says why a person looks at it first.
    """

    verdict: Verdict
    lane: Lane
    findings: tuple[Finding, ...]
    imports: str | None = None
    deterministic: bool = False  # where the policy has a cache or a shadow: whether it comes to the same each time
    sparing: Sparing | None = None  # what an admitted program broke, where the policy's mode refuses for nothing
    reason: EscalationReason | None = None


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
        if finding := _text(code, profile):
            return _refused(Verdict.INVALID, finding), True
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
            finding = _error("complexity.watchdog", gate.message, hint=_SIMPLER)
            if not leniency.spares(Verdict.TOO_COMPLEX, [finding]):
                return _refused(Verdict.TOO_COMPLEX, finding), gate.lasting
        read = await self._read(code, partial(_read, code, profile, leniency))
        if isinstance(read, Unreadable):
            guest = await self._guest_python()
            report = self._unreadable(read, gate, guest, profile, leniency)
            return _where_asked(request, report, read), gate.lasting and guest is not None
        if isinstance(read, Report):
            return read, True
        checked = await self._types(request, code, profile) if gate.gate is not Gate.TOO_COMPLEX else None
        types, lasting = checked or (), gate.lasting and checked is not None
        wrong = [] if request.force else [one for one in types if one.severity == "error"]
        if wrong and not leniency.spares(Verdict.FIX_FIRST, wrong):
            return Report(Verdict.FIX_FIRST, Lane.CONTAINER, (*wrong, *_warnings(types))), lasting
        if not self._finds_lanes and request.lane != "monty":
            return Report(Verdict.ADMIT, Lane.CONTAINER, tuple(types)), lasting
        return await self._read(code, partial(_admitted, request, profile, gate, read, types, off)), lasting

    async def _resources(
        self, request: ExecutionRequest, profile: Profile, report: Report, *, ruled: bool
    ) -> tuple[Report, bool]:
        """The report with what the program asks for and cannot have, and whether another try must say the same."""
        known = True
        if may_declare(request.code):
            asks = declared(request.code)
            guest = await self._guest_python() if asks.requires_python or asks.dependencies else None
            known = guest is not None or not asks.requires_python
            if wrong := tuple(wrong_with_declaration(request, profile, guest, ruled=ruled)):
                return Report(Verdict.FIX_FIRST, Lane.CONTAINER, (*wrong, *report.findings)), known
        return report, known

    async def _read(self, code: str, work: Callable[[], T]) -> T:
        """Do what grows with the program: at once where that is quick, else in a thread, so that others are served."""
        if len(code) <= _QUICK_CHARACTERS:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    @staticmethod
    def _unreadable(
        problem: Unreadable, gate: GateVerdict, guest: str | None, profile: Profile, leniency: Leniency
    ) -> Report:
        """This Python cannot compile it. That is certain only if it is the guest's Python, or Monty agrees."""
        if not problem.certain:
            finding = _error("complexity.nesting", problem.message, hint=_SIMPLER)
            return _spared_or_refused(leniency, finding)
        if guest == HOST_PYTHON or gate.gate is Gate.SYNTAX:
            return _refused(Verdict.INVALID, _syntax(problem))
        if profile.checks.imports != Imports():
            message = f"the policy's import rules cannot be applied: Python {HOST_PYTHON}, which applies them, cannot read this ({problem.message})"
            finding = _error(
                "import.unreadable", message, line=problem.line, hint=f"Write it for Python {HOST_PYTHON}."
            )
            return _spared_or_refused(leniency, finding)
        return Report(Verdict.ADMIT, Lane.CONTAINER, ())

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
    return _refused(Verdict.INEXACT, _error("lane.monty", problem.message, line=problem.line))


def _spared_or_refused(leniency: Leniency, finding: Finding) -> Report:
    """What becomes of a program whose tree nobody here can see: at most the box may have it."""
    if leniency.spares(Verdict.TOO_COMPLEX, [finding]):
        return Report(Verdict.ADMIT, Lane.CONTAINER, ())
    return _refused(Verdict.TOO_COMPLEX, finding)


def _key(request: ExecutionRequest, profile: Profile, *, ruled: bool, off: str | None) -> _Key:
    """All of a request that its report depends on, besides the policy."""
    asks = may_declare(request.code)
    return (
        hashlib.sha256(request.code.encode()).digest(),
        profile.digest,
        request.lane,
        request.force,
        bool(request.stdin or request.args or request.env or request.files or request.outputs),
        _holds_float(request.inputs),
        frozenset(request.inputs),
        request.limits if asks else None,
        ruled and asks,
        off,
    )


_SIMPLER = "Split it into smaller functions and shorter expressions."


def _text(code: str, profile: Profile) -> Finding | None:
    size = len(code.encode())
    if size > profile.checks.source_size:
        message = f"the program has {size} bytes; the policy allows {profile.checks.source_size}"
        return _error("source.size", message, hint="Send data in `inputs` or `files` instead of in the program.")
    if "\0" in code:
        return _error(
            "source.nul", "source code cannot contain null bytes", line=code[: code.index("\0")].count("\n") + 1
        )
    return None


def _read(code: str, profile: Profile, leniency: Leniency) -> ast.Module | Unreadable | Report:
    """The program's tree, or why there is none, or why the policy will not have it."""
    tree = parse(code)
    return tree if isinstance(tree, Unreadable) else _judge_tree(tree, profile, leniency) or tree


def _judge_tree(tree: ast.Module, profile: Profile, leniency: Leniency) -> Report | None:
    if (depth := nesting(tree)) > profile.checks.nesting:
        message = f"functions are nested {depth} deep; the policy allows {profile.checks.nesting}"
        finding = _error("complexity.nesting", message, hint=_SIMPLER)
        if not leniency.spares(Verdict.TOO_COMPLEX, [finding]):
            return _refused(Verdict.TOO_COMPLEX, finding)
    rules = profile.checks.imports
    denied = [one for one in imports(tree) if not rules.admits(one.module)]
    if not denied:
        return None
    hint = f"Only these can be imported: {', '.join(rules.allow)}." if rules.allow else "Solve it without this module."
    findings = [
        _error("import.denied", f"the policy denies importing `{one.module}`", line=one.line, hint=hint)
        for one in denied[:_SHOWN]
    ]
    modules = {one.module: one.line for one in reversed(denied)}  # each where it comes first
    breaches = [Breach("import.denied", module, line) for module, line in sorted(modules.items())]
    if leniency.spares(Verdict.DENIED, findings, breaches):
        return None
    return Report(Verdict.DENIED, Lane.CONTAINER, tuple(findings))


def _admitted(  # noqa: PLR0913, PLR0917  # all that the lane depends on
    request: ExecutionRequest,
    profile: Profile,
    gate: GateVerdict,
    tree: ast.Module,
    types: Sequence[Finding],
    off: str | None,
) -> Report:
    reasons = [*([(off, None)] if off else []), *_why_not_monty(request, profile, gate, tree, types)]
    kept = tuple(one for one in types if one.severity == "warning" or request.force)
    if not reasons:
        asks = profile.cache.scope is not CacheScope.NONE or profile.lanes.shadow > 0
        return Report(Verdict.ADMIT, Lane.MONTY, kept, _imported(tree), asks and deterministic(tree))
    notes = tuple(
        Finding(rule="lane.container", severity="info", message=text, line=line) for text, line in reasons[:_SHOWN]
    )
    if request.lane == "monty":
        refused = [note.model_copy(update={"rule": "lane.monty", "severity": "error"}) for note in notes]
        return Report(Verdict.INEXACT, Lane.CONTAINER, (*refused, *kept))
    return Report(Verdict.ADMIT, Lane.CONTAINER, (*kept, *notes), _imported(tree))


def _imported(tree: ast.Module) -> str:
    packages = {one.module.partition(".")[0] for one in imports(tree)}
    return hashlib.sha256("\n".join(sorted(packages)).encode()).hexdigest()


def _why_not_monty(
    request: ExecutionRequest, profile: Profile, gate: GateVerdict, tree: ast.Module, types: Sequence[Finding]
) -> Iterator[tuple[str, int | None]]:
    """Why Monty could not tell the truth about it, or may not try."""
    if request.lane == "container":
        yield "the request asks for the container", None
    if not profile.lanes.monty:
        yield "the policy has the Monty lane switched off", None
    if request.stdin or request.args or request.env or request.files or request.outputs:
        yield "the request has stdin, args, env, files or outputs", None
    if gate.gate is not Gate.OK:
        yield gate.message, gate.line
    yield from ((one.message, one.line) for one in types if one.severity == "info")
    yield from (
        (reason.what, reason.line or None) for reason in inexact(tree, floats_come_in=_holds_float(request.inputs))
    )


def _holds_float(value: JsonValue) -> bool:
    if isinstance(
        value, (bool, float)
    ):  # a bool is equal to a number as a float is, and as a key it can take its place
        return True
    if isinstance(value, dict):
        return any(map(_holds_float, value.values()))
    return isinstance(value, list) and any(map(_holds_float, value))


def _findings(diagnostics: Sequence[Diagnostic]) -> Iterator[Finding]:
    for one in list(diagnostics)[:_SHOWN]:
        match one.kind:
            case DiagnosticKind.BAD_NAME:
                yield _error("name.unknown", one.message, line=one.line, column=one.column, hint=_NAME_HINT)
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


def _syntax(problem: Unreadable) -> Finding:
    hint = "Send the whole corrected program, plain Python without Markdown fences or shell lines."
    rule = "syntax" if problem.kind == "SyntaxError" else f"syntax.{problem.kind}"
    return _error(rule, problem.message, line=problem.line, column=problem.column, hint=hint)


def _error(
    rule: str, message: str, *, line: int | None = None, column: int | None = None, hint: str | None = None
) -> Finding:
    return Finding(rule=rule, severity="error", message=message, line=line, column=column, hint=hint)


def _refused(verdict: Verdict, finding: Finding) -> Report:
    return Report(verdict, Lane.CONTAINER, (finding,))


# Rule of the first error -> the exception type that a run would have shown, or a word of ours where none would.
_TYPES = {
    "syntax": "SyntaxError",
    "source.nul": "SyntaxError",
    "source.size": "SourceTooLarge",
    "import.denied": "PolicyDenied",
    "name.unknown": "NameError",
    "lane.monty": "NeedsContainer",
    "script.block": "BadScriptBlock",
    "script.limit": "LimitAboveMaximum",
    "script.dependency": "MissingDependency",
    "script.python": "WrongPython",
    "limits.changed": "LimitAboveMaximum",
    "key.gone": "KeyGone",
    "limits.held": "NeedsReview",
    "confidence.held": "NeedsReview",
    "review.held": "NeedsReview",
}


def error_of(findings: Sequence[Finding]) -> Error:
    """Why a program was not run: its first error."""
    first = next((one for one in findings if one.severity == "error"), None)
    if first is None:
        return Error(type="Refused", message="the program was refused")
    kind = (
        first.rule.removeprefix("syntax.") if first.rule.startswith("syntax.") else _TYPES.get(first.rule, "TooComplex")
    )
    return Error(type=kind, message=first.message, line=first.line, hint=first.hint)
