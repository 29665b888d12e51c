"""A policy is resolved without contradictions, or not at all; nothing granted passes `max`, nor the ceilings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.callers import Role
from gateway.policy import (
    Flaw,
    Imports,
    LimitsRequest,
    Policy,
    PolicyDocument,
    Profile,
    limits_for,
    raised_limits,
    resolve,
)
from gateway.quantities import GIB, KIB, MIB
from sandbox.job import Cell, Limits


def policy_of(document: dict[str, object]) -> Policy:
    policy = resolve(PolicyDocument.model_validate({"version": 1, **document}), name="test")
    assert isinstance(policy, Policy), policy
    return policy


def flaws_of(document: dict[str, object]) -> tuple[Flaw, ...]:
    flaws = resolve(PolicyDocument.model_validate({"version": 1, **document}), name="test")
    assert isinstance(flaws, tuple)
    return flaws


def profile_of(body: dict[str, object]) -> Profile:
    return policy_of({"defaults": body}).resolve("default")


def key(
    name: str, sha256: str = "ab" * 32, profile: str = "default", roles: tuple[str, ...] = ("agent",)
) -> dict[str, object]:
    return {"name": name, "sha256": sha256, "tenant": "t", "profile": profile, "roles": list(roles)}


def test_without_a_word_the_laptop_defaults_hold() -> None:
    policy = policy_of({})
    assert policy.name == "test"
    assert policy.engine.boxes == 8
    assert policy.keys == ()
    assert list(policy.profiles) == ["default"]
    assert limits_for(policy.resolve("default"), None) == Limits(
        cpu_cores=1.0,
        memory_bytes=256 * MIB,
        wall_seconds=30.0,
        pids=64,
        disk_bytes=64 * MIB,
        output_bytes=256 * KIB,
    )


def test_an_unknown_profile_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        policy_of({}).resolve("nobody")


def test_a_profile_starts_from_defaults_then_from_its_ancestors() -> None:
    policy = policy_of(
        {
            "defaults": {"limits": {"memory": {"default": "128Mi"}}, "checks": {"imports": {"deny": ["socket"]}}},
            "profiles": {
                "child": {"extends": "parent", "limits": {"time": {"max": "2m"}}, "checks": {"imports": {"deny": []}}},
                "parent": {"limits": {"memory": {"max": "512Mi"}, "time": {"max": "1m"}}},
            },
        }
    )
    child, parent, plain = (policy.resolve(name) for name in ("child", "parent", "default"))
    assert [profile.limits.memory.default for profile in (child, parent, plain)] == [128 * MIB] * 3
    assert [profile.limits.memory.max for profile in (child, parent, plain)] == [512 * MIB, 512 * MIB, GIB]
    assert [profile.limits.time.max for profile in (child, parent, plain)] == [120.0, 60.0, 300.0]
    assert [profile.checks.imports.deny for profile in (child, parent, plain)] == [(), ("socket",), ("socket",)]


def test_a_list_replaces_the_list_below() -> None:
    policy = policy_of(
        {
            "defaults": {"checks": {"imports": {"allow": ["math", "json"]}}},
            "profiles": {"small": {"checks": {"imports": {"allow": ["re"]}}}},
        }
    )
    assert policy.resolve("default").checks.imports.allow == ("json", "math")
    assert policy.resolve("small").checks.imports.allow == ("re",)


def test_a_default_profile_of_the_file_is_what_callers_without_a_key_get() -> None:
    policy = policy_of({"profiles": {"default": {"lanes": {"monty": False}}, "other": {"extends": "default"}}})
    assert not policy.resolve("default").lanes.monty
    assert not policy.resolve("other").lanes.monty


def test_an_unknown_parent_is_told_with_a_suggestion() -> None:
    flaws = flaws_of({"profiles": {"analyst": {}, "trial": {"extends": "analist"}}})
    message = "'analist' is not a profile of this policy"
    assert flaws == (Flaw(("profiles", "trial", "extends"), message, "analyst"),)


def test_a_circle_is_told_once_at_the_first_of_its_profiles() -> None:
    flaws = flaws_of({"profiles": {"a": {"extends": "b"}, "b": {"extends": "a"}, "c": {"extends": "a"}}})
    assert [flaw.path for flaw in flaws] == [("profiles", "a", "extends")]
    assert flaws[0].message == "'b' makes a circle: a -> b -> a"
    assert [flaw.message for flaw in flaws_of({"profiles": {"a": {"extends": "a"}}})] == ["'a' makes a circle: a -> a"]


@pytest.mark.parametrize(
    ("document", "path", "message"),
    [
        (
            {"defaults": {"limits": {"memory": {"default": "2Gi"}}}},
            ("defaults", "limits", "memory", "default"),
            "limits.memory.default 2Gi is more than limits.memory.max 1Gi",
        ),
        (
            {"profiles": {"p": {"limits": {"time": {"max": "10s"}}}}},
            ("profiles", "p", "limits", "time", "max"),
            "limits.time.default 30s is more than limits.time.max 10s",
        ),
        (
            {"defaults": {"limits": {"cpu": {"max": 16}}}, "profiles": {"p": {}, "q": {}}},
            ("defaults", "limits", "cpu", "max"),
            "limits.cpu.max 16 is more than ceilings.cpu 4",
        ),
        (
            {"profiles": {"p": {"extends": "q"}, "q": {"limits": {"pids": {"max": 2000}}}}},
            ("profiles", "q", "limits", "pids", "max"),
            "limits.pids.max 2000 is more than ceilings.pids 1024",
        ),
        (
            {"ceilings": {"memory": "512Mi"}},
            ("ceilings", "memory"),
            "limits.memory.max 1Gi is more than ceilings.memory 512Mi",
        ),
        (
            {"defaults": {"limits": {"memory": {"default": "1Mi"}}}},
            ("defaults", "limits", "memory", "default"),
            "limits.memory.default 1Mi is less than 16Mi, the least that a box can start with",
        ),
        (
            {"defaults": {"review": {"grants_per_task": 3}}},
            ("defaults", "review", "grants_per_task"),
            "review.grants_per_task 3 is more than ceilings.grants_per_task 2",
        ),
        (
            {"defaults": {"retries": {"base": "1m"}}},
            ("defaults", "retries", "base"),
            "retries.base 1m is more than retries.cap 30s",
        ),
    ],
)
def test_contradictions_are_told_where_they_were_written(
    document: dict[str, object], path: tuple[str, ...], message: str
) -> None:
    assert flaws_of(document) == (Flaw(path, message),)


def test_keys_are_distinct_and_their_profiles_exist() -> None:
    flaws = flaws_of({"keys": [key("a"), key("a", "cd" * 32), key("c"), key("d", "ef" * 32, profile="defualt")]})
    assert [(flaw.path, flaw.message, flaw.suggestion) for flaw in flaws] == [
        (("keys", 1, "name"), "'a' is the name of another key already", None),
        (("keys", 2, "sha256"), "this is the key 'a' again", None),
        (("keys", 3, "profile"), "'defualt' is not a profile of this policy", "default"),
    ]


@pytest.mark.parametrize("roles", [("agent", "reviewer"), ("agent", "operator", "reviewer")])
def test_no_key_is_agent_and_reviewer(roles: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="an agent's key can never rule"):
        policy_of({"keys": [key("a", roles=roles)]})


def test_keys_that_are_allowed() -> None:
    policy = policy_of({"keys": [key("a"), key("b", "cd" * 32, roles=("reviewer", "operator"))]})
    assert policy.keys[1].roles == {Role.REVIEWER, Role.OPERATOR}


def test_an_empty_key_is_no_key() -> None:
    with pytest.raises(ValidationError, match="SHA-256 of nothing"):
        policy_of({"keys": [key("a", hashlib.sha256(b"").hexdigest())]})


@pytest.mark.parametrize(
    ("imports", "admitted", "denied"),
    [
        (Imports(), ["os", "os.path", "a.b.c"], []),
        (Imports(deny=("os",)), ["osx", "posix"], ["os", "os.path"]),
        (Imports(deny=("os.path",)), ["os"], ["os.path", "os.path.join"]),
        (Imports(allow=("json", "os.path")), ["json", "json.decoder", "os.path", "os.path.join"], ["os", "re", "jso"]),
        (Imports(allow=("os",), deny=("os.path",)), ["os", "os.sep"], ["os.path"]),
        (Imports(allow=()), [], ["json"]),
    ],
)
def test_imports(imports: Imports, admitted: list[str], denied: list[str]) -> None:
    assert all(imports.admits(module) for module in admitted)
    assert not any(imports.admits(module) for module in denied)


def test_a_runtime_is_the_engines_default_unless_a_profile_names_one() -> None:
    policy = policy_of({"profiles": {"wary": {"isolation": {"runtime": "runsc"}}}})
    runtimes = [policy.resolve(name).isolation.runtime for name in ("default", "wary")]
    assert runtimes == [None, "runsc"]


def test_cells_are_chosen_by_a_profile_and_preload_is_theirs() -> None:
    policy = policy_of(
        {"profiles": {"quick": {"isolation": {"mode": "cell", "preload": ["json", "decimal", "json"]}}}},
    )
    assert policy.resolve("default").isolation.cell("tenant") is None
    assert policy.resolve("quick").isolation.cell("tenant") == Cell("tenant", ("decimal", "json"))


def test_preload_without_cells_is_a_flaw_where_it_is_said() -> None:
    document = {
        "defaults": {"isolation": {"mode": "cell", "preload": ["json"]}},
        "profiles": {"careful": {"isolation": {"mode": "container"}}},
    }
    (flaw,) = flaws_of(document)
    assert flaw.path == ("profiles", "careful", "isolation", "mode")
    assert "preload is for cells" in flaw.message


@pytest.mark.parametrize("runtime", ["", "/usr/bin/runc", "-v", "a b", 1])
def test_a_runtime_is_a_name_and_never_a_path(runtime: object) -> None:
    with pytest.raises(ValidationError):
        policy_of({"defaults": {"isolation": {"runtime": runtime}}})


def test_the_digest_is_of_the_meaning() -> None:
    terse = policy_of(
        {"profiles": {"a": {}, "b": {"limits": {"memory": {"max": "1024Mi"}}, "checks": {"imports": {"deny": []}}}}}
    )
    assert terse.resolve("a").digest == terse.resolve("b").digest
    assert terse.resolve("a").digest == hashlib.sha256(terse.resolve("a").document.encode()).hexdigest()
    assert "name" not in json.loads(terse.resolve("a").document)


def test_the_order_of_a_list_of_modules_means_nothing() -> None:
    one = profile_of({"checks": {"imports": {"deny": ["re", "os", "re"]}}})
    assert one.digest == profile_of({"checks": {"imports": {"deny": ["os", "re"]}}}).digest


@pytest.mark.parametrize(
    "document",
    [
        {"ceilings": {"memory": "8Gi"}},
        {"defaults": {"limits": {"memory": {"max": "2Gi"}}}},
        {"defaults": {"checks": {"imports": {"allow": []}}}},
        {"defaults": {"costs": {"policy_denied": 1}}},
    ],
)
def test_the_digest_changes_with_the_meaning(document: dict[str, object]) -> None:
    assert policy_of(document).resolve("default").digest != policy_of({}).resolve("default").digest


def test_the_digest_of_the_defaults_is_stable() -> None:
    document = policy_of({}).resolve("default").document
    assert document.startswith('{"budget":{"anonymous_failures_in_a_row":12,"anonymous_window":3600.0,')
    names = {"name": "default", "policy": policy_of({}).name}
    assert Profile.model_validate({**_without_version(document), **names}) == policy_of({}).resolve("default")


def _without_version(document: str) -> dict[str, object]:
    fields: dict[str, object] = json.loads(document)
    assert fields.pop("version") == 1
    return fields


def test_nothing_of_a_policy_changes_after_it_was_read() -> None:
    policy = policy_of({})
    with pytest.raises(ValidationError):
        policy.resolve("default").limits.memory.max = 1
    with pytest.raises(TypeError):
        policy.profiles["x"] = policy.resolve("default")  # type: ignore[index]


def test_a_request_up_to_max_is_granted() -> None:
    limits = limits_for(
        profile_of({}), LimitsRequest.model_validate({"memory": "1Gi", "cpu": "500m", "time": 5, "pids": 8})
    )
    assert limits == Limits(
        cpu_cores=0.5, memory_bytes=GIB, wall_seconds=5.0, pids=8, disk_bytes=64 * MIB, output_bytes=256 * KIB
    )


def test_a_request_above_max_is_refused_with_every_bound() -> None:
    violations = limits_for(
        profile_of({}), LimitsRequest.model_validate({"memory": "2Gi", "time": "6m", "pids": 1, "cpu": 2})
    )
    assert isinstance(violations, tuple)
    assert [(one.field, one.asked, one.bound, one.message) for one in violations] == [
        ("memory", "2Gi", "1Gi", "memory: 2Gi is more than 1Gi, the most that the profile 'default' gives"),
        ("time", "6m", "5m", "time: 6m is more than 5m, the most that the profile 'default' gives"),
        ("pids", "1", "2", "pids: 1 is less than 2, the least that a box can start with"),
    ]


def test_a_reviewer_may_pass_max_but_not_the_ceiling() -> None:
    profile = profile_of({})
    current = limits_for(profile, LimitsRequest.model_validate({"time": "1m"}))
    assert isinstance(current, Limits)
    raised = raised_limits(profile, LimitsRequest.model_validate({"memory": "4Gi"}), current=current)
    assert isinstance(raised, Limits)
    assert (raised.memory_bytes, raised.wall_seconds) == (4 * GIB, 60.0)
    refused = raised_limits(profile, LimitsRequest.model_validate({"memory": "5Gi"}), current=current)
    assert isinstance(refused, tuple)
    assert [one.message for one in refused] == ["memory: 5Gi is more than 4Gi, the ceiling"]


def test_limits_from_before_a_ceiling_was_lowered_are_not_granted_again() -> None:
    before = limits_for(profile_of({}), LimitsRequest.model_validate({"memory": "1Gi"}))
    assert isinstance(before, Limits)
    lowered = policy_of(
        {"ceilings": {"memory": "512Mi"}, "defaults": {"limits": {"memory": {"max": "512Mi"}}}}
    ).resolve("default")
    refused = raised_limits(lowered, LimitsRequest(), current=before)
    assert isinstance(refused, tuple)
    assert [one.field for one in refused] == ["memory"]


LIMITS = ["cpu", "memory", "time", "pids", "disk", "output"]
AMOUNT = st.integers(min_value=16, max_value=1024)
ASKED = st.dictionaries(st.sampled_from(LIMITS), AMOUNT)
SPANS = st.fixed_dictionaries({name: st.lists(AMOUNT, min_size=3, max_size=3).map(sorted) for name in LIMITS})


def scaled(amounts: Mapping[str, int]) -> dict[str, int]:
    return {name: amount * MIB if name in {"memory", "disk", "output"} else amount for name, amount in amounts.items()}


def amounts_of(limits: Limits) -> dict[str, float]:
    return {
        "cpu": limits.cpu_cores,
        "memory": limits.memory_bytes,
        "time": limits.wall_seconds,
        "pids": limits.pids,
        "disk": limits.disk_bytes,
        "output": limits.output_bytes,
    }


@given(spans=SPANS, asked=ASKED, raised=ASKED)
def test_nothing_granted_passes_max_or_the_ceilings(
    spans: dict[str, list[int]], asked: dict[str, int], raised: dict[str, int]
) -> None:
    default, most, ceiling = (scaled({name: span[side] for name, span in spans.items()}) for side in range(3))
    ranges = {name: {"default": default[name], "max": most[name]} for name in LIMITS}
    profile = policy_of({"ceilings": ceiling, "defaults": {"limits": ranges}}).resolve("default")

    wish = scaled(asked)
    granted = limits_for(profile, LimitsRequest.model_validate(wish))
    assert isinstance(granted, Limits) == all(amount <= most[name] for name, amount in wish.items())
    if not isinstance(granted, Limits):
        assert {one.field for one in granted} == {name for name, amount in wish.items() if amount > most[name]}
        return
    assert amounts_of(granted) == default | wish

    wish = scaled(raised)
    more = raised_limits(profile, LimitsRequest.model_validate(wish), current=granted)
    assert isinstance(more, Limits) == all(amount <= ceiling[name] for name, amount in wish.items())
    if isinstance(more, Limits):
        assert amounts_of(more) == amounts_of(granted) | wish
