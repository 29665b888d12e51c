"""What the gateway has on record of a catalogue: asked over HTTP, and read in its database where that is at hand.

The database is opened read-only. This is an auditor's look: agents have the HTTP API.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from examples.catalogue.coordinator import Assignment
from examples.catalogue.gateway import Gateway
from examples.catalogue.programs import program
from examples.catalogue.researcher import task_of
from examples.catalogue.world import product

# Of every execution: when it was answered, when its first result was recorded, when its last try began (as places in
# its task's log). A try that the platform lost, or that Monty handed on to a container, has no result.
_HISTORIES: Final = """
SELECT
    min(CASE WHEN type = 'Answered' THEN e.seq END) AS answered,
    sum(type = 'Answered') AS answers,
    min(CASE WHEN type = 'Finished' AND json_extract(data, '$.ending') NOT IN ('lost', 'unsupported') THEN e.seq END) AS result,
    max(CASE WHEN type = 'Started' THEN e.seq END) AS began,
    sum(CASE WHEN type = 'Answered' THEN json_extract(data, '$.charge') ELSE 0 END) AS charged,
    sum(type = 'Finished' AND json_extract(data, '$.ending') = 'lost') AS lost
FROM events e JOIN tasks t ON t.id = e.task
WHERE t.task_id GLOB :tasks AND type IN ('Submitted', 'Started', 'Finished', 'Answered')
GROUP BY e.task, json_extract(data, '$.execution')
"""


@dataclass(slots=True)
class Store:
    """What the gateway's database says of a catalogue."""

    executions: Counter[str] = field(default_factory=Counter)  # by lane and status
    unanswered: int = 0
    answered_twice: int = 0
    run_after_result: int = 0
    lost_attempts: int = 0  # by the platform, and tried again
    charged: int = 0
    keys_twice: int = 0
    missing: int = 0  # executions that a researcher was told of, and that are not there
    changed: int = 0  # of which something else is recorded than was told


def read_store(database: Path, seed: int, told: Iterable[tuple[int, int, str, str]]) -> Store:
    """Read everything; `told` are the executions that researchers were told of: product, number, execution, status."""
    store, tasks = Store(), task_of(seed, 0).removesuffix("000000") + "*"
    db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        statuses: dict[str, str | None] = {}
        keys: Counter[str] = Counter()
        rows = db.execute(
            "SELECT e.id, e.status, json_extract(e.answer, '$.lane'), e.source, e.idempotency_key"
            " FROM executions e JOIN tasks t ON t.id = e.task WHERE t.task_id GLOB ?",
            (tasks,),
        )
        for execution, status, lane, source, key in rows:
            statuses[execution] = status
            store.executions[f"{lane or 'none'} {status}{' (reviewer)' if source == 'reviewer' else ''}"] += 1
            store.unanswered += status is None
            keys[key] += key is not None
        store.keys_twice = sum(count > 1 for count in keys.values())
        for answered, answers, result, began, charged, lost in db.execute(_HISTORIES, {"tasks": tasks}):
            store.answered_twice += answers > 1
            recorded = min((place for place in (answered, result) if place is not None), default=None)
            store.run_after_result += recorded is not None and began is not None and began > recorded
            store.lost_attempts += lost
            store.charged += charged
    finally:
        db.close()
    for _, _, execution, status in told:
        store.missing += execution not in statuses
        store.changed += execution in statuses and statuses[execution] != status
    return store


@dataclass(slots=True)
class Replay:
    """What became of programs that were sent once more, with their keys."""

    sent: int = 0
    same: int = 0


async def replay(
    gateway: Gateway, key: str | None, assignment: Assignment, told: Iterable[tuple[int, int, str, str]], most: int
) -> Replay:
    """Send a sample of first programs again, and count which are still answered as the same executions."""
    first = [(number, execution, status) for number, place, execution, status in told if place == 1]
    sample = random.sample(first, min(most, len(first)))
    connection, found = gateway.connect(key), Replay()
    try:
        for number, execution, status in sample:
            task, one = task_of(assignment.seed, number), product(assignment.seed, number, assignment.shares)
            body = {"code": program(one.template, one.flaw), "task_id": task, "inputs": {"page": one.page}}
            reply = await gateway.ask(
                connection, "POST", "/v1/executions", json.dumps(body).encode("ascii"), f"{task}-1"
            )
            found.sent += 1
            found.same += (reply.body.get("id"), reply.body.get("status")) == (execution, status)
    finally:
        await connection.close()
    return found
