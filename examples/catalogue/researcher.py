"""A researcher: writes a program for a page, reads what became of it, mends it, until the product is catalogued.

Scripted where a model would be, but it decides by what a model would read: `status`, `error`, `next_actions`, and a
reviewer's message. All that it does follows from the product and from the gateway's answers, so that a researcher who
starts over sends the same requests under the same keys, and is told the same.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from examples.catalogue.gateway import Gateway
from examples.catalogue.programs import program
from examples.catalogue.tally import Tally
from examples.catalogue.wire import Connection, Reply
from examples.catalogue.world import FIELDS, Flaw, Product

_MOST_TRIES: Final = 12
_MOST_UNLUCKY: Final = 100  # programs that the platform could not run: nobody's fault, and charged to nobody
_POLL_SECONDS: Final = 30

# What a researcher makes of an error: its type, a word of its message, and what was wrong with the program.
_LESSONS: Final = (
    ("KeyError", "released", Flaw.MISSING),
    ("ValueError", "", Flaw.PRICE),
    ("NameError", "", Flaw.NAME),
    ("SyntaxError", "", Flaw.FENCE),
)


@dataclass(frozen=True, slots=True)
class Try:
    """One answered program of a product's task."""

    number: int
    execution: str
    status: str
    lane: str
    attempts: int


@dataclass(slots=True)
class Entry:
    """A product's line of the catalogue, and how it came about. `record` is None where nobody could make one."""

    product: int
    record: Mapping[str, object] | None = None
    source: str = ""
    charged: int = 0
    why: str = ""
    tries: list[Try] = field(default_factory=list)


def task_of(seed: int, number: int) -> str:
    """The task's name."""
    return f"catalogue-{seed}-{number:06d}"


@dataclass(slots=True)
class Researcher:
    """One of many, with a connection of their own."""

    gateway: Gateway
    connection: Connection
    seed: int

    @property
    def tally(self) -> Tally:
        """What is counted of all of them."""
        return self.gateway.tally

    async def catalogue(self, product: Product) -> Entry:
        """See one product through."""
        entry, flaw, note = Entry(product.number), product.flaw, ""
        task = task_of(self.seed, product.number)
        unlucky = 0
        for number in range(1, _MOST_TRIES + _MOST_UNLUCKY):
            answer = await self._submit(task, number, program(product.template, flaw, note), product.page)
            self._took(entry, number, answer)
            advised, lesson = _advice(answer), _lesson(answer)
            if advised == "resubmit_unchanged":
                self.tally.platform_errors += 1
                unlucky += 1
                continue
            if advised == "wait" or (lesson is None and not _catalogued(entry, answer)):
                answer = await self._newest(task)
                lesson = _lesson(answer)
            if _catalogued(entry, answer):
                return entry
            if _told(answer, "task", "state") == "closed":
                entry.why = f"the task was closed: {_told(answer, 'task', 'closed_reason')}"
                return entry
            if lesson is not None and lesson is flaw:
                self.tally.repaired[flaw] += 1
                flaw = None
            if number - unlucky >= _MOST_TRIES:
                break
            note = f"# try {number + 1}: {lesson or 'the page is odd'}\n"
        entry.why = f"not done after {len(entry.tries)} programs, {unlucky} of which the platform could not run"
        return entry

    async def _submit(self, task: str, number: int, code: str, page: str) -> Mapping[str, object]:
        """Send a program; the same number is the same execution, however often its answer is lost.

        After a crash of ours the number may stand for another program than we would write now: then that one counts.
        """
        body = json.dumps({"code": code, "task_id": task, "inputs": {"page": page}}).encode("ascii")
        reply = await self._ask("POST", "/v1/executions", body, f"{task}-{number}")
        match reply.body.get("execution"):
            case dict() as execution:  # of a problem: the platform could not run it, and says when to try again
                await asyncio.sleep((reply.retry_after or 1.0) * random.uniform(1.0, 1.5))  # noqa: S311  # not all at once
                return execution
            case str() as execution:
                return (await self._ask("GET", f"/v1/executions/{execution}")).body
            case _:
                return reply.body if reply.status == 200 else await self._newest(task)  # noqa: PLR2004

    async def _newest(self, task: str) -> Mapping[str, object]:
        """The task's newest answer, a reviewer's included, as soon as it is not the reviewer's turn any more."""
        while True:
            reply = await self._ask("GET", f"/v1/tasks/{task}?wait={_POLL_SECONDS}")
            latest = reply.body.get("latest")
            if reply.body.get("turn") in {"agent", "nobody"} and isinstance(latest, dict):
                return latest

    async def _ask(self, method: str, path: str, body: bytes = b"", key: str | None = None) -> Reply:
        return await self.gateway.ask(self.connection, method, path, body, key)

    def _took(self, entry: Entry, number: int, answer: Mapping[str, object]) -> None:
        attempts = answer["attempts"]
        made = Try(
            number=number,
            execution=str(answer["id"]),
            status=str(answer["status"]),
            lane=str(answer["lane"] or "none"),
            attempts=len(attempts) if isinstance(attempts, list) else 0,
        )
        entry.tries.append(made)
        self.tally.tries[f"{made.lane} {made.status}"] += 1


def _catalogued(entry: Entry, answer: Mapping[str, object]) -> bool:
    """Take the answer's record if it has one, by whomever."""
    limit, left = (_told(answer, "task", "budget", "failures_total", name) for name in ("limit", "left"))
    if isinstance(limit, int) and isinstance(left, int):
        entry.charged = limit - left
    result = answer["result"]
    if answer["status"] != "succeeded" or not isinstance(result, dict) or not is_record(result):
        return False
    entry.record, entry.source = result, str(answer["source"])
    return True


def is_record(result: Mapping[str, object]) -> bool:
    """Whether it has the shape of a record: the fields, their types, nothing else."""
    return result.keys() == set(FIELDS) and all(
        value is None or type(value) is (int if name == "price_cents" else str) for name, value in result.items()
    )


def _advice(answer: Mapping[str, object]) -> str:
    """What the gateway says is best to do next."""
    actions = answer["next_actions"]
    return str(actions[0]) if isinstance(actions, list) and actions else ""


def _lesson(answer: Mapping[str, object]) -> Flaw | None:
    """What the answer teaches about the program; None where the researcher does not understand."""
    told = str(_told(answer, "task", "message") or "")
    if "sku" in told:
        return Flaw.LABEL
    if answer["status"] == "succeeded":
        return Flaw.SHAPE
    kind, message = str(_told(answer, "error", "type")), str(_told(answer, "error", "message"))
    return next((flaw for name, word, flaw in _LESSONS if name == kind and word in message), None)


def _told(answer: Mapping[str, object], *path: str) -> object:
    found: object = answer
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found
