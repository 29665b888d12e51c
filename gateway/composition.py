"""The composition root: every part is made here, once. Nothing is started."""

from __future__ import annotations

import random
from pathlib import Path

from gateway.admission import Admission
from gateway.adopting import Adopter
from gateway.answering import Answering
from gateway.archive import Archive
from gateway.attempts import Attempts
from gateway.auth import authenticator
from gateway.changes import Changes
from gateway.checks import Checker
from gateway.commits import Commits
from gateway.conductor import Conductor
from gateway.console.making import ConsoleRoom
from gateway.deliveries import Deliveries
from gateway.desk import Desk
from gateway.executions import Executions
from gateway.expectations import Expectations
from gateway.gauges import Gauges
from gateway.in_force import InForce
from gateway.intake import Intake
from gateway.isolation import Isolation, Proofs, targets
from gateway.limiter import Limiter
from gateway.metrics import Metrics
from gateway.monty_switch import MontySwitch, SwitchedLane
from gateway.observer import Observer
from gateway.oversight import Oversight
from gateway.parts import Base, Front, Insight, Keepers, Lanes, Means
from gateway.policy import DEFAULT_PROFILE
from gateway.policy_views import PolicyViews
from gateway.providers import provider_of
from gateway.queue import Bounds, Queue
from gateway.quotas import Quotas
from gateway.readiness import Readiness
from gateway.reloading import Reloader, first_policy
from gateway.remembering import Memory
from gateway.retention import Pruner
from gateway.reviews import Reviews
from gateway.running import Gateway
from gateway.schemas import Schemas
from gateway.settings import Settings, telemetry_wanted
from gateway.shadow import Shadow
from gateway.sizes import Sizes
from gateway.store import Store
from gateway.tasks import Tasks
from gateway.tending import Tending
from gateway.times import new_id
from gateway.waiting import Waiting
from gateway.watching import Watching
from gateway.webhooks import letter_targets, subscriptions
from sandbox.container import ContainerDriver
from sandbox.job import Lane
from sandbox.monty import Monty, MontyDriver
from sandbox.proven import ProvenDriver


def compose(settings: Settings) -> Gateway:
    """Make all parts; raises `StartError` or `PolicyError` for what an operator has to mend."""
    base = _base(settings)
    lanes = _lanes(base)
    means = _means(base, lanes)
    conductor = _conductor(base, lanes, means)
    keepers = _keepers(base, lanes, means, conductor)
    insight = _insight(base, lanes, means, conductor, keepers)
    return Gateway(
        base=base,
        lanes=lanes,
        means=means,
        conductor=conductor,
        keepers=keepers,
        insight=insight,
        front=_front(base, means, conductor, keepers, insight),
    )


def _base(settings: Settings) -> Base:
    in_force = first_policy(settings.policy)
    policy = in_force.current
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    authentication = authenticator(
        policy.keys, loopback=settings.loopback, data=settings.data, provider=provider_of(policy)
    )
    telemetry = telemetry_wanted()
    store, observer = Store(settings.database, subscriptions(policy)), Observer(gen_ai=telemetry.gen_ai)
    store.on_news = observer.told
    return Base(
        settings=settings,
        telemetry=telemetry,
        in_force=in_force,
        authenticator=authentication,
        store=store,
        changes=Changes(),
        observer=observer,
        chance=random.SystemRandom().random,
    )


def _lanes(base: Base) -> Lanes:
    settings, policy = base.settings, base.in_force.current
    monty, switch = Monty(), MontySwitch(settings.data / "monty-lane.jsonl")
    container = ContainerDriver(
        instance=_instance(settings.data),
        default_image=policy.resolve(DEFAULT_PROFILE).isolation.image,
        boxes=policy.engine.boxes,
        spares=policy.engine.spares,
    )
    proofs, own = Proofs(base.store), (settings.listen.host, settings.listen.port)
    proven = ProvenDriver(container, targets(policy), addresses=[own], keep=proofs.keep)
    return Lanes(
        monty=monty,
        switch=switch,
        container=container,
        proofs=proofs,
        proven=proven,
        drivers={Lane.MONTY: SwitchedLane(MontyDriver(monty), switch), Lane.CONTAINER: proven},
    )


def _instance(data: Path) -> str:
    """This data directory's name on its engine: boxes carry it, so that nobody removes another's."""
    path = data / "instance"
    if not path.exists():
        path.write_text(new_id("gw"), encoding="ascii")
    return path.read_text(encoding="ascii").strip()


def _means(base: Base, lanes: Lanes) -> Means:
    queue, sizes = _queue(base.in_force, lanes.container), Sizes()
    return Means(
        checker=Checker(lanes.monty, lanes.container.python, lambda: lanes.switch.off),
        queue=queue,
        sizes=sizes,
        quotas=Quotas(),
        expectations=Expectations(Schemas()),
        shadow=Shadow(lanes.proven, queue, lanes.switch),
        commits=Commits(store=base.store, sizes=sizes, observer=base.observer, changes=base.changes),
    )


