"""The routes: a request becomes one question to the service, its answer becomes a response.

No route decides anything. Knows the shapes, the headers and who may ask; must not know how anything is done.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from http import HTTPStatus
from typing import Annotated, Final, Literal
from urllib.parse import quote

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from gateway import __version__, openapi, openapi_examples, prefer, problems, stream
from gateway.auth import Authenticator, require
from gateway.callers import Caller, Role
from gateway.console.door import Door
from gateway.errors import GatewayError, Unauthorized, Unavailable
from gateway.event_stream import EventStream
from gateway.events import Status
from gateway.guard import KEY, LONGEST_KEY, Express, GuardedRoute, StrictRoute, cut_off
from gateway.ingress import Ingress
from gateway.limiter import Limiter
from gateway.policy_schema import schema_text
from gateway.requests import TASK_ID, EditRequest, ExecutionRequest, ExplainRequest, RulingRequest
from gateway.requests import Path as FilePath
from gateway.service import Service
from gateway.tracing import Tracer
from gateway.wire_answers import ExecutionView


class _FileConvertor(PathConvertor):
    """The rest of an address, whatever is in it: names of files may hold line feeds."""

    regex = "(?s:.*)"


register_url_convertor("file", _FileConvertor())

_RETRY_SECONDS: Final = 5
_ID: Final = r"^[A-Za-z0-9_-]{1,64}$"


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _having(*roles: Role) -> Callable[[Request], Awaitable[Caller]]:
    async def caller(request: Request) -> Caller:
        known = request.state.caller
        if not isinstance(known, Caller):
            raise Unauthorized
        return require(known, *roles)

    return caller


Port = Annotated[Service, Depends(_service)]
Agent = Annotated[Caller, Depends(_having(Role.AGENT))]
Operator = Annotated[Caller, Depends(_having(Role.OPERATOR))]
Reviewer = Annotated[Caller, Depends(_having(Role.REVIEWER))]
Onlooker = Annotated[Caller, Depends(_having(Role.REVIEWER, Role.AUDITOR))]
Anyone = Annotated[Caller, Depends(_having(*Role))]
ExecutionId = Annotated[str, Path(pattern=_ID)]
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
EventId = Annotated[str, Field(pattern=stream.ID)]
LetterId = Annotated[str, Path(pattern=_ID)]
ReviewId = Annotated[str, Path(pattern=_ID)]
TaskId = Annotated[str, Path(pattern=TASK_ID)]
Wait = Annotated[int, Query(ge=0, le=60, description="Seconds to wait for an answer.")]

Lines = Annotated[list[str], WithJsonSchema({"type": "string"})]  # whatever a header says, once or more often

_KEYED: Final = [Depends(HTTPBearer(auto_error=False, description=openapi.KEYS))]
router = APIRouter(prefix="/v1", route_class=GuardedRoute, dependencies=_KEYED)


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
    return _json(await service.execution(caller, execution, wait_seconds=wait))


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
    return _json(await service.policy_of(caller, execution))


@router.delete("/executions/{execution}", responses=openapi.EXECUTION, summary="Cancel an execution")
async def cancel_execution(service: Port, caller: Agent, execution: ExecutionId) -> Response:
    """End an execution. One that is answered already stays as it is."""
    return _json(await service.cancel(caller, execution))


@router.get("/tasks/{task_id}", responses=openapi.TASK, summary="Look at a task")
async def get_task(service: Port, caller: Anyone, task_id: TaskId, wait: Wait = 0) -> Response:
    """Answer as soon as it is the agent's turn or nobody's, or the wait is over."""
    return _json(await service.task(caller, task_id, wait_seconds=wait))


@router.delete("/tasks/{task_id}", responses=openapi.CLOSE, summary="Close a task")
async def close_task(service: Port, caller: Agent, task_id: TaskId) -> Response:
    """End a task: what runs is cancelled, an open review is withdrawn."""
    return _json(await service.close_task(caller, task_id))


@router.get("/reviews", responses=openapi.REVIEWS, summary="List reviews")
async def list_reviews(
    service: Port,
    caller: Onlooker,
    state: Literal["open", "decided", "withdrawn", "expired"] | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    after: Annotated[str | None, Query(pattern=_ID, description="`next` of the page before.")] = None,
) -> Response:
    """Answer with the tenant's reviews, oldest first."""
    return _json(await service.reviews(caller, state=state, limit=limit, after=after))


@router.get("/reviews/{review}", responses=openapi.REVIEW, summary="Look at a review")
async def get_review(service: Port, caller: Onlooker, review: ReviewId) -> Response:
    """Answer with all that a reviewer needs, and the token that a ruling must echo."""
    return _json(await service.review(caller, review))


