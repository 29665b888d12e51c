"""The overview: what the gateway does now, and did in the last hour."""

from __future__ import annotations

from starlette.responses import Response

from gateway.console.guarding import OPERATORS, roles_of
from gateway.console.plots import plots
from gateway.console.visits import Parts, Visit


async def overview(parts: Parts, visit: Visit) -> Response:
    """Numbers and plots; the page asks for them again while it is open.

    The plots are for operators: the counters are of every tenant's programs.
    """
    parts.gauges.look()
    drawn = plots(parts.gauges.looks) if roles_of(visit.caller) & OPERATORS else []
    template = "overview_now.html" if visit.asked("now") else "overview.html"
    return await parts.pages.show(template, visit.session, ready=await parts.service.readiness(), plots=drawn)
