"""Admission: what the checks say of a program, what a person said of it before, and its result where that is known."""

from __future__ import annotations

import time

from gateway.answering import complete
from gateway.cache import key_of, recalled
from gateway.checks import Checker
from gateway.errors import Unavailable
from gateway.events import Answered, Checked, Status, Verdict
from gateway.observer import Observer
from gateway.reconsidering import taken_back
from gateway.remembering import Memory, note
from gateway.sizes import Sizes
from gateway.store import Store
from gateway.work import Work


class Admission:
    """One gateway's door for programs."""

    def __init__(self, *, store: Store, checker: Checker, memory: Memory, sizes: Sizes, observer: Observer) -> None:
        self._store = store
        self._checker = checker
        self._memory = memory
        self._sizes = sizes
        self._observer = observer

    async def check(self, work: Work) -> None:
        """Let the checks happen to an execution, and its answer with them where the result cache has it."""
        began = time.perf_counter()
        report = taken_back(work)
        if report is None:
            report = await self._checker.check(work.request, work.profile, ruled=work.execution.source == "reviewer")
        work.timings["checks"] = time.perf_counter() - began
        work.findings, work.imports = report.findings, report.imports
        found = self._sizes.of(work.tenant, report.imports)
        approval = await self._memory.recall(work, report.reason) if report.reason is not None else None
        if approval is not None:
            work.findings = (note(approval), *(one for one in report.findings if one.severity != "error"))
        work.happened(Checked(work.id, report.verdict, report.lane, found, report.reason, approval))
        runs = report.verdict is Verdict.ADMIT or approval is not None
        if runs and (sparing := report.sparing) is not None:
            work.happened(sparing.event(work.id, work.profile))
            self._observer.counts.spared[sparing.mode, sparing.verdict] += 1
        work.deterministic = report.deterministic
        self._observer.checked(work, work.timings["checks"])
        work.cache_key = key_of(work, report)
        if work.cache_key is not None and not work.fresh:
            await self._recall(work, work.cache_key)

    async def _recall(self, work: Work, key: str) -> None:
        """Answer what is certain to come to what is known already. Another tenant's execution stays unnamed."""
        try:
            known = await self._store.read(lambda reader: reader.result(key))
        except Unavailable:
            return
        answer = recalled(known) if known else None
        self._observer.counts.cache["miss" if answer is None else "hit"] += 1
        if known is None or answer is None:
            return
        work.answer = complete(work, answer)
        repeats = known.id if known.tenant == work.tenant else None
        work.happened(Answered(work.id, Status.SUCCEEDED, 0, source="record", repeats=repeats))
