"""Which way is wider: of each key of a policy, what a greater, longer or other value lets be done.

Pure. What no key may say by itself, such as whether another image is better, is only called different.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from gateway.events import BEFORE_THE_RUN, EscalationReason
from gateway.policy_keys import Jwt
from gateway.policy_reviews import Level


class Way(StrEnum):
    """What a change does."""

    WIDER = "wider"  # more can be done, or by more people
    NARROWER = "narrower"
    DIFFERENT = "different"  # neither can be said of it


class Rule(Enum):
    """How the two values of a key are compared."""

    MORE = "a greater number is wider"
    MORE_OR_ALL = "a greater number is wider, and none at all the widest"
    MORE_OR_NOTHING = "a greater number is wider, and none at all the narrowest"
    LESS = "a smaller number is wider"
    MODULES_ALLOWED = "more modules are wider, and all of them where none is named"
    MODULES_DENIED = "more modules are narrower"
    ITEMS = "more items are wider"
    ITEMS_OR_ALL = "more items are wider, and all of them where none is named"
    FEWER_ITEMS = "fewer items are wider"
    REASONS = "fewer questions are wider, but for the one about a spent budget"
    LEVELS = "more people, or sooner, are wider"
    TOKENS = "fewer claims are wider"
    OTHER = "another value is only different"


Direction: TypeAlias = Rule | tuple[str, ...]
"""A rule, or a key's values from the narrowest to the widest, as a file writes them."""

_OFF_ON: Final = ("false", "true")

DIRECTIONS: Final[Mapping[str, Direction]] = MappingProxyType(
    {
        "engine.boxes": Rule.MORE,
        "engine.spares": Rule.OTHER,  # how fast, not how much
        "engine.memory": Rule.MORE,
        "engine.queue": Rule.MORE,
        "engine.queue_age": Rule.MORE,
        "engine.retry_share": Rule.MORE,
        "ceilings.cpu": Rule.MORE,
        "ceilings.memory": Rule.MORE,
        "ceilings.time": Rule.MORE,
        "ceilings.pids": Rule.MORE,
        "ceilings.disk": Rule.MORE,
        "ceilings.output": Rule.MORE,
        "ceilings.grants_per_task": Rule.MORE,
        "ceilings.failures": Rule.MORE,
        "checks.mode": ("enforce", "warn", "audit"),
        "checks.imports.allow": Rule.MODULES_ALLOWED,
        "checks.imports.deny": Rule.MODULES_DENIED,
        "checks.type_check": ("warn", "skip"),  # a name that surely does not exist is refused only where it is looked for
        "checks.source_size": Rule.MORE,
        "checks.nesting": Rule.MORE,
        "lanes.monty": Rule.OTHER,  # another wall, not a lower one
        "lanes.monty_time": Rule.OTHER,
        "lanes.shadow": Rule.OTHER,
        "isolation.mode": ("container", "cell"),
        "isolation.preload": Rule.OTHER,
        "isolation.image": Rule.OTHER,
        "isolation.packages": Rule.ITEMS,
        "isolation.runtime": Rule.OTHER,
        **{f"limits.{limit}.{end}": Rule.MORE for limit in ("cpu", "memory", "time", "pids", "disk", "output") for end in ("default", "max")},
        "retries.attempts": Rule.MORE,
        "retries.base": Rule.OTHER,
        "retries.cap": Rule.OTHER,
        "retries.memory": _OFF_ON,
        "budget.failures_in_a_row": Rule.MORE,
        "budget.failures_total": Rule.MORE,
        "budget.same_failure": Rule.MORE,
        "budget.anonymous_failures_in_a_row": Rule.MORE,
        "budget.anonymous_window": Rule.LESS,  # the sooner a fresh task begins, the more may fail
        "costs.policy_denied": Rule.LESS,
        "review.when": Rule.REASONS,  # a spent budget without a question ends its task
        "review.confidence": Rule.LESS,
        "review.reviewers": Rule.ITEMS_OR_ALL,
        "review.approvals": Rule.LESS,
        "review.four_eyes": Rule.FEWER_ITEMS,
        "review.grants_per_task": Rule.MORE,
        "review.remember": Rule.MORE_OR_NOTHING,
        "review.expires": Rule.OTHER,
        "review.escalate": Rule.LEVELS,
        "review.notify": Rule.OTHER,
        "rates.requests": Rule.MORE,
        "rates.burst": Rule.MORE,
        "rates.executions": Rule.MORE,
        "rates.streams": Rule.MORE,
        "quotas.executions": Rule.MORE_OR_ALL,
        "quotas.cpu": Rule.MORE_OR_ALL,
        "cache.scope": ("none", "tenant", "shared"),
        "retention.code": Rule.OTHER,  # who keeps more can explain more, and lose more
        "retention.output": Rule.OTHER,
        "retention.files": Rule.OTHER,
        "retention.keys": Rule.OTHER,
        "telemetry.content": _OFF_ON,
        "telemetry.content_size": Rule.MORE,
        "keys[].owner": Rule.OTHER,
        "keys[].tenant": Rule.OTHER,
        "keys[].sha256": Rule.OTHER,
        "keys[].jwt": Rule.TOKENS,
        "keys[].profile": Rule.OTHER,  # what that changes is told key by key
        "keys[].roles": Rule.ITEMS,
    }
)  # fmt: skip
"""Of every key that binds somebody, what a greater, longer or other value means. What is not here is only different."""


