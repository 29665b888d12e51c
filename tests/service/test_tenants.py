"""One gateway, two tenants and a stranger: what one of them has, and what the gateway has, the others never see."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.conftest import Server
from tests.service.gateways import policy

pytestmark = pytest.mark.engine

KEYS: Final = {
    "ada": ("team-a", "agent"),
    "ann": ("team-a", "reviewer"),
    "bob": ("team-b", "agent"),
    "ben": ("team-b", "reviewer"),
}


@dataclass
class House:
    """A gateway in which secrets are everywhere."""

    server: Server
    of_the_gateway: dict[str, str]
    of_ada: dict[str, str]
    execution: str
    review: str
    token: str

    def clients(self) -> dict[str, httpx.Client]:
        return {name: self.server.client(f"key-of-{name}") for name in KEYS}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    canary = {
        name: f"canary{secrets.token_hex(12)}" for name in ("env", "folder", "code", "input", "file", "out", "env_in")
    }
    data = tmp_path_factory.mktemp(canary["folder"])
    rules = policy(KEYS, "budget: {failures_in_a_row: 1}, checks: {imports: {deny: [ftplib]}}")
    (data / "policy.yaml").write_text(rules)
    environment = {"SECRET_OF_THE_GATEWAY": canary["env"], "AWS_SECRET_ACCESS_KEY": canary["env"]}
    server = Server(data, data / "policy.yaml", environment).start()
    with server.client("key-of-ada") as ada, server.client("key-of-ann") as ann:
        made = ada.post(
            "/v1/executions",
            json={
                "code": f"# {canary['code']}\nopen('out.txt', 'w').write('{canary['out']}')\nprint(open('in.txt').read())",
                "inputs": {"x": canary["input"]},
                "env": {"X": canary["env_in"]},
                "files": [{"path": "in.txt", "content": canary["file"]}],
                "outputs": ["out.txt"],
                "task_id": "adas",
            },
            headers={"Idempotency-Key": "a-key"},
        ).json()
        assert (made["status"], made["stdout"]) == ("succeeded", canary["file"] + "\n"), made
        failed = ada.post("/v1/executions", json={"code": f"def {canary['code']}(:", "task_id": "adas"}).json()
        token = ann.get(f"/v1/reviews/{failed['task']['review']}").json()["token"]
    ours = {name: canary[name] for name in ("env", "folder")} | {f"key of {name}": f"key-of-{name}" for name in KEYS}
    theirs = {name: canary[name] for name in canary if name not in ours}
    yield House(server, ours, theirs, made["id"], failed["task"]["review"], token)
    server.stop()


def ways(house: House) -> list[tuple[str, str, str, object]]:
    """Who could try what to reach Ada's things, not being of her tenant."""
    execution, review = house.execution, house.review
    ruling = {"token": house.token, "ruling": "reject", "message": "mine now"}
    return [
        ("bob", "GET", f"/v1/executions/{execution}", None),
        ("bob", "GET", f"/v1/executions/{execution}?wait=1", None),
        ("bob", "GET", f"/v1/executions/{execution}/files/out.txt", None),
        ("bob", "DELETE", f"/v1/executions/{execution}", None),
        ("bob", "GET", "/v1/tasks/adas", None),
        ("bob", "DELETE", "/v1/tasks/adas", None),
        ("ben", "GET", f"/v1/executions/{execution}/files/out.txt", None),
        ("ben", "GET", "/v1/tasks/adas", None),
        ("ben", "GET", f"/v1/reviews/{review}", None),
        ("ben", "POST", f"/v1/reviews/{review}/rulings", ruling),
    ]


