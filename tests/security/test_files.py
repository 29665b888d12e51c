"""Promise: a program writes nowhere but /tmp, and no more bytes come out of a box than are its own."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Final

import pytest

from sandbox.job import InputFile
from sandbox.outcome import Ending, Outcome
from tests.engine_support import IN_BOTH, Lab, facts, limited, make_job

pytestmark = [pytest.mark.engine, IN_BOTH]


def files(outcome: Outcome) -> dict[str, bytes]:
    assert outcome.ending is Ending.SUCCEEDED, outcome
    return {file.path: file.content for file in outcome.files}


def skipped(outcome: Outcome) -> dict[str, str]:
    return {file.path: file.reason for file in outcome.skipped_files}


async def test_nothing_but_tmp_and_shared_memory_can_be_written(lab: Lab) -> None:
    found = facts(
        await lab.run("""
import json, os
written, folders = [], ["/"]
while folders:
    folder = folders.pop()
    try:
        names = os.listdir(folder)
    except OSError:
        continue
    try:
        os.close(os.open(os.path.join(folder, "mine"), os.O_CREAT | os.O_WRONLY))
        written.append(folder)
    except OSError:
        pass
    folders += [path for name in names if not os.path.islink(path := os.path.join(folder, name))
                and os.path.isdir(path) and path not in ("/proc", "/sys")]
print(json.dumps({"written": sorted(written), "proc": os.access("/proc/sys/kernel/hostname", os.W_OK)}))
""")
    )
    assert found == {"written": ["/dev/shm", "/tmp"], "proc": False}


async def test_what_is_written_cannot_be_executed_or_gain_rights(lab: Lab) -> None:
    found = facts(
        await lab.run("""
import json, os, shutil, stat, subprocess
tried = {}
for folder in ("/tmp", "/dev/shm"):
    path = folder + "/true"
    shutil.copy("/bin/true", path)
    os.chmod(path, 0o4777)
    try:
        tried[folder] = subprocess.run([path]).returncode
    except OSError as error:
        tried[folder] = error.errno
print(json.dumps(tried))
""")
    )
    assert found == {"/tmp": 13, "/dev/shm": 13}


async def test_disk_inodes_and_file_size_are_walls(lab: Lab) -> None:
    found = facts(
        await lab.run("""
import json, os
tried = {}
def attempt(name, work):
    try:
        work()
        tried[name] = None
    except OSError as error:
        tried[name] = error.errno
def fill():
    with open("/tmp/a", "wb", buffering=0) as a, open("/tmp/b", "wb", buffering=0) as b:
        while a.write(bytes(1 << 20)) and b.write(bytes(1 << 20)): pass
def many():
    for number in range(20_000): open(f"/tmp/{number}", "w").close()
def sparse():
    with open("/tmp/sparse", "wb") as file: file.truncate(1 << 40)
