"""Promise: a place in a trace is read as W3C Trace Context has it, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tracing import LONGEST_STATE, TraceContext, context_in

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


def read(parent: str, *states: str) -> TraceContext | None:
    headers = [(b"traceparent", parent.encode()), *((b"tracestate", state.encode()) for state in states)]
    return context_in(headers)


def test_a_place_is_kept_as_it_came() -> None:
    found = read(GOOD, "rojo=1", "congo=t61, a@b=2")
    assert found == TraceContext(GOOD, "rojo=1,congo=t61,a@b=2")
    assert found is not None
    assert (found.trace_id, found.span_id, found.flags) == (TRACE, SPAN, 1)
    assert found.headers() == {"traceparent": GOOD, "tracestate": "rojo=1,congo=t61,a@b=2"}


def test_a_later_version_is_read_as_far_as_this_one_goes() -> None:
    assert read(f"cc-{TRACE}-{SPAN}-01-what-comes-later") == TraceContext(GOOD)


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "nonsense",
        GOOD.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"{GOOD}-more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"{GOOD}\n",
    ],
)
def test_what_is_no_place_begins_no_trace(parent: str) -> None:
    assert read(parent.rstrip("\n") + ("x" if parent.endswith("\n") else "")) is None


def test_two_places_are_none() -> None:
    assert context_in([(b"traceparent", GOOD.encode())] * 2) is None


@pytest.mark.parametrize(
    "state", ["=1", "a", "a=1,a=2", "a=\x01", "A=1", ",".join(f"k{n}=1" for n in range(33)), f"a={'x' * LONGEST_STATE}"]
)
def test_a_state_that_is_not_in_order_is_dropped_alone(state: str) -> None:
    assert read(GOOD, state) == TraceContext(GOOD)


@given(st.binary(max_size=80), st.binary(max_size=600))
def test_whatever_a_caller_sends_fits_its_columns(parent: bytes, state: bytes) -> None:
    for first in (parent, GOOD.encode()):
        found = context_in([(b"traceparent", first), (b"tracestate", state)])
        if found is not None:
            assert len(found.parent) == 55
            assert len(found.state) <= LONGEST_STATE
            assert found.state.isascii()