def test_what_another_tenant_has_does_not_exist(house: House) -> None:
    clients = house.clients()
    for who, method, path, body in ways(house):
        answer = clients[who].request(method, path, json=body)
        assert answer.status_code == 404, (who, method, path, answer.text)
        never_was = path.replace(house.execution, "exe_0").replace(house.review, "rev_0").replace("adas", "nobodys")
        assert answer.json() == clients[who].request(method, never_was, json=body).json(), "not even that it is there"
    assert clients["ben"].get("/v1/reviews").json() == {"reviews": [], "next": None}
    assert clients["ben"].get("/v1/reviews", params={"after": house.review}).json()["reviews"] == []
    for method, path, body in (
        ("GET", f"/v1/reviews/{house.review}", None),
        ("POST", f"/v1/reviews/{house.review}/rulings", {"token": house.token, "ruling": "approve"}),
    ):
        assert clients["ada"].request(method, path, json=body).status_code == 403, "not even of one's own"
    assert clients["ann"].get(f"/v1/reviews/{house.review}").json()["state"] == "open"
    same_key = clients["bob"].post("/v1/executions", json={"code": "1"}, headers={"Idempotency-Key": "a-key"})
    assert (same_key.status_code, same_key.json()["result"]) == (200, 1), "a key is its caller's own"
    for client in clients.values():
        client.close()


LOOK: Final = """
import os, pathlib
wanted = [word[::-1] for word in backwards]
seen = []
def look(where, text):
    seen.extend((where, word[:8]) for word in wanted if word in text)
look('environ', repr(os.environ))
for root in ('/proc/1', '/proc/self', '/tmp', '/dev/shm', '/run', '/etc', '/var', '/home', '/root', '/mnt', '/srv', '/opt'):
    for folder, folders, names in os.walk(root, onerror=lambda _: None):
        folders[:] = [one for one in folders if one not in ('task', 'map_files')]
        look('a name', folder + repr(names))
        for name in names:
            path = os.path.join(folder, name)
            if path.endswith(('/pagemap', '/mem', '/kmsg')) or not os.path.isfile(path):
                continue
            try:
                with open(path, 'rb') as file:
                    look(path, file.read(1 << 20).decode('latin-1'))
            except OSError:
                pass
print(seen)
"""


def test_planted_secrets_are_in_no_answer_no_log_and_no_box(house: House) -> None:
    clients = house.clients()
    secret = {**house.of_the_gateway, **house.of_ada}
    backwards = [word[::-1] for word in secret.values()]
    looked = clients["bob"].post(
        "/v1/executions", json={"code": LOOK, "inputs": {"backwards": backwards}, "outputs": ["*"], "lane": "container"}
    )
    assert (looked.json()["status"], looked.json()["stdout"]) == ("succeeded", "[]\n"), looked.text
    told = [looked.text]
    with house.server.client() as stranger:
        for path in ("/healthz", "/readyz", "/openapi.json", "/", "/v1/policy", "/v1/reviews", "/docs"):
            told += [str(client.get(path).headers) + client.get(path).text for client in (stranger, clients["bob"])]
    told += [clients[who].request(method, path, json=body).text for who, method, path, body in ways(house)]
    for wrong in ('{"code": 1}', "{", '{"code": "import ftplib"}', '{"code": "x", "lane": "y"}', '{"code": "1/0"}'):
        answer = clients["bob"].post("/v1/executions", content=wrong, headers={"Content-Type": "application/json"})
        told.append(answer.text)
    told.append(clients["ben"].get("/v1/reviews").text)
    whole = json.dumps(told)
    assert {name for name, word in secret.items() if word in whole} == set()
    mine = clients["ada"].get("/v1/tasks/adas").text + clients["ann"].get(f"/v1/reviews/{house.review}").text
    assert {name for name, word in house.of_the_gateway.items() if word in mine} == set()
    log = house.server.log.read_text()
    assert {name for name, word in secret.items() if word in log and name != "folder"} == set()
    for client in clients.values():
        client.close()


def test_what_the_gateway_keeps_is_its_own_users_alone(house: House) -> None:
    """No other user of the machine can read the log, the key or the lock."""
    for path in ("airlock.db", "airlock.db-wal", "instance"):
        found = Path(house.server.data / path)
        assert found.exists()
    assert house.server.data.stat().st_mode & 0o077 == 0
