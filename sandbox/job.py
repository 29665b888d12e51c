"""What a lane is asked to do: a program, what it may use, and what it is given.

Pure data. Knows nothing of HTTP, policies, budgets or people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from sandbox.live import Live

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"


class Lane(StrEnum):
    """Where an attempt runs."""

    MONTY = "monty"
    CONTAINER = "container"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a job may use. Every field is a hard wall, none is a hint.

    `output_bytes` bounds what is kept of stdout and of stderr each, and of the result;
    `disk_bytes` bounds the only writable place, and what may be collected from it.
    """

    cpu_cores: float
    memory_bytes: int
    wall_seconds: float
    pids: int
    disk_bytes: int
    output_bytes: int


@dataclass(frozen=True, slots=True)
class Cell:
    """A box that `owner` reuses, one program after the other, each in namespaces of its own.

    `preload` are modules that are imported before any program is there.
    """

    owner: str
    preload: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that the program finds below its working directory; `path` is relative and clean."""

    path: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One try of one program.

    `execution` and `attempt` name it for labels and the janitor. `inputs` are bound to
    variables before the program's first line. `outputs` are globs, relative to the working
    directory, of the files to bring back. `runtime` None is the engine's default, `cell` None a box
    that nobody else ever gets. `live` is shown the output as it comes, by a lane that has it before the end.
    """

    execution: str
    attempt: int
    code: str = field(repr=False)
    limits: Limits
    image: str
    runtime: str | None = None
    cell: Cell | None = None
    inputs: Mapping[str, JsonValue] = field(default_factory=dict)
    stdin: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    files: tuple[InputFile, ...] = ()
    outputs: tuple[str, ...] = ()
    live: Live | None = field(default=None, compare=False, repr=False)
