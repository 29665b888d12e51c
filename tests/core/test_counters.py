"""The kernel's counters as the guest reads them: cgroup v1 and v2, and nothing where there is nothing."""

from __future__ import annotations

import pytest

from sandbox.guest_counters import counter, number_in

V1_OOM_CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"
V2_EVENTS = "low 0\nhigh 0\nmax 112\noom 4\noom_kill 2\noom_group_kill 0\n"


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        (V1_OOM_CONTROL, "oom_kill", 3),
        (V2_EVENTS, "oom_kill", 2),
        ("134217728\n", "", 134217728),
        ("oom_kill_disable 0\n", "oom_kill", None),  # a kernel before the counter
        ("max\n", "", None),
        ("", "", None),
    ],
)
def test_a_counter_is_its_number_or_none_never_zero_for_unknown(text: str, key: str, value: int | None) -> None:
    assert number_in(text.encode(), key.encode()) == value
    assert counter("none that this kernel has") is None
