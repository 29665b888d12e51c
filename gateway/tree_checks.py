"""What the policy says of a program's text and tree: its size, how deep it is nested, what it imports. Pure.

Also where this Python cannot read it, which the guest's may.
"""

from __future__ import annotations

import ast

from gateway.events import Breach, Verdict
from gateway.modes import Leniency
from gateway.policy import Imports, Profile
from gateway.reports import SHOWN, SIMPLER, Report, refused, wrong
from gateway.source import HOST_PYTHON, Unreadable, imports, nesting, parse
from gateway.wire_answers import Finding
from sandbox.job import Lane
from sandbox.monty import Gate, GateVerdict


def judge_text(code: str, profile: Profile) -> Finding | None:
    """What is wrong with the text itself, before anybody reads it as Python."""
    size = len(code.encode())
    if size > profile.checks.source_size:
        message = f"the program has {size} bytes; the policy allows {profile.checks.source_size}"
        return wrong("source.size", message, hint="Send data in `inputs` or `files` instead of in the program.")
    if "\0" in code:
        return wrong(
            "source.nul", "source code cannot contain null bytes", line=code[: code.index("\0")].count("\n") + 1
        )
    return None


def read_tree(code: str, profile: Profile, leniency: Leniency) -> ast.Module | Unreadable | Report:
    """The program's tree, or why there is none, or why the policy will not have it."""
    tree = parse(code)
    return tree if isinstance(tree, Unreadable) else _judge_tree(tree, profile, leniency) or tree


def _judge_tree(tree: ast.Module, profile: Profile, leniency: Leniency) -> Report | None:
    if (depth := nesting(tree)) > profile.checks.nesting:
        message = f"functions are nested {depth} deep; the policy allows {profile.checks.nesting}"
        finding = wrong("complexity.nesting", message, hint=SIMPLER)
        if not leniency.spares(Verdict.TOO_COMPLEX, [finding]):
            return refused(Verdict.TOO_COMPLEX, finding)
    rules = profile.checks.imports
    denied = [one for one in imports(tree) if not rules.admits(one.module)]
    if not denied:
        return None
    hint = f"Only these can be imported: {', '.join(rules.allow)}." if rules.allow else "Solve it without this module."
    findings = [
        wrong("import.denied", f"the policy denies importing `{one.module}`", line=one.line, hint=hint)
        for one in denied[:SHOWN]
    ]
    modules = {one.module: one.line for one in reversed(denied)}  # each where it comes first
    breaches = [Breach("import.denied", module, line) for module, line in sorted(modules.items())]
    if leniency.spares(Verdict.DENIED, findings, breaches):
        return None
    return Report(Verdict.DENIED, Lane.CONTAINER, tuple(findings))


def judge_unreadable(
    problem: Unreadable, gate: GateVerdict, guest: str | None, profile: Profile, leniency: Leniency
) -> Report:
    """This Python cannot compile it. That is certain only if it is the guest's Python, or Monty agrees."""
    if not problem.certain:
        finding = wrong("complexity.nesting", problem.message, hint=SIMPLER)
        return _spared_or_refused(leniency, finding)
    if guest == HOST_PYTHON or gate.gate is Gate.SYNTAX:
        return refused(Verdict.INVALID, _syntax(problem))
    if profile.checks.imports != Imports():
        message = f"the policy's import rules cannot be applied: Python {HOST_PYTHON}, which applies them, cannot read this ({problem.message})"
        finding = wrong("import.unreadable", message, line=problem.line, hint=f"Write it for Python {HOST_PYTHON}.")
        return _spared_or_refused(leniency, finding)
    return Report(Verdict.ADMIT, Lane.CONTAINER, ())


def _spared_or_refused(leniency: Leniency, finding: Finding) -> Report:
    """What becomes of a program whose tree nobody here can see: at most the box may have it."""
    if leniency.spares(Verdict.TOO_COMPLEX, [finding]):
        return Report(Verdict.ADMIT, Lane.CONTAINER, ())
    return refused(Verdict.TOO_COMPLEX, finding)


def _syntax(problem: Unreadable) -> Finding:
    hint = "Send the whole corrected program, plain Python without Markdown fences or shell lines."
    rule = "syntax" if problem.kind == "SyntaxError" else f"syntax.{problem.kind}"
    return wrong(rule, problem.message, line=problem.line, column=problem.column, hint=hint)
