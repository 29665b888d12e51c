"""Promise: a program that was judged lately under the same policy is not judged again, and never under another one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.checks import Checker
from gateway.events import Verdict
from gateway.policy import Profile
from gateway.policy_file import parse_policy
from gateway.requests import ExecutionRequest
from sandbox.job import Lane
from sandbox.monty import GateVerdict, Monty


class Counting(Monty):
    """Monty, which counts what it is asked."""

    asked = 0

    async def compile_gate(self, code: str) -> GateVerdict:
        self.asked += 1
        return await super().compile_gate(code)


@pytest_asyncio.fixture
async def monty() -> AsyncIterator[Counting]:
    opened = Counting()
    yield opened
    await opened.close()


async def _python() -> str | None:
    return "3.13"


def profile(text: str = "") -> Profile:
    return parse_policy(f"version: 1\n{text}", file="policy.yaml").resolve("default")


def request(code: str, **more: object) -> ExecutionRequest:
    return ExecutionRequest.model_validate({"code": code, **more})


async def test_the_same_program_is_judged_once(monty: Counting) -> None:
    checker = Checker(monty, _python)
    reports = [await checker.check(request("print(1)", task_id=f"t{number}"), profile()) for number in range(3)]
    assert monty.asked == 1
    assert {report.verdict for report in reports} == {Verdict.ADMIT}
    assert {report.lane for report in reports} == {Lane.MONTY}


@pytest.mark.parametrize(
    "more",
    [{"lane": "container"}, {"stdin": "x"}, {"inputs": {"x": 1.5}}, {"inputs": {"y": 1}}, {"force": True}],
    ids=str,
)
async def test_what_changes_the_judgement_is_judged_anew(monty: Counting, more: dict[str, object]) -> None:
    checker = Checker(monty, _python)
    await checker.check(request("print(1)"), profile())
    await checker.check(request("print(1)", **more), profile())
    assert monty.asked == 2


async def test_another_policy_judges_for_itself(monty: Counting) -> None:
    checker = Checker(monty, _python)
    open_, closed = profile(), profile("defaults: {checks: {imports: {deny: [os]}}}")
    assert (await checker.check(request("import os"), open_)).verdict is Verdict.ADMIT
    assert (await checker.check(request("import os"), closed)).verdict is Verdict.DENIED
    assert (await checker.check(request("import os"), open_)).verdict is Verdict.ADMIT


async def test_what_could_be_said_otherwise_is_not_remembered() -> None:
    class Gone(Counting):
        async def compile_gate(self, code: str) -> GateVerdict:
            answer = await super().compile_gate(code)
            return GateVerdict(answer.gate, answer.message, answer.line, lasting=False)

    gone = Gone()
    checker = Checker(gone, _python)
    await checker.check(request("print(1)"), profile())
    await checker.check(request("print(1)"), profile())
    assert gone.asked == 2
    await gone.close()


async def test_memory_is_bounded(monty: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.checks._REMEMBERED", 2)
    checker = Checker(monty, _python)
    for code in ("1", "2", "3", "1"):
        await checker.check(request(code), profile())
    assert monty.asked == 4
    await checker.check(request("3"), profile())
    assert monty.asked == 4
