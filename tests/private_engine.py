"""A container engine of the tests' own: one that may be killed, restarted and configured as a test likes.

A dockerd with its own data, runtime state, containerd and socket, below one temporary folder. It shares nothing with
the engine of the other tests, from which the guest's image is copied.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest

from sandbox.calls import EngineAddress
from sandbox.engine import address_from_environment
from tests.engine_support import IMAGE

START_SECONDS = 60
END_SECONDS = 20
RUNSC = shutil.which("runsc")
SYSTRAP_SINCE = "20230401"  # the platform of gVisor that needs nothing of the machine


@dataclass
class PrivateEngine:
    """One dockerd. `configuration` is its daemon.json, `arguments` are further ones of its command line."""

    folder: Path
    storage: str = "overlay2"
    configuration: dict[str, object] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def bridge(self) -> str:
        """A name of 15 letters at most, as the kernel wants it."""
        return f"al-{self.folder.name[-8:]}".replace("_", "x")

    @property
    def address(self) -> EngineAddress:
        return EngineAddress(f"unix://{self.folder}/docker.sock")

    def start(self, **configuration: object) -> None:
        """Start it with the usual configuration and these changes, and wait until it answers."""
        (self.folder / "daemon.json").write_text(json.dumps({**self.configuration, **configuration}))
        command = [
            "dockerd",
            *("--config-file", str(self.folder / "daemon.json")),
            *("--data-root", str(self.folder / "data")),
            *("--exec-root", str(self.folder / "run")),
            *("--pidfile", str(self.folder / "docker.pid")),
            *("--host", self.address.url),
            *("--storage-driver", self.storage),
            # A bridge of its own: one that is told to have none removes the bridge of the machine's own engine.
            *(f"--bridge={self.bridge}", "--iptables=false", "--ip-masq=false", "--ip-forward=false"),
            *self.arguments,
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            if self.answers():
                return
            time.sleep(0.1)
        told = "\n".join((self.folder / "log").read_text(errors="replace").splitlines()[-5:])
        self.kill()
        raise RuntimeError(f"a private dockerd does not start:\n{told}")

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
            connection.settimeout(START_SECONDS)
            connection.connect(self.address.url.removeprefix("unix://"))
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(100)
        return False

    @contextmanager
    def client(self) -> Iterator[docker.APIClient]:
        client = docker.APIClient(base_url=self.address.url, version="auto", timeout=120)
        try:
            yield client
        finally:
            client.close()

    def kill(self) -> None:
        """As a crash, of its containerd as well; the boxes go on."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        containerd = self.folder / "run" / "containerd" / "containerd.pid"
        with contextlib.suppress(OSError, ValueError):
            _end(int(containerd.read_text()))
        for stale in (containerd, self.folder / "docker.pid"):  # either can keep the next one from starting
            stale.unlink(missing_ok=True)

    def load(self, reference: str) -> None:
        """Copy an image from the engine of the other tests."""
        source = docker.APIClient(base_url=address_from_environment().url, version="auto", timeout=120)
        try:
            with self.client() as client:
                for line in client.load_image(source.get_image(reference), quiet=True):  # type: ignore[no-untyped-call] # its stub has no types
                    assert "error" not in line, line
                client.inspect_image(reference)  # type: ignore[no-untyped-call] # as above
        finally:
            source.close()

    def clear(self) -> None:
        """Leave nothing: no container, process, mount or file of this engine."""
        if self.answers():
            with contextlib.suppress(docker.errors.DockerException), self.client() as client:
                for one in client.containers(all=True):
                    client.remove_container(one["Id"], force=True)
        self.kill()
        for process in _processes_of(self.folder):
            _end(process)
        for mount in _mounts_below(self.folder):
            subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _end(process: int) -> None:
    """Kill a process that is not our child, and wait until it is gone or a zombie."""
    until = time.monotonic() + END_SECONDS
    with contextlib.suppress(OSError):
        os.kill(process, signal.SIGKILL)
        while (
            time.monotonic() < until and Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        ):
            time.sleep(0.01)


def _processes_of(folder: Path) -> list[int]:
    """Whoever was started with this folder in its arguments: containerd and its shims."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
                if any(str(folder).encode() in argument for argument in arguments):
                    found.append(int(entry.name))
    return found


def _mounts_below(folder: Path) -> list[str]:
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted((mount for mount in mounts if mount.startswith(f"{folder}/")), reverse=True)


def gvisor_runtime() -> dict[str, object]:
    """What daemon.json says of gVisor, if it is on this machine."""
    if RUNSC is None:
        return {}
    version = subprocess.run([RUNSC, "--version"], check=True, capture_output=True, text=True).stdout
    released = re.search(r"20\d{6}", version)
    platform = "ptrace" if released is not None and released[0] < SYSTRAP_SINCE else "systrap"
    return {"runsc": {"path": RUNSC, "runtimeArgs": [f"--platform={platform}", "--network=none"]}}


@contextmanager
def open_private_engine(*arguments: str, **configuration: object) -> Iterator[PrivateEngine]:
    """An engine with the guest's image; skips the test where none can be had."""
    if os.geteuid() != 0 or None in {shutil.which("dockerd"), shutil.which("ip")}:
        pytest.skip("NOT TESTED: a private container engine needs root, dockerd and ip")
    # Short, since the names of Unix sockets below it may have 107 bytes only.
    folder = Path(tempfile.mkdtemp(prefix="airlock-", dir="/tmp"))
    folder.chmod(0o711)  # roots of other user namespaces have to pass through
    engine = PrivateEngine(folder, configuration=configuration, arguments=arguments)
    _ip("link", "add", "name", engine.bridge, "type", "bridge")
    try:
        _start_or_skip(engine)
        engine.load(IMAGE)
        yield engine
    finally:
        engine.clear()
        _ip("link", "delete", engine.bridge)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _start_or_skip(engine: PrivateEngine) -> None:
    for storage in ("overlay2", "vfs"):  # the second where the file system takes no overlay
        engine.storage = storage
        try:
            engine.start()
        except RuntimeError as error:
            failure = str(error)
        else:
            return
    pytest.skip(f"NOT TESTED: {failure}")
