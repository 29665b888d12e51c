"""The past: searches, one task, one execution."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Final, get_args

from starlette.responses import Response

from gateway.archive import FoundExecution
from gateway.console import words
from gateway.console.guarding import READERS, roles_of
from gateway.console.reviewing import RAW_HEADERS, plain
from gateway.console.text import code_lines, tail
from gateway.console.tries import bars_of, result_of
from gateway.console.visits import Parts, Visit, to
from gateway.errors import NotFound
from gateway.exhibits import is_shown, picture_of
from gateway.requests import TASK_ID, ReviewState
from gateway.spelling import visible
from gateway.times import now
from gateway.wire_reviews import ReviewSummary

_PAGE: Final = 50
_PERIODS: Final[Mapping[str, tuple[str, timedelta | None]]] = MappingProxyType(
    {
        "day": ("the last day", timedelta(days=1)),
        "week": ("the last week", timedelta(days=7)),
        "month": ("the last 30 days", timedelta(days=30)),
        "ever": ("all of it", None),
    }
)
_STATES: Final = get_args(ReviewState)
_IDS: Final = (("rev_", "reviews"), ("exe_", "executions"))


async def history(parts: Parts, visit: Visit) -> Response:
    """Reviews and executions, newest first; an id that is typed opens what it names."""
    text, what = visit.asked("q"), visit.asked("what") or "reviews"
    for kind, place in _IDS:
        if re.fullmatch(f"{kind}[0-9a-f]{{1,60}}", text):
            return to(f"/{place}/{text}")
    state, status, by = visit.asked("state"), visit.asked("status"), visit.asked("by")
    period = visit.asked("period") if visit.asked("period") in _PERIODS else "week"
    before = visit.asked("before", 64)
    reviews: list[ReviewSummary] = []
    executions: list[FoundExecution] = []
    if what == "executions":
        since = _since("exe", period)
        executions = await parts.archive.executions(
            visit.caller, status=status, task=text, since=since, before=before, limit=_PAGE + 1
        )
    else:
        since = _since("rev", period)
        reviews = await parts.archive.reviews(
            visit.caller, state=state, by=by, task=text, since=since, before=before, limit=_PAGE + 1
        )
    found = [one.id for one in reviews] or [one.id for one in executions]
    return await parts.pages.show(
        "history.html",
        visit.session,
        what="executions" if what == "executions" else "reviews",
        reviews=reviews[:_PAGE],
        executions=executions[:_PAGE],
        next=found[_PAGE - 1] if len(found) > _PAGE else "",
        asked={"q": text, "state": state, "status": status, "by": by, "period": period, "before": before},
        periods={name: told for name, (told, _) in _PERIODS.items()},
        states=_STATES,
        statuses=words.STATUSES,
        is_task=bool(re.match(TASK_ID, text)),
    )


def _since(prefix: str, period: str) -> str:
    """The least id of that time: an id begins with its milliseconds."""
    length = _PERIODS[period][1]
    if length is None:
        return ""
    return f"{prefix}_{int((now() - length).timestamp() * 1000):011x}"


async def task(parts: Parts, visit: Visit) -> Response:
    """A task: its executions, its budget, its log."""
    view = await parts.service.task(visit.caller, visit.found["task"], wait_seconds=0)
    log = await parts.archive.log(visit.caller, view.id)
    reviews = await parts.archive.reviews(visit.caller, task=view.id)
    return await parts.pages.show("task.html", visit.session, task=view, moments=words.timeline(log), reviews=reviews)


async def execution(parts: Parts, visit: Visit) -> Response:
    """An execution with its program and all that came of it."""
    view = await parts.service.execution(visit.caller, visit.found["execution"], wait_seconds=0)
    request = await parts.archive.request(visit.caller, view.id)
    code = await asyncio.to_thread(code_lines, request.code) if request else None
    return await parts.pages.show(
        "execution.html",
        visit.session,
        view=view,
        code=code,
        stdout=tail(view.stdout),
        stderr=tail(view.stderr),
        result=result_of(view),
        bars=bars_of(view),
        decisions=words.decisions(view),
        reach=words.reach(view),
        follows=bool(roles_of(visit.caller) & READERS),
    )


async def picture(parts: Parts, visit: Visit) -> Response:
    """A picture that a run showed: what says that it is a PNG, to be read as nothing else."""
    view = await parts.service.execution(visit.caller, visit.found["execution"], wait_seconds=0)
    found = picture_of(view, int(visit.found["number"]))
    png = await parts.service.file(visit.caller, view.id, found) if isinstance(found, str) else found
    if png is None or not is_shown(png):
        raise NotFound("There is no such picture, or none that can be shown.")
    return Response(png, media_type="image/png", headers=RAW_HEADERS)


async def raw(parts: Parts, visit: Visit) -> Response:
    """A text of an execution, whole."""
    view = await parts.service.execution(visit.caller, visit.found["execution"], wait_seconds=0)
    part = visit.found["part"]
    if part == "code":
        request = await parts.archive.request(visit.caller, view.id)
        return plain(visible(request.code if request else ""))
    texts = {"stdout": view.stdout, "stderr": view.stderr, "answer": view.model_dump_json(indent=2)}
    if part not in texts:
        raise NotFound("An execution has no such part.")
    return plain(await asyncio.to_thread(visible, texts[part]))
