"""A person decides in a browser: live, by mouse or by keyboard, and never on what has changed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Watched, spend_the_budget
from tests.conftest import Server
from tests.service.gateways import submit_later

pytestmark = pytest.mark.engine


def waiting(server: Server, task: str) -> str:
    """What an agent's long poll ends with."""
    with server.client() as agent:
        view = agent.get(f"/v1/tasks/{task}", params={"wait": 60}).json()
        stdout: str = view["latest"]["stdout"]
        return stdout


def test_a_review_appears_by_itself_is_edited_refused_once_sent_and_reaches_the_agent(
    gateway: Server, agent_of: httpx.Client, open_window: Callable[..., Watched]
) -> None:
    page = open_window().queue()
    expect(page.locator("[data-live-dot].on")).to_be_visible()
    spend_the_budget(agent_of, "live-1")
    row = page.get_by_role("link", name="live-1")
    expect(row).to_be_visible()  # nobody reloaded the page
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(waiting, gateway, "live-1")
        row.click()
        expect(page.get_by_text("the retry budget is spent").first).to_be_visible()
        page.locator("[data-verdict=approve_edited] > summary").click()
        page.get_by_label("Your version").fill("print(undefined_name_of_mine)\n")
        page.get_by_role("button", name="Check and run").click()
        refused = page.get_by_role("alert")
        expect(refused).to_contain_text("the checks refuse this version")
        expect(refused).to_contain_text("undefined_name_of_mine")
        editor = page.get_by_label("Your version")
        expect(editor).to_have_value("print(undefined_name_of_mine)\n")
        editor.fill("print('mended by a person')\n")
        page.get_by_role("button", name="Check and run").click()
        expect(page.get_by_role("heading", name="Ruled")).to_be_visible()
        assert result.result(60) == "mended by a person\n"


def test_the_same_goes_by_keyboard_alone_from_the_log_in_on(
    gateway: Server, agent_of: httpx.Client, open_window: Callable[..., Watched]
) -> None:
    review = spend_the_budget(agent_of, "keys-1")
    window = open_window(logged_in=False)
    page, keys = window.page, window.page.keyboard
    window.go("queue")  # an address is typed, too
    expect(page.get_by_label("Your API key")).to_be_focused()
    keys.type(gateway.reviewer_key)
    keys.press("Enter")
    expect(page.get_by_role("link", name="keys-1")).to_be_visible()
    for _ in range(60):
        keys.press("j")
        if page.evaluate("document.activeElement.textContent") == "keys-1":
            break
    keys.press("Enter")
    page.wait_for_url(f"**/reviews/{review}")
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(waiting, gateway, "keys-1")
        keys.press("e")
        expect(page.get_by_label("Your version")).to_be_focused()
        keys.press("Control+a")
        keys.type("1 +")
        keys.press("Control+Enter")
        expect(page.get_by_role("alert")).to_contain_text("the checks refuse this version")
        keys.press("e")
        expect(page.get_by_label("Your version")).to_be_focused()
        keys.press("Control+a")
        keys.type("print('by keys')")
        keys.press("Tab")  # to the message, and on to the button
        keys.press("Tab")
        expect(page.get_by_role("button", name="Check and run")).to_be_focused()
        keys.press("Enter")
        expect(page.get_by_role("heading", name="Ruled")).to_be_visible()
        assert result.result(60) == "by keys\n"


def test_a_page_that_is_not_current_cannot_rule_and_says_so(
    agent_of: httpx.Client, open_window: Callable[..., Watched]
) -> None:
    slow = submit_later(agent_of, code="import time\ntime.sleep(9)", task_id="stale-1")
    review = spend_the_budget(agent_of, "stale-1")
    window = open_window()
    assert window.go(f"reviews/{review}") == 200
    page = window.page
    agent_of.delete(f"/v1/executions/{slow}")
    expect(page.get_by_text("This review changed while you looked at it.")).to_be_visible()
    with page.expect_response(lambda answer: answer.request.method == "POST") as posted:
        page.get_by_role("button", name="Approve and run").click()
    assert posted.value.status == 412
    expect(page.get_by_role("alert")).to_contain_text("The review changed since")
    expect(page.get_by_role("button", name="Approve and run")).to_have_count(0)
    page.get_by_role("link", name="Look again").last.click()
    page.get_by_role("button", name="Approve and run").click()
    expect(page.get_by_role("heading", name="Ruled")).to_be_visible()


def test_the_second_of_two_reviewers_is_told_whose_ruling_counts(
    agent_of: httpx.Client, open_window: Callable[..., Watched]
) -> None:
    review = spend_the_budget(agent_of, "two-1")
    first, second = open_window(), open_window()
    for window in (first, second):
        window.go(f"reviews/{review}")
    first.page.keyboard.press("r")
    first.page.keyboard.type("No: it divides by zero.")
    first.page.get_by_role("button", name="Reject").click()
    expect(first.page.get_by_role("heading", name="Ruled")).to_be_visible()
    with second.page.expect_response(lambda answer: answer.request.method == "POST") as posted:
        second.page.get_by_role("button", name="Approve and run").click()
    assert posted.value.status == 409
    expect(second.page.get_by_role("alert")).to_contain_text("decided already")
    expect(second.page.get_by_text("No: it divides by zero.").first).to_be_visible()


@pytest.mark.parametrize(
    ("verdict", "fill", "button", "told"),
    [
        ("raise_limits", {"memory": "96Mi"}, "Run with these limits", "Raise limits"),
        ("grant", {"Failures more": "2"}, "Let it try", "Let it try"),
        ("answer", {"The result, as JSON": '{"sum": 7}'}, "Send this answer", "Answer"),
    ],
)
def test_every_other_ruling_has_its_form(  # noqa: PLR0913, PLR0917  # a row of the table
    agent_of: httpx.Client,
    open_window: Callable[..., Watched],
    verdict: str,
    fill: dict[str, str],
    button: str,
    told: str,
) -> None:
    review = spend_the_budget(agent_of, f"form-{verdict}")
    window = open_window()
    window.go(f"reviews/{review}")
    form = window.page.locator(f"[data-verdict={verdict}]")
    form.locator("summary").click()
    for label, value in fill.items():
        form.get_by_label(label, exact=True).fill(value)
    form.get_by_role("button", name=button).click()
    expect(window.page.locator(".ruled")).to_contain_text(told)


def test_what_is_wrong_with_a_ruling_is_told_where_it_was_typed(
    agent_of: httpx.Client, open_window: Callable[..., Watched]
) -> None:
    review = spend_the_budget(agent_of, "wrong-1")
    window = open_window()
    window.go(f"reviews/{review}")
    page = window.page
    page.locator("[data-verdict=raise_limits] > summary").click()
    page.get_by_label("memory", exact=True).fill("900Gi")
    page.get_by_role("button", name="Run with these limits").click()
    expect(page.get_by_role("alert")).to_contain_text("the ceiling")
    expect(page.get_by_label("memory", exact=True)).to_have_value("900Gi")
    page.locator("[data-verdict=answer] > summary").click()
    page.get_by_label("The result, as JSON").fill("no json")
    page.get_by_role("button", name="Send this answer").click()
    expect(page.get_by_role("alert")).to_contain_text("must be JSON")
