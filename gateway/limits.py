"""From what is asked for to the limits of a job: within a profile's `max`, or for a reviewer within the ceilings.

Pure. Nothing is clamped: what cannot be had is refused with its bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.policy_shape import Profile
from gateway.quantities import KIB, MIB, Cores, Count, Seconds, Size, format_cores, format_seconds, format_size, shown
from sandbox.job import Limits

FORMATS: Final[Mapping[str, Callable[[float], str]]] = MappingProxyType(
    {
        "cpu": format_cores,
        "memory": format_size,
        "time": format_seconds,
        "pids": str,
        "disk": format_size,
        "output": format_size,
    }
)
"""How an amount of each limit is written."""

LEAST: Final[Mapping[str, float]] = MappingProxyType(
    {"cpu": 0.01, "memory": 16 * MIB, "time": 0, "pids": 2, "disk": 4 * KIB, "output": 0}
)
"""With less a box does not start, which would look like the platform's fault.

Docker refuses less than 10m cores; an empty program on Python 3.13 is out of memory at 12Mi and runs at 16Mi
(measured with the guest); guest and program are two processes; tmpfs has pages of 4Ki.
"""

NO_BOX: Final = "the least that a box can start with"


class LimitsRequest(BaseModel):
    """What a caller or a reviewer asks for; what is left out stays as it is.

    Quantities as in the policy: cores (`"500m"`, 2), sizes (`"512Mi"`, bytes), durations (`"30s"`, seconds).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu: Cores | None = None
    memory: Size | None = None
    time: Seconds | None = None
    pids: Count | None = None
    disk: Size | None = None
    output: Annotated[Size | None, Field(description="Kept of stdout, of stderr and of the result, each.")] = None


@dataclass(frozen=True, slots=True)
class Violation:
    """A limit that cannot be had: its name, what was asked, the bound (both as text) and the sentence that says so."""

    field: str
    asked: str
    bound: str
    message: str
    relation: Literal["more", "less"] = "more"


def limits_for(profile: Profile, request: LimitsRequest | None) -> Limits | tuple[Violation, ...]:
    """Return the limits of a program: the profile's defaults, or what was asked up to `max`. Never clamped."""
    amounts: dict[str, float] = {limit: span.default for limit, span in profile.limits} | _asked(request)
    most: dict[str, float] = {limit: span.max for limit, span in profile.limits}
    return _within(amounts, most, f"the most that the profile {shown(profile.name)} gives")


def raised_limits(profile: Profile, request: LimitsRequest, *, current: Limits) -> Limits | tuple[Violation, ...]:
    """Return the limits that a reviewer rules: `current` with what was asked, up to the ceilings. Never clamped."""
    return _within(amounts_of(current) | _asked(request), dict(profile.ceilings), "the ceiling")


def amounts_of(limits: Limits) -> dict[str, float]:
    """The amounts by the names that policies and requests have for them."""
    return {
        "cpu": limits.cpu_cores,
        "memory": limits.memory_bytes,
        "time": limits.wall_seconds,
        "pids": limits.pids,
        "disk": limits.disk_bytes,
        "output": limits.output_bytes,
    }


def _asked(request: LimitsRequest | None) -> dict[str, float]:
    return {limit: amount for limit, amount in request or () if amount is not None}


def _within(amounts: Mapping[str, float], most: Mapping[str, float], whose: str) -> Limits | tuple[Violation, ...]:
    violations = []
    for limit, amount in amounts.items():
        if amount > most[limit]:
            violations.append(_violation(limit, amount, "more", most[limit], whose))
        elif amount < LEAST[limit]:
            violations.append(_violation(limit, amount, "less", LEAST[limit], NO_BOX))
    if violations:
        return tuple(violations)
    return Limits(
        cpu_cores=amounts["cpu"],
        memory_bytes=int(amounts["memory"]),
        wall_seconds=amounts["time"],
        pids=int(amounts["pids"]),
        disk_bytes=int(amounts["disk"]),
        output_bytes=int(amounts["output"]),
    )


def _violation(limit: str, amount: float, relation: Literal["more", "less"], bound: float, whose: str) -> Violation:
    asked, edge = FORMATS[limit](amount), FORMATS[limit](bound)
    return Violation(limit, asked, edge, f"{limit}: {asked} is {relation} than {edge}, {whose}", relation)
