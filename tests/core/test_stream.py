"""Promise: whatever a program writes, and wherever a listener comes back, it is told exactly what the answer shows."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.events import Status
from gateway.lifecycle import Attempt
from gateway.stream import BEGINNING, Position, Teller, position_of
from gateway.wire_answers import AttemptInfo, Budget, ExecutionView, Left, LimitsInfo, TaskInfo
from sandbox.job import Lane, Limits
from sandbox.live import Live
from sandbox.outcome import Ending, Output
from tests.event_stream import Told, texts, told

LIMITS = Limits(cpu_cores=1, memory_bytes=1, wall_seconds=1, pids=1, disk_bytes=1, output_bytes=1)
LEFT = Left(left=1, limit=1)
TASK = TaskInfo.model_validate(
    {
        "id": "task",
        "state": "open",
        "turn": "agent",
        "budget": Budget(failures_in_a_row=LEFT, failures_total=LEFT, same_failure=LEFT, grants=LEFT),
    }
)
HOSTILE = (
    b"\n\ndata: x\n\n",
    b"\r\revent: finished\r\r",
    b"id: 9.3.0.0\n",
    b"\0",
    b"\xff\xfe",
    "é\u2028€😀".encode(),
    b"a" * 40_000,
)
WRITES = st.lists(
    st.tuples(st.sampled_from(["stdout", "stderr"]), st.one_of(st.binary(max_size=12), st.sampled_from(HOSTILE))),
    max_size=12,
)


def view(stdout: str, stderr: str = "", *, attempts: int = 1, status: Status = Status.SUCCEEDED) -> ExecutionView:
    tries = [
        AttemptInfo(
            number=number,
            lane=Lane.CONTAINER,
            ending=Ending.SUCCEEDED if number == attempts else Ending.LOST,
            limits=LimitsInfo(cpu_cores=1, memory_bytes=1, wall_seconds=1, pids=1, disk_bytes=1, output_bytes=1),
        )
        for number in range(1, attempts + 1)
    ]
    return ExecutionView(
        id="exe_1",
        status=status,
        stdout=stdout,
        stderr=stderr,
        result=[1],
        attempts=tries,
        submitted_at=datetime(2025, 11, 21, tzinfo=UTC),
        policy="0" * 64,
        task=TASK,
        next_actions=["continue"],
    )


def end(teller: Teller, answer: ExecutionView) -> list[Told]:
    pieces = [*teller.answered(answer, json.dumps(answer.result)), teller.finished(answer, TASK)]
    return list(told(pieces))


@settings(deadline=None)  # a busy machine's time says nothing
@given(WRITES, st.binary(max_size=8), st.sampled_from([0, 7]), st.data())
def test_wherever_a_listener_comes_back_it_hears_exactly_the_rest(
    writes: list[tuple[str, bytes]], tail: bytes, gap_bytes: int, data: st.DataObject
) -> None:
    live, heads, heard = Live(1, lambda: None), {"stdout": bytearray(), "stderr": bytearray()}, [Told("")]
    live.follow(heads)  # type: ignore[arg-type]
    teller, attempts = Teller(BEGINNING), [Attempt(1, Lane.CONTAINER, LIMITS)]
    heard += told(teller.queued())
    for stream, written in writes:
        heads[stream] += written
        events = list(told(teller.live(attempts, live)))
        if data.draw(st.booleans()):  # it left after some of them, and comes back with the last that it heard
            heard += events[: data.draw(st.integers(0, len(events)))]
            teller = Teller(position_of(heard[-1].id) or BEGINNING)
        else:
            heard += events
    output = Output(bytes(heads["stdout"]), tail, gap_bytes)
    answer = view(output.text, bytes(heads["stderr"]).decode("utf-8", "replace"))
    heard += end(teller, answer)
    assert texts(heard) == (answer.stdout, answer.stderr)
    names = [event.name for event in heard[1:] if event.name not in {"stdout", "stderr"}]
    assert names == ["queued", "started", "result", "finished"]
    positions = [position_of(event.id) for event in heard[1:]]
    assert all(position is not None for position in positions)
    assert positions == sorted(positions), "ids only grow"  # type: ignore[type-var]
    assert len(set(positions)) == len(positions)
    for event in heard[1:-1]:  # and after the end, from the record alone
        after = position_of(event.id)
        assert after is not None
        rest = end(Teller(after), answer)
        before = heard[1 : heard.index(event) + 1]
        assert texts([*before, *rest]) == (answer.stdout, answer.stderr)


def test_another_attempt_begins_anew() -> None:
    first, second = Live(1, lambda: None), Live(2, lambda: None)
    first.follow({"stdout": bytearray(b"one"), "stderr": bytearray()})
    second.follow({"stdout": bytearray(b"one and a half"), "stderr": bytearray()})
    attempts = [Attempt(1, Lane.CONTAINER, LIMITS, Ending.LOST), Attempt(2, Lane.CONTAINER, LIMITS)]
    teller = Teller(BEGINNING)
    heard = [*told(teller.queued()), *told(teller.live(attempts[:1], first)), *told(teller.live(attempts, second))]
    assert [(event.name, event.data.get("attempt"), event.text) for event in heard] == [
        ("queued", None, ""),
        ("started", 1, ""),
        ("stdout", 1, "one"),
        ("started", 2, ""),
        ("stdout", 2, "one and a half"),
    ]
    back = end(Teller(position_of("1.1.3.0") or BEGINNING), view("one and a half", attempts=2))
    assert [event.name for event in back] == ["started", "stdout", "result", "finished"]
    assert texts(back)[0] == "one and a half"


def test_an_answer_from_the_record_had_no_attempt_whoevers_record_it_was() -> None:
    told_ = end(Teller(BEGINNING), view("known").model_copy(update={"source": "record"}))
    assert [event.name for event in told_] == ["queued", "stdout", "result", "finished"]
    assert told_[-1].data["attempt"] == 0


def test_what_a_cancelled_program_had_written_is_not_taken_back_twice() -> None:
    rest = end(Teller(Position(1, 1, 500, 20)), view("", status=Status.CANCELLED))
    assert [(event.name, event.id) for event in rest] == [("result", "1.2.500.20"), ("finished", "1.3.500.20")]


@pytest.mark.parametrize("made_up", ["9.1.0.0", "0.2.7.7", "1.1.999999.999999", "9.2.1.1"])
def test_an_id_that_was_never_given_still_leads_to_the_end(made_up: str) -> None:
    position = position_of(made_up)
    assert position is not None
    assert [event.name for event in end(Teller(position), view("x"))][-2:] == ["result", "finished"]


@pytest.mark.parametrize(
    "text", ["", "1", "1.1.1", "1.4.0.0", "-1.0.0.0", "1.1.1.1\n", "\u0661.1.1.1", "1" * 10 + ".1.1.1"]
)
def test_what_is_no_id_is_told_from_one(text: str) -> None:
    assert position_of(text) is None


def test_a_large_result_is_for_fetching() -> None:
    large = view("").model_copy(update={"result": "x" * 70_000, "result_form": "json"})
    [result] = [event for event in end(Teller(BEGINNING), large) if event.name == "result"]
    assert result.data == {"attempt": 1, "result": None, "result_form": "json", "omitted": True}


def test_a_character_across_the_two_kept_parts_of_an_output_without_a_gap_stays_whole() -> None:
    euro = "€".encode()
    assert Output(b"12" + euro[:1], euro[1:] + b" left").text == "12€ left"
