"""A rule that is tried out refuses nobody, costs nobody, and is told to whom it should be: the real gateway."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing

import httpx
import pytest
from rich.console import Console

from gateway.events import Breach, Spared, Verdict, decode
from gateway.verifying import run as verify
from tests.conftest import Server
from tests.service.gateways import policy

KEYS = {"ada": ("team-a", "agent"), "ann": ("team-a", "reviewer"), "olga": ("team-a", "operator")}
CODE = "import math\nimport json\nprint(math.floor(2.5))"


def rules(mode: str) -> str:
    return policy(
        KEYS,
        f"checks: {{mode: {mode}, imports: {{deny: [math]}}}}, budget: {{failures_in_a_row: 1}}, cache: {{scope: tenant}}",
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("modes")
    (data / "policy.yaml").write_text(rules("audit"))
    running = Server(data, data / "policy.yaml").start()
    yield running
    running.stop()


def spared(server: Server) -> list[Spared]:
    with closing(sqlite3.connect(server.data / "airlock.db")) as database:
        rows = database.execute("SELECT type, data FROM events WHERE type = 'Spared' ORDER BY at").fetchall()
    found = [decode(*row) for row in rows]
    assert all(isinstance(one, Spared) for one in found)
    return found  # type: ignore[return-value]


def run(client: httpx.Client, code: str, task: str) -> dict[str, object]:
    answer = client.post("/v1/executions", json={"code": code, "task_id": task})
    assert answer.status_code == 200, answer.text
    view: dict[str, object] = answer.json()
    return view


@pytest.mark.engine
def test_an_audited_program_runs_its_caller_reads_nothing_and_everybody_else_does(server: Server) -> None:
    with server.client("key-of-ada") as ada, server.client("key-of-ann") as ann, server.client("key-of-olga") as olga:
        before = len(spared(server))
        view = run(ada, CODE, "audited")
        assert (view["status"], view["stdout"], view["findings"]) == ("succeeded", "2\n", [])
        assert "denie" not in ada.get(f"/v1/executions/{view['id']}").text
        recorded = spared(server)[before:]
        breach = Breach("import.denied", "math", 1)
        assert recorded == [Spared(str(view["id"]), "audit", Verdict.DENIED, "default", (breach,))]
        failed = run(ada, "import math\nprint(nobody)", "audited")
        assert (failed["status"], failed["cause"]) == ("failed", "exception"), "it ran, and pays for what it did"
        review = ann.get(f"/v1/reviews/{failed['task']['review']}").json()  # type: ignore[index]
        shown = [one["spared"] for one in review["tries"]]
        assert shown[0] == {
            "mode": "audit",
            "verdict": "denied",
            "breaches": [{"rule": "import.denied", "subject": "math", "line": 1}],
        }
        told = olga.get("/v1/policy/findings").json()
        math = next(one for one in told["findings"] if one["subject"] == "math")
        assert (math["rule"], math["profile"], math["mode"], math["verdict"]) == (
            "import.denied",
            "default",
            "audit",
            "denied",
        )
        assert math["executions"] == len([one for one in spared(server) if breach in one.breaches])
        metrics = olga.get("/metrics").text
        assert f'airlock_checks_spared_total{{mode="audit",verdict="denied"}} {len(spared(server))}.0' in metrics
        assert ada.get("/v1/policy/findings").status_code == 403
    report = verify(f"sqlite:///{server.data}/airlock.db", None, renew=False, console=Console(quiet=True))
    assert not report.flaws


def test_nothing_is_charged_for_a_finding_also_where_the_answer_is_a_recorded_one(server: Server) -> None:
    with server.client("key-of-ada") as ada:
        views = [run(ada, CODE + f"\n{number}", "cheap") for number in (1, 2, 2)]
        assert [one["cached"] for one in views] == [False, False, True]
        assert views[2]["task"]["budget"]["failures_total"] == {"left": 12, "limit": 12}  # type: ignore[index]
        ids = [str(one["id"]) for one in views]
        assert [one.execution for one in spared(server)][-3:] == ids, (
            "a result from the record is recorded all the same"
        )


def test_a_warned_agent_reads_what_would_be_refused_and_it_ran(make_server: Callable[..., Server]) -> None:
    server = make_server(rules("warn"))
    with server.client("key-of-ada") as ada:
        view = run(ada, CODE, "warned")
        assert (view["status"], view["stdout"]) == ("succeeded", "2\n")
        findings = view["findings"]
        assert isinstance(findings, list)
        assert [(one["rule"], one["severity"], one["line"]) for one in findings] == [("import.denied", "warning", 1)]
        assert "checks.mode" in findings[0]["hint"]
        assert view["task"]["budget"]["failures_total"]["left"] == 12  # type: ignore[index]
        assert view["task"]["state"] == "open"  # type: ignore[index]
    assert [one.mode for one in spared(server)] == ["warn"]


def test_what_a_remembered_yes_lets_run_is_recorded_as_well(make_server: Callable[..., Server]) -> None:
    held = "review: {when: [always], remember: 1h}"
    server = make_server(policy(KEYS, f"checks: {{mode: audit, imports: {{deny: [math]}}}}, {held}"))
    with server.client("key-of-ada") as ada, server.client("key-of-ann") as ann:
        asked = run(ada, CODE, "first")
        assert (asked["status"], spared(server)) == ("denied", []), "nothing ran yet"
        review = ann.get(f"/v1/reviews/{asked['task']['review']}").json()  # type: ignore[index]
        ruled = ann.post(f"/v1/reviews/{review['id']}/rulings", json={"token": review["token"], "ruling": "approve"})
        made = ruled.json()["ruled_execution"]
        assert ada.get(f"/v1/executions/{made}", params={"wait": 30}).json()["status"] == "succeeded"
        again = run(ada, CODE, "second")
        assert again["status"] == "succeeded"
        assert [one.execution for one in spared(server)] == [made, again["id"]]
