"""What the OpenAPI document shows: an example of all that is sent and answered. A test holds each against its shape."""

from __future__ import annotations

from typing import Final, TypeAlias

from fastapi.openapi.models import Example
from pydantic import JsonValue

JsonObject: TypeAlias = dict[str, JsonValue]

DIGEST: Final = "9f1c5a4b0e6f4a8e8b4c0f0f5b7d2a6e3c1d9e8f7a6b5c4d3e2f1a0b9c8d7e6f"
_EXECUTION: Final = "exe_019aa3f5c7e2b41c6d0f9a8e7d6c5b4"
REVIEW_ID: Final = "rev_019aa3f6d1048e2a5b7c9d0e1f2a3b4"
_CODE: Final = "total = sum(row['amount'] for row in rows)\nprint(f'{len(rows)} rows')\ntotal"
_BROKEN: Final = "total = sum(row['amount'] for row in rows)\nprint(totl)"
_FIXED: Final = "total = sum(row['amount'] for row in rows)\nprint(total)"
_LIMITS: Final[JsonObject] = {
    "cpu_cores": 1.0,
    "memory_bytes": 268435456,
    "wall_seconds": 30.0,
    "pids": 64,
    "disk_bytes": 67108864,
    "output_bytes": 262144,
}


def _budget(in_a_row: int, in_total: int, same: int) -> JsonObject:
    return {
        "failures_in_a_row": {"left": in_a_row, "limit": 3},
        "failures_total": {"left": in_total, "limit": 12},
        "same_failure": {"left": same, "limit": 3},
        "grants": {"left": 2, "limit": 2},
    }


