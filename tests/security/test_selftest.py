"""Promise: a box that was weakened in any way is found by the self-test, named, and given no program."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import pytest

from sandbox.container import ContainerDriver
from sandbox.job import Cell, Job
from sandbox.outcome import Ending
from sandbox.profile import ContainerConfig, ContainerOptions, EngineFacts, HostConfig, container_options
from sandbox.proven import Proof, ProvenDriver
from sandbox.selftest import Target
from tests.engine_support import IMAGE, LIMITS, make_job

pytestmark = pytest.mark.engine

TARGET: Final = Target(IMAGE, None, LIMITS)
CELL_TARGET: Final = Target(IMAGE, None, LIMITS, Cell(""))
PRELOADED_TARGET: Final = Target(IMAGE, None, LIMITS, Cell("", ("decimal",)))


def _network_on(config: ContainerConfig, host: HostConfig) -> None:
    host["NetworkMode"] = "bridge"
    config["NetworkDisabled"] = False


def _network_of_the_host(config: ContainerConfig, host: HostConfig) -> None:
    host["NetworkMode"] = "host"
    config["NetworkDisabled"] = False


def _network_and_sockets(config: ContainerConfig, host: HostConfig) -> None:
    _network_of_the_host(config, host)
    _seccomp_off(config, host)


def _all_capabilities_kept(_: ContainerConfig, host: HostConfig) -> None:
    host["CapDrop"] = []


def _seccomp_off(_: ContainerConfig, host: HostConfig) -> None:
    host["SecurityOpt"] = ["no-new-privileges:true", "seccomp=unconfined"]


def _new_privileges_allowed(_: ContainerConfig, host: HostConfig) -> None:
    host["SecurityOpt"] = ["seccomp=unconfined"]  # with ours, the engine cannot even set the user without the other one


def _root_writable(_: ContainerConfig, host: HostConfig) -> None:
    host["ReadonlyRootfs"] = False


def _pids_unlimited(_: ContainerConfig, host: HostConfig) -> None:
    host["PidsLimit"] = -1


def _memory_unlimited(_: ContainerConfig, host: HostConfig) -> None:
    host["Memory"] = host["MemorySwap"] = 1 << 30


def _disk_unlimited(_: ContainerConfig, host: HostConfig) -> None:
    host["Tmpfs"] = {"/tmp": "rw,noexec,nosuid,nodev,mode=1777"}


def _files_executable(_: ContainerConfig, host: HostConfig) -> None:
    host["Tmpfs"] = {"/tmp": host["Tmpfs"]["/tmp"].replace("noexec", "exec")}


def _limits_of_processes_off(_: ContainerConfig, host: HostConfig) -> None:
    host["Ulimits"] = []


def _in_the_group_of_root(_: ContainerConfig, host: HostConfig) -> None:
    host["GroupAdd"] = ["0"]  # type: ignore[typeddict-unknown-key] # no box has any


def _a_guest_that_hands_its_environment_on(config: ContainerConfig, _: HostConfig) -> None:
    text = config["Entrypoint"][-1]
    weak = text.replace("os.environ.clear()", 'os.environ["TOKEN"] = "secret"')
    assert weak != text
    config["Entrypoint"] = [*config["Entrypoint"][:-1], weak]


def _a_guest_that_can_be_traced(config: ContainerConfig, _: HostConfig) -> None:
    text = config["Entrypoint"][-1]
    weak = text.replace("c_library('prctl', PR_SET_DUMPABLE, 0, 0", "c_library('prctl', PR_SET_DUMPABLE, 1, 0")
    assert weak != text
    config["Entrypoint"] = [*config["Entrypoint"][:-1], weak]


def _a_guest_that_shows_its_words(config: ContainerConfig, _: HostConfig) -> None:
    text = config["Entrypoint"][-1]
    weak = text.replace("c_library('memset', _Address(start), 0, end - start)", "pass")
    assert weak != text
    config["Entrypoint"] = [*config["Entrypoint"][:-1], weak]


def _a_guest_that_does_not_watch_the_clock(config: ContainerConfig, _: HostConfig) -> None:
    text = config["Entrypoint"][-1]
    weak = text.replace("deadline = self.began + self.order['wall_seconds']", "deadline = self.began + 1")
    assert weak != text
    weak = weak.replace("self._condemn('wall')", "pass")
    config["Entrypoint"] = [*config["Entrypoint"][:-1], weak]


def _the_engines_socket_mounted(_: ContainerConfig, host: HostConfig) -> None:
    host["Binds"] = ["/var/run/docker.sock:/var/run/docker.sock"]  # type: ignore[typeddict-unknown-key] # no box has any


def _a_folder_of_the_host_mounted(_: ContainerConfig, host: HostConfig) -> None:
    host["Binds"] = ["/etc:/host:ro"]  # type: ignore[typeddict-unknown-key] # as above


def _a_device(_: ContainerConfig, host: HostConfig) -> None:
    device = {"PathOnHost": "/dev/null", "PathInContainer": "/dev/kmsg2", "CgroupPermissions": "rwm"}
    host["Devices"] = [device]  # type: ignore[typeddict-unknown-key] # as above


def _processes_of_the_host(_: ContainerConfig, host: HostConfig) -> None:
    host["PidMode"] = "host"  # type: ignore[typeddict-unknown-key] # as above


WEAKENED: Final[dict[Callable[[ContainerConfig, HostConfig], None], str]] = {
    _network_on: "network.interfaces",
    _network_of_the_host: "network.interfaces",
    _network_and_sockets: "network.tcp",
    _all_capabilities_kept: "privileges.capabilities",
    _seccomp_off: "kernel.filter",
    _new_privileges_allowed: "privileges.new",
    _root_writable: "files.root",
    _pids_unlimited: "limits.pids",
    _memory_unlimited: "limits.memory",
    _disk_unlimited: "limits.disk",
    _files_executable: "files.execute",
    _limits_of_processes_off: "limits.descriptors",
    _in_the_group_of_root: "privileges.user",
    _a_guest_that_hands_its_environment_on: "environment",
    _a_guest_that_can_be_traced: "guest.memory",
    _a_guest_that_shows_its_words: "guest.words",
    _a_guest_that_does_not_watch_the_clock: "limits.time",
    _the_engines_socket_mounted: "files.sockets",
    _a_folder_of_the_host_mounted: "files.mounts",
    _a_device: "devices.open",
}


def _guest_with(old: str, new: str) -> Callable[[ContainerConfig, HostConfig], None]:
    def weaken(config: ContainerConfig, _: HostConfig) -> None:
        if not config["Cmd"]:
            return  # not a cell: the lane tries one box too
        text = config["Entrypoint"][-1]
        assert old in text
        config["Entrypoint"] = [*config["Entrypoint"][:-1], text.replace(old, new)]

    return weaken


def _guest_without(call: str) -> Callable[[ContainerConfig, HostConfig], None]:
    return _guest_with(f"self._do({call}", f"(lambda *_: None)({call}")


def _one_writable_place_for_all(config: ContainerConfig, host: HostConfig) -> None:
    host["Tmpfs"] = {"/tmp": f"rw,noexec,nosuid,nodev,size={8 << 20},mode=1777"}
    _guest_with("yield ('tmpfs', HOME,", "('tmpfs', HOME,")(config, host)


WEAKENED_CELLS: Final[dict[str, tuple[Callable[[ContainerConfig, HostConfig], None], str]]] = {
    "one writable place for all": (_one_writable_place_for_all, "neighbour.files"),
    "its calls are not taken away": (_guest_without("'prctl', _PR_SET_SECCOMP"), "kernel.mount"),
    "its capabilities are kept": (_guest_without("'capset'"), "privileges.capabilities"),
    "what the kernel shows is not covered": (_guest_with("filter(os.path.exists, terms['masked'])", "()"), "files.facts"),
    "the guest can be traced": (_guest_without("'prctl', PR_SET_DUMPABLE, 0"), "guest.memory"),
    "the network of the engine": (_network_on, "network.interfaces"),
    "memory without a limit": (_memory_unlimited, "limits.memory"),
}  # fmt: skip


@asynccontextmanager
async def _lane(
    weaken: Callable[[ContainerConfig, HostConfig], None] | None = None, target: Target = TARGET
) -> AsyncIterator[ProvenDriver]:
    def harden(job: Job, *, engine: EngineFacts, instance: str, deadline: float, guest: str) -> ContainerOptions:
        options = container_options(job, engine=engine, instance=instance, deadline=deadline, guest=guest)
        if weaken is not None:
            weaken(options.config, options.config["HostConfig"])
        return options

    kept: list[Proof] = []

    async def keep(proof: Proof) -> None:
        kept.append(proof)

    lane = ProvenDriver(ContainerDriver(f"selftest-{id(kept)}", IMAGE, harden=harden), {"default": target}, keep=keep)
    try:
        yield lane
    finally:
        await lane.close()


async def test_a_hardened_box_proves_itself_and_stamps_its_answers() -> None:
    async with _lane() as lane:
        await lane.prove()
        readiness = await lane.ready()
        assert readiness.available, readiness
        proof = lane.proofs()["default"]
        assert proof is not None
        assert proof.findings == ()
        assert len(proof.trials) > 40
        assert all(trial.held for trial in proof.trials)
        outcome = await lane.run(make_job("1 + 1"))
        assert outcome.ending is Ending.SUCCEEDED
        assert outcome.posture == proof.posture.digest


@pytest.mark.parametrize("weaken", WEAKENED, ids=lambda weaken: weaken.__name__.strip("_"))
async def test_a_weakened_box_is_found_and_runs_nothing(weaken: Callable[[ContainerConfig, HostConfig], None]) -> None:
    async with _lane(weaken) as lane:
        await lane.prove()
        readiness = await lane.ready()
        assert not readiness.available
        found = {finding.partition(":")[0] for finding in readiness.findings}
        assert WEAKENED[weaken] in found, readiness.detail
        outcome = await lane.run(make_job("print('ran')"))
        assert outcome.ending is Ending.LOST
        assert WEAKENED[weaken] in outcome.evidence.detail
        assert outcome.stdout.total_bytes == 0


@pytest.mark.parametrize("target", [CELL_TARGET, PRELOADED_TARGET], ids=["empty", "preloaded"])
async def test_a_cell_proves_itself(target: Target) -> None:
    async with _lane(target=target) as lane:
        await lane.prove()
        proof = lane.proofs()["default"]
        assert proof is not None
        assert proof.findings == ()
        assert "cell.reuse" in {trial.name for trial in proof.trials}
        assert target.cell is not None
        outcome = await lane.run(make_job("1 + 1", cell=Cell("owner", target.cell.preload)))
        assert (outcome.ending, outcome.posture) == (Ending.SUCCEEDED, proof.posture.digest)


@pytest.mark.parametrize("name", WEAKENED_CELLS)
async def test_a_weakened_cell_is_found_and_runs_nothing(name: str) -> None:
    weaken, expected = WEAKENED_CELLS[name]
    async with _lane(weaken, CELL_TARGET) as lane:
        await lane.prove()
        readiness = await lane.ready()
        assert not readiness.available
        assert expected in {finding.partition(":")[0] for finding in readiness.findings}, readiness.detail
        outcome = await lane.run(make_job("print('ran')", cell=Cell("owner")))
        assert (outcome.ending, outcome.stdout.total_bytes) == (Ending.LOST, 0)


@pytest.mark.parametrize("weaken", [_memory_unlimited, _pids_unlimited], ids=["memory", "processes"])
async def test_the_room_for_what_is_preloaded_hides_no_missing_wall(
    weaken: Callable[[ContainerConfig, HostConfig], None],
) -> None:
    async with _lane(weaken, PRELOADED_TARGET) as lane:
        await lane.prove()
        readiness = await lane.ready()
        assert {finding.partition(":")[0] for finding in readiness.findings} == {WEAKENED[weaken]}, readiness.detail


async def test_every_weakness_is_another_posture() -> None:
    digests = set()
    for weaken in (None, _network_on, _seccomp_off, _a_guest_that_can_be_traced):
        async with _lane(weaken) as lane:
            await lane.prove()
            proof = lane.proofs()["default"]
            assert proof is not None
            digests.add(proof.posture.digest)
            document = json.loads(proof.posture.document)
            assert document["engine"]["version"]
            assert document["image"].startswith("sha256:")
    assert len(digests) == 4


async def test_limits_are_no_part_of_the_posture_and_need_no_proof_of_their_own() -> None:
    async with _lane() as lane:
        await lane.prove()
        before = lane.proofs()["default"]
        outcome = await lane.run(make_job("1", limits=LIMITS))
        assert before is not None
        assert outcome.posture == before.posture.digest
        assert lane.proofs()["default"] is before
