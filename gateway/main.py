"""The server's entry: what has to hold before a gateway may serve, and serving."""

from __future__ import annotations

import asyncio
import fcntl
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from gateway.composition import compose
from gateway.database import DatabaseError
from gateway.policy import Policy
from gateway.server import Server, allow_descriptors, configure_logging, server_config, spare_the_collector
from gateway.settings import Settings, StartError
from gateway.source import ignore_warnings
from gateway.store import is_current, migrate
from sandbox.engine import Engine, EngineError


def serve(settings: Settings) -> None:
    """Run the gateway until it is told to stop."""
    configure_logging(settings)
    ignore_warnings()
    allow_descriptors()
    lock = _sole(settings.data)
    gateway = compose(settings)
    _require_runtimes(gateway.base.in_force.current)
    try:
        _migrate_apart(settings.database)
    except DatabaseError as error:
        raise StartError(str(error)) from error

    def greet() -> None:
        if gateway.base.authenticator.reviewer_key is not None:
            print(f"reviewer key: {gateway.base.authenticator.reviewer_key}", flush=True)  # noqa: T201  # for the operator
        print(f"airlock: {settings.listen.url}", flush=True)  # noqa: T201

    server = Server(server_config(gateway.app(), settings), listening=greet, stopping=gateway.let_go)
    spare_the_collector()
    server.run()
    del lock


def _sole(data: Path) -> object:
    """Hold the data directory; two gateways on one log would take up each other's executions."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (data / "lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StartError(f"Another gateway is using {data}.") from None
    return lock


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


async def _engine_runtimes() -> frozenset[str] | None:
    """The names of the engine's runtimes; None while it does not answer."""
    engine = Engine(None, calls=1)
    try:
        return (await engine.describe()).runtimes
    except EngineError:
        return None
    finally:
        await engine.close()


def _migrate_apart(database: str) -> None:
    """Bring the schema up to date in a process of its own: what that takes (10 MB) goes with it."""
    if not is_current(database):
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as process:
            process.submit(migrate, database).result()
