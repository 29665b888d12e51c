"""What is read of the policy: what binds a caller, what decided something, and what became of a reload."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field, JsonValue

from gateway.wire import Wire


class UseToday(Wire):
    """What a key used of its share of this day of UTC; what is left is null where there is no bound."""

    executions: int
    executions_left: int | None
    cpu_seconds: float = Field(description="Of the programs that ended.")
    cpu_seconds_left: float | None
    resets_at: datetime


class PolicyProblem(Wire):
    """One thing wrong with a policy file or with its tests. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    path: str
    message: str
    suggestion: str | None = None


class ReloadView(Wire):
    """What became of reading the policy file again. Where it is not `loaded`, the policy before is in force."""

    at: datetime
    why: Literal["file", "signal", "request"]
    loaded: bool
    name: str | None = Field(default=None, description="What is in force now; null where it was not loaded.")
    sha256: str | None = Field(description="Of the file that was read; null where it could not be read.")
    problems: list[PolicyProblem] = Field(default_factory=list)
    restart_needed: list[str] = Field(
        default_factory=list, description="Keys that the file changes, and that only a restart puts in force."
    )


class PolicyFileView(Wire):
    """The policy file, for operators."""

    sha256: str = Field(description="Of the file in force.")
    since: datetime | None = Field(description="When it came in force by a reload; null since the start.")
    last_reload: ReloadView | None


class PolicyView(Wire):
    """The profile that binds the caller's programs, with nothing left open."""

    name: str = Field(description="The policy's name.")
    profile: str
    digest: str = Field(description="SHA-256 of the document as canonical JSON; every answer carries it as `policy`.")
    document: dict[str, JsonValue] = Field(description="Cores, bytes and seconds.")
    today: UseToday | None = Field(
        default=None, description="What the key used of its `quotas`; null where it has none, and of past policies."
    )
    file: PolicyFileView | None = Field(default=None, description="What operators alone are told.")


class Made(Wire):
    """What took part in a decision: a value, and where it stands."""

    key: str = Field(description="The key of the policy, or of the request, that has the value.")
    value: str
    place: str = Field(description="`file:line`, `built in`, `the request` or a line of the program.")


class Decision(Wire):
    """One thing that the policy decides."""

    decision: str
    value: str
    why: str
    made: list[Made]


class ExplanationView(Wire):
    """What the policy decides about a request, or about any of a caller's."""

    policy: str = Field(description="The policy's name.")
    profile: str
    digest: str = Field(description="Of the resolved profile, as answers have it.")
    decisions: list[Decision]


class KeptPolicyView(Wire):
    """A resolved profile that decided something once, whole."""

    digest: str
    document: dict[str, JsonValue] = Field(description="Cores, bytes and seconds.")
