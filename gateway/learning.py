"""From what programs broke to the smallest change of a policy file that would have admitted them, for a person to accept.

Rows in, another text of the same file out. Only imports are learned: that is what a policy grants by name. What
the checks are certain of, such as a misspelt name, is no reason to change a policy.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from difflib import unified_diff
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from gateway.connection import Reader
from gateway.policy import Policy, Profile
from gateway.records import StoredAsked, StoredSpared

_PAGE: Final = 500
_DENIED: Final = "import.denied"
_MODULE: Final = re.compile(r"`([A-Za-z_][\w.]{0,199})`")


@dataclass(slots=True)
class Wish:
    """What the programs of one profile would have needed, and how many executions needed each."""

    modules: dict[str, int] = field(default_factory=dict)


def wishes(spared: Iterable[StoredSpared], refused: Iterable[tuple[StoredAsked, Sequence[str]]]) -> dict[str, Wish]:
    """By profile, what ran although it broke rules and what was refused for its imports (the modules of each)."""
    found: dict[str, Wish] = {}
    for row in spared:
        wish = found.setdefault(row.event.profile, Wish())
        for module in {one.subject for one in row.event.breaches if one.rule == _DENIED and one.subject}:
            wish.modules[module] = wish.modules.get(module, 0) + 1
    for asked, modules in refused:
        wish = found.setdefault(asked.profile, Wish())
        for module in set(modules):
            wish.modules[module] = wish.modules.get(module, 0) + 1
    return {profile: wish for profile, wish in found.items() if wish.modules}


def refusals(reader: Reader, since: datetime) -> Iterator[tuple[StoredAsked, Sequence[str]]]:
    """The programs that were refused since then for what they import, with the modules of each."""
    after = ""
    while rows := reader.asked(since, after, _PAGE):
        yield from ((row, modules) for row in rows if (modules := denied_modules(row.answer)))
        after = rows[-1].id


def denied_modules(answer: str | None) -> tuple[str, ...]:
    """The modules for which a recorded answer says that a program was refused."""
    findings = json.loads(answer).get("findings") or () if answer else ()
    told = (_MODULE.search(one["message"]) for one in findings if one["rule"] == _DENIED)
    return tuple(match[1] for match in told if match)


def learned(text: str, policy: Policy, found: Mapping[str, Wish]) -> str:
    """The text of the policy's file with the smallest change that admits what was wished; comments stay where they are.

    A module is taken out of `deny`, and added to `allow` where there is one, in the section of the file that says so.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    document = yaml.load(text)
    for name, wish in found.items():
        profile = policy.profiles.get(name)
        if profile is not None:
            for module in sorted(wish.modules):
                _admit(document, policy, profile, module)
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()


def _admit(document: CommentedMap, policy: Policy, profile: Profile, module: str) -> None:
    parents = {module[:end] for end in (*(at for at, one in enumerate(module) if one == "."), len(module))}
    rules = profile.checks.imports
    denied = _said(document, policy, profile, "deny")
    for one in sorted(parents & set(rules.deny)):
        if denied is not None and one in denied:
            denied.remove(one)
    allowed = _said(document, policy, profile, "allow")
    if rules.allow is not None and not parents & set(rules.allow) and allowed is not None and module not in allowed:
        allowed.append(module)


def _said(document: CommentedMap, policy: Policy, profile: Profile, name: str) -> CommentedSeq | None:
    """The list as the file has it, where the file has it."""
    where = policy.said_at(profile.name, ("checks", "imports", name))
    if where is None:
        return None
    found: object = document
    for part in where:
        found = found[part]  # type: ignore[index]  # the policy was read from this text
    return found if isinstance(found, CommentedSeq) else None


def as_diff(old: str, new: str, file: str) -> str:
    """What changes, as `diff -u` and `patch` have it."""
    lines = unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), fromfile=file, tofile=f"{file} (learned)"
    )
    return "".join(lines)
