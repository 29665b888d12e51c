"""Letters to the operator's webhooks and mail addresses, from the outbox in the store to whoever should read them.

At least once: a letter leaves the outbox when its receiver said so, and what was sent twice has the same id. Nothing
else waits for it: a receiver that is down costs its own letters time, and rows.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from gateway.errors import Conflict, NotFound, Unavailable
from gateway.letters import Refused, Target, headers, wait_seconds
from gateway.mailing import send_mail
from gateway.mails import MailTarget
from gateway.policy_flaws import is_address
from gateway.policy_notices import NoticeKind
from gateway.reader import Reader
from gateway.records import StoredLetter
from gateway.store import Store
from gateway.times import now, parse, stamp
from gateway.tracing import TraceContext
from gateway.wire_operations import DeadLetter, DeadLetterList
from gateway.writer import Writer

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

_AT_ONCE: Final = 8  # letters to one webhook
_LOOK_SECONDS: Final = 1.0  # at the latest: what was written is sent at once, what failed is due some time
_STORE_RETRY_SECONDS: Final = 1.0
_LONGEST_ERROR: Final = 200


class Deliveries:
    """One gateway's outbox. `chance` gives shares from 0 to 1."""

    def __init__(self, store: Store, targets: Sequence[Target | MailTarget], chance: Callable[[], float]) -> None:
        self._store = store
        self._targets: Mapping[str, Target | MailTarget] = {}
        self._chance = chance
        self._fresh: Mapping[str, asyncio.Event] = {}
        self._changed = asyncio.Event()
        self.delivered = 0
        self.refused = 0
        self.dead = 0
        """Letters that nobody tries to deliver any more."""
        self.retarget(targets)

    def retarget(self, targets: Sequence[Target | MailTarget]) -> None:
        """Deliver to these from now on; what is waiting for others becomes dead letters."""
        self._targets = {target.name: target for target in targets}
        self._fresh = {name: asyncio.Event() for name in self._targets}
        self._changed.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        self._store.on_commit = self._wake
        while True:
            self._changed.clear()
            serving = asyncio.create_task(self._serve_all(), name="letters")
            try:
                await self._changed.wait()
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)

    async def _serve_all(self) -> None:
        """Deliver to the targets of now. What is on its way when they change may be sent twice, never less than once."""
        await _until_done(self._take_up)
        if not self._targets:
            return
        client = await asyncio.to_thread(_client)
        async with client, asyncio.TaskGroup() as group:
            for target in self._targets.values():
                group.create_task(self._serve(client, target), name=f"letters to {target.name}")

    def _wake(self) -> None:
        for fresh in self._fresh.values():
            fresh.set()

    async def _take_up(self) -> None:
        """Count the dead, and give up what is for webhooks that the policy has no more."""
        known = tuple(self._targets)
        lost = await self._store.write(
            lambda writer: writer.give_up_letters(known, "the policy has no such webhook or address")
        )
        if lost:
            log.warning(
                "%d letters were for webhooks or addresses that the policy has no more: see the dead letters", lost
            )
        self.dead = await self._store.read(lambda reader: reader.dead_letter_count())

    async def _serve(self, client: httpx.AsyncClient, target: Target | MailTarget) -> None:
        while True:
            await _until_done(lambda: self._round(client, target))

    async def _round(self, client: httpx.AsyncClient, target: Target | MailTarget) -> None:
        """Send what is due; where there is nothing, wait until there may be."""
        fresh = self._fresh.get(target.name)
        if fresh is None:  # the policy has it no more, and this is about to end
            await asyncio.sleep(_LOOK_SECONDS)
            return
        fresh.clear()
        due = await self._store.read(lambda reader: reader.letters_due(target.name, now(), _AT_ONCE))
        if due:
            sent = await asyncio.gather(*(self._deliver(client, target, one) for one in due), return_exceptions=True)
            for error in filter(None, sent):
                raise error
            return
        try:
            await asyncio.wait_for(fresh.wait(), _LOOK_SECONDS)
        except TimeoutError:
            return

    async def _deliver(self, client: httpx.AsyncClient, target: Target | MailTarget, letter: StoredLetter) -> None:
        refusal = await self._tried(client, target, letter)
        if refusal is None:
            await self._store.write(lambda writer: writer.remove_letter(letter.id))
            self.delivered += 1
            log.debug("%s took %s", target.name, letter.id)
            return
        self.refused += 1
        attempts, at = letter.attempts + 1, now()
        dead = refusal.for_good or attempts >= target.attempts
        wait = min(max(wait_seconds(target, attempts, self._chance()), refusal.after), target.cap)
        changed = replace(
            letter,
            state="dead" if dead else "waiting",
            attempts=attempts,
            due_at=stamp(at + timedelta(seconds=wait)),
            tried_at=stamp(at),
            error=refusal.error,
        )
        await self._store.write(lambda writer: writer.change_letter(changed))
        if dead:
            self.dead += 1
            log.error("%s: %s is a dead letter after %d tries: %s", target.name, letter.id, attempts, refusal.error)
        else:
            log.warning("%s: %s is tried again in %.0f s: %s", target.name, letter.id, wait, refusal.error)

    async def _tried(
        self, client: httpx.AsyncClient, target: Target | MailTarget, letter: StoredLetter
    ) -> Refused | None:
        """One try. Whatever a client raises is why it failed: it counts as a try, or there would be no end of them."""
        trace = None
        if isinstance(target, Target):
            trace = await self._store.read(lambda reader: _trace(reader, letter))
        try:
            if isinstance(target, MailTarget):
                return await send_mail(target, letter)
            return await _send(client, target, letter, trace)
        except Exception as error:
            log.exception("%s: a try failed for a reason that nobody foresaw", letter.id)
            return Refused(type(error).__name__)

    async def dead_letters(self, limit: int, after: str | None) -> DeadLetterList:
        """A page of what nobody took, oldest first."""
        rows = await self._store.read(lambda reader: reader.dead_letters(limit + 1, after))
        shown = [_shown(row) for row in rows[:limit]]
        return DeadLetterList(letters=shown, next=shown[-1].id if len(rows) > limit else None)

    async def replay(self, letter: str) -> DeadLetter:
        """Put a dead letter into the outbox again, with all its tries and its id."""
        at = now()

        def revive(writer: Writer) -> StoredLetter:
            row = _dead(writer, letter)
            if row.webhook not in self._targets:
                raise Conflict(f"The policy has no webhook or address {row.webhook!r} any more.")
            row = replace(row, state="waiting", attempts=0, due_at=stamp(at))
            writer.change_letter(row)
            return row

        row = await self._store.write(revive)
        self.dead -= 1
        return _shown(row)

    async def drop(self, letter: str) -> DeadLetter:
        """Forget a dead letter."""

        def forget(writer: Writer) -> StoredLetter:
            row = _dead(writer, letter)
            writer.remove_letter(letter)
            return row

        row = await self._store.write(forget)
        self.dead -= 1
        return _shown(row)


