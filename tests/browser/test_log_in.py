"""A log-in at an identity provider of another site, in a real Chromium: its rules for cookies decide whether it works."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser.conftest import LISTEN, Watched
from tests.conftest import Server
from tests.service.test_console_oidc import everybody, policy, serving


def test_a_browser_comes_back_from_the_provider_logged_in(
    chromium: Browser, make_server: Callable[..., Server], tmp_path: Path
) -> None:
    with serving(tmp_path) as idp:
        server = make_server(policy(idp, everybody(idp)), AIRLOCK_SECRET_OIDC="the-secret")
        console = f"http://localhost:{server.port}/console"  # another site than the provider's 127.0.0.1
        context = chromium.new_context()
        context.add_init_script(LISTEN)
        page, complaints = context.new_page(), list[str]()
        page.on("console", lambda one: complaints.append(one.text) if one.type in {"error", "warning"} else None)
        page.goto(f"{console}/history")
        page.get_by_role("link", name="Log in at").click()
        page.wait_for_url(f"{console}/history")
        page.get_by_text("people.u-17").first.wait_for()
        cookies = {one["name"]: one for one in page.context.cookies()}
        assert set(cookies) == {"airlock_console"}, "nothing of the log-in itself is left"
        assert (cookies["airlock_console"]["sameSite"], cookies["airlock_console"]["httpOnly"]) == ("Strict", True)
        page.get_by_role("button", name=re.compile("Log out")).click()
        page.wait_for_url(re.compile("/console/login"))
        context.close()
        assert complaints == []


def test_a_link_logs_in_whom_it_names_after_a_press_and_not_by_itself(
    gateway: Server, open_window: Callable[..., Watched]
) -> None:
    with gateway.client(gateway.reviewer_key) as reviewer:
        path = reviewer.post("/console/links", json={}).json()["path"]
    window = open_window(logged_in=False)
    window.go(path.removeprefix("/console/"))
    page = window.page
    expect(page.get_by_text("You will be reviewer of local.")).to_be_visible()
    expect(page.get_by_role("button", name="Log in")).to_be_focused()
    page.wait_for_load_state("networkidle")
    assert page.context.cookies() == []
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/console/queue$"))
