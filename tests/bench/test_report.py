from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

from bench.bars import KNOWN, judge
from bench.chart import Mark, chart
from bench.report import figure, page
from bench.results import Described, Results


def results() -> Results:
    return Results(
        subjects={
            "fork": Described("fork over a stream", "none between programs", "floor"),
            "box-warm": Described("Airlock, warm box", "a box | each", "ours"),
            "docker-run": Described("docker run", "default container", "peer"),
        },
        machine={"cores": "2"},
        latencies={
            "fork": [[0.005, 0.006], [0.005]],
            "box-warm": [[0.010, 0.012], [0.010]],
            "docker-run": [[0.5], [0.6]],
            "start": [[1.5], [1.5]],
            "start-bare": [[0.5], [0.5]],
        },
        rates={"box-warm": {8: [4.0, 4.0]}},
        sizes={"gateway": 150_000_000},
        missing={"cell": "not available"},
    )


def row(text: str, beginning: str) -> list[str]:
    [line] = [line for line in text.splitlines() if line.startswith(f"| {beginning} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_tells_each_subject_with_its_isolation_and_its_ratio() -> None:
    text = page(results(), judge(results()))
    found = [line for line in text.splitlines() if line.startswith("| Airlock, warm box |")]
    assert found == [
        "| Airlock, warm box | a box / each | 10.0 ms | 12.0 ms | 2.00× | 3 |",
        "| Airlock, warm box | 4.00/s |",
    ]


def test_the_page_tells_verdicts_memory_start_and_what_is_missing() -> None:
    text = page(results(), judge(results()))
    assert "| ≤ 2.5× | ≤ 1.5× | 2.00× (2.00 to 2.00) | holds" in text
    assert "150 MB" in text
    assert "1500 ms, 3.00× that of the bare endpoint" in text
    assert row(text, "cell") == ["cell", "not available"]


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    tables = [block.splitlines() for block in page(results(), judge(results())).split("\n\n") if block.startswith("|")]
    assert len(tables) >= 5
    for table in tables:
        assert len({line.count("|") for line in table if line.startswith("|")}) == 1


def test_the_page_tells_how_unquiet_the_machine_was() -> None:
    noisy = results()
    noisy.latencies["fork"] = [[0.005], [0.015]]
    assert "fork over a stream: 3.00×" in page(noisy, judge(noisy))


def test_a_failed_bar_stands_out() -> None:
    slow = results()
    slow.latencies["box-warm"] = [[0.1], [0.1]]
    assert "**does not hold**" in page(slow, judge(slow))


def test_why_a_bar_does_not_hold_is_said_and_that_it_holds_again() -> None:
    slow, fast = results(), results()
    slow.latencies["box-warm"], fast.latencies["box-warm"] = [[0.1], [0.1]], [[0.006], [0.006]]
    assert f"**does not hold**, as is known: {KNOWN['box-p50']}" in page(slow, judge(slow))
    assert "**take it off `bars.KNOWN`**" in page(fast, judge(fast))


def test_a_run_is_json() -> None:
    plain = json.loads(json.dumps(results().plain()))
    assert plain["summaries"]["docker-run"] == {"count": 2, "p50": 0.55, "p99": pytest.approx(0.599)}
    assert plain["rate_medians"] == {"box-warm": {"8": 4.0}}


@pytest.mark.parametrize(
    ("value", "shown"), [(0.1234, "0.12"), (9.994, "9.99"), (12.34, "12.3"), (123.4, "123"), (1234.5, "1234")]
)
def test_figures_have_as_many_digits_as_make_sense(value: float, shown: str) -> None:
    assert figure(value) == shown


def test_the_chart_is_svg_whose_bars_grow_with_the_logarithm() -> None:
    marks = [
        Mark("a < b", "ours", 0.002, 0.002),
        Mark("b", "floor", 0.02, 0.02),
        Mark("c", "peer", 0.2, 0.9),
    ]
    root = ET.fromstring(chart(marks))
    space = {"svg": "http://www.w3.org/2000/svg"}
    widths = [float(one.attrib["width"]) for one in root.findall("svg:rect", space) if one.attrib["width"] != "12"]
    assert widths[2] - widths[1] == pytest.approx(widths[1] - widths[0], abs=0.5)
    words = [one.text for one in root.findall("svg:text", space)]
    assert "a < b" in words
    assert "100 ms" in words
    assert "prefers-color-scheme: dark" in chart(marks)


def test_everything_in_the_chart_lies_within_it() -> None:
    root = ET.fromstring(chart([Mark("fast", "ours", 0.0001, 0.0001), Mark("slow", "peer", 0.99, 10.0)]))
    width, height = (float(one) for one in root.attrib["viewBox"].split()[2:])
    for one in root.iter():
        for name, most in (("x", width), ("x1", width), ("x2", width), ("y", height), ("y1", height), ("y2", height)):
            assert 0 <= float(one.attrib.get(name, 0)) <= most, one.attrib


def test_nothing_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        chart([])
