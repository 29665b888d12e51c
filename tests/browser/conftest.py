"""A real Chromium over the real gateway. Whatever a page does that it should not fails the test that opened it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, sync_playwright

from tests.conftest import Server
from tests.service.gateways import QUICK, policy

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# one failure spends a budget; where tests want more, a person lets the task go on
DEFAULTS = f"{QUICK}, budget: {{failures_in_a_row: 1}}, review: {{grants_per_task: 3}}"
SECONDS = 20_000  # milliseconds that a page may take on a busy machine
# what a page's policy refused is an event of the page; not everything of it reaches the browser's console
LISTEN = """addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.effectiveDirective} ${event.blockedURI} ${event.sample}`));"""


@dataclass(eq=False)
class Watched:
    """A browser's window, and what it complained about."""

    page: Page
    server: Server
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        self.page.on("dialog", self._asked)

    def _asked(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _heard(self, message: ConsoleMessage) -> None:
        # a page that was refused with words is an answer like any other
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            self.complaints.append(f"{message.type}: {message.text}")

    def queue(self) -> Page:
        """The page that a reviewer begins with."""
        assert self.go("queue") == 200
        return self.page

    def go(self, path: str) -> int:
        answer = self.page.goto(f"{self.server.url}/console/{path}")
        assert answer is not None
        return answer.status

    def log_in(self, key: str | None = None) -> None:
        self.go("login")
        self.page.get_by_label("Your API key").fill(key or self.server.reviewer_key)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(re.compile("/console/(queue|overview)$"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Closed with each module: an event loop of its own runs in this thread as long as it is open, and others start theirs."""
    with sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, BROWSERS)), None)
        assert found, "no Chromium: script/bootstrap --only-browser installs it"
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])  # root, in a container
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway that all tests here share; each keeps to tasks of its own."""
    data = tmp_path_factory.mktemp("console")
    (data / "policy.yaml").write_text(f"{policy(defaults=DEFAULTS)}ceilings: {{grants_per_task: 3}}\n")
    running = Server(data, data / "policy.yaml").start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def session(gateway: Server) -> str:
    """The cookie of a reviewer who logged in: pages take a key through their form ten times a minute at most."""
    with httpx.Client(base_url=gateway.url, headers={"Origin": gateway.url}) as client:
        assert client.post("/console/login", data={"key": gateway.reviewer_key}).status_code == 303
        return str(client.cookies["airlock_console"])


@pytest.fixture
def agent_of(gateway: Server) -> Iterator[httpx.Client]:
    with gateway.client() as client:
        yield client


@pytest.fixture(scope="module")
def people(chromium: Browser, gateway: Server, session: str) -> Iterator[Callable[..., BrowserContext]]:
    """Browsers: one of a reviewer who is logged in, which tests share, and others that are asked for by their options."""
    made: dict[str, BrowserContext] = {}

    def context_of(*, logged_in: bool = True, **options: object) -> BrowserContext:
        name = f"{logged_in} {options}" if logged_in else f"{len(made)}"
        if name not in made:
            context = made[name] = chromium.new_context(**options)  # type: ignore[arg-type]  # as Playwright has them
            context.set_default_timeout(SECONDS)
            context.add_init_script(LISTEN)
            if logged_in:
                context.add_cookies([{"name": "airlock_console", "value": session, "url": f"{gateway.url}/console"}])
        return made[name]

    yield context_of
    for context in made.values():
        context.close()


@pytest.fixture(scope="module")
def kept() -> dict[BrowserContext, Watched]:
    """Each browser's first window: to open another costs as much as a page or two."""
    return {}


@pytest.fixture
def open_window(
    people: Callable[..., BrowserContext], gateway: Server, kept: dict[BrowserContext, Watched]
) -> Iterator[Callable[..., Watched]]:
    """Windows of people, logged in unless they are not to be; nothing on any page may have complained in the end."""
    windows: list[Watched] = []

    def open_(*, logged_in: bool = True, **options: object) -> Watched:
        context = people(logged_in=logged_in, **options)
        window = kept.get(context)
        if window is None or window in windows:
            window = Watched(context.new_page(), gateway)
            window.watch()
        kept.setdefault(context, window)
        windows.append(window)
        return window

    yield open_
    complaints = [one for window in windows for one in window.complaints]
    for window in windows:
        if window in kept.values():
            window.page.goto("about:blank")
            window.complaints.clear()
        else:
            window.page.close()
    assert complaints == []


def spend_the_budget(agent: httpx.Client, task: str, last: str = '{}["x"]') -> str:
    """Fail, once, which is all that this gateway's agents may; returns the review that this opens."""
    answer = agent.post("/v1/executions", json={"code": last, "task_id": task}).json()
    review: str = answer["task"]["review"]
    assert review, answer
    return review


def let_go_on(server: Server, review: str, message: str) -> None:
    """As a reviewer, give the task one failure more."""
    with server.client(server.reviewer_key) as reviewer:
        token = reviewer.get(f"/v1/reviews/{review}").json()["token"]
        ruling = {"token": token, "ruling": "grant", "failures": 1, "message": message}
        assert reviewer.post(f"/v1/reviews/{review}/rulings", json=ruling).status_code == 200
