"""What a box may be, read as data."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sandbox import guest_protection, profile, seccomp
from sandbox.job import Job, Limits
from sandbox.profile import PROGRAM_USER, EngineFacts, HostConfig, container_options

LIMITS = Limits(
    cpu_cores=1.5, memory_bytes=256 << 20, wall_seconds=5, pids=32, disk_bytes=32 << 20, output_bytes=1 << 20
)
JOB = Job(execution="e1", attempt=2, code="print(1)", limits=LIMITS, image="sha256:abc", env={"TOKEN": "t"})
V1, V2 = EngineFacts(cgroup_version=1), EngineFacts(cgroup_version=2)
GVISOR = EngineFacts(cgroup_version=2, runtime="runsc")


def host(job: Job = JOB, engine: EngineFacts = V1) -> HostConfig:
    return container_options(job, engine=engine, instance="i", deadline=12.9, guest="pass").config["HostConfig"]


def test_everything_is_off() -> None:
    config = container_options(JOB, engine=V1, instance="i", deadline=12.9, guest="pass").config
    assert config["NetworkDisabled"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["python3", "-I", "-B", "-c", "pass"]
    assert config["Healthcheck"] == {"Test": ["NONE"]}
    assert not config["Tty"]
    assert config["StopSignal"] == "SIGKILL"
    options = config["HostConfig"]
    assert options["NetworkMode"] == "none"
    assert options["ReadonlyRootfs"]
    assert options["CapDrop"] == ["ALL"]
    assert options["SecurityOpt"][0] == "no-new-privileges:true"
    assert options["IpcMode"] == options["CgroupnsMode"] == "private"
    assert options["LogConfig"] == {"Type": "none", "Config": {}}
    assert options["RestartPolicy"] == {"Name": "no"}
    assert not options["Privileged"]
    assert not options["AutoRemove"]
    assert not options["Init"]


def test_nothing_that_opens_a_box_can_even_be_said() -> None:
    words = {"Binds", "Mounts", "Volumes", "VolumesFrom", "Devices", "DeviceRequests", "PidMode", "UTSMode"}
    words |= {"UsernsMode", "PortBindings", "PublishAllPorts", "Links", "ExtraHosts", "GroupAdd", "Sysctls"}
    words |= {"OomKillDisable", "CgroupParent", "Dns"}
    assert not words & HostConfig.__annotations__.keys()


def test_nothing_of_the_job_but_its_limits_and_names_is_told_to_the_engine() -> None:
    config = container_options(JOB, engine=V1, instance="i", deadline=12.9, guest="pass").config
    assert config["Env"] == ["LANG=C.UTF-8"]
    assert "print(1)" not in json.dumps(config)
    assert "TOKEN" not in json.dumps(config)


def test_limits_become_the_engines() -> None:
    options = host()
    assert options["Memory"] == options["MemorySwap"] == 256 << 20
    assert (options["CpuPeriod"], options["CpuQuota"]) == (100_000, 150_000)
    assert options["PidsLimit"] == 33
    assert options["Tmpfs"] == {"/tmp": f"rw,noexec,nosuid,nodev,size={32 << 20},nr_inodes=10000,mode=1777"}
    ulimits = {limit["Name"]: (limit["Soft"], limit["Hard"]) for limit in options["Ulimits"]}
    assert ulimits["fsize"] == (32 << 20, 32 << 20)
    assert ulimits["core"] == ulimits["memlock"] == ulimits["msgqueue"] == (0, 0)
    assert "nproc" not in ulimits


def test_a_sliver_of_a_processor_is_the_kernels_floor() -> None:
    assert host(replace(JOB, limits=replace(LIMITS, cpu_cores=0.001)))["CpuQuota"] == 1000


def test_cgroups_and_runtimes_differ_only_where_they_must() -> None:
    v1, v2, gvisor = host(engine=V1), host(engine=V2), host(engine=GVISOR)
    assert v1["MemorySwappiness"] == 0
    assert "MemorySwappiness" not in v2
    assert "Runtime" not in v1
    assert {**v1, "MemorySwappiness": None} == {**v2, "MemorySwappiness": None}
    assert {key for key in gvisor if gvisor.get(key) != v2.get(key)} == {"Runtime", "PidsLimit", "Ulimits", "CapAdd"}
    assert gvisor["Runtime"] == "runsc"
    assert gvisor["PidsLimit"] == 1024 + 10 * 33
    assert [limit for limit in gvisor["Ulimits"] if limit not in v2["Ulimits"]] == [
        {"Name": "nproc", "Soft": 32, "Hard": 32}
    ]


def test_the_guest_is_root_only_in_a_kernel_of_its_own_and_there_to_give_its_program_another_uid() -> None:
    for engine in (V1, V2, EngineFacts(cgroup_version=2, runtime="crun"), replace(GVISOR, runtime="runc")):
        config = container_options(JOB, engine=engine, instance="i", deadline=12.9, guest="pass").config
        assert config["User"] == PROGRAM_USER
        assert "CapAdd" not in config["HostConfig"]
    config = container_options(JOB, engine=GVISOR, instance="i", deadline=12.9, guest="pass").config
    assert config["User"] == "0:0"
    assert config["HostConfig"]["CapDrop"] == ["ALL"]
    assert config["HostConfig"]["CapAdd"] == ["SETUID", "SETGID", "KILL"]
    assert f"{guest_protection.PROGRAM_ID}:{guest_protection.PROGRAM_ID}" == PROGRAM_USER


def test_an_engine_whose_default_is_gvisor_is_given_what_gvisor_needs() -> None:
    facts = EngineFacts(cgroup_version=2, default_runtime="wall", gvisor_runtimes=frozenset({"wall"}))
    default, chosen = host(engine=facts), host(engine=replace(facts, runtime="runc"))
    assert "Runtime" not in default
    assert default["PidsLimit"] > 1024
    assert (chosen["Runtime"], chosen["PidsLimit"]) == ("runc", 33)


def test_a_box_says_whose_it_is_and_for_how_long() -> None:
    options = container_options(JOB, engine=V1, instance="gateway-1", deadline=12.9, guest="pass")
    assert options.name == "airlock-e1-2"
    assert options.config["Labels"] == {
        "airlock.instance": "gateway-1",
        "airlock.execution": "e1",
        "airlock.attempt": "2",
        "airlock.deadline": "12",
    }


def test_all_of_sys_but_the_boxs_own_counters_is_masked() -> None:
    masked = set(profile.MASKED_PATHS)
    children = ["block", "bus", "class", "dev", "devices", "firmware", "hypervisor", "kernel", "module", "power"]
    assert {f"/sys/{child}" for child in children} <= masked
    assert not any("/sys/fs/cgroup".startswith(path) for path in masked)


def test_the_seccomp_profile_is_a_short_allow_list() -> None:
    names = seccomp.allowed_names()
    assert len(names) <= 220
    rules = json.loads(seccomp.profile_json())
    assert rules["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {one["architecture"] for one in rules["archMap"]} == {"SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"}
    assert all(one["subArchitectures"] == [] for one in rules["archMap"])
    allowed = {name for rule in rules["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    assert allowed == names


@pytest.mark.parametrize(
    "name",
    [
        "io_uring_setup",
        "bpf",
        "userfaultfd",
        "keyctl",
        "add_key",
        "perf_event_open",
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
        "mount",
        "umount2",
        "unshare",
        "setns",
        "pivot_root",
        "chroot",
        "kexec_load",
        "init_module",
        "finit_module",
        "memfd_create",
        "memfd_secret",
        "setuid",
        "setgid",
        "setgroups",
        "setresuid",
        "capset",
        "chown",
        "inotify_init1",
        "fanotify_init",
        "mq_open",
        "shmget",
        "msgget",
        "semget",
        "vmsplice",
        "splice",
        "tee",
        "pidfd_getfd",
        "personality",
        "modify_ldt",
        "io_setup",
        "open_by_handle_at",
        "clock_settime",
        "reboot",
        "seccomp",
    ],
)
def test_the_seccomp_profile_leaves_out(name: str) -> None:
    assert name not in seccomp.allowed_names()


def test_calls_that_reach_further_than_the_caller_are_conditional() -> None:
    always = {name for group in seccomp.ALLOWED for name in group.names.split()}
    assert always.isdisjoint({rule.name for rule in seccomp.ALLOWED_WHEN})
    conditions = {(rule.name, rule.arguments, rule.mask) for rule in seccomp.ALLOWED_WHEN}
    assert ("socket", ((0, 1),), None) in conditions
    assert ("clone", ((0, 0),), 0x7E020000) in conditions
    assert ("prlimit64", ((0, 0),), None) in conditions
    assert ("mknodat", ((2, 0o010000),), 0o170000) in conditions
    clone3 = next(rule for rule in json.loads(seccomp.profile_json())["syscalls"] if rule["names"] == ["clone3"])
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)
