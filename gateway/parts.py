"""The parts of a gateway, in groups and in the order in which they are made: none knows of a group after its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.auth import Authenticator
from gateway.changes import Changes
from gateway.checks import Checker
from gateway.commits import Commits
from gateway.console.making import ConsoleRoom
from gateway.deliveries import Deliveries
from gateway.desk import Desk
from gateway.expectations import Expectations
from gateway.in_force import InForce
from gateway.isolation import Isolation, Proofs
from gateway.limiter import Limiter
from gateway.metrics import Metrics
from gateway.monty_switch import MontySwitch
from gateway.observer import Observer
from gateway.oversight import Oversight
from gateway.queue import Queue
from gateway.quotas import Quotas
from gateway.readiness import Readiness
from gateway.reloading import Reloader
from gateway.retention import Pruner
from gateway.reviews import Reviews
from gateway.settings import Settings, Telemetry
from gateway.shadow import Shadow
from gateway.sizes import Sizes
from gateway.store import Store
from gateway.tending import Tending
from gateway.watching import Watching
from sandbox.container import ContainerDriver
from sandbox.driver import Driver
from sandbox.job import Lane
from sandbox.monty import Monty
from sandbox.proven import ProvenDriver


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What almost everything asks: what is wanted, in force and on record, and who is told of what happens."""

    settings: Settings
    telemetry: Telemetry
    in_force: InForce
    authenticator: Authenticator
    store: Store
    changes: Changes
    observer: Observer
    chance: Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """Where programs run, and what is known of the walls there."""

    monty: Monty
    switch: MontySwitch
    container: ContainerDriver
    proofs: Proofs
    proven: ProvenDriver
    drivers: dict[Lane, Driver]


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What executions use on their way, each of it for all of them together."""

    checker: Checker
    queue: Queue
    sizes: Sizes
    quotas: Quotas
    expectations: Expectations
    shadow: Shadow
    commits: Commits


@dataclass(frozen=True, slots=True, kw_only=True)
class Keepers:
    """What goes on without being asked: letters, deletions, reviews that are passed on, policies that are read again."""

    deliveries: Deliveries
    pruner: Pruner
    reviews: Reviews
    tending: Tending
    reloader: Reloader


@dataclass(frozen=True, slots=True, kw_only=True)
class Insight:
    """What the gateway tells of itself."""

    readiness: Readiness
    isolation: Isolation
    oversight: Oversight
    metrics: Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What callers and people at the console meet."""

    limiter: Limiter
    watching: Watching
    desk: Desk
    console: ConsoleRoom