@router.post("/reviews/{review}/rulings", responses=openapi.RULING, summary="Decide a review")
async def rule_on_review(
    service: Port,
    caller: Reviewer,
    review: ReviewId,
    ruling: Annotated[RulingRequest, Body(openapi_examples=openapi_examples.RULINGS)],
) -> Response:
    """Decide. What changed since the review was read is a 412, what is decided already a 409."""
    return _json(await service.rule(caller, review, ruling))


@router.post("/reviews/{review}/checks", responses=openapi.CHECKS, summary="Check an edit")
async def check_edit(
    service: Port,
    caller: Reviewer,
    review: ReviewId,
    edit: Annotated[EditRequest, Body(openapi_examples=openapi_examples.EDITS)],
) -> Response:
    """Answer with what the checks would say of a reviewer's version. Nothing is run and nothing decided."""
    return _json(await service.check_edit(caller, review, edit))


@router.get("/webhooks/dead-letters", responses=openapi.LETTERS, summary="List dead letters")
async def list_dead_letters(
    service: Port,
    caller: Operator,  # noqa: ARG001  # an operator's key is what counts
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    after: Annotated[str | None, Query(pattern=_ID, description="`next` of the page before.")] = None,
) -> Response:
    """Answer with the letters to webhooks that nobody took, of all tenants, oldest first."""
    return _json(await service.dead_letters(limit=limit, after=after))


@router.post("/webhooks/dead-letters/{letter}/replay", responses=openapi.LETTER, summary="Send a dead letter again")
async def replay_dead_letter(service: Port, caller: Operator, letter: LetterId) -> Response:  # noqa: ARG001  # as above
    """Put it into the outbox again, with the same `webhook-id` and all its tries."""
    return _json(await service.replay_letter(letter))


@router.delete("/webhooks/dead-letters/{letter}", responses=openapi.LETTER, summary="Drop a dead letter")
async def drop_dead_letter(service: Port, caller: Operator, letter: LetterId) -> Response:  # noqa: ARG001  # as above
    """Forget it: nobody wants it any more."""
    return _json(await service.drop_letter(letter))


@router.get("/policy", responses=openapi.POLICY, summary="Read the policy")
async def get_policy(service: Port, caller: Anyone) -> Response:
    """Answer with the profile that binds the caller's programs."""
    return _json(await service.policy(caller))


@router.post("/policy/reload", responses=openapi.RELOAD, summary="Read the policy file again")
async def reload_policy(service: Port, caller: Operator) -> Response:  # noqa: ARG001  # an operator's key is what counts
    """Put the policy file in force as it is now, or say what is wrong with it and go on with the one before."""
    return _json(await service.reload_policy())


@router.get("/policy/schema", responses=openapi.POLICY_SCHEMA, summary="Read the schema of policy files")
async def get_policy_schema(caller: Anyone) -> Response:  # noqa: ARG001  # any key may know
    """Answer with the JSON Schema that editors complete and check a policy file by."""
    return Response(schema_text(), media_type=openapi.SCHEMA)


@router.get("/policy/findings", responses=openapi.SPARED, summary="What the checks would have refused")
async def list_spared(
    service: Port,
    caller: Operator,  # noqa: ARG001  # counts tell of every tenant
    days: Annotated[int, Query(ge=1, le=365, description="How far back.")] = 7,
) -> Response:
    """Answer with what ran although it broke rules, since `checks.mode` is `warn` or `audit`, counted by rule and module."""
    return _json(await service.spared(days))


@router.post("/policy/explain", responses=openapi.EXPLAIN, summary="Explain what the policy decides")
async def explain_policy(
    service: Port,
    caller: Operator,  # noqa: ARG001  # it tells of every key's profile
    asked: Annotated[ExplainRequest, Body(openapi_examples=openapi_examples.QUESTIONS)],
) -> Response:
    """Answer with every decision about such a request, and the line of the policy's file that made it. Runs nothing."""
    return _json(await service.explain(asked))


@router.get("/policies/{digest}", responses=openapi.KEPT_POLICY, summary="Read a policy that decided once")
async def get_kept_policy(service: Port, caller: Operator, digest: Digest) -> Response:  # noqa: ARG001  # of any tenant
    """Answer with the resolved profile that answers carry as `policy`, whole, also after the file changed."""
    return _json(await service.kept_policy(digest))


@router.get("/isolation", responses=openapi.ISOLATION, summary="Look at what isolates programs")
async def get_isolation(service: Port, caller: Anyone) -> Response:  # noqa: ARG001  # any key may know
    """Answer with the latest self-test of each profile's kind of box."""
    return _json(await service.isolation())