def way(key: str, old: object, new: object, old_shown: str, new_shown: str) -> Way:  # noqa: C901  # one for each rule
    """What becomes of a key by another value. The values as they decide, and as a file has them."""
    direction = DIRECTIONS.get(key, Rule.OTHER)
    if isinstance(direction, tuple):
        known = old_shown in direction and new_shown in direction
        return _greater(direction.index(new_shown), direction.index(old_shown)) if known else Way.DIFFERENT
    match direction:
        case Rule.MORE | Rule.MORE_OR_ALL | Rule.MORE_OR_NOTHING | Rule.LESS:
            return _number(direction, old, new)
        case Rule.MODULES_ALLOWED:
            return _wider(_modules(old, ("",)), _modules(new, ("",)))
        case Rule.MODULES_DENIED:
            return _wider(_modules(new, ()), _modules(old, ()))
        case Rule.ITEMS:
            return _more(set(_modules(old, ())), set(_modules(new, ())))
        case Rule.FEWER_ITEMS:
            return _more(set(_modules(new, ())), set(_modules(old, ())))
        case Rule.ITEMS_OR_ALL:
            return _wider(_modules(old, ()) or ("",), _modules(new, ()) or ("",))
        case Rule.REASONS:
            return _more(_without_question(old), _without_question(new))
        case Rule.LEVELS:
            return _agreed(_asks(new, old), _asks(old, new))
        case Rule.TOKENS if isinstance(old, Jwt) and isinstance(new, Jwt):
            same = old.model_copy(update={"claims": new.claims}) == new
            return _more(set(new.claims.items()), set(old.claims.items())) if same else Way.DIFFERENT
        case _:
            return Way.DIFFERENT


_NONE: Final = {Rule.MORE_OR_ALL: float("inf"), Rule.MORE_OR_NOTHING: 0.0}


def _number(rule: Rule, old: object, new: object) -> Way:
    before, after = (_NONE.get(rule) if one is None else one for one in (old, new))
    if not isinstance(before, int | float) or not isinstance(after, int | float):
        return Way.DIFFERENT
    return _greater(before, after) if rule is Rule.LESS else _greater(after, before)


def _more(old: AbstractSet[object], new: AbstractSet[object]) -> Way:
    return Way.WIDER if old < new else Way.NARROWER if new < old else Way.DIFFERENT


def _without_question(when: object) -> frozenset[object]:
    """What lets more be done: questions that are not asked, and the one without which a spent budget ends its task."""
    asked = frozenset[object](when) if isinstance(when, tuple) else frozenset[object]()
    if EscalationReason.ALWAYS in asked:
        asked |= BEFORE_THE_RUN
    return asked ^ (frozenset(EscalationReason) - {EscalationReason.BUDGET_EXHAUSTED})


def _asks(these: object, those: object) -> bool:
    """Whether these levels ask everybody whom those do, and no later."""
    mine, others = (
        [one for one in some if isinstance(one, Level)] if isinstance(some, tuple) else [] for some in (these, those)
    )
    return all(
        any(mate.after <= other.after and name in mate.to for mate in mine) for other in others for name in other.to
    )


def _greater(one: float, other: float) -> Way:
    return Way.WIDER if one > other else Way.NARROWER


def _modules(value: object, nothing: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(one) for one in value) if isinstance(value, tuple | frozenset) else nothing


def _wider(old: Sequence[str], new: Sequence[str]) -> Way:
    """A name stands for all below it: `os` covers `os.path`, and the empty name covers everything."""
    return _agreed(_covers(new, old), _covers(old, new))


def _agreed(more: bool, less: bool) -> Way:  # noqa: FBT001  # both are answers to one question
    """What it is that new values cover old ones, and the other way round."""
    return Way.DIFFERENT if more is less else Way.WIDER if more else Way.NARROWER


def _covers(these: Sequence[str], those: Sequence[str]) -> bool:
    return all(any(not one or f"{other}.".startswith(f"{one}.") for one in these) for other in those)
