"""Attacks on the network: outwards, sideways, and at the kernel's own families of sockets."""

from __future__ import annotations

from typing import Final

from tests.hostile.case import group

make = group("network", "nothing outside the box can be reached")
_SOCKET: Final = 'says({{"socket": tried(socket.socket, {family}, {kind})}})'
_REFUSED: Final = {"socket": "EPERM"}

CASES: Final = (
    make("tcp", 'says({"to": tried(socket.create_connection, ("192.0.2.1", 80), 1)})', report={"to": "EPERM"}),
    make("tcp to the bridge", 'says({"to": tried(socket.create_connection, ("172.17.0.1", 2375), 1)})', report={"to": "EPERM"}),
    make("tcp to the machine's loopback", 'says([tried(socket.create_connection, ("127.0.0.1", port), 1) for port in (22, 80, 2375, 8080)])', report=["EPERM"] * 4),
    make("metadata service", 'says({"to": tried(socket.create_connection, ("169.254.169.254", 80), 1)})', report={"to": "EPERM"}),
    make("ipv6", _SOCKET.format(family="socket.AF_INET6", kind="socket.SOCK_STREAM"), report=_REFUSED),
    make("udp", _SOCKET.format(family="socket.AF_INET", kind="socket.SOCK_DGRAM"), report=_REFUSED),
    make("raw", _SOCKET.format(family="socket.AF_INET", kind="socket.SOCK_RAW, 1"), report=_REFUSED),
    make("packet", _SOCKET.format(family="17", kind="socket.SOCK_RAW, 768"), report=_REFUSED),
    make("netlink", _SOCKET.format(family="16", kind="socket.SOCK_RAW, 0"), report=_REFUSED),
    make("vsock", _SOCKET.format(family="40", kind="socket.SOCK_STREAM"), report=_REFUSED),
    make("kernel crypto", _SOCKET.format(family="38", kind="socket.SOCK_SEQPACKET"), report=_REFUSED),
    make("bluetooth", _SOCKET.format(family="31", kind="socket.SOCK_RAW, 1"), report=_REFUSED),
    make("every family", """
opened = []
for family in range(50):
    for kind in (1, 2, 3, 5, 10):
        try:
            socket.socket(family, kind).close()
            opened.append(family)
        except OSError:
            pass
says(sorted(set(opened)))
""", report=[1]),
    make("pairs of every family", """
made = []
for family in range(50):
    try:
        one, two = socket.socketpair(family, socket.SOCK_STREAM)
        made.append(family)
    except OSError:
        pass
says(made)
""", report=[1]),
    make("name resolution", """
try:
    socket.getaddrinfo("example.com", 80)
    says("resolved")
except socket.gaierror:
    says("held")
""", report="held"),
    make("abstract sockets of others", """
names = [line.split()[-1] for line in open("/proc/net/unix").read().splitlines()[1:] if line.split()[-1].startswith("@")]
says(names)
""", report=[]),
    make("interfaces", 'says(sorted(name for _, name in socket.if_nameindex()) if tried(socket.if_nameindex) == "worked" else "held")', report="held"),
    make("routes", 'says([line.split()[0] for line in open("/proc/net/route").read().splitlines()[1:]])', report=[]),
    make("a library that speaks http", """
import urllib.request
try:
    urllib.request.urlopen("http://192.0.2.1/", timeout=2)
    says("answered")
except OSError as error:
    says(error.reason.errno)
""", report=1),
    make("a socket of the engine", 'says([tried(socket.socket(socket.AF_UNIX).connect, path) for path in ("/var/run/docker.sock", "/run/containerd/containerd.sock")])', report=["ENOENT", "ENOENT"]),
    make("sockets that are handed over", """
one, two = socket.socketpair()
socket.send_fds(one, [b"x"], [0])
_, descriptors, _, _ = socket.recv_fds(two, 1, 1)
says({"own only": len(descriptors)})
""", report={"own only": 1}),
)  # fmt: skip
