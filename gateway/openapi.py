"""What the API says of itself: the OpenAPI document's words, examples and error answers.

Data; `requests.py` and the `wire_` rooms own the shapes, and a test holds every example against them.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from fastapi import FastAPI
from fastapi.openapi.models import Example
from pydantic import BaseModel, JsonValue

from gateway.event_stream import MEDIA_TYPE as EVENT_STREAM
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

_Object: TypeAlias = dict[str, JsonValue]
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

_DIGEST: Final = "9f1c5a4b0e6f4a8e8b4c0f0f5b7d2a6e3c1d9e8f7a6b5c4d3e2f1a0b9c8d7e6f"
_EXECUTION: Final = "exe_019aa3f5c7e2b41c6d0f9a8e7d6c5b4"
_REVIEW: Final = "rev_019aa3f6d1048e2a5b7c9d0e1f2a3b4"
_CODE: Final = "total = sum(row['amount'] for row in rows)\nprint(f'{len(rows)} rows')\ntotal"
_BROKEN: Final = "total = sum(row['amount'] for row in rows)\nprint(totl)"
_FIXED: Final = "total = sum(row['amount'] for row in rows)\nprint(total)"
_LIMITS: Final[_Object] = {
    "cpu_cores": 1.0,
    "memory_bytes": 268435456,
    "wall_seconds": 30.0,
    "pids": 64,
    "disk_bytes": 67108864,
    "output_bytes": 262144,
}


def _budget(in_a_row: int, in_total: int, same: int) -> _Object:
    return {
        "failures_in_a_row": {"left": in_a_row, "limit": 3},
        "failures_total": {"left": in_total, "limit": 12},
        "same_failure": {"left": same, "limit": 3},
        "grants": {"left": 2, "limit": 2},
    }


_AT: Final[_Object] = {"submitted_at": "2025-11-21T09:30:00.120Z", "answered_at": "2025-11-21T09:30:00.127Z"}
_OPEN: Final[_Object] = {"id": "invoices-42", "state": "open", "turn": "agent", "budget": _budget(3, 12, 3)}
_IN_REVIEW: Final[_Object] = {
    "id": "invoices-42",
    "state": "in_review",
    "turn": "reviewer",
    "budget": _budget(0, 9, 0),
    "review": _REVIEW,
}
_SUCCEEDED: Final[_Object] = {
    "id": _EXECUTION,
    "status": "succeeded",
    "lane": "monty",
    "stdout": "2 rows\n",
    "result": 62.5,
    "result_form": "json",
    "exit_code": 0,
    "usage": {"wall_seconds": 0.0007, "stdout_bytes": 7, "stderr_bytes": 0},
    "timings": {"check": 0.0031, "run": 0.0007},
    "attempts": [{"number": 1, "lane": "monty", "ending": "succeeded", "limits": _LIMITS}],
    "python": "3.13",
    "source": "program",
    **_AT,
    "policy": _DIGEST,
    "policy_name": "default",
    "profile": "default",
    "task": _OPEN,
    "next_actions": ["continue"],
}
_FAILED: Final[_Object] = {
    **_SUCCEEDED,
    "status": "failed",
    "stdout": "",
    "result": None,
    "result_form": None,
    "exit_code": 1,
    "error": {
        "type": "NameError",
        "message": "name 'totl' is not defined",
        "line": 2,
        "traceback": 'Traceback (most recent call last):\n  File "main.py", line 2, in <module>\n    print(totl)\n'
        "          ^^^^\nNameError: name 'totl' is not defined. Did you mean: 'total'?",
        "hint": "Define totl before line 2, or mend its spelling.",
    },
    "attempts": [{"number": 1, "lane": "monty", "ending": "failed", "limits": _LIMITS}],
    "task": _IN_REVIEW,
    "next_actions": ["wait", "close_task"],
}
_QUEUED: Final[_Object] = {
    "id": _EXECUTION,
    "status": "queued",
    "submitted_at": "2025-11-21T09:30:00.120Z",
    "policy": _DIGEST,
    "policy_name": "default",
    "profile": "default",
    "task": _OPEN,
    "next_actions": ["wait"],
}
_UNAVAILABLE: Final[_Object] = {
    **_QUEUED,
    "status": "platform_error",
    "retryable": True,
    "answered_at": "2025-11-21T09:30:41.500Z",
    "next_actions": ["resubmit_unchanged"],
}
_SUMMARY: Final[_Object] = {"id": _EXECUTION, "status": "failed", **_AT}
_TASK: Final[_Object] = {
    **_IN_REVIEW,
    "executions": [_SUMMARY],
    "latest": _FAILED,
    "next_actions": ["wait", "close_task"],
}
_REVIEW_SUMMARY: Final[_Object] = {
    "id": _REVIEW,
    "task": "invoices-42",
    "execution": _EXECUTION,
    "reason": "budget_exhausted",
    "state": "open",
    "opened_at": "2025-11-21T09:30:00.127Z",
    "expires_at": "2025-11-22T09:30:00.127Z",
}
_WHOLE_REVIEW: Final[_Object] = {
    **_REVIEW_SUMMARY,
    "token": _DIGEST,
    "submitted_by": "invoice-bot",
    "ceilings": {**_LIMITS, "memory_bytes": 4294967296, "wall_seconds": 1800.0},
    "grants_left": 2,
    "tries": [{"execution": _FAILED, "code": _BROKEN, "diff": ""}],
    "rulings": ["approve", "approve_edited", "raise_limits", "grant", "reject", "answer"],
    "people_needed": {"approve": 1, "approve_edited": 2},
}
_DECIDED: Final[_Object] = {
    **_WHOLE_REVIEW,
    "state": "decided",
    "token": None,
    "ruling": "approve_edited",
    "decided_by": "ann",
    "decided_at": "2025-11-21T10:02:11.004Z",
    "rulings": [],
    "ruled_execution": "exe_019aa3f71b3c5d7e9f0a1b2c3d4e5f6",
}
_POLICY: Final[_Object] = {
    "name": "default",
    "profile": "default",
    "digest": _DIGEST,
    "document": {"limits": {"memory": {"default": 268435456, "max": 1073741824}}},
}
_RELOAD: Final[_Object] = {
    "at": "2025-11-21T09:30:00.127Z",
    "why": "request",
    "loaded": True,
    "name": "default",
    "sha256": _DIGEST,
    "problems": [],
    "restart_needed": ["engine.boxes"],
}
_LETTER: Final[_Object] = {
    "id": "msg_019aa3f6d1048e2a5b7c9d0e1f2a3b4",
    "webhook": "alerts",
    "type": "review.opened",
    "state": "dead",
    "written_at": "2025-11-21T09:30:00.127Z",
    "tried_at": "2025-11-22T10:41:09.530Z",
    "attempts": 8,
    "error": "HTTP 503",
    "body": {
        "type": "review.opened",
        "timestamp": "2025-11-21T09:30:00.127000+00:00",
        "data": {
            "tenant": "acme",
            "task": "invoices-42",
            "review": _REVIEW,
            "execution": _EXECUTION,
            "reason": "budget_exhausted",
            "href": f"/v1/reviews/{_REVIEW}",
        },
    },
}
_TRIAL: Final[_Object] = {"name": "network.tcp", "held": True, "detail": ""}
_ISOLATION: Final[_Object] = {
    "held": False,
    "profiles": {
        "default": {
            "image": "airlock-guest:latest",
            "runtime": None,
            "held": False,
            "posture": _DIGEST,
            "tested_at": "2025-11-21T09:29:58.310Z",
            "findings": ["network.interfaces: there are interfaces: eth0"],
            "trials": [_TRIAL, {"name": "network.interfaces", "held": False, "detail": "there are interfaces: eth0"}],
        }
    },
}
_POSTURE: Final[_Object] = {
    "digest": _DIGEST,
    "document": {"lane": "container", "engine": {"version": "28.5.1", "cgroup_version": 2}, "runtime": None},
    "tested_at": "2025-11-21T09:29:58.310Z",
    "trials": [_TRIAL],
}
_NONE: Final[_Object] = {"code": 0, "output": 0, "files": 0, "keys": 0}
_SPARED: Final[_Object] = {
    "since": "2026-01-01T00:00:00Z",
    "executions": 3,
    "whole": True,
    "findings": [
        {
            "profile": "default",
            "mode": "audit",
            "verdict": "denied",
            "rule": "import.denied",
            "subject": "socket",
            "executions": 3,
            "tenants": ["team-a"],
            "first_at": "2026-01-02T00:00:00Z",
            "last_at": "2026-01-03T00:00:00Z",
            "example": _EXECUTION,
        }
    ],
}
_MONTY: Final[_Object] = {
    "on": False,
    "moved_at": "2026-01-02T00:00:00Z",
    "execution": _EXECUTION,
    "differs": ["stdout"],
    "by": None,
    "shadow_runs": {"same": 812, "different": 1},
    "shadow_waiting": 0,
}
_RETENTION: Final[_Object] = {
    "profiles": {"default": {"code": 2592000.0, "output": 2592000.0, "files": 604800.0, "keys": None}},
    "due": {**_NONE, "files": 12},
    "held": 1,
    "deleted": {**_NONE, "code": 840, "output": 840},
    "freed_bytes": 7340032,
    "running": False,
    "ended_at": "2025-11-21T09:29:58.310Z",
}
_READY: Final[_Object] = {
    "ready": True,
    "store": {"writable": True, "reason": None},
    "lanes": {
        "monty": {"available": True, "detail": "ready", "python": "3.13"},
        "container": {"available": False, "detail": "no container engine answers", "python": None},
    },
    "live_executions": 0,
    "breaker": "closed",
    "queued": 0,
    "open_reviews": 1,
    "policy": _DIGEST,
    "version": "0.1.0",
}

_EXPLANATION: Final[_Object] = {
    "policy": "default",
    "profile": "default",
    "digest": _DIGEST,
    "decisions": [
        {
            "decision": "limits.memory",
            "value": "512Mi",
            "why": "the request asks for it",
            "made": [
                {"key": "request.limits.memory", "value": "512Mi", "place": "the request"},
                {"key": "defaults.limits.memory.max", "value": "1Gi", "place": "policy.yaml:48"},
                {"key": "ceilings.memory", "value": "4Gi", "place": "built in"},
            ],
        }
    ],
}
QUESTIONS: Final[dict[str, Example]] = {
    "request": {
        "summary": "What a request would come to",
        "value": {"profile": "default", "request": {"code": "import os", "limits": {"memory": "512Mi"}}},
    },
}
PROGRAMS: Final[dict[str, Example]] = {
    "inputs": {
        "summary": "A program with inputs; its last expression comes back as `result`",
        "value": {"code": _CODE, "task_id": "invoices-42", "inputs": {"rows": [{"amount": 20.0}, {"amount": 42.5}]}},
    },
    "files": {
        "summary": "Files in and out, and limits of its own",
        "value": {
            "code": "import csv\nrows = list(csv.reader(open('in.csv')))\nopen('out.txt', 'w').write(str(len(rows)))",
            "files": [{"path": "in.csv", "content": "a,b\n1,2\n"}],
            "outputs": ["*.txt"],
            "limits": {"memory": "128Mi", "time": "10s"},
        },
    },
    "expect": {
        "summary": "What has to come of it",
        "value": {
            "code": "{'total': sum(amounts)}",
            "inputs": {"amounts": [20.0, 42.5]},
            "expect": {
                "result_schema": {"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]},
                "max_stdout_bytes": 1000,
            },
        },
    },
}
RULINGS: Final[dict[str, Example]] = {
    "approve_edited": {
        "summary": "Run the reviewer's version",
        "value": {"token": _DIGEST, "ruling": "approve_edited", "code": _FIXED, "message": "A typo: totl."},
    },
    "grant": {
        "summary": "Let the agent try again",
        "value": {"token": _DIGEST, "ruling": "grant", "failures": 3, "message": "Mend the name in line 2."},
    },
    "escalate": {"summary": "Ask the next level now", "value": {"token": _DIGEST, "ruling": "escalate"}},
    "answer": {"summary": "Give the result", "value": {"token": _DIGEST, "ruling": "answer", "result": 62.5}},
}


EDITS: Final[dict[str, Example]] = {"edit": {"summary": "A reviewer's version", "value": {"code": _FIXED}}}


def _answer(model: type[BaseModel], says: str, **examples: _Object) -> dict[str, object]:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {"model": model, "description": says, "content": {JSON: {"examples": shown}}}


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
    200: _answer(ExecutionView, "What came of the program.", succeeded=_SUCCEEDED, failed=_FAILED),
    202: _answer(ExecutionView, "It takes longer than `Prefer` allowed; `Location` has it.", queued=_QUEUED),
    **_ALWAYS,
    **_BODY,
    **_problem(409, "not-your-turn", "The task waits for a reviewer.", turn="reviewer", review=_REVIEW),
    **_problem(
        429,
        "quota-spent",
        "This key has used up its share of the day: wait for the next one.",
        limit="quotas.executions",
        limits=["quotas.executions"],
        resets_at="2026-02-01T00:00:00+00:00",
    ),
    **_problem(503, "unavailable", "The platform could not run it.", retryable=True, execution=_UNAVAILABLE),
}
EXECUTION: Final[_Responses] = {200: _answer(ExecutionView, "The execution.", failed=_FAILED, queued=_QUEUED), **_FOUND}
_EVENT: Final[_Object] = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "pattern": POSITION, "description": "What to come back with as `Last-Event-ID`."},
        "event": {"type": "string", "enum": ["queued", "started", "stdout", "stderr", "result", "finished"]},
        "data": {"type": "string", "contentMediaType": JSON, "description": "A JSON object on one line."},
    },
}
_TOLD: Final[_Object] = {"id": "1.1.7.0", "event": "stdout", "data": '{"attempt": 1, "text": "2 rows\\n"}'}
EVENTS: Final[_Responses] = {
    200: {
        "description": "The events, one after the other, as they happen; the schema is that of one.",
        "content": {EVENT_STREAM: {"schema": _EVENT, "example": _TOLD}},
    },
    204: {"description": "Everything was told: the last event was `finished`."},
    **_FOUND,
}
FILE: Final[_Responses] = {
    200: {"description": "The bytes.", "content": {BYTES: {"schema": {"type": "string", "format": "binary"}}}},
    **_FOUND,
}
TASK: Final[_Responses] = {200: _answer(TaskView, "The task.", in_review=_TASK), **_FOUND}
CLOSE: Final[_Responses] = {
    **TASK,
    **_problem(
        409, "conflict", "An anonymous task ends by itself, with its window; closing it would renew its budget."
    ),
}
REVIEWS: Final[_Responses] = {
    200: _answer(ReviewList, "A page of reviews.", page={"reviews": [_REVIEW_SUMMARY], "next": None}),
    **_ALWAYS,
}
REVIEW: Final[_Responses] = {200: _answer(ReviewView, "The review.", open=_WHOLE_REVIEW), **_FOUND}
_FINDING: Final[_Object] = {
    "rule": "name.unknown",
    "severity": "error",
    "message": "Name `totl` used when not defined",
    "line": 2,
    "column": 7,
}
RULING: Final[_Responses] = {
    200: _answer(ReviewView, "The review, decided.", decided=_DECIDED),
    **_FOUND,
    **_BODY,
    **_problem(409, "review-decided", "The review is decided already."),
    **_problem(
        422,
        "refused-by-checks",
        "The checks refuse this version: the review stays open, with the same token.",
        review=_REVIEW,
        token=_DIGEST,
        findings=[_FINDING],
    ),
    **_problem(412, "stale-review", "The review changed since it was looked at: look again."),
}
CHECKS: Final[_Responses] = {
    200: _answer(ChecksView, "What the checks say.", refused={"admitted": False, "lane": None, "findings": [_FINDING]}),
    **_FOUND,
    **_BODY,
    **_problem(409, "conflict", "The reviewed program was deleted by retention: grant or reject."),
}
LETTERS: Final[_Responses] = {
    200: _answer(DeadLetterList, "A page of dead letters.", page={"letters": [_LETTER], "next": None}),
    **_ALWAYS,
}
LETTER: Final[_Responses] = {
    200: _answer(DeadLetter, "The letter.", waiting={**_LETTER, "state": "waiting", "attempts": 0}),
    **_FOUND,
    **_problem(409, "conflict", "The policy has no webhook or address 'alerts' any more."),
}
POLICY: Final[_Responses] = {200: _answer(PolicyView, "The profile.", default=_POLICY), **_ALWAYS}
DECIDED_BY: Final[_Responses] = {200: _answer(PolicyView, "The profile.", default=_POLICY), **_FOUND}
KEPT_POLICY: Final[_Responses] = {
    200: _answer(KeptPolicyView, "The profile.", kept={"digest": _DIGEST, "document": _POLICY["document"]}),
    **_FOUND,
}
EXPLAIN: Final[_Responses] = {
    200: _answer(ExplanationView, "The decisions.", some=_EXPLANATION),
    **_ALWAYS,
    **_BODY,
}
RELOAD: Final[_Responses] = {
    200: _answer(ReloadView, "What is in force now.", default=_RELOAD),
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
    200: _answer(IsolationView, "The latest proofs.", broken=_ISOLATION),
    **_ALWAYS,
}
POSTURE: Final[_Responses] = {200: _answer(PostureView, "The posture.", box=_POSTURE), **_FOUND}
RETENTION: Final[_Responses] = {200: _answer(RetentionView, "What it did.", some=_RETENTION), **_ALWAYS}
SPARED: Final[_Responses] = {200: _answer(SparedList, "What ran all the same.", some=_SPARED), **_ALWAYS}
MONTY: Final[_Responses] = {200: _answer(MontyLaneView, "The switch.", off=_MONTY), **_ALWAYS}
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
    200: _answer(ReadyView, "It takes programs.", monty_only=_READY),
    503: _answer(ReadyView, "It takes none.", not_ready={**_READY, "ready": False}),
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