attempt("sparse", sparse)
attempt("many", many)
for name in os.listdir("/tmp"): os.unlink("/tmp/" + name)
attempt("fill", fill)
print(json.dumps(tried))
""")
    )
    assert found == {"sparse": 27, "many": 28, "fill": 28}  # EFBIG, ENOSPC, ENOSPC


HOSTILE_TREE = """
import os, socket
os.makedirs("out/deep/er")
os.mkdir("locked")
open("out/plain.txt", "wb").write(b"\\x00plain\\xff")
open("out/deep/er/deep.txt", "w").write("deep")
open("out/not-asked.bin", "w").write("no")
os.symlink("/etc/passwd", "out/link.txt")
os.symlink("/etc", "out/folder.txt")
os.symlink("out", "turn")
os.symlink("plain.txt", "out/inside.txt")
os.mkfifo("out/fifo.txt")
server = socket.socket(socket.AF_UNIX)
server.bind("out/socket.txt")
os.link("out/plain.txt", "out/hard.txt")
open("out/line\\nbreak.txt", "w").write("odd")
open(b"out/\\xff.txt", "w").write("not text")
open("locked/hidden.txt", "w").write("hidden")
os.chmod("locked", 0)
open("out/unreadable.txt", "w").write("mine")
os.chmod("out/unreadable.txt", 0)
"""


async def test_only_regular_files_come_out_and_every_other_match_is_named(lab: Lab) -> None:
    outcome = await lab.run(HOSTILE_TREE, outputs=["**/*.txt"])
    assert files(outcome) == {
        "out/plain.txt": b"\x00plain\xff",
        "out/hard.txt": b"\x00plain\xff",
        "out/deep/er/deep.txt": b"deep",
        "out/line\nbreak.txt": b"odd",
    }
    assert skipped(outcome) == {
        "locked": "unreadable",
        "out/fifo.txt": "not_regular",
        "out/folder.txt": "not_regular",
        "out/inside.txt": "not_regular",
        "out/link.txt": "not_regular",
        "out/socket.txt": "not_regular",
        "out/unreadable.txt": "unreadable",
        "out/\\udcff.txt": "unreadable",
    }


PATTERNS: Final[list[tuple[list[str], set[str]]]] = [
    (["*.txt"], {"a.txt"}),
    (["/tmp/*.txt"], {"a.txt"}),
    (["./sub/?.txt"], {"sub/b.txt"}),
    (["sub/**"], {"sub/b.txt", "sub/sub/c.txt"}),
    (["**/c.*", "a.txt", "*.txt"], {"a.txt", "sub/sub/c.txt"}),
    (["/etc/passwd", "../etc/passwd", "/tmp/../etc/passwd", "..", "/", ""], set()),
    (["**/" * 12 + "**/nothing" + "?*" * 30], set()),
]


async def test_patterns_stay_below_the_working_directory(lab: Lab) -> None:
    code = "import os\nos.makedirs('sub/sub')\nfor p in ('a.txt', 'sub/b.txt', 'sub/sub/c.txt'): open(p, 'w').write(p)"
    outcomes = await asyncio.gather(*(lab.run(code, outputs=patterns) for patterns, _ in PATTERNS))
    for outcome, (patterns, names) in zip(outcomes, PATTERNS, strict=True):
        assert files(outcome) == {name: name.encode() for name in names}, patterns


async def test_collection_is_bounded_in_count_size_total_depth_and_time(lab: Lab) -> None:
    count = "for n in range(150): open(f'{n:03}', 'w').write('x')"
    size = "open('a-sparse', 'wb').truncate(1 << 24)\nopen('b', 'wb').write(b'x' * 100)"
    total = "for name in 'abc': open(name, 'wb').truncate(400_000)"
    deep = "import os\nfor n in range(200):\n    os.mkdir('d'); os.chdir('d'); open('f', 'w').write('x')"
    wide = "for n in range(9_900): open(f'{n:05}', 'w').close()"
    began = time.monotonic()
    by_count, by_size, by_total, by_depth, by_width = await asyncio.gather(
        lab.run(count, outputs=["*"]),
        lab.run(size, limited(disk_bytes=(16 << 20) + 50), outputs=["*"]),
        lab.run(total, limited(disk_bytes=1_000_000), outputs=["*"]),
        lab.run(deep, outputs=["**"]),
        lab.run(wide, outputs=["nothing-*", "09899"]),
    )
    assert len(by_count.files) == 100
    assert set(skipped(by_count).values()) == {"too_many"}
    assert len(by_count.skipped_files) == 50
    assert (list(files(by_size)), skipped(by_size)) == (["a-sparse"], {"b": "too_large"})
    assert (list(files(by_total)), skipped(by_total)) == (["a", "b"], {"c": "too_large"})
    assert len(by_depth.files) == 32
    assert list(skipped(by_depth).values()) == ["too_many"]
    assert list(files(by_width)) == ["09899"]
    assert time.monotonic() - began < 15


async def test_a_pattern_that_takes_for_ever_is_cut_off(lab: Lab) -> None:
    code = "import os\nfor _ in range(25):\n    os.mkdir('a'); os.chdir('a')\nopen('x', 'w').close()\nprint('ok')"
    outcome = await lab.run(code, outputs=["**/" * 20 + "y"])
    assert (outcome.ending, outcome.stdout.text) == (Ending.SUCCEEDED, "ok\n")
    assert outcome.evidence.detail == "the files could not all be collected in time"


async def test_files_are_collected_also_when_the_program_was_ended(lab: Lab) -> None:
    outcome = await lab.run(
        "import time\nopen('partial', 'w').write('so far')\ntime.sleep(100)", limited(wall_seconds=0.5), outputs=["*"]
    )
    assert outcome.ending is Ending.TIMED_OUT
    assert [(file.path, file.content) for file in outcome.files] == [("partial", b"so far")]


async def test_a_process_that_goes_on_swapping_files_is_gone_before_they_are_read(lab: Lab) -> None:
    outcome = await lab.run(
        """
import os, time
if os.fork() == 0:
    os.setsid()
    while True:
        for step in (lambda: os.symlink("/etc/passwd", "new"), lambda: os.replace("new", "target"),
                     lambda: open("new", "w").write("mine"), lambda: os.replace("new", "target")):
            try: step()
            except OSError: pass
time.sleep(0.2)
""",
        outputs=["**"],
    )
    assert all(file.content in {b"mine", b""} for file in outcome.files)


async def test_links_lead_the_collector_nowhere(lab: Lab) -> None:
    outcome = await lab.run(
        """
