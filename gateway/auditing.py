"""Whether one task's record is whole: its chain, its fold, and the bodies that the chain binds.

Pure: it is fed line by line and row by row, keeps what is live and nothing else, and says what is wrong and where.
What a chain cannot show is in docs/operations.md.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from gateway.bodies import answer_digests, digest, program_digest, record_digest
from gateway.events import (
    Answered,
    Closed,
    Escalated,
    Event,
    Opened,
    PassedOn,
    Reconsidered,
    Ruled,
    Submitted,
    chain,
    decode,
)
from gateway.lifecycle import IllegalEvent, Task, TaskState, apply, begin
from gateway.records import StoredExecution, StoredReview
from gateway.wire_answers import FileOut


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something that is not as it was recorded. `seq` is the event's number in its task's log; None where no event is at hand."""

    task: str | None
    seq: int | None
    what: str


@dataclass(frozen=True, slots=True)
class Line:
    """An event as it is stored."""

    seq: int
    at: str
    name: str
    data: str
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task's row as it is stored, its body decoded: None where it cannot be."""

    id: str
    tenant: str
    task_id: str
    caller: str
    anonymous: bool
    state: str
    seq: int
    head: str
    opened_at: str
    body: Task | None


@dataclass(slots=True)
class Said:
    """What the log says of an execution, as far as it got."""

    seq: int
    submitted: Submitted
    answered: Answered | None = None
    answered_at: str | None = None


@dataclass(slots=True)
class _Asked:
    """What the log says of a review."""

    seq: int
    row: Mapping[str, str | int | None]


