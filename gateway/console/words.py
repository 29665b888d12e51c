"""What the console says in words: why a person is asked, what a verdict does, what happened when. Pure.

A word that is not known here, of a newer gateway's, is shown as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, TypeAlias

from pydantic import JsonValue

from gateway.archive import LogLine
from gateway.requests import ExecutionRequest
from gateway.wire_answers import ExecutionView

_Fields: TypeAlias = dict[str, JsonValue]

REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "budget_exhausted": "the retry budget is spent",
        "stuck": "the same failure again and again",
        "above_default": "it asks for more than the usual limits",
        "low_confidence": "the agent is not sure of its program",
        "policy_denied": "the policy refused it",
        "always": "the policy asks a person about every program",
    }
)
STATUSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "queued": "waits",
        "running": "runs",
        "succeeded": "succeeded",
        "failed": "failed",
        "rejected": "refused by the checks",
        "denied": "refused by the policy",
        "timed_out": "out of time",
        "out_of_memory": "out of memory",
        "output_limit_exceeded": "wrote too much",
        "cancelled": "cancelled",
        "expired": "did not start in time",
        "platform_error": "the platform's fault",
    }
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A ruling as a form offers it."""

    title: str
    effect: str
    button: str
    key: str = ""
    done: str = ""


VERDICTS: Final[Mapping[str, Verdict]] = MappingProxyType(
    {
        "approve": Verdict(
            "Approve",
            "Runs the program once, as it is.",
            "Approve and run",
            "a",
            done="The program runs now. The agent gets what comes of it.",
        ),
        "approve_edited": Verdict(
            "Edit",
            "Runs your version of it. It is checked first.",
            "Check and run",
            "e",
            done="Your version runs now. The agent gets what comes of it.",
        ),
        "raise_limits": Verdict(
            "Raise limits",
            "Runs it once with these limits. What is left empty stays.",
            "Run with these limits",
            done="The program runs now, with your limits. The agent gets what comes of it.",
        ),
        "grant": Verdict(
            "Let it try",
            "Back to the agent, with more failures to spend.",
            "Let it try",
            done="It is the agent's turn again.",
        ),
        "reject": Verdict(
            "Reject",
            "Back to the agent, with your words. It reads them as data.",
            "Reject",
            "r",
            done="The agent is told.",
        ),
        "answer": Verdict(
            "Answer",
            "You give the result; the agent reads that it is a person's.",
            "Send this answer",
            done="The agent gets your answer.",
        ),
        "escalate": Verdict(
            "Escalate",
            "The next who are in charge are asked now.",
            "Escalate",
            done="The next are asked. The review stays open.",
        ),
    }
)


def verdict(kind: str) -> Verdict:
    """How a ruling is offered; one that is not known here under its own name."""
    name = kind.replace("_", " ").capitalize()
    return VERDICTS.get(kind) or Verdict(name, "", name)


def reason(name: str) -> str:
    """Why a person is asked."""
    return REASONS.get(name, name.replace("_", " "))


def status(name: str | None) -> str:
    """What became of an execution."""
    return STATUSES.get(name or "queued", name or "")


def age(since: datetime, now: datetime) -> str:
    """How long ago, in one unit: `3 min`."""
    return span((now - since).total_seconds())


_UNITS: Final = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def span(seconds: float) -> str:
    """A time in its largest unit."""
    for unit, name in _UNITS:
        if seconds >= unit:
            return f"{int(seconds // unit)} {name}"
    return f"{max(0, int(seconds))} s"


def decisions(view: ExecutionView) -> list[str]:
    """What the policy decided about a run, sentence by sentence."""
    told = []
    if view.limits is not None:
        said: dict[str, str] = {name: source for name, source in view.limits.sources.items() if source != "default"}
        told.append("The limits are the profile's defaults." if not said else _sources(said))
    if view.lane is not None:
        where = "Monty can tell the truth about it" if view.lane == "monty" else "it needs CPython"
        told.append(f"It belongs to the {view.lane} lane: {where}.")
    if view.cached:
        told.append("It was not run: an equal program's result was used again.")
    if view.repeats and not view.cached:
        told.append("It was not run: the same program failed before, and the record answered.")
    denied = [one for one in view.findings if one.rule.startswith("import.denied")]
    if denied:
        told.append(f"The import rules refused {len(denied)} line{'s' if len(denied) > 1 else ''}.")
    lanes = [one.lane for one in view.attempts]
    if len(set(lanes)) > 1:
        told.append(
            "Monty could not tell the truth about it after all, so it ran again in a container, at nobody's cost."
        )
    if (more := len(lanes) - len(set(lanes))) > 0:
        told.append(
            f"The platform tried it {more} time{'s' if more > 1 else ''} more, at nobody's cost; the last try counts."
        )
    told.append(f"Decided by the policy {view.policy[:12]}.")
    return told


