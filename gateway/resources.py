"""What a program may use, from what the request, its own text and the policy say, and where each amount comes from.

Pure. The request wins over the code, the code over the policy's default; the policy's `max` bounds all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from gateway.limits import LimitsRequest, Violation, amounts_of, limits_for
from gateway.policy import Profile
from gateway.requests import ExecutionRequest
from gateway.script_block import LIMITS, Declared, declared, may_declare
from gateway.wire_answers import EffectiveLimits, Finding, LimitSource
from sandbox.job import Limits

_SHOWN: Final = 20
_REMEMBERED: Final = 256  # pairs of a profile and limits: one for each profile, and some that reviewers gave
_remembered: dict[tuple[str, Limits, str], EffectiveLimits] = {}


def limits_of(profile: Profile, request: ExecutionRequest) -> Limits | tuple[Violation, ...]:
    """The limits of a program, or why the request cannot have its own. What code asks for in vain is left to the checks."""
    own = limits_for(profile, request.limits)
    if not isinstance(own, Limits) or not may_declare(request.code):
        return own
    both = limits_for(profile, _together(request, declared(request.code)))
    return both if isinstance(both, Limits) else own


def _together(request: ExecutionRequest, code: Declared) -> LimitsRequest:
    asked = request.limits.model_dump(exclude_none=True) if request.limits else {}
    return LimitsRequest.model_construct(**{**code.limits.model_dump(exclude_none=True), **asked})


def memory_max_bytes(profile: Profile, request: ExecutionRequest, ruled: LimitsRequest | None = None) -> int | None:
    """How far the platform may raise a program's memory by itself: not at all where anybody said how much it gets."""
    own = declared(request.code).limits if may_declare(request.code) else None
    said = any(one is not None and one.memory is not None for one in (own, request.limits, ruled))
    return None if said or not profile.retries.memory else profile.limits.memory.max


def lacks_room(request: ExecutionRequest, limits: Limits) -> str | None:
    """Why the request's files do not fit the box's disk, if so: the program would fail for what it did not do."""
    size = sum(len(file.data()) for file in request.files)
    return (
        f"{size} bytes in all do not fit limits.disk ({limits.disk_bytes} bytes)" if size > limits.disk_bytes else None
    )


def lane_of(request: ExecutionRequest) -> Literal["auto", "monty", "container"]:
    """The lane that is asked for, by the request or else by the code."""
    if request.lane != "auto" or not may_declare(request.code):
        return request.lane
    return declared(request.code).lane or "auto"


def effective(
    profile: Profile, request: ExecutionRequest, limits: Limits, *, source: Literal["agent", "reviewer"]
) -> EffectiveLimits:
    """An execution's limits and where each comes from.

    What neither request, code nor policy said, a reviewer did; in an agent's execution it is memory that the platform added.
    """
    if request.limits is not None or may_declare(request.code):
        return _told(profile, request, limits, source)
    name = (profile.digest, limits, source)  # of nearly every program: that nobody asked for anything is found out once
    known = _remembered.get(name)
    if known is None:
        if len(_remembered) >= _REMEMBERED:
            _remembered.clear()
        known = _remembered[name] = _told(profile, request, limits, source)
    return known


def _told(
    profile: Profile, request: ExecutionRequest, limits: Limits, source: Literal["agent", "reviewer"]
) -> EffectiveLimits:
    usual = limits_of(profile, request)
    expected = amounts_of(usual) if isinstance(usual, Limits) else {}
    code = declared(request.code).limits if may_declare(request.code) else LimitsRequest()
    sources: dict[str, LimitSource] = {}
    for limit, amount in amounts_of(limits).items():
        if amount != expected.get(limit):
            sources[limit] = "reviewer" if source == "reviewer" else "platform"
        elif request.limits is not None and getattr(request.limits, limit) is not None:
            sources[limit] = "request"
        else:
            sources[limit] = "code" if getattr(code, limit) == amount else "default"
    return EffectiveLimits.model_construct(
        cpu_cores=limits.cpu_cores,
        memory_bytes=limits.memory_bytes,
        wall_seconds=limits.wall_seconds,
        pids=limits.pids,
        disk_bytes=limits.disk_bytes,
        output_bytes=limits.output_bytes,
        sources=sources,
    )


def wrong_with_declaration(
    request: ExecutionRequest, profile: Profile, guest_python: str | None, *, ruled: bool
) -> Iterator[Finding]:
    """What the program declares and cannot have. A reviewer who ruled its limits had the last word on those."""
    code = declared(request.code)
    for complaint in code.complaints[:_SHOWN]:
        hint = "Mend the `# /// script` block, or leave it out: nothing has to be declared."
        yield _error("script.block", complaint.message, complaint.line, hint)
    if not ruled:
        yield from _limits_out_of_reach(request, profile, code)
    yield from _missing(code, profile, guest_python)
    if code.requires_python is not None and guest_python is not None and not _admits(code, guest_python):
        message = f"requires-python: it asks for {code.requires_python}, and the image has Python {guest_python}"
        yield _error("script.python", message, code.line("requires-python"), f"Write it for Python {guest_python}.")


def _limits_out_of_reach(request: ExecutionRequest, profile: Profile, code: Declared) -> Iterator[Finding]:
    violations = limits_for(profile, _together(request, code))
    keys: dict[str, str] = {limit: key for key, limit in LIMITS.items()}
    for one in () if isinstance(violations, Limits) else violations:
        key = keys.get(one.field, one.field)
        hint = f"Ask for {one.bound} at most, in the block or in `limits`." if one.relation == "more" else None
        yield _error("script.limit", f"tool.airlock.{key}: {one.message}", code.line(key), hint)


def _missing(code: Declared, profile: Profile, guest_python: str | None) -> Iterator[Finding]:
    there = dict(name.partition("==")[::2] for name in profile.isolation.packages)
    has = {str(canonicalize_name(name)): version for name, version in there.items()}
    told = ", ".join(profile.isolation.packages) or "the standard library alone"
    for one in [one for one in code.dependencies if _wanted(one, guest_python)][:_SHOWN]:
        version = has.get(str(canonicalize_name(one.name)))
        if one.url is not None or version is None:
            message = f"the image does not have {one.name}"
        elif version and not one.specifier.contains(version, prereleases=True):
            message = f"the image has {one.name} {version}, which is not {one.specifier}"
        else:
            continue
        hint = f"Nothing can be installed. It has: {told}. Use that, and change `dependencies`."
        yield _error("script.dependency", message, code.line("dependencies"), hint[:2000])


def _wanted(one: Requirement, guest_python: str | None) -> bool:
    """Whether its marker holds in the image."""
    if one.marker is None:
        return True
    where = {"python_version": guest_python, "python_full_version": f"{guest_python}.0"} if guest_python else {}
    return one.marker.evaluate({"extra": "", "sys_platform": "linux", "os_name": "posix", **where})


def _admits(code: Declared, guest_python: str) -> bool:
    """Of the guest's Python the minor version is known: any of its patches may be the one."""
    wanted = code.requires_python
    return wanted is None or any(wanted.contains(f"{guest_python}.{patch}") for patch in (0, 99))


def _error(rule: str, message: str, line: int | None, hint: str | None) -> Finding:
    return Finding(rule=rule, severity="error", message=message, line=line, hint=hint)
