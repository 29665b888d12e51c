"""Each role and each route: who is let in, and who is told that it takes another role."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from joserfc import jwk, jwt

from gateway.auth import Authenticator
from gateway.callers import Role
from tests.conftest import Server
from tests.service.fake_service import FakeService
from tests.service.keys import client, known
from tests.service.test_api_errors import GUARDED

KEYS = {role: f"key-of-the-{role}-that-is-long-enough-for-one" for role in Role}
EACH = Authenticator(tuple(known(key, role.value, "acme", role) for role, key in KEYS.items()))
RUNS = {
    ("POST", "/v1/executions"),
    ("DELETE", "/v1/executions/exe_0000"),
    ("DELETE", "/v1/tasks/t"),
}
READS_REVIEWS = {("GET", "/v1/reviews"), ("GET", "/v1/reviews/rev_0000")}
RULES = {("POST", "/v1/reviews/rev_0000/rulings")}
CHANGES = {(method, path) for method, path in GUARDED if method != "GET"}


def test_the_table_has_every_role_and_no_key_of_two() -> None:
    assert len({one.sha256 for one in EACH.keys}) == len(Role)


@pytest.mark.parametrize(("method", "path"), sorted(READS_REVIEWS | RULES | RUNS))
@pytest.mark.parametrize("role", list(Role))
async def test_who_runs_who_rules_and_who_looks_on(role: Role, method: str, path: str) -> None:
    route = (method, path)
    may = {
        Role.AGENT: route in RUNS,
        Role.REVIEWER: route in READS_REVIEWS | RULES,
        Role.AUDITOR: route in READS_REVIEWS,
        Role.OPERATOR: False,
    }[role]
    content = b"{}" if method == "POST" else None
    async with client(FakeService(), KEYS[role], EACH) as caller:
        answer = await caller.request(method, path, content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code != 403) is may, answer.text


@pytest.mark.parametrize(("method", "path"), sorted(CHANGES))
async def test_an_auditor_changes_nothing(method: str, path: str) -> None:
    service = FakeService()
    async with client(service, KEYS[Role.AUDITOR], EACH) as caller:
        answer = await caller.request(method, path, content=b"{}", headers={"Content-Type": "application/json"})
    assert answer.status_code == 403, answer.text
    assert not service.kept


def test_a_token_runs_a_program_and_a_reviewers_token_sees_its_review(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    issuer = jwk.ECKey.generate_key("P-256", {"kid": "one"})
    keys_file = tmp_path / "jwks.json"
    keys_file.write_text(json.dumps({"keys": [issuer.as_dict(private=False)]}))
    keys_file.chmod(0o644)

    def token(subject: str, role: str) -> str:
        claims = {"iss": "idp", "aud": "airlock", "sub": subject, "exp": 1 << 40, "role": role, "team": "team-a"}
        return jwt.encode({"alg": "ES256", "kid": "one"}, claims, issuer, algorithms=["ES256"])

    def entry(name: str, role: str) -> str:
        opens = (
            f"{{issuer: idp, audience: airlock, keys_file: {keys_file}, claims: {{role: {role}}}, tenant_claim: team}}"
        )
        return f"  - {{name: {name}, profile: default, roles: [{role}], jwt: {opens}}}\n"

    auditor = hashlib.sha256(b"key-of-audit").hexdigest()
    policy = (
        "version: 1\ndefaults: {budget: {failures_in_a_row: 1}}\nkeys:\n"
        + entry("agents", "agent")
        + entry("people", "reviewer")
        + f"  - {{name: audit, sha256: {auditor}, tenant: team-a, profile: default, roles: [auditor]}}\n"
    )
    server = make_server(policy)
    with (
        server.client(token("ada", "agent")) as ada,
        server.client(token("ann", "reviewer")) as ann,
        server.client(token("ada", "reviewer")) as herself,
        server.client("key-of-audit") as audit,
        server.client("a.b.c") as stranger,
    ):
        made = ada.post("/v1/executions", json={"code": "def broken(:", "task_id": "one"}).json()
        review = made["task"]["review"]
        seen = audit.get(f"/v1/reviews/{review}").json()
        assert seen["state"] == "open"
        ruling = {"token": seen["token"], "ruling": "answer", "result": 1}
        assert audit.post(f"/v1/reviews/{review}/rulings", json=ruling).status_code == 403
        refused = herself.post(f"/v1/reviews/{review}/rulings", json=ruling)
        assert refused.status_code in {403, 409}, refused.text
        ruled = ann.post(f"/v1/reviews/{review}/rulings", json=ruling).json()
        assert (ruled["state"], ruled["decided_by"]) == ("decided", "people.ann")
        assert ada.get("/v1/tasks/one").status_code == 200
        assert stranger.get("/v1/policy").status_code == 401
