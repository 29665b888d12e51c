"""Keys: who gets in, and when the gateway refuses to start."""

from __future__ import annotations

import hashlib
import inspect
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway import callers
from gateway.auth import Authenticator, KeysError, authenticator, require
from gateway.callers import Caller, Role
from gateway.errors import Forbidden, Unauthorized
from gateway.policy import Key

HOST = (b"host", b"127.0.0.1:8080")


def key(name: str, secret: str, *roles: Role) -> Key:
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return Key(name=name, sha256=digest, tenant="acme", profile="strict", roles=frozenset(roles))


@pytest.fixture
def keyed(tmp_path: Path) -> Authenticator:
    keys = [key("bot", "bot-key", Role.AGENT), key("ann", "ann-key", Role.REVIEWER, Role.OPERATOR)]
    return authenticator(keys, loopback=False, data=tmp_path)


@pytest.fixture
def keyless(tmp_path: Path) -> Authenticator:
    return authenticator([], loopback=True, data=tmp_path)


def bearer(value: str) -> tuple[bytes, bytes]:
    return b"authorization", value.encode("latin-1")


@pytest.mark.parametrize("value", ["Bearer bot-key", "bearer bot-key", "BEARER   bot-key", " Bearer bot-key "])
def test_a_known_key_is_its_caller(keyed: Authenticator, value: str) -> None:
    caller = keyed.caller([HOST, bearer(value)])
    assert caller == Caller("bot", "acme", "strict", frozenset({Role.AGENT}))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [bearer("")],
        [bearer("Bearer")],
        [bearer("Bearer ")],
        [bearer("bot-key")],
        [bearer("Basic bot-key")],
        [bearer("Bearer wrong")],
        [bearer("Bearer bot-key2")],
        [bearer("Bearer bot-key ann-key")],
        [bearer("Bearer b\xf6t-key")],
        [bearer("Bearer " + hashlib.sha256(b"bot-key").hexdigest())],
        [bearer("Bearer bot-key"), bearer("Bearer bot-key")],
        [bearer("Bearer bot-key"), bearer("Bearer ann-key")],
        [(b"x-api-key", b"bot-key")],
        [(b"cookie", b"key=bot-key")],
    ],
)
def test_nobody_else_gets_in(keyed: Authenticator, headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Unauthorized):
        keyed.caller([HOST, *headers])


def test_keys_are_compared_in_constant_time() -> None:
    source = inspect.getsource(callers.identify)
    assert "hmac.compare_digest" in source
    assert "==" not in source
    assert "break" not in source
    assert "return" not in source.partition("for ")[2].rpartition("return found")[0]


def test_without_keys_another_machine_must_not_reach_it(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="no keys"):
        authenticator([], loopback=False, data=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_digest_of_nothing_is_no_key() -> None:
    with pytest.raises(ValidationError, match="SHA-256 of nothing"):
        key("bot", "", Role.AGENT)


def test_on_loopback_without_keys_agents_need_none_and_reviewers_get_one(keyless: Authenticator) -> None:
    assert keyless.caller([HOST]) == Caller("local", "local", "default", frozenset({Role.AGENT}))
    assert keyless.reviewer_key is not None
    assert keyless.reviewer_key.stat().st_mode & 0o777 == 0o600
    reviewer = keyless.caller([HOST, bearer("Bearer " + keyless.reviewer_key.read_text().strip())])
    assert reviewer == Caller("reviewer", "local", "default", frozenset({Role.REVIEWER, Role.OPERATOR}))


def test_a_wrong_key_is_not_the_anonymous_caller(keyless: Authenticator) -> None:
    with pytest.raises(Unauthorized):
        keyless.caller([HOST, bearer("Bearer wrong")])


def test_with_keys_on_loopback_nobody_is_anonymous(tmp_path: Path) -> None:
    keyed = authenticator([key("bot", "bot-key", Role.AGENT)], loopback=True, data=tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(Unauthorized):
        keyed.caller([HOST])


@pytest.mark.parametrize(
    "host", [b"localhost", b"localhost:8080", b"LOCALHOST", b"127.0.0.1", b"127.1.2.3:80", b"[::1]:8080", b"[::1]"]
)
def test_without_keys_it_answers_to_loopback_names(keyless: Authenticator, host: bytes) -> None:
    assert keyless.caller([(b"host", host)]).name == "local"


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [b""],
        [b"evil.example"],
        [b"evil.example:8080"],
        [b"localhost.evil.example"],
        [b"127.0.0.1.evil.example"],
        [b"localhost@evil.example"],
        [b"0.0.0.0"],
        [b"[::]"],
        [b"192.168.1.5"],
        [b"localhost:8080:1"],
        [b"localhost\xff"],
        [b"localhost", b"evil.example"],
    ],
)
def test_without_keys_a_foreign_name_is_refused_with_and_without_a_key(
    keyless: Authenticator, hosts: list[bytes]
) -> None:
    assert keyless.reviewer_key is not None
    headers = [(b"host", host) for host in hosts]
    with pytest.raises(Forbidden):
        keyless.caller(headers)
    with pytest.raises(Forbidden):
        keyless.caller([*headers, bearer("Bearer " + keyless.reviewer_key.read_text().strip())])


def test_the_reviewer_key_stays_the_same(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    first = authenticator([], loopback=True, data=data)
    assert data.stat().st_mode & 0o077 == 0
    assert authenticator([], loopback=True, data=data) == first


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_reviewer_key_that_others_can_open_is_refused(tmp_path: Path, mode: int) -> None:
    authenticator([], loopback=True, data=tmp_path)
    (tmp_path / "reviewer.key").chmod(mode)
    with pytest.raises(KeysError, match="0600"):
        authenticator([], loopback=True, data=tmp_path)


def test_a_reviewer_key_behind_a_link_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("k" * 43)
    target.chmod(0o600)
    (tmp_path / "reviewer.key").symlink_to(target)
    with pytest.raises(KeysError, match="cannot be read"):
        authenticator([], loopback=True, data=tmp_path)
    assert target.read_text() == "k" * 43


def test_a_dangling_link_makes_no_file(tmp_path: Path) -> None:
    (tmp_path / "reviewer.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeysError):
        authenticator([], loopback=True, data=tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_reviewer_key_that_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "reviewer.key", 0o600)
    with pytest.raises(KeysError):
        authenticator([], loopback=True, data=tmp_path)


def test_an_empty_reviewer_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "reviewer.key").touch(0o600)
    with pytest.raises(KeysError, match="holds no key"):
        authenticator([], loopback=True, data=tmp_path)


def test_a_role_opens_its_own_doors_only() -> None:
    agent = Caller("bot", "acme", "strict", frozenset({Role.AGENT}))
    assert require(agent, Role.AGENT, Role.OPERATOR) is agent
    with pytest.raises(Forbidden, match="role reviewer; this one has: agent"):
        require(agent, Role.REVIEWER)
