"""The policy: who may run what, with how much, how often it may fail, and who rules then.

Pure: a document in, a `Policy` out, in which every profile is resolved, or all the reasons why it cannot be.
Must not know YAML, files, the clock or the environment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final, TypeAlias

from gateway.limits import FORMATS, LEAST, NO_BOX, LimitsRequest, Violation, limits_for, raised_limits
from gateway.policy_flaws import Flaw, Path, console_flaws, mail_flaws, review_flaws
from gateway.policy_keys import Console, Key
from gateway.policy_notices import Mail, Webhook
from gateway.policy_programs import CacheScope, CheckMode, Checks, Imports, IsolationMode, Retention, Retries, TypeCheck
from gateway.policy_shape import Ceilings, Engine, PolicyDocument, Profile, ProfileEntry
from gateway.quantities import format_seconds, shown

__all__ = [
    "DEFAULT_PROFILE",
    "CacheScope",
    "Ceilings",
    "CheckMode",
    "Checks",
    "Console",
    "Engine",
    "Flaw",
    "Imports",
    "Key",
    "LimitsRequest",
    "Mail",
    "Policy",
    "PolicyDocument",
    "Profile",
    "Retention",
    "Retries",
    "TypeCheck",
    "Violation",
    "Webhook",
    "closest",
    "limits_for",
    "raised_limits",
    "resolve",
]

Layer: TypeAlias = tuple[Path, Mapping[str, object]]
Order: TypeAlias = tuple[Path, float, Path, float, Callable[[float], str]]

DEFAULT_PROFILE: Final = "default"
"""The profile of callers to whom no key gives another. It always exists: without an entry it is `defaults`."""


_MOST_ANCESTORS: Final = 16  # nobody follows longer ones, and to resolve a chain takes the square of its length


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One policy file, resolved: immutable, and free of contradictions."""

    name: str
    engine: Engine
    ceilings: Ceilings
    profiles: Mapping[str, Profile]
    keys: tuple[Key, ...]
    webhooks: tuple[Webhook, ...]
    mail: Mail | None = None
    public_url: str | None = None
    console: Console = field(default_factory=Console)
    layers: Mapping[str, tuple[Layer, ...]] = field(default_factory=dict, compare=False, repr=False)
    """By profile: what it, each of its ancestors and `defaults` say themselves and where, nearest first."""
    places: Mapping[Path, str] = field(default_factory=dict, compare=False, repr=False)
    """Where the file says what, as `file:line`; what is not in it is built in."""

    def said_at(self, profile_name: str, path: Path) -> Path | None:
        """Where the value at `path` of that profile is said, as keys from the root; None where it is built in."""
        return next((where + path for where, said in self.layers.get(profile_name, ()) if _says(said, path)), None)

    def resolve(self, profile_name: str) -> Profile:
        """Return the profile of that name; KeyError when there is none. Every key's profile exists."""
        return self.profiles[profile_name]


def resolve(document: PolicyDocument, *, name: str) -> Policy | tuple[Flaw, ...]:
    """Resolve all profiles and check that everything agrees; `name` is the policy's where the document has none."""
    entries = {DEFAULT_PROFILE: ProfileEntry()} | document.profiles
    profiles: dict[str, Profile] = {}
    said: dict[str, tuple[Layer, ...]] = {}
    flaws: dict[Flaw, None] = {}  # several profiles may inherit one flaw: told once, in order
    for profile_name in entries:
        line = _lineage(profile_name, entries)
        if isinstance(line, Flaw):
            flaws[line] = None
            continue
        layers = _layers(line, entries, document)
        profile = _resolved(profile_name, document.name or name, layers, document.ceilings)
        flaws |= dict.fromkeys(_profile_flaws(profile, layers))
        flaws |= dict.fromkeys(
            Flaw(_said_at(layers, one.path), one.message, one.suggestion)
            for one in review_flaws(profile.review, document)
        )
        profiles[profile_name], said[profile_name] = profile, tuple(layers)
    flaws |= dict.fromkeys(_key_flaws(document.keys, entries))
    flaws |= dict.fromkeys(_webhook_flaws(document.webhooks))
    flaws |= dict.fromkeys(mail_flaws(document.mail))
    flaws |= dict.fromkeys(console_flaws(document))
    if flaws:
        return tuple(flaws)
    return Policy(
        name=document.name or name,
        engine=document.engine,
        ceilings=document.ceilings,
        profiles=MappingProxyType(profiles),
        keys=document.keys,
        webhooks=document.webhooks,
        layers=MappingProxyType(said),
        mail=document.mail,
        public_url=document.public_url,
        console=document.console,
    )


def closest(word: str, options: Iterable[str]) -> str | None:
    """Return the option that `word` was probably meant to be."""
    return next(iter(get_close_matches(word.lower(), list(options), n=1)), None)


def _lineage(name: str, entries: Mapping[str, ProfileEntry]) -> tuple[str, ...] | Flaw:
    """Return the profile and its ancestors, nearest first, or why that never ends."""
    line = [name]
    while parent := entries[line[-1]].extends:
        path = ("profiles", line[-1], "extends")
        if parent not in entries:
            return Flaw(path, f"{shown(parent)} is not a profile of this policy", closest(parent, entries))
        if parent in line:
            return _circle(line[line.index(parent) :], list(entries))
        if len(line) > _MOST_ANCESTORS:
            return Flaw(("profiles", name, "extends"), f"more than {_MOST_ANCESTORS} profiles stand above this one")
        line.append(parent)
    return tuple(line)


