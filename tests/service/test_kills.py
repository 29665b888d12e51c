"""A gateway killed again and again under load: nothing is lost, nothing is made up, nothing is charged, nothing stays.

AIRLOCK_TEST_KILLS says how often (20 for the long form).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import pytest

from gateway.events import chain, encode
from gateway.lifecycle import fold
from gateway.store import Store
from tests.conftest import Server
from tests.service.gateways import boxes, eventually, policy

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

KILLS = int(os.environ.get("AIRLOCK_TEST_KILLS", "6"))  # noqa: TID251  # a test's own
AGENTS = 4
TOTAL = 12  # failures that a task may have


@dataclass
class Program:
    """A program whose end is known; `fails` is what it is charged."""

    code: str
    lane: str
    stdout: str
    fails: int


def program(number: int) -> Program:
    said = f"said-{number}"
    return (
        Program(f"print('{said}')", "container", f"{said}\n", 0),
        Program(f"print('{said}')", "monty", f"{said}\n", 0),
        Program(f"import time\ntime.sleep(1)\nprint('{said}')", "container", f"{said}\n", 0),
        Program(f"print('{said}')\n1 / 0", "container", f"{said}\n", 1),
    )[number % 4]


@dataclass
class Load:
    """Agents that submit one program after the other, whatever happens to the gateway."""

    server: Server
    over: threading.Event = field(default_factory=threading.Event)
    acknowledged: dict[str, int] = field(default_factory=dict)
    sent: itertools.count[int] = field(default_factory=itertools.count)
    threads: list[threading.Thread] = field(default_factory=list)

    def begin(self) -> None:
        self.threads = [threading.Thread(target=self._agent, args=(number % 2,)) for number in range(AGENTS)]
        for thread in self.threads:
            thread.start()

    def end(self) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(60)

    def _agent(self, wait: int) -> None:
        """Half of them wait for their answers, half turn away."""
        while not self.over.is_set():
            number = next(self.sent)
            try:
                answer = send(self.server, number, {} if wait else {"Prefer": "respond-async"})
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            if answer.status_code in {200, 202}:
                self.acknowledged[answer.json()["id"]] = number
            time.sleep(0.2)  # a queue of their programs would only take its time


def send(server: Server, number: int, headers: dict[str, str]) -> httpx.Response:
    made = program(number)
    body = {"code": made.code, "lane": made.lane, "task_id": f"kill-{number}"}
    with server.client(timeout=20) as client:
        return client.post("/v1/executions", json=body, headers={**headers, "Idempotency-Key": f"key-{number}"})


def rows(server: Server) -> list[tuple[str, str, str | None, str | None]]:
    """Every execution there is: its id, its task, its status, when it was answered."""
    database = sqlite3.connect(f"file:{server.data / 'airlock.db'}?mode=ro", uri=True)
    try:
        query = (
            "select executions.id, tasks.task_id, executions.status, executions.answered_at"
            " from executions join tasks on tasks.id = executions.task"
        )
        return database.execute(query).fetchall()
    finally:
        database.close()


def test_killed_at_random_moments_under_load_it_loses_nothing(make_server: Callable[..., Server]) -> None:
    server = make_server(policy(defaults="retries: {attempts: 10, base: 10ms, cap: 20ms}"))
    chance = random.Random(20)  # the moments are the machine's all the same
    load = Load(server)
    load.begin()
    try:
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.1, 1.5))
            server.kill()
            server.start()
        time.sleep(0.5)
    finally:
        load.end()
    eventually(lambda: all(answered for *_, answered in rows(server)), 90)
    found = {execution: (task, status) for execution, task, status, _ in rows(server)}
    assert len(found) > KILLS, "there was a load"
    assert len({task for task, _ in found.values()}) == len(found), "nothing was taken twice"
    assert load.acknowledged.items() <= {one: int(task[5:]) for one, (task, _) in found.items()}.items(), "nothing lost"
    lost = 0
    with server.client() as client:
        for execution, (task, _) in found.items():
            number = int(task.removeprefix("kill-"))
            view = client.get(f"/v1/executions/{execution}").json()
            lost += assert_true(view, program(number))
        for execution, number in list(load.acknowledged.items())[:20]:
            assert send(server, number, {}).json()["id"] == execution, "its key still stands for it"
    assert lost, "something was running when it was killed"
    eventually(lambda: not boxes(server), 30)
    server.stop()
    asyncio.run(check_logs(server))


def assert_true(view: dict, made: Program) -> int:  # type: ignore[type-arg]
    """The answer is what the program really did; returns how many attempts were lost on the way."""
    assert view["status"] == ("failed" if made.fails else "succeeded")
    assert view["stdout"] == made.stdout
    assert view["task"]["budget"]["failures_total"]["left"] == TOTAL - made.fails, "a crash costs nothing"
    *before, last = [attempt["ending"] for attempt in view["attempts"]]
    assert last == view["status"]
    assert set(before) <= {"lost"}, "run again only where the run before was lost"
    return len(before)


async def check_logs(server: Server) -> None:
    """Every log is chained, and its task is what it adds up to."""
    store = Store(f"sqlite:///{server.data / 'airlock.db'}")
    database = sqlite3.connect(server.data / "airlock.db")
    tasks = [task for (task,) in database.execute("select id from tasks")]
    database.close()
    for task in tasks:
        log = await store.read(lambda reader, task=task: reader.log_of(task))  # type: ignore[misc]
        stored = await store.read(lambda reader, task=task: reader.task(task))  # type: ignore[misc]
        assert stored is not None
        assert fold(line.event for line in log) == stored.task
        previous = ""
        for line in log:
            assert (line.prev_hash, line.hash) == (previous, chain(previous, line.seq, line.at, *encode(line.event)))
            previous = line.hash
    await store.close()
