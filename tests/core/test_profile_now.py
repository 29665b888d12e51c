"""Whose execution that waited may still begin: whose key is there, in the same tenant, for the same thing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.policy_file import parse_policy
from gateway.reconsidering import profile_now
from gateway.requests import ExecutionRequest
from tests.works import work_of


@pytest.mark.parametrize(
    ("source", "role", "begins"),
    [
        ("agent", "agent", True),
        ("agent", "operator", True),  # in the playground
        ("agent", "auditor", False),
        ("agent", "reviewer", False),
        ("reviewer", "reviewer", True),
        ("reviewer", "agent", False),
        ("reviewer", "auditor", False),
    ],
)
def test_nothing_begins_of_a_key_that_is_for_something_else_by_now(source: str, role: str, begins: bool) -> None:  # noqa: FBT001  # a row
    key = f"{{name: ada, sha256: {'0' * 64}, tenant: t, profile: default, roles: [{role}]}}"
    policy = parse_policy(f"version: 1\nkeys: [{key}]\n", file="policy.yaml")
    work = work_of(policy.resolve("default"), ExecutionRequest(code="1"))
    work.execution = replace(work.execution, source=source)  # type: ignore[arg-type]
    assert (profile_now(policy, work) is not None) is begins
    work.tenant = "u"
    assert profile_now(policy, work) is None
