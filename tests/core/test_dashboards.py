"""Promise: the dashboard and the alerts ask only for what there is, and each alert says what to do.

What there is stands in the table of docs/observability.md, which tests/service/test_metrics.py compares with a gateway.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from ruamel.yaml import YAML

DOCS = Path(__file__).parents[2] / "docs"
ROW = re.compile(r"^\| `(airlock_\w+)` \| (counter|gauge|histogram|summary) \| (.*?) ?\| (.+) \|$", re.MULTILINE)
OF_PROMETHEUS = {"instance", "job"}
SUFFIXES: Final[dict[str, dict[str, set[str]]]] = {
    "histogram": {"_bucket": {"le"}, "_sum": set(), "_count": set()},
    "summary": {"_sum": set(), "_count": set()},
    "counter": {"": set()},
    "gauge": {"": set()},
}


def series() -> dict[str, set[str]]:
    """The labels of every series by its name, from the table."""
    found: dict[str, set[str]] = {}
    for name, kind, labels, _ in ROW.findall((DOCS / "observability.md").read_text("utf-8")):
        for suffix, more in SUFFIXES[kind].items():
            found[name + suffix] = set(re.findall(r"`(\w+)`", labels)) | more
    return found


def dashboard() -> dict:  # type: ignore[type-arg]
    board = json.loads((DOCS / "grafana-dashboard.json").read_text("utf-8"))
    assert isinstance(board, dict)
    return board


def alerts() -> list[dict]:  # type: ignore[type-arg]
    (group,) = YAML(typ="safe").load((DOCS / "alerts.yaml").read_text("utf-8"))["groups"]
    rules: list[dict] = group["rules"]  # type: ignore[type-arg]
    return rules


def expressions() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (rule["expr"] for rule in alerts())


EXPRESSIONS = sorted(set(expressions()))


def wrong(expression: str) -> list[str]:
    """What an expression asks for that there is not, or what is not well formed."""
    there, found, known = series(), [], set(OF_PROMETHEUS)
    for name, selector in re.findall(r"\b(airlock_\w+)(?:\{([^}]*)\})?", expression):
        if name not in there:
            found.append(name)
            continue
        known |= there[name]
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
        found += [f"{name}: {label}" for label in sorted(asked - there[name] - OF_PROMETHEUS)]
    for labels in re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression):
        found += [label for label in re.split(r"[,\s]+", labels) if label not in known]
    for opening, closing in ("()", "{}", "[]"):
        found += [opening] * (expression.count(opening) != expression.count(closing))
    counters = re.findall(r"\bairlock_\w+_(?:total|bucket|sum|count)\b", expression)
    rated = re.findall(r"(?:rate|increase)\((airlock_\w+)(?:\{[^}]*\})?\[[^\]]+\]\)", expression)
    return found + [f"{name} without a rate" for name in counters if name not in rated]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_is_asked_for_is_there(expression: str) -> None:
    assert wrong(expression) == []


@pytest.mark.parametrize(
    "expression",
    [
        "airlock_no_such_total",
        'rate(airlock_executions_total{tenant="a"}[5m])',
        "sum by (execution) (rate(airlock_executions_total[5m]))",
        "airlock_executions_total > 0",
        "rate(airlock_run_seconds[5m])",
        "max(airlock_reviews_open",
    ],
)
def test_what_is_not_there_would_be_seen(expression: str) -> None:
    assert wrong(expression)


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {name for one in EXPRESSIONS for name in re.findall(r"\bairlock_\w+", one)}
    names = {name for name, *_ in ROW.findall((DOCS / "observability.md").read_text("utf-8"))}
    assert {name for name in names if not any(one.startswith(name) for one in shown)} == set()


def test_the_dashboard_can_be_imported() -> None:
    board = dashboard()
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    variables = {one["name"] for one in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(board["panels"])))
    assert used == variables


def test_every_alert_has_its_line_in_the_operators_page_and_no_other() -> None:
    names = [rule["alert"] for rule in alerts()]
    told = re.findall(r"^\| `(Airlock\w+)` \|", (DOCS / "operations.md").read_text("utf-8"), re.MULTILINE)
    assert told == names
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        labels = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert all(re.search(rf"by \([^)]*\b{label}\b", rule["expr"]) for label in labels)
