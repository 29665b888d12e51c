"""Logging in at an identity provider: a small real one, that signs what it says, and lies where a test wants it to."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from gateway.callers import Caller, Role
from gateway.console.oidc import WAIT_SECONDS, Oidc
from gateway.errors import Forbidden, GatewayError, Unauthorized, Unavailable
from gateway.main import compose
from gateway.policy_file import parse_policy
from gateway.providers import Provider
from gateway.settings import Settings, StartError
from gateway.tokens import Tokens
from tests.conftest import UNUSED_TLS, Server

BACK = "http://127.0.0.1:8080/console/oidc/back"


@dataclass
class Idp:
    """An identity provider. `says` are claims that replace the honest ones, `key` signs."""

    url: str = ""
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256", parameters={"kid": "one"}))
    folder: Path = Path()
    published: ECKey | None = None
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    says: dict[str, Any] = field(default_factory=dict)
    exchanged: int = 0
    header: dict[str, Any] = field(default_factory=lambda: {"alg": "ES256", "kid": "one"})

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.configuration),
                Route("/keys", self.keys),
                Route("/authorize", self.agree),
                Route("/token", self.token, methods=["POST"]),
            ]
        )

    async def configuration(self, _: Request) -> Response:
        places = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        return JSONResponse({"issuer": self.url} | {name: f"{self.url}/{place}" for name, place in places.items()})

    async def keys(self, _: Request) -> Response:
        return JSONResponse({"keys": [(self.published or self.key).as_dict(private=False)]})

    def authorize(self, address: str) -> tuple[str, str]:
        """What a person who agrees comes back with: a code and the state."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        self.codes["the-code"] = asked
        return "the-code", asked["state"]

    async def agree(self, request: Request) -> Response:
        """What a browser meets whose person is logged in there already."""
        code, state = self.authorize(str(request.url))
        return RedirectResponse(f"{request.query_params['redirect_uri']}?code={code}&state={state}")

    async def token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        asked = self.codes.pop(form["code"], None)
        login = base64.b64decode(request.headers["authorization"].partition(" ")[2]).decode()
        challenge = (
            base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        )
        self.exchanged += 1
        if asked is None or login != "airlock:the-secret" or challenge != asked["code_challenge"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        honest = {
            "iss": self.url,
            "aud": "airlock",
            "sub": "u-17",
            "iat": now,
            "exp": now + 60,
            "nonce": asked["nonce"],
            "email": "ann@example.org",
            "email_verified": True,
            "groups": ["everybody", "airlock-reviewers"],
        }
        claims = {name: value for name, value in (honest | self.says).items() if value is not None}
        return JSONResponse({"token_type": "Bearer", "id_token": jwt.encode(self.header, claims, self.key)})


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Idp]:
    provider = Idp(folder=folder)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        provider.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(provider.app(), log_config=None, lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield provider
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def one_idp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Idp]:
    with serving(tmp_path_factory.mktemp("idp")) as provider:
        yield provider


@pytest.fixture
def idp(one_idp: Idp) -> Iterator[Idp]:
    """The provider, honest again after each test."""
    honest = Idp(key=one_idp.key)
    yield one_idp
    for name in ("key", "published", "codes", "says", "exchanged", "header"):
        setattr(one_idp, name, getattr(honest, name))


def entry(idp: Idp, name: str, role: str, group: str, tenant_claim: str = "") -> str:
    """An entry of `keys` for those of a group. The file of keys is of the issuer's other tokens: a log-in asks for its own."""
    keys = idp.folder / "jwks.json"
    if not keys.exists():
        keys.write_text(json.dumps({"keys": [idp.key.as_dict(private=False)]}))
        keys.chmod(0o600)
    opens = f"issuer: '{idp.url}', audience: airlock, keys_file: {keys}, claims: {{groups: {group}}}"
    tenant, claim = ("", f", tenant_claim: {tenant_claim}") if tenant_claim else ("tenant: acme, ", "")
    return f"  - {{name: {name}, profile: default, roles: [{role}], {tenant}jwt: {{{opens}{claim}}}}}\n"


def key(name: str, role: str) -> str:
    digest = hashlib.sha256(f"key-of-{name}".encode()).hexdigest()
    return f"  - {{name: {name}, sha256: {digest}, tenant: acme, profile: default, roles: [{role}]}}\n"


def everybody(idp: Idp, reviewers: str = "airlock-reviewers") -> str:
    return "".join(
        [
            entry(idp, "people", "reviewer", reviewers),
            entry(idp, "readers", "auditor", "airlock-auditors"),
            entry(idp, "bots", "agent", "airlock-agents"),
            key("bot", "agent"),
            key("olga", "operator"),
            key("rita", "reviewer"),
        ]
    )


