"""A token opens what the policy says it opens, and nothing else: not unsigned, not by another key, not for others, not late."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from joserfc import jwk, jwt

from gateway.auth import authenticator
from gateway.callers import Role
from gateway.errors import Unauthorized
from gateway.policy import Policy
from gateway.policy_file import parse_policy
from gateway.settings import StartError
from gateway.tokens import LONGEST, TokenError, Tokens

NOW = 1_800_000_000
RSA = jwk.RSAKey.generate_key(2048, {"kid": "rsa"})
EC = jwk.ECKey.generate_key("P-256", {"kid": "ec"})
ED = jwk.OKPKey.generate_key("Ed25519", {"kid": "ed"})
STRANGER = jwk.RSAKey.generate_key(2048, {"kid": "rsa"})
CLAIMS: dict[str, object] = {
    "iss": "https://idp.example",
    "aud": "airlock",
    "sub": "ada",
    "exp": NOW + 300,
    "role": ["integrator", "other"],
}
AGENTS = "{name: agents, profile: default, roles: [agent], tenant: acme, jwt: {issuer: 'https://idp.example', audience: airlock, keys_file: %s, claims: {role: integrator}}}"
PEOPLE = "{name: people, profile: default, roles: [reviewer], tenant: acme, jwt: {issuer: 'https://idp.example', audience: airlock, keys_file: %s, claims: {role: reviewer}}}"
TENANTS = "{name: fleet, profile: default, roles: [agent], jwt: {issuer: 'https://idp.example', audience: airlock, keys_file: %s, claims: {role: fleet}, tenant_claim: org}}"


def jwks(*keys: jwk.RSAKey | jwk.ECKey | jwk.OKPKey) -> str:
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]})


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_text(jwks(RSA, EC, ED))
    path.chmod(0o644)
    return path


def policy(keys_file: Path, *entries: str) -> Policy:
    text = "version: 1\nkeys:\n" + "".join(f"  - {entry % keys_file}\n" for entry in entries)
    return parse_policy(text, file="policy.yaml")


def tokens(keys_file: Path, *entries: str, clock: Callable[[], float] = lambda: 0.0) -> Tokens:
    return Tokens(policy(keys_file, *(entries or (AGENTS,))).keys, now=lambda: NOW, clock=clock)


def signed(
    key: jwk.RSAKey | jwk.ECKey | jwk.OKPKey = RSA,
    algorithm: str = "RS256",
    header: Mapping[str, object] | None = None,
    **claims: object,
) -> str:
    said = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    return jwt.encode({"alg": algorithm, "kid": key.kid, **(header or {})}, said, key, algorithms=[algorithm])


def saying(claims: Mapping[str, object]) -> str:
    return signed(RSA, "RS256", None, **claims)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (EC, "ES256"), (ED, "Ed25519")])
def test_a_token_of_the_issuer_is_its_subject_in_the_entrys_tenant(
    keys_file: Path, key: jwk.RSAKey | jwk.ECKey | jwk.OKPKey, algorithm: str
) -> None:
    caller = tokens(keys_file).caller(signed(key, algorithm))
    assert (caller.name, caller.tenant, caller.profile) == ("agents.ada", "acme", "default")
    assert caller.roles == {Role.AGENT}


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # of signing so, which issuers still do
def test_the_older_name_of_ed25519_is_taken_too(keys_file: Path) -> None:
    assert tokens(keys_file).caller(signed(ED, "EdDSA")).name == "agents.ada"


def test_a_token_without_a_key_id_is_tried_with_the_keys_of_its_kind(keys_file: Path) -> None:
    other = jwk.RSAKey.generate_key(2048, {"kid": "other"})
    keys_file.write_text(jwks(other, RSA))
    assert tokens(keys_file).caller(signed(header={"kid": "rsa"})).name == "agents.ada"
    bare = jwt.encode({"alg": "RS256"}, CLAIMS, RSA, algorithms=["RS256"])
    assert tokens(keys_file).caller(bare).name == "agents.ada"


def test_an_audience_among_others_is_one(keys_file: Path) -> None:
    assert tokens(keys_file).caller(signed(aud=["else", "airlock"])).name == "agents.ada"


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"iss": "https://evil.example"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"iss": ["https://idp.example"]}, "issuer"),
        ({"aud": "else"}, "audience"),
        ({"aud": None}, "audience"),
        ({"aud": "airlock-not"}, "audience"),
        ({"aud": {"airlock": 1}}, "audience"),
        ({"exp": None}, "never expires"),
        ({"exp": NOW - 60}, "has expired"),
        ({"exp": str(NOW + 300)}, "`exp` is no time"),
        ({"exp": True}, "`exp` is no time"),
        ({"exp": 1e300}, "`exp` is no time"),
        ({"nbf": NOW + 61}, "not yet valid"),
        ({"iat": NOW + 61}, "not yet valid"),
        ({"nbf": "now"}, "`nbf` is no time"),
        ({"sub": None}, "no subject"),
        ({"sub": ""}, "no subject"),
        ({"sub": 7}, "no subject"),
        ({"sub": "x" * 1025}, "no subject"),
        ({"role": None}, "claims"),
        ({"role": "integrators"}, "claims"),
        ({"role": [["integrator"]]}, "claims"),
        ({"role": {"integrator": True}}, "claims"),
    ],
)
def test_a_token_that_says_otherwise_opens_nothing(keys_file: Path, claims: dict[str, object], says: str) -> None:
    with pytest.raises(TokenError, match=says):
        tokens(keys_file).caller(saying(claims))


def test_clocks_may_differ_by_a_minute(keys_file: Path) -> None:
    known = tokens(keys_file)
    assert known.caller(signed(exp=NOW - 59, nbf=NOW + 60, iat=NOW + 60)).name == "agents.ada"


def forged() -> dict[str, str]:
    public = json.dumps(RSA.as_dict(private=False)).encode()
    pem = RSA.as_pem(private=False)
    unsigned = f"{part({'alg': 'none'})}.{part(CLAIMS)}."
    found = {
        "none": unsigned,
        "none with a signature": f"{unsigned}AAAA",
        "no algorithm": f"{part({})}.{part(CLAIMS)}.AA",
    }
    for name, secret in (
        ("HS256 with the public key", pem),
        ("HS256 with the JWK", public),
        ("HS256 with nothing", b""),
    ):
        body = f"{part({'alg': 'HS256', 'kid': 'rsa'})}.{part(CLAIMS)}"
        mac = hmac.new(secret, body.encode(), hashlib.sha256).digest()
        found[name] = f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    head, _, signature = signed().split(".")
    own = jwk.RSAKey.generate_key(2048).as_dict(private=False)
    return {
        **found,
        "another key of the same name": signed(STRANGER),
        "changed claims": f"{head}.{part({**CLAIMS, 'sub': 'eve'})}.{signature}",
        "no signature": f"{head}.{part(CLAIMS)}.",
        "a key that it brings": signed(STRANGER, header={"jwk": own}),
        "another algorithm of the key": jwt.encode({"alg": "PS256", "kid": "rsa"}, CLAIMS, RSA, algorithms=["PS256"]),
        "an extension that nobody knows": signed().replace(head, part({"alg": "RS256", "crit": ["x"], "x": 1})),
        "a list for a header": f"{part([])}.{part(CLAIMS)}.AA",
        "a list for an algorithm": f"{part({'alg': ['RS256']})}.{part(CLAIMS)}.AA",
        "no JSON": "a.b.c",
        "nothing": "..",
        "deep JSON": f"{part({'alg': 'RS256'})}.{base64.urlsafe_b64encode(b'[' * 4000).decode()}.AA",
        "not Base64": "\u00e4.\u00e4.\u00e4",
    }


@pytest.mark.parametrize("name", forged())
def test_a_forged_token_opens_nothing(keys_file: Path, name: str) -> None:
    with pytest.raises(TokenError, match="not signed by a key that is known"):
        tokens(keys_file).caller(forged()[name])


def test_a_token_that_is_too_long_is_not_looked_at(keys_file: Path) -> None:
    with pytest.raises(TokenError, match="too long"):
        tokens(keys_file).caller(signed(more="x" * LONGEST))


def test_the_first_entry_that_it_fits_decides_and_a_judge_is_no_agent(keys_file: Path) -> None:
    known = tokens(keys_file, AGENTS, AGENTS.replace("agents", "more").replace("integrator", "other"), PEOPLE)
    assert known.caller(signed(role=["other", "integrator"])).name == "agents.ada"
    assert known.caller(signed(role="other")).name == "more.ada"
    assert known.caller(signed(role="reviewer")).roles == {Role.REVIEWER}
    with pytest.raises(TokenError, match="an agent's entry of the policy and a reviewer's"):
        known.caller(signed(role=["integrator", "reviewer"]))


def test_a_tenant_may_come_from_a_claim_but_only_as_a_name(keys_file: Path) -> None:
    known = tokens(keys_file, TENANTS)
    assert known.caller(signed(role="fleet", org="team-a")).tenant == "team-a"
    for org in (None, "", "a b", "../x", "x" * 65, ["team-a"], 7, "team\u2011a", "a\n"):
        with pytest.raises(TokenError, match="names no tenant"):
            known.caller(signed(role="fleet", org=org))


def test_an_unusual_subject_is_told_by_its_digest_and_is_nobody_else(keys_file: Path) -> None:
    known = tokens(keys_file)
    names = [
        known.caller(signed(sub=sub)).name
        for sub in ("ada", "Ada", "auth0|1", "auth0|2", "repo:a/b:ref", "x" * 49, "x" * 50, "a b", "\u00e4", "-")
    ]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 106 and name.isascii() and name.isprintable() and " " not in name for name in names)
    digest = names[2].partition(".")[2]
    assert known.caller(signed(sub=digest)).name != names[2], "no subject can pass for another's digest"


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (jwks(RSA), 0o666, "nobody but its owner can write"),
        (jwks(RSA), 0o664, "nobody but its owner can write"),
        ("{", 0o644, "no JWKS"),
        ("[]", 0o644, "no JWKS"),
        ('{"keys": [1]}', 0o644, "must be an object"),
        ('{"keys": []}', 0o644, "no key for signatures"),
        (json.dumps({"keys": [RSA.as_dict(private=True)]}), 0o644, "holds a secret key"),
        (json.dumps({"keys": [{"kty": "oct", "k": "AAAA"}]}), 0o644, "holds a secret key"),
        (jwks(jwk.ECKey.generate_key("P-384")), 0o644, "no key for signatures"),
        (json.dumps({"keys": [{**RSA.as_dict(private=False), "use": "enc"}]}), 0o644, "no key for signatures"),
        (json.dumps({"keys": [{"kty": "RSA", "n": "A" * 171, "e": "AQAB"}]}), 0o644, "no key for signatures"),
        (json.dumps({"keys": [{"kty": "RSA", "n": 7}]}), 0o644, "cannot be read"),
        (f'{{"keys": [], "x": "{"x" * (256 << 10)}"}}', 0o644, "larger than"),
    ],
)
def test_a_file_that_cannot_be_trusted_or_used_stops_the_start(
    keys_file: Path, content: str, mode: int, says: str
) -> None:
    keys_file.write_text(content)
    keys_file.chmod(mode)
    with pytest.raises(StartError, match=says):
        authenticator(policy(keys_file, AGENTS).keys, loopback=True, data=keys_file.parent)


def test_a_file_that_is_not_there_stops_the_start(keys_file: Path) -> None:
    keys_file.unlink()
    with pytest.raises(StartError, match="No such file"):
        tokens(keys_file)
    keys_file.mkdir()
    with pytest.raises(StartError):
        tokens(keys_file)


def test_keys_that_changed_are_read_again_and_a_broken_file_changes_nothing(keys_file: Path) -> None:
    seconds = [0.0]
    known = tokens(keys_file, clock=lambda: seconds[0])
    new = jwk.RSAKey.generate_key(2048, {"kid": "new"})

    def replace(content: str) -> None:
        fresh = keys_file.with_suffix(".new")
        fresh.write_text(content)
        fresh.replace(keys_file)
        seconds[0] += 2

    replace(jwks(new))
    assert known.caller(signed(new)).name == "agents.ada"
    with pytest.raises(TokenError, match="not signed by a key"):
        known.caller(signed(RSA))
    replace("{")
    assert known.caller(signed(new)).name == "agents.ada"
    replace(jwks(RSA))
    assert known.caller(signed(RSA)).name == "agents.ada"
    keys_file.unlink()
    seconds[0] += 2
    assert known.caller(signed(RSA)).name == "agents.ada"


def test_a_header_with_a_token_is_a_caller_and_its_refusal_says_why(keys_file: Path) -> None:
    sha = hashlib.sha256(b"key-of-olga").hexdigest()
    olga = f"{{name: olga, sha256: {sha}, tenant: acme, profile: default, roles: [operator]}}"
    live = authenticator(policy(keys_file, AGENTS, f"{olga}%.0s").keys, loopback=False, data=keys_file.parent)

    def ask(key: str) -> str:
        return live.caller([(b"authorization", b"Bearer " + key.encode())]).name

    assert ask("key-of-olga") == "olga"
    with pytest.raises(Unauthorized, match="has expired"):
        ask(signed(exp=1))
    with pytest.raises(Unauthorized, match="not signed by a key"):
        ask("a.b.c")
    with pytest.raises(Unauthorized, match="The key is not known"):
        ask("another")


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (AGENTS.replace("tenant: acme, ", ""), "keys[0]: a key needs a tenant, or else jwt.tenant_claim"),
        (TENANTS.replace("name: fleet,", "name: fleet, tenant: t,"), "keys[0]: a key needs a tenant, or else"),
        (AGENTS.replace("tenant:", f"sha256: {'ab' * 32}, tenant:"), "keys[0]: a key needs its sha256, or else jwt"),
        (AGENTS.replace("claims:", "claim:"), "keys[0].jwt.claim: unknown key (did you mean claims?)"),
        (AGENTS.replace("audience: airlock, ", ""), "keys[0].jwt.audience: is missing"),
        (AGENTS.replace("%s", "jwks.json"), "keys[0].jwt.keys_file: this is not the absolute path of a file"),
        (AGENTS.replace("role: integrator", "role: [integrator]"), "keys[0].jwt.claims.role: a list is not text"),
        (AGENTS.replace("[agent]", "[agent, reviewer]"), "keys[0].roles: one key cannot be agent and reviewer"),
    ],
)
def test_an_entry_that_cannot_be_meant_is_refused_at_its_line(entry: str, says: str) -> None:
    text = f"version: 1\nkeys:\n  - {entry.replace('%s', '/jwks.json')}\n"
    if "jwks.json" in says or "keys_file" in says:
        text = f"version: 1\nkeys:\n  - {entry}\n"
    with pytest.raises(Exception, match=r"policy.yaml:3:\d+: ") as caught:
        parse_policy(text, file="policy.yaml")
    assert says in str(caught.value)


def test_two_entries_of_the_same_tokens_are_one_too_many(keys_file: Path) -> None:
    with pytest.raises(Exception, match="this is the key of the same tokens as 'agents' again"):
        policy(keys_file, AGENTS, AGENTS.replace("name: agents", "name: others"))
