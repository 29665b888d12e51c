"""The playground: an operator tries a program, and sees what the checks, the lane and the clock say.

It runs as the profile of the operator's own key, in a task of its own each time, so that trying spends no agent's budget
and asks no reviewer.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import Final

from pydantic import ValidationError
from starlette.responses import Response

from gateway.callers import Role
from gateway.console.text import Lines, code_lines, tail
from gateway.console.tries import bars_of, result_of
from gateway.console.visits import Parts, Visit
from gateway.console.words import decisions, reach
from gateway.errors import GatewayError, InvalidRequest
from gateway.requests import ExecutionRequest
from gateway.wire_answers import ExecutionView

_WAIT_SECONDS: Final = 50.0
_EXAMPLE: Final = 'import statistics\n\nvalues = [3, 5, 10]\nprint(f"n = {len(values)}")\nstatistics.mean(values)\n'


async def playground(parts: Parts, visit: Visit) -> Response:
    """The form."""
    return await _show(parts, visit)


async def run(parts: Parts, visit: Visit) -> Response:
    """Run what was typed."""
    try:
        asked = ExecutionRequest.model_validate(
            {
                "code": visit.form.get("code", ""),
                "lane": visit.form.get("lane", "auto"),
                "task_id": f"playground-{visit.caller.name}-{secrets.token_hex(4)}",
            }
        )
    except ValidationError as error:
        fields = tuple((".".join(map(str, one["loc"])), one["msg"]) for one in error.errors())
        return await _show(parts, visit, error=InvalidRequest(fields=fields))
    player = replace(visit.caller, roles=frozenset({Role.AGENT}))
    try:
        view = await parts.service.submit(player, asked, idempotency_key=None, wait_seconds=_WAIT_SECONDS, fresh=True)
    except GatewayError as error:
        return await _show(parts, visit, error=error)
    return await _show(parts, visit, view=view)


async def _show(
    parts: Parts, visit: Visit, *, view: ExecutionView | None = None, error: GatewayError | None = None
) -> Response:
    code = visit.form.get("code", _EXAMPLE)
    lines: Lines | None = await asyncio.to_thread(code_lines, code) if view else None
    return await parts.pages.show(
        "playground.html",
        visit.session,
        status=error.status if error else 200,
        text=code,
        lane=visit.form.get("lane", "auto"),
        view=view,
        code=lines,
        stdout=tail(view.stdout) if view else None,
        stderr=tail(view.stderr) if view else None,
        result=result_of(view) if view else None,
        bars=bars_of(view) if view else [],
        decisions=decisions(view) if view else [],
        reach=reach(view) if view else [],
        error=error,
    )
