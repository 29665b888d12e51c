"""The console over plain HTTP: who is let in, what a cookie and a form must be, and how long a queue may be."""

from __future__ import annotations

import contextlib
import html
import re
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from http.cookies import SimpleCookie

import httpx
import pytest

from gateway.callers import Caller, Role
from gateway.console.forms import parse
from gateway.console.sessions import IDLE_SECONDS, LINK_SECONDS, LONGEST_SECONDS, Sessions
from gateway.console.text import code_lines, shown, tail
from gateway.console.tries import rows_of, shown_tries
from gateway.errors import MalformedRequest, RateLimited
from gateway.wire_answers import ExecutionView, Finding
from gateway.wire_reviews import ReviewView, TryView
from tests.conftest import UNUSED_TLS, Server
from tests.service.gateways import QUICK, policy

KEYS = {
    "bot": ("acme", "agent"),
    "ann": ("acme", "reviewer"),
    "olga": ("acme", "operator"),
    "eve": ("other", "reviewer"),
    "aude": ("acme", "auditor"),
}
SESSIONS: dict[tuple[str, str], str] = {}
ANN = Caller("ann", "acme", "default", frozenset({Role.REVIEWER}))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("keyed")
    (data / "policy.yaml").write_text(policy(KEYS))
    running = Server(data, data / "policy.yaml").start()
    yield running
    running.stop()


def browser(server: Server) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"Origin": server.url}, timeout=60, verify=UNUSED_TLS)


def log_in(client: httpx.Client, key: str, **headers: str) -> httpx.Response:
    return client.post("/console/login", data={"key": key}, headers=headers)


@contextlib.contextmanager
def in_(server: Server, name: str) -> Iterator[httpx.Client]:
    """Somebody who is logged in, already where a test before had them do so: log-ins are counted."""
    with browser(server) as client:
        known = SESSIONS.get((server.url, name))
        if known is not None:
            client.cookies.set("airlock_console", known, domain="127.0.0.1", path="/console")
        if client.get("/console/help").status_code != 200:
            client.cookies.clear()
            assert log_in(client, f"key-of-{name}").status_code == 303
            SESSIONS[server.url, name] = client.cookies["airlock_console"]
        yield client


def form_token(client: httpx.Client, path: str = "/console/help") -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', client.get(path).text)
    assert found
    return found[1]


def test_a_key_opens_a_session_whose_cookie_no_script_and_no_other_site_can_use(keyed: Server) -> None:
    with browser(keyed) as client:
        answer = log_in(client, "key-of-ann")
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/")
        cookie = SimpleCookie(answer.headers["set-cookie"])["airlock_console"]
        assert (cookie["httponly"], cookie["samesite"].lower(), cookie["path"]) == (True, "strict", "/console")
        assert not cookie["secure"], "this machine alone hears it"
        assert client.get("/console/queue").status_code == 200


def test_on_other_than_a_loopback_name_the_cookie_travels_encrypted_only(keyed: Server) -> None:
    with browser(keyed) as client:
        names = {"Host": "airlock.example", "Origin": "https://airlock.example"}
        cookie = SimpleCookie(log_in(client, "key-of-ann", **names).headers["set-cookie"])["airlock_console"]
        assert cookie["secure"]


def test_an_agents_key_and_a_strangers_do_not_log_in(keyed: Server) -> None:
    with browser(keyed) as client:
        agents = log_in(client, "key-of-bot")
        assert agents.status_code == 403
        assert "This key is an agent's." in html.unescape(agents.text)
        assert log_in(client, "key-of-nobody").status_code == 401
        assert "set-cookie" not in agents.headers
        assert client.get("/console/queue").headers["location"] == "/console/login?next=/console/queue"


def test_every_answer_keeps_browsers_from_running_or_framing_anything_else(keyed: Server) -> None:
    with in_(keyed, "ann") as client:
        for path in ("/console/login", "/console/queue", "/console/nowhere", "/console/static/console.js"):
            headers = client.get(path).headers
            assert "default-src 'none'" in headers["content-security-policy"], path
            assert "'unsafe" not in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cross-origin-opener-policy"] == "same-origin"
            assert headers["referrer-policy"] == "same-origin"