async def _until_done(work: Callable[[], Awaitable[None]]) -> None:
    """Do something; where the store cannot be reached, again after a moment. What was sent may then be sent again."""
    while True:
        try:
            return await work()
        except Unavailable:
            await asyncio.sleep(_STORE_RETRY_SECONDS)
        except Exception:
            log.exception("a delivery failed for a reason of ours")
            await asyncio.sleep(_STORE_RETRY_SECONDS)


def _client() -> httpx.AsyncClient:
    """Made where it holds up nobody: to read the certificates of the authorities takes a while."""
    import httpx  # noqa: PLC0415  # megabytes, and only who has webhooks needs it

    return httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=None)  # noqa: S113  # there is one for the whole


def _trace(reader: Reader, letter: StoredLetter) -> TraceContext | None:
    """Where what a letter tells of belongs; None for what is in nobody's trace."""
    data = json.loads(letter.body)["data"]
    review = data.get("review") or data.get("withdrawn_review")
    if isinstance(review, str):
        return reader.trace_of_review(review)
    return reader.trace(data["execution"]) if isinstance(data.get("execution"), str) else None


async def _send(
    client: httpx.AsyncClient, target: Target, letter: StoredLetter, trace: TraceContext | None
) -> Refused | None:
    """Send a letter; None if it was taken. Of the answer nothing is read but its head."""
    import httpx  # noqa: PLC0415  # as above

    body = letter.body.encode()
    signed = headers(target, letter.id, body, int(time.time()))
    signed |= trace.headers() if trace is not None else {}
    try:
        async with (
            asyncio.timeout(target.timeout),
            client.stream("POST", target.url, content=body, headers=signed) as answer,
        ):
            return _judged(answer.status_code, answer.headers.get("Retry-After", ""))
    except TimeoutError:
        return Refused(f"no answer within {target.timeout:g} s")
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        words = f"{type(error).__name__}: {error}"
        return Refused(words[:_LONGEST_ERROR].replace(target.url, "its address"))


def _judged(status: int, retry_after: str) -> Refused | None:
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    after = float(retry_after) if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 10 else 0.0  # noqa: PLR2004  # digits
    redirect = ", which is not followed" if status < HTTPStatus.BAD_REQUEST else ""
    return Refused(f"HTTP {status}{redirect}", for_good=status == HTTPStatus.GONE, after=after)


def _dead(reader: Reader, letter: str) -> StoredLetter:
    row = reader.letter(letter)
    if row is None or row.state != "dead":
        raise NotFound("There is no such dead letter.")
    return row


def _shown(row: StoredLetter) -> DeadLetter:
    return DeadLetter(
        id=row.id,
        webhook=None if is_address(row.webhook) else row.webhook,
        mail=row.webhook if is_address(row.webhook) else None,
        type=NoticeKind(row.type),
        state="dead" if row.state == "dead" else "waiting",
        written_at=parse(row.written_at),
        tried_at=parse(row.tried_at) if row.tried_at else None,
        attempts=row.attempts,
        error=row.error,
        body=json.loads(row.body),
    )
