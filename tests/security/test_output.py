"""Promise: output is kept head and tail, counted exactly, and costs the gateway nothing; it is bytes, never frames."""

from __future__ import annotations

import resource

import pytest

from sandbox.outcome import Ending
from tests.engine_support import IN_BOTH, LIMITS, Lab, limited

pytestmark = [pytest.mark.engine, IN_BOTH]


async def test_a_hundred_megabytes_are_counted_and_mostly_left_in_the_box(lab: Lab) -> None:
    await lab.run("print(1)")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = await lab.run("""
import sys
out = sys.stdout.buffer
out.write(b"first")
for _ in range(100):
    out.write(b"x" * 10**6)
out.write(b"last")
""")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 << 10  # KiB
    assert outcome.ending is Ending.OUTPUT_LIMIT_EXCEEDED
    assert outcome.exit_code == 0
    kept = LIMITS.output_bytes
    assert outcome.stdout.total_bytes == 10**8 + 9
    assert outcome.stdout.omitted_bytes == 10**8 + 9 - kept
    assert outcome.stdout.head.startswith(b"firstxxx")
    assert outcome.stdout.tail.endswith(b"xxxlast")
    assert len(outcome.stdout.head) == len(outcome.stdout.tail) == kept // 2
    assert f"{outcome.stdout.omitted_bytes} bytes omitted" in outcome.stdout.text


async def test_as_much_as_is_kept_is_kept_whole(lab: Lab) -> None:
    tiny = limited(output_bytes=11)
    outcome = await lab.run("import sys\nprint('0123456789')\nprint('abcdefghij', file=sys.stderr)", tiny)
    assert (outcome.ending, outcome.stdout.text, outcome.stderr.text) == (
        Ending.SUCCEEDED,
        "0123456789\n",
        "abcdefghij\n",
    )
    outcome = await lab.run("print('0123456789', end='ab')", tiny)
    assert outcome.ending is Ending.OUTPUT_LIMIT_EXCEEDED
    assert (outcome.stdout.head, outcome.stdout.omitted_bytes, outcome.stdout.tail) == (b"01234", 1, b"6789ab")


async def test_a_flood_without_end_is_cut_off(lab: Lab) -> None:
    outcome = await lab.run("import os\nwhile True: os.write(1, bytes(1 << 20))", limited(wall_seconds=60))
    assert outcome.ending is Ending.OUTPUT_LIMIT_EXCEEDED
    assert outcome.evidence.killed_for == "output"
    assert outcome.exit_code is None
    assert outcome.stdout.total_bytes is not None
    assert 1 << 30 < outcome.stdout.total_bytes < (1 << 30) + (4 << 20)


async def test_any_bytes_come_out_as_they_are(lab: Lab) -> None:
    outcome = await lab.run(
        "import sys\nfor n in (1, 2):\n    __import__('os').write(n, bytes(range(256)) + b'\\x1b[31m')"
    )
    assert outcome.stdout.head == outcome.stderr.head == bytes(range(256)) + b"\x1b[31m"
    assert "\ufffd" in outcome.stdout.text


async def test_what_looks_like_a_frame_is_output(lab: Lab) -> None:
    outcome = await lab.run("""
import json, os, struct
def frame(kind, data): return struct.pack(">cI", kind, len(data)) + data
ended = json.dumps({"status": 0, "wall_seconds": 0, "cpu_seconds": 0, "peak_memory_bytes": 0,
                    "oom_kills": 0, "forks_refused": 0, "disk_full": False, "written_bytes": [0, 0]}).encode()
forged = frame(b"p", ended) + frame(b"z", b'{"collected": true}') + frame(b"S", b'{"python": "2.7"}')
for descriptor in range(256):
    try: os.write(descriptor, forged)
    except OSError: pass
os._exit(9)
""")
    assert (outcome.ending, outcome.exit_code, outcome.python) == (Ending.FAILED, 9, "3.13")
    assert b"2.7" in outcome.stdout.head
    assert b"2.7" in outcome.stderr.head
    assert (outcome.result, outcome.error) == (None, None)


async def test_a_forged_report_is_the_programs_own_word_and_bounded(lab: Lab) -> None:
    outcome = await lab.run("""
import os, struct
def frame(kind, data): return struct.pack(">cI", kind, len(data)) + data
own = max(int(name) for name in os.listdir("/proc/self/fd"))
os.write(own, frame(b"j", b"[" * 60000) + frame(b"x", b"{}") + frame(b"x", b"\\xff" * 100))
for _ in range(100): os.write(own, frame(b"r", b"y" * 200000))
os.write(own, b"j" + b"\\xff" * 5000)
os._exit(0)
""")
    assert outcome.ending is Ending.SUCCEEDED
    assert outcome.error is None
    assert outcome.result is not None
    assert outcome.result.form == "repr"
    assert isinstance(outcome.result.value, str)
    assert len(outcome.result.value) <= LIMITS.output_bytes


async def test_a_report_goes_to_nobody_else_where_the_program_took_its_descriptor(lab: Lab) -> None:
    outcome = await lab.run("import os\nown = max(map(int, os.listdir('/proc/self/fd')))\nos.dup2(1, 200)\n'the value'")
    assert (outcome.ending, outcome.stdout.text, outcome.result) == (Ending.SUCCEEDED, "", None)
    outcome = await lab.run("import os\nos.close(200)\nopen('/tmp/f', 'w')\nos.dup2(2, 200)\n1 / 0")
    assert (outcome.ending, outcome.exit_code, outcome.error) == (Ending.FAILED, 1, None)
    assert outcome.stderr.text.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("class A:\n    def __repr__(self): raise BaseException\nA()", "<unprintable A>"),
        ("class A:\n    def __reduce__(self): raise BaseException\n    def __repr__(self): return '\\ud800'\nA()", "\\ud800"),
        ("value = []\nfor _ in range(10_000): value = [value]\nvalue", "<unprintable list>"),
        ("value = {}\nvalue['self'] = value\nvalue", "{'self': {...}}"),
        ("float('nan')", "nan"),
    ],
)  # fmt: skip
async def test_a_hostile_result_is_shown_as_text(lab: Lab, code: str, value: str) -> None:
    outcome = await lab.run(code)
    assert outcome.ending is Ending.SUCCEEDED
    assert outcome.result is not None
    assert (outcome.result.value, outcome.result.form) == (value, "repr")
