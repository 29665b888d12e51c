"""Promise: who asked, decided and saw what, when and under which policy can be handed to somebody who trusts no database of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.exporting import ExportAudit, written
from tests.conftest import ROOT, Server
from tests.service.gateways import Clockwork, policy
from tests.service.test_rulings import FAILS, PEOPLE, SMALL, Team


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Team, list[str]]]:
    """A store with a decided review, and its export."""
    data = tmp_path_factory.mktemp("audit")
    (data / "policy.yaml").write_text(
        policy({**PEOPLE, "mia": ("b", "agent")}, f"{SMALL}, {FAILS}, review: {{approvals: 2}}")
    )
    server = Server(data, data / "policy.yaml").start()
    team = Team(server)
    review = team.submit("1 / 0", task="wanted")["task"]["review"]
    for name in ("ann", "ann", "bob"):
        team.review(name, review)
    team.rule("ann", review, "answer", result=1)
    team.rule("bob", review, "answer", result=1)
    team.call("mia", "POST", "/v1/executions", code="1", task_id="elsewhere")
    yield team, exported(server).splitlines(keepends=True)
    server.stop()


def airlock(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "AIRLOCK_DATA": str(server.data), "COLUMNS": "200"}  # noqa: TID251  # a client's
    command = [sys.executable, *server.program, *words]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)


def exported(server: Server, *words: str) -> str:
    done = airlock(server, "audit", "export", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def flaws(lines: list[str]) -> list[str]:
    audit = ExportAudit()
    for line in lines:
        audit.line(line)
    audit.end()
    return [flaw.what for flaw in audit.flaws]


def test_an_export_says_who_decided_and_saw_what_under_which_policy(export: tuple[Team, list[str]]) -> None:
    lines = [json.loads(line) for line in export[1]]
    assert (lines[0]["kind"], lines[-1]["kind"]) == ("header", "end")
    events = [(one["type"], json.loads(one["data"])) for one in lines if one["kind"] == "event"]
    ruled = [(kind, data["by"]) for kind, data in events if kind in {"Approved", "Ruled"}]
    assert ruled == [("Approved", "ann"), ("Ruled", "bob")]
    seen = [(one["by"], one["token"]) for one in lines if one["kind"] == "seen"]
    assert len(seen) == len(set(seen)), "once per person and state"
    assert {name for name, _ in seen} == {"ann", "bob"}
    assert len({token for _, token in seen}) == 2, "before the first approval, and after it"
    policies = {one["digest"]: json.loads(one["document"]) for one in lines if one["kind"] == "policy"}
    for one in lines:
        if one["kind"] == "execution":
            assert policies[one["policy"]]["review"]["approvals"] == 2


def test_an_export_is_verified_without_a_database(export: tuple[Team, list[str]], tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    file.write_text("".join(export[1]))
    done = subprocess.run(
        [sys.executable, "-c", "from gateway.cli import app; app()", "verify", "--export", str(file)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all is well" in done.stdout
    file.write_text("".join(export[1][:-1]))
    bad = airlock(export[0].server, "verify", "--export", str(file))
    assert bad.returncode == 1
    assert "cut off" in bad.stdout


def test_a_part_can_be_exported_and_verified_too(export: tuple[Team, list[str]], tmp_path: Path) -> None:
    server = export[0].server
    file = tmp_path / "export.jsonl"
    for words in (("--task", "wanted"), ("--tenant", "b"), ("--since", "2001-01-01"), ("--since", "2999-01-01")):
        assert exported(server, *words, "--out", str(file)) == ""
        assert airlock(server, "verify", "--export", str(file)).returncode == 0
        assert file.stat().st_mode & 0o777 == 0o600
        tenants = {one["tenant"] for one in map(json.loads, file.read_text().splitlines()) if one["kind"] == "task"}
        assert tenants == {"--task": {"a"}, "--tenant": {"b"}}.get(
            words[0], {"a", "b"} if "2001" in words[1] else set()
        )
        assert airlock(server, "audit", "export", "--out", str(file)).returncode == 2, "nothing is written over"
        file.unlink()


def test_a_log_whose_clock_was_set_back_is_exported_without_a_gap(tmp_path: Path) -> None:
    """From the first event of that time on, whatever the clock said later."""
    (tmp_path / "policy.yaml").write_text(policy(PEOPLE, f"{SMALL}, budget: {{failures_in_a_row: 9}}"))
    server = Clockwork(tmp_path / "data", tmp_path / "policy.yaml")
    server.environment["AIRLOCK_TEST_CLOCK"] = str(server.hands)
    server.data.mkdir()
    days = 24 * 3600
    try:
        for ahead in (0, 9 * days, 2 * days, 9 * days):
            server.ahead(ahead)
            server.process or server.start()
            Team(server).submit("1", task="t")
        server.ahead(0)
        since = (datetime.now(UTC) + timedelta(days=5)).isoformat(timespec="seconds").removesuffix("+00:00")
        lines = exported(Server(server.data), "--since", since).splitlines(keepends=True)
    finally:
        server.stop()
    assert flaws(lines) == []
    events = [json.loads(line)["seq"] for line in lines if '"kind": "event"' in line]
    assert events[0] > 1
    assert events == list(range(events[0], events[0] + len(events)))


def test_a_line_that_is_nested_beyond_reading_is_a_flaw_and_no_failure(export: tuple[Team, list[str]]) -> None:
    lines = export[1]
    assert any("cannot be read" in one for one in flaws([lines[0], "[" * 200_000 + "\n", *lines[1:]]))


def forged(lines: list[str], change: Callable[[list[dict]], object]) -> list[str]:  # type: ignore[type-arg]
    """The same with a change, by somebody who knows how the last line is computed."""
    said = [json.loads(line) for line in lines[:-1]]
    change(said)
    return list(written(said))


def _of(said: list[dict], kind: str, name: str = "") -> dict:  # type: ignore[type-arg]
    return next(one for one in said if one["kind"] == kind and one.get("type", "") == name)


FORGERIES: dict[str, Callable[[list[dict]], object]] = {  # type: ignore[type-arg]
    "who ruled": lambda said: _of(said, "event", "Ruled").update(
        data=_of(said, "event", "Ruled")["data"].replace('"bob"', '"zoe"')
    ),
    "when": lambda said: _of(said, "event", "Ruled").update(at="2001-01-01T00:00:00.000000+00:00"),
    "an approval less": lambda said: said.remove(_of(said, "event", "Approved")),
    "the end of a log": lambda said: said.remove([one for one in said if one["kind"] == "event"][-1]),
    "the policy of an execution": lambda said: _of(said, "execution").update(policy="0" * 64),
    "no word of the policy": lambda said: said.remove(_of(said, "execution")),
    "the policy itself": lambda said: _of(said, "policy").update(document="{}"),
    "no policy": lambda said: said.remove(_of(said, "policy")),
    "another task's event": lambda said: _of(said, "event", "Ruled").update(task="tsk_other"),
    "an event of no kind": lambda said: said.insert(2, {"kind": "nonsense"}),
    "not even a line": lambda said: said.insert(2, []),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("change", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_export_is_found(export: tuple[Team, list[str]], change: Callable[[list[dict]], object]) -> None:  # type: ignore[type-arg]
    assert flaws(export[1]) == []
    assert flaws(forged(export[1], change))


def test_a_line_that_somebody_changed_without_the_last_one_is_found(export: tuple[Team, list[str]]) -> None:
    lines = export[1]
    seen = next(number for number, line in enumerate(lines) if '"seen"' in line)
    assert flaws([*lines[:seen], lines[seen].replace('"ann"', '"eve"'), *lines[seen + 1 :]])
    assert flaws([*lines[:seen], *lines[seen + 1 :]])
    assert flaws([*lines, lines[-1]])
    assert flaws([]) == ["the export has no end: it was cut off"]