_AT: Final[JsonObject] = {"submitted_at": "2025-11-21T09:30:00.120Z", "answered_at": "2025-11-21T09:30:00.127Z"}
_OPEN: Final[JsonObject] = {"id": "invoices-42", "state": "open", "turn": "agent", "budget": _budget(3, 12, 3)}
_IN_REVIEW: Final[JsonObject] = {
    "id": "invoices-42",
    "state": "in_review",
    "turn": "reviewer",
    "budget": _budget(0, 9, 0),
    "review": REVIEW_ID,
}
SUCCEEDED: Final[JsonObject] = {
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
    "policy": DIGEST,
    "policy_name": "default",
    "profile": "default",
    "task": _OPEN,
    "next_actions": ["continue"],
}
FAILED: Final[JsonObject] = {
    **SUCCEEDED,
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
QUEUED: Final[JsonObject] = {
    "id": _EXECUTION,
    "status": "queued",
    "submitted_at": "2025-11-21T09:30:00.120Z",
    "policy": DIGEST,
    "policy_name": "default",
    "profile": "default",
    "task": _OPEN,
    "next_actions": ["wait"],
}
UNAVAILABLE: Final[JsonObject] = {
    **QUEUED,
    "status": "platform_error",
    "retryable": True,
    "answered_at": "2025-11-21T09:30:41.500Z",
    "next_actions": ["resubmit_unchanged"],
}
_SUMMARY: Final[JsonObject] = {"id": _EXECUTION, "status": "failed", **_AT}
TASK: Final[JsonObject] = {
    **_IN_REVIEW,
    "executions": [_SUMMARY],
    "latest": FAILED,
    "next_actions": ["wait", "close_task"],
}
REVIEW_SUMMARY: Final[JsonObject] = {
    "id": REVIEW_ID,
    "task": "invoices-42",
    "execution": _EXECUTION,
    "reason": "budget_exhausted",
    "state": "open",
    "opened_at": "2025-11-21T09:30:00.127Z",
    "expires_at": "2025-11-22T09:30:00.127Z",
}
WHOLE_REVIEW: Final[JsonObject] = {
    **REVIEW_SUMMARY,
    "token": DIGEST,
    "submitted_by": "invoice-bot",
    "ceilings": {**_LIMITS, "memory_bytes": 4294967296, "wall_seconds": 1800.0},
    "grants_left": 2,
    "tries": [{"execution": FAILED, "code": _BROKEN, "diff": ""}],
    "rulings": ["approve", "approve_edited", "raise_limits", "grant", "reject", "answer"],
    "people_needed": {"approve": 1, "approve_edited": 2},
}
DECIDED: Final[JsonObject] = {
    **WHOLE_REVIEW,
    "state": "decided",
    "token": None,
    "ruling": "approve_edited",
    "decided_by": "ann",
    "decided_at": "2025-11-21T10:02:11.004Z",
    "rulings": [],
    "ruled_execution": "exe_019aa3f71b3c5d7e9f0a1b2c3d4e5f6",
}
POLICY: Final[JsonObject] = {
    "name": "default",
    "profile": "default",
    "digest": DIGEST,
    "document": {"limits": {"memory": {"default": 268435456, "max": 1073741824}}},
}
RELOAD: Final[JsonObject] = {
    "at": "2025-11-21T09:30:00.127Z",
    "why": "request",
    "loaded": True,
    "name": "default",
    "sha256": DIGEST,
    "problems": [],
    "restart_needed": ["engine.boxes"],
}
LETTER: Final[JsonObject] = {
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
            "review": REVIEW_ID,
            "execution": _EXECUTION,
            "reason": "budget_exhausted",
            "href": f"/v1/reviews/{REVIEW_ID}",
        },
    },
}
_TRIAL: Final[JsonObject] = {"name": "network.tcp", "held": True, "detail": ""}
ISOLATION: Final[JsonObject] = {
    "held": False,
    "profiles": {
        "default": {
            "image": "airlock-guest:latest",
            "runtime": None,
            "held": False,
            "posture": DIGEST,
            "tested_at": "2025-11-21T09:29:58.310Z",
            "findings": ["network.interfaces: there are interfaces: eth0"],
            "trials": [_TRIAL, {"name": "network.interfaces", "held": False, "detail": "there are interfaces: eth0"}],
        }
    },
}
POSTURE: Final[JsonObject] = {
    "digest": DIGEST,
    "document": {"lane": "container", "engine": {"version": "28.5.1", "cgroup_version": 2}, "runtime": None},
    "tested_at": "2025-11-21T09:29:58.310Z",
    "trials": [_TRIAL],
}
_NONE: Final[JsonObject] = {"code": 0, "output": 0, "files": 0, "keys": 0}
SPARED: Final[JsonObject] = {
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
MONTY: Final[JsonObject] = {
    "on": False,
    "moved_at": "2026-01-02T00:00:00Z",
    "execution": _EXECUTION,
    "differs": ["stdout"],
    "by": None,
    "shadow_runs": {"same": 812, "different": 1},
    "shadow_waiting": 0,
}
RETENTION: Final[JsonObject] = {
    "profiles": {"default": {"code": 2592000.0, "output": 2592000.0, "files": 604800.0, "keys": None}},
    "due": {**_NONE, "files": 12},
    "held": 1,
    "deleted": {**_NONE, "code": 840, "output": 840},
    "freed_bytes": 7340032,
    "running": False,
    "ended_at": "2025-11-21T09:29:58.310Z",
}
READY: Final[JsonObject] = {
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
    "policy": DIGEST,
    "version": "0.1.0",
}

EXPLANATION: Final[JsonObject] = {
    "policy": "default",
    "profile": "default",
    "digest": DIGEST,
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
        "value": {"token": DIGEST, "ruling": "approve_edited", "code": _FIXED, "message": "A typo: totl."},
    },
    "grant": {
        "summary": "Let the agent try again",
        "value": {"token": DIGEST, "ruling": "grant", "failures": 3, "message": "Mend the name in line 2."},
    },
    "escalate": {"summary": "Ask the next level now", "value": {"token": DIGEST, "ruling": "escalate"}},
    "answer": {"summary": "Give the result", "value": {"token": DIGEST, "ruling": "answer", "result": 62.5}},
}


EDITS: Final[dict[str, Example]] = {"edit": {"summary": "A reviewer's version", "value": {"code": _FIXED}}}
TOLD: Final[JsonObject] = {"id": "1.1.7.0", "event": "stdout", "data": '{"attempt": 1, "text": "2 rows\\n"}'}
FINDING: Final[JsonObject] = {
    "rule": "name.unknown",
    "severity": "error",
    "message": "Name `totl` used when not defined",
    "line": 2,
    "column": 7,
}
