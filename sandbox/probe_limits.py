"""A part of the probe: it tries to have more than the limits of its box."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
from typing import TYPE_CHECKING

from sandbox.probe_order import WORLD, Breach

if TYPE_CHECKING:
    from sandbox.probe_order import Order

MIB = 1 << 20
MOST_FORKED = 24  # more would take longer than a trial may, where each is large


def limits_pids(order: Order) -> None:
    """Have more processes than allowed; threads count as they do, and take the places above the first few."""
    children: list[int] = []
    _fill_with_threads(order["pids"] - MOST_FORKED)
    try:
        while len(children) <= min(order["pids"], MOST_FORKED):
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            children.append(child)
    except OSError:
        return
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    raise Breach(f"{len(children)} processes at once where {order['pids']} are allowed")


def _fill_with_threads(number: int) -> None:
    """Start up to so many threads: where modules were imported before, each process takes 15 ms."""
    with contextlib.suppress(RuntimeError):  # the wall is there already, and the next process finds it too
        for _ in range(number):
            threading.Thread(target=signal.pause, daemon=True).start()


def limits_memory(order: Order) -> None:
    """Hold more memory than allowed."""
    child = os.fork()
    if child == 0:
        held = []
        try:
            for _ in range(order["memory_bytes"] // (8 * MIB) + 4):
                held.append(b"\1" * (8 * MIB))  # noqa: PERF401 - bit by bit, until it ends
        except MemoryError:
            os._exit(2)
        os._exit(1)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 1:
        raise Breach(f"held more than {order['memory_bytes']} bytes")


def limits_disk(order: Order) -> None:
    """Write more than allowed, in one file, in many, and in one that claims to be large."""
    _fill(WORLD, order["disk_bytes"])
    path = os.path.join(WORLD, "sparse")
    with open(path, "wb") as file:
        try:
            file.truncate(order["disk_bytes"] * 1024)
        except OSError:
            return
        finally:
            os.unlink(path)
    raise Breach("a sparse file of any size")


def limits_shared_memory(order: Order) -> None:
    """Keep more in shared memory than allowed."""
    _fill("/dev/shm", order["shared_memory_bytes"])  # noqa: S108


def _fill(place: str, most: int) -> None:
    paths: list[str] = []
    written = 0
    try:
        while written <= most:
            paths.append(os.path.join(place, f"fill-{len(paths)}"))
            descriptor = os.open(paths[-1], os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                for _ in range(max(most // MIB // 3, 1)):
                    written += os.write(descriptor, b"\1" * MIB)
            finally:
                os.close(descriptor)
    except OSError:
        return
    finally:
        for path in paths:
            if os.path.exists(path):
                os.unlink(path)
    raise Breach(f"wrote {written} bytes to {place} where {most} are allowed")


def limits_descriptors(_: Order) -> None:
    """Raise a limit of a process."""
    for name in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK):
        hard = resource.getrlimit(name)[1]
        if hard == resource.RLIM_INFINITY:
            raise Breach("a limit of processes is not set")
        try:
            resource.setrlimit(name, (hard + 1, hard + 1))
        except (OSError, ValueError):
            continue
        raise Breach("raised a limit of processes")
