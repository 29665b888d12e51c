"""Whose turn it is for a box: fair between tenants, by priority within one, never more boxes or bytes than there are.

Pure: times are arguments, in seconds of a clock that never goes back.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

OVERTAKEN_SECONDS: Final = 5.0  # that smaller ones may go before a program for which there is no memory yet

Priority: TypeAlias = Literal["low", "normal", "high"]
_RANK: Mapping[Priority, int] = MappingProxyType({"high": 0, "normal": 1, "low": 2})


@dataclass(frozen=True, slots=True)
class Ticket:
    """What wants a box: `name` is unique, `memory_bytes` the limit of the box, `since` when it was drawn."""

    name: str
    tenant: str
    priority: Priority
    memory_bytes: int
    since: float


@dataclass(slots=True)
class _Line:
    """One tenant's waiting tickets, best first, and when the tenant last had a turn."""

    tickets: list[tuple[int, int, Ticket]] = field(default_factory=list)
    served: int = 0


class Turns:
    """Who waits and who runs. A tenant with fewer boxes goes first, then the one that was served longer ago."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._lines: dict[str, _Line] = {}
        self._waiting: dict[str, Ticket] = {}
        self._running: dict[str, Ticket] = {}
        self._boxes: Counter[str] = Counter()  # by tenant
        self._bytes = 0
        self._drawn = 0
        self._short: tuple[str, float] | None = None  # who waits for memory, at the head of all, and since when

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many have a box."""
        return len(self._running)

    def oldest_seconds(self, now: float) -> float:
        """How long the one waits that waits longest."""
        return max((now - ticket.since for ticket in self._waiting.values()), default=0.0)

    def draw(self, ticket: Ticket) -> None:
        """Wait in line."""
        self._drawn += 1
        line = self._lines.setdefault(ticket.tenant, _Line(served=self._drawn))
        heapq.heappush(line.tickets, (_RANK[ticket.priority], self._drawn, ticket))
        self._waiting[ticket.name] = ticket

    def leave(self, name: str) -> None:
        """Wait or run no more."""
        self._waiting.pop(name, None)
        ticket = self._running.pop(name, None)
        if ticket is not None:
            self._bytes -= ticket.memory_bytes
            self._boxes[ticket.tenant] -= 1
            self._boxes += Counter()  # keeps those above zero

    def next(self, memory_bytes: int | None, now: float) -> Ticket | None:
        """The next to run, which has a box from now on; None while nobody may. `memory_bytes` is what all may use."""
        if len(self._running) >= self._places:
            return None
        for tenant in sorted(self._lines, key=lambda name: (self._boxes[name], self._lines[name].served)):
            ticket = self._head(tenant)
            if ticket is None:
                del self._lines[tenant]
            elif self._fits(ticket, memory_bytes):
                return self._serve(ticket)
            elif self._is_due(ticket, now):
                return None
        return None

    def _head(self, tenant: str) -> Ticket | None:
        tickets = self._lines[tenant].tickets
        while tickets and tickets[0][2].name not in self._waiting:
            heapq.heappop(tickets)
        return tickets[0][2] if tickets else None

    def _fits(self, ticket: Ticket, memory_bytes: int | None) -> bool:
        """What is larger than everything there is runs alone: it waits, but not for ever."""
        return memory_bytes is None or not self._running or self._bytes + ticket.memory_bytes <= memory_bytes

    def _is_due(self, ticket: Ticket, now: float) -> bool:
        """Whether others went before it for long enough."""
        if self._short is None or self._short[0] not in self._waiting:
            self._short = (ticket.name, now)
        return self._short[0] == ticket.name and now - self._short[1] >= OVERTAKEN_SECONDS

    def _serve(self, ticket: Ticket) -> Ticket:
        heapq.heappop(self._lines[ticket.tenant].tickets)
        del self._waiting[ticket.name]
        self._running[ticket.name] = ticket
        self._bytes += ticket.memory_bytes
        self._boxes[ticket.tenant] += 1
        self._drawn += 1
        self._lines[ticket.tenant].served = self._drawn
        return ticket
