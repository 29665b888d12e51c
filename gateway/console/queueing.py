"""The queue of reviews: a page of it, its rows alone for pages that are open, and the news of it."""

from __future__ import annotations

from functools import partial
from typing import Final

from starlette.responses import Response

from gateway.console.entering import lands_on
from gateway.console.visits import Parts, Visit, to
from gateway.console.words import REASONS
from gateway.event_stream import EventStream

PAGE: Final = 50


async def home(parts: Parts, visit: Visit) -> Response:
    """Where somebody who came in begins."""
    del parts
    return to(lands_on(visit.caller))


async def queue(parts: Parts, visit: Visit) -> Response:
    """The open reviews, oldest first."""
    reason, task, after = visit.asked("reason"), visit.asked("task"), visit.asked("after", 64)
    length = await parts.archive.queue(visit.caller)  # first, so that what comes in between is told as news
    found = await parts.archive.open_reviews(visit.caller, reason=reason, task=task, after=after, limit=PAGE + 1)
    template = "queue_rows.html" if visit.asked("rows") else "queue.html"
    return await parts.pages.show(
        template,
        visit.session,
        reviews=found[:PAGE],
        next=found[PAGE - 1].id if len(found) > PAGE else "",
        queue=length,
        reasons=REASONS,
        asked={"reason": reason, "task": task, "after": after},
    )


async def live(parts: Parts, visit: Visit) -> Response:
    """What changes, as it changes."""
    lasts = partial(parts.sessions.lasts, visit.session)
    return EventStream(parts.live.listen(visit.caller, visit.asked("review", 64) or None, lasts))


async def help_(parts: Parts, visit: Visit) -> Response:
    """What the keys do."""
    return await parts.pages.show("help.html", visit.session)
