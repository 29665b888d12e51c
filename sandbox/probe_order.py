"""A part of the probe: its order, where it may write, and what says that something forbidden worked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypedDict

    class Order(TypedDict):
        """What is to be tried: `addresses` must not answer; limits are those of this box; `token` marks the neighbour."""

        role: str
        token: str
        look_seconds: float
        addresses: list[tuple[str, int]]
        pids: int
        memory_bytes: int
        disk_bytes: int
        shared_memory_bytes: int
        own_kernel: bool


WORLD = "/tmp"  # noqa: S108 - the box's own, and its only writable place


class Breach(Exception):
    """Something forbidden worked; the message says what."""
