"""The audit export: who asked, decided and saw what, when, under which policy, as lines that can be verified without a database.

Pure. An event stands in it as it stands in the log, so that its hash can be computed again. The last line binds all others.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from gateway import __version__
from gateway.auditing import Flaw, Line, TaskRow
from gateway.bodies import digest, record_digest
from gateway.events import Event, Opened, Reconsidered, Submitted, chain, decode
from gateway.execution_life import IllegalEvent
from gateway.lifecycle import Task, apply, begin
from gateway.records import StoredExecution, StoredSighting

FORMAT: Final = 1
Said: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Choice:
    """What is exported: events from a time on (as the log writes times), of one tenant, of one task by its agent's name."""

    since: str = ""
    tenant: str | None = None
    task: str | None = None

    def has(self, row: TaskRow) -> bool:
        """Whether a task is among it."""
        return self.tenant in {None, row.tenant} and self.task in {None, row.task_id}


def header(choice: Choice, at: str) -> Said:
    """The first line."""
    chosen = {"since": choice.since or None, "tenant": choice.tenant, "task": choice.task}
    return {"kind": "header", "format": FORMAT, "version": __version__, "at": at, **chosen}


def task_line(row: TaskRow) -> Said:
    """What the events after it belong to, and how far its log had come."""
    told = {"task": row.id, "tenant": row.tenant, "task_id": row.task_id, "caller": row.caller}
    return {"kind": "task", **told, "opened_at": row.opened_at, "seq": row.seq, "head": row.head}


def event_line(task: str, line: Line) -> Said:
    """An event; `data` is its text, as it was hashed."""
    told = {"task": task, "seq": line.seq, "at": line.at, "type": line.name, "data": line.data}
    return {"kind": "event", **told, "prev_hash": line.previous, "hash": line.hash}


_BOUND: Final = ("id", "profile", "policy", "request_digest", "submitted_at")


def execution_line(row: StoredExecution) -> Said:
    """What the latest event with a `record` binds by it: the policy that decides about the execution, above all."""
    return {"kind": "execution", **{name: getattr(row, name) for name in _BOUND}}


def seen_line(seen: StoredSighting) -> Said:
    """Somebody looked at an open review."""
    return {"kind": "seen", "review": seen.review, "by": seen.seen_by, "at": seen.seen_at, "token": seen.token}


def policy_line(sha256: str, document: str) -> Said:
    """A resolved policy, as its digest was computed."""
    return {"kind": "policy", "digest": sha256, "document": document}


def written(lines: Iterable[Said]) -> Iterator[str]:
    """The export's text, line by line, with the last one that binds them all."""
    whole, count = hashlib.sha256(), 0
    for line in lines:
        text = json.dumps(line) + "\n"
        whole.update(text.encode())
        count += 1
        yield text
    yield json.dumps({"kind": "end", "lines": count, "sha256": whole.hexdigest()}) + "\n"


@dataclass(slots=True)
class _Log:
    """A task's part of an export, as far as it was read."""

    said: Said
    seq: int = 0
    head: str = ""
    task: Task | None = None
    whole: bool = False


