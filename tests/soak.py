"""Thousands of executions in a row, hostile and ordinary ones mixed: every answer is checked, and nothing may grow.

`script/soak` runs it against a gateway process of its own and says what it measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import httpx
from rich.progress import Progress

from sandbox.engine import Engine
from sandbox.profile import EXECUTION_LABEL, INSTANCE_LABEL, SPARE
from tests.conftest import Server, free_port

Answer: TypeAlias = dict[str, object]
Check: TypeAlias = Callable[[Answer], bool]

POLICY: Final = """
version: 1
name: soak
engine: {boxes: 6}
defaults:
  limits:
    time: {default: 10s, max: 20s}
    memory: {default: 96Mi, max: 128Mi}
    pids: {default: 24, max: 32}
    disk: {default: 8Mi, max: 16Mi}
    output: {default: 16Ki, max: 64Ki}
"""
HOSTILE_SHARE: Final = 0.15
CONTAINER_SHARE: Final = 0.2
INTERRUPTED_SHARE: Final = 0.02
GROWTH: Final = 1.10
SLACK: Final = 12  # descriptors and threads that come and go with connections and the engine's calls
SETTLE_SECONDS: Final = 30


@dataclass(frozen=True)
class Kind:
    """A program with a number in it, so that no two are the same, and what its answer must be."""

    name: str
    code: str
    holds: Check
    request: Mapping[str, object] = field(default_factory=dict)


def _ends(status: str, stdout: str | None = None) -> Check:
    def holds(answer: Answer) -> bool:
        return answer["status"] == status and (stdout is None or answer["stdout"] == stdout)

    return holds


def _error(status: str, kind: str) -> Check:
    def holds(answer: Answer) -> bool:
        error = answer["error"]
        return answer["status"] == status and isinstance(error, dict) and error["type"] == kind

    return holds


MONTY: Final = (
    Kind("sum", "print(sum(range(100)) + {n} - {n})", _ends("succeeded", "4950\n")),
    Kind("words", "words = 'a b c'.split()\nprint(len(words), {n} - {n})", _ends("succeeded", "3 0\n")),
    Kind("error", "x = [1, {n}]\nprint(x[5])", _error("failed", "IndexError")),
    Kind("value", "[n * 2 for n in range(3)] + [{n}][:0]", lambda answer: answer["result"] == [0, 2, 4]),
)
CONTAINER: Final = (
    Kind("os", "import os\nprint(os.getcwd(), {n} - {n})", _ends("succeeded", "/tmp 0\n")),
    Kind(
        "file",
        "open('out.bin', 'wb').write(bytes([0, 255]) * 100)\n{n}",
        lambda answer: [file["size_bytes"] for file in _list(answer["files"])] == [200],
        {"outputs": ["*.bin"]},
    ),
    Kind(
        "process",
        "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print({n} - {n})'], capture_output=True).stdout)",
        _ends("succeeded", "b'0\\n'\n"),
    ),
    Kind("stdin", "import sys\nprint(sys.stdin.read(), {n} - {n})", _ends("succeeded", "in 0\n"), {"stdin": "in"}),
)
QUICK: Final[Answer] = {"limits": {"time": "600ms"}}
HOSTILE: Final = (
    Kind("busy", "import os\nwhile {n}: pass", _ends("timed_out"), QUICK),
    Kind("in C", "import os\nsum(range(10 ** 12 + {n}))", _ends("timed_out"), QUICK),
    Kind("memory", "import os\nx = [b'x' * 2 ** 20 for _ in range(1000 + {n})]", _ends("out_of_memory")),
    Kind("forks", "import os\nwhile {n}:\n    try: os.fork()\n    except OSError: pass", _ends("timed_out"), QUICK),
    Kind("threads", "import threading, time\ntry:\n    while {n}: threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\nexcept RuntimeError: print('full')", _ends("succeeded", "full\n")),
    Kind("flood", "import os\nfor _ in range(200 + {n} % 2): os.write(1, b'x' * 65536)", _ends("output_limit_exceeded")),
    Kind("daemon", "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(60 + {n})\nprint('gone')", _ends("succeeded", "gone\n")),
    Kind("kill all", "import os\nos.kill(-1, 9 + {n} - {n})", lambda answer: answer["status"] in {"failed", "succeeded"}),
    Kind("segfault", "import ctypes\nctypes.string_at({n} - {n})", lambda answer: answer["signal"] == "SIGSEGV"),
    Kind("exit", "import os\nos._exit(3 + {n} - {n})", lambda answer: answer["exit_code"] == 3),
    Kind("repr", "import os\nclass A:\n    def __repr__(self): raise KeyError({n})\nA()", lambda answer: answer["result"] == "<unprintable A>"),
    Kind("links", "import os\nos.symlink('/etc/passwd', 'a.txt')\nos.mkfifo('b.txt')\n{n}", lambda answer: answer["files"] == [] and len(_list(answer["skipped_files"])) == 2, {"outputs": ["*.txt"]}),
    Kind("disk", "import os\ntry:\n    open('x', 'wb').write(b'x' * 2 ** 26)\nexcept OSError as e: print('full', {n} - {n})", _ends("succeeded", "full 0\n")),
    Kind("network", "import socket\ntry: socket.create_connection(('192.0.2.1', 80 + {n} % 2))\nexcept OSError: print('held')", _ends("succeeded", "held\n")),
    Kind("syntax", "import os\nprint({n}", _ends("rejected")),
    Kind("name", "import os\nprint(no_such_name_{n})", _ends("rejected")),
)  # fmt: skip


def _list(value: object) -> list[dict[str, object]]:
    return value if isinstance(value, list) else []


@dataclass
class Sample:
    """What the gateway holds at one moment."""

    executions: int
    seconds: float
    rss_bytes: int
    descriptors: int
    threads: int
    children: int
    boxes: int


@dataclass
class Report:
    """What a soak found."""

    executions: int
    concurrency: int
    seed: int
    seconds: float = 0.0
    by_kind: Counter[str] = field(default_factory=Counter)
    interrupted: int = 0
    wrong: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    log_errors: list[str] = field(default_factory=list)
    boxes_left: int = 0

    @property
    def early(self) -> Sample:
        """The sample after the first 1,000 executions, or after the first third of a shorter soak."""
        wanted = min(1000, self.executions // 3)
        return next(sample for sample in self.samples if sample.executions >= wanted)

    @property
    def growth(self) -> float:
        """Memory at the end in terms of that of the early sample."""
        return self.samples[-1].rss_bytes / self.early.rss_bytes

    def problems(self, *, growth: float = GROWTH) -> list[str]:
        """Why the soak failed; empty when nothing leaked and every answer was right."""
        first, last = self.early, self.samples[-1]
        found = [f"wrong answer: {one}" for one in self.wrong[:10]] + [f"log: {one}" for one in self.log_errors[:10]]
        if self.growth > growth:
            found.append(f"memory grew from {first.rss_bytes >> 20} to {last.rss_bytes >> 20} MiB")
        found += [
            f"{name} grew from {before} to {after}"
            for name, before, after in (
                ("descriptors", first.descriptors, last.descriptors),
                ("threads", first.threads, last.threads),
                ("children", first.children, last.children),
            )
            if after > before + SLACK
        ]
        if self.boxes_left:
            found.append(f"{self.boxes_left} boxes were left")
        return found

    def plain(self) -> dict[str, object]:
        """The report as what JSON knows."""
        return {**vars(self), "by_kind": dict(self.by_kind), "samples": [asdict(sample) for sample in self.samples]}

    def summary(self) -> str:
        """The figures in Markdown."""
        first, last = self.early, self.samples[-1]
        rows = [
            ("executions", f"{self.executions} in {self.seconds:.0f} s, {self.concurrency} at once"),
            ("kinds", ", ".join(f"{kind} {count}" for kind, count in sorted(self.by_kind.items()))),
            ("cancelled or abandoned", str(self.interrupted)),
            ("wrong answers", str(len(self.wrong))),
            (f"memory after {first.executions}", f"{first.rss_bytes / 2**20:.1f} MiB"),
            (f"memory after {last.executions}", f"{last.rss_bytes / 2**20:.1f} MiB ({self.growth:.3f} of it)"),
            ("descriptors", f"{first.descriptors} → {last.descriptors}"),
            ("threads", f"{first.threads} → {last.threads}"),
            ("children", f"{first.children} → {last.children}"),
            ("boxes left", str(self.boxes_left)),
            ("errors in the log", str(len(self.log_errors))),
        ]
        return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def programs(count: int, chance: random.Random) -> Iterator[tuple[Kind, bool]]:
    """The mix; the flag says that nobody waits for this one's answer."""
    for _ in range(count):
        roll = chance.random()
        pool = HOSTILE if roll < HOSTILE_SHARE else CONTAINER if roll < HOSTILE_SHARE + CONTAINER_SHARE else MONTY
        yield chance.choice(pool), chance.random() < INTERRUPTED_SHARE


