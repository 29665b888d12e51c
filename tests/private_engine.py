"""An engine of a test's own: a second dockerd with its own folders, which can be killed and restarted at will."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sandbox.attach import EngineAddress
from tests.engine_support import IMAGE

START_SECONDS = 60


@dataclass
class PrivateEngine:
    """A dockerd process; `options` are more words for its command line, `settings` its configuration file."""

    folder: Path
    options: Sequence[str] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> EngineAddress:
        return EngineAddress(f"unix://{self.folder}/sock")

    def start(self) -> None:
        (self.folder / "daemon.json").write_text(json.dumps(dict(self.settings)))
        # Of one that was killed: where nobody collects orphans, its number still looks alive.
        for pid in (self.folder / "pid", self.folder / "exec" / "containerd" / "containerd.pid"):
            pid.unlink(missing_ok=True)
        command = [
            *("unshare", "--net"),  # beside the machine's own engine, whose bridge it would take for its own and remove
            "dockerd",
            f"--data-root={self.folder}/data",
            f"--exec-root={self.folder}/exec",
            f"--pidfile={self.folder}/pid",
            f"--host=unix://{self.folder}/sock",
            f"--config-file={self.folder}/daemon.json",
            "--bridge=none",
            "--iptables=false",
            "--ip-forward=false",
            "--ip-masq=false",
            *self.options,
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while self.docker("version").returncode:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.1)

    def kill(self) -> None:
        """As a daemon that crashes: containers and their shims are left to themselves."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def docker(self, *words: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        command = ["docker", "--host", self.address.url, *words]
        return subprocess.run(command, input=data, capture_output=True, timeout=120, check=False)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8", "replace")[-4000:]


@contextmanager
def open_private_engine(
    *options: str, settings: Mapping[str, object] | None = None, image: bool = True
) -> Iterator[PrivateEngine]:
    """A private engine that has the guest's image; skips where this machine cannot have one."""
    if os.geteuid() != 0 or None in {shutil.which("dockerd"), shutil.which("unshare")}:
        pytest.skip("NOT TESTED: an engine of the test's own needs root and dockerd")
    folder = Path(tempfile.mkdtemp(prefix="airlock-engine-"))
    engine = PrivateEngine(folder, options, settings or {})
    try:
        engine.start()
        if image:
            saved = subprocess.run(["docker", "save", IMAGE], capture_output=True, timeout=120, check=True)
            loaded = engine.docker("load", data=saved.stdout)
            assert loaded.returncode == 0, loaded.stderr
        yield engine
    finally:
        engine.stop()
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((one for one in mounts if one.startswith(str(folder))), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(folder, ignore_errors=True)
