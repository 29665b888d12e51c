"""Reloads: the policy file is read again when it changes, when the operator says so, and on SIGHUP.

Nothing of a file is in force before all of it is sound, its own tests hold, and every part of the gateway can live by
it; until then, and where that never comes, the policy before stays.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import signal
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from gateway.checks import Checker
from gateway.in_force import InForce
from gateway.policy import Policy
from gateway.policy_cases import beside, read_cases, require_sound, run_cases
from gateway.policy_file import PolicyError, Problem, decoded, parse_policy, read_bytes
from gateway.settings import StartError
from gateway.times import now
from gateway.wire_policy import PolicyFileView, PolicyProblem, ReloadView

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""Between two looks at the file. What two looks find the same is settled, and is read."""

Why: TypeAlias = Literal["file", "signal", "request"]
_Stat: TypeAlias = tuple[int, int, int, int] | None
_Stats: TypeAlias = tuple[_Stat, _Stat]  # of the policy, and of its tests
_Content: TypeAlias = tuple[str | None, str | None]  # SHA-256 of both, None for what cannot be read


@dataclass(frozen=True, slots=True)
class Adoption:
    """A policy that the gateway can live by. `commit` makes its parts do so at once; it cannot fail.

    `policy` is what will be in force: of the new one, what needs no restart. `restart_needed` names the other keys.
    """

    policy: Policy
    commit: Callable[[], None]
    restart_needed: Sequence[str] = ()


@dataclass(slots=True)
class Reloader:
    """Reloads of one gateway's policy. `adopt` raises `StartError` for what no part of a gateway can live by."""

    path: Path
    in_force: InForce
    checker: Checker
    adopt: Callable[[Policy], Awaitable[Adoption]]
    loads: int = 0
    failures: int = 0
    last: ReloadView | None = None
    _tried: _Content | None = None
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def reload(self, why: Why) -> ReloadView:
        """Put the file in force as it is now, or say what is wrong with it. One at a time."""
        async with self._one:
            digest = None
            self._tried = await asyncio.to_thread(_content, self.path)
            try:
                data = await asyncio.to_thread(read_bytes, self.path)
                digest = hashlib.sha256(data).hexdigest()
                adoption = await self._adopted(data)
            except PolicyError as error:
                return self._failed(why, digest, error.problems)
            except StartError as error:
                return self._failed(why, digest, (_unplaced(self.path, str(error)),))
            adoption.commit()
            self.in_force.swap(adoption.policy, digest, now())
            self.loads += 1
            name, restart = adoption.policy.name, list(adoption.restart_needed)
            log.warning("the policy %s is in force (%s), SHA-256 of its file %s", name, why, digest)
            if restart:
                log.warning("what this policy changes of %s takes a restart", ", ".join(restart))
            self.last = ReloadView(at=now(), why=why, loaded=True, name=name, sha256=digest, restart_needed=restart)
            return self.last

    async def _adopted(self, data: bytes) -> Adoption:
        """All that can fail, with nothing changed yet."""
        file, tests = str(self.path), beside(self.path)
        policy = await asyncio.to_thread(lambda: parse_policy(decoded(data, file=file), file=file))
        if tests.exists():
            cases = await asyncio.to_thread(read_cases, tests)
            require_sound(await run_cases(policy, cases, self.checker))
        return await self.adopt(policy)

    def _failed(self, why: Why, digest: str | None, problems: Sequence[Problem]) -> ReloadView:
        self.failures += 1
        told = "\n".join(str(one) for one in problems)
        log.error("the policy file cannot be used (%s); %s stays in force:\n%s", why, self.in_force.current.name, told)
        self.last = ReloadView(
            at=now(), why=why, loaded=False, sha256=digest, problems=[_shown(problem) for problem in problems]
        )
        return self.last

    async def watch(self) -> None:
        """Reload whenever the content of the file or of its tests changed and has settled, for ever."""
        settled: _Stats | None = None
        seen: _Stats | None = None
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            found = await asyncio.to_thread(_stats, self.path)
            if found != settled and found == seen:
                settled = found
                content = await asyncio.to_thread(_content, self.path)
                if self._tried is None and content[0] == self.in_force.digest:  # what the start has read
                    self._tried = content
                elif content != self._tried:
                    await self._reload_quietly()
            seen = found

    async def _reload_quietly(self) -> None:
        try:
            await self.reload("file")
        except Exception:  # the watch must not end with one file
            log.exception("a reload failed for a reason of ours; the policy before stays in force")

    def view(self) -> PolicyFileView:
        """The file in force, and what became of the latest reload."""
        return PolicyFileView(sha256=self.in_force.digest, since=self.in_force.since, last_reload=self.last)


def first_policy(path: Path) -> InForce:
    """The policy of a start; raises `PolicyError`, for there is none before it that could stay."""
    data, file = read_bytes(path), str(path)
    return InForce(parse_policy(decoded(data, file=file), file=file), hashlib.sha256(data).hexdigest())


def on_hang_up(reloader: Reloader) -> Callable[[], None]:
    """Reload on SIGHUP, where signals come to this thread; returns how to do so no more."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    loop, begun = asyncio.get_running_loop(), set[asyncio.Task[ReloadView]]()

    def hang_up() -> None:
        task = loop.create_task(reloader.reload("signal"), name="reload")
        begun.add(task)
        task.add_done_callback(begun.discard)

    loop.add_signal_handler(signal.SIGHUP, hang_up)

    def deaf() -> None:
        loop.remove_signal_handler(signal.SIGHUP)

    return deaf


def _stats(path: Path) -> _Stats:
    return _stat(path), _stat(beside(path))


def _stat(path: Path) -> _Stat:
    """What changes with a file: also with the target of a symbolic link, and with a file of the same name in its place."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _content(path: Path) -> _Content:
    return _digest(path), _digest(beside(path))


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    except PolicyError:
        return None


def _unplaced(path: Path, message: str) -> Problem:
    return Problem(file=str(path), line=1, column=1, path="", value=None, message=message)


def _shown(problem: Problem) -> PolicyProblem:
    """As it is told over HTTP: without the way to the file."""
    return PolicyProblem(
        file=Path(problem.file).name,
        line=problem.line,
        column=problem.column,
        path=problem.path,
        message=problem.message,
        suggestion=problem.suggestion,
    )
