"""The gateway as a program on this side of HTTP sees it. Must not know a terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from ipaddress import ip_address
from types import TracebackType
from typing import Final, Literal, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, JsonValue, ValidationError

from gateway.console.link import Link
from gateway.following import Heard, heard
from gateway.wire import Problem
from gateway.wire_answers import ExecutionView, TaskView
from gateway.wire_operations import DeadLetter, DeadLetterList, IsolationView, MontyLaneView, ReadyView, RetentionView
from gateway.wire_policy import PolicyView
from gateway.wire_reviews import ReviewList, ReviewSummary, ReviewView

LONGEST_POLL: Final = 60  # seconds
# An answer may take as long as a program runs; a connection and a request may not.
_TIMEOUT: Final = httpx.Timeout(10.0, read=None, write=60.0)
# While an execution is followed, a comment comes every ten seconds at least.
_FOLLOWING: Final = httpx.Timeout(10.0, read=35.0)
_PAUSE_SECONDS: Final = 1.0  # before a stream that broke off is taken up again
_MOST_PAUSES: Final = 60  # in a row, without hearing anything
_View = TypeVar("_View", bound=BaseModel)
_Page = TypeVar("_Page", ReviewList, DeadLetterList)
_Item = TypeVar("_Item")


class UnreachableError(Exception):
    """No gateway answers, or what answers is none. Worth another try later."""


class RefusedError(Exception):
    """The gateway refused; its own words."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.detail)

    @property
    def temporary(self) -> bool:
        """Whether the same request may work later."""
        return self.problem.status == HTTPStatus.SERVICE_UNAVAILABLE

    @property
    def execution(self) -> ExecutionView | None:
        """The execution that the platform could not run, where that is the problem."""
        told = (self.problem.model_extra or {}).get("execution")
        return ExecutionView.model_validate(told) if isinstance(told, dict) else None


