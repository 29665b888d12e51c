"""No dead knobs: changing any key of a policy changes something that the gateway does, and each key is documented."""

from __future__ import annotations

import json
from collections.abc import Iterator
from inspect import isawaitable
from pathlib import Path
from typing import Final, get_args

import pytest
from pydantic import BaseModel

from gateway.policy import PolicyDocument
from gateway.policy_file import PolicyError, parse_policy
from gateway.policy_schema import rows_of
from gateway.policy_shape import ProfileBody, ProfileEntry
from gateway.store import migrate
from sandbox.monty import Monty
from tests.service.knob_effects import KEY, SECRETS, WEBHOOK, Bench, Json, merged
from tests.service.knobs import KNOBS as ALL_BUT_REVIEWS
from tests.service.knobs import Knob
from tests.service.people_knobs import JWT, PEOPLE_KNOBS
from tests.service.review_knobs import REVIEW_KNOBS

README: Final = Path(__file__).parents[2] / "policies" / "README.md"
KNOBS: Final = {**ALL_BUT_REVIEWS, **REVIEW_KNOBS, **PEOPLE_KNOBS}
LEVEL: Final[dict[str, Json]] = {"after": "1h", "to": ["ann"]}
ADD: Final = (
    "Add a row to KNOBS in tests/service/knobs.py: the key, a function (bench, policy) -> what the gateway does because of"
    " it, and two values for which that differs. If nothing differs, the key is dead: remove it."
)


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """All keys that hold a value, as the README writes them."""
    for name, info in model.model_fields.items():
        kinds = [info.annotation, *_inside(info.annotation)]
        models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if ProfileBody in models or ProfileEntry in models:
            continue
        many = "[]" if str(info.annotation).startswith("tuple[") else ""
        for one in models:
            yield from leaves(one, f"{prefix}{name}{many}.")
        if not models:
            yield f"{prefix}{info.alias or name}"


def _inside(annotation: object) -> Iterator[object]:
    for one in get_args(annotation):
        yield one
        yield from _inside(one)


KEYS: Final = list(dict.fromkeys([*leaves(PolicyDocument), *leaves(ProfileEntry)]))


def test_every_key_of_the_schema_has_its_proof() -> None:
    missing, gone = [key for key in KEYS if key not in KNOBS], [key for key in KNOBS if key not in KEYS]
    assert not missing, f"Nothing shows that {missing} do anything. {ADD}"
    assert not gone, f"The schema has no {gone} any more: remove their rows from KNOBS in tests/service/knobs.py."


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_documented_with_what_it_does_not_protect_against(key: str) -> None:
    row = rows_of(README.read_text("utf-8")).get(key)
    assert row is not None, f"policies/README.md has no row for {key}: key, meaning, unit, default, what it does not do"
    assert row.meaning
    assert row.no_protection


def said(key: str, value: Json) -> dict[str, Json]:
    """The file in which a key has a value."""
    if key == "extends":
        profiles: dict[str, Json] = {"one": {"checks": {"nesting": 3}}, "other": {"checks": {"nesting": 4}}}
        return {"profiles": {**profiles, "child": {"extends": value}}}
    first, *rest = key.split(".")
    document: dict[str, Json] = {}
    if first.endswith("[]"):
        name = first.removesuffix("[]")
        base = dict(KEY if name == "keys" else WEBHOOK)
        if rest[0] == "jwt":
            base = {field: one for field, one in JWT.items() if field != "tenant" or rest[1] != "tenant_claim"}
        if rest == ["secret_file"]:
            del base["secret_env"]
        inner: Json = value
        for part in reversed(rest):
            inner = {part: inner}
        return {name: [merged(base, inner)]}
    top = {"engine", "ceilings", "name", "version", "mail", "public_url", "console"}
    path = [first, *rest] if first in top else ["defaults", first, *rest]
    inner = value
    for part in reversed(path):
        inner = {part.removesuffix("[]"): [merged(LEVEL, inner)] if part == "escalate[]" else inner}
    assert isinstance(inner, dict)
    document |= inner
    return document


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('knobs')}/airlock.db"
    migrate(url)
    return url


@pytest.mark.parametrize("key", KEYS)
async def test_turning_it_changes_what_the_gateway_does(
    key: str, tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    knob = KNOBS.get(key)
    assert knob is not None, ADD
    for name, secret in zip(("ONE", "TWO"), SECRETS, strict=True):
        monkeypatch.setenv(f"AIRLOCK_SECRET_{name}", secret)
        (tmp_path / name).write_text(secret)
        (tmp_path / name).chmod(0o600)
    monty = Monty()
    bench = Bench(tmp_path, monty, database)
    try:
        first = [await seen(bench, knob, key, knob.one) for _ in range(2)]
        assert first[0] == first[1], (
            "what is looked at has to be the same each time, or a difference would prove nothing"
        )
        other = await seen(bench, knob, key, knob.other)
        assert first[0] != other, f"{key} is dead: {knob.one!r} and {knob.other!r} come to the same"
    finally:
        await monty.close()


async def seen(bench: Bench, knob: Knob, key: str, value: Json) -> object:
    if key in {"webhooks[].secret_file", "mail.password_file", "console.oidc.client_secret_file"}:
        value = str(bench.folder / str(value))
    document = merged(merged({"version": 1}, dict(knob.beside)), said(key, value))
    document = merged(said(key, value), merged({"version": 1}, dict(knob.beside))) if "[]" in key else document
    text = json.dumps(document)
    try:
        policy = parse_policy(text, file="knobs.yaml")
    except PolicyError:
        assert key == "version", document
        return PolicyError
    (bench.folder / f"{policy.name}.yaml").write_text(text)
    found = knob.see(bench, policy)
    return await found if isawaitable(found) else found
