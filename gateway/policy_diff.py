"""Two policies, key by key: what another file would change, whether that is wider or narrower, and for whom.

Pure. Compared is what binds each caller in the end, not how the files say it. What no key may say by itself, such as
whether another image is better, is only called different.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import reduce
from types import MappingProxyType
from typing import Final, TypeAlias

from pydantic import BaseModel

from gateway.explaining import dotted, leaves
from gateway.policy import Policy, Profile
from gateway.policy_keys import Key, OidcClient
from gateway.policy_notices import Webhook
from gateway.policy_shape import ProfileBody


class Way(StrEnum):
    """What a change does."""

    WIDER = "wider"  # more can be done, or by more people
    NARROWER = "narrower"
    DIFFERENT = "different"  # neither can be said of it


class Rule(Enum):
    """How the two values of a key are compared."""

    MORE = "a greater number is wider"
    LESS = "a smaller number is wider"
    MODULES_ALLOWED = "more modules are wider, and all of them where none is named"
    MODULES_DENIED = "more modules are narrower"
    ITEMS = "more items are wider"
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
        "review.when": Rule.OTHER,  # more questions let less run, and a spent budget without one ends its task
        "review.confidence": Rule.LESS,
        "review.reviewers": Rule.OTHER,
        "review.approvals": Rule.LESS,
        "review.four_eyes": Rule.OTHER,
        "review.grants_per_task": Rule.MORE,
        "review.remember": Rule.MORE,
        "review.expires": Rule.OTHER,
        "review.escalate": Rule.OTHER,
        "review.notify": Rule.OTHER,
        "rates.requests": Rule.MORE,
        "rates.burst": Rule.MORE,
        "rates.executions": Rule.MORE,
        "rates.streams": Rule.MORE,
        "quotas.executions": Rule.MORE,
        "quotas.cpu": Rule.MORE,
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
        "keys[].jwt": Rule.OTHER,
        "keys[].profile": Rule.OTHER,  # what that changes is told key by key
        "keys[].roles": Rule.ITEMS,
    }
)  # fmt: skip
"""Of every key that binds somebody, what a greater, longer or other value means. What is not here is only different."""


@dataclass(frozen=True, slots=True)
class Change:
    """One key whose value would change. `whom` are the callers that it binds, empty where it binds everybody."""

    key: str
    old: str
    new: str
    way: Way
    whom: tuple[str, ...] = ()


_Values: TypeAlias = Mapping[str, tuple[object, str]]  # by key: as it decides, and as a file has it


def differences(old: Policy, new: Policy) -> tuple[Change, ...]:
    """Everything that `new` would change, what binds everybody first."""
    return (
        *_compared(_section(old.engine, "engine"), _section(new.engine, "engine")),
        *_compared(_section(old.ceilings, "ceilings"), _section(new.ceilings, "ceilings")),
        *_keys(old, new),
        *_webhooks(old.webhooks, new.webhooks),
        *_mail(old, new),
        *_console(old.console.oidc, new.console.oidc),
        *_profiles(old, new),
    )


def _section(model: BaseModel, name: str) -> _Values:
    return {dotted(path): (_raw(model, path[1:]), shown) for path, shown in leaves(model, (name,), None)}


def _raw(model: object, path: Sequence[str | int]) -> object:
    return reduce(lambda inside, part: getattr(inside, str(part)), path, model)


def _body(profile: Profile) -> _Values:
    body: dict[str, tuple[object, str]] = {}
    for name in ProfileBody.model_fields:
        body |= _section(getattr(profile, name), name)
    return body


def _compared(old: _Values, new: _Values, whom: tuple[str, ...] = ()) -> Iterator[Change]:
    for key in dict.fromkeys([*old, *new]):
        (before, shown), (after, then) = old[key], new[key]
        if before != after:
            yield Change(key, shown, then, way(key, before, after, shown, then), whom)


def way(key: str, old: object, new: object, old_shown: str, new_shown: str) -> Way:  # one for each rule
    """What becomes of a key by another value. The values as they decide, and as a file has them."""
    direction = DIRECTIONS.get(key, Rule.OTHER)
    if isinstance(direction, tuple):
        known = old_shown in direction and new_shown in direction
        return _greater(direction.index(new_shown), direction.index(old_shown)) if known else Way.DIFFERENT
    match direction:
        case Rule.MORE if isinstance(old, int | float) and isinstance(new, int | float):
            return _greater(new, old)
        case Rule.LESS if isinstance(old, int | float) and isinstance(new, int | float):
            return _greater(old, new)
        case Rule.MODULES_ALLOWED:
            return _wider(_modules(old, ("",)), _modules(new, ("",)))
        case Rule.MODULES_DENIED:
            return _wider(_modules(new, ()), _modules(old, ()))
        case Rule.ITEMS:
            before, after = set(_modules(old, ())), set(_modules(new, ()))
            return Way.WIDER if before < after else Way.NARROWER if after < before else Way.DIFFERENT
        case _:
            return Way.DIFFERENT


def _greater(one: float, other: float) -> Way:
    return Way.WIDER if one > other else Way.NARROWER


def _modules(value: object, nothing: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(one) for one in value) if isinstance(value, tuple | frozenset) else nothing


def _wider(old: Sequence[str], new: Sequence[str]) -> Way:
    """A name stands for all below it: `os` covers `os.path`, and the empty name covers everything."""
    more, less = _covers(new, old), _covers(old, new)
    return Way.DIFFERENT if more is less else Way.WIDER if more else Way.NARROWER


def _covers(these: Sequence[str], those: Sequence[str]) -> bool:
    return all(any(not one or f"{other}.".startswith(f"{one}.") for one in these) for other in those)


def _keys(old: Policy, new: Policy) -> Iterator[Change]:
    before, after = {key.name: key for key in old.keys}, {key.name: key for key in new.keys}
    for name in dict.fromkeys([*before, *after]):
        if name not in after:
            yield Change(f"keys.{name}", _said(before[name]), "gone", Way.NARROWER, (_caller(before[name]),))
        elif name not in before:
            yield Change(f"keys.{name}", "not there", _said(after[name]), Way.WIDER, (_caller(after[name]),))
        else:
            yield from _key(before[name], after[name])


def _key(old: Key, new: Key) -> Iterator[Change]:
    for field in Key.model_fields:
        before, after = getattr(old, field), getattr(new, field)
        if before != after:
            shown, then = ("one", "another") if field == "sha256" else (_plain(before), _plain(after))
            yield Change(
                f"keys.{new.name}.{field}",
                shown,
                then,
                way(f"keys[].{field}", before, after, shown, then),
                (_caller(new),),
            )


def _plain(value: object) -> str:
    return f"[{', '.join(sorted(map(str, value)))}]" if isinstance(value, frozenset | tuple) else str(value)


def _said(key: Key) -> str:
    return f"{', '.join(sorted(key.roles))} of {_tenant(key)} by {key.profile}"


def _caller(key: Key) -> str:
    return f"{key.name} of {_tenant(key)}"


def _tenant(key: Key) -> str:
    return key.tenant or f"the claim {key.jwt.tenant_claim if key.jwt else ''}"


def _webhooks(old: Sequence[Webhook], new: Sequence[Webhook]) -> Iterator[Change]:
    """Only that, not what: an address may hold a token."""
    before, after = {one.name: one for one in old}, {one.name: one for one in new}
    for name in dict.fromkeys([*before, *after]):
        if name not in after or name not in before:
            shown, then = ("there", "gone") if name in before else ("not there", "there")
            yield Change(f"webhooks.{name}", shown, then, Way.DIFFERENT)
        else:
            for field in Webhook.model_fields:
                if getattr(before[name], field) != getattr(after[name], field):
                    yield Change(f"webhooks.{name}.{field}", "one", "another", Way.DIFFERENT)


def _mail(old: Policy, new: Policy) -> Iterator[Change]:
    """Only that, not what, as with webhooks."""
    for name, before, after in (("mail", old.mail, new.mail), ("public_url", old.public_url, new.public_url)):
        if before != after:
            words = ("one", "another") if before and after else ("there", "gone") if before else ("not there", "there")
            yield Change(name, *words, Way.DIFFERENT)


def _console(old: OidcClient | None, new: OidcClient | None) -> Iterator[Change]:
    """A way in that comes or goes; of its secret only that it is another."""
    if old is None or new is None:
        if old is not new:
            words = ("there", "gone", Way.NARROWER) if old else ("not there", "there", Way.WIDER)
            yield Change("console.oidc", *words)
        return
    for field in OidcClient.model_fields:
        before, after = getattr(old, field), getattr(new, field)
        if before != after:
            shown = ("one", "another") if "secret" in field else (_plain(before), _plain(after))
            yield Change(f"console.oidc.{field}", *shown, Way.DIFFERENT)


def _profiles(old: Policy, new: Policy) -> Iterator[Change]:
    """What changes for each caller, the callers of one change together; then of profiles that no key has."""
    whom: dict[tuple[str, str, str, Way], list[str]] = {}
    for name, before, after in _bound(old, new):
        if before.digest != after.digest:
            for one in _compared(_body(before), _body(after)):
                whom.setdefault((one.key, one.old, one.new, one.way), []).append(name)
    for (key, shown, then, how), names in whom.items():
        yield Change(key, shown, then, how, tuple(names))


def _bound(old: Policy, new: Policy) -> Iterator[tuple[str, Profile, Profile]]:
    before = {key.name: key for key in old.keys}
    for key in new.keys:
        if key.name in before:
            yield _caller(key), old.resolve(before[key.name].profile), new.resolve(key.profile)
    used = {key.profile for key in (*old.keys, *new.keys)}
    for name, profile in new.profiles.items():
        if name in old.profiles and name not in used:
            yield f"profile {name}", old.resolve(name), profile
