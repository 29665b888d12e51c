"""What the latest commits left of tasks, so that taking the next program of one costs no visit to the store.

True only while one gateway writes the database, which the lock on its data directory sees to. Nothing is decided from
it that the commit does not decide again. Belongs to the event loop.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from gateway.lifecycle import TaskState
from gateway.records import StoredTask

_REMEMBERED: Final = 1_000  # tasks, of some kilobytes each at most; and as many callers


class Recent:
    """The tasks that changed last, and the callers none of whose anonymous tasks waits for a person."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[tuple[str, str], StoredTask] = OrderedDict()
        self._free: set[tuple[str, str]] = set()
        self.age = 0  # what was read before it changed says nothing of who is free

    def task(self, tenant: str, task_id: str) -> StoredTask | None:
        """A task as its latest commit left it; None where it is not remembered."""
        return self._tasks.get((tenant, task_id))

    def is_free(self, tenant: str, caller: str) -> bool:
        """Whether no anonymous task of the caller waits for a person for certain."""
        return (tenant, caller) in self._free

    def found_free(self, tenant: str, caller: str, age: int) -> None:
        """None of the caller's did, by a look that began at that age."""
        if age == self.age:
            if len(self._free) >= _REMEMBERED:
                self._free.clear()
            self._free.add((tenant, caller))

    def committed(self, changed: Iterable[StoredTask]) -> None:
        """Remember what a commit left, oldest change first."""
        for stored in changed:
            task = stored.task
            name = (task.tenant, task.task_id)
            self._tasks[name] = stored
            self._tasks.move_to_end(name)
            if task.anonymous and task.state is TaskState.IN_REVIEW:
                self.age += 1
                self._free.discard((task.tenant, task.by))
        while len(self._tasks) > _REMEMBERED:
            self._tasks.popitem(last=False)

    def forget(self) -> None:
        """Remember nothing: it is not known what was committed."""
        self.age += 1
        self._tasks.clear()
        self._free.clear()
