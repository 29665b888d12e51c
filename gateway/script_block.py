"""What a program says of itself in its first comments (PEP 723): what it needs, and in `[tool.airlock]` how much of it.

Pure. The block is an agent's text: whatever is wrong with it is a complaint with a line, never an exception.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.limits import LimitsRequest
from gateway.quantities import Cores, Seconds, Size, shown

LIMITS: Final[Mapping[str, Literal["cpu", "memory", "time"]]] = {"cpu": "cpu", "memory": "memory", "timeout": "time"}
"""Key of `[tool.airlock]` -> the limit that it asks for."""

_MARK: Final = "# /// script"
_START: Final = re.compile(r"# /// ([a-zA-Z0-9-]+)")
_END: Final = "# ///"
_LARGEST: Final = 2 << 10  # characters of TOML, whose reader can take time that grows with the square of them: 15 ms
_REMEMBERED: Final = 64  # programs: each is asked about several times on its way
_REMEMBERED_CHARACTERS: Final = 32 << 10
_LONGEST: Final = 200  # characters of one requirement
_PLACE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_NO_LIMITS: Final = LimitsRequest()


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong in the block, and in which line of the program."""

    line: int
    message: str


@dataclass(frozen=True, slots=True)
class Declared:
    """What a block says. `lines` tells where each key stands; what is wrong is in `complaints`, and counts as not said."""

    limits: LimitsRequest = _NO_LIMITS
    lane: Literal["auto", "monty", "container"] | None = None
    dependencies: tuple[Requirement, ...] = ()
    requires_python: SpecifierSet | None = None
    lines: Mapping[str, int] | None = None
    complaints: tuple[Complaint, ...] = ()

    def line(self, key: str) -> int | None:
        """Where a key stands in the program."""
        return (self.lines or {}).get(key)


class _Airlock(BaseModel):
    """The table `[tool.airlock]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu: Cores | None = None
    memory: Size | None = None
    timeout: Seconds | None = None
    lane: Literal["auto", "monty", "container"] | None = None


NOTHING: Final = Declared()


def may_declare(code: str) -> bool:
    """Whether it is worth to look: nearly no program has a block."""
    return _MARK in code


def declared(code: str) -> Declared:
    """What the program's block says; `NOTHING` where it has none."""
    if not may_declare(code):
        return NOTHING
    return _remembered(code) if len(code) <= _REMEMBERED_CHARACTERS else _declared(code)


def _declared(code: str) -> Declared:
    found = [(line, content) for kind, line, content in blocks(code) if kind == "script"]
    if not found:
        return NOTHING
    first, content = found[0]
    if len(found) > 1:
        return _wrong(found[1][0], "a program has one `script` block at most")
    if len(content) > _LARGEST:
        return _wrong(first, f"a `script` block must not have more than {_LARGEST} characters")
    try:
        table = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = _PLACE.search(message)
        line = int(place[1]) if place and place[1] else content.count("\n")
        return _wrong(first + line, f"this is not TOML: {_PLACE.sub('', message)[:_LONGEST]}")
    except (RecursionError, ValueError):  # nested or numbered beyond what the reader bears
        return _wrong(first, "this TOML cannot be read")
    return _read(table, _Places(content, first))


_remembered = lru_cache(_REMEMBERED)(_declared)


def blocks(code: str) -> Iterator[tuple[str, int, str]]:
    """Every block: its type, the line where it begins, its content. What PEP 723's regular expression finds.

    That expression needs time that grows with the square of the lines, if each begins a block and none ends one.
    """
    lines = code.split("\n")
    at = run = last = 0  # `run` is where the comments around `at` end, `last` the last of them that ends a block
    while at < len(lines):
        start = _START.fullmatch(lines[at])
        if start is None:
            at += 1
            continue
        if run <= at:
            run, last = _comments(lines, at)
        if last < at + 2:
            at += 1
            continue
        content = "\n".join(line[2:] for line in lines[at + 1 : last]) + "\n"
        yield start[1], at + 1, content
        at = last + 1


def _comments(lines: list[str], at: int) -> tuple[int, int]:
    """Where the comments that go on from `at` end, and the last of them that ends a block."""
    last, end = -1, at
    while end < len(lines) and (lines[end] == "#" or lines[end].startswith("# ")):
        if lines[end] == _END:
            last = end
        end += 1
    return end, last


@dataclass(frozen=True, slots=True)
class _Places:
    """Where in the program something of the block stands."""

    content: str
    first: int

    def of(self, key: str) -> int:
        """The line that gives a key its value; the block's first where none is seen to."""
        found = re.search(rf"^[ \t]*(?:[\w.]*\.)?[\"']?{re.escape(key)}[\"']?[ \t]*=", self.content, re.MULTILINE)
        return self.first + (self.content.count("\n", 0, found.start()) + 1 if found else 0)


def _wrong(line: int, message: str) -> Declared:
    return Declared(complaints=(Complaint(line, message),))


def _read(table: Mapping[str, object], places: _Places) -> Declared:
    complaints: list[Complaint] = []
    airlock = _airlock(table.get("tool", {}), places, complaints)
    dependencies = tuple(_dependencies(table.get("dependencies", []), places, complaints))
    python = _requires_python(table.get("requires-python"), places, complaints)
    if complaints:
        return Declared(complaints=tuple(complaints))
    asked = {limit: getattr(airlock, key) for key, limit in LIMITS.items()}
    lines = {key: places.of(key) for key in (*LIMITS, "lane", "dependencies", "requires-python")}
    return Declared(LimitsRequest.model_construct(**asked), airlock.lane, dependencies, python, lines)


def _airlock(tool: object, places: _Places, complaints: list[Complaint]) -> _Airlock:
    own = tool.get("airlock", {}) if isinstance(tool, dict) else tool
    try:
        return _Airlock.model_validate(own)
    except ValidationError as error:
        for detail in error.errors(include_url=False)[:5]:
            key = str(detail["loc"][0]) if detail["loc"] else ""
            where = f"tool.airlock.{key[:_LONGEST]}" if key else "tool.airlock"
            known = f"unknown key (known here: {', '.join(_Airlock.model_fields)})"
            message = known if detail["type"] == "extra_forbidden" else detail["msg"]
            complaints.append(Complaint(places.of(key or "airlock"), f"{where}: {message[:_LONGEST]}"))
        return _Airlock()


def _dependencies(told: object, places: _Places, complaints: list[Complaint]) -> Iterator[Requirement]:
    if not isinstance(told, list):
        complaints.append(Complaint(places.of("dependencies"), "dependencies: this is not a list"))
        return
    for one in told:
        requirement = _requirement(one)
        if requirement is not None:
            yield requirement
        else:
            message = f"dependencies: {shown(one)} is not a requirement (write numpy or numpy>=2)"
            complaints.append(Complaint(places.of("dependencies"), message))


def _requirement(told: object) -> Requirement | None:
    try:
        return Requirement(told) if isinstance(told, str) and len(told) <= _LONGEST else None
    except (InvalidRequirement, RecursionError):
        return None


def _requires_python(told: object, places: _Places, complaints: list[Complaint]) -> SpecifierSet | None:
    if told is None:
        return None
    try:
        if isinstance(told, str) and len(told) <= _LONGEST:
            return SpecifierSet(told)
    except InvalidSpecifier:
        pass
    message = f"requires-python: {shown(told)} is not a range of versions (write >=3.11)"
    complaints.append(Complaint(places.of("requires-python"), message))
    return None
