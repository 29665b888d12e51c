"""The sections about programs: how they are checked, run, tried again, answered from the cache, kept and told of.

Pure.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator, Field, StrictBool, StrictStr

from gateway.policy_words import Closed, Matching, in_order
from gateway.quantities import GIB, KIB, MIB, Cores, Count, Keeping, Seconds, Size
from sandbox.job import Cell

_Module = Annotated[StrictStr, Matching(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", "a module's name (write os or os.path)")]
_Runtime = Annotated[
    StrictStr, Matching(r"[A-Za-z0-9][\w.-]{0,63}", "a runtime's name (as the engine has it: runc, runsc)")
]
_Image = Annotated[StrictStr, Matching(r"[A-Za-z0-9][\w.:/@-]{0,254}", "an image (write name:tag or name@sha256:...)")]
_Package = Annotated[
    StrictStr,
    Matching(r"[A-Za-z0-9]([\w.-]{0,62}[A-Za-z0-9])?(==[\w.!+-]{1,64})?", "a package (write numpy or numpy==2.1.0)"),
]
_Packages = Annotated[tuple[_Package, ...], AfterValidator(in_order)]
_Modules = Annotated[tuple[_Module, ...], AfterValidator(in_order)]


class Imports(Closed):
    """Which modules a program may import. `allow` None is every module; `deny` wins."""

    allow: _Modules | None = None
    deny: _Modules = ()

    def admits(self, module: str) -> bool:
        """Whether `module` (dotted) may be imported; a rule for a package holds for all below it.

        For `from os import path` ask for `os.path`: nobody can tell from the outside whether it is a module.
        """
        parts = module.split(".")
        names = {".".join(parts[: end + 1]) for end in range(len(parts))}
        return names.isdisjoint(self.deny) and (self.allow is None or not names.isdisjoint(self.allow))


class TypeCheck(StrEnum):
    """What becomes of Monty's type findings. They are never a reason to refuse a program."""

    WARN = "warn"
    SKIP = "skip"


class CheckMode(StrEnum):
    """What becomes of a program that breaks a rule of the checks, and that could run in a box all the same."""

    ENFORCE = "enforce"  # it is refused
    WARN = "warn"  # it runs, and its caller is told
    AUDIT = "audit"  # it runs, and only the record and the reviewers are told


class Checks(Closed):
    """What happens before anything runs. A guardrail: the container is the boundary.

    `mode` says what becomes of findings of the rules that bind text alone; what no Python could run is always refused.
    Monty's compile time grows about 2.8 times with every nested function: 0.2 s at 14, more than 8 s at 18.
    """

    mode: CheckMode = CheckMode.ENFORCE
    imports: Imports = Imports()
    type_check: TypeCheck = TypeCheck.WARN
    source_size: Size = 256 * KIB
    nesting: Annotated[int, Field(strict=True, ge=1, le=14)] = 10


class Lanes(Closed):
    """Where programs may run besides the container.

    `shadow` is the share of the runs in Monty that are made again in a container, and compared.
    """

    monty: StrictBool = True
    monty_time: Seconds = 1.0
    shadow: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.0


class IsolationMode(StrEnum):
    """What a program does not share with any other."""

    CONTAINER = "container"  # a box of its own
    CELL = "cell"  # namespaces of its own, in a box that its tenant's programs use one after the other


class Isolation(Closed):
    """The box. `runtime` None is the engine's default; `preload` are modules that a cell imports before any program.

    `packages` are the distributions that the image has besides the standard library, with or without their version.
    """

    mode: IsolationMode = IsolationMode.CONTAINER
    preload: _Modules = ()
    image: _Image = "airlock-guest:latest"
    packages: _Packages = ()
    runtime: _Runtime | None = None

    def cell(self, owner: str) -> Cell | None:
        """The cell of `owner`, where programs run in cells."""
        return Cell(owner, self.preload) if self.mode is IsolationMode.CELL else None


class CpuRange(Closed):
    """Cores."""

    default: Cores = 1.0
    max: Cores = 2.0


class MemoryRange(Closed):
    """Bytes, with everything in the box counted: guest, program, page cache and the files on `disk`."""

    default: Size = 256 * MIB
    max: Size = GIB


class TimeRange(Closed):
    """Seconds on the wall clock."""

    default: Seconds = 30.0
    max: Seconds = 300.0


class PidsRange(Closed):
    """Processes and threads."""

    default: Count = 64
    max: Count = 256


class DiskRange(Closed):
    """Bytes of tmpfs; they count as memory, so a disk as large as the memory ends in out_of_memory, not in ENOSPC."""

    default: Size = 64 * MIB
    max: Size = 512 * MIB


class OutputRange(Closed):
    """Bytes kept of stdout, of stderr and of the result, each."""

    default: Size = 256 * KIB
    max: Size = 4 * MIB


class LimitRanges(Closed):
    """What a program gets without asking (`default`), and what it may ask for (`max`)."""

    cpu: CpuRange = CpuRange()
    memory: MemoryRange = MemoryRange()
    time: TimeRange = TimeRange()
    pids: PidsRange = PidsRange()
    disk: DiskRange = DiskRange()
    output: OutputRange = OutputRange()


class Retries(Closed):
    """The platform's own tries of one execution (the first included), and the waits between them in seconds.

    `memory`: what ran out of it is tried again with more, up to the limit's `max`.
    """

    attempts: Annotated[int, Field(strict=True, ge=1, le=10)] = 3
    base: Seconds = 0.5
    cap: Seconds = 30.0
    memory: StrictBool = True


class CacheScope(StrEnum):
    """Whose earlier result may answer a program that comes to the same each time."""

    NONE = "none"  # nobody's
    TENANT = "tenant"  # its own tenant's
    SHARED = "shared"  # that of any tenant with an equal profile


class Cache(Closed):
    """Whether results are used again."""

    scope: CacheScope = CacheScope.NONE


_DAY: Final = 86400.0


class Retention(Closed):
    """How many seconds after its answer what belongs to an execution is kept; None is for ever. The log always is.

    `keys` is the time in which an idempotency key stands for its execution. The policy of the day of deletion counts.
    """

    code: Keeping = 30 * _DAY
    output: Keeping = 30 * _DAY
    files: Keeping = 7 * _DAY
    keys: Keeping = 7 * _DAY


class Telemetry(Closed):
    """What traces tell. `content`: the task's name, code, inputs and output too, of each the first `content_size` bytes."""

    content: StrictBool = False
    content_size: Size = 4 * KIB
