"""The shipped policies load, and their README says of every key what it is: all keys, the real defaults, no dead knobs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from gateway.callers import Role
from gateway.checks import Checker
from gateway.policy import Policy, PolicyDocument, resolve
from gateway.policy_cases import beside, read_cases, run_cases
from gateway.policy_file import parse_policy, read_policy
from gateway.policy_keys import Key
from gateway.policy_notices import Webhook
from gateway.policy_reviews import Level
from gateway.policy_shape import ProfileBody, ProfileEntry
from sandbox.monty import Monty

FOLDER = Path(__file__).parents[2] / "policies"
SHIPPED = sorted(path for path in FOLDER.glob("*.yaml") if not path.name.endswith(".tests.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_policy_loads_and_explains_itself(path: Path) -> None:
    policy = read_policy(path)
    assert policy.name == path.stem
    assert path.read_text(encoding="utf-8").count("#") >= 10
    assert f"[{path.name}]({path.name})" in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
async def test_every_shipped_policy_has_tests_that_hold(path: Path) -> None:
    monty = Monty()
    try:
        cases = read_cases(beside(path))
        assert await run_cases(read_policy(path), cases, Checker(monty, no_guest)) == ()
    finally:
        await monty.close()
    assert len(cases.cases) >= 5


async def no_guest() -> str | None:
    return None


def test_the_default_policy_is_what_the_gateway_does_without_one() -> None:
    assert read_policy(FOLDER / "default.yaml") == resolve(PolicyDocument(version=1), name="default")


def test_the_strict_policy_is_narrower_than_the_default() -> None:
    strict, default = (read_policy(FOLDER / name).resolve("default") for name in ("strict.yaml", "default.yaml"))
    for (name, narrow), (_, wide) in zip(strict.limits, default.limits, strict=True):
        assert narrow.default < wide.default, name
        assert narrow.max < wide.max, name
    assert strict.budget.failures_in_a_row == 1
    assert not strict.checks.imports.admits("os")


def test_the_data_science_policy_has_the_packages_and_the_room() -> None:
    data, default = (read_policy(FOLDER / name).resolve("default") for name in ("data-science.yaml", "default.yaml"))
    assert {"numpy", "pandas", "matplotlib", "openpyxl", "pillow", "scikit-learn"} == set(data.isolation.packages)
    assert data.isolation.image == "airlock-guest-data:latest"
    for (name, wide), (_, narrow) in zip(data.limits, default.limits, strict=True):
        assert wide.default > narrow.default, name
        assert wide.max > narrow.max, name


def test_the_fleet_policy_keeps_agents_and_judges_apart() -> None:
    fleet = read_policy(FOLDER / "fleet.yaml")
    assert {role for key in fleet.keys for role in key.roles} == set(Role)
    assert len({key.tenant for key in fleet.keys}) >= 3
    assert any(key.jwt and key.jwt.tenant_claim for key in fleet.keys)
    for key in fleet.keys:
        quotas = fleet.resolve(key.profile).quotas
        assert None not in {quotas.executions, quotas.cpu}, key.name
    assert fleet.resolve("trial").isolation == fleet.resolve("analyst").isolation


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """All keys that hold a value, as the README writes them."""
    for name, field in model.model_fields.items():
        shape = field.annotation
        models = [kind for kind in (shape, *get_args(shape)) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if models in ([ProfileBody], [ProfileEntry]):
            continue
        if models:
            yield from leaves(models[0], f"{prefix}{name}{'[]' if models in ([Key], [Level], [Webhook]) else ''}.")
        else:
            yield f"{prefix}{field.alias or name}"


ROWS = re.findall(
    r"^\| `([a-z0-9_.\[\]]+)` \| (.+) \| (.+) \| (.+) \| (.+) \|$",
    (FOLDER / "README.md").read_text("utf-8"),
    re.MULTILINE,
)


def test_the_readme_documents_every_key_once_and_no_other() -> None:
    assert sorted(row[0] for row in ROWS) == sorted([*leaves(PolicyDocument), *leaves(ProfileEntry)])


@pytest.mark.parametrize(("key", "default"), [(row[0], row[3]) for row in ROWS if row[3].startswith("`")])
def test_the_documented_default_is_the_real_one(key: str, default: str) -> None:
    value = default.strip("`")
    assert _with(key, value) == resolve(PolicyDocument(version=1), name="readme")


PEOPLE = "{{name: p, tenant: t, profile: default, roles: [reviewer], jwt: {{issuer: {}, audience: {}, keys_file: /k}}}}"
ISSUERS = ("https://idp.example", "https://other.example")
CLIENTS = ", ".join(PEOPLE.replace("name: p", f"name: p{n}").format(ISSUERS[n % 2], "xy"[n // 2]) for n in range(4))
ISSUER, CLIENT = f"\n    issuer: {ISSUERS[0]}", "\n    client_id: x"
CLIENT_SECRET, AFTER = "\n    client_secret_env: AIRLOCK_SECRET_OIDC", f"\nkeys: [{CLIENTS}]"
FROM = "\n  from: a@b.example"
SERVER = f"\n  host: other.example{FROM}"  # what a mail section cannot do without
CHANGED = {
    "engine.boxes": "9",
    "engine.spares": "3",
    "engine.memory": "8Gi",
    "engine.queue": "1001",
    "engine.queue_age": "6m",
    "engine.retry_share": "0.3",
    "ceilings.cpu": "5",
    "ceilings.memory": "5Gi",
    "ceilings.time": "31m",
    "ceilings.pids": "1025",
    "ceilings.disk": "3Gi",
    "ceilings.output": "17Mi",
    "ceilings.grants_per_task": "3",
    "ceilings.failures": "13",
    "checks.mode": "audit",
    "mail.host": f"mail.example{FROM}",
    "mail.port": f"25{SERVER}",
    "mail.tls": f"tls{SERVER}",
    "mail.user": f"ann\n  password_env: AIRLOCK_SECRET_MAIL{SERVER}",
    "mail.password_env": f"AIRLOCK_SECRET_OTHER\n  user: ann{SERVER}",
    "mail.password_file": f"/run/secrets/mail\n  user: ann{SERVER}",
    "mail.from": "b@b.example\n  host: other.example",
    "mail.attempts": f"3{SERVER}",
    "mail.base": f"6s{SERVER}",
    "mail.cap": f"1h{SERVER}",
    "mail.timeout": f"1s{SERVER}",
    "console.oidc.issuer": f"{ISSUERS[1]}{CLIENT}{CLIENT_SECRET}{AFTER}",
    "console.oidc.client_id": f"y{ISSUER}{CLIENT_SECRET}{AFTER}",
    "console.oidc.client_secret_env": f"AIRLOCK_SECRET_OTHER{ISSUER}{CLIENT}{AFTER}",
    "console.oidc.client_secret_file": f"/run/secrets/oidc{ISSUER}{CLIENT}{AFTER}",
    "console.oidc.scopes": f"[groups]{ISSUER}{CLIENT}{CLIENT_SECRET}{AFTER}",
    "checks.imports.allow": "[json]",
    "checks.imports.deny": "[os]",
    "checks.type_check": "skip",
    "checks.source_size": "257Ki",
    "checks.nesting": "11",
    "lanes.monty": "false",
    "lanes.monty_time": "2s",
    "lanes.shadow": "0.5",
    "isolation.mode": "cell",
    "isolation.preload": "[json]\n    mode: cell",  # it is for cells
    "isolation.image": "python:3.13",
    "isolation.packages": "[numpy]",
    "isolation.runtime": "runsc",
    "limits.cpu.default": "2",
    "limits.cpu.max": "3",
    "limits.memory.default": "257Mi",
    "limits.memory.max": "2Gi",
    "limits.time.default": "31s",
    "limits.time.max": "6m",
    "limits.pids.default": "65",
    "limits.pids.max": "257",
    "limits.disk.default": "65Mi",
    "limits.disk.max": "513Mi",
    "limits.output.default": "257Ki",
    "limits.output.max": "5Mi",
    "retries.attempts": "4",
    "retries.base": "1s",
    "retries.cap": "31s",
    "retries.memory": "false",
    "budget.failures_in_a_row": "4",
    "budget.failures_total": "13",
    "budget.same_failure": "4",
    "budget.anonymous_failures_in_a_row": "13",
    "budget.anonymous_window": "2h",
    "costs.policy_denied": "3",
    "review.when": "[always]",
    "review.confidence": "0.6",
    "review.reviewers": "[ann]",
    "review.approvals": "2",
    "review.four_eyes": "[raise_limits]",
    "review.grants_per_task": "1",
    "review.remember": "30d",
    "review.expires": "25h",
    "review.notify": "[ann@b.example]\nmail:\n  port: 26" + SERVER,
    "rates.requests": "60001",
    "rates.burst": "2001",
    "rates.executions": "257",
    "rates.streams": "257",
    "quotas.executions": "1000",
    "quotas.cpu": "24h",
    "cache.scope": "tenant",
    "retention.code": "forever",
    "retention.output": "31d",
    "retention.files": "1h",
    "retention.keys": "8d",
    "telemetry.content": "true",
    "telemetry.content_size": "5Ki",
}


def test_every_key_reaches_the_resolved_policy() -> None:
    numbers = [key for key in [*leaves(PolicyDocument), *leaves(ProfileBody)] if "." in key and "[]" not in key]
    assert set(CHANGED) == set(numbers)
    outcomes = [_with(key, value) for key, value in CHANGED.items()]
    assert all(one != other for one, other in combinations([_with("version", "1"), *outcomes], 2))


def _with(key: str, value: str) -> Policy:
    *sections, last = key.split(".")
    if sections[:1] not in ([], ["engine"], ["ceilings"], ["mail"], ["console"]):
        sections = ["defaults", *sections]
    lines = [f"{'  ' * depth}{section}:" for depth, section in enumerate(sections)]
    lines.append(f"{'  ' * len(sections)}{last}: {value}")
    head = "" if key == "version" else "version: 1\n"
    return parse_policy(head + "\n".join(lines) + "\n", file="readme.yaml")