def _queue(in_force: InForce, container: ContainerDriver) -> Queue:
    """The queue before this engine's boxes."""
    engine = in_force.current.engine
    return Queue(
        Bounds(places=engine.boxes, length=engine.queue, age_seconds=engine.queue_age, retry_share=engine.retry_share),
        memory_bytes=lambda: in_force.current.engine.memory or container.memory_bytes,
        probe=container.probe,
    )


def _conductor(base: Base, lanes: Lanes, means: Means) -> Conductor:
    store, changes, observer, commits = base.store, base.changes, base.observer, means.commits
    return Conductor(
        policy=base.in_force,
        store=store,
        commits=commits,
        admission=Admission(
            store=store,
            checker=means.checker,
            memory=Memory(base.in_force, store),
            sizes=means.sizes,
            observer=observer,
        ),
        waiting=Waiting(queue=means.queue, commits=commits, observer=observer, chance=base.chance),
        attempts=Attempts(
            lanes=lanes.drivers,
            expectations=means.expectations,
            commits=commits,
            changes=changes,
            observer=observer,
        ),
        answering=Answering(store, observer.counts),
        changes=changes,
        shadow=means.shadow,
        observer=observer,
        quotas=means.quotas,
    )


def _keepers(base: Base, lanes: Lanes, means: Means, conductor: Conductor) -> Keepers:
    in_force, store = base.in_force, base.store
    deliveries = Deliveries(store, letter_targets(in_force.current), base.chance)
    reviews = Reviews(policy=in_force, store=store, conductor=conductor, changes=base.changes, checker=means.checker)
    return Keepers(
        deliveries=deliveries,
        pruner=Pruner(policy=in_force, store=store),
        reviews=reviews,
        tending=Tending(policy=in_force, store=store, reviews=reviews),
        reloader=_reloader(base, lanes, means, deliveries),
    )


def _reloader(base: Base, lanes: Lanes, means: Means, deliveries: Deliveries) -> Reloader:
    adopter = Adopter(
        settings=base.settings,
        in_force=base.in_force,
        authenticator=base.authenticator,
        store=base.store,
        deliveries=deliveries,
        container=lanes.container,
        proven=lanes.proven,
        queue=means.queue,
    )
    # Of its own: what a policy's tests say must not depend on what was checked before.
    cases = Checker(lanes.monty, lanes.container.python, lambda: None)
    return Reloader(base.settings.policy, base.in_force, cases, adopter.adopt)


def _insight(base: Base, lanes: Lanes, means: Means, conductor: Conductor, keepers: Keepers) -> Insight:
    in_force, store = base.in_force, base.store
    readiness = Readiness(store=store, lanes=lanes.drivers, conductor=conductor, policy=in_force, queue=means.queue)
    metrics = Metrics(
        policy=in_force,
        supply=lanes.container.supply,
        checker=means.checker,
        conductor=conductor,
        queue=means.queue,
        pruner=keepers.pruner,
        store=store,
        deliveries=keepers.deliveries,
        reloader=keepers.reloader,
        shadow=means.shadow,
        counts=base.observer.counts,
        lane=readiness.lane,
    )
    return Insight(
        readiness=readiness,
        isolation=Isolation(lanes.proven, lanes.proofs),
        oversight=Oversight(store=store, shadow=means.shadow),
        metrics=metrics,
    )


def _front(base: Base, means: Means, conductor: Conductor, keepers: Keepers, insight: Insight) -> Front:
    in_force, store = base.in_force, base.store
    limiter = Limiter(in_force, means.quotas)
    watching = Watching(policy=in_force, store=store, conductor=conductor, changes=base.changes, limiter=limiter)
    desk = Desk(
        intake=Intake(
            policy=in_force, store=store, conductor=conductor, expectations=means.expectations, limiter=limiter
        ),
        executions=Executions(policy=in_force, store=store, conductor=conductor, commits=means.commits),
        watching=watching,
        tasks=Tasks(policy=in_force, store=store, conductor=conductor, changes=base.changes, reviews=keepers.reviews),
        reviews=keepers.reviews,
        deliveries=keepers.deliveries,
        policies=PolicyViews(policy=in_force, store=store, limiter=limiter, reloader=keepers.reloader),
        oversight=insight.oversight,
        isolation=insight.isolation,
        pruner=keepers.pruner,
        metrics=insight.metrics,
        readiness=insight.readiness,
    )
    console = ConsoleRoom(
        service=desk,
        archive=Archive(store),
        gauges=Gauges(insight.metrics.collect),
        authenticator=base.authenticator,
        limiter=limiter,
    )
    return Front(limiter=limiter, watching=watching, desk=desk, console=console)
