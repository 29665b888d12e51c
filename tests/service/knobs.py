"""Every key of a policy, with a function that sees what it does and two values for which that differs.

To add a key: write a function `(bench, policy) -> what the gateway does because of it` into `knob_effects.py`, or use one
that is there, and a row here. It must call the code that decides: a value that is merely read back proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.bodies import Body
from gateway.policy import Policy
from tests.service.knob_effects import (
    ADA,
    AT,
    KEY,
    Bench,
    Json,
    Seen,
    admitted,
    called,
    charged,
    declaring,
    delivered,
    denied,
    due,
    failing,
    findings,
    granted,
    granting,
    in_monty,
    inherited,
    jobs,
    later,
    loads,
    more_memory,
    names,
    remembered,
    retried,
    ruled,
    served,
    shadowed,
    spares,
    taken,
    targets,
    told,
    traced,
    tried,
    verdict,
    waits,
    window,
    without_asking,
)


@dataclass(frozen=True)
class Knob:
    """`see` looks at what the gateway does under a policy; it differs between `one` and `other`.

    `beside` is what else the policy says, so that the difference can show.
    """

    see: Callable[[Bench, Policy], Seen]
    one: Json
    other: Json
    beside: Mapping[str, Json] = field(default_factory=dict)


DENY: Final[dict[str, Json]] = {"defaults": {"checks": {"imports": {"deny": ["socket"]}}}}
DEEP: Final = "def a():\n    def b():\n        def c():\n            pass\n        c()\n    b()\na()"
ONE_BOX: Final[dict[str, Json]] = {"engine": {"boxes": 1}}
CELLS: Final[dict[str, Json]] = {"defaults": {"isolation": {"mode": "cell"}}}
HIGH: Final[dict[str, Json]] = {
    "defaults": {"budget": {"failures_in_a_row": 40, "failures_total": 40, "same_failure": 40}}
}
SLOW: Final[dict[str, Json]] = {"defaults": {"rates": {"burst": 1}}}

KNOBS: Final[dict[str, Knob]] = {
    "engine.boxes": Knob(served, 2, 5, {"engine": {"memory": "1Ti"}}),
    "engine.spares": Knob(spares, 0, 3),
    "engine.memory": Knob(served, "2Gi", "5Gi", {"engine": {"boxes": 10}}),
    "engine.queue": Knob(taken, 3, 5, ONE_BOX),
    "engine.queue_age": Knob(taken, "3s", "7s", ONE_BOX),
    "engine.retry_share": Knob(retried, 0.1, 0.9),
    "ceilings.cpu": Knob(ruled("cpu", 6), 4, 8),
    "ceilings.memory": Knob(ruled("memory", "6Gi"), "4Gi", "8Gi"),
    "ceilings.time": Knob(ruled("time", "50m"), "30m", "1h"),
    "ceilings.pids": Knob(ruled("pids", 1500), 1024, 2048),
    "ceilings.disk": Knob(ruled("disk", "3Gi"), "2Gi", "4Gi"),
    "ceilings.output": Knob(ruled("output", "20Mi"), "16Mi", "32Mi"),
    "ceilings.grants_per_task": Knob(loads({"defaults": {"review": {"grants_per_task": 3}}}), 2, 3),
    "ceilings.failures": Knob(granting(15), 12, 20),
    "checks.mode": Knob(verdict("import socket"), "enforce", "audit", DENY),
    "checks.imports.allow": Knob(verdict("import socket"), ["json"], ["socket"]),
    "checks.imports.deny": Knob(verdict("import socket"), [], ["socket"]),
    "checks.type_check": Knob(findings, "warn", "skip"),
    "checks.source_size": Knob(verdict("#" * 2000), "1Ki", "2Ki"),
    "checks.nesting": Knob(verdict(DEEP), 2, 3),
    "lanes.monty": Knob(verdict("1"), True, False),
    "lanes.monty_time": Knob(in_monty, "1s", "2s"),
    "lanes.shadow": Knob(shadowed, 0.0, 0.5),
    "isolation.mode": Knob(jobs("cell"), "container", "cell"),
    "isolation.preload": Knob(jobs("cell"), [], ["json"], CELLS),
    "isolation.image": Knob(jobs("image"), "one:1", "other:1"),
    "isolation.packages": Knob(declaring, [], ["numpy"]),
    "isolation.runtime": Knob(jobs("runtime"), "runc", "runsc"),
    "limits.cpu.default": Knob(without_asking, 1, 2),
    "limits.cpu.max": Knob(granted("cpu", 3), 2, 4),
    "limits.memory.default": Knob(without_asking, "256Mi", "512Mi"),
    "limits.memory.max": Knob(granted("memory", "2Gi"), "1Gi", "2Gi"),
    "limits.time.default": Knob(without_asking, "30s", "31s"),
    "limits.time.max": Knob(granted("time", "10m"), "5m", "20m"),
    "limits.pids.default": Knob(without_asking, 64, 65),
    "limits.pids.max": Knob(granted("pids", 300), 256, 512),
    "limits.disk.default": Knob(without_asking, "64Mi", "65Mi"),
    "limits.disk.max": Knob(granted("disk", "1Gi"), "512Mi", "1Gi"),
    "limits.output.default": Knob(without_asking, "256Ki", "257Ki"),
    "limits.output.max": Knob(granted("output", "5Mi"), "4Mi", "8Mi"),
    "retries.attempts": Knob(tried, 2, 5),
    "retries.base": Knob(waits, "1s", "2s"),
    "retries.cap": Knob(waits, "10s", "20s"),
    "retries.memory": Knob(more_memory, True, False),
    "budget.failures_in_a_row": Knob(failing(), 3, 5, HIGH),
    "budget.failures_total": Knob(failing(rests=True), 3, 5, HIGH),
    "budget.same_failure": Knob(failing(same=True), 3, 5, HIGH),
    "budget.anonymous_failures_in_a_row": Knob(failing(anonymous=True), 3, 5, HIGH),
    "budget.anonymous_window": Knob(window, "1h", "2h"),
    "costs.policy_denied": Knob(denied, 2, 3),
    "rates.requests": Knob(admitted(lambda limiter, _: limiter.admit(ADA)), 60, 600, SLOW),
    "rates.burst": Knob(
        admitted(lambda limiter, _: limiter.admit(ADA)), 1, 10, {"defaults": {"rates": {"requests": 60}}}
    ),
    "rates.executions": Knob(admitted(lambda limiter, live: limiter.admit_execution(ADA, live, AT)), 3, 5),
    "rates.streams": Knob(admitted(lambda limiter, live: limiter.admit_stream(ADA, live)), 3, 5),
    "quotas.executions": Knob(admitted(lambda limiter, _: limiter.admit_execution(ADA, 0, AT)), 3, 5),
    "quotas.cpu": Knob(charged, "1m", "2m"),
    "cache.scope": Knob(remembered, "tenant", "shared"),
    "retention.code": Knob(due(Body.CODE), "1d", "forever"),
    "retention.output": Knob(due(Body.OUTPUT), "1d", "2d"),
    "retention.files": Knob(due(Body.FILES), "1d", "2d"),
    "retention.keys": Knob(due(Body.KEYS), "1d", "2d"),
    "telemetry.content": Knob(traced, True, False),
    "telemetry.content_size": Knob(traced, 10, 500, {"defaults": {"telemetry": {"content": True}}}),
    "extends": Knob(inherited, "one", "other"),
    "name": Knob(names, "one", "other"),
    "version": Knob(names, 1, 2),
    "keys[].name": Knob(called, "ada", "bob"),
    "keys[].sha256": Knob(called, KEY["sha256"], "ab" * 32),
    "keys[].tenant": Knob(called, "one", "two"),
    "keys[].profile": Knob(called, "default", "wide", {"profiles": {"wide": {}}}),
    "keys[].roles": Knob(called, ["agent"], ["reviewer"]),
    "webhooks[].name": Knob(told, "hook", "other"),
    "webhooks[].url": Knob(targets, "http://127.0.0.1:1/", "http://127.0.0.1:2/"),
    "webhooks[].secret_env": Knob(targets, "AIRLOCK_SECRET_ONE", "AIRLOCK_SECRET_TWO"),
    "webhooks[].secret_file": Knob(targets, "ONE", "TWO"),
    "webhooks[].events": Knob(told, ["execution.finished"], ["task.closed"]),
    "webhooks[].tenants": Knob(told, ["t"], ["other"]),
    "webhooks[].attempts": Knob(delivered, 1, 2, {"webhooks": [{"timeout": "50ms"}]}),
    "webhooks[].base": Knob(later, "1s", "2s"),
    "webhooks[].cap": Knob(later, "1h", "2h"),
    "webhooks[].timeout": Knob(delivered, "50ms", "100ms"),
}
