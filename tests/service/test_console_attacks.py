"""Attacks on the console over plain HTTP: other people's sessions, forms and links, odd requests, what an agent's text costs."""

from __future__ import annotations

import contextlib
import html
import re
import threading
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from gateway.console.text import MOST_HIGHLIGHTED, code_lines, is_quick
from gateway.console.tries import shown_tries
from gateway.wire_answers import ExecutionView
from gateway.wire_reviews import ReviewView, TryView
from tests.conftest import Server
from tests.service.gateways import QUICK, Raw, policy

KEYS = {
    "bot": ("acme", "agent"),
    "ann": ("acme", "reviewer"),
    "bob": ("acme", "reviewer"),
    "olga": ("acme", "operator"),
    "eve": ("other", "reviewer"),
}
TEMPLATES = Path(__file__).parents[2] / "gateway" / "console" / "templates"
COOKIE = "airlock_console"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("attacked")
    (data / "policy.yaml").write_text(policy(KEYS, f"{QUICK}, review: {{four_eyes: [approve_edited]}}"))
    running = Server(data, data / "policy.yaml").start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def sessions(server: Server) -> dict[str, str]:
    """Everybody's cookie: log-ins are counted."""
    cookies = {}
    for name in ("ann", "bob", "olga", "eve"):
        with browser(server) as client:
            assert client.post("/console/login", data={"key": f"key-of-{name}"}).status_code == 303
            cookies[name] = client.cookies[COOKIE]
    return cookies


@pytest.fixture(scope="module")
def review(server: Server) -> str:
    return open_review(server, "attacked")


@pytest.fixture
def in_(server: Server, sessions: dict[str, str]) -> Iterator[Callable[[str], httpx.Client]]:
    with contextlib.ExitStack() as stack:

        def enter(name: str) -> httpx.Client:
            client = stack.enter_context(browser(server))
            client.cookies.set(COOKIE, sessions[name], domain="127.0.0.1", path="/console")
            return client

        yield enter


def browser(server: Server) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"Origin": server.url}, timeout=60)


def open_review(server: Server, task: str) -> str:
    with server.client("key-of-bot") as agent:
        for code in ("1/0", "[][1]", "{}['x']"):
            answer = agent.post("/v1/executions", json={"code": code, "task_id": task}).json()
    return str(answer["task"]["review"])


def fields(page: str) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page)
    return {name: html.unescape(value) for name, value in reversed(found)}


