"""Everything from an agent is hostile text: it is shown, it does nothing, and the page stays usable."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Watched
from tests.conftest import Server

pytestmark = pytest.mark.engine

SCRIPTS = (
    "<script>window.owned=1</script>",
    "<img src=x onerror=window.owned=1>",
    "</textarea></pre></code><svg/onload=window.owned=1>",
    "'\"><a href=javascript:window.owned=1 autofocus onfocus=window.owned=1>",
    "{{ 7*191 }}{% raw %}<style>*{display:none}</style>",
    "<meta http-equiv=refresh content=0;url=//example.com><base href=//example.com>",
    "<form action=//example.com><button>Approve and run</button></form>",
)
TRICKS = "\u202eevil\u2066\u200bhidden\x1b[2J\x1b]0;title\x07\x00\r\x85\u2028" + "e" + "\u0301" * 200
HOSTILE = "\n".join((*SCRIPTS, TRICKS.replace("\x00", "")))
# as comments and as strings, so that checks, output, errors and results all carry it
COMMENTS = "\n".join(f"# {line}" for line in HOSTILE.replace("\r", "").replace("\u2028", "").split("\n"))


def programs() -> list[str]:
    long_line = "x = '" + "<b>" * 60_000 + "'"
    return [
        f"{COMMENTS}\nprint({HOSTILE!r})\nraise ValueError({HOSTILE!r})",
        f"{long_line}\nimport sys\nsys.stdout.write('<i>' * 80_000)\nprint({TRICKS!r}, file=sys.stderr)\nraise KeyError('<script>window.owned=1</script>')",
        f"{COMMENTS}\nclass Bad(Exception):\n    pass\nBad.__name__ = Bad.__qualname__ = '<img src=x onerror=window.owned=1>'\nfor n in range(12_000):\n    print('\\x1b[31m', n, '<u>')\nraise Bad({TRICKS!r})",
    ]


@pytest.fixture(scope="module")
def hostile_review(gateway: Server) -> str:
    with gateway.client() as agent:
        for code in programs():
            answer = agent.post("/v1/executions", json={"code": code, "task_id": "a.b:c@d-hostile"}).json()
    review: str = answer["task"]["review"]
    return review


def usable(window: Watched) -> None:
    """Nothing of it was executed, and what people need is there."""
    page = window.page
    assert page.evaluate("window.owned") is None
    assert page.title().endswith("Airlock")
    assert (
        page.locator("main script, main iframe, main style, main base, main img, main [onerror], main [onload]").count()
        == 0
    )
    expect(page.get_by_role("link", name="Queue", exact=False).first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), "nothing pushes the page wider"


def test_nothing_of_an_agents_text_is_executed_on_any_page(
    hostile_review: str, open_window: Callable[..., Watched]
) -> None:
    window = open_window(viewport={"width": 1280, "height": 900})
    review = window.page.request.get  # the same session as the window's
    assert window.go(f"reviews/{hostile_review}") == 200
    usable(window)
    page = window.page
    for summary in page.locator("main summary").all():
        summary.click()
    usable(window)
    text = page.locator("main").inner_text()
    assert "<script>window.owned=1</script>" in text
    for spelled in ("U+202E", "U+200B", "U+001B", "U+2066"):
        assert spelled in text, spelled
    assert "\u202e" not in text
    assert "\x1b" not in text
    execution = page.get_by_role("link", name="The execution").get_attribute("href")
    assert execution is not None
    for path in (execution.removeprefix("/console/"), "tasks/a.b:c@d-hostile", "history?q=a.b:c@d-hostile", "queue"):
        assert window.go(path) == 200, path
        usable(window)
    whole = review(f"{window.server.url}{execution}/stdout")
    assert whole.headers["content-type"].startswith("text/plain")
    assert "sandbox" in whole.headers["content-security-policy"]
    page.set_viewport_size({"width": 390, "height": 800})
    window.go(f"reviews/{hostile_review}")
    usable(window)


def test_pages_stay_small_and_quick_whatever_an_agent_wrote(
    hostile_review: str, open_window: Callable[..., Watched]
) -> None:
    window = open_window()
    ask = window.page.request.get
    began = time.monotonic()
    ask(f"{window.server.url}/console/help")
    floor = time.monotonic() - began
    began = time.monotonic()
    page = ask(f"{window.server.url}/console/reviews/{hostile_review}")
    took = time.monotonic() - began
    assert len(page.body()) < 2_000_000
    assert took < 100 * max(floor, 0.02)


def test_a_reviewers_message_comes_back_as_text(hostile_review: str, open_window: Callable[..., Watched]) -> None:
    window = open_window()
    window.go(f"reviews/{hostile_review}")
    page = window.page
    page.locator("[data-verdict=reject] > summary").click()
    form = page.locator("[data-verdict=reject]")
    form.get_by_role("textbox").fill("".join(SCRIPTS))
    form.get_by_role("button", name="Reject").click()
    expect(page.locator(".ruled blockquote")).to_contain_text("<script>window.owned=1</script>")
    usable(window)


def test_no_template_has_a_script_or_a_style_of_its_own() -> None:
    folder = Path(__file__).parents[2] / "gateway" / "console" / "templates"
    for path in folder.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "<style" not in text, path.name
        assert " style=" not in text, path.name
        assert "|safe" not in text.replace(" ", ""), path.name
        assert all(piece.startswith((" src=", ' type="module" src=')) for piece in text.split("<script")[1:]), path.name
        assert not re.search(r"\son[a-z]+\s*=", text), path.name