class Client:
    """One caller's connection. Raises `RefusedError` and `UnreachableError`."""

    def __init__(self, base_url: str, key: str | None) -> None:
        self._http = httpx.Client(
            base_url=base_url,
            headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {}),
            timeout=_TIMEOUT,
            trust_env=not is_loopback(base_url),  # a proxy has no business between two programs of one machine
        )

    def __enter__(self) -> Self:
        """Use the client; leaving closes its connection."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def submit(self, request: Mapping[str, JsonValue], *, fresh: bool = False, wait: bool = True) -> ExecutionView:
        """Run a program, and wait for what comes of it, or only until it is recorded; `fresh`, also where its result is known."""
        headers = {"Cache-Control": "no-cache"} if fresh else {}
        if not wait:
            headers["Prefer"] = "respond-async"
        return self._read(ExecutionView, self._content("POST", "/v1/executions", body=dict(request), headers=headers))

    def execution(self, execution: str) -> ExecutionView:
        """An execution as it is now."""
        return self._view(ExecutionView, "GET", f"/v1/executions/{quote(execution, safe='')}")

    def follow(self, execution: str) -> Iterator[Heard]:
        """What happens to an execution as it happens, up to its end, however often the connection breaks."""
        last, pauses = "", 0
        while True:
            try:
                for event in self._events(execution, last):
                    last, pauses = event.id, 0
                    yield event
                    if event.name == "finished":
                        return
            except UnreachableError:
                if pauses >= _MOST_PAUSES:
                    raise
            except RefusedError as error:
                if not error.temporary or pauses >= _MOST_PAUSES:
                    raise
            pauses += 1
            time.sleep(_PAUSE_SECONDS)

    def _events(self, execution: str, after: str) -> Iterator[Heard]:
        """One connection's worth of events."""
        path = f"/v1/executions/{quote(execution, safe='')}/events"
        headers = {"Last-Event-ID": after} if after else {}
        try:
            with self._http.stream("GET", path, headers=headers, timeout=_FOLLOWING) as answer:
                if not answer.is_success:
                    answer.read()
                    raise RefusedError(_problem(answer))
                yield from heard(answer.iter_bytes())
        except httpx.HTTPError as error:
            raise UnreachableError(self._silence(error)) from error
        except ValueError:
            raise UnreachableError(f"What answers at {self._http.base_url} is not this version of Airlock.") from None

    def file(self, execution: str, path: str) -> bytes:
        """A file that an execution left."""
        # Not its `href`: an address that comes from elsewhere must not get the key.
        return self._content("GET", f"/v1/executions/{quote(execution, safe='')}/files/{quote(path)}")

    def task(self, task_id: str, *, wait_seconds: int = 0) -> TaskView:
        """A task, as soon as it waits for its agent or for nobody, or the wait is over."""
        return self._view(TaskView, "GET", f"/v1/tasks/{quote(task_id, safe='')}", params={"wait": str(wait_seconds)})

    def reviews(self, state: Literal["open", "decided", "withdrawn", "expired"] | None) -> list[ReviewSummary]:
        """All reviews, page by page."""
        params = {"state": state} if state else {}
        return self._listed(ReviewList, "/v1/reviews", params, lambda page: page.reviews)

    def review(self, review: str) -> ReviewView:
        """A review whole."""
        return self._view(ReviewView, "GET", f"/v1/reviews/{quote(review, safe='')}")

    def rule(self, review: str, ruling: Mapping[str, JsonValue]) -> ReviewView:
        """Decide a review."""
        return self._view(ReviewView, "POST", f"/v1/reviews/{quote(review, safe='')}/rulings", body=dict(ruling))

    def policy_of(self, execution: str) -> PolicyView:
        """What decided an execution."""
        return self._view(PolicyView, "GET", f"/v1/executions/{quote(execution, safe='')}/policy")

    def isolation(self) -> IsolationView:
        """What isolates programs."""
        return self._view(IsolationView, "GET", "/v1/isolation")

    def prove_isolation(self) -> IsolationView:
        """Run the self-test, and wait for it."""
        return self._view(IsolationView, "POST", "/v1/isolation/proofs")

    def monty_lane(self) -> MontyLaneView:
        """Whether programs may run in Monty."""
        return self._view(MontyLaneView, "GET", "/v1/lanes/monty")

    def restore_monty(self) -> MontyLaneView:
        """Switch the Monty lane on again."""
        return self._view(MontyLaneView, "POST", "/v1/lanes/monty/restorations")

    def retention(self) -> RetentionView:
        """What retention would delete now."""
        return self._view(RetentionView, "GET", "/v1/retention")

    def prune(self) -> RetentionView:
        """Delete now what is due, and wait a while for it."""
        return self._view(RetentionView, "POST", "/v1/retention/passes")

    def dead_letters(self) -> list[DeadLetter]:
        """All letters to webhooks that nobody took, page by page."""
        return self._listed(DeadLetterList, "/v1/webhooks/dead-letters", {}, lambda page: page.letters)

    def _listed(
        self, kind: type[_Page], path: str, params: Mapping[str, str], items: Callable[[_Page], Sequence[_Item]]
    ) -> list[_Item]:
        """A whole list, page by page."""
        found: list[_Item] = []
        params = {**params, "limit": "100"}
        while True:
            page = self._view(kind, "GET", path, params=params)
            found += items(page)
            if page.next is None or not items(page):
                return found
            params = {**params, "after": page.next}

    def replay_letter(self, letter: str) -> DeadLetter:
        """Try to deliver a dead letter again."""
        return self._view(DeadLetter, "POST", f"/v1/webhooks/dead-letters/{quote(letter, safe='')}/replay")

    def drop_letter(self, letter: str) -> DeadLetter:
        """Forget a dead letter."""
        return self._view(DeadLetter, "DELETE", f"/v1/webhooks/dead-letters/{quote(letter, safe='')}")

    def console_link(self) -> tuple[Link, str]:
        """A way into the console that works once, and its whole address."""
        link = self._view(Link, "POST", "/console/links", body={})
        return link, str(self._http.base_url.join(link.path))

    def readiness(self) -> ReadyView:
        """What the gateway can do now, also where that is nothing."""
        response = self._response("GET", "/readyz")
        if response.status_code not in {HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE}:
            raise RefusedError(_problem(response))
        return self._read(ReadyView, response.content)

    def _view(
        self,
        model: type[_View],
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: dict[str, JsonValue] | None = None,
    ) -> _View:
        return self._read(model, self._content(method, path, params=params, body=body))

    def _content(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: dict[str, JsonValue] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        response = self._response(method, path, params=params, body=body, headers=headers)
        if not response.is_success:
            raise RefusedError(_problem(response))
        return response.content

    def _response(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: dict[str, JsonValue] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        try:
            # ASCII, so that whatever a command line holds can be sent, and is judged in one place.
            content = None if body is None else json.dumps(body).encode("ascii")
            return self._http.request(method, path, params=params, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise UnreachableError(self._silence(error)) from error

    def _silence(self, error: httpx.HTTPError) -> str:
        return f"No gateway answers at {self._http.base_url}: {str(error) or type(error).__name__}"

    def _read(self, model: type[_View], content: bytes) -> _View:
        try:
            return model.model_validate_json(content)
        except ValidationError:
            raise UnreachableError(f"What answers at {self._http.base_url} is not this version of Airlock.") from None


def is_loopback(url: str) -> bool:
    """Whether the address is on this machine."""
    host = httpx.URL(url).host
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _problem(response: httpx.Response) -> Problem:
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        told = f"HTTP {response.status_code} {response.reason_phrase}"
        return Problem(type="about:blank", title=told, status=response.status_code, detail=told)
