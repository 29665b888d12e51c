"""What `airlock policy diff` says of two policies."""

from __future__ import annotations

import itertools

import pytest
from pydantic import BaseModel

from gateway.directions import DIRECTIONS, Way
from gateway.policy import Policy, PolicyDocument
from gateway.policy_diff import Change, differences
from gateway.policy_file import parse_policy
from gateway.policy_keys import Key
from gateway.policy_shape import ProfileBody

KEY = "{{name: {name}, sha256: {digest}, tenant: {tenant}, profile: {profile}, roles: [{roles}]}}"


def key(name: str, tenant: str = "t", profile: str = "default", roles: str = "agent", digest: str = "") -> str:
    return KEY.format(
        name=name, tenant=tenant, profile=profile, roles=roles, digest=digest or name.encode().hex().rjust(64, "a")
    )


def policy(defaults: str = "", *keys: str, more: str = "") -> Policy:
    return parse_policy(f"version: 1\n{more}defaults: {{{defaults}}}\nkeys: [{', '.join(keys)}]\n", file="policy.yaml")


def one(old: Policy, new: Policy) -> Change:
    (change,) = differences(old, new)
    return change


def leaves(model: type[BaseModel], above: str) -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        inside = isinstance(kind, type) and issubclass(kind, BaseModel)
        found += leaves(kind, f"{above}{name}.") if inside else [f"{above}{name}"]  # type: ignore[arg-type]  # asked above
    return found


def test_every_key_that_binds_somebody_says_which_way_is_wider() -> None:
    shapes = {f"{name}.": PolicyDocument.model_fields[name].annotation for name in ("engine", "ceilings")}
    there = {path for above, shape in shapes.items() for path in leaves(shape, above)}  # type: ignore[arg-type]  # models
    there |= set(leaves(ProfileBody, ""))
    there |= {f"keys[].{name}" for name in Key.model_fields if name != "name"}
    missing, gone = there - set(DIRECTIONS), set(DIRECTIONS) - there
    assert not missing, (
        f"add {sorted(missing)} to DIRECTIONS in gateway/directions.py: Rule.MORE where a greater number lets more be"
        " done, Rule.LESS where a smaller one does, Rule.ITEMS for lists, a tuple of the values from the narrowest to"
        " the widest, or Rule.OTHER where neither can be said"
    )
    assert not gone, f"take {sorted(gone)} out of DIRECTIONS in gateway/directions.py: there are no such keys"


