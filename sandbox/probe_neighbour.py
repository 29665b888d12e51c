"""A part of the probe: it looks for another box, or is the one that is looked for."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

from sandbox.probe_order import WORLD, Breach

if TYPE_CHECKING:
    from sandbox.probe_order import Order


def neighbour_sockets(order: Order) -> None:
    """Speak to another box. Looks for a while: that one may still be starting."""
    until = time.monotonic() + order["look_seconds"]
    while time.monotonic() < until:
        with socket.socket(socket.AF_UNIX) as knocking:
            try:
                knocking.connect("\0" + order["token"])
            except OSError:
                time.sleep(0.05)
                continue
        raise Breach("connected to another box")


def neighbour_files(order: Order) -> None:
    """Find what another box wrote."""
    for place in (WORLD, "/dev/shm", "/var/tmp", "/dev/mqueue"):  # noqa: S108
        if os.path.exists(os.path.join(place, order["token"])):
            raise Breach(f"another box's file is in {place}")


def be_neighbour(order: Order) -> None:
    """Leave traces everywhere, ignore every signal, and never end: the box's time limit is its only end."""
    for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("\0" + order["token"])
    listening.listen()
    for place in (WORLD, "/dev/shm"):  # noqa: S108
        with open(os.path.join(place, order["token"]), "w", encoding="ascii") as file:
            file.write(order["token"])
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                time.sleep(1)
        os._exit(0)
    print(json.dumps({"up_at": time.time()}), flush=True)  # noqa: T201 - its report
    while True:
        sum(range(10_000_000))
