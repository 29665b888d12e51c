"""What operators ask: of policies, isolation, retention, lanes, letters and numbers. No route decides anything."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body, Path, Query, Response
from fastapi.responses import PlainTextResponse

from gateway import openapi, openapi_examples
from gateway.policy_schema import schema_text
from gateway.requests import ExplainRequest
from gateway.route_parts import ID, After, Anyone, Operator, Page, Port, as_json, keyed_router

LetterId = Annotated[str, Path(pattern=ID)]
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]

router = keyed_router("/v1")


@router.get("/webhooks/dead-letters", responses=openapi.LETTERS, summary="List dead letters")
async def list_dead_letters(
    service: Port,
    caller: Operator,  # noqa: ARG001  # an operator's key is what counts
    limit: Page = 50,
    after: After = None,
) -> Response:
    """Answer with the letters to webhooks that nobody took, of all tenants, oldest first."""
    return as_json(await service.dead_letters(limit=limit, after=after))


@router.post("/webhooks/dead-letters/{letter}/replay", responses=openapi.LETTER, summary="Send a dead letter again")
async def replay_dead_letter(service: Port, caller: Operator, letter: LetterId) -> Response:  # noqa: ARG001  # as above
    """Put it into the outbox again, with the same `webhook-id` and all its tries."""
    return as_json(await service.replay_letter(letter))


@router.delete("/webhooks/dead-letters/{letter}", responses=openapi.LETTER, summary="Drop a dead letter")
async def drop_dead_letter(service: Port, caller: Operator, letter: LetterId) -> Response:  # noqa: ARG001  # as above
    """Forget it: nobody wants it any more."""
    return as_json(await service.drop_letter(letter))


@router.get("/policy", responses=openapi.POLICY, summary="Read the policy")
async def get_policy(service: Port, caller: Anyone) -> Response:
    """Answer with the profile that binds the caller's programs."""
    return as_json(await service.policy(caller))


@router.post("/policy/reload", responses=openapi.RELOAD, summary="Read the policy file again")
async def reload_policy(service: Port, caller: Operator) -> Response:  # noqa: ARG001  # an operator's key is what counts
    """Put the policy file in force as it is now, or say what is wrong with it and go on with the one before."""
    return as_json(await service.reload_policy())


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
    return as_json(await service.spared(days))


@router.post("/policy/explain", responses=openapi.EXPLAIN, summary="Explain what the policy decides")
async def explain_policy(
    service: Port,
    caller: Operator,  # noqa: ARG001  # it tells of every key's profile
    asked: Annotated[ExplainRequest, Body(openapi_examples=openapi_examples.QUESTIONS)],
) -> Response:
    """Answer with every decision about such a request, and the line of the policy's file that made it. Runs nothing."""
    return as_json(await service.explain(asked))


@router.get("/policies/{digest}", responses=openapi.KEPT_POLICY, summary="Read a policy that decided once")
async def get_kept_policy(service: Port, caller: Operator, digest: Digest) -> Response:  # noqa: ARG001  # of any tenant
    """Answer with the resolved profile that answers carry as `policy`, whole, also after the file changed."""
    return as_json(await service.kept_policy(digest))


@router.get("/isolation", responses=openapi.ISOLATION, summary="Look at what isolates programs")
async def get_isolation(service: Port, caller: Anyone) -> Response:  # noqa: ARG001  # any key may know
    """Answer with the latest self-test of each profile's kind of box."""
    return as_json(await service.isolation())


@router.post("/isolation/proofs", responses=openapi.ISOLATION, summary="Run the self-test now")
async def prove_isolation(service: Port, caller: Operator) -> Response:  # noqa: ARG001  # an operator's key is what counts
    """Try every forbidden thing in a real box of every profile, and answer with what came of it."""
    return as_json(await service.prove_isolation())


@router.get("/isolation/{digest}", responses=openapi.POSTURE, summary="Look at what was in force")
async def get_posture(service: Port, caller: Anyone, digest: Digest) -> Response:  # noqa: ARG001  # any key may know
    """Answer with the posture that an answer names, whole."""
    return as_json(await service.posture(digest))


@router.get("/retention", responses=openapi.RETENTION, summary="What retention would delete now")
async def get_retention(service: Port, caller: Operator) -> Response:  # noqa: ARG001  # counts tell of every tenant
    """Answer with what is due and what was deleted. Deletes nothing."""
    return as_json(await service.retention())


@router.post("/retention/passes", responses=openapi.RETENTION, summary="Delete now what is due")
async def begin_retention_pass(service: Port, caller: Operator) -> Response:  # noqa: ARG001  # as above
    """Delete what is due, and answer when that is done; `running` where it takes more than twenty seconds."""
    return as_json(await service.prune())


@router.get("/lanes/monty", responses=openapi.MONTY, summary="Look at the Monty lane's switch")
async def get_monty_lane(service: Port, caller: Operator) -> Response:  # noqa: ARG001  # it may name any tenant's execution
    """Answer with whether programs may run in Monty, why not, and what shadow runs came to."""
    return as_json(service.monty_lane())


@router.post("/lanes/monty/restorations", responses=openapi.MONTY, summary="Switch the Monty lane on again")
async def restore_monty_lane(service: Port, caller: Operator) -> Response:
    """Trust it again, but not the results that it left for others. What is on already stays on."""
    return as_json(await service.restore_monty(caller))


telemetry = keyed_router()


@telemetry.get("/metrics", responses=openapi.METRICS, summary="What Prometheus reads", response_class=PlainTextResponse)
async def metrics(service: Port, caller: Operator) -> Response:  # noqa: ARG001  # counts tell of every tenant
    """Answer with the metrics in Prometheus' text format."""
    return Response(await service.metrics(), media_type=openapi.METRICS_TEXT)
