"""Promise: how a program ended is told as it was: compared with CPython where that can say it, else with the evidence."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Mapping
from typing import Final

import pytest

from sandbox.outcome import Ending, Outcome
from tests.data.endings import AT_LIMITS, BY_THEMSELVES, SIGNALS, End, Limited
from tests.engine_support import LIMITS, open_lab
from tests.guest_python import Ran, run_all

pytestmark = pytest.mark.engine

COMPARED: Final = BY_THEMSELVES | SIGNALS
ALL: Final = {name: Limited(code, end) for name, (code, end) in COMPARED.items()} | AT_LIMITS


async def _run(programs: Mapping[str, Limited]) -> dict[str, Outcome]:
    async with open_lab(boxes=4) as lab:
        outcomes = await asyncio.gather(*(lab.run(one.code, one.limits) for one in programs.values()))
        return dict(zip(programs, outcomes, strict=True))


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """Every program's outcome, each in a box of its own."""
    return asyncio.run(_run(ALL))


@pytest.fixture(scope="module")
def ran() -> dict[str, Ran]:
    """How CPython alone runs those that it can."""
    return run_all({name: code for name, (code, _) in COMPARED.items()})


def told(outcome: Outcome) -> End:
    error = outcome.error.type if outcome.error is not None else None
    return End(outcome.exit_code, outcome.signal, error, outcome.ending, outcome.limits_reached)


def comparable(stderr: str) -> str:
    """Without addresses; and without source lines where the interpreter's C code shows an exception that
    nobody could catch: it looks for a file `main.py`, and in a box there is none."""
    text = re.sub("0x[0-9a-f]+", "0x", stderr)
    return re.sub("^    .*\n", "", text, flags=re.MULTILINE) if text.startswith("Exception ignored") else text


@pytest.mark.parametrize("name", ALL)
def test_the_ending_of_a_program_is_told_as_it_was(name: str, outcomes: dict[str, Outcome]) -> None:
    assert told(outcomes[name]) == ALL[name].end, outcomes[name]


@pytest.mark.parametrize("name", COMPARED)
def test_a_program_ends_as_in_cpython(name: str, outcomes: dict[str, Outcome], ran: dict[str, Ran]) -> None:
    outcome, compared = outcomes[name], ran[name]
    code = compared.exit_code if compared.exit_code >= 0 else None
    number = signal.Signals(-compared.exit_code).name if compared.exit_code < 0 else None
    assert (outcome.exit_code, outcome.signal) == (code, number)
    assert outcome.stdout.text == compared.stdout
    assert comparable(outcome.stderr.text) == comparable(compared.stderr)


def test_every_ending_but_those_of_the_platform_is_among_the_known_ones() -> None:
    assert {program.end.ending for program in ALL.values()} == set(Ending) - {Ending.LOST, Ending.UNSUPPORTED}
    assert len(ALL) >= 45


@pytest.mark.parametrize("name", ALL)
def test_the_evidence_is_all_there_and_what_was_measured_is_believable(name: str, outcomes: dict[str, Outcome]) -> None:
    evidence, usage = outcomes[name].evidence, outcomes[name].usage
    assert evidence.oom_kills is not None
    assert evidence.forks_refused is not None
    assert evidence.disk_full is not None
    assert evidence.killed_for == ("wall" if outcomes[name].ending is Ending.TIMED_OUT else None)
    assert usage.wall_seconds is not None
    assert usage.cpu_seconds is not None
    assert usage.peak_memory_bytes is not None
    assert 0 < usage.cpu_seconds < 2 * LIMITS.cpu_cores * usage.wall_seconds + 1
    assert 1 << 20 < usage.peak_memory_bytes < 1.1 * ALL[name].limits.memory_bytes
