"""`airlock verify` names every kind of tampering and its place, and nothing where nothing was tampered with."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.events import chain
from tests.conftest import Server
from tests.service.gateways import eventually, policy

KEYS = {"ada": ("team", "agent"), "ann": ("team", "reviewer"), "olga": ("team", "operator")}
RULES = "budget: {failures_in_a_row: 2}, lanes: {monty: true}"
Row = Any


def airlock(database: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["verify", "--database", f"sqlite:///{database}", *words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def fill(server: Server) -> None:
    """A task of each kind: one that succeeded with a file, one reviewed and answered, one in review, one closed, one repeated."""
    with server.client("key-of-ada") as ada, server.client("key-of-ann") as ann:

        def run(task: str, code: str, **more: object) -> dict[str, Row]:
            made: dict[str, Row] = ada.post("/v1/executions", json={"code": code, "task_id": task, **more}).json()
            return made

        assert run("fine", "print('hello')\n[1.5, 1e-7, 1e300, 'ä']", inputs={"a": 1e16})["status"] == "succeeded"
        assert ada.post("/v1/executions", json={"code": "1"}, headers={"Idempotency-Key": "k"}).status_code == 200
        file = run("file", "open('a', 'w').write('ä')\nopen('b', 'wb').write(b'x' * 300000)", outputs=["*"])
        assert [one["path"] for one in file["files"]] == ["a", "b"], file
        for task in ("ruled", "waiting", "withdrawn"):
            run(task, "1 / 0")
            review = run(task, "1 / 0")["task"]["review"]
            if task == "ruled":
                shown = ann.get(f"/v1/reviews/{review}").json()
                ruling = {"token": shown["token"], "ruling": "answer", "result": {"a": [1, "é"]}, "message": "so"}
                assert ann.post(f"/v1/reviews/{review}/rulings", json=ruling).status_code == 200
        assert ada.delete("/v1/tasks/withdrawn").status_code == 200
        run("rejected", "def broken(:")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a gateway that has ended."""
    data = tmp_path_factory.mktemp("verify")
    (data / "policy.yaml").write_text(policy(KEYS, RULES))
    server = Server(data, data / "policy.yaml").start()
    fill(server)
    code, live = airlock(data / "airlock.db")
    assert (code, "all is well" in live) == (0, True), f"beside a gateway at work: {live}"
    assert server.stop() == 0
    return data / "airlock.db"


@pytest.fixture
def copy(recorded: Path, tmp_path: Path) -> Path:
    path = tmp_path / "airlock.db"
    shutil.copy(recorded, path)
    return path


def change(path: Path, *statements: str) -> None:
    database = sqlite3.connect(path)
    with database:
        database.execute("PRAGMA foreign_keys = OFF")
        for statement in statements:
            assert database.execute(statement).rowcount, statement
    database.close()


def task(path: Path, name: str) -> str:
    database = sqlite3.connect(path)
    (found,) = database.execute("select id from tasks where task_id = ?", (name,)).fetchone()
    database.close()
    return str(found)


def events(path: Path, name: str) -> list[tuple[Row, ...]]:
    database = sqlite3.connect(path)
    found = database.execute("select * from events where task = ? order by seq", (task(path, name),)).fetchall()
    database.close()
    return found


def test_all_is_well_where_nothing_was_tampered_with_and_it_is_told_what_was_looked_at(copy: Path) -> None:
    code, said = airlock(copy)
    assert code == 0, said
    assert "all is well" in said
    told = json.loads(airlock(copy, "--json")[1])
    assert told["flaws"] == []
    counts = told["counts"]
    assert (counts["files"], counts["reviews"]) == (2, 3)
    assert counts["executions"] == 11
    assert "unbound" not in counts, "everything is bound by a digest"