class Soak:
    """One soak against one running server."""

    def __init__(self, server: Server, report: Report, engine: Engine) -> None:
        self._server = server
        self._report = report
        self._engine = engine
        self._began = time.monotonic()
        self._done = 0
        self._every = max(report.executions // 30, 10)

    async def run(self, advance: Callable[[], None]) -> None:
        """Send everything, then wait until the gateway has settled."""
        mix = enumerate(programs(self._report.executions, random.Random(self._report.seed)), 1)
        async with httpx.AsyncClient(base_url=self._server.url, timeout=120) as client:
            await asyncio.gather(*(self._worker(client, mix, advance) for _ in range(self._report.concurrency)))
        for _ in range(SETTLE_SECONDS):
            self._report.boxes_left = await self._boxes()
            if not self._report.boxes_left:
                break
            await asyncio.sleep(1)
        self._report.seconds = time.monotonic() - self._began
        await asyncio.sleep(1)
        await self._sample()

    async def _worker(
        self, client: httpx.AsyncClient, mix: Iterator[tuple[int, tuple[Kind, bool]]], advance: Callable[[], None]
    ) -> None:
        for number, (kind, interrupted) in mix:
            self._report.by_kind[kind.name] += 1
            body = {"code": kind.code.replace("{n}", str(number)), "task_id": f"soak-{number}", **kind.request}
            if interrupted:
                await self._interrupt(client, body, number)
            else:
                await self._ask(client, body, kind)
            self._done += 1
            advance()
            if self._done % self._every == 0:
                await self._sample()

    async def _ask(self, client: httpx.AsyncClient, body: Answer, kind: Kind) -> None:
        response = await client.post("/v1/executions", json=body)
        answer = response.json()
        if response.status_code != httpx.codes.OK or not kind.holds(answer):
            self._report.wrong.append(f"{kind.name}: {response.status_code} {response.text[:600]}")

    async def _interrupt(self, client: httpx.AsyncClient, body: Answer, number: int) -> None:
        """Walk away in the middle, or cancel."""
        self._report.interrupted += 1
        if number % 2:
            try:
                await client.post("/v1/executions", json=body, timeout=0.15)
            except httpx.TimeoutException:
                return
        else:
            answer = (await client.post("/v1/executions", json=body, headers={"Prefer": "wait=0"})).json()
            cancelled = (await client.delete(f"/v1/executions/{answer['id']}")).json()
            if cancelled["status"] in {"queued", "running"}:
                self._report.wrong.append(f"a cancelled execution goes on: {cancelled}")

    async def _boxes(self) -> int:
        instance = (self._server.data / "instance").read_text().strip()
        found = await self._engine.labelled(INSTANCE_LABEL, instance)
        return sum(not labels[EXECUTION_LABEL].startswith(SPARE) for labels in found.values())

    async def _sample(self) -> None:
        assert self._server.process is not None
        process = Path(f"/proc/{self._server.process.pid}")
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line)
        self._report.samples.append(
            Sample(
                executions=self._done,
                seconds=time.monotonic() - self._began,
                rss_bytes=int(status["VmRSS"].split()[0]) * 1024,
                descriptors=len(list((process / "fd").iterdir())),
                threads=int(status["Threads"]),
                children=_children(self._server.process.pid),
                boxes=await self._boxes(),
            )
        )


