"""The composition root: every part is made here, once, and started and stopped in order."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import multiprocessing
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp

from gateway.adopting import Adopter
from gateway.api import create_app
from gateway.archive import Archive
from gateway.auth import Authenticator, authenticator
from gateway.changes import Changes
from gateway.checks import Checker
from gateway.conductor import Conductor
from gateway.console.making import ConsoleRoom
from gateway.database import DatabaseError
from gateway.deliveries import Deliveries
from gateway.desk import Desk
from gateway.errors import Unavailable
from gateway.expectations import Expectations
from gateway.gauges import Gauges
from gateway.in_force import InForce
from gateway.isolation import Isolation, Proofs, targets
from gateway.limiter import Limiter
from gateway.metrics import Metrics
from gateway.monty_switch import MontySwitch, SwitchedLane
from gateway.observer import Observer
from gateway.oversight import Oversight
from gateway.policy import DEFAULT_PROFILE, Policy, Profile
from gateway.providers import provider_of
from gateway.quantities import format_keeping
from gateway.queue import Bounds, Queue
from gateway.quotas import Quotas, day_of
from gateway.reader import Reader
from gateway.readiness import Readiness
from gateway.records import StoredSize
from gateway.recovery import recover
from gateway.reloading import Reloader, first_policy, on_hang_up
from gateway.remembering import Memory
from gateway.retention import Pruner
from gateway.reviews import Reviews
from gateway.schemas import Schemas
from gateway.server import Server, allow_descriptors, configure_logging, server_config, spare_the_collector
from gateway.settings import Settings, StartError, Telemetry, telemetry_wanted
from gateway.shadow import Shadow
from gateway.sizes import BELIEVED, Sizes
from gateway.sizes import MOST as MOST_SIZES
from gateway.source import ignore_warnings
from gateway.store import Store, is_current, migrate
from gateway.tasks import Tasks
from gateway.tending import Tending
from gateway.times import new_id, now
from gateway.watching import Watching
from gateway.webhooks import letter_targets, subscriptions
from sandbox.container import ContainerDriver
from sandbox.driver import Driver
from sandbox.engine import Engine, EngineError
from sandbox.job import Lane
from sandbox.monty import POSTURE as MONTY_POSTURE
from sandbox.monty import Monty, MontyDriver
from sandbox.proven import ProvenDriver

log = logging.getLogger(__name__)

_JANITOR_SECONDS = 30.0
_TENDING_SECONDS = 5.0  # how late a review is passed on or ends, at most
_RETENTION_SECONDS = 30.0
_GRACE_SECONDS = 10.0  # for live executions at a stop; what is left is taken up by the next start


@dataclass(slots=True, kw_only=True)
class Gateway:
    """All parts of one gateway."""

    settings: Settings
    in_force: InForce
    reloader: Reloader
    telemetry: Telemetry
    authenticator: Authenticator
    store: Store
    monty: Monty
    lanes: dict[Lane, Driver]
    queue: Queue
    sizes: Sizes
    quotas: Quotas
    shadow: Shadow
    conductor: Conductor
    reviews: Reviews
    tending: Tending
    readiness: Readiness
    proofs: Proofs
    limiter: Limiter
    expectations: Expectations
    watching: Watching
    pruner: Pruner
    deliveries: Deliveries
    observer: Observer
    desk: Desk
    console: ConsoleRoom

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take up what an earlier gateway left, then keep house until the end."""
        for name, profile in self.in_force.current.profiles.items():
            log.info("the profile %s keeps %s", name, _kept_words(profile))
        await self.store.open()
        self._trace()
        keepers = [
            asyncio.create_task(_keep(self._reap, _JANITOR_SECONDS), name="janitor"),
            asyncio.create_task(_keep(self.tending.tend, _TENDING_SECONDS), name="reviews"),
            asyncio.create_task(_keep(self.pruner.prune, _RETENTION_SECONDS), name="retention"),
            asyncio.create_task(self._prove(), name="self-test"),
            asyncio.create_task(self.deliveries.run(), name="letters"),
            asyncio.create_task(self.console.gauges.keep(), name="gauges"),
            asyncio.create_task(self.reloader.watch(), name="policy"),
        ]
        hang_up = on_hang_up(self.reloader)
        try:
            await self._reap()
            self.sizes.load(reversed(await self.store.read(_memory_sizes)))
            self.quotas.load(await self.store.read(lambda reader: reader.uses(day_of(now()))))
            await self.tending.replan()
            await recover(self.store, self.conductor, self.in_force.current)
            yield
        finally:
            hang_up()
            for keeper in keepers:
                keeper.cancel()
            await self.pruner.close()
            await self.shadow.close()
            await self.conductor.close(_GRACE_SECONDS)
            await self.queue.close()
            await asyncio.gather(*keepers, return_exceptions=True)
            await asyncio.gather(*(lane.close() for lane in self.lanes.values()))
            await self.monty.close()
            await self.expectations.close()
            await self.store.close()
            if self.observer.tracer is not None:
                await self.observer.tracer.close()

    def _trace(self) -> None:
        """Draw spans from here on, where somebody wants them: the SDK has a thread, which no fork survives."""
        if self.telemetry.traces:
            from gateway.otlp import OtlpTracer  # noqa: PLC0415  # megabytes, and only who sends traces needs them

            try:
                self.observer.tracer = OtlpTracer()
            except Exception:
                log.exception("no traces are sent: OpenTelemetry's variables cannot be used")

    async def _prove(self) -> None:
        """Let every kind of box prove itself before the first program wants one."""
        await self.proofs.keep_posture(MONTY_POSTURE)
        await self.readiness.view()

    async def _reap(self) -> int:
        """Remove boxes without a live owner."""
        live = self.conductor.live_attempts()
        return sum([await lane.reap(live) for lane in self.lanes.values()])

    def app(self) -> ASGIApp:
        """The gateway as an ASGI application."""
        return create_app(
            self.desk,
            self.authenticator,
            self.limiter,
            running=self.running,
            tracer=lambda: self.observer.tracer,
            console=self.console.make,
        )

    def let_go(self) -> None:
        """Let all listeners go, so that a server that stops need not wait for them."""
        self.watching.stop()
        self.console.stop()


