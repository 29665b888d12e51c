"""A part of the probe: it tries to reach anything over a network."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from sandbox.probe_order import Breach

if TYPE_CHECKING:
    from sandbox.probe_order import Order

UNREACHABLE = ("192.0.2.1", 80)  # reserved for documentation: an answer or a time-out means that a packet left


def network_tcp(order: Order) -> None:
    """Connect somewhere: to nowhere, to the engine's bridge, to the gateway."""
    for address in (UNREACHABLE, *order["addresses"]):
        _connect(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, address)


def network_udp(order: Order) -> None:
    """Send a datagram."""
    for address in (UNREACHABLE, *order["addresses"]):
        _send(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, address)


def network_ipv6(_: Order) -> None:
    """Reach out by IPv6."""
    _connect(socket.AF_INET6, ("2001:db8::1", 80))
    _send(socket.AF_INET6, ("2001:db8::1", 80))


def network_dns(_: Order) -> None:
    """Ask the resolvers that the box was given, and the one that engines hide on loopback."""
    servers = ["127.0.0.11", "127.0.0.53"]
    if os.path.exists("/etc/resolv.conf"):
        with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
            servers += [line.split()[1] for line in file if line.startswith("nameserver") and len(line.split()) > 1]
    query = b"\0\1\1\0\0\1\0\0\0\0\0\0\7example\7invalid\0\0\1\0\1"
    for server in servers:
        with _socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM) as asking:
            if asking is None:
                continue
            asking.settimeout(0.3)
            try:
                asking.sendto(query, (server, 53))
                answer = asking.recv(512)
            except OSError:
                continue  # nobody there: on loopback a datagram may be sent to nobody
            raise Breach(f"the resolver {server} answered {len(answer)} bytes")


def network_families(_: Order) -> None:
    """Open sockets that need no network namespace, or speak to the kernel."""
    families = {"netlink": 16, "packet": 17, "alg": 38, "vsock": 40, "bluetooth": 31, "xdp": 44, "can": 29, "nfc": 39}
    for name, family in families.items():
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            try:
                socket.socket(family, kind).close()
            except OSError:
                continue
            raise Breach(f"a {name} socket was opened")


def network_raw(_: Order) -> None:
    """Open sockets that see or forge packets."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.socket(family, socket.SOCK_RAW, 1).close()
        except OSError:
            continue
        raise Breach("a raw socket was opened")


def network_interfaces(_: Order) -> None:
    """Find another interface than loopback."""
    with open("/proc/net/dev", encoding="ascii") as file:
        names = {line.partition(":")[0].strip() for line in file if ":" in line}
    # without a hardware behind them, some kernels put these, which are down, into every namespace
    tunnels = ("tunl", "gre", "erspan", "ip_vti", "ip6_vti", "sit", "ip6tnl", "ip6gre")
    others = sorted(name for name in names - {"lo"} if not name.startswith(tunnels))
    if others:
        raise Breach(f"there are interfaces: {', '.join(others)}")


def network_sockets(_: Order) -> None:
    """Open any socket but a local one."""
    for family in (socket.AF_INET, socket.AF_INET6):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with _socket(family, kind) as opened:
                if opened is not None:
                    raise Breach("an internet socket was opened")


class _socket:  # noqa: N801 - used as the context manager that a socket is
    """A socket, or None where it is refused."""

    def __init__(self, family: int, kind: int) -> None:
        try:
            self.socket: socket.socket | None = socket.socket(family, kind)
        except OSError:
            self.socket = None

    def __enter__(self) -> socket.socket | None:
        return self.socket

    def __exit__(self, *_: object) -> None:
        if self.socket is not None:
            self.socket.close()


def _connect(family: int, address: tuple[str, int]) -> None:
    with _socket(family, socket.SOCK_STREAM) as outward:
        if outward is None:
            return
        outward.settimeout(0.5)
        try:
            outward.connect(address)
        except TimeoutError:
            raise Breach(f"packets to {address[0]} leave the box") from None
        except ConnectionRefusedError:
            if address[0].startswith("127.") or address[0] == "::1":
                return  # the box's own loopback, where nobody listens
            raise Breach(f"{address[0]} answers, if only with a refusal") from None
        except OSError:
            return
        raise Breach(f"connected to {address[0]} port {address[1]}")


def _send(family: int, address: tuple[str, int]) -> None:
    with _socket(family, socket.SOCK_DGRAM) as outward:
        if outward is None:
            return
        try:
            outward.sendto(b"x", address)
        except OSError:
            return
        if not address[0].startswith("127.") and address[0] != "::1":
            raise Breach(f"a datagram to {address[0]} left the box")
