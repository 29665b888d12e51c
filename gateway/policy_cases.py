"""A policy's own tests: requests, and what it has to decide about them. They stand beside it, in `NAME.tests.yaml`.

Owns what such a file may hold, and the words of a test that does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Final, Literal

from pydantic import Field, StrictStr

from gateway.checks import Checker
from gateway.judging import Decision, Judged, judge
from gateway.limits import FORMATS, LimitsRequest, amounts_of
from gateway.policy import Policy, Profile, closest
from gateway.policy_file import PolicyError, Problem, decoded, parse_document, problem_at, read_bytes
from gateway.policy_words import Closed
from gateway.quantities import shown
from gateway.requests import ExecutionRequest
from gateway.yaml_tree import Node, Path

SUFFIX: Final = ".tests.yaml"


class Expected(Closed):
    """What the decision has to be. Of `lane`, `limits` and `rules`, what is left out may be anything."""

    decision: Decision
    lane: Literal["monty", "container"] | None = None
    limits: LimitsRequest | None = None
    rules: tuple[StrictStr, ...] = ()


class Case(Closed):
    """One request. `as` is whose it is: a key's name, or a profile's."""

    name: StrictStr
    as_: StrictStr = Field(alias="as")
    request: ExecutionRequest
    expect: Expected


class _Cases(Closed):
    version: Literal[1]
    cases: tuple[Case, ...] = ()


@dataclass(frozen=True, slots=True)
class Cases:
    """The cases of a file, with the places that complaints point to."""

    file: str
    cases: tuple[Case, ...]
    root: Node


def beside(policy: FilePath) -> FilePath:
    """Where the tests of the policy file are."""
    return policy.with_name(policy.name.removesuffix(policy.suffix) + SUFFIX)


def read_cases(path: FilePath) -> Cases:
    """Read a file of tests; raises `PolicyError` with all that is wrong with it."""
    return parse_cases(decoded(read_bytes(path), file=str(path)), file=str(path))


def parse_cases(text: str, *, file: str) -> Cases:
    """Turn the text of `file` into tests; raises `PolicyError`."""
    document, root = parse_document(text, _Cases, file=file)
    return Cases(file, document.cases, root)


async def run_cases(policy: Policy, cases: Cases, checker: Checker) -> tuple[Problem, ...]:
    """What does not hold, in the order of the file; nothing where every decision is the expected one."""
    problems: list[Problem] = []
    for index, case in enumerate(cases.cases):
        profile = _profile(policy, case.as_)
        if profile is None:
            near = closest(case.as_, [*(key.name for key in policy.keys), *policy.profiles])
            message = f"{shown(case.as_)} is neither a key nor a profile of the policy"
            problems.append(problem_at(cases.file, cases.root, ("cases", index, "as"), message, near))
            continue
        judged = await judge(checker, profile, case.request)
        for path, message in _differences(case.expect, judged):
            where = ("cases", index, "expect", *path)
            problems.append(problem_at(cases.file, cases.root, where, f"{shown(case.name)}: {message}"))
    return tuple(problems)


def require_sound(problems: tuple[Problem, ...]) -> None:
    """Raise `PolicyError` where some test does not hold."""
    if problems:
        raise PolicyError(problems)


def _profile(policy: Policy, name: str) -> Profile | None:
    key = next((key for key in policy.keys if key.name == name), None)
    return policy.profiles.get(key.profile if key else name)


def _differences(expected: Expected, judged: Judged) -> Iterator[tuple[Path, str]]:
    if judged.decision is not expected.decision:
        why = f" ({judged.why})" if judged.why else ""
        yield ("decision",), f"it is {judged.decision}, not {expected.decision}{why}"
        return
    if expected.lane is not None and judged.lane != expected.lane:
        yield ("lane",), f"the lane is {judged.lane or 'none'}, not {expected.lane}"
    amounts = amounts_of(judged.limits) if judged.limits else {}
    for limit, amount in expected.limits or ():
        if amount is not None and amounts.get(limit) != amount:
            got = FORMATS[limit](amounts[limit]) if limit in amounts else "none"
            yield ("limits", limit), f"{limit} is {got}, not {FORMATS[limit](amount)}"
    there = {one.rule for one in judged.findings}
    for index, rule in enumerate(expected.rules):
        if rule not in there:
            yield ("rules", index), f"there is no finding {rule}; there is {', '.join(sorted(there)) or 'none'}"
