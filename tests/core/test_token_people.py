"""A person is one person with any token: who sent a program with one does not rule on it with another."""

from __future__ import annotations

import pytest

from gateway.guards import Guards, Person
from gateway.policy_file import parse_policy
from gateway.rules import guards_of


def test_tokens_of_one_subject_are_one_person_and_keys_of_one_owner_too() -> None:
    guards = Guards(owners={"ann": "Ann", "desk": "Ann"})
    assert guards.same("agents.ada", "people.ada")
    assert not guards.same("agents.ada", "agents.bob")
    assert guards.same("agents.ada", "ada"), "in doubt they are"
    assert guards.same("ann", "desk.x"), "the policy says whose an entry's tokens are"
    assert not guards.same("agents.@0f", "people.@10")


@pytest.mark.parametrize("subject", ["kim@team.example", "6f9619ff-8b86", "@" + "0f" * 20])
def test_a_key_can_say_that_it_is_of_somebody_who_rules_with_tokens(subject: str) -> None:
    """Whatever an issuer calls people: by an address, a number, or what only a digest can stand for."""
    key = f"{{name: bot, sha256: {'0' * 64}, tenant: a, profile: default, roles: [agent], owner: '{subject}'}}"
    text = f"version: 1\nkeys: [{key}]\n"
    policy = parse_policy(text, file="policy.yaml")
    guards = guards_of(policy.resolve("default"), policy)
    assert guards.same("bot", f"people.{subject}")
    assert not guards.same("bot", "people.lee@team.example")


def test_a_review_may_ask_the_people_of_an_entry_but_no_subject_names_itself() -> None:
    guards = Guards(reviewers=frozenset({"people"}))
    assert guards.asks(Person("people.ada"), 0)
    assert not guards.asks(Person("others.people"), 0)
    assert not guards.asks(Person("others.ada", roles=frozenset({"reviewer"})), 0)
