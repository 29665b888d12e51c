"""What people would use instead, from the package index, each in a process of the peers' own environment."""

from __future__ import annotations

import asyncio
import contextlib
import io
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.engine import IMAGE, RawEngine
from bench.results import Described
from bench.servers import ROOT, Server, environment
from bench.subject import Latency

PYTHON: Final = ROOT / ".venv-bench" / "bin" / "python"
PEER_IMAGE: Final = "airlock-bench-peer:latest"
FIRST_SECONDS: Final = 120.0
RUN_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 60.0  # llm-sandbox waits ten seconds for each of its containers

# llm-sandbox makes a virtual environment in each of its containers and upgrades pip there, over the network; this is
# what it would find afterwards, made on this machine. It wants root.
_DOCKERFILE: Final = f"""
FROM {IMAGE}
USER 0:0
RUN mkdir -p /sandbox/.sandbox-venv/bin && ln -s /usr/bin/python3 /sandbox/.sandbox-venv/bin/python && ln -s /usr/bin/python3 /usr/bin/python
"""


class PeerError(Exception):
    """A peer's process ended, or said something else than seconds."""


@dataclass(slots=True)
class Peer:
    """A process that runs one program for each line and answers with its seconds."""

    process: asyncio.subprocess.Process
    log: Path

    @classmethod
    async def open(cls, program: str, argument: str, folder: Path, stack: AsyncExitStack) -> Peer:
        """Start it; its home is a folder that goes away."""
        log = folder / f"{program}.log"
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                PYTHON,
                str(ROOT / "bench" / program),
                argument,
                cwd=folder,
                env=environment({"HOME": str(folder)}),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        peer = cls(process, log)
        stack.push_async_callback(peer.close)
        await peer.once(FIRST_SECONDS)
        return peer

    async def once(self, limit: float = RUN_SECONDS) -> float:
        """One program's seconds."""
        if self.process.stdin is None or self.process.stdout is None:
            raise PeerError("it has no streams")
        try:
            self.process.stdin.write(b"run\n")
            async with asyncio.timeout(limit):
                line = await self.process.stdout.readline()
            return float(line)
        except (OSError, ValueError) as error:
            words = self.log.read_text("utf-8", "replace").strip().splitlines()
            raise PeerError(words[-1] if words else f"it said nothing ({type(error).__name__})") from error

    async def close(self) -> None:
        """Let it end by itself, so that it clears away what it made."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self.process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()


async def llm_sandbox(raw: RawEngine, folder: Path, stack: AsyncExitStack, batch: int) -> Latency:
    """llm-sandbox's pooled session."""
    await asyncio.to_thread(
        raw.client.images.build, fileobj=io.BytesIO(_DOCKERFILE.encode()), tag=PEER_IMAGE, rm=True, network_mode="none"
    )
    peer = await Peer.open("peer_llm_sandbox.py", PEER_IMAGE, folder, stack)
    isolation = "none between programs: default containers (root, bridge network, no limits), reused"
    return Latency("llm-sandbox", Described("llm-sandbox, pooled session", isolation, "peer"), batch, peer.once)


async def jupyter(folder: Path, stack: AsyncExitStack, batch: int) -> Latency:
    """A running kernel of a Jupyter kernel gateway."""
    home = folder / "jupyter"
    home.mkdir()
    command = (str(PYTHON), "-m", "kernel_gateway", "--KernelGatewayApp.ip=127.0.0.1", "--KernelGatewayApp.port={port}")
    server = Server(command, folder / "jupyter.log", {"HOME": str(home)}, health="/api")
    stack.push_async_callback(server.stop)
    await server.start()
    peer = await Peer.open("peer_jupyter.py", str(server.port), folder, stack)
    isolation = "none: the kernel is a process of the server's user, with its files and network; state stays"
    return Latency("jupyter", Described("Jupyter kernel gateway, running kernel", isolation, "peer"), batch, peer.once)
