"""What the API says of itself: the words of the OpenAPI document, and the answers of each route.

Data; `requests.py` and the `wire_` rooms own the shapes, `openapi_examples.py` what they are shown with.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from fastapi import FastAPI
from pydantic import BaseModel, JsonValue

from gateway import openapi_examples as examples
from gateway.event_stream import MEDIA_TYPE as EVENT_STREAM
from gateway.openapi_examples import JsonObject
from gateway.problems import MEDIA_TYPE as PROBLEM_JSON
from gateway.stream import ID as POSITION
from gateway.wire import Problem
from gateway.wire_answers import ExecutionView, TaskView
from gateway.wire_operations import (
    DeadLetter,
    DeadLetterList,
    IsolationView,
    MontyLaneView,
    PostureView,
    ReadyView,
    RetentionView,
    SparedList,
)
from gateway.wire_policy import ExplanationView, KeptPolicyView, PolicyView, ReloadView
from gateway.wire_reviews import ChecksView, ReviewList, ReviewView

_Responses: TypeAlias = dict[int | str, dict[str, object]]

JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"
SCHEMA: Final = "application/schema+json"
METRICS_TEXT: Final = "text/plain; version=1.0.0; charset=utf-8"
KEYS: Final = "A key of the policy. On a loopback address without any keys, agents need none."
PREFER: Final = (
    "RFC 7240. `wait=N` (0 to 600 seconds): 202 when the program takes longer. `respond-async`: 202 as soon as the"
    " program is recorded; together with `wait=N`, after that time. Without any, the answer is waited for."
)
CACHE: Final = "RFC 9111. `no-cache`: run it, although its result may be known."
LAST_EVENT_ID: Final = "The `id` of the last event that was received; what comes after it is told."


def _answer(model: type[BaseModel], says: str, **shown: JsonObject) -> dict[str, object]:
    named = {name: {"value": value} for name, value in shown.items()}
    return {"model": model, "description": says, "content": {JSON: {"examples": named}}}


def _problem(status: int, kind: str, detail: str, **also: JsonValue) -> _Responses:
    example = {"type": f"urn:airlock:problem:{kind}", "title": detail, "status": status, "detail": detail, **also}
    schema = {"$ref": "#/components/schemas/Problem"}
    return {status: {"description": detail, "content": {PROBLEM_JSON: {"schema": schema, "example": example}}}}


_INVALID: Final = _problem(
    422,
    "invalid-request",
    "limits.memory: 'lots' is not a size (write 512Mi, 2Gi)",
    errors=[{"field": "limits.memory", "message": "'lots' is not a size (write 512Mi, 2Gi)"}],
)
_UNKNOWN: Final = _problem(
    422,
    "invalid-request",
    "wiat: there is no such parameter; there is none here",
    errors=[{"field": "wiat", "message": "there is no such parameter; there is none here"}],
)
_ALWAYS: Final[_Responses] = (
    _problem(401, "unauthorized", "A valid key is needed: `Authorization: Bearer <key>`.")
    | _problem(403, "forbidden", "This needs a key with the role reviewer; this one has: agent.")
    | _INVALID
    | _problem(429, "rate-limited", "This key asks too much at once: wait, then send it again.", limit="rates.requests")
    | _problem(503, "unavailable", "The platform cannot answer now; the program is not at fault.")
)
_FOUND: Final[_Responses] = _ALWAYS | _problem(404, "not-found", "There is no such thing, or it is not yours.")
_BODY: Final[_Responses] = (
    _problem(400, "malformed-request", "The body is not acceptable JSON: Expecting value (line 2, column 12).")
    | _problem(408, "request-timeout", "The body did not arrive in time.")
    | _problem(413, "body-too-large", "The body must not be larger than 8388608 bytes.")
    | _problem(415, "unsupported-media-type", "The body must be `application/json`.")
)

SUBMIT: Final[_Responses] = {
    200: _answer(ExecutionView, "What came of the program.", succeeded=examples.SUCCEEDED, failed=examples.FAILED),
    202: _answer(ExecutionView, "It takes longer than `Prefer` allowed; `Location` has it.", queued=examples.QUEUED),
    **_ALWAYS,
    **_BODY,
    **_problem(409, "not-your-turn", "The task waits for a reviewer.", turn="reviewer", review=examples.REVIEW_ID),
    **_problem(
        429,
        "quota-spent",
        "This key has used up its share of the day: wait for the next one.",
        limit="quotas.executions",
        limits=["quotas.executions"],
        resets_at="2026-02-01T00:00:00+00:00",
    ),
    **_problem(503, "unavailable", "The platform could not run it.", retryable=True, execution=examples.UNAVAILABLE),
}
EXECUTION: Final[_Responses] = {
    200: _answer(ExecutionView, "The execution.", failed=examples.FAILED, queued=examples.QUEUED),
    **_FOUND,
}
_EVENT: Final[JsonObject] = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "pattern": POSITION, "description": "What to come back with as `Last-Event-ID`."},
        "event": {"type": "string", "enum": ["queued", "started", "stdout", "stderr", "result", "finished"]},
        "data": {"type": "string", "contentMediaType": JSON, "description": "A JSON object on one line."},
    },
}
EVENTS: Final[_Responses] = {
    200: {
        "description": "The events, one after the other, as they happen; the schema is that of one.",
        "content": {EVENT_STREAM: {"schema": _EVENT, "example": examples.TOLD}},
    },
    204: {"description": "Everything was told: the last event was `finished`."},
    **_FOUND,
}
FILE: Final[_Responses] = {
    200: {"description": "The bytes.", "content": {BYTES: {"schema": {"type": "string", "format": "binary"}}}},
    **_FOUND,
}
TASK: Final[_Responses] = {200: _answer(TaskView, "The task.", in_review=examples.TASK), **_FOUND}
CLOSE: Final[_Responses] = {
    **TASK,
    **_problem(
        409, "conflict", "An anonymous task ends by itself, with its window; closing it would renew its budget."
    ),
}
REVIEWS: Final[_Responses] = {
    200: _answer(ReviewList, "A page of reviews.", page={"reviews": [examples.REVIEW_SUMMARY], "next": None}),
    **_ALWAYS,
}
REVIEW: Final[_Responses] = {200: _answer(ReviewView, "The review.", open=examples.WHOLE_REVIEW), **_FOUND}
RULING: Final[_Responses] = {
    200: _answer(ReviewView, "The review, decided.", decided=examples.DECIDED),
    **_FOUND,
    **_BODY,
    **_problem(409, "review-decided", "The review is decided already."),
    **_problem(
        422,
        "refused-by-checks",
        "The checks refuse this version: the review stays open, with the same token.",
        review=examples.REVIEW_ID,
        token=examples.DIGEST,
        findings=[examples.FINDING],
    ),
    **_problem(412, "stale-review", "The review changed since it was looked at: look again."),
}
CHECKS: Final[_Responses] = {
    200: _answer(
        ChecksView, "What the checks say.", refused={"admitted": False, "lane": None, "findings": [examples.FINDING]}
    ),
    **_FOUND,
    **_BODY,
    **_problem(409, "conflict", "The reviewed program was deleted by retention: grant or reject."),
}
LETTERS: Final[_Responses] = {
    200: _answer(DeadLetterList, "A page of dead letters.", page={"letters": [examples.LETTER], "next": None}),
    **_ALWAYS,
}
LETTER: Final[_Responses] = {
    200: _answer(DeadLetter, "The letter.", waiting={**examples.LETTER, "state": "waiting", "attempts": 0}),
    **_FOUND,
    **_problem(409, "conflict", "The policy has no webhook or address 'alerts' any more."),
}
POLICY: Final[_Responses] = {200: _answer(PolicyView, "The profile.", default=examples.POLICY), **_ALWAYS}
DECIDED_BY: Final[_Responses] = {200: _answer(PolicyView, "The profile.", default=examples.POLICY), **_FOUND}
KEPT_POLICY: Final[_Responses] = {
    200: _answer(
        KeptPolicyView, "The profile.", kept={"digest": examples.DIGEST, "document": examples.POLICY["document"]}
    ),
    **_FOUND,
}
EXPLAIN: Final[_Responses] = {
    200: _answer(ExplanationView, "The decisions.", some=examples.EXPLANATION),
    **_ALWAYS,
    **_BODY,
}
RELOAD: Final[_Responses] = {
    200: _answer(ReloadView, "What is in force now.", default=examples.RELOAD),
    **_ALWAYS,
    **_problem(
        422,
        "policy-refused",
        "The policy file cannot be used; the policy before stays in force.",
        errors=[{"field": "policy.yaml:4:3", "message": "defaults.limts: unknown key"}],
    ),
}
POLICY_SCHEMA: Final[_Responses] = {
    200: {"description": "The schema (draft 2020-12).", "content": {SCHEMA: {"schema": {"type": "object"}}}},
    **_ALWAYS,
}
ISOLATION: Final[_Responses] = {
    200: _answer(IsolationView, "The latest proofs.", broken=examples.ISOLATION),
    **_ALWAYS,
}
POSTURE: Final[_Responses] = {200: _answer(PostureView, "The posture.", box=examples.POSTURE), **_FOUND}
RETENTION: Final[_Responses] = {200: _answer(RetentionView, "What it did.", some=examples.RETENTION), **_ALWAYS}
SPARED: Final[_Responses] = {200: _answer(SparedList, "What ran all the same.", some=examples.SPARED), **_ALWAYS}
MONTY: Final[_Responses] = {200: _answer(MontyLaneView, "The switch.", off=examples.MONTY), **_ALWAYS}
METRICS: Final[_Responses] = {
    200: {"description": "The metrics.", "content": {METRICS_TEXT: {"schema": {"type": "string"}}}},
    **_ALWAYS,
}
HEALTH: Final[_Responses] = {
    200: {"description": "It is.", "content": {JSON: {"example": {"live": True}}}},
    503: {"description": "It is not.", "content": {JSON: {"example": {"live": False}}}},
    **_UNKNOWN,
}
READY: Final[_Responses] = {
    200: _answer(ReadyView, "It takes programs.", monty_only=examples.READY),
    503: _answer(ReadyView, "It takes none.", not_ready={**examples.READY, "ready": False}),
    **_UNKNOWN,
}


class DocumentedApp(FastAPI):
    """An application whose document has the shape of a problem, which no route answers with as its model."""

    def openapi(self) -> dict[str, JsonValue]:
        """Return the OpenAPI document."""
        document = super().openapi()
        schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        document["components"]["schemas"] |= schema.pop("$defs", {}) | {"Problem": schema}
        return document
