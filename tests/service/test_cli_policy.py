"""The commands that tell of a policy file, and what a gateway remembers of the policy that decided."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.policy_file import read_policy
from tests.conftest import Server

ROOT = Path(__file__).parents[2]
SECRET = "key-of-ada-that-nobody-may-see"
POLICY = f"""\
version: 1
name: first
defaults:
  limits: {{time: {{default: 7s}}}}
keys:
  - {{name: ada, sha256: {hashlib.sha256(SECRET.encode()).hexdigest()}, tenant: a, profile: default, roles: [agent]}}
  - {{name: olga, sha256: {hashlib.sha256(b"key-of-olga").hexdigest()}, tenant: b, profile: default, roles: [operator]}}
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


def run(*words: str, stdin: str = "", **environment: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["policy", *words], input=stdin, env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def test_the_schema_is_printed_as_it_is_shipped() -> None:
    code, out, _ = run("schema")
    assert code == 0
    assert out == (ROOT / "policies" / "schema.json").read_text("utf-8")
    assert json.loads(out)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_each_decision_is_printed_with_the_line_that_made_it(policy: Path, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"code": "1", "limits": {"time": "9s"}}')
    code, out, _ = run("explain", str(policy), "--key", "ada", "--request", str(tmp_path / "r.json"))
    assert code == 0
    digest = read_policy(policy).resolve("default").digest
    assert out.startswith(f"policy first, profile default, {digest}\n")
    assert (
        "limits.time = 9s: the request asks for it\n    request.limits.time = 9s  [the request]\n"
        f"    defaults.limits.time.default = 7s  [{policy}:4]\n    limits.time.max = 5m  [built in]\n" in out
    )
    assert (
        f"profile = default: the key ada acts for the tenant a as agent\n    keys[0].profile = default  [{policy}:6]"
        in out
    )


def test_the_request_may_come_from_stdin_and_the_answer_be_json(policy: Path) -> None:
    code, out, _ = run("explain", str(policy), "--request", "-", "--json", stdin='{"code": "1"}')
    assert code == 0
    told = {one["decision"]: one for one in json.loads(out)["decisions"]}
    assert told["limits.time"]["value"] == "7s"
    assert {"key": "defaults.limits.time.default", "value": "7s", "place": f"{policy}:4"} in told["limits.time"]["made"]


def test_a_key_itself_is_read_from_a_variable_or_stdin_and_never_repeated(policy: Path) -> None:
    for code, out, err in (
        run("explain", str(policy), "--key-env", "AIRLOCK_SECRET_ADA", AIRLOCK_SECRET_ADA=SECRET),
        run("explain", str(policy), "--key-stdin", stdin=f"{SECRET}\n"),
    ):
        assert code == 0, err
        assert "the key ada acts for" in out
        assert SECRET not in out + err
    code, out, err = run("explain", str(policy), "--key-stdin", stdin="another key")
    assert (code, out, err) == (1, "", "The policy does not know this key.\n")


def test_the_policy_of_the_environment_is_meant_where_no_file_is_named(policy: Path) -> None:
    code, out, _ = run("explain", AIRLOCK_POLICY=str(policy))
    assert code == 0
    assert out.startswith("policy first, ")


@pytest.mark.parametrize(
    ("words", "exit_code", "says"),
    [
        (["--key", "adda"], 1, "'adda' is not a key of this policy (did you mean ada?)"),
        (["--profile", "x"], 1, "'x' is not a profile of this policy"),
        (["--key-env", "AIRLOCK_SECRET_NOBODY"], 2, "which is not set"),
        (["--request", "nothing.json"], 2, "nothing.json"),
        (["--execution", "exe_1", "--key", "ada"], 2, "leave the rest out"),
    ],
)
def test_what_cannot_be_explained_is_told(policy: Path, words: list[str], exit_code: int, says: str) -> None:
    code, out, err = run("explain", *words, AIRLOCK_POLICY=str(policy), COLUMNS="200")
    if "--execution" not in words:
        code, out, err = run("explain", str(policy), *words, COLUMNS="200")
    assert (code, out) == (exit_code, "")
    assert says in " ".join(err.split())


def test_a_request_that_is_none_is_refused_by_field(policy: Path) -> None:
    code, _, err = run("explain", str(policy), "--request", "-", stdin='{"cod": "1"}')
    assert code == 2
    assert "request.code: Field required" in err


def test_what_decided_is_told_also_after_the_file_changed(make_server: Callable[[str], Server]) -> None:
    server = make_server(POLICY)
    with server.client(SECRET) as ada:
        made = ada.post("/v1/executions", json={"code": "1+1"}).json()
    assert (made["policy_name"], made["profile"]) == ("first", "default")
    server.stop()
    assert server.policy is not None
    server.policy.write_text(POLICY.replace("name: first", "name: second").replace("7s", "8s"))
    server.start()
    with server.client(SECRET) as ada, server.client("key-of-olga") as olga:
        after = ada.post("/v1/executions", json={"code": "1+1"}).json()
        assert (after["policy_name"], after["policy"] != made["policy"]) == ("second", True)
        kept = ada.get(f"/v1/executions/{made['id']}/policy").json()
        assert (kept["name"], kept["profile"], kept["digest"]) == ("first", "default", made["policy"])
        assert kept["document"]["limits"]["time"]["default"] == 7.0
        assert olga.get(f"/v1/policies/{made['policy']}").json() == {
            "digest": made["policy"],
            "document": kept["document"],
        }
        canonical = json.dumps(kept["document"], sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(canonical.encode()).hexdigest() == made["policy"], "the address is the content's"
        assert olga.get(f"/v1/executions/{made['id']}/policy").status_code == 404, "another tenant's"
        assert ada.get(f"/v1/policies/{made['policy']}").status_code == 403
        explained = olga.post("/v1/policy/explain", json={"key": "ada", "request": {"code": "1"}}).json()
        assert (explained["policy"], explained["digest"]) == ("second", after["policy"])
        assert ada.post("/v1/policy/explain", json={}).status_code == 403
        unknown = olga.post("/v1/policy/explain", json={"key": "adda"})
        assert unknown.status_code == 422
        assert unknown.json()["errors"][0]["message"] == "'adda' is not a key of this policy (did you mean ada?)"
    told = run("explain", "--execution", made["id"], AIRLOCK_URL=server.url, AIRLOCK_KEY=SECRET)
    assert told[0] == 0, told[2]
    assert told[1].startswith(f"policy first, profile default, {made['policy']}\n")
    assert "limits.time.default = 7s\n" in told[1]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_what_is_wrong_with_a_file_is_one_line_each_with_its_place(tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.yaml", "version: 1\ndefaults: {limts: {}}\nkeys: [{name: a}]\n")
    code, out, err = run("check", str(bad))
    assert (code, out) == (1, "")
    lines = err.splitlines()
    assert lines[0] == f"{bad}:2:12: defaults.limts: unknown key (did you mean limits?)"
    assert all(line.startswith(f"{bad}:") for line in lines)
    code, out, _ = run("check", str(bad), "--json")
    assert code == 1
    told = json.loads(out)["problems"]
    assert (len(told), told[0]["line"], told[0]["column"], told[0]["path"]) == (len(lines), 2, 12, "defaults.limts")
    assert run("check", AIRLOCK_POLICY=str(bad))[0] == 1


def test_a_diff_says_which_way_and_for_whom_and_exits_as_diff_does(policy: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.yaml", POLICY.replace("7s", "8s"))
    assert run("diff", str(policy), str(policy)) == (0, "", "")
    code, out, _ = run("diff", str(policy), str(other))
    assert (code, out) == (1, "wider     limits.time.default: 7s -> 8s (ada of a, olga of b)\n")
    code, out, _ = run("diff", str(policy), str(other), "--json")
    assert json.loads(out)["changes"][0]["way"] == "wider"
    code, out, err = run("diff", str(policy), str(tmp_path / "nowhere.yaml"))
    assert (code, out) == (2, "")
    assert "cannot be read" in err


@pytest.mark.parametrize("name", ["default", "strict"])
def test_the_shipped_policies_do_what_their_tests_say(name: str) -> None:
    code, out, err = run("test", str(ROOT / "policies" / f"{name}.yaml"))
    assert (code, err) == (0, "")
    assert out.endswith("cases, 0 do not hold\n")


def test_a_case_that_does_not_hold_is_told_with_its_place(policy: Path) -> None:
    cases = write(
        policy.with_name("policy.tests.yaml"),
        "version: 1\ncases:\n"
        "  - name: sums run in Monty with a minute\n    as: ada\n    request: {code: 1 + 1}\n"
        "    expect:\n      decision: admitted\n      lane: container\n      limits: {time: 1m}\n      rules: [import.denied]\n"
        "  - {name: nobody, as: adda, request: {code: '1'}, expect: {decision: denied}}\n"
        "  - {name: sockets, as: default, request: {code: import socket}, expect: {decision: denied}}\n",
    )
    code, out, err = run("test", str(policy))
    assert code == 1
    there_is_none = "there is no finding import.denied; there is none"
    assert err.splitlines() == [
        f"{cases}:8:13: cases[0].expect.lane: 'sums run in Monty with a minute': the lane is monty, not container",
        f"{cases}:9:22: cases[0].expect.limits.time: 'sums run in Monty with a minute': time is 7s, not 1m",
        f"{cases}:10:15: cases[0].expect.rules[0]: 'sums run in Monty with a minute': {there_is_none}",
        f"{cases}:11:24: cases[1].as: 'adda' is neither a key nor a profile of the policy (did you mean ada?)",
        f"{cases}:12:85: cases[2].expect.decision: 'sockets': it is admitted, not denied",
    ]
    assert out == f"{cases}: 3 cases, 3 do not hold\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version: 1\ncases: [{name: a, as: b, request: {cod: x}, expect: {decision: admitted}}]\n", "cases[0].request.cod: unknown key (did you mean code?)"),
        ("version: 1\ncases: [{name: a, as: b, request: {code: x}, expect: {decision: maybe}}]\n", "'maybe' is not 'admitted'"),
        ("version: 2\n", "version: "),
    ],
)  # fmt: skip
def test_a_file_of_tests_that_is_wrong_is_told_as_a_policy_is(policy: Path, text: str, says: str) -> None:
    write(policy.with_name("policy.tests.yaml"), text)
    code, _, err = run("test", str(policy))
    assert code == 2
    assert says in err


def test_the_python_of_the_boxes_may_be_said(policy: Path) -> None:
    code = "# /// script\\n# requires-python = '>=3.13'\\n# ///\\n1"
    write(
        policy.with_name("policy.tests.yaml"),
        "version: 1\ncases:\n  - name: new Python\n    as: ada\n"
        f'    request: {{code: "{code}"}}\n    expect: {{decision: admitted}}\n',
    )
    assert run("test", str(policy), "--guest-python", "3.13")[0] == 0
    assert "script.python" in run("test", str(policy), "--guest-python", "3.12")[2]
    assert run("test", str(policy), "--guest-python", "three")[0] == 2


def test_a_policy_without_tests_cannot_be_tested(policy: Path) -> None:
    assert run("test", str(policy))[0] == 2


LEARN = """\
version: 1  # ours
defaults:
  checks:
    imports:
      allow:        # what we know
        - json      # read
        - math
      deny: [ssl, os]   # never
"""


def test_replay_and_learn_read_beside_a_gateway_at_work(make_server: Callable[[str], Server], tmp_path: Path) -> None:
    server = make_server(LEARN)
    assert server.policy is not None
    file, database = str(server.policy), f"sqlite:///{server.data / 'airlock.db'}"
    with server.client() as agent:
        for number, program in enumerate(("import math", "import csv", "import ssl.nothing", "1")):
            agent.post("/v1/executions", json={"code": program, "task_id": f"t{number}"})
    wide = write(tmp_path / "wide.yaml", LEARN.replace("- math", "- csv"))
    code, out, err = run("replay", str(wide), "--database", database)
    assert (code, err) == (1, "")
    assert "4 executions of the last 7d; 4 replayed, 2 decided otherwise\n" in out
    assert "  1 admitted -> denied\n" in out
    assert "  1 denied -> admitted\n" in out
    told = json.loads(run("replay", str(wide), "--database", database, "--json")[1])
    assert {(one["old"], one["new"]) for one in told["changes"]} == {("admitted", "denied"), ("denied", "admitted")}
    assert run("replay", file, "--database", database, "--since", "soon")[0] == 2

    code, out, err = run("learn", file, "--database", database)
    assert code == 1
    assert "# profile default: csv was wanted by 1 executions\n" in err
    changed = [line for line in out.splitlines() if line[0] in "+-" and line[:3] not in {"+++", "---"}]
    assert changed == [
        "-      deny: [ssl, os]   # never",
        "+        - csv",
        "+        - ssl.nothing",
        "+      deny: [os]   # never",
    ]
    assert server.policy.read_text() == LEARN, "nothing is written without a word"
    assert run("learn", file, "--database", database, "--write")[0] == 1
    assert "# what we know" in server.policy.read_text()
    code, out, err = run("learn", file, "--database", database)
    assert (code, out) == (0, ""), "what was learned is learned"
    assert "nothing to propose" in err
    assert "2 denied -> admitted" in run("replay", file, "--database", database)[1]
