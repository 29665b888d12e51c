"""`airlock verify`: walks the whole store beside a gateway at work, and says where it is not what was recorded.

Reads only, one task at a time: each in a snapshot of its own, so that no gateway waits and no log grows because of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, TextIO

from pydantic import ValidationError

from gateway import verify_statements as statements
from gateway.auditing import Audit, Flaw, Line, TaskRow
from gateway.bodies import digest
from gateway.events import Answered, Closed, Event, Ruled
from gateway.reader import Reader
from gateway.rows import decoded_task
from gateway.session import Session

_LINES: Final = 200  # of a log, in one read
HEADS: Final = "# airlock heads 1"
"""The first line of a file of heads."""


class HeadsError(Exception):
    """A file of heads cannot be used; the message is for its operator."""


@dataclass(frozen=True, slots=True)
class Head:
    """How far a task's log had come, and the hash of its last event."""

    task: str
    seq: int
    hash: str


@dataclass(slots=True)
class Report:
    """What was found, and how much was looked at."""

    flaws: list[Flaw] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    heads: str | None = None  # SHA-256 of the file that they were written into


def verify(
    session: Session, *, known: Iterable[Head] = (), keep: Callable[[Head], None], step: Callable[[], None]
) -> Report:
    """Walk the store, in the order of the tasks' ids. `known` are the heads of an earlier time, in the same order.

    `keep` is given the heads of now, and `step` is told of every task.
    """
    report, earlier = Report(), _Earlier(known)
    for audit, head in _audits(session, earlier):
        report.flaws += [*earlier.gone(head.task), *audit.flaws]
        report.counts.update(audit.counts)
        keep(head)
        step()
    report.flaws += [*earlier.gone(None), *_elsewhere(session, report.counts)]
    return report


def task_count(session: Session) -> int:
    """How many tasks there are."""
    return session.one(statements.TASKS, int) or 0


class _Earlier:
    """The heads of an earlier time, taken one after the other as the walk comes by."""

    def __init__(self, heads: Iterable[Head]) -> None:
        self._heads = iter(heads)
        self._next = next(self._heads, None)
        self._passed: list[Head] = []

    def of(self, task: str) -> Head | None:
        """The head of this task; those before it were passed by."""
        while self._next is not None and self._next.task < task:
            self._passed.append(self._take(self._next))
        return self._take(self._next) if self._next is not None and self._next.task == task else None

    def gone(self, before: str | None) -> list[Flaw]:
        """Tasks that the walk passed by without meeting them; all that are left where it is over."""
        while before is None and self._next is not None:
            self._passed.append(self._take(self._next))
        passed, self._passed = self._passed, []
        return [
            Flaw(one.task, one.seq, "the task was there when the heads were written, and is gone") for one in passed
        ]

    def _take(self, head: Head) -> Head:
        self._next = next(self._heads, None)
        if self._next is not None and self._next.task <= head.task:
            raise HeadsError("The heads are not in order.")
        return head


def read_heads(file: TextIO) -> Iterator[Head]:
    """The heads in a file, one at a time; raises `HeadsError` for one that is none."""
    if file.readline() != f"{HEADS}\n":
        raise HeadsError("This is no file of heads.")
    for line in file:
        parts = line.removesuffix("\n").split(" ")
        if len(parts) != len(Head.__slots__) or not parts[1].isdecimal() or not line.endswith("\n"):
            raise HeadsError("This is no file of heads, or it was cut off.")
        yield Head(parts[0], int(parts[1]), parts[2])


def head_text(head: Head) -> str:
    """A line of a file of heads."""
    return f"{head.task} {head.seq} {head.hash}\n"


def task_rows(session: Session) -> Iterator[TaskRow]:
    """Every task in the order of ids, each in a snapshot that lasts until the next; what begins meanwhile comes last or not at all."""
    after = ""
    while True:
        session.say("BEGIN")
        try:
            row = session.one(statements.TASK_ROWS, _task_row, after=after)
            if row is None:
                return
            yield row
        finally:
            session.say("COMMIT")
        after = row.id


def _audits(session: Session, earlier: _Earlier) -> Iterator[tuple[Audit, Head]]:
    for row in task_rows(session):
        yield _audited(session, row, earlier.of(row.id))


