"""Promise: `warn` and `audit` run what `enforce` refuses for its text alone, say so to whom they should, and soften nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.checks import Checker
from gateway.events import Breach, Verdict
from gateway.policy import Profile
from gateway.policy_file import parse_policy
from gateway.reports import Report
from gateway.requests import ExecutionRequest
from sandbox.job import Lane
from sandbox.monty import Monty

SOFT = ("warn", "audit")
DENIED = "import socket\nimport os.path as p\nimport socket\nprint(p.sep)"
UNKNOWN = "print(nobody)"
DEEP = "def a():\n    def b():\n        def c():\n            return 1\n        return c()\n    return b()\na()"
RULES = "imports: {deny: [socket, os]}, nesting: 2"


def nested(levels: int) -> str:
    lines = [f"{' ' * level}def f{level}():" for level in range(levels)]
    return "\n".join([*lines, f"{' ' * levels}return 1"])


@pytest_asyncio.fixture
async def checker() -> AsyncIterator[Checker]:
    monty = Monty()
    yield Checker(monty, _python)
    await monty.close()


async def _python() -> str | None:
    return "3.13"


def profile(mode: str, rules: str = RULES, more: str = "") -> Profile:
    text = f"version: 1\ndefaults: {{checks: {{mode: {mode}, {rules}}}{more}}}"
    return parse_policy(text, file="policy.yaml").resolve("default")


async def judged(checker: Checker, code: str, mode: str, **more: object) -> Report:
    return await checker.check(ExecutionRequest.model_validate({"code": code, **more}), profile(mode))


@pytest.mark.parametrize(
    ("code", "verdict", "breaches"),
    [
        (DENIED, Verdict.DENIED, (Breach("import.denied", "os.path", 2), Breach("import.denied", "socket", 1))),
        (UNKNOWN, Verdict.FIX_FIRST, (Breach("name.unknown", "", 1),)),
        (DEEP, Verdict.TOO_COMPLEX, (Breach("complexity.nesting"),)),
        (nested(19), Verdict.TOO_COMPLEX, (Breach("complexity.watchdog"), Breach("complexity.nesting"))),
    ],
    ids=["import", "name", "nesting", "watchdog"],
)
async def test_what_enforce_refuses_for_its_text_runs_and_is_told_to_whom_it_should(
    checker: Checker, code: str, verdict: Verdict, breaches: tuple[Breach, ...]
) -> None:
    strict = await judged(checker, code, "enforce")
    assert (strict.verdict, strict.sparing) == (verdict, None)
    refused = [one.message for one in strict.findings if one.severity == "error"]
    for mode in SOFT:
        report = await judged(checker, code, mode)
        assert (report.verdict, report.sparing is not None) == (Verdict.ADMIT, True)
        assert report.sparing is not None
        assert (report.sparing.mode, report.sparing.verdict, report.sparing.breaches) == (mode, verdict, breaches)
        assert not [one for one in report.findings if one.severity == "error"]
        told = [one for one in report.findings if one.rule.split(".")[0] in {"import", "name", "complexity"}]
        assert [one.message for one in told][: len(refused)] == (refused if mode == "warn" else [])
        assert {one.severity for one in told} == ({"warning"} if mode == "warn" else set())


@pytest.mark.parametrize("mode", SOFT)
@pytest.mark.parametrize(
    ("code", "more", "verdict"),
    [
        ("print(", {}, Verdict.INVALID),
        ("a\0", {}, Verdict.INVALID),
        ("#" * (300 << 10), {}, Verdict.INVALID),
        ("# /// script\n# dependencies = ['numpy']\n# ///\nimport numpy", {}, Verdict.FIX_FIRST),
        ("# /// script\n# [tool.airlock]\n# memory = '2Gi'\n# ///\n1", {}, Verdict.FIX_FIRST),
        ("class A(int): pass", {"lane": "monty"}, Verdict.INEXACT),
    ],
    ids=["syntax", "nul", "size", "dependency", "limit", "the request's own lane"],
)
async def test_what_cannot_run_or_cannot_be_had_is_refused_in_every_mode(
    checker: Checker, mode: str, code: str, more: dict[str, object], verdict: Verdict
) -> None:
    report = await judged(checker, code, mode, **more)
    assert (report.verdict, report.sparing) == (verdict, None) or report.verdict is Verdict.INEXACT
    assert [one for one in report.findings if one.severity == "error"]


@pytest.mark.parametrize("mode", SOFT)
async def test_a_person_is_asked_for_more_than_the_default_in_every_mode(checker: Checker, mode: str) -> None:
    asks = profile(mode, more=", review: {when: [above_default]}")
    request = ExecutionRequest.model_validate({"code": DENIED, "limits": {"memory": "512Mi"}})
    assert (await checker.check(request, asks)).verdict is Verdict.HELD
    ruled = await checker.check(request, asks, ruled=True)
    assert (ruled.verdict, ruled.sparing is not None) == (Verdict.ADMIT, True)


@pytest.mark.parametrize(
    "code",
    [UNKNOWN, "x = {3, 1, 2}\nprint(x)", "import socket\nprint(1)", "print(id(1))", nested(19), DENIED],
    ids=["name", "set", "module", "identity", "deep", "imports"],
)
@pytest.mark.parametrize("mode", SOFT)
async def test_no_mode_lets_monty_run_what_it_cannot_run_exactly(checker: Checker, mode: str, code: str) -> None:
    report = await judged(checker, code, mode)
    assert report.verdict is Verdict.ADMIT
    assert report.lane is Lane.CONTAINER or code == UNKNOWN, "an unknown name ends in Monty, and goes on in a container"


async def test_a_denied_module_that_monty_has_may_run_there_as_if_it_were_allowed(checker: Checker) -> None:
    rules = profile("audit", "imports: {deny: [math]}")
    report = await checker.check(ExecutionRequest(code="import math\nprint(math.floor(2))"), rules)
    assert (report.verdict, report.lane, report.findings) == (Verdict.ADMIT, Lane.MONTY, ())
    assert report.sparing is not None


async def test_what_is_recorded_of_a_program_is_bounded(checker: Checker) -> None:
    code = "\n".join(f"import os.{'x' * 300}{number}" for number in range(300))
    report = await judged(checker, code, "audit")
    assert report.sparing is not None
    assert len(report.sparing.breaches) <= 100
    assert all(len(one.subject) <= 200 for one in report.sparing.breaches)


async def test_force_is_the_requests_own_and_breaks_nothing(checker: Checker) -> None:
    report = await judged(checker, UNKNOWN, "warn", force=True)
    assert (report.verdict, report.sparing) == (Verdict.ADMIT, None)


@pytest.mark.parametrize("mode", SOFT)
async def test_a_program_for_monty_alone_goes_to_no_box_because_nobody_here_can_read_it(
    checker: Checker, mode: str
) -> None:
    unreadable = f"x = {'-' * 20_000}1"
    assert (await judged(checker, unreadable, mode)).verdict is Verdict.ADMIT
    asked = await judged(checker, unreadable, mode, lane="monty")
    assert (asked.verdict, [one.rule for one in asked.findings]) == (Verdict.INEXACT, ["lane.monty"])
