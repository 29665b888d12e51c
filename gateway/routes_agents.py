"""What agents ask: to run programs, how they are, and how their tasks stand. No route decides anything."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Annotated, Final
from urllib.parse import quote

from fastapi import Body, Header, Path, Query, Request, Response
from pydantic import Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema
from starlette.convertors import PathConvertor, register_url_convertor

from gateway import openapi, openapi_examples, prefer, stream
from gateway.errors import Unavailable
from gateway.event_stream import EventStream
from gateway.events import Status
from gateway.guard import KEY, LONGEST_KEY, cut_off
from gateway.requests import TASK_ID, ExecutionRequest
from gateway.requests import Path as FilePath
from gateway.route_parts import ID, Agent, Anyone, Port, as_json, keyed_router
from gateway.wire_answers import ExecutionView


class _FileConvertor(PathConvertor):
    """The rest of an address, whatever is in it: names of files may hold line feeds."""

    regex = "(?s:.*)"


register_url_convertor("file", _FileConvertor())

_RETRY_SECONDS: Final = 5

ExecutionId = Annotated[str, Path(pattern=ID)]
TaskId = Annotated[str, Path(pattern=TASK_ID)]
EventId = Annotated[str, Field(pattern=stream.ID)]
Wait = Annotated[int, Query(ge=0, le=60, description="Seconds to wait for an answer.")]

Lines = Annotated[list[str], WithJsonSchema({"type": "string"})]  # whatever a header says, once or more often

router = keyed_router("/v1")


@router.post("/executions", responses=openapi.SUBMIT, summary="Run a program")
async def submit_execution(  # noqa: PLR0913, PLR0917  # the parts of a request
    service: Port,
    caller: Agent,
    request: Annotated[ExecutionRequest, Body(openapi_examples=openapi_examples.PROGRAMS)],
    idempotency_key: Annotated[
        str | None, Header(alias="Idempotency-Key", min_length=1, max_length=LONGEST_KEY, pattern=KEY)
    ] = None,
    prefer_: Annotated[Lines | None, Header(alias="Prefer", description=openapi.PREFER)] = None,
    cache_control: Annotated[Lines | None, Header(alias="Cache-Control", description=openapi.CACHE)] = None,
) -> Response:
    """Check a program, run it, and answer with what came of it.

    What the code did is in `status`, not in the HTTP status: a program that failed is a 200.
    """
    preference = prefer.read(prefer_ or ())
    view = await service.submit(
        caller,
        request,
        idempotency_key=idempotency_key,
        wait_seconds=preference.wait_seconds,
        fresh=prefer.wants_it_fresh(cache_control or ()),
    )
    return _submitted(view, preference)


@router.get("/executions/{execution}", responses=openapi.EXECUTION, summary="Look at an execution")
async def get_execution(service: Port, caller: Anyone, execution: ExecutionId, wait: Wait = 0) -> Response:
    """Answer as soon as the execution is answered, or the wait is over."""
    return as_json(await service.execution(caller, execution, wait_seconds=wait))


@router.get(
    "/executions/{execution}/events", responses=openapi.EVENTS, summary="Follow an execution", response_class=Response
)
async def get_events(
    request: Request,
    service: Port,
    caller: Anyone,
    execution: ExecutionId,
    last_event_id: Annotated[
        EventId | SkipJsonSchema[None], Header(alias="Last-Event-ID", description=openapi.LAST_EVENT_ID)
    ] = None,
) -> Response:
    """Answer with what happens as it happens (`text/event-stream`), from the beginning or after an event, to the end."""
    pieces = await service.events(caller, execution, stream.position_of(last_event_id) if last_event_id else None)
    if pieces is None:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return EventStream(cut_off(pieces, request.scope, request.app))


@router.get(
    "/executions/{execution}/files/{path:file}", responses=openapi.FILE, summary="Fetch a file", response_class=Response
)
async def get_file(service: Port, caller: Anyone, execution: ExecutionId, path: FilePath) -> Response:
    """Answer with the bytes of a file that the program left."""
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(path.rpartition('/')[2], safe='')}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    return Response(await service.file(caller, execution, path), headers=headers, media_type=openapi.BYTES)


@router.get("/executions/{execution}/policy", responses=openapi.DECIDED_BY, summary="Read what decided it")
async def get_execution_policy(service: Port, caller: Anyone, execution: ExecutionId) -> Response:
    """Answer with the profile that bound it, as it was when it was submitted."""
    return as_json(await service.policy_of(caller, execution))


@router.delete("/executions/{execution}", responses=openapi.EXECUTION, summary="Cancel an execution")
async def cancel_execution(service: Port, caller: Agent, execution: ExecutionId) -> Response:
    """End an execution. One that is answered already stays as it is."""
    return as_json(await service.cancel(caller, execution))


@router.get("/tasks/{task_id}", responses=openapi.TASK, summary="Look at a task")
async def get_task(service: Port, caller: Anyone, task_id: TaskId, wait: Wait = 0) -> Response:
    """Answer as soon as it is the agent's turn or nobody's, or the wait is over."""
    return as_json(await service.task(caller, task_id, wait_seconds=wait))


@router.delete("/tasks/{task_id}", responses=openapi.CLOSE, summary="Close a task")
async def close_task(service: Port, caller: Agent, task_id: TaskId) -> Response:
    """End a task: what runs is cancelled, an open review is withdrawn."""
    return as_json(await service.close_task(caller, task_id))


def _submitted(view: ExecutionView, preference: prefer.Preference) -> Response:
    live = view.status in {Status.QUEUED, Status.RUNNING}
    applied = preference.applied(accepted=live)
    headers = {"Preference-Applied": applied} if applied else {}
    match view.status:
        case Status.PLATFORM_ERROR:
            raise Unavailable(
                "The platform could not run this program; the program is not at fault.",
                extra={"execution": json.loads(view.model_dump_json()), "retryable": True},
                retry_after_seconds=_RETRY_SECONDS,
            )
        case Status.QUEUED | Status.RUNNING:
            headers |= {"Location": f"/v1/executions/{view.id}", "Retry-After": "1"}
            return as_json(view, HTTPStatus.ACCEPTED, headers)
        case _:
            return as_json(view, headers=headers)
