"""Who may rule on a review, and how many have to agree: the guards around a person's decision.

Pure. What a ruling then changes is the lifecycle's to say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from gateway.events import BEFORE_THE_RUN, Approved, RulingKind
from gateway.lifecycle import OpenReview, Rules, Task

_LETS_NOTHING_HAPPEN: Final = frozenset({RulingKind.REJECT, RulingKind.ESCALATE})
NO_GRANT: Final = frozenset({RulingKind.REJECT, RulingKind.ANSWER, RulingKind.ESCALATE})
"""Rulings that do not let a task that failed go on, so that `review.grants_per_task` does not count them."""


class Refusal(StrEnum):
    """Why a ruling is not taken."""

    DECIDED = "decided"  # the review is not open any more
    STALE = "stale"  # the reviewer looked at something else
    SELF_REVIEW = "self_review"  # the reviewer's own program, or that of a key of theirs
    NOT_ASKED = "not_asked"  # the policy names others
    APPROVED_ALREADY = "approved_already"  # nobody counts twice
    NO_NEXT_LEVEL = "no_next_level"  # there is nobody above
    GRANTS_SPENT = "grants_spent"  # people have let this task go on often enough


@dataclass(frozen=True, slots=True)
class Person:
    """Who rules: the name and the roles of their key, and whose key it is."""

    name: str
    owner: str | None = None
    roles: frozenset[str] = frozenset()

    @property
    def words(self) -> frozenset[str]:
        """All by which a policy can name them; who shows a token, by its entry, for their subject is not the policy's."""
        return self.roles | {self.name, self.name.partition(".")[0]} | ({self.owner} if self.owner else set())


@dataclass(frozen=True, slots=True)
class Guards:
    """What the policy asks of those who rule.

    `reviewers` empty is everybody; `levels` are those who are asked besides, each time the review is passed on. `owners`
    maps keys to whose they are: two keys of one person are one person.
    """

    reviewers: frozenset[str] = frozenset()
    levels: tuple[frozenset[str], ...] = ()
    approvals: int = 1
    four_eyes: frozenset[RulingKind] = frozenset()
    owners: Mapping[str, str] = field(default_factory=dict)

    def same(self, one: str, other: str) -> bool:
        """Whether two keys are one person's."""
        return self._whose(one) == self._whose(other)

    def owner(self, name: str) -> str | None:
        """Whose key it is, where the policy says it; the tokens of an entry are called `ENTRY.SUBJECT`."""
        return self.owners.get(name.partition(".")[0])

    def _whose(self, name: str) -> str:
        return self.owner(name) or name.partition(".")[2] or name

    def asks(self, person: Person, level: int) -> bool:
        """Whether the review asks this person, by name, by owner or by role."""
        asked = self.reviewers.union(*self.levels[:level])
        return not self.reviewers or not asked.isdisjoint(person.words)

    def needed(self, kind: RulingKind) -> int:
        """How many people such a ruling takes; who wrote what four eyes must see is one of them, and does not approve it."""
        if kind in _LETS_NOTHING_HAPPEN:
            return 1
        return self.approvals + (kind in self.four_eyes)


def review_token(task: Task, policy_digest: str) -> str | None:
    """What a ruling must echo: it changes with anything that the reviewer saw. None without an open review.

    Who else is asked changes nothing of what was seen, so passing a review on leaves the token as it is.
    """
    if task.review is None:
        return None
    version = str(task.seq - task.review.level)
    seen = (task.review.id, task.review.digest, repr(task.review.limits), policy_digest, version)
    return hashlib.sha256("\n".join(seen).encode()).hexdigest()


def barred(  # noqa: PLR0913  # as below
    task: Task, kind: RulingKind, by: Person, rules: Rules, guards: Guards, *, author: str | None = None
) -> Refusal | None:
    """Why this person may not rule so on the open review, whatever they looked at; None when they may.

    `author` is the agent who sent the program first, which a reviewer may have had run since.
    """
    review = task.review
    if review is None:
        return Refusal.DECIDED
    if guards.same(by.name, review.by) or (author is not None and guards.same(by.name, author)):
        return Refusal.SELF_REVIEW
    if not guards.asks(by, review.level):
        return Refusal.NOT_ASKED
    if kind is RulingKind.ESCALATE and review.level >= len(guards.levels):
        return Refusal.NO_NEXT_LEVEL
    counts = kind is RulingKind.GRANT or (kind not in NO_GRANT and review.reason not in BEFORE_THE_RUN)
    return Refusal.GRANTS_SPENT if counts and task.grants >= rules.grants else None


def refusal(  # noqa: PLR0913  # a ruling is judged on all of these together
    task: Task,
    *,
    review: str,
    token: str,
    policy_digest: str,
    kind: RulingKind,
    by: Person,
    rules: Rules,
    guards: Guards,
    subject: str = "",
    author: str | None = None,
) -> Refusal | None:
    """Why this ruling may not be taken, or None when it may. `subject` is a digest of all that it says; `author` as above."""
    if task.review is None or task.review.id != review:
        return Refusal.DECIDED
    if token != review_token(task, policy_digest):
        return Refusal.STALE
    refused = barred(task, kind, by, rules, guards, author=author)
    if refused is None and _twice(task.review, kind, by, guards, subject):
        return Refusal.APPROVED_ALREADY
    return refused


def _twice(review: OpenReview, kind: RulingKind, by: Person, guards: Guards, subject: str) -> bool:
    if kind in _LETS_NOTHING_HAPPEN or review.subject != subject:
        return False
    return any(guards.same(by.name, one) for one in review.approvals)


def approved(review: OpenReview, kind: RulingKind, subject: str, by: str, guards: Guards) -> Approved | None:
    """What is recorded of a ruling that still needs others; None for one that decides. Its refusals were judged before.

    A ruling that says something else than the one before it begins a count of its own.
    """
    number = 1 + (len(review.approvals) if review.subject == subject else 0)
    needed = guards.needed(kind)
    return Approved(review.id, kind, by, subject, number, needed) if number < needed else None
