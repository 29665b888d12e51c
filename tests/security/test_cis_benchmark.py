"""Promise: a live box passes the container runtime section of the CIS Docker Benchmark.

What concerns the daemon or a swarm is the operator's. AppArmor and SELinux are the host's: where it has neither, the
posture says so. A health check would be a second process beside the guest, so a box has none on purpose.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.engine_support import limited, open_lab

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]

Inspected = Mapping[str, Any]  # the engine's own JSON
Check = Callable[[Inspected, Inspected], bool]

CHECKS: Final[dict[str, Check]] = {
    "capabilities are dropped, none is added": lambda _, host: host["CapDrop"] == ["ALL"] and not host["CapAdd"],
    "it is not privileged": lambda _, host: host["Privileged"] is False,
    "no directory of the host is mounted": lambda box, host: not box["Mounts"] and not host["Binds"],
    "no remote shell runs in it": lambda box, _: "sshd" not in str(box["Config"]["Entrypoint"]),
    "no privileged port is mapped": lambda _, host: not host["PortBindings"],
    "no port is open": lambda box, host: not box["NetworkSettings"]["Ports"] and not host["PublishAllPorts"],
    "it does not share the host's network": lambda _, host: host["NetworkMode"] == "none",
    "its memory is limited": lambda _, host: host["Memory"] > 0 and host["MemorySwap"] == host["Memory"],
    "its CPU time is limited": lambda _, host: host["CpuQuota"] > 0,
    "its root is read-only": lambda _, host: host["ReadonlyRootfs"] is True,
    "no traffic is bound to an interface of the host": lambda _, host: not host["PortBindings"],
    "it is not restarted": lambda _, host: host["RestartPolicy"]["Name"] == "no",
    "it does not share the host's processes": lambda _, host: host["PidMode"] == "",
    "it does not share the host's IPC": lambda _, host: host["IpcMode"] == "private",
    "no device of the host is in it": lambda _, host: not host["Devices"] and not host["DeviceRequests"],
    "its open files are limited": lambda _, host: "nofile" in {one["Name"] for one in host["Ulimits"]},
    "no mount is propagated": lambda box, _: not [one for one in box["Mounts"] if one.get("Propagation")],
    "it does not share the host's name": lambda _, host: host["UTSMode"] == "",
    "seccomp is on, with a profile of our own": lambda _, host: any(
        one.startswith("seccomp={") for one in host["SecurityOpt"]
    ),
    "nothing was executed in it from outside": lambda box, _: not box["ExecIDs"],
    "it is in the engine's own cgroup": lambda _, host: host["CgroupParent"] == "",
    "it gains no new privileges": lambda _, host: "no-new-privileges:true" in host["SecurityOpt"],
    "it runs what was proven, by its content": lambda box, _: box["Config"]["Image"].startswith("sha256:"),
    "its processes are limited": lambda _, host: 0 < host["PidsLimit"] < 1000,
    "it is not on the default bridge": lambda box, _: set(box["NetworkSettings"]["Networks"]) <= {"none"},
    "it does not opt out of user namespaces": lambda _, host: host["UsernsMode"] == "",
    "the engine's socket is not in it": lambda box, _: "docker.sock" not in str(box["Mounts"]),
    "it does not run as root": lambda box, _: box["Config"]["User"] == "65532:65532",
    "nothing is logged to the host's disk": lambda _, host: host["LogConfig"]["Type"] == "none",
    "no other container's volumes are in it": lambda _, host: not host["VolumesFrom"] and not host["Links"],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def box() -> AsyncIterator[Inspected]:
    async with open_lab() as lab:
        running = asyncio.create_task(lab.run("import time\ntime.sleep(20)", limited(wall_seconds=20)))
        yield await lab.sole_box()
        running.cancel()
        await asyncio.wait({running})


@pytest.mark.parametrize("name", CHECKS)
async def test_it_passes(box: Inspected, name: str) -> None:
    assert CHECKS[name](box, box["HostConfig"]), box["HostConfig"]
