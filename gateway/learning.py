"""From what programs broke to the smallest change of a policy file that would have admitted them, for a person to accept.

Rows in, another text of the same file out. Only imports are learned: that is what a policy grants by name. What
the checks are certain of, such as a misspelt name, is no reason to change a policy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from difflib import unified_diff
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from gateway.policy import Policy, Profile
from gateway.reader import Reader
from gateway.records import StoredAsked, StoredSpared

_PAGE: Final = 500
_DENIED: Final = "import.denied"
_NAME: Final = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_MODULE: Final = re.compile(_NAME, re.ASCII)
_TOLD: Final = re.compile(f"`({_NAME})`", re.ASCII)
_LONGEST: Final = 199  # characters: a longer one may have been cut
_NOT_TEXT: Final = frozenset({"true", "false", "null"})  # to YAML, in any case


@dataclass(slots=True)
class Wish:
    """What the programs of one profile would have needed, and how many executions needed each."""

    modules: dict[str, int] = field(default_factory=dict)


def wishes(spared: Iterable[StoredSpared], refused: Iterable[tuple[StoredAsked, Sequence[str]]]) -> dict[str, Wish]:
    """By profile, what ran although it broke rules and what was refused for its imports (the modules of each)."""
    found: dict[str, Wish] = {}
    for row in spared:
        wish = found.setdefault(row.event.profile, Wish())
        for module in {one.subject for one in row.event.breaches if one.rule == _DENIED and _is_module(one.subject)}:
            wish.modules[module] = wish.modules.get(module, 0) + 1
    for asked, modules in refused:
        wish = found.setdefault(asked.profile, Wish())
        for module in set(filter(_is_module, modules)):
            wish.modules[module] = wish.modules.get(module, 0) + 1
    return {profile: wish for profile, wish in found.items() if wish.modules}


def _is_module(subject: str) -> bool:
    """Whether it can stand in a policy. What a program hands to an importer may be any text, also lines of YAML."""
    return len(subject) <= _LONGEST and _MODULE.fullmatch(subject) is not None


def refusals(reader: Reader, since: datetime) -> Iterator[tuple[StoredAsked, Sequence[str]]]:
    """The programs that were refused since then for what they import, with the modules of each."""
    after = ""
    while rows := reader.asked(since, after, _PAGE):
        yield from ((row, modules) for row in rows if (modules := denied_modules(row.answer)))
        after = rows[-1].id


def denied_modules(answer: str | None) -> tuple[str, ...]:
    """The modules for which a recorded answer says that a program was refused."""
    findings = json.loads(answer).get("findings") or () if answer else ()
    told = (_TOLD.search(one["message"]) for one in findings if one["rule"] == _DENIED)
    return tuple(match[1] for match in told if match)


def learned(text: str, policy: Policy, found: Mapping[str, Wish]) -> str:
    """The text of the policy's file with the smallest change that admits what was wished; all else stays as it is written.

    A module is taken out of `deny`, and added to `allow` where there is one, in the section of the file that says so.
    """
    for name, wish in found.items():
        profile = policy.profiles.get(name)
        for module in _broadest(wish.modules) if profile else ():
            text = _admit(text, policy, profile, module) if profile else text
    return text


def _broadest(modules: Iterable[str]) -> list[str]:
    """Those that no other one covers: who gets `json` needs no `json.loads`."""
    wanted = set(modules)
    return sorted(one for one in wanted if wanted.isdisjoint(_parents(one) - {one}))


def _parents(module: str) -> set[str]:
    """The module and all above it."""
    return {module[:end] for end in (*(at for at, one in enumerate(module) if one == "."), len(module))}


def _admit(text: str, policy: Policy, profile: Profile, module: str) -> str:
    parents = _parents(module)
    rules = profile.checks.imports
    if parents & set(rules.deny):
        text = _edit(text, policy, profile, "deny", gone=parents)
    if rules.allow is not None and not parents & set(rules.allow):
        text = _edit(text, policy, profile, "allow", more=module)
    return text


def _edit(  # noqa: PLR0913  # where it is, and what becomes of it
    text: str,
    policy: Policy,
    profile: Profile,
    name: str,
    *,
    gone: AbstractSet[str] = frozenset(),
    more: str | None = None,
) -> str:
    """The text with another list, where the file has it."""
    where = policy.said_at(profile.name, ("checks", "imports", name))
    if where is None:
        return text
    around: object = YAML().load(text)
    for part in where[:-1]:
        around = around[part]  # type: ignore[index]  # the policy was read from this text
    items = around[name] if isinstance(around, CommentedMap) else None
    if not isinstance(items, CommentedSeq) or not isinstance(around, CommentedMap):
        return text
    kept = [str(one) for one in items if one not in gone]
    wanted = [*kept, more] if more is not None and more not in kept else kept
    if items.fa.flow_style() or not items:
        return _flowing(text, items.lc.line, items.lc.col, wanted)
    return _standing(text, items, around.lc.key(name)[0], wanted)


def _written(module: str) -> str:
    return f'"{module}"' if module.lower() in _NOT_TEXT else module


def _flowing(text: str, line: int, column: int, wanted: Sequence[str]) -> str:
    """`[a, b]` with other items."""
    start = sum(len(one) for one in text.splitlines(keepends=True)[:line]) + column
    end = text.index("]", start) + 1
    return f"{text[:start]}[{', '.join(map(_written, wanted))}]{text[end:]}"


def _standing(text: str, items: CommentedSeq, key: int, wanted: Sequence[str]) -> str:
    """A list of one item a line with other items: those that stay keep their lines, what is new is at the end."""
    lines = text.splitlines(keepends=True)
    places = [items.lc.item(index)[0] for index in range(len(items))]
    last = lines[places[-1]]
    end = "\r\n" if last.endswith("\r\n") else "\n"
    new = [f"{last[: len(last) - len(last.lstrip())]}- {_written(one)}{end}" for one in wanted if one not in items]
    lines[places[-1]] = f"{last.rstrip()}{end}" if new else last
    drop = {place for place, one in zip(places, items, strict=True) if one not in wanted}
    if not wanted:
        lines[key] = lines[key].replace(":", ": []", 1)
    kept = [line for number, line in enumerate(lines[: places[-1] + 1]) if number not in drop]
    return "".join([*kept, *new, *lines[places[-1] + 1 :]])


def as_diff(old: str, new: str, file: str) -> str:
    """What changes, as `diff -u` and `patch` have it."""
    lines = unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), fromfile=file, tofile=f"{file} (learned)"
    )
    return "".join(lines)
