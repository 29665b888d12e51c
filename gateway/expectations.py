"""`expect`, done: a request's promises are read before its program is taken, and held against the run when it is over."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from typing import Final

from gateway.errors import InvalidRequest, Unavailable
from gateway.promises import broke, broken_sizes_and_files, without_value
from gateway.requests import Expect
from gateway.schemas import Flaw, Judgement, Schemas
from sandbox.outcome import Ending, Outcome

_REMEMBERED: Final = 1_000  # digests of schemas that can be used
_TOO_MUCH: Final = "takes too long or too much memory to check: use fewer alternatives and references"


class Expectations:
    """Reads what is promised, and judges what was kept."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self._known: OrderedDict[bytes, None] = OrderedDict()

    async def require_sound(self, tenant: str, expect: Expect | None) -> None:
        """Refuse a schema that nothing can be held against, with the place; raises `InvalidRequest`, `Unavailable`."""
        if expect is None or expect.result_schema is None:
            return
        digest = hashlib.sha256(json.dumps(expect.result_schema).encode()).digest()
        if digest in self._known:
            self._known.move_to_end(digest)
            return
        try:
            read = await self._schemas.read(tenant, expect.result_schema)
        except OSError:
            raise Unavailable("Schemas cannot be read now.", retry_after_seconds=5) from None
        if flaw := _flaw(read):
            raise InvalidRequest(fields=((f"expect.result_schema{flaw.at and '#' + flaw.at}", flaw.message),))
        self._known[digest] = None
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    async def judged(self, tenant: str, expect: Expect | None, outcome: Outcome) -> Outcome:
        """The run as it counts: a failure where it succeeded and broke a promise, else as it is."""
        if expect is None or outcome.ending is not Ending.SUCCEEDED:
            return outcome
        broken = list(broken_sizes_and_files(expect, outcome))
        if expect.result_schema is not None:
            broken = [*await self._broken_schema(tenant, expect, outcome), *broken]
        return broke(outcome, broken) if broken else outcome

    async def _broken_schema(self, tenant: str, expect: Expect, outcome: Outcome) -> list[str]:
        if missing := without_value(outcome):
            return [missing]
        value = outcome.result.value if outcome.result else None
        judged = await self._schemas.judge(tenant, expect.result_schema, value)
        if flaw := _flaw(judged):
            return [f"result: the schema {flaw.message}"]
        return [f"result{one.at}: {one.message}\nfound: {one.found}" for one in judged.broken]

    async def close(self) -> None:
        """End what judges."""
        await self._schemas.close()


def _flaw(judgement: Judgement) -> Flaw | None:
    return Flaw("", _TOO_MUCH) if judgement.spent else judgement.schema
