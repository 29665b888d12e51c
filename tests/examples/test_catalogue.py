"""Promise: whatever is killed on the way, gateway or coordinator, every product is in the catalogue once, as it truly is."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.catalogue.audit import read_store
from examples.catalogue.world import Shares, product
from tests.conftest import ROOT

pytestmark = pytest.mark.engine

PRODUCTS, SEED = 300, 5
SHARES = Shares(mistakes=0.1, container=0.02, reviews=0.01)
SECONDS = 150


@dataclass(frozen=True)
class Run:
    folder: Path
    status: int
    report: str

    @property
    def store(self) -> Path:
        return self.folder / "gateway" / "airlock.db"

    def told(self) -> list[tuple[int, int, str, str]]:
        with contextlib.closing(sqlite3.connect(self.folder / "catalogue.db")) as db:
            return db.execute("SELECT product, number, execution, status FROM tries").fetchall()


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    shares = ("--mistakes", SHARES.mistakes, "--container", SHARES.container, "--reviews", SHARES.reviews)
    command = ["--products", PRODUCTS, "--seed", SEED, "--folder", folder, *shares, *more]
    return subprocess.Popen(
        [sys.executable, "-m", "examples.catalogue", *map(str, command)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def catalogued(folder: Path) -> int:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{folder / 'catalogue.db'}?mode=ro", uri=True)) as db:
            count: int = db.execute("SELECT count(*) FROM catalogue").fetchone()[0]
            return count
    except sqlite3.OperationalError:  # there is no such file or table yet
        return 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A catalogue whose coordinator was killed in the middle; the next one's gateway is killed at least twice."""
    folder = tmp_path_factory.mktemp("catalogue")
    policy = folder / "policy.yaml"
    shipped = (ROOT / "examples" / "catalogue" / "policy.yaml").read_text()
    assert "executions: 256" in shipped
    policy.write_text(shipped.replace("executions: 256", "executions: 16"))
    first = start(folder, "--agents", "8")
    deadline = time.monotonic() + SECONDS
    while catalogued(folder) < 30 and first.poll() is None:
        assert time.monotonic() < deadline, "nothing is catalogued"
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert 0 < catalogued(folder) < PRODUCTS
    second = start(folder, "--agents", "24", "--kill-every", "100", "--policy", str(policy))
    try:
        report, _ = second.communicate(timeout=SECONDS)
    finally:
        second.kill()
    yield Run(folder, second.returncode, report)
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # only where the coordinator could not end it
        os.kill(int((folder / "gateway.pid").read_text()), signal.SIGKILL)


@pytest.mark.timeout(2 * SECONDS + 60)
def test_every_product_is_in_the_catalogue_once_and_as_it_truly_is(run: Run) -> None:
    assert run.status == 0, run.report
    records = [json.loads(line) for line in (run.folder / "catalogue.jsonl").read_text().splitlines()]
    assert records == [dict(product(SEED, number, SHARES).truth) for number in range(PRODUCTS)]


def test_the_gateway_was_killed_and_the_researchers_were_told_to_wait(run: Run) -> None:
    with contextlib.closing(sqlite3.connect(run.folder / "catalogue.db")) as db:
        kills = db.execute("SELECT count(*) FROM moments WHERE what = 'kill'").fetchone()[0]
    assert kills >= 2
    assert "429 rates.executions" in run.report


def test_nothing_is_lost_or_run_twice_and_only_programs_are_charged(run: Run) -> None:
    store = read_store(run.store, SEED, run.told())
    assert (store.missing, store.changed, store.unanswered) == (0, 0, 0)
    assert (store.run_after_result, store.answered_twice, store.keys_twice) == (0, 0, 0)
    assert store.charged == sum(product(SEED, number, SHARES).charges for number in range(PRODUCTS))
    needed = Counter(product(SEED, number, SHARES).template for number in range(PRODUCTS))
    assert store.executions["container succeeded"] >= needed["xml"] + needed["sheet"] + needed["accented"]


def test_a_person_looked_at_what_no_researcher_could_mend(run: Run) -> None:
    stuck = sum(product(SEED, number, SHARES).needs_review for number in range(PRODUCTS))
    with contextlib.closing(sqlite3.connect(f"file:{run.store}?mode=ro", uri=True)) as db:
        decided = db.execute("SELECT count(*) FROM reviews WHERE state = 'decided'").fetchone()[0]
    assert decided == stuck > 0


@pytest.mark.parametrize(
    ("tampering", "found"),
    [
        ("DELETE FROM executions WHERE id = :id", "missing"),
        ("UPDATE executions SET status = 'failed' WHERE id = :id", "changed"),
        ("UPDATE executions SET status = NULL WHERE id = :id", "unanswered"),
        (
            (
                "INSERT INTO events SELECT task, seq + 1, at, 'Started', data, hash, '' FROM events"
                " WHERE type = 'Answered' AND json_extract(data, '$.execution') = :id"
            ),
            "run_after_result",
        ),
        (
            (
                "INSERT INTO events SELECT task, seq + 1, at, type, data, hash, '' FROM events"
                " WHERE type = 'Answered' AND json_extract(data, '$.execution') = :id"
            ),
            "answered_twice",
        ),
    ],
)
def test_the_audit_sees_what_must_not_be(run: Run, tmp_path: Path, tampering: str, found: str) -> None:
    for part in run.store.parent.glob("airlock.db*"):
        shutil.copy(part, tmp_path)
    once = [execution for number, _, execution, _ in run.told() if product(SEED, number, SHARES).flaw is None]
    with contextlib.closing(sqlite3.connect(tmp_path / "airlock.db")) as db:
        db.execute(tampering, {"id": once[0]})
        db.commit()
    assert getattr(read_store(tmp_path / "airlock.db", SEED, run.told()), found) == 1
