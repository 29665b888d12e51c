"""The probe: a program that tries, inside a box, every thing that a box forbids, and says what it achieved.

Of standard library only, and sent to a box as one text (`bundle`), a job like any other; its order comes as JSON on stdin,
its report leaves as JSON on stdout. A trial that returns was held; one that achieves something raises `Breach` with what it
achieved. Each runs in a process of its own, so that none spoils the next. It must not know engines or policies.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING

from sandbox.probe_files import (
    devices_make,
    devices_open,
    files_execute,
    files_facts,
    files_mounts,
    files_root,
    files_sockets,
    files_switches,
)
from sandbox.probe_kernel import (
    CALLS,
    call_trial,
    kernel_filter,
    privileges_capabilities,
    privileges_new,
    privileges_user,
)
from sandbox.probe_limits import limits_descriptors, limits_disk, limits_memory, limits_pids, limits_shared_memory
from sandbox.probe_neighbour import be_neighbour, neighbour_files, neighbour_sockets
from sandbox.probe_network import (
    network_dns,
    network_families,
    network_interfaces,
    network_ipv6,
    network_raw,
    network_sockets,
    network_tcp,
    network_udp,
)
from sandbox.probe_order import Breach
from sandbox.probe_processes import (
    environment,
    guest_descriptors,
    guest_memory,
    guest_trace,
    guest_words,
    processes_visible,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.probe_order import Order


TRIAL_SECONDS = 3.0


# Name -> the trial, and whether it makes sense in a runtime whose kernel is not the machine's.
TRIALS: dict[str, tuple[Callable[[Order], None], bool]] = {
    "neighbour.sockets": (neighbour_sockets, True),
    "neighbour.files": (neighbour_files, True),
    "network.tcp": (network_tcp, True),
    "network.udp": (network_udp, True),
    "network.ipv6": (network_ipv6, True),
    "network.dns": (network_dns, True),
    "network.families": (network_families, False),
    "network.raw": (network_raw, True),
    "network.interfaces": (network_interfaces, True),
    "network.sockets": (network_sockets, False),
    "files.root": (files_root, True),
    "files.facts": (files_facts, False),
    "files.switches": (files_switches, False),
    "files.mounts": (files_mounts, False),
    "files.sockets": (files_sockets, True),
    "files.execute": (files_execute, True),
    "devices.open": (devices_open, False),  # devices of a kernel of its own reach nothing of the machine
    "devices.make": (devices_make, False),
    "privileges.user": (privileges_user, True),
    "privileges.capabilities": (privileges_capabilities, True),
    "privileges.new": (privileges_new, False),
    "kernel.filter": (kernel_filter, False),
    **{name: (call_trial(calls), False) for name, calls in CALLS.items()},
    "guest.memory": (guest_memory, True),
    "guest.descriptors": (guest_descriptors, True),
    "guest.words": (guest_words, False),
    "guest.trace": (guest_trace, True),
    "processes.visible": (processes_visible, True),
    "environment": (environment, True),
    "limits.descriptors": (limits_descriptors, False),
    "limits.pids": (limits_pids, False),
    "limits.disk": (limits_disk, True),
    "limits.shared_memory": (limits_shared_memory, True),
    "limits.memory": (limits_memory, False),  # there the wall is around all of the box, and would end the probe
}


def expected(*, own_kernel: bool) -> tuple[str, ...]:
    """The trials that a probe must report; `own_kernel`: the runtime brings a kernel of its own."""
    return tuple(name for name, (_, everywhere) in TRIALS.items() if everywhere or not own_kernel)


def attempt(trial: Callable[[Order], None], order: Order) -> dict[str, bool | str | None]:
    """Run one trial in a process of its own; `held` None: it could not be tried."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, json.dumps(_judged(trial, order)).encode()[:4096])
        os._exit(0)
    os.close(writer)
    said = b""
    if select.select([reader], [], [], TRIAL_SECONDS)[0]:
        said = os.read(reader, 4096)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader)
    if not said:
        return {"held": None, "detail": "the trial did not come back"}
    answer: dict[str, bool | str | None] = json.loads(said)
    return answer


def _judged(trial: Callable[[Order], None], order: Order) -> dict[str, bool | str | None]:
    try:
        trial(order)
    except Breach as breach:
        return {"held": False, "detail": str(breach)[:500]}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is no proof
        return {"held": None, "detail": f"could not be tried: {type(error).__name__}: {error}"[:500]}
    return {"held": True, "detail": ""}


def main() -> None:
    """Do what the order on stdin says."""
    order: Order = json.load(sys.stdin)
    order["addresses"] = [(host, port) for host, port in order["addresses"]]
    if order["role"] == "neighbour":
        be_neighbour(order)
    began, report, looked = time.time(), {}, time.time()
    for name in expected(own_kernel=order["own_kernel"]):
        report[name] = attempt(TRIALS[name][0], order)
        if name == "neighbour.sockets":
            looked = time.time()
    print(json.dumps({"trials": report, "looked_from": began, "looked_until": looked}))  # noqa: T201 - its report


if __name__ == "__main__":
    main()
