"""One run: everything is started, measured in turn, and stopped again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from docker.errors import DockerException

from bench import floors, lanes, peers, store
from bench.engine import EngineMissing, RawEngine
from bench.lanes import Lanes, policy
from bench.loads import Effort
from bench.machine import cgroup_memory, machine_facts, weight
from bench.plan import Plan
from bench.results import Results
from bench.scale import Scale
from bench.servers import Gateway, Server, ServerError
from bench.subject import Latency, Throughput

OURS: Final = ("monty-cached", "monty-uncached", "box-warm", "box-cold", "cell")
FLOORS: Final = ("monty", "bare", "fork", "raw")
DOCKER: Final = ("docker-run", "docker-exec")
PEERS: Final = ("llm-sandbox", "jupyter")
EXTRAS: Final = ("memory", "start", "store")
NAMES: Final = (*OURS, *FLOORS, *DOCKER, *PEERS, *EXTRAS)
BARRED: Final = ("monty-cached", "bare", "box-warm", "fork", "raw", "cell", "memory", "store")  # no peer among them
_NEED_ENGINE: Final = ("box-warm", "box-cold", "cell", "fork", "raw", *DOCKER, "llm-sandbox", "memory", "start")
_IDLE_SECONDS: Final = 2.0


@dataclass(slots=True)
class Run:
    """What to measure, how much of it, and who is told. `advance` counts turns, `advance_rows` rows of the full store."""

    wanted: frozenset[str]
    scale: Scale
    folder: Path
    seed: int
    say: Callable[[str], None]
    advance: Callable[[], None]
    advance_rows: Callable[[int], None]
    results: Results = field(default_factory=Results)
    raw: RawEngine | None = None
    _latencies: list[Latency] = field(default_factory=list)
    _loads: list[Throughput] = field(default_factory=list)

    async def measure(self) -> Results:
        """Everything; servers and boxes are gone when it returns."""
        async with AsyncExitStack() as stack:
            await self._find_engine(stack)
            if self._wants("store"):
                await store.make_stores(self.folder, self.scale.rows, self.say, self.advance_rows)
            self.results.machine = machine_facts(self.folder, self.raw)
            plan = Plan(self.results, random.Random(self.seed), self.say, self.advance)  # noqa: S311  # an order
            async with AsyncExitStack() as main:
                await self._main(plan, main)
            if self._wants("store"):
                await self._store(plan, stack)
            if self._wants("start"):
                await self._starts()
        return self.results

    def _wants(self, *names: str) -> bool:
        return any(name in self.wanted and name not in self.results.missing for name in names)

    def _batch(self, name: str) -> int:
        return self.scale.batches[name]

    @property
    def _effort(self) -> Effort:
        return Effort(self.scale.levels, self.scale.load_seconds)

    async def _find_engine(self, stack: AsyncExitStack) -> None:
        if not self._wants(*_NEED_ENGINE):
            return
        try:
            self.raw = await RawEngine.open()
        except EngineMissing as error:
            self.results.missing |= dict.fromkeys(self.wanted.intersection(_NEED_ENGINE), str(error)[:200])
        else:
            stack.push_async_callback(self.raw.close)

    async def _main(self, plan: Plan, stack: AsyncExitStack) -> None:
        """The lanes, the floors and the peers, all up at the same time."""
        warm = await self._warm(stack)
        await self._cold(stack)
        await self._cells(stack)
        await self._floors(stack)
        await self._docker(stack)
        await self._peers(stack)
        await plan.latencies(self._latencies, self.scale.rounds)
        await plan.rates(self._loads, self.scale.load_rounds)
        if warm is not None and self._wants("memory"):
            await self._weigh(warm, "gateway")

    async def _gateway(self, name: str, stack: AsyncExitStack, *, spares: int = 0, isolation: str = "") -> Lanes:
        self.say(f"a gateway: {name}")
        gateway = Gateway(
            self.folder / name, policy(spares=spares, isolation=isolation), with_engine=self.raw is not None
        )
        stack.push_async_callback(gateway.stop)
        await gateway.start()
        return Lanes(gateway, self.raw, stack, spares=spares)

    async def _warm(self, stack: AsyncExitStack) -> Lanes | None:
        """The gateway with spare boxes: the Monty lane, the warm box, the memory."""
        if not self._wants("monty-cached", "monty-uncached", "box-warm", "memory"):
            return None
        warm = await self._gateway("warm", stack, spares=lanes.SPARES if self.raw is not None else 0)
        await warm.grow()
        if self._wants("memory"):
            await self._weigh(warm, "gateway-fresh")
        for name, described, fresh in (
            ("monty-cached", lanes.MONTY_CACHED, False),
            ("monty-uncached", lanes.MONTY_UNCACHED, True),
        ):
            if self._wants(name):
                self._latencies.append(warm.latency(name, described, self._batch(name), fresh=fresh))
                self._loads.append(warm.load(name, described, self._effort, fresh=fresh))
        if self._wants("box-warm"):
            batch = self._batch("box-warm")
            self._latencies.append(warm.latency("box-warm", lanes.BOX_WARM, batch, lane="container"))
            self._loads.append(warm.box_load("box-warm", lanes.BOX_WARM, self.scale.box_levels, self.scale.boxes))
        return warm

    async def _cold(self, stack: AsyncExitStack) -> None:
        if not self._wants("box-cold"):
            return
        cold = await self._gateway("cold", stack)
        batch = self._batch("box-cold")
        self._latencies.append(cold.latency("box-cold", lanes.BOX_COLD, batch, lane="container"))
        self._loads.append(cold.box_load("box-cold", lanes.BOX_COLD, self.scale.cold_levels, self.scale.boxes))

    async def _cells(self, stack: AsyncExitStack) -> None:
        """Where this Airlock, or this host, has no cells, the reason is told instead."""
        if not self._wants("cell"):
            return
        if not lanes.cells_are_known():
            self.results.missing["cell"] = "not available: the policy language of this version has no cells"
            return
        try:
            cells = await self._gateway("cells", stack, isolation=lanes.CELLS)
        except ServerError as error:
            self.results.missing["cell"] = f"not available: {str(error)[:200]}"
            return
        cells.resident = True
        subject = cells.latency("cell", lanes.IN_CELL, self._batch("cell"), lane="container")
        await subject.once()  # the first program makes the cell
        self._latencies.append(subject)
        load = cells.load("cell", lanes.IN_CELL, self._effort, lane="container")
        self._loads.append(load)

    async def _floors(self, stack: AsyncExitStack) -> None:
        self.say("the floors")
        if self._wants("monty"):
            self._latencies.append(floors.monty_floor(stack, self._batch("monty")))
        if self._wants("bare"):
            server = await floors.bare_floor(self.folder, stack)
            self._latencies.append(await floors.bare_latency(server, stack, self._batch("bare")))
            self._loads.append(floors.bare_throughput(server, self._effort))
        if self._wants("fork") and self.raw is not None:
            self._latencies.append(await floors.fork_floor(self.raw, stack, self._batch("fork")))
        if self._wants("raw") and self.raw is not None:
            self._loads.append(floors.raw_containers(self.raw, self.scale.raw_levels, self.scale.boxes))

    async def _docker(self, _stack: AsyncExitStack) -> None:
        if self._wants("docker-run") and self.raw is not None:
            self._latencies.append(await floors.docker_run(self.raw, self._batch("docker-run")))
        if self._wants("docker-exec") and self.raw is not None:
            self._latencies.append(await floors.docker_exec(self.raw, self._batch("docker-exec")))

    async def _peers(self, stack: AsyncExitStack) -> None:
        """A peer that cannot be started here is told of, and is no failure of ours."""
        for name in PEERS:
            if not self._wants(name):
                continue
            self.say(f"a peer: {name}")
            try:
                self._latencies.append(await self._peer(name, stack))
            except (peers.PeerError, ServerError, OSError, DockerException) as error:
                self.results.missing[name] = f"{type(error).__name__}: {str(error)[:200]}"

    async def _peer(self, name: str, stack: AsyncExitStack) -> Latency:
        if name == "llm-sandbox" and self.raw is not None:
            return await peers.llm_sandbox(self.raw, self.folder, stack, self._batch(name))
        return await peers.jupyter(self.folder, stack, self._batch(name))

    async def _weigh(self, warm: Lanes, name: str) -> None:
        """A gateway at rest, and one of its boxes."""
        if self.raw is None:
            return
        self.say("memory")
        await warm.settle()
        await asyncio.sleep(_IDLE_SECONDS)
        found = weight(warm.gateway.server.pid)
        self.results.sizes |= {name: found.own, f"{name}-workers": found.children, f"{name}-all": found.all}
        boxes = await asyncio.to_thread(self.raw.box_ids, warm.gateway.instance)
        taken = [cgroup_memory(await asyncio.to_thread(self.raw.process_of, box)) for box in boxes]
        if known := [size for size in taken if size is not None]:
            self.results.sizes["warm-box"] = max(known)

    async def _store(self, plan: Plan, stack: AsyncExitStack) -> None:
        self.say("an empty and a full store")
        subjects = await store.store_subjects(self.folder, self.scale, self.raw, stack, self.results)
        await plan.latencies(subjects, self.scale.store_rounds)

    async def _starts(self) -> None:
        """Seconds to the first answer: ours on data that exist, and the bare endpoint."""
        gateway = Gateway(self.folder / "starts", policy())
        servers: list[tuple[str, Server]] = [("start", gateway.server), ("start-bare", floors.bare_server(self.folder))]
        await gateway.server.start()
        await gateway.stop()
        for _ in range(self.scale.starts):
            for name, server in servers:
                self.say("starting")
                seconds = await server.start()
                await server.stop()
                self.results.latencies.setdefault(name, []).append([seconds])
            self.advance()

    @property
    def turns(self) -> int:
        """About how often `advance` will be called."""
        timed = len(self.wanted.intersection({*OURS, *FLOORS, *DOCKER, *PEERS}))
        loads = (
            4 * len(self.scale.levels)
            + len(self.scale.box_levels)
            + len(self.scale.cold_levels)
            + len(self.scale.raw_levels)
        )
        stores = 4 * self.scale.store_rounds if "store" in self.wanted else 0
        starts = self.scale.starts if "start" in self.wanted else 0
        return timed * self.scale.rounds + loads * self.scale.load_rounds + stores + starts