def _audited(session: Session, row: TaskRow, known: Head | None) -> tuple[Audit, Head]:
    audit, reader, seq, last = Audit(row), Reader(session), 0, ""
    for line in lines_of(session, row.id):
        event = audit.line(line)
        if event is not None:
            _compare(audit, reader, session, event)
        if known is not None and line.seq == known.seq and line.hash != known.hash:
            audit.wrong("this is not the event that was here when the heads were written", line.seq)
        seq, last = line.seq, line.hash
    if known is not None and seq < known.seq:
        audit.wrong(f"the log ends at {seq}, and went to {known.seq} when the heads were written", seq)
    audit.end()
    for said in audit.live.values():
        audit.execution(reader.execution(said.submitted.execution), said)
    if audit.review is not None:
        audit.review_row(reader.review(str(audit.review.row["id"])))
    _rest(audit, session)
    return audit, Head(row.id, seq, last)


def _compare(audit: Audit, reader: Reader, session: Session, event: Event) -> None:
    """Compare the rows of what the log says no more of, and let go of it."""
    if isinstance(event, Answered) and event.execution in audit.live:
        said = audit.live.pop(event.execution)
        row = reader.execution(event.execution)
        files = audit.execution(row, said)
        if row is not None:
            paths = session.every(statements.FILE_PATHS, str, execution=row.id)
            audit.files(said, files, paths, lambda path: reader.file(event.execution, path))
    elif isinstance(event, Ruled | Closed) and audit.review is not None:
        audit.review_row(reader.review(str(audit.review.row["id"])))


def _rest(audit: Audit, session: Session) -> None:
    """Rows that no event speaks of. They are counted first: their names are held in memory only where a count is wrong."""
    there = (
        session.one(statements.EXECUTIONS_OF, int, task=audit.row.id),
        session.one(statements.REVIEWS_OF, int, task=audit.row.id),
    )
    if there == (audit.executions, audit.reviews):
        return
    executions = set(session.every(statements.EXECUTION_IDS, str, task=audit.row.id))
    reviews = set(session.every(statements.REVIEW_IDS, str, task=audit.row.id))
    for line in lines_of(session, audit.row.id):
        event = Audit(audit.row).line(line)
        executions.discard(getattr(event, "execution", ""))
        reviews.discard(getattr(event, "review", ""))
    audit.rest(sorted(executions), sorted(reviews))


def lines_of(session: Session, task: str) -> Iterator[Line]:
    """A task's whole log, a page at a time."""
    after = -(1 << 62)
    while lines := session.every(statements.LINES, Line, task=task, after=after, limit=_LINES):
        yield from lines
        after = lines[-1].seq


def _elsewhere(session: Session, counts: Counter[str]) -> Iterator[Flaw]:
    """What belongs to no task."""
    for name, query in (("policy", statements.POLICY_ROWS), ("posture", statements.POSTURE_ROWS)):
        for sha256, document in session.every(query, lambda *row: row):
            counts["documents"] += 1
            if digest(document) != sha256:
                yield Flaw(None, None, f"the {name} document {sha256} was changed")
    for policy, execution in session.every(statements.POLICIES_USED, lambda *row: row):
        yield Flaw(None, None, f"the policy document {policy} is missing, by which {execution} was decided")
    for task, seq in session.every(statements.LOST_EVENTS, lambda *row: row):
        yield Flaw(task, seq, "events of a task that has no row")
    for table, query in statements.LOST_ROWS:
        for row in session.every(query, str):
            yield Flaw(None, None, f"{row}: a row in {table} of a task that is not there")
    for execution, path in session.every(statements.LOST_FILES, lambda *row: row):
        yield Flaw(None, None, f"{execution}: the file {path!r} of an execution that is not there")


def _task_row(  # noqa: PLR0913, PLR0917  # a row
    task: str,
    tenant: str,
    task_id: str,
    caller: str,
    anonymous: int,
    state: str,
    seq: int,
    head: str,
    body: str,
    opened_at: str,
) -> TaskRow:
    try:
        decoded = decoded_task(body)
    except ValidationError:
        decoded = None
    return TaskRow(task, tenant, task_id, caller, bool(anonymous), state, seq, head, opened_at, decoded)
