"""Everything from an agent is hostile text: it is shown, it does nothing, and the page stays usable."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import SECONDS, Watched, let_go_on, spend_the_budget
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
        review = ""
        for code in programs():
            if review:
                let_go_on(gateway, review, f"{SCRIPTS[0]}{TRICKS[:20]}")
            review = spend_the_budget(agent, "a.b:c@d-hostile", code)
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
    if not page.url.partition("/console/")[2].startswith(("login", "enter")):
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
    typed = quote(HOSTILE[:150])
    for path in (
        execution.removeprefix("/console/"),
        "tasks/a.b:c@d-hostile",
        "history?q=a.b:c@d-hostile",
        "history?what=executions",
        f"history?q={typed}&by={typed}&state={typed}&before={typed}",
        f"queue?task={typed}&reason={typed}&after={typed}",
        "queue",
        f"login?next={typed}",
    ):
        assert window.go(path) == 200, path
        usable(window)
    for path in (f"nowhere/{typed}", f"enter?link={typed}"):
        assert window.go(path) in {401, 404}, path
        usable(window)
    whole = review(f"{window.server.url}{execution}/stdout")
    assert whole.headers["content-type"].startswith("text/plain")
    assert "sandbox" in whole.headers["content-security-policy"]
    page.set_viewport_size({"width": 390, "height": 800})
    window.go(f"reviews/{hostile_review}")
    usable(window)


def test_a_page_in_which_anything_was_refused_would_be_noticed(open_window: Callable[..., Watched]) -> None:
    window = open_window()
    window.go("help")
    page = window.page
    for planted, directive in (
        ("<img src='data:image/png;base64,AAAA'>", "img-src"),
        ("<img src=x onerror='window.owned = 1'>", "script-src-attr"),
        ("<p style='color: red'>", "style-src-attr"),
        ("<iframe src='/console/help'></iframe>", "frame-src"),
        ("<form action='http://evil.example'></form>", "form-action"),
    ):
        page.evaluate("(planted) => { document.querySelector('main').innerHTML = planted; }", planted)
        if directive == "form-action":
            page.evaluate(
                "document.querySelector('main form').requestSubmit()"
            )  # a click would wait for where it leads
        wait_until_heard(window, directive)
        assert page.evaluate("window.owned") is None
    page.evaluate(
        "document.querySelector('main').append(Object.assign(document.createElement('script'), {text: 'owned=1'}))"
    )
    wait_until_heard(window, "script-src-elem")
    assert page.evaluate("window.owned") is None
    window.complaints.clear()


def wait_until_heard(window: Watched, directive: str) -> None:
    deadline = time.monotonic() + SECONDS / 1000
    while not any(f"policy: {directive} " in one for one in window.complaints):
        assert time.monotonic() < deadline, f"nobody noticed {directive}: {window.complaints}"
        window.page.wait_for_timeout(20)


PNG = """
import struct, zlib
def part(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
rows = b"".join(b"\\0" + b"\\x20\\x80\\xa0" * 40 for _ in range(30))
png = b"\\x89PNG\\r\\n\\x1a\\n" + part(b"IHDR", struct.pack(">IIBBBBB", 40, 30, 8, 2, 0, 0, 0)) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
class Shown:
    def _repr_png_(self): return png
    def _repr_html_(self): return "<script>window.owned=1</script>"
    def _repr_svg_(self): return "<svg xmlns='http://www.w3.org/2000/svg' onload='window.owned=1'></svg>"
    def _repr_json_(self): return {"columns": ["<b>", "\\u202eb"], "index": [0, 1], "data": [["<script>window.owned=1</script>", 1], [None, 2]]}
Shown()
"""


def test_tables_and_pictures_are_shown_and_what_could_act_is_only_named(open_window: Callable[..., Watched]) -> None:
    window = open_window()
    window.go("playground")
    page = window.page
    page.get_by_label("Program").fill(PNG)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="What came of it")).to_contain_text("succeeded")
    execution = (page.get_by_role("link", name="the whole answer").get_attribute("href") or "").rsplit("/", 1)[0]
    for place in ("", execution.removeprefix("/console/")):
        if place:
            assert window.go(place) == 200
        table = page.get_by_role("group", name="Table")
        expect(table.get_by_role("row")).to_have_count(3)
        expect(table).to_contain_text("<script>window.owned=1</script>")
        expect(table).to_contain_text("U+202E")
        expect(page.get_by_text("Not shown: text/html, image/svg+xml")).to_be_visible()
        picture = page.get_by_role("img", name="As the program drew it")
        picture.scroll_into_view_if_needed()
        expect(picture).to_have_js_property("naturalWidth", 40)
        assert page.evaluate("window.owned") is None
        assert page.locator("main script, main svg[xmlns], main iframe").count() == 0
    alone = page.request.get(f"{window.server.url}{execution}/pictures/0")
    assert (alone.status, alone.headers["content-type"]) == (200, "image/png")
    assert alone.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in alone.headers["content-security-policy"]
    for number in ("1", "999"):
        assert page.request.get(f"{window.server.url}{execution}/pictures/{number}").status == 404


def test_a_review_of_ten_thousand_findings_can_be_ruled(
    gateway: Server, agent_of: httpx.Client, open_window: Callable[..., Watched]
) -> None:
    review = spend_the_budget(agent_of, "findings-1")
    # the checks themselves stop far earlier, so that the record is made to hold what no page may be made of
    findings = [
        {
            "rule": f"r.{n}",
            "severity": "warning",
            "message": f"{SCRIPTS[n % len(SCRIPTS)]}{TRICKS}",
            "line": n % 3 or None,
        }
        for n in range(10_000)
    ]
    with sqlite3.connect(gateway.data / "airlock.db", timeout=60) as database:
        (execution,) = database.execute("SELECT execution FROM reviews WHERE id = ?", (review,)).fetchone()
        database.execute(
            "UPDATE executions SET answer = json_set(answer, '$.findings', json(?)) WHERE id = ?",
            (json.dumps(findings), execution),
        )
    window = open_window()
    page = window.page
    for place in (f"executions/{execution}", f"reviews/{review}"):
        assert window.go(place) == 200
        usable(window)
        assert page.locator(".note:not(.error), .findings li").count() == 100
        expect(page.get_by_text("and 9,900 more")).to_be_visible()
        assert len(page.content()) < 1_000_000
    assert (
        page.request.get(f"{gateway.url}/console/executions/{execution}/answer").text().count('"rule": "r.') == 10_000
    )
    page.keyboard.press("e")
    expect(page.get_by_label("Your version")).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("print('mended')")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="Ruled")).to_be_visible()


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
