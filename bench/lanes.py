"""Our lanes, over HTTP, through real gateways."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

from bench.client import Connection, HttpError, as_object, timed_post
from bench.engine import RawEngine
from bench.loads import PROGRAM, Effort, closed_loop, fixed_work, pause
from bench.results import Described
from bench.servers import Gateway
from bench.stats import steady_rate
from bench.subject import Latency, Throughput
from gateway.policy_file import PolicyError, parse_policy

PATH: Final = "/v1/executions"
SPARES: Final = 4
BOXES: Final = 8  # at the same time, as in the default policy
PROGRAMS_PER_TASK: Final = 10
_GROWTH_TRIES: Final = 10

# Everything is as in the default policy but the rates, which would end a load test, and what is measured.
_RATES: Final = "rates: {requests: 1000000, burst: 1000000, executions: 10000}"


def policy(*, spares: int = 0, isolation: str = "") -> str:
    """The text of a policy file; `isolation` is what the section of that name says."""
    section = f", isolation: {{{isolation}}}" if isolation else ""
    return f"version: 1\nname: bench\nengine: {{boxes: {BOXES}, spares: {spares}}}\ndefaults: {{{_RATES}{section}}}\n"


CELLS: Final = "mode: cell"


def cells_are_known() -> bool:
    """Whether this Airlock's policy language has cells."""
    try:
        parse_policy(policy(isolation=CELLS), file="bench")
    except PolicyError:
        return False
    return True


MONTY: Final = "Monty's interpreter, in a worker process"
BOX: Final = "a hardened, single-use container for each program"
CELL: Final = "fresh namespaces and a tighter filter for each program, in one tenant's hardened container"
MONTY_CACHED: Final = Described("Airlock, Monty lane, checks remembered", MONTY, "ours")
MONTY_UNCACHED: Final = Described("Airlock, Monty lane, a program never seen", MONTY, "ours")
BOX_WARM: Final = Described("Airlock, warm box", BOX, "ours")
BOX_COLD: Final = Described("Airlock, new box", BOX, "ours")
IN_CELL: Final = Described("Airlock, cell", CELL, "ours")

_clients: Final = itertools.count(1)
_programs: Final = itertools.count(1)


class GrowthError(Exception):
    """A gateway does not keep as many boxes ready as its policy allows, although it was asked to."""


def submission(lane: str, client: int, number: int, *, fresh: bool = False) -> bytes:
    """A client's n-th request; ten make a task. A `fresh` program was never checked before."""
    comment = f"  # {next(_programs)}" if fresh else ""
    task = f"bench-{client}-{number // PROGRAMS_PER_TASK}"
    return json.dumps({"code": PROGRAM + comment, "task_id": task, "lane": lane}).encode()


@dataclass(slots=True)
class Lanes:
    """What can be measured at one gateway. `spares` is how many boxes it keeps ready; `raw` None: it has no engine."""

    gateway: Gateway
    raw: RawEngine | None
    stack: AsyncExitStack
    spares: int = 0
    resident: bool = False
    _instance: str = field(init=False)

    def __post_init__(self) -> None:
        self._instance = self.gateway.instance

    @property
    def port(self) -> int:
        """Where the gateway listens."""
        return self.gateway.server.port

    async def settle(self) -> None:
        """Wait until this gateway makes and removes nothing, and all its spare boxes wait."""
        if self.raw is not None and not self.resident:
            await self.raw.settled(self._instance, spares=self.spares)

    async def grow(self) -> None:
        """Have the pool want as many spare boxes as the policy allows; raises `GrowthError`."""
        if self.raw is None or not self.spares:
            return
        for _ in range(_GROWTH_TRIES):
            await self.raw.settled(self._instance, spares=1)
            if self.raw.boxes(self._instance).spare >= self.spares:
                return
            bodies = iter([submission("container", next(_clients), 0) for _ in range(self.spares * 2)])
            await fixed_work(self.port, PATH, bodies, self.spares * 2)
        raise GrowthError(f"the pool does not grow to {self.spares} boxes")

    def latency(
        self, name: str, described: Described, batch: int, *, lane: str = "auto", fresh: bool = False
    ) -> Latency:
        """One program after another. Where boxes are spare, only those count that a program found ready."""
        connection, client, sent = Connection(self.port), next(_clients), itertools.count()
        self.stack.push_async_callback(connection.close)
        phase = "acquire" if self.spares and lane == "container" else None

        async def once() -> float | None:
            body = submission(lane, client, next(sent), fresh=fresh)
            seconds, answer = await timed_post(connection, PATH, body)
            return seconds if _is_right(as_object(answer), lane, phase) else None

        if lane == "auto":
            return Latency(name, described, batch, once)
        return Latency(name, described, batch, once, ready=self._ready, settle=self.settle)

    def load(
        self,
        name: str,
        described: Described,
        effort: Effort,
        *,
        lane: str = "auto",
        fresh: bool = False,
    ) -> Throughput:
        """Clients that keep the gateway busy for some seconds."""

        async def rate(level: int) -> float:
            first = next(_clients) * 1000

            def body(client: int, number: int) -> bytes:
                return submission(lane, first + client, number, fresh=fresh)

            return await closed_loop(self.port, PATH, body, level, effort.seconds)

        return Throughput(name, described, effort.levels, rate, self.settle)

    def box_load(self, name: str, described: Described, levels: tuple[int, ...], count: int) -> Throughput:
        """As many boxes as count, at a steady pace: what was in stock before, and what runs out at the end, is left out."""

        async def rate(level: int) -> float:
            first, busy = next(_clients) * 1000, min(level, BOXES)
            warm_up = self.spares + busy
            numbers = range(warm_up + count + busy)
            bodies = (submission("container", first + number % level, number // level) for number in numbers)
            return steady_rate(await fixed_work(self.port, PATH, bodies, level), warm_up, count)

        return Throughput(name, described, levels, rate, self.settle)

    async def _ready(self) -> None:
        await self.settle()
        if self.resident:
            await pause()


def _is_right(answer: Mapping[str, object], lane: str, phase: str | None) -> bool:
    """Whether the program ran where it should; raises `HttpError` where it did not run at all."""
    if answer["status"] != "succeeded" or answer["stdout"] != "1\n":
        raise HttpError(f"not what was sent: {answer}")
    timings = answer["timings"]
    right_lane = answer["lane"] == ("monty" if lane == "auto" else lane)
    return right_lane and (phase is None or (isinstance(timings, dict) and phase in timings))