def _kept_words(profile: Profile) -> str:
    """How long what is kept, for the log of a start."""
    return ", ".join(f"{body} {format_keeping(seconds)}" for body, seconds in profile.retention)


def _memory_sizes(reader: Reader) -> list[StoredSize]:
    return reader.memory_sizes(now() - BELIEVED, MOST_SIZES)


async def _keep(work: Callable[[], Awaitable[int]], seconds: float) -> None:
    """Do `work` for ever, whatever becomes of it; a store that cannot be reached now is tried again."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Unavailable:
            continue
        except Exception:
            log.exception("housekeeping failed, and is tried again")


def compose(settings: Settings) -> Gateway:
    """Make all parts; raises `StartError` or `PolicyError` for what an operator has to mend."""
    in_force = first_policy(settings.policy)
    policy = in_force.current
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    authentication = authenticator(
        policy.keys, loopback=settings.loopback, data=settings.data, provider=provider_of(policy)
    )
    chance = random.SystemRandom().random
    store, changes, monty = Store(settings.database, subscriptions(policy)), Changes(), Monty()
    deliveries = Deliveries(store, letter_targets(policy), chance)
    default = policy.resolve(DEFAULT_PROFILE)
    container = ContainerDriver(
        instance=_instance(settings.data),
        default_image=default.isolation.image,
        boxes=policy.engine.boxes,
        spares=policy.engine.spares,
    )
    proofs, kinds = Proofs(store), targets(policy)
    proven = ProvenDriver(container, kinds, addresses=[(settings.listen.host, settings.listen.port)], keep=proofs.keep)
    switch = MontySwitch(settings.data / "monty-lane.jsonl")
    lanes: dict[Lane, Driver] = {Lane.MONTY: SwitchedLane(MontyDriver(monty), switch), Lane.CONTAINER: proven}
    checker = Checker(monty, container.python, lambda: switch.off)
    expectations = Expectations(Schemas())
    queue, sizes, quotas = _queue(in_force, container), Sizes(), Quotas()
    shadow = Shadow(proven, queue, switch)
    telemetry = telemetry_wanted()
    observer = Observer(gen_ai=telemetry.gen_ai)
    store.on_news = observer.told
    conductor = Conductor(
        policy=in_force,
        store=store,
        checker=checker,
        lanes=lanes,
        changes=changes,
        chance=chance,
        queue=queue,
        sizes=sizes,
        expectations=expectations,
        shadow=shadow,
        observer=observer,
        quotas=quotas,
        memory=Memory(in_force, store),
    )
    reviews = Reviews(policy=in_force, store=store, conductor=conductor, changes=changes, checker=checker)
    readiness = Readiness(store=store, lanes=lanes, conductor=conductor, policy=in_force, queue=queue)
    tasks = Tasks(policy=in_force, store=store, conductor=conductor, changes=changes, reviews=reviews)
    limiter, pruner = Limiter(in_force, quotas), Pruner(policy=in_force, store=store)
    watching = Watching(policy=in_force, store=store, conductor=conductor, changes=changes, limiter=limiter)
    adopter = Adopter(
        settings=settings,
        in_force=in_force,
        authenticator=authentication,
        store=store,
        deliveries=deliveries,
        container=container,
        proven=proven,
        queue=queue,
    )
    # Of its own: what a policy's tests say must not depend on what was checked before.
    cases = Checker(monty, container.python, lambda: None)
    reloader = Reloader(settings.policy, in_force, cases, adopter.adopt)
    metrics = Metrics(
        policy=in_force,
        supply=container.supply,
        checker=checker,
        conductor=conductor,
        queue=queue,
        pruner=pruner,
        store=store,
        deliveries=deliveries,
        reloader=reloader,
        shadow=shadow,
        counts=observer.counts,
        lane=readiness.lane,
    )
    desk = Desk(
        policy=in_force,
        store=store,
        conductor=conductor,
        tasks=tasks,
        reviews=reviews,
        readiness=readiness,
        isolation=Isolation(proven, proofs),
        metrics=metrics,
        limiter=limiter,
        expectations=expectations,
        watching=watching,
        pruner=pruner,
        deliveries=deliveries,
        reloader=reloader,
        oversight=Oversight(store=store, shadow=shadow),
    )
    return Gateway(
        settings=settings,
        telemetry=telemetry,
        in_force=in_force,
        reloader=reloader,
        authenticator=authentication,
        store=store,
        monty=monty,
        lanes=lanes,
        queue=queue,
        sizes=sizes,
        quotas=quotas,
        shadow=shadow,
        conductor=conductor,
        reviews=reviews,
        tending=Tending(policy=in_force, store=store, reviews=reviews),
        readiness=readiness,
        proofs=proofs,
        limiter=limiter,
        expectations=expectations,
        watching=watching,
        pruner=pruner,
        deliveries=deliveries,
        observer=observer,
        desk=desk,
        console=ConsoleRoom(
            service=desk,
            archive=Archive(store),
            gauges=Gauges(metrics.collect),
            authenticator=authentication,
            limiter=limiter,
        ),
    )


def _queue(in_force: InForce, container: ContainerDriver) -> Queue:
    """The queue before this engine's boxes."""
    engine = in_force.current.engine
    return Queue(
        Bounds(places=engine.boxes, length=engine.queue, age_seconds=engine.queue_age, retry_share=engine.retry_share),
        memory_bytes=lambda: in_force.current.engine.memory or container.memory_bytes,
        probe=container.probe,
    )


