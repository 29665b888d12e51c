"""A gateway killed at every step between receipt and answer, in each lane: nothing is lost, doubled, charged or left behind.

An undisturbed run of a scenario writes down its steps; then it is run once for each of them, killed there, and started
again, while its client repeats what got no answer. The record must come out the same but for the lost attempts. By itself
a test kills at each kind of step once; AIRLOCK_TEST_KILL_MATRIX=all kills at all of them.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from tests.service.crashes import Client, Mortal, Nursery, Record, at_rest, boxes, nursery, record, template
from tests.service.gateways import eventually, policy
from tests.service.receiver import SECRET, Receiver

pytestmark = [pytest.mark.engine, pytest.mark.timeout(3000)]

ALL = os.environ.get("AIRLOCK_TEST_KILL_MATRIX") == "all"  # noqa: TID251  # a test's own
AT_ONCE = 4
LIMITS = (
    "limits: {time: {default: 20s, max: 30s}, memory: {default: 64Mi, max: 256Mi}}, retries: {base: 10ms, cap: 20ms}"
)
LIMITS += ", budget: {failures_in_a_row: 1}"
CELL = f"{LIMITS}, isolation: {{mode: cell}}, lanes: {{monty: false}}"


@dataclass(frozen=True)
class Scenario:
    """What a client does, and how often the gateway must hear of it afterwards. `rests` is how many boxes stay."""

    name: str
    lane: str
    plays: Callable[[Client], None]
    rules: str = LIMITS
    rests: int = 0
    webhook: bool = False


def success_in_monty(client: Client) -> None:
    view = client.submit("a", code="print('said')\n[1, 2]", lane="monty", task_id="t")
    assert (view["status"], view["stdout"], view["result"]) == ("succeeded", "said\n", [1, 2])


def file_from_a_box(client: Client) -> None:
    code = "open('a.txt', 'w').write('kept')\nprint('said')"
    view = client.submit("a", code=code, lane="container", task_id="t", outputs=["*.txt"])
    assert (view["status"], [file["content"] for file in view["files"]]) == ("succeeded", ["kept"])


def failure_and_ruling(client: Client) -> None:
    view = client.submit("a", code="print('so far')\n1 / 0", lane="container", task_id="t")
    assert (view["status"], view["stdout"]) == ("failed", "so far\n")
    key = client.server.reviewer_key
    [opened] = client.ask("GET", "/v1/reviews", key=key).json()["reviews"]
    review = f"/v1/reviews/{opened['id']}"
    while (shown := client.ask("GET", review, key=key).json())["state"] == "open":
        ruling = {"token": shown["token"], "ruling": "approve_edited", "code": "print('mended')", "message": "a typo"}
        answer = client.ask("POST", f"{review}/rulings", key=key, json=ruling)
        assert answer.status_code in {200, 409}, (
            answer.text
        )  # 409: it was taken, and the gateway died before it said so
    assert (shown["state"], shown["ruling"]) == ("decided", "approve_edited"), shown
    task = client.ask("GET", "/v1/tasks/t", params={"wait": 60}).json()
    assert (task["turn"], task["latest"]["stdout"], len(task["executions"])) == ("agent", "mended\n", 2)


def memory_ladder(client: Client) -> None:
    view = client.submit("a", code="block = b'x' * (90 << 20)\nlen(block)", lane="container", task_id="t")
    assert (view["status"], view["result"]) == ("succeeded", 90 << 20)
    assert [one["ending"] for one in view["attempts"] if one["ending"] != "lost"] == ["out_of_memory", "succeeded"]


def cancellation(client: Client) -> None:
    code = "import time\nprint('begun', flush=True)\ntime.sleep(15)"
    view = client.submit("a", wait=False, code=code, lane="container", task_id="t")
    client.until_printed(view["id"])
    view = client.ask("DELETE", f"/v1/executions/{view['id']}").json()
    assert view["status"] == "cancelled"


def success_in_a_cell(client: Client) -> None:
    view = client.submit("a", code="print('said')", task_id="t")
    assert (view["status"], view["stdout"]) == ("succeeded", "said\n")


SCENARIOS = (
    Scenario("monty", "monty", success_in_monty, webhook=True),
    Scenario("review", "container", failure_and_ruling),
    Scenario("file", "container", file_from_a_box),
    Scenario("memory", "container", memory_ladder),
    Scenario("cancel", "container", cancellation),
    Scenario("cell", "cell", success_in_a_cell, CELL, rests=1),
)


@dataclass(frozen=True)
class Ran:
    """What a run came to. `letters` are the webhooks' by type, each once however often it came."""

    record: Record
    lost: int
    deaths: int
    letters: dict[str, int]
    trail: Sequence[str] = ()


