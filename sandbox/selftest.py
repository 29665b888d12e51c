"""The self-test: two boxes, one that leaves traces and will not end, one that tries every forbidden thing.

Where programs follow each other in a cell, another one has left its traces in that of the second before.

Owns what is ordered, and the judgement of what came back. What came back is believed as far as any box is: a report that
is missing, late or malformed proves nothing, and nothing proven means not fit.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from sandbox import probe
from sandbox.bundle import probe_text
from sandbox.job import Cell, Job, JsonValue, Limits
from sandbox.outcome import Ending, Loss, Outcome
from sandbox.profile import SHARED_MEMORY_BYTES

# The walls of a profile are tried where they are cheap to reach: one that stands at 64 MiB stands at 4 GiB.
_MEMORY_BYTES: Final = 64 << 20
_OWN_KERNEL_BYTES: Final = 192 << 20  # more: such a runtime's kernel lives in the same memory
_DISK_BYTES: Final = 8 << 20
_PIDS: Final = 24
_PRELOADED_PIDS: Final = 128  # where modules are imported first: libraries start threads by the machine's cores
_PROBE_SECONDS: Final = 30.0  # fifty trials, most of a millisecond; the bound is for a machine that is busy
# Of each try: how long the neighbour lives, how long the probe looks for it, how long both must have been there.
_TRIES: Final = ((1.5, 0.6), (6.0, 2.0), (20.0, 6.0))
_TOGETHER_SECONDS: Final = 0.15
_REPORT_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Target:
    """Which kind of box is tested: an image, a runtime (None: the engine's default), the limits of a program in it.

    `cell` None is a box that is used once.
    """

    image: str
    runtime: str | None
    limits: Limits
    cell: Cell | None = None

    @property
    def own_kernel(self) -> bool:
        """Whether the runtime's name says that it brings a kernel of its own; else everything is tried, and must hold."""
        return self.runtime is not None and "runsc" in self.runtime


@dataclass(frozen=True, slots=True)
class Trial:
    """One forbidden thing that was tried. `held` None: it could not be tried, so nothing is known."""

    name: str
    held: bool | None
    detail: str = ""

    @property
    def finding(self) -> str:
        """The trial in words, where it did not hold."""
        return f"{self.name}: {self.detail}" if self.detail else self.name


class InconclusiveError(Exception):
    """The engine failed under the self-test; nothing was found out about boxes. `loss` says what failed."""

    def __init__(self, message: str, loss: Loss) -> None:
        super().__init__(message)
        self.loss = loss


class Runner(Protocol):
    """What the self-test needs of a driver."""

    boxes: int

    async def run(self, job: Job, *, fresh: bool = False) -> Outcome:
        """See `Driver.run`; `fresh`: in a box that was made for this job."""
        ...


async def try_everything(
    runner: Runner, target: Target, addresses: Sequence[tuple[str, int]]
) -> tuple[tuple[Trial, ...], frozenset[str]]:
    """Try each forbidden thing in boxes of this kind; also the digests of what was in force around them.

    `addresses` must not be reachable from a box. Takes about two seconds, and twice the imports where a cell has some.
    Raises InconclusiveError.
    """
    trials: tuple[Trial, ...] = ()
    target = replace(target, limits=_walls(target, await _preloaded(runner, target)))
    for seconds, look in _TRIES:
        token = f"airlock-{secrets.token_hex(8)}"
        neighbour = _probing(replace(target, cell=None), _order(target, "neighbour", token, (), look), seconds)
        prober = _probing(_owned(target, token), _order(target, "probe", token, addresses, look), _PROBE_SECONDS)
        before = await _predecessor(runner, prober, neighbour)
        if runner.boxes > 1:
            beside, probed = await asyncio.gather(runner.run(neighbour, fresh=True), runner.run(prober, fresh=True))
        else:
            beside, probed = await runner.run(neighbour, fresh=True), await runner.run(prober, fresh=True)
        for lost in (one for one in (before, probed, beside) if one is not None and one.ending is Ending.LOST):
            raise InconclusiveError(lost.evidence.detail, lost.evidence.loss or Loss.BOX)
        trials = (*judge(probed, beside, seconds, target, alone=runner.boxes == 1), *_time(beside))
        if before is not None:
            trials = (*trials, *_reuse(before, probed))
        own_kind = (beside if before is None else before, probed)
        postures = frozenset(one.posture for one in own_kind if one.posture is not None)
        missed = any(one.held is None and one.name.startswith(("neighbour.", "cell.")) for one in trials)
        if not missed or any(one.held is False for one in trials):
            break
    return trials, postures


async def _preloaded(runner: Runner, target: Target) -> int:
    """How many bytes a cell's modules and a small program take; 0 where nothing is imported beforehand.

    Measured in a box of its own, which is removed afterwards: a cell would rest for a tenant that does not exist.
    """
    if target.cell is None or not target.cell.preload:
        return 0
    limits = replace(target.limits, wall_seconds=_PROBE_SECONDS, output_bytes=_REPORT_BYTES)
    imports = "".join(f"with contextlib.suppress(Exception):\n    import {name}\n" for name in target.cell.preload)
    code = f"import contextlib\n{imports}held = b'1' * {_MEMORY_BYTES}"
    idle = await runner.run(_job(replace(target, limits=limits, cell=None), code), fresh=True)
    if idle.ending is Ending.LOST:
        raise InconclusiveError(idle.evidence.detail, idle.evidence.loss or Loss.BOX)
    return idle.usage.peak_memory_bytes or target.limits.memory_bytes


async def _predecessor(runner: Runner, prober: Job, neighbour: Job) -> Outcome | None:
    """Let another program leave its traces where the probe will be, if that is a cell."""
    if prober.cell is None:
        return None
    return await runner.run(replace(neighbour, execution=_name(), cell=prober.cell), fresh=True)


def _owned(target: Target, owner: str) -> Target:
    """The target as that of somebody whom no tenant can be."""
    return target if target.cell is None else replace(target, cell=replace(target.cell, owner=f"selftest:{owner}"))


def judge(probed: Outcome, beside: Outcome, seconds: float, target: Target, *, alone: bool) -> tuple[Trial, ...]:
    """What the probe's report proves, trial by trial. `beside` lived `seconds`; `alone`: never at the same time."""
    report = _report(probed)
    together = _together(report, _report(beside).get("up_at"), seconds)
    told = report.get("trials")
    trials = []
    for name in probe.expected(own_kernel=target.own_kernel):
        trial = _trial(name, told, probed)
        if name.startswith("neighbour.") and trial.held and not together and not alone:
            trial = replace(trial, held=None, detail="no other box was there at the time")
        trials.append(trial)
    return tuple(trials)


def _together(report: Mapping[str, JsonValue], up: JsonValue, seconds: float) -> bool:
    """Whether the probe looked while the neighbour was there."""
    began, ended = report.get("looked_from"), report.get("looked_until")
    if not (isinstance(began, float) and isinstance(ended, float) and isinstance(up, float)):
        return False
    return min(ended, up + seconds) - max(began, up) >= _TOGETHER_SECONDS


def _trial(name: str, told: JsonValue, probed: Outcome) -> Trial:
    said = told.get(name) if isinstance(told, Mapping) else None
    if not isinstance(said, Mapping):
        return Trial(name, None, f"the probe did not report it; it ended as {probed.ending} {probed.evidence.detail}")
    held, detail = said.get("held"), said.get("detail")
    return Trial(name, held if isinstance(held, bool) else None, detail[:500] if isinstance(detail, str) else "")


def _time(beside: Outcome) -> tuple[Trial, ...]:
    """A program that ignores every signal and leaves daemons must end at its limit."""
    name = "limits.time"
    if beside.ending is Ending.TIMED_OUT:
        return (Trial(name, held=True),)
    return (Trial(name, held=False, detail=f"a program that should have been timed out ended as {beside.ending}"),)


def _reuse(before: Outcome, probed: Outcome) -> tuple[Trial, ...]:
    """What the probe tells of a cell's past is worth something only in a cell that has one."""
    if before.ending is Ending.TIMED_OUT and "acquire" in dict(probed.timings):
        return (Trial("cell.reuse", held=True),)
    return (Trial("cell.reuse", None, f"the probe got a new cell after a program that ended as {before.ending}"),)


def _report(outcome: Outcome) -> Mapping[str, JsonValue]:
    text = (outcome.stdout.head + outcome.stdout.tail).decode("utf-8", "replace").strip()
    try:
        report = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return report if isinstance(report, dict) else {}


def _order(
    target: Target, role: str, token: str, addresses: Sequence[tuple[str, int]], look: float
) -> dict[str, JsonValue]:
    limits = target.limits
    return {
        "role": role,
        "token": token,
        "look_seconds": look,
        "addresses": [[host, port] for host, port in addresses],
        "pids": limits.pids,
        "memory_bytes": limits.memory_bytes,
        "disk_bytes": limits.disk_bytes,
        "shared_memory_bytes": SHARED_MEMORY_BYTES,
        "own_kernel": target.own_kernel,
    }


def _walls(target: Target, preloaded: int) -> Limits:
    """The limits that are tried, where `preloaded` bytes are taken before: the trials' processes are as large."""
    given = target.limits
    memory = _OWN_KERNEL_BYTES if target.own_kernel else _MEMORY_BYTES
    return Limits(
        cpu_cores=given.cpu_cores,
        memory_bytes=min(given.memory_bytes, preloaded + memory),
        wall_seconds=_PROBE_SECONDS,
        pids=min(given.pids, _PRELOADED_PIDS if preloaded else _PIDS),
        disk_bytes=min(given.disk_bytes, _DISK_BYTES),
        output_bytes=_REPORT_BYTES,
    )


def _name() -> str:
    return f"selftest-{secrets.token_hex(8)}"


def _job(target: Target, code: str, stdin: str = "") -> Job:
    return Job(
        execution=_name(),
        attempt=1,
        code=code,
        limits=target.limits,
        image=target.image,
        runtime=target.runtime,
        cell=target.cell,
        stdin=stdin,
    )


def _probing(target: Target, order: dict[str, JsonValue], seconds: float) -> Job:
    limits = replace(target.limits, wall_seconds=seconds)
    return _job(replace(target, limits=limits), probe_text(), json.dumps(order))