def _children(parent: int) -> int:
    count = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            count += int(status.read_text("utf-8", "replace").rpartition(")")[2].split()[1]) == parent
        except OSError:
            continue  # it ended meanwhile
    return count


def errors_in(log: Path) -> list[str]:
    """The lines of a server's log that tell of a mistake of ours."""
    lines = log.read_text("utf-8", "replace").splitlines()
    return [line for line in lines if " ERROR " in line or " CRITICAL " in line or line.startswith("Traceback")]


async def soak(server: Server, executions: int, concurrency: int, seed: int, advance: Callable[[], None]) -> Report:
    """Run a soak against a running server."""
    report = Report(executions, concurrency, seed)
    engine = Engine(None, calls=2)
    try:
        await Soak(server, report, engine).run(advance)
    finally:
        await engine.close()
    report.log_errors = errors_in(server.log)
    return report


def main() -> int:
    """Run a soak from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("executions", type=int, nargs="?", default=10_000)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="where to write the report as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="airlock-soak-") as folder:
        data = Path(folder)
        policy = data / "policy.yaml"
        policy.write_text(POLICY)
        server = Server(data / "data", policy, port=free_port()).start()
        try:
            with Progress() as progress:
                bar = progress.add_task("soak", total=options.executions)
                report = asyncio.run(
                    soak(server, options.executions, options.concurrency, options.seed, lambda: progress.advance(bar))
                )
        finally:
            server.stop()
    if options.out is not None:
        options.out.write_text(json.dumps(report.plain(), indent=2))
    problems = report.problems()
    sys.stdout.write("\n".join([report.summary(), "", *(problems or ["nothing leaked, every answer was right"]), ""]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
