"""What is in force around a program, as one document with one digest.

Pure. Everything that could make one run less isolated than another is in it: engine, kernel, runtime, image, guest,
system-call filter, every option of the box. What differs from job to job by design, the limits, is not.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from sandbox.job import JsonValue
from sandbox.profile import ContainerConfig, HostConfig

_PER_JOB: Final = frozenset({"Memory", "MemorySwap", "CpuQuota", "PidsLimit", "Tmpfs", "Ulimits"})
_SECCOMP: Final = "seccomp="


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineIdentity:
    """An engine as it describes itself. `security` are its own words (`name=seccomp`, `name=userns`, ...)."""

    version: str
    kernel: str
    cgroup_version: int
    cgroup_driver: str
    storage: str
    security: tuple[str, ...]


@dataclass(frozen=True)
class Posture:
    """The whole of what is in force; `document` is canonical JSON."""

    document: str

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the document, 64 hexadecimal digits."""
        return hashlib.sha256(self.document.encode()).hexdigest()


def box_posture(config: ContainerConfig, engine: EngineIdentity) -> Posture:
    """The posture of a box that is created with `config`, save its labels and limits."""
    host = config["HostConfig"]
    return _posture(
        {
            "lane": "container",
            "engine": {
                "version": engine.version,
                "kernel": engine.kernel,
                "cgroup_version": engine.cgroup_version,
                "cgroup_driver": engine.cgroup_driver,
                "storage": engine.storage,
                "security": [*sorted(engine.security)],
            },
            "runtime": host.get("Runtime"),
            "image": config["Image"],
            "guest": _digest("\n".join(config["Entrypoint"])),
            "seccomp": next((_digest(one) for one in host["SecurityOpt"] if one.startswith(_SECCOMP)), None),
            "options": {**_options(config), "HostConfig": _host_options(host)},
        }
    )


def interpreter_posture(name: str, version: str) -> Posture:
    """The posture of a lane that is an interpreter inside the gateway: what it is, there is nothing else."""
    return _posture({"lane": "monty", "interpreter": name, "version": version})


def _options(config: ContainerConfig) -> dict[str, JsonValue]:
    stated = {name: value for name, value in config.items() if name not in {"Labels", "Entrypoint", "HostConfig"}}
    options: dict[str, JsonValue] = json.loads(json.dumps(stated))
    return options


def _host_options(host: HostConfig) -> dict[str, JsonValue]:
    stated: dict[str, JsonValue] = json.loads(json.dumps(host))
    return {
        **{name: value for name, value in stated.items() if name not in _PER_JOB},
        "SecurityOpt": [one for one in host["SecurityOpt"] if not one.startswith(_SECCOMP)],
        "limited": [*sorted(name for name in _PER_JOB if stated.get(name))],
    }


def _posture(document: dict[str, JsonValue]) -> Posture:
    return Posture(json.dumps(document, sort_keys=True, separators=(",", ":")))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
