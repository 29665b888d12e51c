"""Promise: the whole state of a box, as seen from inside and by the engine, is this and nothing else.

A new mount, descriptor, capability, group, device or variable fails here before anybody wonders
what it is for. Where cgroups or engines differ, both forms are spelled out.
"""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from sandbox.profile import INSTANCE_LABEL
from tests.engine_support import LIMITS, Lab, eventually, facts, limited

pytestmark = pytest.mark.engine

PROBE: Final = """
import json, os, resource
def fields(path, names):
    found = dict(line.split(":", 1) for line in open(path) if ":" in line)
    return {name: found[name].split() for name in names if name in found}
mounts = {}
for line in open("/proc/self/mountinfo"):
    left, right = line.split(" - ")
    options = set(left.split()[5].split(",")) - {"relatime"}
    mounts[left.split()[4]] = [right.split()[0], *sorted(options)]
limits = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")}
print(json.dumps({
    "status": fields("/proc/self/status", ["Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp", "CapInh", "CapPrm", "CapEff",
                                           "CapBnd", "CapAmb"]),
    "mounts": mounts,
    "devices": sorted(set(os.listdir("/dev")) - {"core"}),  # which some engines link to the masked /proc/kcore
    "shm": sorted(os.listdir("/dev/shm")),
    "tmp": sorted(os.listdir("/tmp")),
    "sys": sorted(os.listdir("/sys/fs/cgroup")) and sorted(name for name in os.listdir("/sys") if os.listdir("/sys/" + name)),
    "limits": {name: limits[name] for name in ("RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_FSIZE", "RLIMIT_MSGQUEUE",
                                               "RLIMIT_MEMLOCK", "RLIMIT_STACK", "RLIMIT_RTPRIO")},
    "session": [os.getsid(0) == os.getpid(), os.getppid()],
    "score": open("/proc/self/oom_score_adj").read().strip(),
    "umask": os.umask(0o22),
}))
"""

NO_CAPABILITY: Final = ["0000000000000000"]
USER: Final = ["65532"] * 4
TEMPORARY: Final = ["tmpfs", "nodev", "noexec", "nosuid", "rw"]
SYSTEM: Final = ["nodev", "noexec", "nosuid"]


async def test_a_box_seen_from_inside(lab: Lab) -> None:
    found = facts(await lab.run(PROBE))
    mounts = found.pop("mounts")
    assert isinstance(mounts, dict)
    assert found == {
        "status": {
            "Uid": USER,
            "Gid": USER,
            "Groups": ["65532"],
            "NoNewPrivs": ["1"],
            "Seccomp": ["2"],
            "CapInh": NO_CAPABILITY,
            "CapPrm": NO_CAPABILITY,
            "CapEff": NO_CAPABILITY,
            "CapBnd": NO_CAPABILITY,
            "CapAmb": NO_CAPABILITY,
        },
        "devices": "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero".split(),  # noqa: SIM905 - a list to read
        "shm": [],
        "tmp": [],
        "sys": ["fs"],
        "limits": {
            "RLIMIT_NOFILE": [256, 256],
            "RLIMIT_CORE": [0, 0],
            "RLIMIT_FSIZE": [LIMITS.disk_bytes, LIMITS.disk_bytes],
            "RLIMIT_MSGQUEUE": [0, 0],
            "RLIMIT_MEMLOCK": [0, 0],
            "RLIMIT_STACK": [8 << 20, 8 << 20],
            "RLIMIT_RTPRIO": [0, 0],
        },
        "session": [True, 1],
        "score": "1000",
        "umask": 0o22,
    }


async def test_the_mounts_of_a_box(lab: Lab) -> None:
    mounts = facts(await lab.run(PROBE))["mounts"]
    assert isinstance(mounts, dict)
    covers = {path: mounts.pop(path) for path in list(mounts) if path.startswith(("/sys/", "/proc/"))}
    root = mounts.pop("/")
    assert isinstance(root, list)
    assert "ro" in root
    for path in ("/etc/resolv.conf", "/etc/hostname", "/etc/hosts"):
        engines_own = mounts.pop(path, ["ro"])  # an engine that sets up no network need not mount them
        assert isinstance(engines_own, list)
        assert "ro" in engines_own
    assert mounts.pop("/dev/mqueue")  # the queue itself, and the empty folder over it
    assert mounts.pop("/dev/pts")
    assert mounts == {
        "/proc": ["proc", *SYSTEM, "rw"],
        "/sys": ["sysfs", *SYSTEM, "ro"],
        "/dev": ["tmpfs", "nosuid", "rw"],
        "/dev/shm": TEMPORARY,
        "/tmp": TEMPORARY,
    }
    for path, cover in covers.items():
        assert isinstance(cover, list)
        if path.startswith("/sys/fs/cgroup"):
            # cgroup v1 hangs its hierarchies into a tmpfs of root's, which cannot be written with this uid
            assert cover[0] in {"cgroup", "cgroup2", "tmpfs"}
            assert "ro" in cover or path == "/sys/fs/cgroup"
        else:
            assert cover[0] in {"proc", "tmpfs"}
            # a folder is covered by an empty read-only tmpfs, a file by /dev/null, the rest is the same but read-only
            assert "ro" in cover or cover == ["tmpfs", "nosuid", "rw"]


async def test_a_box_seen_by_the_engine(lab: Lab) -> None:
    running = asyncio.create_task(lab.run("import time\ntime.sleep(2)", limited(wall_seconds=1.0)))

    async def exists() -> bool:
        return bool(await lab.boxes())

    await eventually(exists)
    (container,) = await lab.engine.labelled(INSTANCE_LABEL, lab.instance)
    inspected = await lab.engine._call(5, lambda client: client.inspect_container(container))  # noqa: SLF001 - the engine's own words, whole
    host, config = inspected["HostConfig"], inspected["Config"]
    assert host["NetworkMode"] == "none"
    assert config["NetworkDisabled"]
    assert host["ReadonlyRootfs"]
    assert (host["CapAdd"], host["CapDrop"]) == (None, ["ALL"])
    assert (host["Privileged"], host["AutoRemove"], host["PublishAllPorts"]) == (False, False, False)
    assert (host["Binds"], host["Devices"], host["VolumesFrom"], host["GroupAdd"]) == (None, None, None, None)
    assert (host["PidMode"], host["UTSMode"], host["UsernsMode"]) == ("", "", "")
    assert (host["IpcMode"], host["CgroupnsMode"]) == ("private", "private")
    assert host["Memory"] == host["MemorySwap"] == LIMITS.memory_bytes
    assert host["PidsLimit"] == LIMITS.pids + 1
    assert host["OomKillDisable"] is False
    assert host["LogConfig"]["Type"] == "none"
    assert host["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
    assert {option.split("=")[0] for option in host["SecurityOpt"]} == {"no-new-privileges:true", "seccomp"}
    assert inspected["Mounts"] == []
    assert config["User"] == "65532:65532"
    assert not config["Volumes"]
    assert not inspected["NetworkSettings"]["Ports"]
    await running
