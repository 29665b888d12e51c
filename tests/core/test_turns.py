"""Whose turn it is: fair between tenants, by priority within one, never more boxes or bytes than there are."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.turns import OVERTAKEN_SECONDS, Priority, Ticket, Turns

MIB = 1 << 20


def ticket(name: str, tenant: str = "a", priority: Priority = "normal", mib: int = 256, since: float = 0.0) -> Ticket:
    return Ticket(name, tenant, priority, mib * MIB, since)


def served(turns: Turns, memory_bytes: int | None = None, now: float = 0.0) -> list[str]:
    """Everybody who may run now, in order."""
    names = []
    while (one := turns.next(memory_bytes, now)) is not None:
        names.append(one.name)
    return names


def test_no_more_run_than_there_are_places() -> None:
    turns = Turns(2)
    for name in "xyz":
        turns.draw(ticket(name))
    assert served(turns) == ["x", "y"]
    turns.leave("x")
    assert served(turns) == ["z"]


def test_a_tenant_with_a_thousand_waiting_does_not_keep_another_from_its_turn() -> None:
    turns = Turns(4)
    for number in range(1000):
        turns.draw(ticket(f"many{number}", "many"))
    assert served(turns) == ["many0", "many1", "many2", "many3"]
    turns.draw(ticket("few0", "few"))
    turns.draw(ticket("few1", "few"))
    turns.leave("many0")
    turns.leave("many1")
    assert served(turns) == ["few0", "few1"]


def test_tenants_take_turns_where_there_is_one_place() -> None:
    turns, order = Turns(1), []
    for number in range(3):
        for tenant in ("a", "b", "c"):
            turns.draw(ticket(f"{tenant}{number}", tenant))
    for _ in range(9):
        (name,) = served(turns)
        order.append(name[0])
        turns.leave(name)
    assert [sorted(order[at : at + 3]) for at in (0, 3, 6)] == [["a", "b", "c"]] * 3


def test_priority_orders_a_tenants_own_programs_and_nobody_elses() -> None:
    turns = Turns(1)
    turns.draw(ticket("a-low", "a", "low"))
    turns.draw(ticket("a-normal", "a"))
    turns.draw(ticket("a-high", "a", "high"))
    turns.draw(ticket("b-low", "b", "low"))
    order = []
    for _ in range(4):
        (name,) = served(turns)
        order.append(name)
        turns.leave(name)
    assert order == ["a-high", "b-low", "a-normal", "a-low"]


def test_a_program_waits_until_there_is_memory_for_it() -> None:
    turns = Turns(8)
    for name in ("x", "y", "z"):
        turns.draw(ticket(name, mib=400))
    assert served(turns, 1000 * MIB) == ["x", "y"]
    turns.leave("x")
    assert served(turns, 1000 * MIB) == ["z"]


def test_a_program_larger_than_all_memory_runs_alone() -> None:
    turns = Turns(8)
    turns.draw(ticket("large", mib=4000))
    turns.draw(ticket("small", mib=1))
    assert served(turns, 1000 * MIB) == ["large"]
    turns.leave("large")
    assert served(turns, 1000 * MIB) == ["small"]


def test_smaller_programs_overtake_a_large_one_for_a_while_and_not_for_ever() -> None:
    turns = Turns(8)
    turns.draw(ticket("first", "a", mib=600))
    assert served(turns, 1000 * MIB) == ["first"]
    turns.draw(ticket("large", "b", mib=900))
    turns.draw(ticket("small", "c", mib=100))
    assert served(turns, 1000 * MIB, now=1.0) == ["small"]
    turns.leave("small")
    turns.draw(ticket("late", "c", mib=100))
    assert served(turns, 1000 * MIB, now=1.0 + OVERTAKEN_SECONDS) == []
    turns.leave("first")
    assert served(turns, 1000 * MIB, now=1.0 + OVERTAKEN_SECONDS) == ["large", "late"]


def test_who_stops_waiting_is_not_called() -> None:
    turns = Turns(1)
    turns.draw(ticket("gone"))
    turns.draw(ticket("there"))
    turns.leave("gone")
    assert served(turns) == ["there"]
    assert turns.waiting == 0


def test_the_age_is_that_of_the_one_who_waits_longest() -> None:
    turns = Turns(1)
    assert turns.oldest_seconds(50.0) == 0.0
    turns.draw(ticket("old", since=10.0))
    turns.draw(ticket("young", since=40.0))
    assert turns.oldest_seconds(50.0) == 40.0


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(("low", "normal", "high")), st.integers(1, 9))))
def test_everybody_is_served_once_and_never_beyond_places_or_bytes(drawn: list[tuple[str, Priority, int]]) -> None:
    turns = Turns(3)
    running: dict[str, Ticket] = {}
    done: list[str] = []
    for number, (tenant, priority, mib) in enumerate(drawn):
        turns.draw(ticket(str(number), tenant, priority, mib))
    while len(done) < len(drawn):
        while (one := turns.next(10 * MIB, now=1e9)) is not None:
            running[one.name] = one
            assert len(running) <= 3
            assert len(running) == 1 or sum(each.memory_bytes for each in running.values()) <= 10 * MIB
        name = next(iter(running))  # somebody always runs, so nobody waits for ever
        del running[name]
        turns.leave(name)
        done.append(name)
    assert sorted(done) == sorted(map(str, range(len(drawn))))
