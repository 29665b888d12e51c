"""Promise: nothing of the gateway or its host is visible in a box: environment, names, processes, hardware."""

from __future__ import annotations

import os
import socket

import pytest

from tests.engine_support import IN_BOTH, Lab, facts, make_job

pytestmark = pytest.mark.engine


@IN_BOTH
async def test_nothing_of_the_gateways_environment_is_visible(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "canary-9f31c2"
    monkeypatch.setenv("AIRLOCK_CANARY", canary)
    outcome = await lab.driver.run(
        make_job(
            """
import json, os, pathlib
def read(path):
    try:
        return pathlib.Path(path).read_bytes().decode("latin-1")
    except OSError:
        return ""
processes = [name for name in os.listdir("/proc") if name.isdigit()]
everything = "".join(read(f"/proc/{process}/{file}") for process in processes for file in ("environ", "cmdline"))
everything += read("/proc/self/environ") + read("/etc/hostname")
everything = everything.replace("\\0", "")
print(json.dumps({"environment": dict(os.environ), "everything": everything, "host": os.uname().nodename}))
""",
            env={"MINE": "1"},
        )
    )
    found = facts(outcome)
    assert found["environment"] == {
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "MINE": "1",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }
    assert isinstance(found["everything"], str)
    assert canary not in found["everything"]
    assert found["everything"] == "box\n"
    assert found["host"] == "box"
    assert socket.gethostname() not in outcome.stdout.text
    assert str(os.getpid()) not in found["everything"]


@IN_BOTH
async def test_only_the_boxs_own_processes_exist(lab: Lab) -> None:
    found = facts(
        await lab.run("""
import json, os
print(json.dumps({"processes": [int(name) for name in os.listdir("/proc") if name.isdigit()], "own": os.getpid()}))
""")
    )
    assert found["processes"] == [1, found["own"]]


@IN_BOTH
async def test_facts_about_the_host_are_masked(lab: Lab) -> None:
    found = facts(
        await lab.run("""
import json, os
files = ["cmdline", "config.gz", "modules", "kallsyms", "interrupts", "iomem", "ioports", "partitions", "diskstats",
         "keys", "key-users", "slabinfo", "vmallocinfo", "timer_list", "sysrq-trigger", "kcore", "sched_debug"]
shown = {}
for name in files:
    try:
        shown[name] = len(open("/proc/" + name, "rb").read(100))
    except OSError as error:
        shown[name] = 0
def entries(path):
    try:
        return os.listdir(path)
    except OSError:
        return []
folders = {path: entries(path) for path in ["/proc/acpi", "/proc/scsi", "/proc/asound", "/dev/mqueue", "/dev/pts"]}
folders |= {"/sys/" + name: entries("/sys/" + name) for name in os.listdir("/sys") if name != "fs"}
folders |= {"/sys/fs/" + name: entries("/sys/fs/" + name) for name in os.listdir("/sys/fs") if name != "cgroup"}
print(json.dumps({"shown": {k: v for k, v in shown.items() if v}, "folders": {k: v for k, v in folders.items() if v}}))
""")
    )
    assert found == {"shown": {}, "folders": {}}


@IN_BOTH
async def test_only_the_boxs_own_counters_are_in_the_cgroup_tree_and_none_can_be_written(lab: Lab) -> None:
    found = facts(
        await lab.run("""
import json, os
groups, written, folders = set(), [], []
for line in open("/proc/self/cgroup"):
    groups.add(line.strip().rsplit(":", 1)[1])
for folder, names, files in os.walk("/sys/fs/cgroup"):
    folders.append(folder)
    for file in files:
        try:
            os.close(os.open(os.path.join(folder, file), os.O_WRONLY))
            written.append(file)
        except OSError:
            pass
    try:
        os.mkdir(os.path.join(folder, "mine"))
        written.append(folder)
    except OSError:
        pass
deepest = max(folder.count("/") for folder in folders)
print(json.dumps({"groups": sorted(groups), "written": written, "deepest": deepest}))
""")
    )
    assert found["groups"] == ["/"]
    assert found["written"] == []
    assert found["deepest"] in {3, 4}  # v2: the tree itself; v1: one folder for each controller, and nothing below