def _instance(data: Path) -> str:
    """This data directory's name on its engine: boxes carry it, so that nobody removes another's."""
    path = data / "instance"
    if not path.exists():
        path.write_text(new_id("gw"), encoding="ascii")
    return path.read_text(encoding="ascii").strip()


async def _engine_runtimes() -> frozenset[str] | None:
    """The names of the engine's runtimes; None while it does not answer."""
    engine = Engine(None, calls=1)
    try:
        return (await engine.describe()).runtimes
    except EngineError:
        return None
    finally:
        await engine.close()


def _require_runtimes(policy: Policy) -> None:
    """Refuse to start where the engine lacks what a profile names; where it is away now, the lane says so later."""
    wanted = {name: profile.isolation.runtime for name, profile in policy.profiles.items() if profile.isolation.runtime}
    has = asyncio.run(_engine_runtimes()) if wanted else None
    if has is None:
        return
    for name, runtime in wanted.items():
        if runtime not in has:
            known = ", ".join(sorted(has)) or "none that it names"
            raise StartError(f"The profile {name!r} wants the runtime {runtime!r}; this engine has {known}.")


def _sole(data: Path) -> object:
    """Hold the data directory; two gateways on one log would take up each other's executions."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (data / "lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StartError(f"Another gateway is using {data}.") from None
    return lock


def _migrate_apart(database: str) -> None:
    """Bring the schema up to date in a process of its own: what that takes (10 MB) goes with it."""
    if not is_current(database):
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as process:
            process.submit(migrate, database).result()


def serve(settings: Settings) -> None:
    """Run the gateway until it is told to stop."""
    configure_logging(settings)
    ignore_warnings()
    allow_descriptors()
    lock = _sole(settings.data)
    gateway = compose(settings)
    _require_runtimes(gateway.in_force.current)
    try:
        _migrate_apart(settings.database)
    except DatabaseError as error:
        raise StartError(str(error)) from error

    def greet() -> None:
        if gateway.authenticator.reviewer_key is not None:
            print(f"reviewer key: {gateway.authenticator.reviewer_key}", flush=True)  # noqa: T201  # for the operator
        print(f"airlock: {settings.listen.url}", flush=True)  # noqa: T201

    server = Server(server_config(gateway.app(), settings), listening=greet, stopping=gateway.let_go)
    spare_the_collector()
    server.run()
    del lock