def test_no_header_and_no_path_that_is_none_is_an_error_of_the_gateways(server: Server) -> None:
    for host in (b"[", b"[::1", b"\xff", b"a b", b"x?y", b"127.0.0.1:abc", b"x/console/static"):
        for path in (b"login", b"queue", b"oidc", b"nowhere", b"live?q=\xff", b"%00", b"%ff%fe", b"..%2f..%2fv1"):
            with Raw(server) as raw:
                said = raw.say(b"GET /console/%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % (path, host))
            assert said[9:12] in {b"200", b"303", b"400", b"404"}, (host, path, said[:100])


def test_an_origin_that_is_no_address_is_a_foreign_one(server: Server, in_: Callable[[str], httpx.Client]) -> None:
    ann = in_("ann")
    token = fields(ann.get("/console/help").text)["csrf"]
    for origin in ("http://[", "null", "x", f"{server.url}@evil.example", f"{server.url}.evil.example", "http://"):
        refused = ann.post("/console/logout", data={"csrf": token}, headers={"Origin": origin})
        assert refused.status_code == 403, origin
    assert ann.get("/console/queue").status_code == 200


@pytest.mark.parametrize(
    "typed",
    [
        {"ruling": "answer", "result": "[" * 100_000},
        {"ruling": "answer", "result": "[" * 500 + "]" * 500},
        {"ruling": "answer", "result": '"\\ud800"'},
        {"ruling": "answer", "result": "NaN"},
        {"ruling": "answer", "result": "9" * 5_000},
        {"ruling": "answer", "result": ""},
        {"ruling": "grant", "failures": "9" * 5_000},
        {"ruling": "grant", "failures": "\u0663"},
        {"ruling": "grant", "failures": "\u00b2"},
        {"ruling": "raise_limits", "limit.memory": "9" * 5_000},
        {"ruling": "raise_limits", "limit.time": "9" * 500 + ".0"},
        {"ruling": "reject", "message": "x" * 20_000},
        {"ruling": "<script>window.owned=1</script>"},
        {"ruling": ""},
    ],
    ids=lambda typed: "-".join(value[:12] for value in typed.values()),
)
def test_what_cannot_be_ruled_comes_back_in_words(
    review: str, in_: Callable[[str], httpx.Client], typed: dict[str, str]
) -> None:
    ann = in_("ann")
    known = fields(ann.get(f"/console/reviews/{review}").text)
    answer = ann.post(f"/console/reviews/{review}", data={"csrf": known["csrf"], "token": known["token"], **typed})
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert "<script>window" not in answer.text


class Tags(HTMLParser):
    """Notes each attribute that no template of ours writes."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if not re.fullmatch(r"[a-z][a-zA-Z-]*[0-9]?", name) or "<span" in (value or ""):
                self.broken.append(f"{tag} {name}={value}")


def test_nothing_that_an_address_says_breaks_out_of_an_attribute(
    review: str, in_: Callable[[str], httpx.Client]
) -> None:
    trick = "%E2%80%AE%22%3E%3Cb%3E" + "A" * 300
    ann = in_("ann")
    for path in (
        f"login?next={trick}",
        f"login?next=/console/queue?task={trick}",
        f"enter?link={trick}",
        f"queue?task={trick}&reason={trick}&after={trick}",
        f"history?q={trick}&by={trick}&state={trick}&period={trick}&before={trick}&what={trick}",
        f"history?what=executions&status={trick}",
        f"reviews/{review}?{trick}",
        f"nowhere/{trick}",
    ):
        page, tags = ann.get(f"/console/{path}").text, Tags()
        tags.feed(page)
        assert tags.broken == [], path
        assert "\u202e" not in page, path


def test_no_template_puts_markup_into_an_attribute_or_a_title() -> None:
    for path in TEMPLATES.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        for line in text.splitlines():
            assert not re.search(r'="[^"<>]*\|\s*(short|shown)\b', line), (path.name, line)
            assert "|short" not in line.partition("{% block title %}")[2].partition("{% endblock %}")[0], path.name


def test_a_log_in_of_another_sites_does_not_count(server: Server, in_: Callable[[str], httpx.Client]) -> None:
    with server.client("key-of-eve") as eve:
        link = eve.post("/console/links", json={}).json()["path"].partition("link=")[2]
    ann = in_("ann")
    for foreign in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "none"}):
        for path, form in (("login", {"key": "key-of-eve"}), ("enter", {"link": link})):
            refused = ann.post(f"/console/{path}", data=form, headers=foreign)
            assert (refused.status_code, "set-cookie" in refused.headers) == (403, False), (path, foreign)
    assert "of acme" in ann.get("/console/help").text


def test_who_follows_a_link_is_told_whom_it_logs_in_before_it_does(server: Server) -> None:
    with server.client("key-of-eve") as eve:
        path = eve.post("/console/links", json={}).json()["path"]
    with browser(server) as victim:
        page = victim.get(path)
        assert "You will be <strong>eve</strong> of other." in page.text
        assert COOKIE not in victim.cookies
        link = path.partition("link=")[2]
        assert victim.post("/console/enter", data={"link": link}).status_code == 303
        assert victim.get(path).status_code == 401, "it was used"
        assert victim.get("/console/enter").status_code == 401
    assert "at-once" not in (TEMPLATES / "enter.html").read_text(), "nobody becomes another by looking at a page"


def test_a_session_that_somebody_planted_is_not_the_one_that_a_log_in_begins(
    server: Server, sessions: dict[str, str]
) -> None:
    for planted in ("x" * 43, "", sessions["eve"][:-1], "%00", "\u00e9"):
        with Raw(server) as raw:
            said = raw.say(
                b"GET /console/queue HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
                b"Cookie: airlock_console=%s\r\n\r\n" % planted.encode()
            )
        assert said[9:12] == b"303", planted
    with browser(server) as client:
        client.cookies.set(COOKIE, "x" * 43, domain="127.0.0.1", path="/console")
        answer = client.post("/console/login", data={"key": "key-of-bob"})
        assert answer.status_code == 303
        first = answer.headers["set-cookie"].partition(";")[0].partition("=")[2]
        assert first != "x" * 43
        client.cookies.clear()
        client.cookies.set(COOKIE, first, domain="127.0.0.1", path="/console")
        assert client.post("/console/login", data={"key": "key-of-bob"}).status_code == 303
        client.cookies.clear()
        client.cookies.set(COOKIE, first, domain="127.0.0.1", path="/console")
        assert client.get("/console/queue").status_code == 303, "a new log-in ends the old session"


def test_another_sessions_token_sends_no_form(review: str, in_: Callable[[str], httpx.Client]) -> None:
    ann, bob, olga = in_("ann"), in_("bob"), in_("olga")
    foreign = fields(bob.get("/console/help").text)["csrf"]
    known = fields(ann.get(f"/console/reviews/{review}").text)
    form = {"token": known["token"], "ruling": "answer", "result": "1"}
    for csrf in (foreign, "", known["csrf"][:-1], known["csrf"].upper(), "\u00e9"):
        assert ann.post(f"/console/reviews/{review}", data={**form, "csrf": csrf}).status_code == 403, csrf
        assert ann.post("/console/logout", data={"csrf": csrf}).status_code == 403, csrf
    assert olga.post("/console/playground", data={"code": "1", "csrf": foreign}).status_code == 403
    assert ann.post(f"/console/reviews/{review}?csrf={known['csrf']}", data=form).status_code == 403
    assert "open" in ann.get(f"/console/reviews/{review}").text


def test_no_page_is_kept_by_a_browser_or_on_the_way(review: str, in_: Callable[[str], httpx.Client]) -> None:
    ann, olga = in_("ann"), in_("olga")
    execution = re.findall(r"/console/executions/(exe_[0-9a-f]+)", ann.get(f"/console/reviews/{review}").text)[0]
    pages = ["queue", "history", "help", "overview", "nowhere", "login", "tasks/attacked", f"executions/{execution}"]
    pages += [f"reviews/{review}", f"reviews/{review}/{execution}/code", f"executions/{execution}/answer"]
    pages += [f"executions/{execution}/pictures/0"]
    for path in pages:
        assert ann.get(f"/console/{path}").headers["cache-control"] == "no-store", path
    for path in ("playground", "overview"):
        assert olga.get(f"/console/{path}").headers["cache-control"] == "no-store", path


def test_an_open_page_hears_nothing_after_a_log_out_and_nothing_of_another_tenant(server: Server) -> None:
    with browser(server) as ann, browser(server) as eve:
        for client, name in ((ann, "ann"), (eve, "eve")):
            assert client.post("/console/login", data={"key": f"key-of-{name}"}).status_code == 303
        csrf = fields(ann.get("/console/help").text)["csrf"]
        ours = open_review(server, "heard-0")
        heard: dict[str, list[str]] = {"ann": [], "eve": []}
        ended = {name: threading.Event() for name in heard}

        def listen(client: httpx.Client, name: str) -> None:
            with (
                contextlib.suppress(httpx.HTTPError),
                client.stream("GET", f"/console/live?review={ours}", timeout=30) as live,
            ):
                for line in live.iter_lines():
                    heard[name].append(line)
            ended[name].set()

        threads = [
            threading.Thread(target=listen, args=(client, name)) for client, name in ((ann, "ann"), (eve, "eve"))
        ]
        for thread in threads:
            thread.start()
        wait_until(
            lambda: any("version" in line for line in heard["ann"]) and any("open" in line for line in heard["eve"])
        )
        cookie = ann.cookies[COOKIE]
        newest = open_review(server, "heard-1")
        wait_until(lambda: any(newest in line for line in heard["ann"]))
        with browser(server) as other_tab:
            other_tab.cookies.set(COOKIE, cookie, domain="127.0.0.1", path="/console")
            assert other_tab.post("/console/logout", data={"csrf": csrf}).status_code == 303
            assert ended["ann"].wait(20), "the stream ends with the session"
            other_tab.cookies.set(COOKIE, cookie, domain="127.0.0.1", path="/console")
            assert other_tab.get("/console/queue").status_code == 303, "the cookie opens nothing any more"
        assert not ended["eve"].is_set()
        told = "".join(heard["eve"])
        assert '"open": 0' in told
        assert "version" not in told
        assert "rev_" not in told
        csrf = fields(eve.get("/console/help").text)["csrf"]
        assert eve.post("/console/logout", data={"csrf": csrf}).status_code == 303
        for thread in threads:
            thread.join(30)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_runs_is_drawn_for_operators_alone(in_: Callable[[str], httpx.Client]) -> None:
    for path in ("overview", "overview?now=1"):
        assert "<figure" in in_("olga").get(f"/console/{path}").text
        for name in ("ann", "eve"):
            page = in_(name).get(f"/console/{path}")
            assert page.status_code == 200
            assert "<figure" not in page.text
            assert "polyline" not in page.text


def test_who_agrees_to_an_edit_can_read_all_of_it_and_what_goes_with_it(
    server: Server, in_: Callable[[str], httpx.Client]
) -> None:
    path = f"/console/reviews/{open_review(server, 'long')}"
    ann, bob = in_("ann"), in_("bob")
    known = fields(ann.get(path).text)
    code = "\n".join(f"print({number})" for number in range(1_500)) + "\nprint('the <end>')\n"
    edit = {"csrf": known["csrf"], "token": known["token"], "ruling": "approve_edited", "code": code}
    assert ann.post(path, data={**edit, "message": "Read <this>."}).status_code == 303
    seen = bob.get(path).text
    assert "the &lt;end&gt;" in seen[seen.index('class="proposal"') : seen.index('<textarea name="code" hidden')]
    assert "<blockquote>Read &lt;this&gt;.</blockquote>" in seen
    assert bob.get(f"{path}/proposal/code").text == code
    assert bob.get(f"{path}/proposal/stdout").status_code == 404
    assert in_("eve").get(f"{path}/proposal/code").status_code == 404


def test_an_editor_is_told_of_what_it_does_not_show(server: Server, in_: Callable[[str], httpx.Client]) -> None:
    with server.client("key-of-bot") as agent:
        for number in range(3):
            code = f"# \u202e{number}\u200b\n1/0"
            answer = agent.post("/v1/executions", json={"code": code, "task_id": "hides"}).json()
    path = f"/console/reviews/{answer['task']['review']}"
    ann = in_("ann")
    page = ann.get(path).text
    assert "which the editor does not show: U+200B, U+202E." in page
    known = fields(page)
    typed = {"csrf": known["csrf"], "token": known["token"], "ruling": "approve_edited", "code": "1\n", "check": "1"}
    assert "the editor does not show" not in ann.post(path, data=typed).text


def test_another_name_for_this_machine_is_not_told_where_the_key_is(make_server: Callable[..., Server]) -> None:
    server = make_server()
    with browser(server) as client:
        assert "reviewer.key" in client.get("/console/login").text
        for name in ("evil.example", "[", "127.0.0.1.evil.example"):
            assert "reviewer.key" not in client.get("/console/login", headers={"Host": name}).text


@pytest.mark.parametrize(
    "code",
    ["\n " * 20_000, " \t" * 10_000, "(" * 900 + "\n" + "x" * 40_000, "a.\n" * 20_000, "f'{" * 20_000],
    ids=["lines", "blanks", "long-line", "long", "nested"],
)
def test_what_a_highlighter_takes_long_for_is_shown_plainly(code: str) -> None:
    assert not is_quick(code)
    assert "<span class=" not in "".join(line for _, line in code_lines(code).lines).replace('<span class="cut">', "")


def test_a_page_highlights_so_much_and_no_more() -> None:
    code = "x = [1]\n" * 3_000
    tries = [
        TryView.model_construct(
            execution=ExecutionView.model_construct(id=f"exe_{number}", attempts=[], result_form=None),
            code=code,
            expect=None,
            diff="",
        )
        for number in range(20)
    ]
    shown = shown_tries(ReviewView.model_construct(execution="exe_0", tries=tries))
    lit = [one.number for one in shown if '<span class="' in one.code.lines[0][1]]
    assert [one.number for one in shown] == list(range(1, 21))
    assert lit == [1, 20], "the one under review, and of the others as many as there is room for, newest first"
    assert len(code) < MOST_HIGHLIGHTED < 2 * len(code)