import os
for number, target in enumerate(("/", "/etc", "/proc/1", "/proc/self/root", "..", ".")):
    os.symlink(target, f"link{number}")
os.symlink("/proc/self/fd/0", "input")
refused = []
for source in ("/etc/passwd", "/bin/sh", "/proc/self/status", "/proc/1/cmdline"):
    try: os.link(source, "hard")
    except OSError: refused.append(source)
os.mkdir("real")
open("real/mine", "w").write("mine")
os.rename("real", "moved")
os.symlink("/etc", "real")
len(refused)
""",
        outputs=["link*/*", "link*/**/passwd", "link3/etc/*", "input", "real/*", "hard", "**/mine"],
    )
    assert files(outcome) == {"moved/mine": b"mine"}
    assert skipped(outcome) == {"input": "not_regular"}
    assert outcome.result is not None
    assert outcome.result.value == 4


async def test_a_file_that_is_linked_often_is_charged_each_time(lab: Lab) -> None:
    code = "import os\nopen('00', 'wb').write(bytes(1 << 20))\nfor n in range(1, 40): os.link('00', f'{n:02}')"
    outcome = await lab.run(code, outputs=["*"])
    assert len(files(outcome)) == 16  # MiB, as much as the disk has
    assert set(skipped(outcome).values()) == {"too_large"}


async def test_any_bytes_and_names_come_out_as_they_are(lab: Lab) -> None:
    outcome = await lab.run(
        """
import random
open("all", "wb").write(bytes(range(256)) * 4096)
open("random", "wb").write(random.Random(7).randbytes(1 << 20))
open("empty", "wb").close()
for name in ("\\x1b[31m", "a" * 255, "é\U0001f980", "-rf", "a\\\\b", "con\\r", " "): open(name, "w").write(name)
""",
        outputs=["*"],
    )
    found = files(outcome)
    assert found.pop("all") == bytes(range(256)) * 4096
    assert found.pop("random") == random.Random(7).randbytes(1 << 20)
    assert found.pop("empty") == b""
    assert found == {
        name: name.encode() for name in ("\x1b[31m", "a" * 255, "é\U0001f980", "-rf", "a\\b", "con\r", " ")
    }


async def test_a_hundred_thousand_files_and_a_bottomless_tree_hold_nothing_up(lab: Lab) -> None:
    many = "for n in range(100_000):\n    try: open(f'{n:06}', 'w').close()\n    except OSError: break\nn"
    deep = """
import os
for depth in range(100_000):
    try: os.mkdir("d")
    except OSError: break
    os.chdir("d")
depth
"""
    by_count, by_depth = await asyncio.gather(lab.run(many, outputs=["**"]), lab.run(deep, outputs=["**", "**/x"]))
    for outcome in (by_count, by_depth):
        assert outcome.result is not None
        assert isinstance(outcome.result.value, int)
        assert outcome.result.value < 10_000
        assert outcome.limits_reached == ("disk",)
        assert dict(outcome.timings)["collect"] < 3  # its limit, and a second
    assert len(by_count.files) == 100
    assert list(skipped(by_depth).values()) == ["too_many"]
    assert (await lab.run("print('next')")).stdout.text == "next\n"


async def test_an_input_file_goes_nowhere_but_below_tmp(lab: Lab) -> None:
    paths = ["../escape", "/etc/escape", "a/../../escape", "", "a//b", ".", "nul\0byte"]
    jobs = [make_job("print('ran')", files=[InputFile(path, b"x")]) for path in paths]
    for outcome in await asyncio.gather(*(lab.driver.run(job) for job in jobs)):
        assert outcome.ending is Ending.FAILED
        assert outcome.error is not None
        assert outcome.error.type == "ValueError"
        assert outcome.stdout.text == ""


async def test_input_files_that_do_not_fit_are_the_requests_fault(lab: Lab) -> None:
    large = InputFile("large", b"x" * (1 << 20))
    outcome = await lab.driver.run(make_job("print('ran')", limited(disk_bytes=1 << 19), files=[large]))
    assert outcome.ending is Ending.FAILED
    assert outcome.error is not None
    assert outcome.error.type == "OSError"
    clash = await lab.driver.run(make_job("1", files=[InputFile("a", b""), InputFile("a/b", b"")]))
    assert clash.error is not None
    assert clash.error.type in {"NotADirectoryError", "FileExistsError"}


async def test_nothing_is_left_for_the_next_box(lab: Lab) -> None:
    await lab.run("for folder in ('/tmp', '/dev/shm'): open(folder + '/secret', 'w').write('x')")
    found = facts(
        await lab.run("import json, os\nprint(json.dumps({'left': os.listdir('/tmp') + os.listdir('/dev/shm')}))")
    )
    assert found == {"left": []}
