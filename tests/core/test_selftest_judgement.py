"""What comes back from a self-test is believed only where it is whole: anything else proves nothing."""

from __future__ import annotations

import json
from typing import Final

import pytest

from sandbox import probe
from sandbox.job import Job, JsonValue, Lane, Limits
from sandbox.outcome import Ending, Evidence, Outcome, Output
from sandbox.selftest import Target, judge, try_everything

LIMITS: Final = Limits(cpu_cores=1, memory_bytes=1 << 27, wall_seconds=5, pids=8, disk_bytes=1 << 20, output_bytes=4096)
TARGET: Final = Target("image", None, LIMITS)
NAMES: Final = probe.expected(own_kernel=False)
SECONDS: Final = 2.0


def _outcome(report: JsonValue | bytes, ending: Ending = Ending.SUCCEEDED) -> Outcome:
    text = report if isinstance(report, bytes) else json.dumps(report).encode()
    return Outcome(ending=ending, lane=Lane.CONTAINER, stdout=Output(text), evidence=Evidence(detail="why"))


def _report(breach: str = "") -> dict[str, JsonValue]:
    trials: dict[str, JsonValue] = {name: {"held": True, "detail": ""} for name in NAMES}
    if breach:
        trials["network.tcp"] = {"held": False, "detail": breach}
    return {"trials": trials, "looked_from": 100.0, "looked_until": 101.0}


NEIGHBOUR: Final = _outcome({"up_at": 100.2}, Ending.TIMED_OUT)


def _held(probed: Outcome, beside: Outcome = NEIGHBOUR, *, alone: bool = False) -> dict[str, bool | None]:
    return {trial.name: trial.held for trial in judge(probed, beside, SECONDS, TARGET, alone=alone)}


def test_a_whole_report_is_believed() -> None:
    assert _held(_outcome(_report())) == dict.fromkeys(NAMES, True)


def test_a_breach_is_named_with_its_detail() -> None:
    probed = _outcome(_report("connected"))
    (trial,) = (one for one in judge(probed, NEIGHBOUR, SECONDS, TARGET, alone=False) if not one.held)
    assert (trial.name, trial.held, trial.finding) == ("network.tcp", False, "network.tcp: connected")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"not json",
        b"[1, 2]",
        b"{" * 100_000,
        b'{"trials": []}',
        b'{"trials": {"network.tcp": true}}',
        b'{"trials": {"network.tcp": {"held": "yes"}}}',
        b'{"trials": {"network.tcp": {"held": 1}}}',
        b"\xff\xfe",
    ],
)
def test_anything_else_proves_nothing(said: bytes) -> None:
    assert _held(_outcome(said)) == dict.fromkeys(NAMES)


def test_a_trial_that_is_missing_is_not_held() -> None:
    report = _report()
    trials = report["trials"]
    assert isinstance(trials, dict)
    del trials["kernel.bpf"]
    assert _held(_outcome(report))["kernel.bpf"] is None


@pytest.mark.parametrize(
    "up",
    [{}, {"up_at": 200.0}, {"up_at": 90.0}, {"up_at": "100.2"}, {"up_at": None}, {"up_at": 100.95}],
    ids=["never", "later", "before", "text", "null", "a moment"],
)
def test_a_neighbour_that_was_not_there_proves_nothing(up: dict[str, JsonValue]) -> None:
    held = _held(_outcome(_report()), _outcome(up, Ending.TIMED_OUT))
    assert {name for name, it_held in held.items() if it_held is None} == {"neighbour.sockets", "neighbour.files"}


def test_where_there_is_never_another_box_there_is_no_neighbour_to_reach() -> None:
    assert _held(_outcome(_report()), _outcome({}), alone=True)["neighbour.sockets"] is True


class Busy:
    """A machine on which the second of two boxes starts that many seconds after the first."""

    boxes = 2

    def __init__(self, lag: float) -> None:
        self._lag = lag

    async def run(self, job: Job, *, fresh: bool = False) -> Outcome:
        assert fresh
        order = json.loads(job.stdin)
        if order["role"] == "neighbour":
            return _outcome({"up_at": 100.0}, Ending.TIMED_OUT)
        began = 100.0 + self._lag
        return _outcome({**_report(), "looked_from": began, "looked_until": began + order["look_seconds"]})


async def test_on_a_busy_machine_the_neighbour_lives_for_longer() -> None:
    for lag in (0.0, 4.0, 15.0):
        trials, _ = await try_everything(Busy(lag), TARGET, ())
        assert [trial.name for trial in trials if not trial.held] == []


async def test_a_neighbour_that_is_never_there_in_time_proves_nothing() -> None:
    trials, _ = await try_everything(Busy(60.0), TARGET, ())
    assert {trial.name for trial in trials if trial.held is None} == {"neighbour.sockets", "neighbour.files"}


def test_details_are_bounded() -> None:
    report = _report("x" * 10_000)
    assert max(len(trial.detail) for trial in judge(_outcome(report), NEIGHBOUR, SECONDS, TARGET, alone=False)) == 500


def test_a_runtime_with_a_kernel_of_its_own_is_asked_what_makes_sense_there() -> None:
    names = set(probe.expected(own_kernel=True))
    assert names < set(NAMES)
    assert {"network.tcp", "guest.memory", "limits.disk"} <= names
