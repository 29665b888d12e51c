"""What the kill matrix stands on: gateways that are forked and die where they are told, clients that do not give up, and
what a record comes to once ids, times and lost attempts are left out.
"""

from __future__ import annotations

import io
import json
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import httpx
from rich.console import Console

from gateway.events import decode
from gateway.lifecycle import Task, fold
from gateway.verifying import run as verify
from tests.conftest import ROOT, Server

Json = dict[str, Any]
_IDS = re.compile(r"\b(?:exe|rev|tsk|ltr|msg)_[0-9A-Za-z]+")
_VARIES = {"evidence", "detail", "peak_memory_bytes", "record", "remains", "output"}  # from run to run
_SECONDS = 90
_HTTP = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), timeout=_SECONDS)  # of servers that come and go


@dataclass
class Nursery:
    """The process that has everything imported, and forks gateways."""

    process: subprocess.Popen[str]
    lock: threading.Lock = field(default_factory=threading.Lock)

    def say(self, **order: object) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with self.lock:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())


@contextmanager
def nursery() -> Iterator[Nursery]:
    command = [sys.executable, "-m", "tests.service.crash_server"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Nursery(process)
        assert process.stdin is not None
        process.stdin.close()


@dataclass
class Mortal(Server):
    """A gateway from the nursery. `last` is the step at which it dies; None: it lives. `python` is the image's, if known."""

    nursery: Nursery = field(kw_only=True)
    python: str | None = None
    pid: int | None = None

    @property
    def trail(self) -> list[str]:
        """The steps of its first life."""
        return (self.data / "trail").read_text().splitlines()

    def begin(self, last: str | None) -> None:
        self.data.mkdir(exist_ok=True)
        self.pid = self.nursery.say(
            log=str(self.log),
            trail=str(self.data / "trail" if last is not None or not self.log.exists() else "/dev/null"),
            last=last,
            python=self.python,
            environment={
                "AIRLOCK_LISTEN": f"127.0.0.1:{self.port}",
                "AIRLOCK_DATA": str(self.data),
                "AIRLOCK_POLICY": str(self.policy),
                **self.environment,
            },
        )
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            assert not self.dead, f"the server ended: {self.log.read_text()}"
            try:
                _HTTP.get(f"{self.url}/healthz")
            except httpx.TransportError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError(f"the server does not answer: {self.log.read_text()}")

    @property
    def dead(self) -> bool:
        if self.pid is not None and self.nursery.say(pid=self.pid, wait=False) is not None:
            self.pid = None
        return self.pid is None

    def end(self) -> None:
        """Stop it in good order."""
        assert self.pid is not None
        subprocess.run(["kill", "-TERM", str(self.pid)], check=True)
        deadline = time.monotonic() + _SECONDS
        while not self.dead:
            assert time.monotonic() < deadline, "it does not stop"
            time.sleep(0.02)


@dataclass
class Client:
    """A client that repeats what got no answer, with the same key, and remembers what it was told."""

    server: Mortal
    reviewer: bool = False
    acknowledged: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    deaths: int = 0
    trail: list[str] = field(default_factory=list)
    """The steps until it first came to rest."""

    def ask(self, method: str, path: str, *, key: str | None = None, **more: Any) -> httpx.Response:
        deadline = time.monotonic() + _SECONDS
        headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **more.pop("headers", {})}
        while True:
            try:
                return _HTTP.request(method, f"{self.server.url}{path}", headers=headers, **more)
            except httpx.TransportError:
                self.revive()
            assert time.monotonic() < deadline, "it dies again and again"

    def revive(self) -> None:
        """Start it again as soon as it is seen to be dead."""
        deadline = time.monotonic() + 10
        while not self.server.dead:
            assert time.monotonic() < deadline, "it cut a connection, and lives"
            time.sleep(0.01)
        self.deaths += 1
        self.server.begin(None)

    def submit(self, name: str, *, wait: bool = True, **body: Any) -> Json:
        """Submit under a key; what was acknowledged once is the same for ever."""
        headers = {"Idempotency-Key": name, **({} if wait else {"Prefer": "respond-async"})}
        answer = self.ask("POST", "/v1/executions", headers=headers, json=body)
        assert answer.status_code in {200, 202}, answer.text
        view: Json = answer.json()
        status = view["status"] if answer.status_code == 200 else None
        id_, known = self.acknowledged.setdefault(name, (view["id"], status))
        assert id_ == view["id"], "a key stands for one execution"
        assert known in {None, status}, "an answer stays"
        if known is None:
            self.acknowledged[name] = (id_, status)
        return view

    def until_printed(self, execution: str) -> None:
        """Follow an execution until its program prints, or it is over."""
        while True:
            try:
                with _HTTP.stream("GET", f"{self.server.url}/v1/executions/{execution}/events") as stream:
                    if stream.status_code == 204 or any(
                        line in {"event: stdout", "event: finished"} for line in stream.iter_lines()
                    ):
                        return
            except httpx.TransportError:
                self.revive()


