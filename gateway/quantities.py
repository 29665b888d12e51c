"""Quantities as Kubernetes writes them: cores (`500m`), sizes (`128Mi`), durations (`30s`), and back to text.

Pure. The policy file and the HTTP request models share these types, so both read and refuse alike.
Must not know what a quantity is for, nor how much anybody may have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

_LONGEST_TEXT: Final = 32  # characters; the longest sensible quantity has less than half of it
_WIDEST_NUMBER: Final = 64  # bits; Python refuses to print integers of many thousand digits
# ASCII digits only, and no leading zero: `0755` is octal to some readers and decimal to others.
_NUMBER: Final = r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?"
_TEXT: Final = re.compile(rf"({_NUMBER})([A-Za-z]*)")


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of quantity: its units (suffix → how many base units) and the range that makes sense at all."""

    noun: str
    examples: tuple[str, ...]
    units: Mapping[str, Fraction]
    least: tuple[Fraction, str]
    most: tuple[Fraction, str]

    def parse(self, given: object) -> Fraction:
        """Read a number or a text, exactly; raises `PydanticCustomError` (a ValueError) that says what to write."""
        amount = self._amount(given)
        if amount is None:
            raise _refused(given, f"is not {self.noun} (write {', '.join(self.examples)})")
        if amount < self.least[0]:
            raise _refused(given, f"is less than {self.least[1]}, the least that makes sense for {self.noun}")
        if amount > self.most[0]:
            raise _refused(given, f"is more than {self.most[1]}, the most that makes sense for {self.noun}")
        return amount

    def _amount(self, given: object) -> Fraction | None:
        if isinstance(given, bool):  # an int to Python, a mistake to everybody else
            return None
        if isinstance(given, int):
            return Fraction(given)
        if isinstance(given, float):
            # Through repr, so that 0.1 is a tenth and not its nearest binary neighbour.
            return Fraction(repr(given)) if abs(given) < float("inf") else None
        if not isinstance(given, str) or len(given) > _LONGEST_TEXT:
            return None
        match = _TEXT.fullmatch(given)
        unit = self.units.get(match[2]) if match else None
        return Fraction(match[1]) * unit if match and unit else None

    @property
    def pattern(self) -> str:
        """A regular expression for editors and API clients; `parse` is stricter (range, wholeness)."""
        return rf"^{_NUMBER}({'|'.join(unit for unit in self.units if unit)})?$"


def _refused(given: object, why: str) -> PydanticCustomError:
    return PydanticCustomError("quantity", "{problem}", {"problem": f"{shown(given)} {why}"})


