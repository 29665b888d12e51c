"""A person is one person with any token: who sent a program with one does not rule on it with another."""

from __future__ import annotations

from gateway.guards import Guards, Person


def test_tokens_of_one_subject_are_one_person_and_keys_of_one_owner_too() -> None:
    guards = Guards(owners={"ann": "Ann", "desk": "Ann"})
    assert guards.same("agents.ada", "people.ada")
    assert not guards.same("agents.ada", "agents.bob")
    assert guards.same("agents.ada", "ada"), "in doubt they are"
    assert guards.same("ann", "desk.x"), "the policy says whose an entry's tokens are"
    assert not guards.same("agents.@0f", "people.@10")


def test_a_review_may_ask_the_people_of_an_entry_but_no_subject_names_itself() -> None:
    guards = Guards(reviewers=frozenset({"people"}))
    assert guards.asks(Person("people.ada"), 0)
    assert not guards.asks(Person("others.people"), 0)
    assert not guards.asks(Person("others.ada", roles=frozenset({"reviewer"})), 0)