def _circle(members: list[str], names: list[str]) -> Flaw:
    """One flaw for one circle, wherever it was entered: at the first of its profiles."""
    first = members.index(min(members, key=names.index))
    around = [*members[first:], *members[:first], members[first]]
    return Flaw(("profiles", around[0], "extends"), f"{shown(around[1])} makes a circle: {' -> '.join(around)}")


def _layers(line: tuple[str, ...], entries: Mapping[str, ProfileEntry], document: PolicyDocument) -> list[Layer]:
    """Return what each ancestor says itself and where, nearest first; `defaults` come last."""
    said: list[Layer] = [
        (("profiles", name), entries[name].model_dump(exclude_unset=True, exclude={"extends"})) for name in line
    ]
    return [*said, (("defaults",), document.defaults.model_dump(exclude_unset=True))]


def _resolved(name: str, policy: str, layers: list[Layer], ceilings: Ceilings) -> Profile:
    merged: dict[str, object] = {}
    for _, said in reversed(layers):
        merged = _merged(merged, said)
    return Profile.model_validate({**merged, "name": name, "policy": policy, "ceilings": ceilings})


def _merged(under: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    """Maps merge; everything else, lists too, replaces."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _profile_flaws(profile: Profile, layers: list[Layer]) -> Iterator[Flaw]:
    for lesser, low, greater, high, show in _orders(profile):
        if low > high:
            message = f"{_dotted(lesser)} {show(low)} is more than {_dotted(greater)} {show(high)}"
            yield Flaw(_said_at(layers, lesser, greater), message)
    if profile.isolation.preload and profile.isolation.mode is not IsolationMode.CELL:
        path = _said_at(layers, ("isolation", "preload"), ("isolation", "mode"))
        yield Flaw(path, "isolation.preload is for cells, and isolation.mode is container")
    for limit, span in profile.limits:
        least, show = LEAST[limit], FORMATS[limit]
        if span.default < least:
            message = f"limits.{limit}.default {show(span.default)} is less than {show(least)}, {NO_BOX}"
            yield Flaw(_said_at(layers, ("limits", limit, "default")), message)


def _orders(profile: Profile) -> Iterator[Order]:
    """Yield all pairs of which the first must not exceed the second."""
    ceilings: dict[str, float] = dict(profile.ceilings)
    for limit, span in profile.limits:
        default, most, ceiling = ("limits", limit, "default"), ("limits", limit, "max"), ("ceilings", limit)
        yield default, span.default, most, span.max, FORMATS[limit]
        yield most, span.max, ceiling, ceilings[limit], FORMATS[limit]
    yield ("retries", "base"), profile.retries.base, ("retries", "cap"), profile.retries.cap, format_seconds
    grants = profile.review.grants_per_task
    yield ("review", "grants_per_task"), grants, ("ceilings", "grants_per_task"), ceilings["grants_per_task"], str


def _said_at(layers: list[Layer], *paths: Path) -> Path:
    """Return where the nearest layer says one of the values; the ceiling among them where none does."""
    for where, said in layers:
        for path in paths:
            if _says(said, path):
                return (*where, *path)
    return paths[-1]


def _says(said: object, path: Path) -> bool:
    for key in path:
        if isinstance(said, tuple):
            said = dict(enumerate(said))
        if not isinstance(said, Mapping) or key not in said:
            return False
        said = said[key]
    return True


def _dotted(path: Path) -> str:
    return ".".join(str(key) for key in path)


def _key_flaws(keys: tuple[Key, ...], profiles: Mapping[str, ProfileEntry]) -> Iterator[Flaw]:
    named: dict[str, int] = {}
    hashed: dict[str, int] = {}
    for index, key in enumerate(keys):
        if named.setdefault(key.name, index) != index:
            yield Flaw(("keys", index, "name"), f"{shown(key.name)} is the name of another key already")
        known = key.sha256 or (key.jwt.model_dump_json(exclude={"keys_file"}) if key.jwt else key.name)
        if hashed.setdefault(known, index) != index:
            again = shown(keys[hashed[known]].name)
            told = "key" if key.sha256 else "key of the same tokens as"
            yield Flaw(("keys", index, "sha256" if key.sha256 else "jwt"), f"this is the {told} {again} again")
        if key.profile not in profiles:
            message = f"{shown(key.profile)} is not a profile of this policy"
            yield Flaw(("keys", index, "profile"), message, closest(key.profile, profiles))


def _webhook_flaws(webhooks: tuple[Webhook, ...]) -> Iterator[Flaw]:
    named: dict[str, int] = {}
    for index, webhook in enumerate(webhooks):
        if named.setdefault(webhook.name, index) != index:
            yield Flaw(("webhooks", index, "name"), f"{shown(webhook.name)} is the name of another webhook already")
        if (webhook.secret_env is None) is (webhook.secret_file is None):
            yield Flaw(
                ("webhooks", index), "a webhook needs a secret: write secret_env or secret_file, and one of them"
            )
        if webhook.base > webhook.cap:
            bounds = f"base {format_seconds(webhook.base)} is more than cap {format_seconds(webhook.cap)}"
            yield Flaw(("webhooks", index, "base"), bounds)
