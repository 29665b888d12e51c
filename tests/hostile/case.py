"""What a hostile program is: its source, the promise that it tests, and what must come of it.

A program reports what it achieved as a line of JSON; what must be in that line is exact, so that an attack that failed for
a trivial reason is noticed as well as one that succeeded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from sandbox.job import Job, JsonValue, Limits
from sandbox.outcome import Ending, Outcome

USUAL: Final = Limits(
    cpu_cores=1.0, memory_bytes=96 << 20, wall_seconds=8.0, pids=24, disk_bytes=8 << 20, output_bytes=16 << 10
)
HELP: Final = """
import ctypes, errno, json, os, signal, socket, sys, time
def tried(call, *words, **named):
    try:
        call(*words, **named)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "worked"
def says(report):
    print(json.dumps(report), flush=True)
def call(number, *words):
    libc = ctypes.CDLL(None, use_errno=True)
    ctypes.set_errno(0)
    value = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(word) for word in words])
    return "worked" if value != -1 else errno.errorcode.get(ctypes.get_errno(), "?")
"""
"""What every program begins with: small helpers to attack and to report."""


@dataclass(frozen=True, kw_only=True)
class Hostile:
    """One program. `report` is its report (None: it makes none); `holds` is asked of the outcome besides."""

    group: str
    name: str
    promise: str
    code: str = field(repr=False)
    endings: frozenset[Ending] = frozenset({Ending.SUCCEEDED})
    report: JsonValue = None
    holds: Callable[[Outcome], bool] | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    inputs: Mapping[str, JsonValue] = field(default_factory=dict)
    stdin: str = ""
    plain: bool = False

    def job(self, execution: str, image: str) -> Job:
        """The job of one run of it."""
        numbers = {
            name: value if name.endswith(("seconds", "cores")) else int(value) for name, value in self.limits.items()
        }
        return Job(
            execution=execution,
            attempt=1,
            code=self.code if self.plain else HELP + self.code,
            limits=replace(USUAL, **numbers),  # type: ignore[arg-type] # the names are checked by the dataclass
            image=image,
            outputs=self.outputs,
            inputs=self.inputs,
            stdin=self.stdin,
        )

    def problem(self, outcome: Outcome) -> str | None:
        """What does not hold; None when all does."""
        if outcome.ending not in self.endings:
            return f"it ended as {outcome.ending}: {outcome.error} {outcome.evidence} {outcome.stderr.text[-1500:]}"
        if self.report is not None and (said := _last_json(outcome)) != self.report:
            return f"it reports {said}, not {self.report}; {outcome.stderr.text[-500:]}"
        if self.holds is not None and not self.holds(outcome):
            return f"it does not hold: {outcome}"
        return None


def _last_json(outcome: Outcome) -> JsonValue:
    for line in reversed(outcome.stdout.text.splitlines()):
        try:
            value: JsonValue = json.loads(line)
        except ValueError:
            continue
        return value
    return None


def group(name: str, promise: str) -> Callable[..., Hostile]:
    """A maker of cases of one attack class, which share a promise."""

    def make(case: str, code: str, **rest: object) -> Hostile:
        return Hostile(group=name, name=case, promise=promise, code=code, **rest)  # type: ignore[arg-type] # as the dataclass

    return make


TIMED_OUT: Final = frozenset({Ending.TIMED_OUT})
OUT_OF_MEMORY: Final = frozenset({Ending.OUT_OF_MEMORY})
FAILED: Final = frozenset({Ending.FAILED})
FLOODED: Final = frozenset({Ending.OUTPUT_LIMIT_EXCEEDED})
SHORT: Final = {"wall_seconds": 1.0}