def policy(idp: Idp, keys: str, client: str = "") -> str:
    client = client or f"{{issuer: '{idp.url}', client_id: airlock, client_secret_env: AIRLOCK_SECRET_OIDC}}"
    return f"version: 1\ndefaults: {{budget: {{failures_in_a_row: 1}}}}\nkeys:\n{keys}console: {{oidc: {client}}}\n"


def oidc(idp: Idp, issuer: str = "", keys: str = "", clock: Callable[[], float] = time.monotonic) -> Oidc:
    tokens = Tokens(parse_policy(policy(idp, keys or everybody(idp)), file="policy.yaml").keys)
    provider = Provider(issuer=issuer or idp.url, client_id="airlock", client_secret="the-secret", scopes=("groups",))
    return Oidc(provider, lambda: tokens, clock)


async def log_in(idp: Idp, side: Oidc) -> tuple[Caller, str]:
    address, state = await side.begin(BACK, "/console/queue")
    code, told = idp.authorize(address)
    assert told == state
    assert parse_qs(urlsplit(address).query)["scope"] == ["openid groups"]
    claims, after = await side.end(state, state, code)
    return side.person(claims), after


async def test_who_the_provider_vouches_for_is_who_the_policys_entry_for_them_says(idp: Idp) -> None:
    who = Caller("people.u-17", "acme", "default", frozenset({Role.REVIEWER}))
    assert await log_in(idp, oidc(idp)) == (who, "/console/queue")


async def test_they_are_who_they_are_with_a_token_of_the_provider(idp: Idp) -> None:
    """So nobody rules in the console on what they sent with a token."""
    tokens = Tokens(parse_policy(policy(idp, everybody(idp)), file="policy.yaml").keys)
    claims = {"iss": idp.url, "aud": "airlock", "sub": "u-17", "exp": 1 << 40, "groups": ["airlock-reviewers"]}
    caller, _ = await log_in(idp, oidc(idp))
    assert tokens.caller(jwt.encode({"alg": "ES256"}, claims, idp.key)) == caller


async def test_a_tenant_may_come_from_a_claim_and_a_subject_is_no_text_of_its_own(idp: Idp) -> None:
    idp.says = {"org": "other", "sub": "<b>Ann</b>"}
    keys = entry(idp, "people", "reviewer", "airlock-reviewers", "org")
    caller, _ = await log_in(idp, oidc(idp, keys=keys))
    assert caller.tenant == "other"
    assert re.fullmatch(r"people\.@[0-9a-f]{40}", caller.name)


@pytest.mark.parametrize(
    ("says", "refused"),
    [
        ({"groups": ["everybody"]}, Forbidden),
        ({"groups": None}, Forbidden),
        ({"groups": ["airlock-agents"]}, Forbidden),
        ({"groups": ["airlock-reviewers", "airlock-agents"]}, Forbidden),
        ({"nonce": "another"}, Unauthorized),
        ({"nonce": None}, Unauthorized),
        ({"aud": "somebody-else"}, Unauthorized),
        ({"aud": ["airlock", "somebody-else"]}, Unauthorized),
        ({"iss": "https://evil.example"}, Unauthorized),
        ({"exp": 1_000_000_000}, Unauthorized),
        ({"exp": None}, Unauthorized),
        ({"padding": "x" * 9000}, Unauthorized),
        ({"sub": None}, Unauthorized),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else value.__name__,
)
async def test_a_token_that_does_not_fit_lets_nobody_in(
    idp: Idp, says: dict[str, Any], refused: type[GatewayError]
) -> None:
    idp.says = says
    with pytest.raises(refused):
        await log_in(idp, oidc(idp))


async def test_a_token_of_another_key_lets_nobody_in(idp: Idp) -> None:
    idp.published = ECKey.generate_key("P-256", parameters={"kid": "one"})
    with pytest.raises(Unauthorized):
        await log_in(idp, oidc(idp))


async def test_another_browser_another_time_or_another_code_lets_nobody_in(idp: Idp) -> None:
    clock = [0.0]
    side = oidc(idp, clock=lambda: clock[0])
    address, state = await side.begin(BACK, "")
    code, _ = idp.authorize(address)
    with pytest.raises(Unauthorized, match="not begun in this browser"):
        await side.end(state, "another", code)
    with pytest.raises(Unauthorized, match="not begun in this browser"):
        await side.end(state, state, code)  # it was used up
    address, state = await side.begin(BACK, "")
    clock[0] += WAIT_SECONDS + 1
    with pytest.raises(Unauthorized, match="took too long"):
        await side.end(state, state, code)
    _, state = await side.begin(BACK, "")
    with pytest.raises(Unauthorized, match="did not let you in"):
        await side.end(state, state, "no-such-code")


async def test_a_provider_that_is_away_or_is_another_is_said_to_be(idp: Idp) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        await oidc(idp, issuer="http://127.0.0.1:1").begin(BACK, "")
    with pytest.raises(Unavailable, match="calls itself otherwise"):
        await oidc(idp, issuer=f"{idp.url}/").begin(BACK, "")


async def test_new_keys_of_the_provider_are_learned(idp: Idp) -> None:
    clock = [0.0]
    side = oidc(idp, clock=lambda: clock[0])
    await log_in(idp, side)
    idp.key = ECKey.generate_key("P-256", parameters={"kid": "two"})
    idp.header = {"alg": "ES256", "kid": "two"}
    clock[0] += 60
    assert (await log_in(idp, side))[0].name == "people.u-17"


@pytest.fixture(scope="module")
def one_gateway(one_idp: Idp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("gateway")
    (data / "policy.yaml").write_text(policy(one_idp, everybody(one_idp)))
    running = Server(data, data / "policy.yaml", {"AIRLOCK_SECRET_OIDC": "the-secret"}).start()
    yield running
    running.stop()


@pytest.fixture
def gateway(idp: Idp, one_gateway: Server) -> Iterator[Server]:
    """A gateway at work, under its own policy again after each test."""
    yield one_gateway
    reload(one_gateway, policy(idp, everybody(idp)))


def browser(server: Server) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"Origin": server.url}, timeout=60, verify=UNUSED_TLS)


