"""Promise: under the shipped policy for data science, programs find their packages, answer as CPython does, and their charts come back."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import JsonValue

from tests.conftest import ROOT, Server
from tests.data.data_programs import CHART, DATA_PROGRAMS
from tests.guest_python import Ran, run_all

pytestmark = pytest.mark.engine

IMAGE = "airlock-guest-data:latest"
PRELOAD = "[numpy, pandas, matplotlib.pyplot]"
POLICY = ROOT / "policies" / "data-science.yaml"


@pytest.fixture(scope="module")
def expected() -> dict[str, Ran]:
    return run_all(DATA_PROGRAMS, IMAGE)


@pytest.fixture(scope="module", params=["container", "cell"])
def analyst(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The policy as it is shipped, and the same with cells in which its large packages wait for programs."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    text = POLICY.read_text("utf-8")
    policy = folder / "data-science.yaml"
    policy.write_text(
        text
        if request.param == "container"
        else text.replace("  isolation:\n", f"  isolation:\n    mode: cell\n    preload: {PRELOAD}\n")
    )
    server = Server(folder / "data", policy)
    try:
        with server.start().client(timeout=170) as client:
            yield client
    finally:
        server.stop()


def test_realistic_programs_answer_as_cpython_does(analyst: httpx.Client, expected: dict[str, Ran]) -> None:
    for name, code in DATA_PROGRAMS.items():
        answer = analyst.post("/v1/executions", json={"code": code, "task_id": name}).json()
        ran = expected[name]
        assert answer["stdout"] == ran.stdout, (name, answer["stderr"])
        assert answer["status"] == ("failed" if ran.exit_code else "succeeded"), name
        assert (answer["error"]["type"] if answer["error"] else None) == ran.error_type, name
        assert answer["stderr"].splitlines()[-1:] == ran.stderr.splitlines()[-1:], name
        assert answer["results"] == [], name
    assert expected["missing_column"].error_type == "KeyError"


def pixels(png: bytes) -> tuple[int, int, int]:
    """Width, height and the number of different bytes of a PNG, whose every part is checked."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, data, size = 8, b"", (0, 0, 0, 0)
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        body = png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length)[0] == zlib.crc32(kind + body)
        if kind == b"IHDR":
            size = struct.unpack(">IIBB", body[:10])
        data += body if kind == b"IDAT" else b""
        at += 12 + length
    assert kind == b"IEND"
    width, height, depth, colours = size
    assert (depth, colours) == (8, 6)
    rows = zlib.decompress(data)
    assert len(rows) == height * (1 + 4 * width)
    return width, height, len(set(rows))


def test_a_chart_and_a_table_come_back(analyst: httpx.Client) -> None:
    answer = analyst.post("/v1/executions", json={"code": CHART}).json()
    assert (answer["status"], answer["stderr"]) == ("succeeded", "")
    table, figure = answer["results"]
    assert table["data"]["application/json"] == {
        "columns": ["sales"],
        "index": ["Jan", "Feb", "Mar"],
        "data": [[120], [90], [150]],
    }
    assert "<th>sales</th>" in table["data"]["text/html"]
    assert table["data"]["text/plain"] == answer["result"]
    assert table["metadata"] == {"file": None, "rows": None, "omitted": []}
    assert figure["data"]["text/plain"].startswith("<Figure size ")
    assert figure["metadata"]["file"] == "figure-1.png"
    (file,) = answer["files"]
    png = base64.b64decode(file["content"])
    assert (file["path"], len(png)) == ("figure-1.png", file["size_bytes"])
    assert len(png) > 1024
    assert analyst.get(file["href"]).content == png
    width, height, shades = pixels(png)
    assert width > 300
    assert height > 200
    assert shades > 10
    kept = analyst.get(f"/v1/executions/{answer['id']}").json()
    assert kept["results"] == answer["results"]


def ran(client: httpx.Client, code: str, **body: JsonValue) -> dict[str, JsonValue]:
    answer: dict[str, JsonValue] = client.post("/v1/executions", json={"code": code, **body}).json()
    assert answer["status"] == "succeeded", answer
    return answer


def test_a_cell_has_its_packages_before_the_program(analyst: httpx.Client, request: pytest.FixtureRequest) -> None:
    preloaded = request.node.callspec.params["analyst"] == "cell"
    assert ran(analyst, "import sys\n'pandas' in sys.modules")["result"] is preloaded


def test_a_large_table_is_cut_and_says_so(analyst: httpx.Client) -> None:
    code = "import numpy as np, pandas as pd\npd.DataFrame(np.arange(200_000).reshape(-1, 10))"
    (table,) = json.loads(json.dumps(ran(analyst, code)["results"]))
    rows = table["metadata"]["rows"]
    assert rows["total"] == 20_000
    assert len(table["data"]["application/json"]["data"]) == rows["shown"]
    assert 100 <= rows["shown"] <= 500
    small = ran(analyst, code, limits={"output": "2Ki"})
    assert len(json.dumps(small["results"])) < 4096
    assert "omitted" in json.dumps(small["results"])


def test_a_figure_that_the_program_closed_or_a_name_that_it_took_is_its_own(analyst: httpx.Client) -> None:
    code = (
        "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.close()\n"
        "open('figure-1.png', 'w').write('mine')\nplt.plot([2, 1])\nNone"
    )
    answer = json.loads(json.dumps(ran(analyst, code, outputs=["*.png"])))
    assert [(file["path"], file["size_bytes"] > 1024) for file in answer["files"]] == [
        ("figure-1.png", False),
        ("figure-2.png", True),
    ]
    assert [one["metadata"]["file"] for one in answer["results"]] == ["figure-2.png"]