@router.post("/isolation/proofs", responses=openapi.ISOLATION, summary="Run the self-test now")
async def prove_isolation(service: Port, caller: Operator) -> Response:  # noqa: ARG001  # an operator's key is what counts
    """Try every forbidden thing in a real box of every profile, and answer with what came of it."""
    return _json(await service.prove_isolation())


@router.get("/isolation/{digest}", responses=openapi.POSTURE, summary="Look at what was in force")
async def get_posture(service: Port, caller: Anyone, digest: Digest) -> Response:  # noqa: ARG001  # any key may know
    """Answer with the posture that an answer names, whole."""
    return _json(await service.posture(digest))


@router.get("/retention", responses=openapi.RETENTION, summary="What retention would delete now")
async def get_retention(service: Port, caller: Operator) -> Response:  # noqa: ARG001  # counts tell of every tenant
    """Answer with what is due and what was deleted. Deletes nothing."""
    return _json(await service.retention())


@router.post("/retention/passes", responses=openapi.RETENTION, summary="Delete now what is due")
async def begin_retention_pass(service: Port, caller: Operator) -> Response:  # noqa: ARG001  # as above
    """Delete what is due, and answer when that is done; `running` where it takes more than twenty seconds."""
    return _json(await service.prune())


@router.get("/lanes/monty", responses=openapi.MONTY, summary="Look at the Monty lane's switch")
async def get_monty_lane(service: Port, caller: Operator) -> Response:  # noqa: ARG001  # it may name any tenant's execution
    """Answer with whether programs may run in Monty, why not, and what shadow runs came to."""
    return _json(service.monty_lane())


@router.post("/lanes/monty/restorations", responses=openapi.MONTY, summary="Switch the Monty lane on again")
async def restore_monty_lane(service: Port, caller: Operator) -> Response:
    """Trust it again, but not the results that it left for others. What is on already stays on."""
    return _json(await service.restore_monty(caller))


telemetry = APIRouter(route_class=GuardedRoute, dependencies=_KEYED)


@telemetry.get("/metrics", responses=openapi.METRICS, summary="What Prometheus reads", response_class=PlainTextResponse)
async def metrics(service: Port, caller: Operator) -> Response:  # noqa: ARG001  # counts tell of every tenant
    """Answer with the metrics in Prometheus' text format."""
    return Response(await service.metrics(), media_type=openapi.METRICS_TEXT)


health = APIRouter(route_class=StrictRoute)


@health.get("/healthz", responses=openapi.HEALTH, summary="Is the process in order")
async def healthz(service: Port) -> Response:
    """Answer without asking anything outside the process."""
    live = service.live()
    return Response(json.dumps({"live": live}), _health(live), media_type=openapi.JSON)


@health.get("/readyz", responses=openapi.READY, summary="What can the gateway do now")
async def readyz(service: Port) -> Response:
    """Answer with the lanes that can run programs."""
    view = await service.readiness()
    return _json(view, _health(view.ready))


def create_app(  # noqa: PLR0913  # the parts of a gateway's HTTP side
    service: Service,
    authenticator: Authenticator,
    limiter: Limiter,
    *,
    running: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    tracer: Callable[[], Tracer | None] = lambda: None,
    console: Callable[[], ASGIApp] | None = None,
) -> ASGIApp:
    """The gateway's HTTP side, behind its ingress.

    `running` lasts as long as the server does, `tracer` draws requests, `console` makes its pages.
    """
    app = openapi.DocumentedApp(
        title="Airlock",
        version=__version__,
        summary="Checks, runs, budgets and hands to a person the Python that AI agents write.",
        lifespan=lambda _: running(),
        redirect_slashes=False,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
        exception_handlers={
            GatewayError: problems.on_gateway_error,
            RequestValidationError: problems.on_validation_error,
            HTTPException: problems.on_http_exception,
            Exception: problems.on_unexpected,
        },
    )
    app.state.service = service
    app.state.authenticator = authenticator
    app.state.limiter = limiter
    app.include_router(router)
    app.include_router(telemetry)
    app.include_router(health)
    routes = Express(app, submit_execution)
    return Ingress(routes if console is None else Door(routes, console), tracer=tracer)


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
            return _json(view, HTTPStatus.ACCEPTED, headers)
        case _:
            return _json(view, headers=headers)


def _json(view: BaseModel, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None) -> Response:
    return Response(view.model_dump_json(), status, headers, openapi.JSON)


def _health(good: bool) -> int:  # noqa: FBT001  # its only argument
    return HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
