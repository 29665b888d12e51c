"""What `airlock policy learn` proposes: no more than was wanted, and nothing that a program wrote itself."""

from __future__ import annotations

import pytest

from gateway.events import Breach, Spared, Verdict
from gateway.learning import learned, wishes
from gateway.policy import Policy
from gateway.policy_file import parse_policy
from gateway.records import StoredSpared

FILE = """\
version: 1
defaults:
  checks:
    mode: audit
    imports:
      allow:
        - math
profiles:
  other: {}
"""


def policy(text: str) -> Policy:
    return parse_policy(text, file="policy.yaml")


def proposed(text: str, *subjects: str, profile: str = "default") -> str:
    """What is learned of one execution that broke the rules with these."""
    breaches = tuple(Breach("import.denied", one) for one in subjects)
    row = StoredSpared("2025-01-01T00:00:00Z", "t", Spared("exe_1", "audit", Verdict.DENIED, profile, breaches))
    return learned(text, policy(text), wishes([row], []))


@pytest.mark.parametrize(
    "subject",
    [
        "json\n  limits: {memory: {max: 4Gi}}",
        "json]\n      deny: [",
        "json # all",
        "\x1b[2Jjson",
        "m\u00e4th",
        "a..b",
        "a.",
        "",
        "x" * 200,
    ],
)
def test_what_is_no_modules_name_is_never_proposed(subject: str) -> None:
    assert proposed(FILE, subject) == FILE
    assert proposed(FILE, subject, "csv") == proposed(FILE, "csv"), "and keeps nothing else from being learned"


@pytest.mark.parametrize("name", ["null", "true", "False", "yes", "on"])
@pytest.mark.parametrize("text", [FILE, FILE.replace("allow:\n        - math", "allow: [math]")])
def test_a_module_that_yaml_takes_for_something_else_is_learned_as_text(name: str, text: str) -> None:
    assert policy(proposed(text, name)).resolve("default").checks.imports.admits(name)
    again = proposed(proposed(text, name), "csv")
    assert {"csv", name} <= set(policy(again).resolve("default").checks.imports.allow or ())


def test_what_a_wanted_package_covers_is_not_proposed_besides() -> None:
    assert proposed(FILE, "json.loads", "json", "json.decoder.JSONDecoder") == proposed(FILE, "json")


def test_a_file_that_ends_its_lines_otherwise_keeps_doing_so() -> None:
    windows = FILE.replace("\n", "\r\n")
    assert proposed(windows, "csv") == proposed(FILE, "csv").replace("\n", "\r\n")
