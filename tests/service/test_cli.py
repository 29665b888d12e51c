"""The command line: real commands against a real server, behind which the honest fake answers."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pty
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from typer.testing import CliRunner

from gateway.api import create_app
from gateway.cli import app
from gateway.requests import Expect
from gateway.server import server_config
from gateway.settings import Address, Settings
from tests.service.fake_service import FakeService
from tests.service.keys import AGENT, KEYED, KEYLESS, LIMITER, OPERATOR, REVIEWER

ROOT = Path(__file__).parents[2]
AIRLOCK = [sys.executable, "-c", "from gateway.cli import app; app()"]
HOSTILE = "\x1b]0;title\x07\x1b[31mred\r\u202eevil\u200b[bold]markup[/bold]"
SPELLED = "<U+001B>]0;title<U+0007><U+001B>[31mred<U+000D><U+202E>evil<U+200B>[bold]markup[/bold]"


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Gateway:
    service: FakeService
    url: str
    home: Path

    def environment(self, key: str | None = AGENT) -> dict[str, str | None]:
        unset = dict.fromkeys(name for name in os.environ if name.startswith("AIRLOCK_"))  # noqa: TID251
        own = {"AIRLOCK_KEY": key, "AIRLOCK_URL": self.url, "AIRLOCK_DATA": str(self.home), "PYTHONPATH": _path()}
        return {**unset, **own}

    def run(self, *words: str, key: str | None = AGENT, stdin: str = "", **environment: str) -> Done:
        with contextlib.chdir(self.home):
            result = CliRunner().invoke(app, words, input=stdin, env={**self.environment(key), **environment})
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    def run_alone(self, *words: str, **environment: str) -> Done:
        """Run it in a process of its own."""
        done = subprocess.run(
            [*AIRLOCK, *words],
            cwd=self.home,
            env={**os.environ, **_set(self.environment()), **environment},  # noqa: TID251
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def program(self, answer: Mapping[str, object] | str) -> str:
        path = self.home / "program.py"
        path.write_text(answer if isinstance(answer, str) else json.dumps(answer))
        return str(path)

    def open_review(self) -> str:
        for name in ("one", "two", HOSTILE):
            program = {"status": "failed", "exit_code": 1, "stdout": name, "error": {"type": "E", "message": HOSTILE}}
            self.run("run", "--task", "t", self.program(program))
        return "rev_0000"


def _path() -> str:
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))  # noqa: TID251


def _set(environment: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if value is not None}


@pytest.fixture
def gateway(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Gateway]:
    service = FakeService()
    keyless = getattr(request, "param", None) == "keyless"
    served = create_app(service, KEYLESS if keyless else KEYED, LIMITER)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = uvicorn.Server(server_config(served, Settings(listen=Address("127.0.0.1", port), data=tmp_path)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Gateway(service, f"http://127.0.0.1:{port}", tmp_path)
        finally:
            server.should_exit = True
            thread.join()


def test_it_knows_its_version(gateway: Gateway) -> None:
    assert gateway.run_alone("--version").stdout.startswith("airlock 0.")


def test_a_program_prints_what_it_prints(gateway: Gateway) -> None:
    answer = {"stdout": f"out {HOSTILE}\n", "stderr": "err\n", "result": {"a": [1, "\u00e9"]}, "result_form": "json"}
    done = gateway.run("run", gateway.program(answer))
    assert (done.returncode, done.stderr) == (0, "err\n")
    assert done.stdout == f"out {HOSTILE}\n" + '{"a": [1, "\u00e9"]}\n'


def test_a_program_may_come_from_stdin(gateway: Gateway) -> None:
    done = gateway.run("run", "-", stdin="print(1)")
    assert (done.returncode, done.stdout) == (0, "print(1)\n")


def test_every_option_reaches_the_request(gateway: Gateway) -> None:
    (gateway.home / "data").mkdir()
    (gateway.home / "data" / "in.csv").write_text("a,b\n")
    (gateway.home / "in.bin").write_bytes(b"\xff\0")
    (gateway.home / "in.txt").write_text("line\n")
    words = ["--task", "t", "--input", 'a={"b": [1]}', "--input", "c=plain=text", "--input", "d=NaN", "--input", "e=7"]
    words += ["--limit", "memory=128Mi", "--limit", "pids=64", "--file", "data/in.csv", "--file"]
    words += [str(gateway.home / "in.bin"), "--output", "*.png", "--stdin-file", "in.txt", "--force", "--fresh"]
    (gateway.home / "schema.json").write_text('{"type": "object"}')
    words += ["--schema", "schema.json", "--expect", "max_stdout_bytes=9", "--expect", 'files=["a.png"]']
    done = gateway.run("run", gateway.program("x"), *words, "--lane", "container")
    assert done.returncode == 0, done.stderr
    request = gateway.service.kept["exe_0000"].request
    assert (request.code, request.task_id, request.lane, request.force) == ("x", "t", "container", True)
    assert gateway.service.fresh == [True]
    assert request.expect == Expect(result_schema={"type": "object"}, max_stdout_bytes=9, files=["a.png"])
    assert request.inputs == {"a": {"b": [1]}, "c": "plain=text", "d": "NaN", "e": 7}
    assert request.limits
    assert (request.limits.memory, request.limits.pids) == (128 << 20, 64)
    assert [(file.path, file.data()) for file in request.files] == [("data/in.csv", b"a,b\n"), ("in.bin", b"\xff\0")]
    assert (request.outputs, request.stdin) == (["*.png"], "line\n")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"status": "succeeded", "exit_code": 0}, 0),
        ({"status": "failed", "exit_code": 3}, 3),
        ({"status": "failed", "exit_code": 255}, 255),
        ({"status": "failed", "exit_code": 0}, 1),
        ({"status": "failed", "signal": "SIGSEGV"}, 139),
        ({"status": "failed", "signal": "SIGKILL"}, 137),
        ({"status": "failed", "signal": "SIGNONE"}, 1),
        ({"status": "timed_out"}, 124),
        ({"status": "out_of_memory"}, 137),
        ({"status": "output_limit_exceeded"}, 1),
        ({"status": "rejected"}, 1),
        ({"status": "denied"}, 1),
        ({"status": "platform_error", "retryable": True}, 75),
    ],
)
def test_it_exits_as_the_program_does(gateway: Gateway, answer: dict[str, object], code: int) -> None:
    assert gateway.run("run", gateway.program(answer)).returncode == code
    assert gateway.run("run", "--json", gateway.program(answer)).returncode == code


def test_a_failure_tells_what_to_mend_and_what_is_left(gateway: Gateway) -> None:
    error = {"type": "NameError", "message": "no totl", "line": 2, "traceback": "Traceback...", "hint": "Define totl."}
    finding = {"rule": "name.unknown", "severity": "warning", "message": "totl?", "line": 2, "column": 7}
    answer = {
        "status": "failed",
        "exit_code": 1,
        "error": error,
        "findings": [finding],
        "next_actions": ["fix_and_resubmit"],
    }
    done = gateway.run("run", "--task", "t", gateway.program(answer))
    assert done.stdout == ""
    for told in (
        "warning: main.py:2:7 totl? [name.unknown]",
        "failed exit code 1; NameError: no totl; line 2",
        "Traceback...",
        "hint: Define totl.",
        "task: t is open, the turn is agent's; failures left: 2 of 3 in a row, 11 of 12 in total",
        "next: fix_and_resubmit",
    ):
        assert told in done.stderr


def test_the_whole_answer_as_json(gateway: Gateway) -> None:
    done = gateway.run("run", "--json", gateway.program({"stdout": HOSTILE}))
    assert json.loads(done.stdout)["stdout"] == HOSTILE
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout


def test_followed_a_program_prints_the_same_and_exits_the_same(gateway: Gateway) -> None:
    answer = {"stdout": f"out {HOSTILE}", "stderr": "err\n", "result": [1], "seconds": 0.3, "exit_code": 3}
    program = gateway.program({**answer, "exit_code": 0})
    waited = gateway.run("run", program)
    assert gateway.run("run", "--follow", program) == waited
    assert gateway.run("events", "exe_0000") == waited
    failed = gateway.run("run", "--follow", gateway.program({**answer, "status": "failed"}))
    assert (failed.returncode, failed.stdout) == (3, waited.stdout)
    assert "failures left" in failed.stderr
    refused = gateway.run("run", "--follow", "--json", program)
    assert refused.returncode == 2


def test_events_as_json_are_one_a_line_and_harmless(gateway: Gateway) -> None:
    gateway.run("run", gateway.program({"stdout": HOSTILE + "\n"}))
    done = gateway.run("events", "--json", "exe_0000")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events] == ["queued", "stdout", "result", "finished"]
    assert events[1]["data"]["text"] == HOSTILE + "\n"
    assert "\x1b" not in done.stdout
    assert gateway.run("events", "exe_9999").returncode == 1


def test_files_are_saved_below_one_directory(gateway: Gateway) -> None:
    contents = {"a/b.txt": base64.b64encode(b"small\xff").decode(), "big.bin": base64.b64encode(bytes(1000)).decode()}
    told = gateway.run("run", gateway.program({"contents": contents, "stdout": ""}))
    assert "file: a/b.txt (6 bytes; --out DIR saves it)" in told.stderr
    done = gateway.run("run", "--out", "saved", gateway.program({"contents": contents, "stdout": ""}))
    assert done.returncode == 0, done.stderr
    assert (gateway.home / "saved/a/b.txt").read_bytes() == b"small\xff"
    assert (gateway.home / "saved/big.bin").read_bytes() == bytes(1000)


@pytest.mark.parametrize("path", ["../evil", "/tmp/evil", "a/../../evil"])
def test_a_file_that_would_land_elsewhere_is_not_saved(gateway: Gateway, path: str) -> None:
    done = gateway.run("run", "--out", "saved", gateway.program({"contents": {path: ""}}))
    assert done.returncode == 1
    assert "would not stay below" in done.stderr
    assert not list(gateway.home.rglob("evil"))


def test_a_link_is_not_written_through(gateway: Gateway) -> None:
    (gateway.home / "saved").mkdir()
    (gateway.home / "precious").write_text("mine")
    (gateway.home / "saved/x").symlink_to(gateway.home / "precious")
    done = gateway.run("run", "--out", "saved", gateway.program({"contents": {"x": ""}}))
    assert (done.returncode, (gateway.home / "precious").read_text()) == (1, "mine")


@pytest.mark.parametrize(
    "words",
    [
        ["run"],
        ["run", "nothing.py"],
        ["run", "program.py", "--input", "novalue"],
        ["run", "program.py", "--file", "nothing"],
        ["run", "program.py", "--lane", "host"],
        ["run", "program.py", "--nonsense"],
        ["rule", "rev_0000", "allow"],
        ["rule", "rev_0000", "approve-edited"],
        ["rule", "rev_0000", "reject"],
        ["rule", "rev_0000", "answer", "--result", "{"],
        ["rule", "rev_0000", "grant", "--failures", "0"],
        ["nonsense"],
    ],
)
def test_a_wrong_command_line_is_a_2_and_asks_nobody(gateway: Gateway, words: list[str]) -> None:
    gateway.program("x")
    done = gateway.run(*words, key=REVIEWER)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert not gateway.service.kept


def test_a_refusal_is_told_by_field(gateway: Gateway) -> None:
    done = gateway.run("run", gateway.program("x"), "--limit", "memory=2Gi", "--limit", "gpu=1")
    assert done.returncode == 1
    assert "limits.gpu: there is no such field" in done.stderr
    assert gateway.run("run", gateway.program("x"), key="wrong").returncode == 1


def test_without_a_gateway_it_is_worth_another_try(gateway: Gateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    done = gateway.run("run", gateway.program("x"), AIRLOCK_URL=url)
    assert done.returncode == 75
    assert f"No gateway answers at {url}" in done.stderr
    assert "AIRLOCK_URL" in done.stderr
    assert gateway.run("status", AIRLOCK_URL=url).returncode == 75


def test_a_proxy_is_not_asked_about_this_machine(gateway: Gateway) -> None:
    done = gateway.run("status", HTTP_PROXY="http://127.0.0.1:1", http_proxy="http://127.0.0.1:1")
    assert done.returncode == 0, done.stderr


def test_a_mistyped_setting_is_told(gateway: Gateway) -> None:
    done = gateway.run("status", AIRLOCK_ULR="x")
    assert done.returncode == 2
    assert "did you mean AIRLOCK_URL" in done.stderr


def test_the_status_tells_of_every_lane(gateway: Gateway) -> None:
    gateway.service.container = False
    done = gateway.run("status", key=None)
    assert done.returncode == 0
    assert "container: not available" in done.stdout
    gateway.service.monty = False
    assert gateway.run("status", key=None).returncode == 1


def test_a_task_is_shown_and_waited_for(gateway: Gateway) -> None:
    gateway.open_review()
    done = gateway.run("task", "t", "--wait", "1")
    assert done.returncode == 0, done.stderr
    assert "t is in_review (review rev_0000), the turn is reviewer's" in done.stdout
    assert "exe_0002" in done.stdout
    assert "\x1b" not in done.stdout
    assert gateway.run("task", "none").returncode == 1


def test_a_review_shows_the_code_the_change_and_what_to_do(gateway: Gateway) -> None:
    gateway.open_review()
    listed = gateway.run("reviews", "--state", "open", key=REVIEWER)
    assert "rev_0000" in listed.stdout
    assert "budget_exhausted" in listed.stdout
    shown = gateway.run("review", "rev_0000", key=REVIEWER).stdout
    assert '1 │ {"status": "failed"' in shown
    assert "try 3 of 3 (under review)" in shown
    assert '+{"status": "failed"' in shown
    assert "airlock rule rev_0000 approve-edited --code FILE" in shown
    assert f"token: {gateway.service.opened['rev_0000'].token}" in shown


def test_the_list_is_of_what_waits_unless_more_is_wanted(gateway: Gateway) -> None:
    review = gateway.open_review()
    assert review in gateway.run("reviews", key=REVIEWER).stdout
    assert gateway.run("rule", review, "reject", "-m", "no", key=REVIEWER).returncode == 0
    none = gateway.run("reviews", key=REVIEWER)
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "no review is open\n")
    assert review in gateway.run("reviews", "--all", key=REVIEWER).stdout
    assert review in gateway.run("reviews", "--state", "decided", key=REVIEWER).stdout


def test_of_the_reasons_against_monty_the_first_is_told(gateway: Gateway) -> None:
    reasons = [
        {"rule": "lane.container", "severity": "info", "message": f"reason {n}", "line": n + 1, "column": None}
        for n in range(3)
    ]
    done = gateway.run("run", gateway.program({"findings": reasons}))
    assert done.stderr == "info: main.py:1 reason 0 [lane.container], and 2 more\n"


def test_what_an_agent_wrote_acts_on_no_terminal(gateway: Gateway) -> None:
    gateway.open_review()
    folded = gateway.run("review", "rev_0000", key=REVIEWER).stdout
    unfolded = "".join(folded.replace("\u2502", "").split())
    assert "".join(SPELLED.split()) in unfolded
    for hostile in "\x1b\x07\r\u202e\u200b":
        assert hostile not in folded


def test_an_agents_key_sees_no_reviews(gateway: Gateway) -> None:
    gateway.open_review()
    done = gateway.run("reviews")
    assert done.returncode == 1
    assert "the role auditor or reviewer" in done.stderr


def test_a_ruling_shows_what_it_rules_on(gateway: Gateway) -> None:
    review = gateway.open_review()
    (gateway.home / "fixed.py").write_text("fixed")
    done = gateway.run("rule", review, "approve-edited", "--code", "fixed.py", "-m", "a typo", key=REVIEWER)
    assert done.returncode == 0, done.stderr
    assert "(under review)" in done.stdout
    assert gateway.service.opened[review].ruling == "approve_edited"
    assert gateway.service.kept["exe_0003"].request.code == "fixed"
    second = gateway.run("rule", review, "approve", key=REVIEWER)
    assert second.returncode == 1
    assert "decided already" in second.stderr


def test_a_token_binds_a_ruling_to_what_was_seen(gateway: Gateway) -> None:
    review = gateway.open_review()
    done = gateway.run("rule", review, "approve", "--token", "old", key=REVIEWER)
    assert done.returncode == 1
    assert "look again" in done.stderr
    assert gateway.service.opened[review].state == "open"


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["approve"], "ruling", "approve"),
        (["raise-limits", "--limit", "memory=1Gi"], "ruling", "raise_limits"),
        (["grant", "--failures", "2"], "ruling", "grant"),
        (["reject", "-m", "no"], "message", "no"),
        (["answer", "--result", "null"], "ruling", "answer"),
    ],
)
def test_every_ruling_can_be_made(gateway: Gateway, words: list[str], field: str, value: str) -> None:
    review = gateway.open_review()
    done = gateway.run("rule", review, *words, key=REVIEWER)
    assert done.returncode == 0, done.stderr
    assert getattr(gateway.service.opened[review], field) == value


@pytest.mark.parametrize("gateway", ["keyless"], indirect=True)
def test_on_this_machine_the_reviewers_key_is_found(gateway: Gateway) -> None:
    for name in ("one", "two", "three"):
        gateway.run("run", "--task", "t", gateway.program({"status": "failed", "stdout": name}), key=None)
    path = gateway.home / "reviewer.key"
    alone = gateway.run("reviews", key=None)
    assert (alone.returncode, f"there is no {path}" in alone.stderr, "AIRLOCK_DATA" in alone.stderr) == (1, True, True)
    path.write_text("the-key-of-another-gateway-of-this-machine\n")
    path.chmod(0o600)
    foreign = gateway.run("reviews", key=None)
    assert (foreign.returncode, f"that of {path}" in foreign.stderr) == (1, True)
    path.write_text(f"{REVIEWER}\n")
    assert "rev_0000" in gateway.run("reviews", key=None).stdout
    path.chmod(0o644)
    refused = gateway.run("reviews", key=None)
    assert (refused.returncode, "0600" in refused.stderr) == (1, True)


def test_dead_letters_are_listed_replayed_and_dropped(gateway: Gateway) -> None:
    listed = gateway.run("webhooks", "list", key=OPERATOR)
    assert listed.returncode == 0, listed.stderr
    assert all(f"msg_000{number}" in listed.stdout for number in range(3))
    assert "HTTP 503<U+001B>[31m" in "".join(listed.stdout.split("\n"))
    replayed = gateway.run("webhooks", "replay", "msg_0001", key=OPERATOR)
    assert "waiting" in replayed.stdout
    assert gateway.run("webhooks", "drop", "msg_0000", key=OPERATOR).returncode == 0
    left = gateway.run("webhooks", "list", "--json", key=OPERATOR).stdout.splitlines()
    assert [json.loads(line)["id"] for line in left] == ["msg_0002"]
    assert gateway.run("webhooks", "replay", "--all", key=OPERATOR).returncode == 0
    assert gateway.run("webhooks", "list", "--json", key=OPERATOR).stdout == ""
    assert gateway.run("webhooks", "replay", key=OPERATOR).returncode == 2
    assert "role operator" in gateway.run("webhooks", "list").stderr


def test_a_policy_file_is_checked(gateway: Gateway) -> None:
    good = gateway.run("policy", "check", str(ROOT / "policies" / "default.yaml"))
    assert good.returncode == 0, good.stderr
    assert "fine" in good.stdout
    (gateway.home / "bad.yaml").write_text("version: 1\ndefaults:\n  limitz: {}\n")
    bad = gateway.run("policy", "check", "bad.yaml")
    assert bad.returncode == 1
    assert "bad.yaml:3" in bad.stderr
    assert gateway.run("policy", "check", "none.yaml").returncode == 1


def test_a_server_that_must_not_start_says_why(gateway: Gateway) -> None:
    done = gateway.run_alone("serve", AIRLOCK_LISTEN="nonsense")
    assert (done.returncode, "AIRLOCK_LISTEN" in done.stderr) == (78, True)
    done = gateway.run_alone("serve", AIRLOCK_LISTEN="0.0.0.0:0")
    assert (done.returncode, "no keys" in done.stderr) == (78, True)


def test_on_a_terminal_program_output_is_harmless(gateway: Gateway) -> None:
    answer = {"stdout": HOSTILE + "\n\ttabbed\n", "stderr": HOSTILE, "result": HOSTILE, "result_form": "repr"}
    environment = {**os.environ, **_set(gateway.environment()), "NO_COLOR": "1", "TERM": "xterm"}  # noqa: TID251
    inside, outside = pty.openpty()
    command = [*AIRLOCK, "run", gateway.program(answer)]
    with subprocess.Popen(
        command, cwd=gateway.home, env=environment, stdout=outside, stderr=subprocess.PIPE
    ) as process:
        os.close(outside)
        shown = _read_all(inside).decode()
        assert process.stderr
        assert HOSTILE.encode() in process.stderr.read()
    assert shown.count(SPELLED) == 2
    assert "\x1b" not in shown
    assert "\ttabbed\r\n" in shown


def _read_all(descriptor: int) -> bytes:
    """What comes until the other side of the terminal is closed."""
    received = b""
    with open(descriptor, "rb", buffering=0) as terminal:
        while True:
            try:
                some = terminal.read(65536)
            except OSError:
                return received
            if not some:
                return received
            received += some
