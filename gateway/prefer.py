"""What headers say of how a caller wants its answer: `Prefer` (RFC 7240) whether and how long it waits, `Cache-Control` how new. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.errors import InvalidRequest

LONGEST_WAIT: Final = 600


@dataclass(frozen=True, slots=True)
class Preference:
    """How long to wait for an answer: as long as it takes for None. `respond_async`: rather not at all."""

    wait_seconds: int | None = None
    respond_async: bool = False
    wait: int | None = None  # as it was asked for

    def applied(self, *, accepted: bool) -> str:
        """What was done as it was preferred: nobody was answered asynchronously who got the final answer."""
        done = ["respond-async"] if self.respond_async and accepted else []
        return ", ".join([*done, f"wait={self.wait}"] if self.wait is not None else done)


def wants_it_fresh(values: Iterable[str]) -> bool:
    """Whether `Cache-Control` (RFC 9111) asks for a run although the result is known."""
    return any(directive.strip().lower() == "no-cache" for directive in ",".join(values).split(","))


def read(values: Iterable[str]) -> Preference:
    """Read all `Prefer` headers; other preferences are none of ours. Raises `InvalidRequest` for a wait beyond bounds."""
    said: dict[str, str] = {}
    for preference in ",".join(values).split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        said.setdefault(name.strip().lower(), value.strip().strip('"'))  # the first of a name holds
    respond_async = "respond-async" in said
    if "wait" in said:
        if not re.fullmatch("[0-9]{1,4}", said["wait"]) or int(said["wait"]) > LONGEST_WAIT:
            message = f"wait must be a whole number of seconds from 0 to {LONGEST_WAIT}"
            raise InvalidRequest(fields=(("Prefer", message),))
        wait = int(said["wait"])
        return Preference(wait, respond_async, wait)
    return Preference(0 if respond_async else None, respond_async)