def test_a_form_counts_only_from_a_page_of_the_console_and_with_the_sessions_token(keyed: Server) -> None:
    with in_(keyed, "ann") as client:
        token = form_token(client)
        for headers in (
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ):
            assert client.post("/console/logout", data={"csrf": token}, headers=headers).status_code == 403, headers
        with httpx.Client(base_url=keyed.url, cookies=client.cookies) as silent:
            assert silent.post("/console/logout", data={"csrf": token}).status_code == 403
        for wrong in ("", "x" * 43):
            assert client.post("/console/logout", data={"csrf": wrong}).status_code == 403
        assert client.get("/console/queue").status_code == 200, "still logged in"
        assert client.post("/console/logout", data={"csrf": token}).status_code == 303
        assert client.get("/console/queue").status_code == 303, "logged out"


def test_a_page_is_shown_to_those_whose_it_is(keyed: Server) -> None:
    with in_(keyed, "ann") as ann, in_(keyed, "olga") as olga:
        assert ann.get("/console/playground").status_code == 403
        assert ann.post("/console/playground", data={"csrf": form_token(ann), "code": "1"}).status_code == 403
        assert olga.get("/console/queue").status_code == 403
        assert olga.get("/console/playground").status_code == 200
        assert olga.get("/console/", follow_redirects=True).url.path == "/console/overview"


def test_an_auditor_sees_all_of_a_tenant_and_changes_nothing(keyed: Server) -> None:
    with keyed.client("key-of-bot") as agent:
        for code in ("1/0", "[][1]", "{}['x']"):
            answer = agent.post("/v1/executions", json={"code": code, "task_id": "audited"}).json()
    review, execution = answer["task"]["review"], answer["id"]
    with in_(keyed, "aude") as aude, in_(keyed, "ann") as ann:
        assert aude.get("/console/", follow_redirects=True).url.path == "/console/queue"
        for path in ("queue", "history", "overview", "tasks/audited", f"executions/{execution}"):
            assert aude.get(f"/console/{path}").status_code == 200, path
        assert review in aude.get("/console/queue").text
        forms = f'<form method="post" action="/console/reviews/{review}"'
        assert forms in ann.get(f"/console/reviews/{review}").text
        page = aude.get(f"/console/reviews/{review}").text
        assert forms not in page
        assert 'name="ruling"' not in page
        with keyed.client("key-of-ann") as api:
            token = api.get(f"/v1/reviews/{review}").json()["token"]
        form = {"csrf": form_token(aude), "token": token, "ruling": "answer", "result": "1"}
        assert aude.post(f"/console/reviews/{review}", data=form).status_code == 403
        assert aude.get("/console/playground").status_code == 403
        assert aude.post("/console/playground", data={"csrf": form_token(aude), "code": "1"}).status_code == 403
        with keyed.client("key-of-ann") as api:
            assert api.get(f"/v1/reviews/{review}").json()["state"] == "open"


def test_another_tenants_reviews_are_as_if_they_were_not_there(keyed: Server) -> None:
    with keyed.client("key-of-bot") as agent:
        for code in ("1/0", "[][1]", "{}['x']"):
            answer = agent.post("/v1/executions", json={"code": code, "task_id": "ours"}).json()
    review, execution = answer["task"]["review"], answer["id"]
    with in_(keyed, "ann") as ann, in_(keyed, "eve") as eve:
        for path in (f"reviews/{review}", "tasks/ours", f"executions/{execution}", f"executions/{execution}/code"):
            assert ann.get(f"/console/{path}").status_code == 200, path
            assert eve.get(f"/console/{path}").status_code == 404, path
        assert review in ann.get("/console/queue").text
        assert review not in eve.get("/console/queue").text
        assert review not in eve.get("/console/history").text
        form = {"csrf": form_token(eve), "token": "x", "ruling": "approve"}
        assert eve.post(f"/console/reviews/{review}", data=form).status_code == 404


def test_a_link_logs_in_once(keyed: Server) -> None:
    with browser(keyed) as client:
        made = client.post("/console/links", json={}, headers={"Authorization": "Bearer key-of-ann"}).json()
        link = made["path"].partition("link=")[2]
        assert client.get(made["path"]).status_code == 200, "who only looks at it does not use it up"
        assert client.post("/console/enter", data={"link": link}).status_code == 303
        assert client.get("/console/queue").status_code == 200
        client.cookies.clear()
        assert client.post("/console/enter", data={"link": link}).status_code == 401
        refused = client.post("/console/links", json={}, headers={"Authorization": "Bearer key-of-bot"})
        assert refused.status_code == 403
        assert client.post("/console/links", json={}).status_code == 401


