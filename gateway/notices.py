"""What of a log is told to the operator's webhooks and by mail, and in which words: ids, states and where to look; no code, no output.

Pure. A letter is written in the transaction of the event that it tells of, so that none is lost and none is made up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from gateway.events import Answered, Closed, Escalated, Event, PassedOn, Ruled
from gateway.lifecycle import Task
from gateway.policy_notices import NoticeKind

_Data: TypeAlias = dict[str, str | int | None]


@dataclass(frozen=True, slots=True)
class Subscription:
    """What one webhook wants to be told; `tenants` None is everybody's."""

    webhook: str
    kinds: frozenset[NoticeKind]
    tenants: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Notice:
    """One letter to one webhook or mail address; `body` is the JSON that is sent, or that a mail is made of."""

    webhook: str
    kind: NoticeKind
    body: str


_CALLS: Final = frozenset({NoticeKind.REVIEW_OPENED, NoticeKind.REVIEW_ESCALATED})
"""What somebody should come for."""


def notices(
    before: Task, events: Sequence[Event], at: str, wanted: Sequence[Subscription], told: Sequence[str] = ()
) -> Iterator[Notice]:
    """The letters about what happened to a task that was `before`.

    `told` hear of reviews whatever they asked for, and once; but no webhook hears of a tenant that it is not for.
    """
    elsewhere = {one.webhook for one in wanted if one.tenants is not None and before.tenant not in one.tenants}
    for kind, data in _told(before, events):
        listeners = [
            *(one.webhook for one in wanted if kind in one.kinds),
            *(one for one in told if kind in _CALLS),
        ]
        listeners = [one for one in dict.fromkeys(listeners) if one not in elsewhere]
        if listeners:
            body = json.dumps(
                {
                    "type": kind.value,
                    "timestamp": at,
                    "data": {"tenant": before.tenant, "task": before.task_id, **data},
                }
            )
            yield from (Notice(listener, kind, body) for listener in listeners)


def _told(before: Task, events: Iterable[Event]) -> Iterator[tuple[NoticeKind, _Data]]:
    review = before.review.id if before.review is not None else None
    for event in events:
        match event:
            case Answered(execution=execution):
                yield NoticeKind.EXECUTION_FINISHED, _finished(event, f"/v1/executions/{execution}")
            case Escalated(review=opened, execution=execution, reason=reason):
                href = f"/v1/reviews/{opened}"
                yield (
                    NoticeKind.REVIEW_OPENED,
                    {"review": opened, "execution": execution, "reason": reason.value, "href": href},
                )
            case PassedOn(review=passed, level=level, by=by):
                href = f"/v1/reviews/{passed}"
                yield NoticeKind.REVIEW_ESCALATED, {"review": passed, "level": level, "by": by, "href": href}
            case Ruled():
                review = None
                yield NoticeKind.REVIEW_DECIDED, _decided(event)
            case Closed(by=by, reason=reason):
                href = f"/v1/tasks/{before.task_id}"
                yield NoticeKind.TASK_CLOSED, {"reason": reason, "by": by, "withdrawn_review": review, "href": href}


def _finished(event: Answered, href: str) -> _Data:
    return {
        "execution": event.execution,
        "status": event.status.value,
        "source": event.source,
        "charge": event.charge,
        "href": href,
    }


def _decided(event: Ruled) -> _Data:
    """Without the reviewer's message, which may quote anything."""
    return {
        "review": event.review,
        "ruling": event.ruling.value,
        "by": event.by,
        "execution": event.execution,
        "href": f"/v1/reviews/{event.review}",
    }