def shown(value: object) -> str:
    """Return a value as a message may quote it: short, on one line, safe to print whatever it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > _WIDEST_NUMBER:
        return "a number of many digits"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return ascii(value) if len(value) <= _LONGEST_TEXT else f"{value[:_LONGEST_TEXT]!a}..."
    return {dict: "a map", list: "a list", tuple: "a list", type(None): "nothing"}.get(type(value), "this")


# Where a unit's order matters it is the order in which a formatter tries them.
_CORES: Final = _Kind(
    noun="an amount of cores",
    examples=("500m", "2"),
    units={"": Fraction(1), "m": Fraction(1, 1000)},
    least=(Fraction(1, 1000), "1m"),
    most=(Fraction(1024), "1024"),
)
_SIZE: Final = _Kind(
    noun="a size",
    examples=("512Mi", "2Gi"),
    units={
        **{f"{letter}i": Fraction(1024**power) for letter, power in (("T", 4), ("G", 3), ("M", 2), ("K", 1))},
        **{letter: Fraction(1000**power) for letter, power in (("T", 4), ("G", 3), ("M", 2), ("k", 1))},
        "": Fraction(1),
    },
    least=(Fraction(1), "1 byte"),
    most=(Fraction(1 << 50), "1024Ti"),
)
_DURATION: Final = _Kind(
    noun="a duration",
    examples=("500ms", "30s", "5m", "24h", "7d"),
    units={
        "d": Fraction(86400),
        "h": Fraction(3600),
        "m": Fraction(60),
        "s": Fraction(1),
        "ms": Fraction(1, 1000),
        "": Fraction(1),
    },
    least=(Fraction(1, 1000), "1ms"),
    most=(Fraction(366 * 86400), "366d"),
)


FOREVER: Final = "forever"
"""The word for a time to keep that never ends."""
_KEEPING: Final = replace(
    _DURATION,
    noun="a time to keep",
    examples=("1h", "30d", FOREVER),
    most=(Fraction(36600 * 86400), "36600d, a hundred years"),
)


def parse_cores(given: object) -> float:
    """Read cores (`"500m"`, `"2"`, `0.5`), from 1m to 1024; raises ValueError with the text to write instead."""
    return float(_CORES.parse(given))


def parse_size(given: object) -> int:
    """Read bytes (`"128Mi"`, `"1M"`, `1024`), whole, from 1 to 1024Ti; raises ValueError as `parse_cores`."""
    size = _SIZE.parse(given)
    if size.denominator != 1:
        raise _refused(given, "is not a whole number of bytes (write 512Mi, 2Gi)")
    return int(size)


def parse_seconds(given: object) -> float:
    """Read seconds (`"500ms"`, `"7d"`, `30`), from 1ms to 366d; raises ValueError as `parse_cores`."""
    return float(_DURATION.parse(given))


def parse_keeping(given: object) -> float | None:
    """Read seconds to keep something (`"30d"`), or None for ever (`"forever"`); raises ValueError as `parse_cores`.

    None itself is read too: that is how resolved policies have it.
    """
    return None if given is None or given == FOREVER else float(_KEEPING.parse(given))


def format_cores(cores: float) -> str:
    """Write cores so that `parse_cores` gives the same number again."""
    if cores == int(cores):
        return str(int(cores))
    thousandths = round(cores * 1000)
    return f"{thousandths}m" if thousandths / 1000 == cores else repr(cores)


def format_size(size: float) -> str:
    """Write whole bytes so that `parse_size` gives the same number again."""
    for unit, factor in _SIZE.units.items():
        if size and size % int(factor) == 0:
            return f"{int(size) // int(factor)}{unit}"
    return str(int(size))


def format_keeping(seconds: float | None) -> str:
    """Write a time to keep so that `parse_keeping` gives the same again."""
    return FOREVER if seconds is None else format_seconds(seconds)


def format_seconds(seconds: float) -> str:
    """Write seconds so that `parse_seconds` gives the same number again."""
    if not seconds:
        return "0s"
    for unit, factor in _DURATION.units.items():
        if factor >= 1 and seconds % int(factor) == 0:
            return f"{int(seconds) // int(factor)}{unit}"
    thousandths = round(seconds * 1000)
    return f"{thousandths}ms" if thousandths / 1000 == seconds else f"{seconds!r}s"


def _schema(kind: _Kind, number: str, *words: str) -> WithJsonSchema:
    """What a quantity may look like, for editors and clients; besides, one of `words`."""
    text = {"type": "string", "pattern": kind.pattern, "maxLength": _LONGEST_TEXT}
    forms = [text, {"type": number, "exclusiveMinimum": 0}, *({"const": word} for word in words)]
    return WithJsonSchema({"anyOf": forms, "examples": list(kind.examples)})


Cores = Annotated[float, BeforeValidator(parse_cores), _schema(_CORES, "number")]
"""CPU cores as a float: half of one core is `500m` or 0.5."""

Size = Annotated[int, BeforeValidator(parse_size), _schema(_SIZE, "integer")]
"""Whole bytes: `128Mi`, `1Gi`, `512Ki` (powers of 1024), `1M` (powers of 1000), or a number."""

Seconds = Annotated[float, BeforeValidator(parse_seconds), _schema(_DURATION, "number")]
"""Seconds as a float: `500ms`, `30s`, `5m`, `24h`, `7d`, or a number."""

Keeping = Annotated[float | None, BeforeValidator(parse_keeping), _schema(_KEEPING, "number", FOREVER)]
"""Seconds to keep something as a float, None for ever: `1h`, `30d`, `forever`."""

Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
"""A whole number of things, at least one."""