T = "(select id from tasks where task_id = '{}')"
FINE, RULED, FILE = (T.format(name) for name in ("fine", "ruled", "file"))
TAMPERED: dict[str, tuple[str, int | None, str, str]] = {
    "a changed event": (
        "fine",
        3,
        f"update events set data = replace(data, 'admit', 'denied') where task = {FINE} and seq = 3",
        "the event (Checked) was changed",
    ),
    "a changed time": (
        "fine",
        2,
        f"update events set at = '2020' || substr(at, 5) where task = {FINE} and seq = 2",
        "the event (Submitted) was changed",
    ),
    "a removed event": ("fine", 4, f"delete from events where task = {FINE} and seq = 3", "event 3 is missing"),
    "a removed first event": ("fine", 2, f"delete from events where task = {FINE} and seq = 1", "event 1 is missing"),
    "a truncated log": (
        "fine",
        6,
        f"delete from events where task = {FINE} and seq > 6",
        "the log ends at 6, the task stands at 7",
    ),
    "an emptied log": ("fine", 0, f"delete from events where task = {FINE}", "the log ends at 0, the task stands at 7"),
    "an event that is none": (
        "fine",
        3,
        f"update events set type = 'Checkd' where task = {FINE} and seq = 3",
        "the event (Checkd) was changed",
    ),
    "a changed state": (
        "fine",
        7,
        f"update tasks set state = 'closed' where id = {FINE}",
        "tasks.state is not what the log says",
    ),
    "a changed budget": (
        "ruled",
        16,
        f"""update tasks set body = replace(body, '"total":2', '"total":1') where id = {RULED}""",
        "tasks.body is not what the log says",
    ),
    "a changed tenant": (
        "fine",
        7,
        f"update tasks set tenant = 'other' where id = {FINE}",
        "tasks.tenant is not what the log says",
    ),
    "a changed head": (
        "fine",
        7,
        f"update tasks set head = substr(head, 2) || substr(head, 1, 1) where id = {FINE}",
        "the log's last hash is not the task's head",
    ),
    "changed code": (
        "fine",
        7,
        f"update executions set request = replace(request, 'hello', 'hullo') where task = {FINE}",
        "its code or its inputs were changed",
    ),
    "code that is gone": (
        "fine",
        7,
        f"update executions set request = '' where task = {FINE}",
        "its code is missing",
    ),
    "a changed result": (
        "fine",
        7,
        f"update executions set answer = replace(answer, '1.5', '2.5') where task = {FINE}",
        "its output was changed",
    ),
    "a changed usage": (
        "fine",
        7,
        f"""update executions set answer = replace(answer, '"stdout_bytes":6', '"stdout_bytes":7') where task = {FINE}""",
        "its answer was changed",
    ),
    "a removed answer": (
        "fine",
        7,
        f"update executions set answer = null where task = {FINE}",
        "its answer is missing",
    ),
    "a changed status": (
        "fine",
        7,
        f"update executions set status = 'failed' where task = {FINE}",
        "executions.status is not what the log says",
    ),
    "another policy": (
        "fine",
        7,
        f"update executions set policy = 'f' || substr(policy, 2) where task = {FINE}",
        "its profile, policy, digest of the request or time is not what was recorded",
    ),
    "another caller": (
        "fine",
        7,
        f"update executions set caller = 'eve' where task = {FINE}",
        "executions.caller is not what the log says",
    ),
    "a removed execution": ("fine", 7, f"delete from executions where task = {FINE}", "its row is missing"),
    "an inserted execution": (
        "fine",
        None,
        (
            "insert into executions (id, task, tenant, caller, profile, policy, source, request_digest, request, submitted_at)"
            f" select 'exe_extra', task, tenant, caller, profile, policy, source, request_digest, request, submitted_at"
            f" from executions where task = {FINE}"
        ),
        "exe_extra: no event speaks of this execution",
    ),
    "a changed ruling": (
        "ruled",
        14,
        f"update reviews set decided_by = 'eve' where task = {RULED}",
        "reviews.decided_by is not what the log says",
    ),
    "a removed review": ("ruled", None, f"delete from reviews where task = {RULED}", "its row is missing"),
    "a changed file": (
        "file",
        None,
        "update files set content = x'00' where path = 'b'",
        "the file 'b' was changed",
    ),
    "a removed file": ("file", None, "delete from files where path = 'a'", "the file 'a' is missing"),
    "an inserted file": (
        "file",
        None,
        "insert into files select execution, 'c', content from files where path = 'a'",
        "the file 'c' stands there, and its answer does not say so",
    ),
    "a removed task": ("fine", 1, f"delete from tasks where id = {FINE}", "events of a task that has no row"),
    "a row without its task": (
        "fine",
        None,
        "update executions set task = 'tsk_none' where id = (select min(id) from executions)",
        "a row in executions of a task that is not there",
    ),
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_tampering_is_named_with_its_place(copy: Path, kind: str) -> None:
    name, seq, statement, words = TAMPERED[kind]
    place = task(copy, name)
    change(copy, statement)
    code, said = airlock(copy)
    assert code == 1, said
    (line, *_) = [line for line in said.splitlines() if words in line] or [""]
    if "row without" not in kind:
        assert line.startswith(place if seq is None else f"{place} event {seq}: "), said
    assert line
    assert "WRONG" in said


def test_a_changed_policy_document_and_a_missing_one_are_named(copy: Path) -> None:
    database = sqlite3.connect(copy)
    (digest,) = database.execute("select digest from policies").fetchone()
    database.close()
    change(copy, "update policies set document = replace(document, '86400', '96400')")
    assert airlock(copy) == (
        1,
        f"store: the policy document {digest} was changed\n" + airlock(copy)[1].partition("\n")[2],
    )
    change(copy, "delete from policies")
    assert f"the policy document {digest} is missing" in airlock(copy)[1]


def test_events_that_change_places_and_ones_that_were_put_in_are_named(copy: Path) -> None:
    name, rows = task(copy, "fine"), events(copy, "fine")
    database = sqlite3.connect(copy)
    with database:
        for seq, other in ((3, 4), (4, 3)):
            database.execute(
                "update events set type = ?, data = ? where task = ? and seq = ?",
                (rows[other - 1][3], rows[other - 1][4], name, seq),
            )
    code, said = airlock(copy)
    assert code == 1
    assert f"{name} event 3: " in said
    assert f"{name} event 4: " in said
    with database:  # one more, chained as it should be, and all behind it moved on
        database.execute("delete from events where task = ?", (name,))
        _, seq, at, kind, data, _, last = rows[2]
        more = (name, seq + 1, at, kind, data, last, chain(last, seq + 1, at, kind, data))
        moved = [(one[0], one[1] + 1, *one[2:]) for one in rows[3:]]
        database.executemany("insert into events values (?, ?, ?, ?, ?, ?, ?)", [*rows[:3], more, *moved])
    database.close()
    code, said = airlock(copy)
    assert code == 1
    assert f"{name} event 4: this cannot have happened" in said
    assert f"{name} event 5: the event (Admitted) was changed" in said


def rewritten(copy: Path, keep: int) -> None:
    """The end of a log is gone, and its row says so too: the whole forged with the gateway's own code."""
    name, rows = task(copy, "fine"), events(copy, "fine")
    change(copy, f"delete from events where task = '{name}' and seq > {keep}")
    if keep == 0:
        change(copy, f"delete from executions where task = '{name}'", f"delete from tasks where id = '{name}'")
    else:
        change(copy, f"update tasks set seq = {keep}, head = '{rows[keep - 1][6]}' where id = '{name}'")


def test_heads_of_an_earlier_time_show_what_a_chain_cannot(copy: Path, tmp_path: Path) -> None:
    heads, name = tmp_path / "heads", task(copy, "fine")
    untouched = tmp_path / "untouched.db"
    shutil.copy(copy, untouched)
    code, said = airlock(copy, "--heads", str(heads))
    assert code == 0
    written = heads.read_text()
    assert len(written.splitlines()) == 8
    assert "heads written, SHA-256 " in said
    assert airlock(copy, "--heads", str(heads))[0] == 0
    assert heads.read_text() == written

    rewritten(copy, 0)  # the task is gone without a trace: the chains that are left are whole
    assert airlock(copy)[0] == 0
    code, said = airlock(copy, "--heads", str(heads), "--renew")
    assert (code, f"{name} event 7: the task was there when the heads were written, and is gone" in said) == (1, True)
    assert heads.read_text() == written, "what is wrong is not vouched for"

    rewritten(untouched, 5)
    code, said = airlock(untouched, "--heads", str(heads))
    assert (code, f"{name} event 5: the log ends at 5, and went to 7 when the heads were written" in said) == (1, True)


def test_a_log_that_grew_agrees_with_earlier_heads_and_a_forged_one_does_not(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    server, heads = make_server(policy(KEYS, RULES)), tmp_path / "heads"
    database = server.data / "airlock.db"
    with server.client("key-of-ada") as ada:
        ada.post("/v1/executions", json={"code": "1", "task_id": "t"})
        assert airlock(database, "--heads", str(heads))[0] == 0
        ada.post("/v1/executions", json={"code": "2", "task_id": "t"})
        ada.post("/v1/executions", json={"code": "2", "task_id": "u"})
        assert airlock(database, "--heads", str(heads), "--renew")[0] == 0
        assert len(heads.read_text().splitlines()) == 3
    server.stop()
    name, rows = task(database, "t"), events(database, "t")
    forger, previous = sqlite3.connect(database), ""
    with forger:  # another time for everything, and every hash computed anew
        for _, seq, at, kind, data, _, _ in rows:
            later = "2031" + at[4:]
            last = chain(previous, seq, later, kind, data)
            forger.execute(
                "update events set at = ?, prev_hash = ?, hash = ? where task = ? and seq = ?",
                (later, previous, last, name, seq),
            )
            previous = last
        forger.execute(
            "update tasks set head = ?, opened_at = '2031' || substr(opened_at, 5) where id = ?", (last, name)
        )
        forger.execute("update executions set answered_at = '2031' || substr(answered_at, 5) where task = ?", (name,))
    forger.close()
    assert airlock(database)[0] == 0, "who can write everything can forge everything"
    code, said = airlock(database, "--heads", str(heads))
    assert code == 1
    assert f"{name} event {len(rows)}: this is not the event that was here when the heads were written" in said


def test_what_retention_deleted_is_told_from_what_is_missing(make_server: Callable[..., Server]) -> None:
    kept = "retention: {code: 1s, output: 1s, files: 1s, keys: 1s}"
    server = make_server(policy(KEYS, f"{RULES}, {kept}"))
    database = server.data / "airlock.db"
    fill(server)
    with server.client("key-of-olga") as olga:
        eventually(lambda: olga.post("/v1/retention/passes").json()["deleted"]["code"] == 9)
    code, said = airlock(database)
    assert code == 0, said
    assert "9 code deleted by retention" in said
    assert "9 output deleted by retention" in said
    assert "1 files deleted by retention" in said
    server.stop()
    change(database, "update executions set answer = replace(answer, '\"exit_code\":0', '\"exit_code\":1')")
    assert "its answer was changed" in airlock(database)[1], "what retention left is bound as before"
    change(database, "update executions set code_deleted_at = null where code_deleted_at is not null")
    assert "its code is missing" in airlock(database)[1]


@pytest.mark.parametrize("content", ["", "# airlock heads 1\ntsk_1 2\n", "# airlock heads 1\ntsk_1 2 ab", "\x00"])
def test_a_file_that_holds_no_heads_is_refused(copy: Path, tmp_path: Path, content: str) -> None:
    heads = tmp_path / "heads"
    heads.write_text(content)
    code, said = airlock(copy, "--heads", str(heads))
    assert (code, "no file of heads" in said) == (2, True), said
    assert heads.read_text() == content


def test_where_there_is_no_database_that_is_said(tmp_path: Path) -> None:
    code, said = airlock(tmp_path / "none.db")
    assert (code, "There is no database" in said) == (2, True)
    (tmp_path / "other.db").write_text("this is not a database, only some text that is long enough" * 99)
    code, said = airlock(tmp_path / "other.db")
    assert (code, "cannot be read" in said) == (2, True), said


def test_a_backup_of_a_gateway_at_work_is_whole_and_private_and_can_be_served(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    server, copy = make_server(policy(KEYS, RULES)), tmp_path / "restored" / "airlock.db"
    copy.parent.mkdir()
    words = ["backup", str(copy), "--database", f"sqlite:///{server.data / 'airlock.db'}"]
    with server.client("key-of-ada") as ada:
        made = ada.post("/v1/executions", json={"code": "1", "task_id": "t"}).json()
        assert CliRunner().invoke(app, words).exit_code == 0
        later = ada.post("/v1/executions", json={"code": "2", "task_id": "t"}).json()
    assert airlock(copy)[0] == 0
    assert copy.stat().st_mode & 0o077 == 0
    again = CliRunner().invoke(app, words)
    assert (again.exit_code, "is there already" in again.output) == (2, True)
    restored = Server(copy.parent, server.data / "policy.yaml").start()
    try:
        with restored.client("key-of-ada") as ada:
            assert ada.get(f"/v1/executions/{made['id']}").json()["result"] == 1
            assert ada.get(f"/v1/executions/{later['id']}").status_code == 404
    finally:
        restored.stop()
