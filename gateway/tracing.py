"""Whose trace a piece of work belongs to (W3C Trace Context), and the port to whoever draws it.

Pure. What a caller sends is kept as it came, or not at all: a header that is not in order begins no trace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

TRACEPARENT: Final = b"traceparent"
TRACESTATE: Final = b"tracestate"
LONGEST_STATE: Final = 512
"""Characters of `tracestate`: what the standard asks everybody to pass on, and all that is kept."""

_PARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]*)?")
_MEMBER: Final = re.compile(r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~]")

Value: TypeAlias = str | bool | int | float


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A place in a trace: `parent` is a `traceparent` of version 00, `state` a `tracestate` or empty."""

    parent: str
    state: str = ""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return self.parent[3:35]

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits."""
        return self.parent[36:52]

    @property
    def flags(self) -> int:
        """The lowest bit: whether whoever began the trace records it."""
        return int(self.parent[53:55], 16)

    def headers(self) -> dict[str, str]:
        """What is sent on."""
        return {"traceparent": self.parent, **({"tracestate": self.state} if self.state else {})}


def context_in(headers: Iterable[tuple[bytes, bytes]]) -> TraceContext | None:
    """The caller's place in its trace; None where it says none, or not one. Names are in lower case."""
    parents, states = [], []
    for name, value in headers:
        if name == TRACEPARENT:
            parents.append(value.decode("latin-1").strip())
        elif name == TRACESTATE:
            states.append(value.decode("latin-1").strip())
    found = _PARENT.fullmatch(parents[0]) if len(parents) == 1 else None
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not trace.strip("0") or not span.strip("0"):
        return None
    return TraceContext(f"00-{trace}-{span}-{flags}", _state(",".join(states)))


def _state(text: str) -> str:
    members = [member.strip() for member in text.split(",") if member.strip()]
    whole = ",".join(members)
    names = {member.partition("=")[0] for member in members}
    sound = len(names) == len(members) <= 32 and all(_MEMBER.fullmatch(member) for member in members)  # noqa: PLR2004  # the standard's
    return whole if sound and len(whole) <= LONGEST_STATE else ""


class Span(Protocol):
    """A piece of time that is being drawn. `context` is what others refer to it by."""

    @property
    def context(self) -> TraceContext:
        """Its place."""
        ...

    def rename(self, name: str) -> None:
        """What it is called from now on."""
        ...

    def tell(self, attributes: Mapping[str, Value]) -> None:
        """Add attributes."""
        ...

    def event(self, name: str, attributes: Mapping[str, Value]) -> None:
        """Something happened in it."""
        ...

    def fail(self, kind: str) -> None:
        """It did not come to what it was for, and the platform is at fault; `kind` is a word of few."""
        ...

    def end(self, ended: float | None = None) -> None:
        """It is over, now or at a time in seconds since 1970."""
        ...


SpanKind: TypeAlias = Literal["server", "internal"]


class Tracer(Protocol):
    """Draws spans; quick, and never raises for what becomes of them."""

    def begin(  # noqa: PLR0913  # a span's parts
        self,
        name: str,
        attributes: Mapping[str, Value],
        *,
        parent: TraceContext | None,
        kind: SpanKind = "internal",
        links: Mapping[str, TraceContext] | None = None,
        began: float | None = None,
    ) -> Span:
        """Begin a span now, or at a time in seconds since 1970. `links` are by what they mean."""
        ...

    async def close(self) -> None:
        """Send what is left, for a moment."""
        ...
