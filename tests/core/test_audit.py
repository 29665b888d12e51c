"""An audit that could not be made is not an audit that found nothing."""

from __future__ import annotations

from tests.audit import NOT_ASKED, judge

FINE = {"name": "anyio", "version": "4.1", "vulns": []}
VULNERABLE = {
    "name": "h11",
    "version": "0.14.0",
    "vulns": [{"id": "PYSEC-2025-1", "fix_versions": ["0.16.0"], "aliases": [], "description": "smuggling"}],
}
SKIPPED = {"name": "uvloop", "skip_reason": "Dependency not found on PyPI and could not be audited: uvloop (0.23.0)"}


def test_a_known_vulnerability_fails_and_is_named() -> None:
    code, words = judge({"dependencies": [FINE, VULNERABLE, SKIPPED], "fixes": []})
    assert code == 1
    assert "h11 0.14.0: PYSEC-2025-1" in words


def test_all_asked_and_nothing_known_passes_quietly() -> None:
    code, words = judge({"dependencies": [FINE], "fixes": []})
    assert (code, NOT_ASKED in words) == (0, False)


def test_what_was_not_asked_about_is_said_loudly() -> None:
    code, words = judge({"dependencies": [FINE, SKIPPED], "fixes": []})
    assert code == 0
    assert f"{NOT_ASKED}uvloop" in words


def test_where_nothing_could_be_asked_that_is_said_and_nothing_else() -> None:
    reports: list[object] = [None, [], {}, {"dependencies": []}, {"dependencies": [SKIPPED]}]
    for report in reports:
        code, words = judge(report)
        assert code == 0
        assert NOT_ASKED in words
        assert "0 vulnerabilities" not in words