@dataclass
class Matrix:
    """Runs scenarios, each in a data directory of its own."""

    nursery: Nursery
    folder: Path
    database: Path
    python: str | None = None
    runs: int = 0

    def run(self, scenario: Scenario, last: str | None) -> Ran:
        self.runs += 1
        data = self.folder / f"{scenario.name}-{re.sub('[^0-9a-z]+', '-', (last or 'undisturbed').lower())}"
        data.mkdir()
        shutil.copy(self.database, data / "airlock.db")
        with ExitStack() as stack:
            engine = docker.from_env()
            stack.callback(engine.close)
            receiver = stack.enter_context(Receiver()) if scenario.webhook else None
            (data / "policy.yaml").write_text(
                policy(defaults=scenario.rules) + (receiver.webhook(base="50ms") if receiver else "")
            )
            environment = {"AIRLOCK_SECRET_ALERTS": SECRET}
            server = Mortal(data, data / "policy.yaml", environment, nursery=self.nursery, python=self.python)
            client = self._played(scenario, server, engine, last)
            self.python = self.python or _python(client)
            server.end()
            assert boxes(server, engine) == 0, "no box is left"
            found, lost = record(server)
            told = {letter.id: letter.type for letter in receiver.letters} if receiver else {}
            letters = {kind: list(told.values()).count(kind) for kind in told.values()}
        return Ran(found, lost, client.deaths, letters, client.trail)

    def _played(self, scenario: Scenario, server: Mortal, engine: docker.DockerClient, last: str | None) -> Client:
        """Play it to its end, past the death that was ordered, then ask for everything again."""
        client = Client(server)
        server.begin(last)
        eventually(lambda: bool(client.ask("GET", "/readyz").json()["ready"]))
        eventually(lambda: not boxes(server, engine))  # of its own probe, whose steps are none of ours
        scenario.plays(client)
        deadline = time.monotonic() + 20
        while (
            (last is not None and client.deaths == 0) or boxes(server, engine) > scenario.rests or not at_rest(server)
        ):
            assert time.monotonic() < deadline, "it never came to rest, or not to this step"
            if server.dead:
                client.revive()
            time.sleep(0.02)
        time.sleep(0.1 if last is None else 0)
        client.trail, acknowledged = server.trail, set(client.acknowledged)
        assert client.deaths == (last is not None)
        scenario.plays(client)
        assert set(client.acknowledged) == acknowledged, "what was acknowledged is there"
        return client


def _python(client: Client) -> str:
    found = re.search(r"Python (\S+)", client.ask("GET", "/readyz").json()["lanes"]["container"]["detail"])
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    folder = tmp_path_factory.mktemp("matrix")
    with nursery() as parent:
        yield Matrix(parent, folder, template(folder))


@pytest.fixture(scope="module")
def covered() -> dict[str, set[str]]:
    """Kinds of steps at which a gateway was killed already, by lane."""
    return {scenario.lane: set() for scenario in SCENARIOS}


def kind(step: str) -> str:
    return step.partition(" #")[0]


def chosen(steps: Sequence[str], known: set[str]) -> list[str]:
    """Every step, or the first of each kind that its lane has not had."""
    if ALL:
        return list(steps)
    first = {kind(step): step for step in reversed(steps)}
    return [step for step in steps if first[kind(step)] == step and kind(step) not in known]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_killed_at_any_step_it_comes_to_the_same_end(
    matrix: Matrix, covered: dict[str, set[str]], scenario: Scenario, record_property: Callable[[str, object], None]
) -> None:
    undisturbed = matrix.run(scenario, None)
    assert undisturbed.lost == 0
    steps = chosen(undisturbed.trail, covered[scenario.lane])
    covered[scenario.lane] |= {kind(step) for step in steps}
    record_property("steps", len(undisturbed.trail))
    record_property("kills", len(steps))

    def killed(step: str) -> str | None:
        try:
            ran = matrix.run(scenario, step)
            assert ran.record == undisturbed.record
            assert ran.lost <= 1, "at most what ran was lost"
            assert ran.letters == undisturbed.letters, "each letter came, and none was made twice"
        except Exception as error:  # noqa: BLE001  # all of them are told together
            return f"{step}: {type(error).__name__}: {error}"
        return None

    began = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = [found for found in pool.map(killed, steps) if found]
    seconds = round(time.monotonic() - began)
    print(f"{scenario.name}: killed at {len(steps)} of {len(undisturbed.trail)} steps in {seconds} s")  # noqa: T201  # with -s
    assert not wrong, "\n\n".join([f"{len(wrong)} of {len(steps)}", *wrong])
