"""Two policies, key by key: what another file would change, whether that is wider or narrower, and for whom.

Pure. Compared is what binds each caller in the end, not how the files say it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final, TypeAlias

from pydantic import BaseModel

from gateway.directions import Way, way
from gateway.explaining import dotted, leaves
from gateway.policy import Policy, Profile
from gateway.policy_keys import Key, OidcClient
from gateway.policy_notices import Webhook
from gateway.policy_shape import ProfileBody


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


_KEYLESS: Final = "every process of the machine is an agent"


def _keys(old: Policy, new: Policy) -> Iterator[Change]:
    before, after = {key.name: key for key in old.keys}, {key.name: key for key in new.keys}
    if bool(before) is not bool(after):
        words = ("a key is needed", _KEYLESS, Way.WIDER) if before else (_KEYLESS, "a key is needed", Way.NARROWER)
        yield Change("keys", *words)
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
    """Profiles that come or go, then what changes for each caller, the callers of one change together."""
    for name in dict.fromkeys([*old.profiles, *new.profiles]):
        if name not in old.profiles or name not in new.profiles:
            words = ("there", "gone") if name in old.profiles else ("not there", "there")
            yield Change(f"profiles.{name}", *words, Way.DIFFERENT)
    whom: dict[tuple[str, str, str, Way], list[str]] = {}
    for name, before, after in _bound(old, new):
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
