"""Every page: for everybody's eyes and hands (axe finds nothing), by day and by night, and without JavaScript."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it ships no types
from playwright.sync_api import expect

from tests.browser.conftest import Watched, let_go_on, spend_the_budget
from tests.conftest import Server

pytestmark = pytest.mark.engine


DAY = {"resultTypes": ["violations"], "preload": False, "iframes": False}
# by night the colours are others, and nothing else
NIGHT = {**DAY, "runOnly": {"type": "rule", "values": ["color-contrast"]}}


@pytest.fixture(scope="module")
def places(gateway: Server) -> list[str]:
    """Every page there is, with something on it."""
    with gateway.client() as agent:
        let_go_on(gateway, spend_the_budget(agent, "pages-1", "values = [1]\nvalues[5]"), "Print them first.")
        review = spend_the_budget(agent, "pages-1", "values = [1]\nprint(values)\nvalues[7]")
        ruled = spend_the_budget(agent, "pages-2")
        newest = agent.get("/v1/tasks/pages-1").json()["newest"]
    with gateway.client(gateway.reviewer_key) as reviewer:
        token = reviewer.get(f"/v1/reviews/{ruled}").json()["token"]
        body = {"token": token, "ruling": "reject", "message": "No."}
        assert reviewer.post(f"/v1/reviews/{ruled}/rulings", json=body).status_code == 200
    return [
        "queue",
        f"reviews/{review}",
        f"reviews/{ruled}",
        "history",
        "history?what=executions",
        "tasks/pages-1",
        f"executions/{newest}",
        "overview",
        "playground",
        "help",
        "nowhere",
    ]


def test_axe_finds_nothing_on_any_page_by_day_and_by_night(
    places: list[str], open_window: Callable[..., Watched]
) -> None:
    window, axe = open_window(logged_in=False, color_scheme="light"), Axe()
    page, found = window.page, {}
    for place in ["login", *places]:
        if place == "queue":
            window.log_in()
        window.go(place)
        page.evaluate("document.querySelectorAll('main details:not([name])').forEach((one) => { one.open = true; })")
        broken = axe.run(page, options=DAY).response["violations"]
        page.emulate_media(color_scheme="dark")
        broken += page.evaluate("(options) => axe.run(document, options)", NIGHT)["violations"]
        page.emulate_media(color_scheme="light")
        if broken:
            found[place] = [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in broken]
    assert not found, json.dumps(found, indent=1)


def test_the_theme_can_be_chosen_and_is_kept(open_window: Callable[..., Watched]) -> None:
    window = open_window(color_scheme="light")
    page = window.queue()
    before = page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor")
    page.get_by_role("button", name="Dark").click()
    window.go("help")
    assert page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor") != before
    expect(page.get_by_role("button", name="Light")).to_be_visible()


def test_a_review_is_approved_without_any_javascript(
    agent_of: httpx.Client, open_window: Callable[..., Watched]
) -> None:
    review = spend_the_budget(agent_of, "plain-1")
    window = open_window(java_script_enabled=False)
    window.go("queue")
    window.page.get_by_role("link", name="plain-1").click()
    window.page.get_by_role("button", name="Approve and run").click()
    expect(window.page.get_by_role("heading", name="Ruled")).to_be_visible()
    assert review in window.page.url


def test_an_operator_runs_a_program_and_sees_checks_lane_and_timings(open_window: Callable[..., Watched]) -> None:
    window = open_window()
    window.go("playground")
    page = window.page
    page.get_by_label("Program").fill("import os\nprint(os.getpid() > 0)\n6 * 7")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="What came of it")).to_contain_text("succeeded")
    expect(page.get_by_text("42", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="Timings")).to_be_visible()
    expect(page.get_by_text("Lane container, Python")).to_be_visible()


def test_the_overview_draws_what_the_gateway_counted(places: list[str], open_window: Callable[..., Watched]) -> None:
    assert places
    window = open_window()
    window.go("overview")
    for title in ("Runs by lane", "Runs by outcome", "Queue", "Boxes", "Hit rate", "Engine's breaker"):
        expect(window.page.get_by_role("img", name=f"{title}, now:")).to_be_visible()
    assert "failed" in (window.page.get_by_role("img", name="Runs by outcome").get_attribute("aria-label") or "")


def test_history_finds_by_id_by_task_and_by_reviewer(places: list[str], open_window: Callable[..., Watched]) -> None:
    window = open_window()
    window.go("history")
    page = window.page
    page.get_by_label("Id", exact=True).fill("pages-2")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("reject")
    window.go("history?by=nobody-at-all")
    expect(page.get_by_text("Nothing was found.")).to_be_visible()
    review = places[1].removeprefix("reviews/")
    window.go(f"history?q={review}")
    assert page.url.endswith(places[1])
