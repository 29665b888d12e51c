"""What `checks.mode` makes of broken rules: a refusal, a warning, or a note in the record.

Pure. The rules that it softens bind a program's text alone: the box holds also what breaks them. What no Python could
run, what a program cannot have, and what bounds the gateway's own work are never asked about here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from gateway.events import Breach, Spared, Verdict
from gateway.policy import CheckMode, Profile
from gateway.wire_answers import Finding

_MOST: Final = 100  # breaches of one program that are recorded
_SUBJECT: Final = 200  # characters: an agent chooses them, and the log is for ever

_RAN: Final = "It ran all the same: the policy only warns of this now (`checks.mode`)."


@dataclass(frozen=True, slots=True)
class Sparing:
    """What a program broke that ran all the same, and what it would have been refused with."""

    mode: Literal["warn", "audit"]
    verdict: Verdict
    breaches: tuple[Breach, ...]

    def event(self, execution: str, profile: Profile) -> Spared:
        """As the log has it."""
        return Spared(execution, self.mode, self.verdict, profile.name, self.breaches)


@dataclass(slots=True)
class Leniency:
    """What one program broke so far. The first breach is what it would have been refused for."""

    mode: CheckMode
    verdict: Verdict | None = None
    findings: list[Finding] = field(default_factory=list)
    breaches: dict[Breach, None] = field(default_factory=dict)

    def spares(self, verdict: Verdict, findings: Sequence[Finding], breaches: Iterable[Breach] = ()) -> bool:
        """Whether the program goes on all the same; then it is noted. `breaches`: where they say more than the findings."""
        if self.mode is CheckMode.ENFORCE:
            return False
        self.verdict = self.verdict or verdict
        self.findings += findings
        for one in breaches or (Breach(one.rule, "", one.line) for one in findings):
            if len(self.breaches) < _MOST:
                self.breaches[Breach(one.rule, one.subject[:_SUBJECT], one.line)] = None
        return True

    @property
    def told(self) -> tuple[Finding, ...]:
        """What its caller reads of that."""
        if self.mode is not CheckMode.WARN:
            return ()
        return tuple(one.model_copy(update={"severity": "warning", "hint": _RAN}) for one in self.findings)

    @property
    def sparing(self) -> Sparing | None:
        """What is recorded of it; None where nothing was broken."""
        if self.verdict is None:
            return None
        mode: Literal["warn", "audit"] = "warn" if self.mode is CheckMode.WARN else "audit"
        return Sparing(mode, self.verdict, tuple(self.breaches))