def test_every_value_of_a_key_with_an_order_is_in_it() -> None:
    """The order names values as a file has them: a misspelt one would never be found."""
    for name, order in DIRECTIONS.items():
        if isinstance(order, tuple):
            section, leaf = name.split(".")
            for old, new in itertools.permutations(order, 2):
                before, after = (policy(f"{section}: {{{leaf}: {value}}}") for value in (old, new))
                wider = order.index(new) > order.index(old)
                assert one(before, after).way is (Way.WIDER if wider else Way.NARROWER), name


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("limits: {time: {max: 10m}}", "limits: {time: {max: 20m}}", Way.WIDER),
        ("limits: {time: {max: 20m}}", "limits: {time: {max: 10m}}", Way.NARROWER),
        ("costs: {policy_denied: 2}", "costs: {policy_denied: 1}", Way.WIDER),
        ("budget: {anonymous_window: 1h}", "budget: {anonymous_window: 2h}", Way.NARROWER),
        ("checks: {imports: {}}", "checks: {imports: {allow: [json]}}", Way.NARROWER),
        ("checks: {imports: {allow: [json]}}", "checks: {imports: {allow: [json, os]}}", Way.WIDER),
        ("checks: {imports: {allow: [os.path]}}", "checks: {imports: {allow: [os]}}", Way.WIDER),
        ("checks: {imports: {allow: [os]}}", "checks: {imports: {allow: [osx]}}", Way.DIFFERENT),
        ("checks: {imports: {deny: [os.path]}}", "checks: {imports: {deny: [os]}}", Way.NARROWER),
        ("checks: {imports: {deny: [os, re]}}", "checks: {imports: {deny: [os]}}", Way.WIDER),
        ("checks: {imports: {deny: [os]}}", "checks: {imports: {deny: [re]}}", Way.DIFFERENT),
        ("isolation: {packages: [numpy]}", "isolation: {packages: [numpy, pandas]}", Way.WIDER),
        ("isolation: {image: a}", "isolation: {image: b}", Way.DIFFERENT),
        ("isolation: {runtime: runc}", "isolation: {}", Way.DIFFERENT),
        ("quotas: {executions: 10}", "quotas: {}", Way.WIDER),
        ("quotas: {}", "quotas: {cpu: 1h}", Way.NARROWER),
        ("quotas: {cpu: 1h}", "quotas: {cpu: 2h}", Way.WIDER),
        ("review: {}", "review: {remember: 1d}", Way.WIDER),
        ("review: {remember: 1d}", "review: {}", Way.NARROWER),
        ("review: {when: [always]}", "review: {when: []}", Way.WIDER),
        ("review: {when: [always]}", "review: {when: [above_default, low_confidence]}", Way.WIDER),
        ("review: {when: []}", "review: {when: [low_confidence]}", Way.NARROWER),
        ("review: {when: [stuck]}", "review: {when: []}", Way.WIDER),
        ("review: {when: []}", "review: {when: [budget_exhausted]}", Way.WIDER),
        ("review: {when: [always]}", "review: {when: [always, low_confidence]}", Way.DIFFERENT),
        ("review: {when: [always]}", "review: {when: [stuck]}", Way.DIFFERENT),
        ("review: {reviewers: [ann]}", "review: {reviewers: []}", Way.WIDER),
        ("review: {reviewers: [ann]}", "review: {reviewers: [ann, bob]}", Way.WIDER),
        ("review: {reviewers: []}", "review: {reviewers: [ann]}", Way.NARROWER),
        ("review: {reviewers: [ann]}", "review: {reviewers: [bob]}", Way.DIFFERENT),
        ("review: {four_eyes: [raise_limits]}", "review: {}", Way.WIDER),
        ("review: {}", "review: {four_eyes: [approve_edited]}", Way.NARROWER),
        ("review: {}", "review: {escalate: [{after: 1h, to: [ann]}]}", Way.WIDER),
        ("review: {escalate: [{after: 1h, to: [ann]}]}", "review: {escalate: [{after: 2h, to: [ann]}]}", Way.NARROWER),
        ("review: {escalate: [{after: 1h, to: [ann]}]}", "review: {escalate: [{after: 1h, to: [bob]}]}", Way.DIFFERENT),
    ],
)
def test_a_change_is_wider_narrower_or_only_different(old: str, new: str, expected: Way) -> None:
    assert one(policy(old), policy(new)).way is expected


HOOK = "webhooks: [{name: w, url: 'https://h/', secret_env: W}]\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("review: {notify: [w]}", "review: {}"),
        ("review: {escalate: [{after: 1h, to: [ann], notify: [w]}]}", "review: {escalate: [{after: 1h, to: [ann]}]}"),
    ],
)
def test_who_is_told_is_said_although_it_decides_nothing(old: str, new: str) -> None:
    change = one(policy(old, more=HOOK), policy(new, more=HOOK))
    assert change.key in {"review.notify", "review.escalate"}
    assert change.way is Way.DIFFERENT


def test_a_file_without_any_key_opens_the_gateway_to_the_machine_and_is_said_to() -> None:
    with_keys, without = policy("", key("ada")), policy("")
    assert [(change.key, change.way) for change in differences(with_keys, without)] == [
        ("keys", Way.WIDER),
        ("keys.ada", Way.NARROWER),
    ]
    assert differences(without, with_keys)[0].way is Way.NARROWER


def test_tokens_that_need_fewer_claims_are_more_tokens() -> None:
    people = "{{name: p, tenant: t, profile: default, roles: [agent], jwt: {{issuer: i, audience: {to}, keys_file: /k, claims: {claims}}}}}"
    strict, loose, other = (
        policy("", people.format(to=to, claims=claims)) for to, claims in (("a", "{x: y}"), ("a", "{}"), ("b", "{}"))
    )
    assert one(strict, loose).way is Way.WIDER
    assert one(loose, strict).way is Way.NARROWER
    assert one(strict, other).way is Way.DIFFERENT


