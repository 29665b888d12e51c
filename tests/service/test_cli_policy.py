"""The commands that tell of a policy file."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from gateway.cli import app

ROOT = Path(__file__).parents[2]


def test_the_schema_is_printed_as_it_is_shipped() -> None:
    done = CliRunner().invoke(app, ["policy", "schema"])
    assert done.exit_code == 0
    assert done.stdout == (ROOT / "policies" / "schema.json").read_text("utf-8")
    assert json.loads(done.stdout)["$schema"] == "https://json-schema.org/draft/2020-12/schema"
