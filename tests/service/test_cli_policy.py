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
