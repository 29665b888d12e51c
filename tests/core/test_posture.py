"""Two runs with one digest were isolated alike; what differs in any way that matters has another one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from sandbox.job import Job, Limits
from sandbox.posture import EngineIdentity, Posture, box_posture, interpreter_posture
from sandbox.profile import ContainerOptions, EngineFacts, HostConfig, container_options

LIMITS: Final = Limits(cpu_cores=1, memory_bytes=1 << 27, wall_seconds=5, pids=8, disk_bytes=1 << 20, output_bytes=4096)
JOB: Final = Job(execution="one", attempt=1, code="1", limits=LIMITS, image="sha256:a")
ENGINE: Final = EngineIdentity(
    version="28.5.1", kernel="6.12", cgroup_version=2, cgroup_driver="systemd", storage="overlayfs", security=("b", "a")
)


def _options(job: Job = JOB, *, guest: str = "pass", cgroup: int = 2, runtime: str | None = None) -> ContainerOptions:
    facts = EngineFacts(cgroup_version=cgroup, runtime=runtime)
    return container_options(job, engine=facts, instance="i", deadline=1.0, guest=guest)


def _posture(options: ContainerOptions, engine: EngineIdentity = ENGINE) -> Posture:
    return box_posture(options.config, engine)


def test_programs_and_their_limits_change_nothing() -> None:
    other = replace(
        JOB, execution="two", attempt=9, code="2", limits=replace(LIMITS, memory_bytes=1 << 30, pids=99, cpu_cores=2)
    )
    assert _posture(_options()).digest == _posture(_options(other)).digest


def test_the_order_of_an_engines_words_changes_nothing() -> None:
    assert _posture(_options(), replace(ENGINE, security=("a", "b"))).digest == _posture(_options()).digest


@pytest.mark.parametrize(
    "other",
    [
        _options(replace(JOB, image="sha256:b")),
        _options(guest="another"),
        _options(cgroup=1),
        _options(runtime="runsc"),
    ],
    ids=["image", "guest", "cgroup", "runtime"],
)
def test_another_box_is_another_posture(other: ContainerOptions) -> None:
    assert _posture(other).digest != _posture(_options()).digest


@pytest.mark.parametrize("change", [{"version": "28.5.2"}, {"kernel": "6.13"}, {"security": ("a",)}], ids=str)
def test_another_engine_is_another_posture(change: dict[str, str | tuple[str, ...]]) -> None:
    assert _posture(_options(), replace(ENGINE, **change)).digest != _posture(_options()).digest  # type: ignore[arg-type]


def _drop_seccomp(host: HostConfig) -> None:
    host["SecurityOpt"] = host["SecurityOpt"][:1]


def _change_seccomp(host: HostConfig) -> None:
    host["SecurityOpt"] = [*host["SecurityOpt"][:1], "seccomp={}"]


def _unlimited_pids(host: HostConfig) -> None:
    del host["PidsLimit"]


def _writable(host: HostConfig) -> None:
    host["ReadonlyRootfs"] = False


@pytest.mark.parametrize("weaken", [_drop_seccomp, _change_seccomp, _unlimited_pids, _writable])
def test_every_weakness_is_another_posture(weaken: Callable[[HostConfig], None]) -> None:
    options = _options()
    weaken(options.config["HostConfig"])
    assert _posture(options).digest != _posture(_options()).digest


def test_the_document_is_canonical_and_says_what_was_in_force() -> None:
    posture = _posture(_options())
    document = json.loads(posture.document)
    assert json.dumps(document, sort_keys=True, separators=(",", ":")) == posture.document
    assert document["options"]["HostConfig"]["NetworkMode"] == "none"
    assert len(document["seccomp"]) == len(document["guest"]) == len(posture.digest) == 64


def test_an_interpreter_is_its_version() -> None:
    assert interpreter_posture("monty", "1").digest != interpreter_posture("monty", "2").digest
