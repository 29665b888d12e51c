"""What is kept too long is deleted, and nothing else: not the log, not what is in review or running, not a key's promise."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

import pytest
import pytest_asyncio

from gateway.bodies import BIT, Body, kept, sealed
from gateway.events import Answered, Escalated, EscalationReason, Event, Opened, Status, Submitted
from gateway.in_force import InForce
from gateway.lifecycle import begin
from gateway.policy_file import parse_policy
from gateway.records import StoredExecution
from gateway.retention import Pruner
from gateway.store import Store, migrate
from gateway.times import new_id, now, stamp
from gateway.wire_answers import Answer, FileOut
from gateway.writer import Writer
from sandbox.job import Limits
from tests.conftest import ROOT, Server
from tests.service.gateways import eventually, policy

LIMITS = Limits(cpu_cores=1, memory_bytes=1 << 28, wall_seconds=5, pids=64, disk_bytes=1 << 20, output_bytes=1 << 16)
DAYS = timedelta(days=1)
RULES = "version: 1\ndefaults: {retention: {code: 20d, output: 10d, files: 1d, keys: 5d}}\n"
FOREVER = "version: 1\ndefaults: {retention: {code: forever, output: forever, files: forever, keys: forever}}\n"


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    url = f"sqlite:///{tmp_path / 'airlock.db'}"
    migrate(url)
    opened = Store(url)
    await opened.open()
    yield opened
    await opened.close()


def rules(text: str = RULES) -> InForce:
    return InForce(parse_policy(text, file="policy.yaml"))


def add(writer: Writer, at: datetime, *, key: str | None = None, size: int = 10, task: str = "") -> str:
    """An answered execution with code, output, a file and, where it is said, a key."""
    execution = new_id("exe")
    file = FileOut(path="a", size_bytes=size, sha256="0" * 64, encoding="utf8", content="f" * size, href="/a")
    answer = Answer(stdout="o" * size, exit_code=0, files=[file])
    if not task:
        task = new_id("tsk")
        opened = Opened("t", task, "ada")
        writer.open_task(task, begin(opened), opened, at)
    stored = writer.task(task)
    assert stored is not None
    events: list[Event] = [
        Submitted(execution, "d" + execution, LIMITS, "ada"),
        Answered(execution, Status.FAILED, 1, fingerprint="f"),
    ]
    writer.append(stored, events, at)
    writer.add_execution(
        StoredExecution(
            id=execution,
            task=task,
            tenant="t",
            caller="ada",
            profile="default",
            policy="p",
            source="agent",
            of=None,
            idempotency_key=key,
            request_digest="r",
            request=json.dumps({"code": "c" * size}),
            submitted_at=stamp(at),
            status="failed",
            answer_source="program",
            answer=sealed(answer).text,
            answered_at=stamp(at),
            kept=kept(answered=True, files=True, key=key is not None),
        )
    )
    writer.add_files(execution, [("a", b"f" * size)])
    return execution


async def row_of(store: Store, execution: str) -> StoredExecution:
    row = await store.read(lambda reader: reader.execution(execution))
    assert row is not None
    return row


async def test_each_body_goes_when_its_own_time_is_over_and_not_before(store: Store) -> None:
    made = now()
    execution = await store.write(lambda writer: add(writer, made, key="k"))
    expected = {0: 15, 0.99: 15, 1.01: 11, 4.99: 11, 5.01: 3, 9.99: 3, 10.01: 1, 19.99: 1, 20.01: 0}
    for days, left in expected.items():
        at = made + days * DAYS
        await Pruner(policy=rules(), store=store, clock=lambda at=at: at).prune()  # type: ignore[misc]
        row = await row_of(store, execution)
        assert row.kept == left, days
        assert bool(row.request) is (row.code_deleted_at is None) is bool(left & BIT[Body.CODE])
        assert ('"stdout"' in (row.answer or "")) is (row.output_deleted_at is None) is bool(left & BIT[Body.OUTPUT])
        file = await store.read(lambda reader: reader.file(execution, "a"))
        assert (file is not None) is (row.files_deleted_at is None) is bool(left & BIT[Body.FILES])
        assert ('"content"' in (row.answer or "")) is (file is not None), "nor does its content stay in the answer"
        assert (row.idempotency_key == "k") is bool(left & BIT[Body.KEYS])
    assert row.files_deleted_at == stamp(made + 1.01 * DAYS), "it is told when"
    answer = Answer.model_validate_json(row.answer or "")
    assert (answer.exit_code, answer.files[0].sha256, answer.files[0].size_bytes) == (0, "0" * 64, 10), "what is left"


async def test_what_is_to_be_kept_for_ever_is(store: Store) -> None:
    execution = await store.write(lambda writer: add(writer, now() - 40_000 * DAYS, key="k"))
    before = await row_of(store, execution)
    assert await Pruner(policy=rules(FOREVER), store=store).prune() == 0
    assert await row_of(store, execution) == before


async def test_the_rules_of_a_profile_are_its_own_and_those_of_one_that_is_gone_the_defaults(store: Store) -> None:
    text = f"{RULES}profiles: {{default: {{retention: {{code: forever}}}}, hasty: {{retention: {{code: 1s}}}}}}\n"
    made = now() - 3 * DAYS
    ids = [await store.write(lambda writer: add(writer, made)) for _ in range(3)]
    for execution, profile in zip(ids, ("default", "hasty", "gone"), strict=True):
        await store.write(
            lambda writer, e=execution, p=profile: writer._session.say(  # type: ignore[misc]  # noqa: SLF001
                f"UPDATE executions SET profile = '{p}' WHERE id = '{e}'"
            )
        )
    await Pruner(policy=rules(text), store=store).prune()
    assert [bool((await row_of(store, one)).request) for one in ids] == [True, False, True]


async def test_a_task_in_review_or_at_work_is_left_alone_and_told_of(store: Store) -> None:
    old = now() - 100 * DAYS
    reviewed = await store.write(lambda writer: add(writer, old))
    working = await store.write(lambda writer: add(writer, old))
    free = await store.write(lambda writer: add(writer, old))

    def busy(writer: Writer) -> None:
        for execution, event in (
            (reviewed, Escalated("rev_1", reviewed, EscalationReason.STUCK)),
            (working, Submitted("exe_live", "d", LIMITS, "ada")),
        ):
            row = writer.execution(execution)
            assert row is not None
            stored = writer.task(row.task)
            assert stored is not None
            writer.append(stored, [event], now())

    await store.write(busy)
    before = [await row_of(store, one) for one in (reviewed, working)]
    pruner = Pruner(policy=rules(), store=store)
    assert (await pruner.view()).model_dump(include={"due", "held"}) == {
        "due": {"code": 1, "output": 1, "files": 1, "keys": 0},
        "held": 2,
    }
    assert (await row_of(store, free)).kept == 7, "to look deletes nothing"
    assert await pruner.prune() == 3
    assert [await row_of(store, one) for one in (reviewed, working)] == before
    assert (await row_of(store, free)).kept == 0
    assert pruner.freed_bytes > 0


async def test_a_pass_that_is_cut_off_is_gone_on_with_and_deletes_nothing_twice(store: Store) -> None:
    old = now() - 100 * DAYS

    def many(writer: Writer) -> list[str]:
        return [add(writer, old, size=1000) for _ in range(200)]

    ids = await store.write(many)
    first = Pruner(policy=rules(), store=store)
    running = asyncio.create_task(first.prune())
    while not first.rows[Body.CODE]:  # noqa: ASYNC110  # of the product, which tells nobody
        await asyncio.sleep(0.001)
    await first.close()
    assert running.cancelled() or (await asyncio.gather(running, return_exceptions=True))
    done = first.rows[Body.CODE]
    assert 0 < done < len(ids), "it was cut off in the middle"
    second = Pruner(policy=rules(), store=store)
    await second.prune()
    gone = [await row_of(store, one) for one in ids]
    assert {row.kept for row in gone} == {0}
    assert second.rows[Body.CODE] <= len(ids) - done
    assert await second.prune() == 0


def size_of(path: Path) -> int:
    return sum(one.stat().st_size for one in path.parent.glob(path.name + "*"))


async def test_the_file_is_bounded_by_what_is_kept_and_gives_back_what_it_does_not_need(
    store: Store, tmp_path: Path
) -> None:
    path, old, size = tmp_path / "airlock.db", now() - 100 * DAYS, 50_000
    pruner, sizes = Pruner(policy=rules(), store=store), []
    for _ in range(4):
        await store.write(lambda writer: [add(writer, old, size=size) for _ in range(40)])
        full = size_of(path)
        await pruner.prune()
        sizes.append(size_of(path))
    bodies = 40 * size * 4
    assert full < 2.5 * bodies, "each round uses the space of the one before, and the log beside it is bounded"
    assert max(sizes) < bodies / 4, "what is free is given back"
    assert sizes[-1] < sizes[0] + bodies / 8, "and it does not grow from round to round but for the log"


async def test_a_database_of_an_earlier_version_gives_space_back_as_well(tmp_path: Path) -> None:
    path = tmp_path / "airlock.db"
    with sqlite3.connect(path) as old:  # as earlier versions made it
        old.execute("PRAGMA auto_vacuum = NONE")
        old.execute("PRAGMA journal_mode = WAL")
        old.execute("CREATE TABLE anything (a)")
    old.close()
    migrate(f"sqlite:///{path}")
    with sqlite3.connect(path) as now_:
        assert now_.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    now_.close()


@pytest.mark.alone
async def test_who_writes_meanwhile_hardly_notices(store: Store) -> None:
    old = now() - 100 * DAYS

    async def writes(count: int) -> float:
        took = []
        for _ in range(count):
            began = time.perf_counter()
            await store.write(lambda writer: add(writer, now()))
            took.append(time.perf_counter() - began)
            await asyncio.sleep(0.002)
        return median(took)

    for _ in range(25):
        await store.write(lambda writer: [add(writer, old, size=20_000) for _ in range(20)])
    await writes(10)
    alone = await writes(60)
    pruner = Pruner(policy=rules(), store=store)
    running = asyncio.create_task(pruner.prune())
    meanwhile = await writes(60)
    assert not running.done(), "the pass lasted as long as the measurement"
    await pruner.close()
    alone = max(alone, await writes(60))
    assert meanwhile < 2.5 * alone


SHORT = "retention: {code: 1s, output: 1s, files: 1s, keys: 1s}, lanes: {monty: true}"
KEYS = {"ada": ("team", "agent"), "ann": ("team", "reviewer"), "olga": ("team", "operator")}


def airlock(server: Server, key: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from gateway.cli import app; app()", *words],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "AIRLOCK_URL": server.url, "AIRLOCK_KEY": key, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_what_is_left_is_told_and_a_key_is_free_again(make_server: Callable[..., Server]) -> None:
    server = make_server(policy(KEYS, SHORT))
    with server.client("key-of-ada") as ada, server.client("key-of-olga") as olga:
        body = {"code": "print('what it said')\n1 / 0", "task_id": "t"}
        headers = {"Idempotency-Key": "k"}
        first = ada.post("/v1/executions", json=body, headers=headers).json()
        assert first["status"] == "failed"
        assert ada.post("/v1/executions", json=body, headers=headers).json()["id"] == first["id"]
        until = datetime.fromisoformat(first["retained_until"]["output"])
        assert until == datetime.fromisoformat(first["answered_at"]) + timedelta(seconds=1)
        assert first["deleted_at"] == {}

        eventually(lambda: olga.get("/v1/retention").json()["due"]["keys"] == 1)
        assert "due: code of 1, output of 1, keys of 1" in airlock(server, "key-of-olga", "prune", "--dry-run")
        assert ada.get(f"/v1/executions/{first['id']}").json()["stdout"] == "what it said\n"
        assert ada.post("/v1/retention/passes").status_code == 403
        told = json.loads(airlock(server, "key-of-olga", "prune", "--json"))
        assert (told["deleted"], told["due"]["code"]) == ({"code": 1, "output": 1, "files": 0, "keys": 1}, 0)

        left = ada.get(f"/v1/executions/{first['id']}").json()
        assert (left["stdout"], left["result"], left["error"]) == ("", None, None)
        assert (left["status"], left["exit_code"], left["attempts"]) == ("failed", 1, first["attempts"])
        assert set(left["deleted_at"]) == {"code", "output"}
        assert left["retained_until"] == {}
        assert ada.get("/v1/tasks/t").json()["latest"]["id"] == first["id"]

        again = ada.post("/v1/executions", json=body, headers=headers).json()
        assert again["id"] != first["id"], "after its time a key is a new request"
        assert (again["status"], again["source"], again["repeats"]) == ("failed", "record", first["id"])
        assert "deleted by retention" in again["error"]["message"]
        assert again["task"]["budget"]["failures_total"]["left"] == 10, "and a failure that is repeated is charged"
        metrics = olga.get("/metrics").text
        assert 'airlock_retention_deleted_total{body="output"} 1.0' in metrics
        assert "airlock_store_writable 1.0" in metrics


def test_a_review_whose_task_is_old_is_whole_and_can_be_ruled(make_server: Callable[..., Server]) -> None:
    server = make_server(policy(KEYS, f"{SHORT}, budget: {{failures_in_a_row: 2}}"))
    with server.client("key-of-ada") as ada, server.client("key-of-ann") as ann, server.client("key-of-olga") as olga:
        for number in range(2):
            last = ada.post("/v1/executions", json={"code": f"nonsense_{number}", "task_id": "t"}).json()
        eventually(lambda: olga.get("/v1/retention").json()["held"] == 2)
        assert olga.post("/v1/retention/passes").json()["deleted"]["code"] == 0
        review = ann.get(f"/v1/reviews/{last['task']['review']}").json()
        assert [one["code"] for one in review["tries"]] == ["nonsense_0", "nonsense_1"]
        ruling = {"token": review["token"], "ruling": "approve_edited", "code": "'mended'"}
        assert ann.post(f"/v1/reviews/{review['id']}/rulings", json=ruling).status_code == 200
        eventually(lambda: ada.get("/v1/tasks/t").json()["latest"]["result"] == "mended")
        eventually(lambda: olga.post("/v1/retention/passes").json()["deleted"]["code"] == 3)
        after = ann.get(f"/v1/reviews/{review['id']}").json()
        assert [one["code"] for one in after["tries"]] == ["", "", ""], "and afterwards it is as gone as the rest"
        assert all("code" in one["execution"]["deleted_at"] for one in after["tries"])
