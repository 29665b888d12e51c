"""What the repository promises of itself: its pages are current, its pure rooms are pure, its words are one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_the_lifecycle_page_is_drawn_from_the_tables() -> None:
    check = subprocess.run([sys.executable, "script/chart", "--check"], cwd=ROOT, check=False)
    assert check.returncode == 0, "run script/chart"


@pytest.mark.parametrize("path", [*sorted(ROOT.glob("docs/*.md")), ROOT / "README.md"], ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in (piece.split(")")[0].split("#")[0] for piece in text.split("](")[1:]):
        if target and "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_the_environment_has_one_reader() -> None:
    readers = {
        path.relative_to(ROOT).as_posix()
        for room in ("sandbox", "gateway")
        for path in (ROOT / room).rglob("*.py")
        if "os.environ" in path.read_text(encoding="utf-8") and path.name not in {"guest_fork.py", "probe_processes.py"}
    }
    assert readers == {"gateway/settings.py"}


def test_every_promise_in_security_names_a_test_that_exists() -> None:
    named = re.findall(
        r"`((?:(?:browser|core|lanes|security|service)/)?test_\w+\.py)(?:::(\w+))?`", (ROOT / "SECURITY.md").read_text()
    )
    assert len(named) > 20
    for path, function in named:
        folder = ROOT / "tests" if "/" in path else ROOT / "tests" / "service"  # as the page's tables say
        text = (folder / path).read_text(encoding="utf-8")
        assert not function or f"def {function}(" in text, (path, function)
