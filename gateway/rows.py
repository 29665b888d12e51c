"""Rows of the database and the gateway's nouns, made from each other. `records.py` owns the rows that need nothing made.

Pure.
"""

from __future__ import annotations

from typing import TypeVar

from pydantic import TypeAdapter

from gateway.events import Answered, Approved, Event, Spared, chain, decode, encode
from gateway.lifecycle import Task
from gateway.records import LoggedEvent, StoredSpared, StoredTask
from gateway.session import Value

_E = TypeVar("_E", bound=Event)
_TASK = TypeAdapter(Task)


def decoded_task(body: str) -> Task:
    """The task that a row's body holds; raises `ValidationError` for what is none."""
    return _TASK.validate_json(body)


def stored_task(task: str, head: str, body: str) -> StoredTask:
    """A row of a task."""
    return StoredTask(id=task, head=head, task=decoded_task(body))


def logged_event(seq: int, at: str, name: str, data: str, previous: str, digest: str) -> LoggedEvent:  # noqa: PLR0913, PLR0917  # a row
    """A row of the log."""
    return LoggedEvent(seq, at, decode(name, data), previous, digest)


def approved_event(data: str) -> Approved:
    """What a row of the log says that one of several people said."""
    return _event(Approved, data)


def spared_event(data: str) -> Spared:
    """What a row of the log says that was spared."""
    return _event(Spared, data)


def stored_spared(at: str, tenant: str, data: str) -> StoredSpared:
    """The same with whose it was, and when."""
    return StoredSpared(at, tenant, spared_event(data))


def task_and_answer(task: str, data: str) -> tuple[str, Answered]:
    """What a row of the log says that was answered, and in which task."""
    return task, _event(Answered, data)


def _event(kind: type[_E], data: str) -> _E:
    event = decode(kind.__name__, data)
    if not isinstance(event, kind):
        raise TypeError(f"not {kind.__name__}, which is all that the statement asked for")
    return event


def projection(task: Task, head: str) -> dict[str, Value]:
    """What a task's row says of where its log stands."""
    return {"state": task.state.value, "seq": task.seq, "head": head, "body": _TASK.serializer.to_json(task).decode()}


def log_row(task: str, seq: int, at: str, item: Event, previous: str) -> dict[str, Value]:
    """The row that an event is in the log, chained to the `previous` one's hash; in the order of `EVENT_COLUMNS`."""
    name, data = encode(item)
    digest = chain(previous, seq, at, name, data)
    return {
        "task": task,
        "seq": seq,
        "at": at,
        "type": name,
        "data": data,
        "prev_hash": previous,
        "hash": digest,
    }