@dataclass(slots=True)
class ExportAudit:
    """An export under audit, fed line by line."""

    flaws: list[Flaw] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    _whole: hashlib._Hash = field(default_factory=hashlib.sha256)
    _lines: int = 0
    _ended: bool = False
    _log: _Log | None = None
    _records: dict[str, str] = field(default_factory=dict)
    _policies: set[str] = field(default_factory=set)
    _wanted: set[str] = field(default_factory=set)

    def wrong(self, what: str, seq: int | None = None) -> None:
        """Note a flaw."""
        self.flaws.append(Flaw(str(self._log.said["task"]) if self._log else None, seq, what))

    def line(self, text: str) -> None:
        """Take the next line."""
        if self._ended:
            self.wrong(f"line {self._lines + 2}: there is something after the end")
            return
        try:
            said = json.loads(text)
            self._take(said, said["kind"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self.wrong(f"line {self._lines + 1} cannot be read")
        self._whole.update(text.encode())
        self._lines += 1

    def end(self) -> None:
        """Look at what only the whole can show."""
        self._close_log()
        if not self._ended:
            self.wrong("the export has no end: it was cut off")
        for name in sorted(self._wanted - self._policies):
            self.wrong(f"the policy document {name} is missing")

    def _take(self, said: Said, kind: object) -> None:
        if (kind == "header") is not (self._lines == 0) or (kind == "header" and said["format"] != FORMAT):
            self.wrong("this is no export, or not one of this format")
        match kind:
            case "task":
                self._close_log()
                self._log = _Log(said)
                self.counts["tasks"] += 1
            case "event":
                self._event(said)
            case "execution":
                self._execution(said)
            case "policy":
                self._policy(str(said["digest"]), str(said["document"]))
            case "seen":
                self.counts["sightings"] += 1
            case "end":
                self._close_log()
                self._ended = True
                if (said["lines"], said["sha256"]) != (self._lines, self._whole.hexdigest()):
                    self.wrong("something was changed, added or taken away: the last line does not fit the others")
            case "header":
                pass
            case _:
                self.wrong(f"line {self._lines + 1} is of no kind that there is")

    def _event(self, said: Said) -> None:
        log, line = self._log, _line(said)
        self.counts["events"] += 1
        if log is None or said["task"] != log.said["task"]:
            self.wrong("an event stands under another task", line.seq)
            return
        if line.hash != chain(line.previous, line.seq, line.at, line.name, line.data):
            self.wrong(f"the event ({line.name}) was changed: its hash does not fit it", line.seq)
        first = log.seq == 0
        if not first and (line.seq, line.previous) != (log.seq + 1, log.head):
            self.wrong(f"the event ({line.name}) does not follow the one before it", line.seq)
        if first and line.seq == 1 and line.previous:
            self.wrong("the first event follows another one", line.seq)
        log.whole = line.seq == 1 if first else log.whole
        log.seq, log.head = line.seq, line.hash
        self._fold(log, line, decode(line.name, line.data))

    def _fold(self, log: _Log, line: Line, event: Event) -> None:
        if isinstance(event, Submitted | Reconsidered) and event.record is not None:
            self._records[event.execution] = event.record
        if isinstance(event, Reconsidered) and event.before is not None:
            self._wanted.add(event.before)
        if not log.whole:
            return
        try:
            if log.task is None and isinstance(event, Opened):
                log.task = begin(event)
            elif log.task is not None:
                log.task = apply(log.task, event)
        except IllegalEvent as error:
            log.task, log.whole = None, False
            self.wrong(f"this cannot have happened: {error}", line.seq)

    def _execution(self, said: Said) -> None:
        self.counts["executions"] += 1
        name, policy = str(said["id"]), str(said["policy"])
        bound = record_digest(_bound(said))
        if self._records.pop(name, None) != bound:
            self.wrong(f"{name}: its profile, policy, digest of the request or time is not what was recorded")
        self._wanted.add(policy)

    def _policy(self, name: str, document: str) -> None:
        self.counts["policies"] += 1
        self._policies.add(name)
        if digest(document) != name:
            self.wrong(f"the policy document {name} was changed")

    def _close_log(self) -> None:
        log, records = self._log, self._records
        if log is not None and (log.seq, log.head) != (log.said["seq"], log.said["head"]):
            self.wrong(f"the log ends at {log.seq}, the task stands at {log.said['seq']}", log.seq)
        for name in records:
            self.wrong(f"{name}: nothing says under which policy it was submitted")
        records.clear()
        self._log = None


def _line(said: Said) -> Line:
    return Line(
        seq=int(str(said["seq"])),
        at=str(said["at"]),
        name=str(said["type"]),
        data=str(said["data"]),
        previous=str(said["prev_hash"]),
        hash=str(said["hash"]),
    )


def _bound(said: Said) -> StoredExecution:
    """As much of a row as its record binds."""
    return StoredExecution(
        id=str(said["id"]),
        profile=str(said["profile"]),
        policy=str(said["policy"]),
        request_digest=str(said["request_digest"]),
        submitted_at=str(said["submitted_at"]),
        task="",
        tenant="",
        caller="",
        source="",
        of=None,
        idempotency_key=None,
        request="",
    )