@dataclass(slots=True)
class Audit:
    """One task under audit. `counts` are of what was compared; `unbound` of what earlier versions left without a digest."""

    row: TaskRow
    flaws: list[Flaw] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    live: dict[str, Said] = field(default_factory=dict)
    review: _Asked | None = None
    executions: int = 0
    reviews: int = 0
    _seq: int = 0
    _head: str = ""
    _opened_at: str = ""
    _task: Task | None = None
    _broken: bool = False

    def wrong(self, what: str, seq: int | None = None) -> None:
        """Note a flaw."""
        self.flaws.append(Flaw(self.row.id, seq, what))

    def line(self, line: Line) -> Event | None:
        """Take the next line of the log; the event in it, if it can be read."""
        self.counts["events"] += 1
        self._link(line)
        try:
            event = decode(line.name, line.data)
        except (KeyError, ValueError):
            self._broken = True
            self.wrong(f"an event of the type {line.name!r} cannot be read", line.seq)
            return None
        self._fold(line, event)
        self._note(line, event)
        return event

    def _link(self, line: Line) -> None:
        for missing in _range(self._seq + 1, line.seq):
            self.wrong(f"{missing} missing", line.seq)
            self._broken = True
        if line.hash != chain(line.previous, line.seq, line.at, line.name, line.data):
            self.wrong(f"the event ({line.name}) was changed: its hash does not fit it", line.seq)
            self._broken = True
        elif line.previous != self._head and line.seq == self._seq + 1:
            self.wrong(f"the event ({line.name}) does not follow the one before it", line.seq)
            self._broken = True
        self._seq, self._head = line.seq, line.hash

    def _fold(self, line: Line, event: Event) -> None:
        if isinstance(event, Opened) and line.seq == 1:
            self._opened_at, self._task = line.at, begin(event)
        elif self._task is not None:
            try:
                self._task = apply(self._task, event)
            except IllegalEvent as error:
                self._broken, self._task = True, None
                self.wrong(f"this cannot have happened: {error}", line.seq)

    def _note(self, line: Line, event: Event) -> None:
        match event:
            case Submitted(execution=execution):
                self.executions += 1
                self.live[execution] = Said(line.seq, event)
            case Reconsidered(execution=execution, record=record) if execution in self.live:
                said = self.live[execution]
                said.seq, said.submitted = line.seq, replace(said.submitted, record=record)
            case Answered(execution=execution) if execution in self.live:
                said = self.live[execution]
                said.seq, said.answered, said.answered_at = line.seq, event, line.at
            case Escalated():
                self.reviews += 1
                asked = {"id": event.review, "execution": event.execution, "reason": event.reason.value}
                self.review = _Asked(line.seq, {**asked, "state": "open", "opened_at": line.at, "level": 0})
            case PassedOn(level=level) if self.review is not None:
                self.review = _Asked(line.seq, {**self.review.row, "level": level})
            case Ruled() if self.review is not None:
                ended = {"ruling": event.ruling.value, "ruled_execution": event.execution}
                ended |= {"message": event.message or None, "decided_by": event.by, "decided_at": line.at}
                state = "expired" if event.by == "policy" else "decided"
                self.review = _Asked(line.seq, {**self.review.row, **ended, "state": state})
            case Closed() if self.review is not None:
                ended = {"decided_by": event.by, "decided_at": line.at, "state": "withdrawn"}
                self.review = _Asked(line.seq, {**self.review.row, **ended})

    def end(self) -> str:
        """Compare the task's row with what the log came to; returns the hash of the last event."""
        row = self.row
        self.counts["tasks"] += 1
        if (self._seq, self._head) != (row.seq, row.head):
            cut = f"the log ends at {self._seq}, the task stands at {row.seq}"
            self.wrong(cut if self._seq != row.seq else "the log's last hash is not the task's head", self._seq)
        elif not self._broken and self._task is not None:
            for name, (is_, should_be) in _task_facts(row, self._task, self._opened_at).items():
                if is_ != should_be:
                    self.wrong(f"tasks.{name} is not what the log says", self._seq)
        return self._head

    def execution(self, row: StoredExecution | None, said: Said) -> FileList:
        """Compare an execution's row with what the log says of it; returns the files that should stand beside it."""
        self.counts["executions"] += 1
        if row is None:
            self.wrong(f"{said.submitted.execution}: its row is missing", said.seq)
            return FileList()
        for what in (*self._facts(row, said), *self._code(row, said.submitted)):
            self.wrong(f"{row.id}: {what}", said.seq)
        wrong, files = self._answer(row, said.answered)
        if wrong:
            self.wrong(f"{row.id}: {wrong}", said.seq)
        return files

    def _facts(self, row: StoredExecution, said: Said) -> Iterator[str]:
        submitted, answered = said.submitted, said.answered
        if submitted.record is None:
            self.counts["unbound"] += 1
        elif record_digest(row) != submitted.record:
            yield "its profile, policy, digest of the request or time is not what was recorded"
        expected = {
            "task": self.row.id,
            "tenant": self.row.tenant,
            "caller": submitted.by,
            "source": submitted.source,
            "of": submitted.of,
            "status": answered.status.value if answered else None,
            "answer_source": answered.source if answered else None,
            "repeats": answered.repeats if answered else None,
            "answered_at": said.answered_at,
        }
        for name, value in expected.items():
            if getattr(row, name) != value:
                yield f"executions.{name} is not what the log says"

    def _code(self, row: StoredExecution, submitted: Submitted) -> Iterator[str]:
        if not row.request:
            if row.code_deleted_at is None:
                yield "its code is missing"
            else:
                self.counts["code deleted by retention"] += 1
            return
        if row.code_deleted_at is not None:
            yield f"its code is there, although retention deleted it at {row.code_deleted_at}"
        try:
            same = program_digest(row.request) == submitted.digest and digest(row.request) == row.request_digest
        except (ValueError, AttributeError):
            same = False
        if not same:
            yield "its code or its inputs were changed"

    def _answer(self, row: StoredExecution, answered: Answered | None) -> tuple[str | None, FileList]:
        if answered is None:
            return ("it has an answer that the log does not know" if row.answer is not None else None), FileList()
        if row.answer is None:
            return "its answer is missing", FileList()
        try:
            data = json.loads(row.answer)
            files = _files(data.get("files", []), row)
            digests = answer_digests(row.answer)
        except (ValueError, AttributeError, TypeError):
            return "its answer cannot be read", FileList()
        if answered.remains is None:
            self.counts["unbound"] += 1
            return None, files
        if digests[0] != answered.remains:
            return "its answer was changed", files
        if row.output_deleted_at is not None:
            self.counts["output deleted by retention"] += 1
            return None, files
        if digests[1] != answered.output:
            return "its output was changed" if digests[1] != _NOTHING else "its output is missing or was changed", files
        return None, files

    def files(self, said: Said, wanted: FileList, stored: Iterable[str], fetch: Callable[[str], bytes | None]) -> None:
        """Compare the stored files with the digests in their answer."""
        name, there = said.submitted.execution, set(stored)
        self.counts["files deleted by retention"] += wanted.deleted
        expected = {file.path: file for file in wanted.files} if wanted.stored else {}
        for path in sorted(there - expected.keys()):
            self.wrong(f"{name}: the file {path!r} stands there, and its answer does not say so", said.seq)
        for path, file in expected.items():
            content = fetch(path) if path in there else None
            self.counts["files"] += 1
            if content is None:
                self.wrong(f"{name}: the file {path!r} is missing", said.seq)
            elif hashlib.sha256(content).hexdigest() != file.sha256:
                self.wrong(f"{name}: the file {path!r} was changed", said.seq)

    def review_row(self, row: StoredReview | None) -> None:
        """Compare a review's row with what the log says of it; only once the log says no more of it."""
        if self.review is None:
            return
        asked, self.review = self.review, None
        self.counts["reviews"] += 1
        if row is None:
            self.wrong(f"{asked.row['id']}: its row is missing", asked.seq)
            return
        for name, value in {**asked.row, "task": self.row.id, "tenant": self.row.tenant}.items():
            if getattr(row, name) != value:
                self.wrong(f"{row.id}: reviews.{name} is not what the log says", asked.seq)

    def rest(self, executions: Iterable[str], reviews: Iterable[str]) -> None:
        """Name the rows that no event speaks of."""
        for name in executions:
            self.wrong(f"{name}: no event speaks of this execution")
        for name in reviews:
            self.wrong(f"{name}: no event speaks of this review")


@dataclass(frozen=True, slots=True)
class FileList:
    """The files that an answer names; `stored` where they are its own, and retention did not take them."""

    files: tuple[FileOut, ...] = ()
    stored: bool = False
    deleted: bool = False


_NOTHING = digest("{}")


def _files(files: Iterable[object], row: StoredExecution) -> FileList:
    found = tuple(FileOut.model_validate(file) for file in files)
    deleted = row.files_deleted_at is not None
    return FileList(found, stored=not deleted and row.repeats is None, deleted=deleted and bool(found))


def _range(first: int, end: int) -> list[str]:
    """What is missing from `first` up to before `end`, in words; nothing where nothing is."""
    if end <= first:
        return []
    return [f"event {first} is"] if end - first == 1 else [f"events {first} to {end - 1} are"]


def _task_facts(row: TaskRow, task: Task, opened_at: str) -> dict[str, tuple[object, object]]:
    return {
        "tenant": (row.tenant, task.tenant),
        "task_id": (row.task_id, task.task_id),
        "caller": (row.caller, task.by),
        "anonymous": (row.anonymous, task.anonymous),
        "state": (row.state, TaskState(task.state).value),
        "opened_at": (row.opened_at, opened_at),
        "body": (row.body, task),
    }
