"""The coordinator: hands products to researchers, keeps what they bring, and can be killed at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from examples.catalogue.gateway import Gateway
from examples.catalogue.ledger import Ledger
from examples.catalogue.researcher import Researcher, task_of
from examples.catalogue.reviewer import Reviewer
from examples.catalogue.tally import Tally
from examples.catalogue.world import Product, Shares, product

_FLUSH_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Assignment:
    """What is to be catalogued, and by how many at once."""

    products: int
    agents: int
    seed: int
    shares: Shares


@dataclass(frozen=True, slots=True)
class Keys:
    """What callers show the gateway; researchers may need none."""

    reviewer: str
    researchers: str | None = None


async def coordinate(
    assignment: Assignment, gateway: Gateway, keys: Keys, ledger: Ledger, look: Callable[[], None]
) -> None:
    """Catalogue all that is not catalogued yet. `look` is called now and then, to show how things stand."""
    tally, done = gateway.tally, ledger.done()
    left = iter([number for number in range(assignment.products) if number not in done])

    def product_of(task: str) -> Product | None:
        number = task.rpartition("-")[2]
        ours = number.isdigit() and task == task_of(assignment.seed, int(number))
        return product(assignment.seed, int(number), assignment.shares) if ours else None

    try:
        async with asyncio.TaskGroup() as helpers:
            helping = [
                helpers.create_task(Reviewer(gateway, keys.reviewer, product_of).work()),
                helpers.create_task(_keep(ledger, tally, look)),
            ]
            async with asyncio.TaskGroup() as group:
                for _ in range(assignment.agents):
                    one = Researcher(gateway, gateway.connect(keys.researchers), assignment.seed)
                    group.create_task(_research(assignment, one, left, ledger))
            for helper in helping:
                helper.cancel()
    finally:
        _put_down(ledger, tally)


async def _research(assignment: Assignment, researcher: Researcher, left: Iterator[int], ledger: Ledger) -> None:
    """One researcher's day: a product after the other."""
    try:
        for number in left:
            entry = await researcher.catalogue(product(assignment.seed, number, assignment.shares))
            ledger.add(researcher.tally.seconds, entry)
            researcher.tally.done += 1
            if entry.record is None:
                researcher.tally.given_up.append(f"{number}: {entry.why}")
    finally:
        await researcher.connection.close()


async def _keep(ledger: Ledger, tally: Tally, look: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(_FLUSH_SECONDS)
        _put_down(ledger, tally)
        look()


def _put_down(ledger: Ledger, tally: Tally) -> None:
    while tally.moments:
        ledger.moment(*tally.moments.pop(0))
    ledger.flush()