def test_after_a_log_in_nobody_is_sent_elsewhere(keyed: Server) -> None:
    for wish in ("https://evil.example/", "//evil.example/", "/console/../v1", "/v1/policy", "/console//evil.example"):
        with browser(keyed) as client:
            answer = client.post("/console/login", data={"key": "key-of-ann", "next": wish})
            assert answer.headers["location"] in {"/console/", "/console/../v1"}, wish


def test_the_api_takes_no_forms_and_no_cookie(keyed: Server) -> None:
    with in_(keyed, "ann") as client:
        assert client.get("/v1/reviews").status_code == 401
        assert client.post("/v1/executions", data={"code": "1"}).status_code == 415


def test_keys_are_not_guessed_quickly(make_server: Callable[..., Server]) -> None:
    server = make_server(policy(KEYS))
    with browser(server) as client:
        answers = [log_in(client, f"guess-{n}").status_code for n in range(45)]
        assert answers[:5] == [401] * 5
        assert answers[-1] == 429


def test_a_session_ends_when_nobody_uses_it_and_at_the_latest_after_a_day() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    idle, busy = sessions.begin(ANN, None), sessions.begin(ANN, None)
    for _ in range(int(LONGEST_SECONDS // 3600) - 1):
        clock.now += 3600
        assert sessions.find(busy)
    assert sessions.find(idle) is None, f"unused for more than {IDLE_SECONDS} s"
    clock.now += 3601
    assert sessions.find(busy) is None
    late = sessions.link(ANN, None)
    clock.now += LINK_SECONDS + 1
    assert sessions.follow(late) is None


def test_neither_a_token_nor_a_key_is_kept() -> None:
    sessions = Sessions()
    token = sessions.begin(ANN, None)
    link = sessions.link(ANN, None)
    assert token not in repr(vars(sessions))
    assert link not in repr(vars(sessions))


def test_guessing_from_many_addresses_is_slowed_down_as_well() -> None:
    sessions = Sessions(Clock())
    for number in range(60):
        sessions.count_try(f"10.0.0.{number}")
    for address in ("10.1.0.1", "10.1.0.2"):
        with contextlib.suppress(RateLimited):
            sessions.count_try(address)
    with pytest.raises(RateLimited):
        sessions.count_try("10.1.0.3")


@pytest.mark.parametrize("body", [b"\xff", b"a=1&a=2", b"&".join(b"f%d=1" % n for n in range(50)), b"a=%ff"])
def test_what_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse(body)


def test_text_becomes_markup_in_which_nothing_acts_and_nothing_hides() -> None:
    assert shown("<b>&\"'") == "&lt;b&gt;&amp;&quot;&#x27;"
    assert shown("a\u202eb\x1bc") == 'a<span class="spelled">U+202E</span>b<span class="spelled">U+001B</span>c'
    assert shown("e" + "\u0301" * 200 + "<") == 'e\u0301\u0301<span class="spelled">198 marks</span>&lt;'
    code = 'x = """<i>\n\r\u202e</i>"""\n# é\n'
    lines = [line for _, line in code_lines(code).lines]
    assert len(lines) == 3
    assert "U+000D" in lines[1]
    assert "<i>" not in "".join(lines)
    assert code_lines("a" * 1_000_000).cut
    assert code_lines("a\n" * 10_000).omitted == 8_000
    assert tail("b\n" * 10_000).lines[-1][0] == 10_000
    assert len("".join(line for _, line in tail("\x1b" * 1_000_000).lines)) < 40_000


def _fill(server: Server, review: str, count: int) -> None:
    """As many open reviews, copied from one that is real."""
    with sqlite3.connect(server.data / "airlock.db", timeout=60) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(reviews)")]
        row = dict(
            zip(columns, database.execute("SELECT * FROM reviews WHERE id = ?", (review,)).fetchone(), strict=True)
        )
        places = ",".join("?" * len(columns))
        rows = [tuple({**row, "id": f"{review[:-5]}{n:05d}"}.values()) for n in range(count)]
        database.executemany(f"INSERT OR IGNORE INTO reviews VALUES ({places})", rows)


@pytest.mark.alone
def test_a_queue_of_ten_thousand_reviews_is_a_page_like_any_other(make_server: Callable[..., Server]) -> None:
    server = make_server(policy(KEYS))
    with server.client("key-of-bot") as agent:
        for code in ("1/0", "[][1]", "{}['x']"):
            answer = agent.post("/v1/executions", json={"code": code, "task_id": "many"}).json()
    with in_(server, "ann") as client:

        def seconds(path: str) -> float:
            took = []
            for _ in range(9):
                began = time.perf_counter()
                page = client.get(path)
                took.append(time.perf_counter() - began)
                assert page.status_code == 200
            return statistics.median(took)

        seconds("/console/queue")
        help_page = seconds("/console/help")
        _fill(server, answer["task"]["review"], 10_000)
        queue = seconds("/console/queue")
        page = client.get("/console/queue").text
        assert "10,00" in page
        assert page.count("<tr data-row>") == 50
        assert len(page) < 60_000
        following = re.search(r'rel="next" href="([^"]+)"', page)
        assert following
        second = client.get(following[1].replace("&amp;", "&")).text
        assert second.count("<tr data-row>") == 50
        # the queue's page is some tens of milliseconds of work; its length may not be in it
        assert queue < max(0.1, 12 * help_page)


FOUR_EYES = f"{QUICK}, review: {{four_eyes: [approve_edited]}}"


def test_an_edit_that_needs_four_eyes_is_shown_to_the_second_person_who_agrees_with_one_button(
    make_server: Callable[..., Server],
) -> None:
    server = make_server(policy({**KEYS, "bob": ("acme", "reviewer")}, FOUR_EYES))
    with server.client("key-of-bot") as agent:
        for code in ("1/0", "[][1]", "{}['x']"):
            answer = agent.post("/v1/executions", json={"code": code, "task_id": "eyes"}).json()
        path = f"/console/reviews/{answer['task']['review']}"
        with in_(server, "ann") as ann, in_(server, "bob") as bob:
            page = ann.get(path).text
            assert "2 people have to agree." in page
            edit = {**hidden(page), "ruling": "approve_edited", "code": "print('by two <b>')\n"}
            assert ann.post(path, data=edit, follow_redirects=True).text.count("The review stays open.") == 1
            seen = bob.get(path).text
            assert "1 of 2 people agreed" in seen
            assert "print(&#x27;by two &lt;b&gt;&#x27;)" in seen
            agreed = seen[seen.index('class="proposal"') :]
            agreed = agreed[: agreed.index("</form>")]
            again = {**hidden(agreed), "code": "print('by two <b>')\n"}
            assert bob.post(path, data=again, follow_redirects=True).text.count("Your version runs now.") == 1
        assert agent.get("/v1/tasks/eyes", params={"wait": 30}).json()["latest"]["stdout"] == "by two <b>\n"


def hidden(page: str) -> dict[str, str]:
    """The first values of a page's hidden fields."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page)
    return {name: html.unescape(value) for name, value in reversed(found) if name != "next"}


def test_a_page_of_a_key_that_left_the_policy_is_not_shown_any_more(make_server: Callable[..., Server]) -> None:
    server = make_server(policy(KEYS))
    with in_(server, "ann") as ann, server.client("key-of-olga") as olga:
        assert ann.get("/console/queue").status_code == 200
        assert server.policy is not None
        server.policy.write_text(policy({name: who for name, who in KEYS.items() if name != "ann"}))
        assert olga.post("/v1/policy/reload").status_code == 200
        assert ann.get("/console/queue").status_code == 303


def test_of_ten_thousand_findings_a_page_shows_a_hundred_and_says_so() -> None:
    findings = [Finding(rule="r", severity="warning", message="<b>" * 10_000) for _ in range(10_000)]
    view = ExecutionView.model_construct(id="exe_1", findings=findings, attempts=[], result_form=None)
    review = ReviewView.model_construct(
        execution="exe_1", tries=[TryView.model_construct(execution=view, code="1", expect=None, diff="")]
    )
    (one,) = shown_tries(review)
    assert (len(one.findings), one.more_findings) == (100, 9_900)


def test_a_difference_stands_side_by_side() -> None:
    rows = list(rows_of("--- before\n+++ x\n@@ -1,3 +1,3 @@\n a\n-b\n-<i>\n+c\n d\n@@ -9 +9 @@\n-e\n+f"))
    told = [(row.kind, row.before.number, row.before.line, row.after.number, row.after.line) for row in rows]
    assert told == [
        ("same", 1, "a", 1, "a"),
        ("changed", 2, "b", 2, "c"),
        ("changed", 3, "&lt;i&gt;", None, None),
        ("same", 4, "d", 3, "d"),
        ("gap", None, None, None, None),
        ("changed", 9, "e", 9, "f"),
    ]
