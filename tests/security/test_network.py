"""Promise: a box reaches nothing. No socket that leaves it can even be made."""

from __future__ import annotations

import pytest

from sandbox.outcome import Ending
from tests.engine_support import IN_BOTH, Lab, facts

pytestmark = [pytest.mark.engine, IN_BOTH]

FAMILIES = """
import json, socket
families = {
    "inet": (2, 1, 0), "inet6": (10, 1, 0), "udp": (2, 2, 0), "raw": (2, 3, 1), "netlink": (16, 3, 0),
    "packet": (17, 3, 0), "bluetooth": (31, 3, 0), "alg": (38, 5, 0), "vsock": (40, 1, 0), "xdp": (44, 3, 0),
}
made = {}
for name, arguments in families.items():
    try:
        socket.socket(*arguments)
        made[name] = "made"
    except OSError as error:
        made[name] = error.errno
print(json.dumps(made))
"""


async def test_only_local_sockets_can_be_made(lab: Lab) -> None:
    made = facts(await lab.run(FAMILIES))
    assert made == dict.fromkeys(made, 1)  # EPERM, every one
    assert len(made) == 10


async def test_connecting_fails_at_once(lab: Lab) -> None:
    targets = ["192.0.2.1", "172.17.0.1", "169.254.169.254", "127.0.0.1"]
    outcomes = await lab.run_all(
        *(f"import socket\nsocket.create_connection(({target!r}, 80), 2)" for target in targets)
    )
    for outcome in outcomes:
        assert outcome.ending is Ending.FAILED
        assert outcome.error is not None
        assert outcome.error.type == "PermissionError"
        assert outcome.usage.wall_seconds is not None
        assert outcome.usage.wall_seconds < 1


async def test_names_are_not_resolved_and_the_hosts_resolver_is_not_told(lab: Lab) -> None:
    found = facts(
        await lab.run("""
import json, socket
try:
    socket.getaddrinfo("example.com", 80)
    resolved = True
except OSError:
    resolved = False
print(json.dumps({"resolved": resolved, "resolver": open("/etc/resolv.conf").read(), "hosts": open("/etc/hosts").read()}))
""")
    )
    assert found == {"resolved": False, "resolver": "", "hosts": ""}


async def test_there_is_no_interface_but_lo_and_no_route(lab: Lab) -> None:
    found = facts(
        await lab.run("""
import json
interfaces = [line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]]
print(json.dumps({"interfaces": interfaces, "routes": len(open("/proc/net/route").readlines()) - 1}))
""")
    )
    assert found == {"interfaces": ["lo"], "routes": 0}


async def test_an_abstract_socket_is_not_seen_from_another_box(lab: Lab) -> None:
    listen = """
import socket, time
server = socket.socket(socket.AF_UNIX)
server.bind("\\0airlock-test")
server.listen()
server.settimeout(1.5)
try:
    server.accept()
    print("reached")
except TimeoutError:
    print("alone")
"""
    call = """
import socket, time
for _ in range(10):
    try:
        socket.socket(socket.AF_UNIX).connect("\\0airlock-test")
        print("reached")
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
else:
    print("alone")
"""
    assert [outcome.stdout.text for outcome in await lab.run_all(listen, call)] == ["alone\n", "alone\n"]