def come_back(client: httpx.Client, code: str, state: str) -> httpx.Response:
    return client.get("/console/oidc/back", params={"code": code, "state": state})


def enter(idp: Idp, client: httpx.Client, after: str = "") -> httpx.Response:
    """All of a log-in, as a browser does it."""
    sent = client.get("/console/oidc", params={"next": after})
    assert sent.status_code == 303, sent.text
    return come_back(client, *idp.authorize(sent.headers["location"]))


def csrf(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found
    return found[1]


def open_review(server: Server, task_id: str) -> str:
    with server.client("key-of-bot") as agent:
        task = agent.post("/v1/executions", json={"code": "1/0", "task_id": task_id}).json()["task"]
    return str(task["review"])


def seen_by_rita(server: Server, review: str) -> dict[str, Any]:
    with server.client("key-of-rita") as rita:
        found: dict[str, Any] = rita.get(f"/v1/reviews/{review}").json()
    return found


def reload(server: Server, text: str) -> None:
    assert server.policy is not None
    server.policy.write_text(text)
    with server.client("key-of-olga") as olga:
        told = olga.post("/v1/policy/reload").json()
    assert told["loaded"], told


def test_a_person_logs_in_at_the_provider_and_is_named_in_the_ruling(idp: Idp, gateway: Server) -> None:
    review = open_review(gateway, "ruled")
    with browser(gateway) as client:
        page = client.get("/console/login").text
        assert f"Log in at {urlsplit(idp.url).netloc}" in page
        sent = client.get("/console/oidc", params={"next": f"/console/reviews/{review}"})
        asked = {name: values[0] for name, values in parse_qs(urlsplit(sent.headers["location"]).query).items()}
        assert asked["redirect_uri"] == f"{gateway.url}/console/oidc/back"
        assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
        assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43
        assert "samesite=lax" in sent.headers["set-cookie"].lower()
        back = come_back(client, *idp.authorize(sent.headers["location"]))
        assert (back.status_code, back.headers["location"]) == (303, f"/console/reviews/{review}")
        page = client.get(f"/console/reviews/{review}").text
        form = {"csrf": csrf(page), "token": seen_by_rita(gateway, review)["token"], "ruling": "answer", "result": "1"}
        assert client.post(f"/console/reviews/{review}", data=form).status_code == 303
    ruled = seen_by_rita(gateway, review)
    assert (ruled["state"], ruled["decided_by"]) == ("decided", "people.u-17")


def test_what_comes_back_wrong_opens_nothing(idp: Idp, gateway: Server) -> None:
    with browser(gateway) as client, browser(gateway) as victim:
        address = client.get("/console/oidc").headers["location"]
        code, state = idp.authorize(address)
        assert come_back(client, code, "another").status_code == 401
        assert come_back(victim, code, state).status_code == 401, "a log-in of another browser"
        assert come_back(client, code, state).status_code == 401, "and it was used up by that"
        assert idp.exchanged == 0, "the provider was asked for none of them"
        assert enter(idp, client).status_code == 303
        client.cookies.clear()
        sent = client.get("/console/oidc").headers["location"]
        replayed = parse_qs(urlsplit(sent).query)["state"][0]
        assert come_back(client, "the-code", replayed).status_code == 401, "a code that was used before"
        for says, status in (
            ({"aud": "somebody-else"}, 401),
            ({"nonce": "another"}, 401),
            ({"groups": ["airlock-agents"]}, 403),
            ({"groups": ["everybody"]}, 403),
        ):
            idp.says = says
            answer = enter(idp, client)
            assert answer.status_code == status, says
            assert "airlock_console" not in client.cookies, says
        assert client.get("/console/oidc/back").status_code == 401


def test_an_auditor_who_logs_in_there_reads_and_does_not_rule(idp: Idp, gateway: Server) -> None:
    review = open_review(gateway, "audited")
    idp.says = {"groups": ["airlock-auditors"]}
    with browser(gateway) as client:
        assert enter(idp, client).headers["location"] == "/console/"
        page = client.get(f"/console/reviews/{review}")
        assert page.status_code == 200
        form = {
            "csrf": csrf(page.text),
            "token": seen_by_rita(gateway, review)["token"],
            "ruling": "answer",
            "result": "1",
        }
        assert client.post(f"/console/reviews/{review}", data=form).status_code == 403
    assert seen_by_rita(gateway, review)["state"] == "open"


def test_a_session_ends_with_the_entry_the_role_or_the_provider_that_it_came_by(idp: Idp, gateway: Server) -> None:
    there, gone = policy(idp, everybody(idp)), policy(idp, everybody(idp, "airlock-others"))
    roles = there.replace(
        "name: people, profile: default, roles: [reviewer]", "name: people, profile: default, roles: [auditor]"
    )
    tenant = there.replace("roles: [reviewer], tenant: acme", "roles: [reviewer], tenant: other", 1)
    nobody = there.partition("console:")[0]
    assert len({there, gone, roles, tenant, nobody}) == 5
    for changed in (gone, roles, tenant, nobody):
        with browser(gateway) as client:
            enter(idp, client)
            reload(gateway, there + "name: other\n")
            assert client.get("/console/queue").status_code == 200, "what changed is not about them"
            with client.stream("GET", "/console/live") as live:
                lines = live.iter_lines()
                next(lines)
                reload(gateway, changed)
                assert len(list(islice(lines, 12))) < 12, "an open page has to ask again, rather than listen on"
            assert client.get("/console/queue").headers["location"].startswith("/console/login")
            reload(gateway, there)
            assert client.get("/console/queue").status_code == 303, "what has ended does not come again"
    reload(gateway, nobody)
    with browser(gateway) as client:
        assert client.get("/console/oidc").status_code == 404
        assert "Log in at" not in client.get("/console/login").text


def test_a_token_in_place_of_a_key_logs_in_until_the_policy_changes(idp: Idp, gateway: Server) -> None:
    claims = {"iss": idp.url, "aud": "airlock", "sub": "u-17", "exp": 1 << 40, "groups": ["airlock-reviewers"]}
    with browser(gateway) as client:
        token = jwt.encode({"alg": "ES256"}, claims, idp.key)
        assert client.post("/console/login", data={"key": token}).status_code == 303
        assert client.get("/console/queue").status_code == 200
        reload(gateway, policy(idp, everybody(idp, "airlock-others")))
        assert client.get("/console/queue").status_code == 303


def test_without_the_clients_secret_a_gateway_neither_starts_nor_takes_the_policy(
    idp: Idp, gateway: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = f"{{issuer: '{idp.url}', client_id: airlock, client_secret_env: AIRLOCK_SECRET_NONE}}"
    assert gateway.policy is not None
    gateway.policy.write_text(policy(idp, everybody(idp), client))
    with gateway.client("key-of-olga") as olga:
        refused = olga.post("/v1/policy/reload")
        told = olga.get("/v1/policy").json()["file"]["last_reload"]
    assert (refused.status_code >= 400, told["loaded"]) == (True, False)
    assert "AIRLOCK_SECRET_NONE" in told["problems"][0]["message"]
    settings = Settings(data=tmp_path / "data", policy=gateway.policy)
    for value in ("", " \n"):
        monkeypatch.setenv("AIRLOCK_SECRET_NONE", value)
        with pytest.raises(StartError, match=r"secret|AIRLOCK_SECRET_NONE"):
            compose(settings)
