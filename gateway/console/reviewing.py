"""One review: all of it on a page, and rulings from its forms. What a ruling may do is the service's to say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.responses import PlainTextResponse, Response

from gateway.console import forms, words
from gateway.console.tries import shown_tries
from gateway.console.visits import Parts, Visit, to
from gateway.errors import GatewayError, InvalidRequest, NotFound, StaleReview
from gateway.requests import EditRequest
from gateway.spelling import visible
from gateway.wire_reviews import ChecksView, TryView

_RAW_HEADERS: Final = {"Content-Security-Policy": "sandbox; default-src 'none'"}


async def review(parts: Parts, visit: Visit) -> Response:
    """A review whole."""
    return await _show(parts, visit)


async def rule(parts: Parts, visit: Visit) -> Response:
    """Rule; what cannot be is told on the page, with what was typed."""
    kind = visit.form.get("ruling", "")
    try:
        ruling = forms.ruling(visit.form)
        if kind == "approve_edited" and ruling.code is not None:
            checked = await parts.service.check_edit(visit.caller, visit.found["review"], EditRequest(code=ruling.code))
            if not checked.admitted or "check" in visit.form:
                return await _show(parts, visit, checked=checked)
        decided = await parts.service.rule(visit.caller, visit.found["review"], ruling)
    except GatewayError as error:
        if isinstance(error, NotFound):
            raise
        return await _show(parts, visit, error=error)
    told = words.verdict(kind)
    stays = decided.state == "open" and kind != "escalate"
    visit.session.flash = f"{told.title}: recorded. The review stays open." if stays else told.done or "Done."
    return to(f"/reviews/{visit.found['review']}")


async def _show(
    parts: Parts,
    visit: Visit,
    *,
    error: GatewayError | None = None,
    checked: ChecksView | None = None,
) -> Response:
    """The page. A form that comes back keeps its own token: what changed meanwhile is still seen to have changed."""
    version = await parts.archive.version(
        visit.caller, visit.found["review"]
    )  # first: what comes later is told as news
    view = await parts.service.review(visit.caller, visit.found["review"])
    log = await parts.archive.log(visit.caller, view.task)
    request = await parts.archive.request(visit.caller, view.execution)
    tries = await asyncio.to_thread(shown_tries, view)
    flash, visit.session.flash = visit.session.flash, ""
    reviewed = next((one for one in view.tries if one.execution.id == view.execution), view.tries[-1])
    refused = checked is not None and not checked.admitted
    status = error.status if error else HTTPStatus.UNPROCESSABLE_ENTITY if refused else HTTPStatus.OK
    return await parts.pages.show(
        "review.html",
        visit.session,
        status=status,
        review=view,
        version=version or "",
        tries=list(reversed(tries)),
        reviewed=reviewed.execution,
        code=reviewed.code,
        asked=words.asked(request) if request else [],
        moments=words.timeline(log),
        decisions=words.decisions(reviewed.execution),
        reach=words.reach(reviewed.execution),
        verdicts=[(kind.value, words.verdict(kind.value)) for kind in view.rulings],
        people={kind.value: count for kind, count in view.people_needed.items()},
        limits=forms.LIMITS,
        form=_kept(visit.form),
        error=error,
        stale=isinstance(error, StaleReview),
        wrong=error.fields if isinstance(error, InvalidRequest) else (),
        checked=checked.findings if checked else None,
        refused=refused,
        flash=flash,
    )


def _kept(form: Mapping[str, str]) -> dict[str, str]:
    """What was typed, for the form that comes back."""
    return {name: value for name, value in form.items() if name != "csrf"}


async def raw(parts: Parts, visit: Visit) -> Response:
    """A text of one try, whole, as plain text in which nothing acts."""
    view = await parts.service.review(visit.caller, visit.found["review"])
    found = next((one for one in view.tries if one.execution.id == visit.found["execution"]), None)
    if found is None:
        raise NotFound("The review has no such try.")
    text = await asyncio.to_thread(_text, found, visit.found["part"])
    return plain(text)


def plain(text: str) -> Response:
    """Text that a browser shows and does nothing else with."""
    return PlainTextResponse(text, headers=_RAW_HEADERS)


def _text(one: TryView, part: str) -> str:
    view = one.execution
    texts = {
        "code": one.code,
        "diff": one.diff,
        "stdout": view.stdout,
        "stderr": view.stderr,
        "error": (view.error.traceback or view.error.message) if view.error else "",
        "answer": view.model_dump_json(indent=2),
    }
    if part not in texts:
        raise NotFound("A try has no such part.")
    return visible(texts[part])
