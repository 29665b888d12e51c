"""What a reader must know of the machine, without its name; and what processes on it weigh."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.engine import RawEngine

_PROC: Final = Path("/proc")
_CGROUPS: Final = Path("/sys/fs/cgroup")


def machine_facts(data: Path, raw: RawEngine | None) -> dict[str, str]:
    """Facts for the page; `data` is where the gateways keep theirs."""
    facts = {
        "cores": f"{os.cpu_count()} ({_line(_PROC / 'cpuinfo', 'model name')})",
        "memory": f"{int(_line(_PROC / 'meminfo', 'MemTotal').split()[0]) / 1e6:.0f} GB",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "Monty": importlib.metadata.version("pydantic-monty"),
        "FastAPI, uvicorn": f"{importlib.metadata.version('fastapi')}, {importlib.metadata.version('uvicorn')}",
        "file system of the stores": _file_system(data),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }
    if raw is not None:
        info = raw.client.info()
        facts["engine"] = f"Docker {info['ServerVersion']}, cgroup v{raw.cgroup_version}, {info['Driver']}"
    return facts


def _line(path: Path, name: str) -> str:
    """The value behind a name in one of the kernel's tables."""
    for line in path.read_text("utf-8", "replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "0 unknown"


def _file_system(path: Path) -> str:
    """The kind of the file system that holds `path`."""
    mounts = [line.split()[1:3] for line in (_PROC / "mounts").read_text("utf-8", "replace").splitlines()]
    around = [(len(where), kind) for where, kind in mounts if path.resolve().is_relative_to(where)]
    return max(around)[1] if around else "unknown"


@dataclass(frozen=True, slots=True)
class Weight:
    """Resident memory in bytes: of a process, and of all that it started. What they share with one another counts once."""

    own: int
    children: int

    @property
    def all(self) -> int:
        """Both."""
        return self.own + self.children


def weight(pid: int) -> Weight:
    """What a process and its descendants hold now."""
    parents = {}
    for status in _PROC.glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text("utf-8", "replace").rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended meanwhile
    family: set[int] = set()
    found = {pid}
    while found:
        family |= found
        found = {one for one, parent in parents.items() if parent in family} - family
    started = [_resident(one) for one in family - {pid}]
    shared = max((files for _, files in started), default=0)  # they are one program: its pages are in memory once
    return Weight(sum(_resident(pid)), sum(own for own, _ in started) + shared)


def _resident(pid: int) -> tuple[int, int]:
    """What a process has in memory for itself, and of files; nothing once it ended."""
    status = _PROC / str(pid) / "status"
    try:
        own, files, shared = (int(_line(status, name).split()[0]) for name in ("RssAnon", "RssFile", "RssShmem"))
    except OSError:
        return 0, 0
    return own * 1024, (files + shared) * 1024


def cgroup_memory(pid: int) -> int | None:
    """Bytes of a process's cgroup without the page cache that can be given back, as `docker stats` counts.

    None where that cannot be read: the process ended, or is on another machine.
    """
    try:
        paths = dict(line.split(":", 2)[1:] for line in (_PROC / str(pid) / "cgroup").read_text().splitlines())
        first = _CGROUPS / "memory" / paths["memory"].lstrip("/") if "memory" in paths else None
        group, usage = (
            (first, "memory.usage_in_bytes") if first else (_CGROUPS / paths[""].lstrip("/"), "memory.current")
        )
        counters = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        inactive = counters.get("total_inactive_file", counters.get("inactive_file", "0"))
        return int((group / usage).read_text()) - int(inactive)
    except (OSError, KeyError):
        return None
