"""`airlock audit export`: walks the store beside a gateway at work. Reads only, a snapshot for each task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import dropwhile

from gateway import verify_statements as statements
from gateway.events import Reconsidered, Submitted, decode
from gateway.exporting import (
    Choice,
    ExportAudit,
    Said,
    event_line,
    execution_line,
    header,
    policy_line,
    seen_line,
    task_line,
)
from gateway.reader import Reader
from gateway.records import StoredSighting
from gateway.session import Session
from gateway.times import now, stamp
from gateway.verification import Report, lines_of, task_rows


def exported(session: Session, choice: Choice) -> Iterator[Said]:
    """All lines but the last, task by task in the order of ids, then the policies that they were decided under."""
    yield header(choice, stamp(now()))
    policies: set[str] = set()
    for row in task_rows(session):
        if choice.has(row):
            lines = _task(session, row.id, choice, policies)
            first = next(lines, None)
            if first is not None:
                yield task_line(row)
                yield first
                yield from lines
    reader = Reader(session)
    for name in sorted(policies):
        document = reader.policy_document(name)
        if document is not None:
            yield policy_line(name, document)


def _task(session: Session, task: str, choice: Choice, policies: set[str]) -> Iterator[Said]:
    reader = Reader(session)
    bound: dict[str, None] = {}
    for line in dropwhile(
        lambda one: one.at < choice.since, lines_of(session, task)
    ):  # also what a clock set back says
        yield event_line(task, line)
        event = decode(line.name, line.data)
        if isinstance(event, Submitted | Reconsidered) and event.record:
            bound[event.execution] = None
        if isinstance(event, Reconsidered) and event.before:
            policies.add(event.before)
    for execution in bound:
        row = reader.execution(execution)
        if row is not None:
            policies.add(row.policy)
            yield execution_line(row)
    for seen in session.every(statements.SIGHTINGS_OF, StoredSighting, task=task, since=choice.since):
        yield seen_line(seen)


def verify_export(lines: Iterable[str]) -> Report:
    """Whether an export is whole and as it was written; needs nothing but its text."""
    audit = ExportAudit()
    for line in lines:
        audit.line(line)
    audit.end()
    return Report(flaws=audit.flaws, counts=audit.counts)