def boxes(server: Server, engine: docker.DockerClient) -> int:
    instance = (server.data / "instance").read_text().strip()
    return len(engine.api.containers(all=True, filters={"label": f"airlock.instance={instance}"}))


def rows(server: Server, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{server.data / 'airlock.db'}?mode=ro", uri=True, timeout=20)) as database:
        return database.execute(query).fetchall()


def at_rest(server: Server) -> bool:
    """Whether nothing waits to be done or to be told."""
    waiting = "select (select count(*) from executions where answered_at is null) + (select count(*) from letters)"
    return rows(server, waiting) == [(0,)]


@dataclass(frozen=True)
class Record:
    """What a store comes to; equal for equal histories."""

    logs: dict[str, list[tuple[str, Json]]]
    tasks: dict[str, Json]
    reviews: list[tuple[Any, ...]]
    answers: list[tuple[Any, ...]]


def record(server: Server) -> tuple[Record, int]:
    """The record of a gateway that has stopped, and how many attempts were lost; fails where it is not sound by itself."""
    report = verify(f"sqlite:///{server.data / 'airlock.db'}", None, renew=False, console=Console(file=io.StringIO()))
    assert not report.flaws
    names: dict[str, str] = {}
    logs, tasks, lost = {}, {}, 0
    for id_, name in rows(server, "select id, task_id from tasks order by task_id"):
        lines = rows(server, f"select type, data from events where task = '{id_}' order by seq")
        finals = Counter(json.loads(data)["execution"] for kind, data in lines if kind == "Answered")
        submitted = Counter(json.loads(data)["execution"] for kind, data in lines if kind == "Submitted")
        assert finals == submitted, "each has one answer"
        assert set(finals.values()) == {1}
        tasks[name] = _projected(fold(decode(kind, data) for kind, data in lines))
        events = [(kind, _plain(json.loads(data), names)) for kind, data in lines]
        logs[name], more = _without_lost(events)
        lost += more
    return (
        Record(
            logs,
            tasks,
            rows(server, "select reason, state, ruling, message, decided_by from reviews order by id"),
            [
                _told(row, names)
                for row in rows(server, "select id, idempotency_key, status, answer from executions order by id")
            ],
        ),
        lost,
    )


def _projected(task: Task) -> Json:
    return {
        "state": task.state,
        "row": task.in_a_row,
        "total": task.total,
        "row_granted": task.row_granted,
        "total_granted": task.total_granted,
        "grants": task.grants,
        "fingerprints": dict(task.fingerprints),
        "failures": len(task.failures),
        "live": len(task.executions),
        "review": task.review is not None,
    }


def _told(row: tuple[Any, ...], names: dict[str, str]) -> tuple[Any, ...]:
    """What an execution's caller is told, but for times and attempts."""
    id_, key, status, answer = row
    body = json.loads(answer or "{}")
    files = [(file["path"], file["sha256"]) for file in body.get("files", ())]
    parts = [body.get(part) for part in ("stdout", "stderr", "result", "exit_code", "cause")]
    return (
        _plain(id_, names),
        key,
        status,
        json.dumps([*parts, _plain(body.get("error"), names), files], sort_keys=True),
    )


def _plain(value: Any, names: dict[str, str]) -> Any:
    """The value with ids numbered as they come, and without what differs from run to run."""
    if isinstance(value, dict):
        return {key: _plain(part, names) for key, part in value.items() if key not in _VARIES}
    if isinstance(value, list):
        return [_plain(part, names) for part in value]
    if isinstance(value, str):
        return _IDS.sub(lambda found: names.setdefault(found[0], f"{found[0][:3]}-{len(names)}"), value)
    return value


def _without_lost(events: list[tuple[str, Json]]) -> tuple[list[tuple[str, Json]], int]:
    """The log as if no attempt had been lost: without its start, its end and its admission to another, and numbered anew."""
    left: list[tuple[str, Json]] = []
    lost: Counter[str] = Counter()
    again: set[str] = set()
    for kind, data in events:
        execution = data.get("execution", "")
        if kind == "Finished" and data["ending"] == "lost":
            assert (data["fault"], data["cause"]) == ("platform", "gateway_lost")
            assert left[-1][0] == "Started"
            left.pop()
            lost[execution] += 1
            again.add(execution)
        elif kind == "Admitted" and execution in again:
            again.discard(execution)
        else:
            number = {"attempt": data["attempt"] - lost[execution]} if "attempt" in data else {}
            left.append((kind, {**data, **number}))
    return left, lost.total()


def template(folder: Path) -> Path:
    """A database of the current schema, to begin with: migrations are another test's affair."""
    from gateway.store import migrate  # noqa: PLC0415  # heavy, and once

    path = folder / "airlock.db"
    migrate(f"sqlite:///{path}")
    return path
