"""The janitor: removes boxes that nobody can want any more.

Whose a box is it tells from labels alone, never from a name. Labels are input: on a shared engine
anybody may have written them. It knows who owns what only by asking its caller.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from sandbox.engine import Engine, EngineError
from sandbox.profile import ATTEMPT_LABEL, DEADLINE_LABEL, EXECUTION_LABEL, INSTANCE_LABEL

# How far the clocks of two gateways on one engine may differ before one removes what the other still waits for.
CLOCK_SKEW_SECONDS: Final = 600
AT_ONCE: Final = 2  # fewer than the engine's spare calls: questions must not wait for the janitor

_ATTEMPT: Final = re.compile("[0-9]{1,9}")
_SECONDS: Final = re.compile("[0-9]{1,12}")

log = logging.getLogger(__name__)


async def reap(engine: Engine, *, instance: str, owned: Callable[[tuple[str, int]], bool]) -> int:
    """Remove what `abandoned` names, and count it; raises EngineError when the engine cannot even be asked.

    A box that the engine will not remove holds up no other; the next time tries it again.
    """
    found = await engine.labelled(INSTANCE_LABEL)
    now = time.time()
    reasons = {
        container: reason
        for container, labels in found.items()
        if (reason := abandoned(labels, instance=instance, owned=owned, now=now)) is not None
    }
    few = asyncio.Semaphore(AT_ONCE)

    async def remove(container: str) -> bool:
        try:
            async with few:
                await engine.remove(container)
        except EngineError as error:
            log.warning("could not remove box %s: %s", _shown(container, found[container]), error)
            return False
        log.info("removed box %s: %s", _shown(container, found[container]), reasons[container])
        return True

    removed = await asyncio.gather(*(remove(container) for container in reasons))
    if reasons:
        why = "; ".join(f"{number} because {reason}" for reason, number in Counter(reasons.values()).items())
        log.warning("removed %d of %d leftover boxes: %s", sum(removed), len(removed), why)
    return sum(removed)


def abandoned(
    labels: Mapping[str, str], *, instance: str, owned: Callable[[tuple[str, int]], bool], now: float
) -> str | None:
    """Why the container with these labels is to be removed, in words for an operator; None if it is to stay.

    `owned` tells whether somebody of `instance`, the asking one, has that (execution, attempt); `now` is in seconds
    since the epoch. Another instance's box goes only when its own deadline passed long ago: its owner's data may be
    gone for ever. What is not labelled as a box of ours would be is not ours to remove.
    """
    owner, deadline = labels.get(INSTANCE_LABEL), labels.get(DEADLINE_LABEL, "")
    execution, attempt = labels.get(EXECUTION_LABEL, ""), labels.get(ATTEMPT_LABEL, "")
    if owner == instance:
        number = int(attempt) if _ATTEMPT.fullmatch(attempt) else -1
        return None if owned((execution, number)) else "nobody owns it"
    if not owner or not execution or not _ATTEMPT.fullmatch(attempt) or not _SECONDS.fullmatch(deadline):
        return None
    return "its time passed long ago under another gateway" if int(deadline) + CLOCK_SKEW_SECONDS < now else None


def _shown(container: str, labels: Mapping[str, str]) -> str:
    """A box in one line of the log, whatever its labels are."""
    whose = [labels.get(label, "")[:80] for label in (INSTANCE_LABEL, EXECUTION_LABEL, ATTEMPT_LABEL)]
    return f"{container[:12]} {whose!r}"