def _sources(said: Mapping[str, str]) -> str:
    words = [f"{name} from the {source}" for name, source in said.items()]
    return f"Limits that are not the profile's defaults: {', '.join(words)}."


def asked(request: ExecutionRequest) -> list[tuple[str, str]]:
    """What came with a program, besides its code: a name and a text each."""
    sizes = [f"{file.path} ({len(file.content):,} characters)" for file in request.files]
    said = request.limits.model_dump(exclude_none=True) if request.limits else {}
    parts = [
        ("inputs", json.dumps(request.inputs, ensure_ascii=False, indent=1) if request.inputs else ""),
        ("stdin", request.stdin),
        ("arguments", " ".join(request.args)),
        ("environment", "\n".join(f"{name}={value}" for name, value in request.env.items())),
        ("files", "\n".join(sizes)),
        ("brings back", "\n".join(request.outputs)),
        ("limits that it wants", ", ".join(f"{name} {amount:g}" for name, amount in said.items())),
        ("lane", "" if request.lane == "auto" else request.lane),
        ("how sure it is", "" if request.confidence is None else f"{request.confidence:g}"),
    ]
    return [(name, text) for name, text in parts if text]


def reach(view: ExecutionView) -> list[str]:
    """What a run of this lane could reach."""
    if view.lane is None or not view.attempts:
        return ["Nothing: no line of it was run."]
    if view.attempts[-1].lane == "monty":
        return ["Nothing outside of itself: an interpreter without files, network, processes or modules of the system."]
    return [
        "No network: its box has no interface but its own loopback.",
        "A file system that it cannot write, and one temporary disk that goes with the box.",
        "No capability, no new privilege, and the system calls that its filter lets pass.",
        "No other program, no host process, no engine.",
    ]


@dataclass(frozen=True, slots=True)
class Moment:
    """A line of the timeline; `place` is where it is between the first (0) and the last (1)."""

    at: datetime
    words: str
    kind: str
    who: str
    subject: str
    since: str
    place: float
    hash: str


def timeline(lines: Sequence[LogLine]) -> list[Moment]:
    """A log in words."""
    if not lines:
        return []
    first, whole = lines[0].at, (lines[-1].at - lines[0].at) / timedelta(seconds=1)
    moments = []
    before = first
    for line in lines:
        since = (line.at - before).total_seconds()
        passed = (line.at - first).total_seconds()
        moments.append(
            Moment(
                line.at,
                _happened(line),
                line.kind,
                str(line.data.get("by") or ""),
                str(line.data.get("execution") or line.data.get("review") or ""),
                f"+{since:.2f} s" if since < _SHORT else f"+{span(since)}",
                passed / whole if whole > 0 else 0.0,
                line.hash,
            )
        )
        before = line.at
    return moments


_SHORT: Final = 60.0


def _happened(line: LogLine) -> str:
    tell = _TOLD.get(line.kind)
    return tell(line.data) if tell else line.kind


def _finished(data: _Fields) -> str:
    cause = f" ({data['cause']})" if data.get("cause") else ""
    return f"attempt {data['attempt']} ended: {data['ending']}{cause}; fault: {data['fault']}"


def _answered(data: _Fields) -> str:
    charge = data.get("charge")
    paid = f"; it cost {charge} of the budget" if charge else ""
    return f"answered: {status(str(data['status']))}{paid}"


def _ruled(data: _Fields) -> str:
    return f"{data['by']} ruled: {verdict(str(data['ruling'])).title.lower()}"


_TOLD: Final[Mapping[str, Callable[[_Fields], str]]] = MappingProxyType(
    {
        "Opened": lambda _: "the task began",
        "Submitted": lambda data: (
            f"a program arrived from {'a reviewer' if data.get('source') == 'reviewer' else 'the agent'}"
        ),
        "Checked": lambda data: f"the checks said: {data['verdict']}",
        "Admitted": lambda data: f"admitted to the {data['lane']} lane",
        "Reconsidered": lambda _: "another policy came in force while it waited: it is decided anew",
        "Started": lambda data: f"attempt {data['attempt']} began in the {data['lane']} lane",
        "Finished": _finished,
        "Answered": _answered,
        "Escalated": lambda data: f"a person is asked: {reason(str(data['reason']))}",
        "Approved": lambda data: (
            f"{data['by']} is for it: {verdict(str(data['ruling'])).title.lower()}, {data['number']} of {data['needed']}"
        ),
        "PassedOn": lambda data: f"passed on to level {data['level']}",
        "Spared": lambda data: f"the checks would have refused it; the policy's mode {data['mode']} let it pass",
        "Ruled": _ruled,
        "Closed": lambda data: f"the task is over: {data['reason']}",
    }
)
