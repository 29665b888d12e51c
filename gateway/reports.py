"""What the checks say: reports, the findings in them, and the error that a caller is shown for one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from gateway.events import EscalationReason, Verdict
from gateway.modes import Sparing
from gateway.wire_answers import Error, Finding
from sandbox.job import Lane

SHOWN: Final = 20  # findings of one kind: a model reads no more, and a page must stay small
SIMPLER: Final = "Split it into smaller functions and shorter expressions."


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


def refused(verdict: Verdict, finding: Finding) -> Report:
    """The report of what cannot run for one reason."""
    return Report(verdict, Lane.CONTAINER, (finding,))


def wrong(
    rule: str, message: str, *, line: int | None = None, column: int | None = None, hint: str | None = None
) -> Finding:
    """A finding that keeps a program from running."""
    return Finding(rule=rule, severity="error", message=message, line=line, column=column, hint=hint)


_TYPES: Final = MappingProxyType(
    {
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
)
"""Rule of the first error, and the exception type that a run would have shown, or a word of ours where none would."""


def error_of(findings: Sequence[Finding]) -> Error:
    """Why a program was not run: its first error."""
    first = next((one for one in findings if one.severity == "error"), None)
    if first is None:
        return Error(type="Refused", message="the program was refused")
    kind = (
        first.rule.removeprefix("syntax.") if first.rule.startswith("syntax.") else _TYPES.get(first.rule, "TooComplex")
    )
    return Error(type=kind, message=first.message, line=first.line, hint=first.hint)