def test_profiles_that_come_and_go_are_said() -> None:
    old, new = policy(more="profiles: {a: {}}\n"), policy(more="profiles: {b: {}}\n")
    assert [(change.key, change.new) for change in differences(old, new)] == [
        ("profiles.a", "gone"),
        ("profiles.b", "there"),
    ]


def test_nothing_is_said_of_files_that_bind_alike() -> None:
    said = policy("limits: {time: {default: 60s}}")
    otherwise = parse_policy("version: 1\nprofiles: {default: {limits: {time: {default: 1m}}}}\n", file="policy.yaml")
    assert differences(said, otherwise) == ()


def test_a_change_names_those_whom_it_binds() -> None:
    more = "profiles:\n  wide: {{limits: {{time: {{max: {most}}}}}}}\n  unused: {{limits: {{time: {{max: {most}}}}}}}\n"
    keys = key("ada", "acme", "wide"), key("bob", "acme"), key("cy", "other", "wide")
    old, new = (policy("", *keys, more=more.format(most=most)) for most in ("6m", "7m"))
    assert differences(old, new) == (
        Change("limits.time.max", "6m", "7m", Way.WIDER, ("ada of acme", "cy of other", "profile unused")),
    )


def test_what_another_profile_means_for_a_key_is_told_key_by_key() -> None:
    more = "profiles: {strict: {limits: {time: {max: 1m}}}}\n"
    old, new = policy("", key("ada"), more=more), policy("", key("ada", profile="strict"), more=more)
    assert differences(old, new) == (
        Change("keys.ada.profile", "default", "strict", Way.DIFFERENT, ("ada of t",)),
        Change("limits.time.max", "5m", "1m", Way.NARROWER, ("ada of t",)),
    )


def test_keys_that_come_go_or_change_hands_are_told_without_their_digests() -> None:
    old = policy("", key("ada"), key("bob"), key("olga", roles="operator"))
    new = policy("", key("ada", digest="b" * 64), key("eve"), key("olga", roles="operator, reviewer"))
    told = differences(old, new)
    assert [(change.key, change.way) for change in told] == [
        ("keys.ada.sha256", Way.DIFFERENT),
        ("keys.bob", Way.NARROWER),
        ("keys.olga.roles", Way.WIDER),
        ("keys.eve", Way.WIDER),
    ]
    assert not any("a" * 20 in word or "b" * 20 in word for change in told for word in (change.old, change.new))


def test_what_binds_everybody_names_nobody() -> None:
    change = one(policy(more="ceilings: {time: 40m}\n"), policy(more="ceilings: {time: 50m}\n"))
    assert change == Change("ceilings.time", "40m", "50m", Way.WIDER)


def test_a_log_in_at_an_identity_provider_is_a_way_in_and_of_its_secret_nothing_is_told() -> None:
    people = "{name: p, tenant: t, profile: default, roles: [reviewer], jwt: {issuer: 'https://i', audience: a, keys_file: /k}}"
    without = policy("", people)
    old, new = (
        policy(
            "", people, more=f"console: {{oidc: {{issuer: 'https://i', client_id: a, client_secret_env: {name}}}}}\n"
        )
        for name in ("SECRET_1", "SECRET_2")
    )
    assert one(without, old) == Change("console.oidc", "not there", "there", Way.WIDER)
    assert one(old, without).way is Way.NARROWER
    assert one(old, new) == Change("console.oidc.client_secret_env", "one", "another", Way.DIFFERENT)


def test_of_webhooks_only_that_they_changed_is_told() -> None:
    hook = "webhooks: [{{name: w, url: '{url}', secret_env: W}}]\n"
    change = one(policy(more=hook.format(url="https://h/secret-1")), policy(more=hook.format(url="https://h/secret-2")))
    assert (change.key, change.way) == ("webhooks.w.url", Way.DIFFERENT)
    assert "secret" not in change.old + change.new
