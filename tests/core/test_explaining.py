"""What is explained is what is decided, and the line that is named is the line that says it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.explaining import BUILT_IN, explain, explanation, recorded
from gateway.limits import FORMATS, LimitsRequest, amounts_of
from gateway.policy import Policy
from gateway.policy_file import parse_policy, read_policy
from gateway.policy_shape import ProfileBody
from gateway.requests import ExecutionRequest, ExplainRequest
from gateway.resources import limits_of
from gateway.wire_policy import Decision
from sandbox.job import Limits

FOLDER = Path(__file__).parents[2] / "policies"
TEXT = """\
version: 1
name: acme
ceilings:
  memory: 8Gi
defaults:
  checks:
    imports: {deny: [ctypes]}
  limits:
    memory:
      default: 128Mi
profiles:
  analyst:
    limits:
      memory: {max: 2Gi}
  trial:
    extends: analyst
    review: {when: [above_default]}
    lanes:
      monty: false
keys:
  - name: ada
    sha256: "abababababababababababababababababababababababababababababababab"
    tenant: team-a
    roles: [agent]
    profile: trial
"""
POLICY = parse_policy(TEXT, file="acme.yaml")
PROGRAM = '# /// script\n# [tool.airlock]\n# timeout = "1m"\n# ///\nimport ctypes\nimport json\n1'


def asked(policy: Policy = POLICY, **words: object) -> dict[str, Decision]:
    view = explanation(policy, ExplainRequest.model_validate(words))
    assert len({(one.decision, one.why) for one in view.decisions}) == len(view.decisions), "each is told once"
    return {one.decision: one for one in view.decisions}


def places(one: Decision) -> dict[str, tuple[str, str]]:
    return {made.key: (made.value, made.place) for made in one.made}


def test_a_limit_is_told_with_what_was_asked_and_every_bound_at_its_line() -> None:
    memory = asked(key="ada", request={"code": "1", "limits": {"memory": "1Gi"}})["limits.memory"]
    assert (memory.value, memory.why) == ("1Gi", "the request asks for it")
    assert places(memory) == {
        "request.limits.memory": ("1Gi", "the request"),
        "defaults.limits.memory.default": ("128Mi", "acme.yaml:10"),
        "profiles.analyst.limits.memory.max": ("2Gi", "acme.yaml:14"),
        "ceilings.memory": ("8Gi", "acme.yaml:4"),
    }


def test_what_the_program_declares_counts_and_its_line_is_told() -> None:
    time = asked(key="ada", request={"code": PROGRAM})["limits.time"]
    assert (time.value, time.why) == ("1m", "the program declares it in line 3")
    assert places(time) == {
        "tool.airlock.time": ("1m", "line 3 of the program"),
        "limits.time.default": ("30s", BUILT_IN),
        "limits.time.max": ("5m", BUILT_IN),
        "ceilings.time": ("30m", BUILT_IN),
    }


def test_what_cannot_be_had_is_refused_with_the_sentence_of_the_answer() -> None:
    told = asked(key="ada", request={"code": "1", "limits": {"memory": "3Gi"}})
    memory, time = told["limits.memory"], told["limits.time"]
    assert memory.value == "refused"
    assert memory.why == "memory: 3Gi is more than 2Gi, the most that the profile 'trial' gives"
    assert (time.value, time.why) == ("not granted", "another limit is refused")


def test_the_caller_the_lane_the_imports_and_the_review_have_their_lines() -> None:
    told = asked(key="ada", request={"code": PROGRAM})
    assert places(told["policy"]) == {"name": ("acme", "acme.yaml:2")}
    assert told["profile"].why == "the key ada acts for the tenant team-a as agent"
    assert places(told["profile"]) == {"keys[0].profile": ("trial", "acme.yaml:25")}
    assert told["lane"].value == "container"
    assert places(told["lane"]) == {"profiles.trial.lanes.monty": ("false", "acme.yaml:19")}
    assert told["import ctypes"].value == "denied"
    assert places(told["import ctypes"]) == {
        "defaults.checks.imports.deny": ("[ctypes]", "acme.yaml:7"),
        "checks.mode": ("enforce", BUILT_IN),
    }
    assert told["import json"].value == "admitted"
    first = told["review before it runs"]
    assert (first.value, first.why) == ("yes", "time: 1m is above the default of 30s")
    assert places(first) == {"profiles.trial.review.when": ("above_default", "acme.yaml:17")}


def test_a_rule_that_only_warns_is_told_as_one() -> None:
    lenient = parse_policy(TEXT.replace("  checks:\n", "  checks:\n    mode: warn\n"), file="acme.yaml")
    told = asked(lenient, request={"code": "import ctypes"})["import ctypes"]
    assert told.value == "would be denied, and runs all the same"
    assert places(told)["defaults.checks.mode"] == ("warn", "acme.yaml:7")


def test_a_profile_may_be_asked_about_instead_of_a_key_and_nothing_need_be_sent() -> None:
    told = asked(profile="analyst")
    assert "limits.memory" not in told
    assert places(told["limits.memory.max"]) == {"profiles.analyst.limits.memory.max": ("2Gi", "acme.yaml:14")}
    assert places(told["lanes.monty"]) == {"lanes.monty": ("true", BUILT_IN)}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"key": "adda"}, "'adda' is not a key of this policy (did you mean ada?)"),
        ({"profile": "x"}, "'x' is not a profile of this policy (there are default, analyst, trial)"),
    ],
)
def test_who_is_not_there_is_told_who_is(words: dict[str, str], says: str) -> None:
    with pytest.raises(KeyError) as caught:
        explanation(POLICY, ExplainRequest.model_validate(words))
    assert caught.value.args == (says,)


@pytest.mark.parametrize(
    "path", sorted(set(FOLDER.glob("*.yaml")) - set(FOLDER.glob("*.tests.yaml"))), ids=lambda p: p.name
)
def test_every_key_of_a_shipped_policy_is_explained_by_a_line_that_names_it(path: Path) -> None:
    policy, lines = read_policy(path), path.read_text("utf-8").splitlines()
    for name, profile in policy.profiles.items():
        told = {one.decision: one for one in explain(policy, name, key=None, request=None)}
        sections = {key.partition(".")[0] for key in told} - {"policy", "profile", "ceilings"}
        assert sections == set(ProfileBody.model_fields), profile.name
        for one in told.values():
            (made,) = one.made
            if made.place == BUILT_IN:
                continue
            file, _, number = made.place.rpartition(":")
            word = re.escape(made.key.rpartition(".")[2])
            assert file == str(path)
            assert re.search(rf"\b{word}\b", lines[int(number) - 1]), f"{one.decision}: {made.place}"


AMOUNTS = {
    "cpu": st.sampled_from(["1m", "100m", "1", "2", "3", "8"]),
    "memory": st.sampled_from(["1Mi", "64Mi", "256Mi", "2Gi", "3Gi", "16Gi"]),
    "time": st.sampled_from(["1s", "1m", "5m", "6m", "1h"]),
    "pids": st.sampled_from([1, 2, 64, 256, 257]),
    "disk": st.sampled_from(["1Ki", "64Mi", "1Gi"]),
    "output": st.sampled_from([1, "4Mi", "5Mi"]),
}


@given(
    limits=st.none() | st.fixed_dictionaries({}, optional=AMOUNTS),
    own=st.none() | st.sampled_from(["1m", "10m"]),
    profile=st.sampled_from(["default", "analyst", "trial"]),
)
def test_what_is_explained_is_what_is_granted(limits: dict[str, object] | None, own: str | None, profile: str) -> None:
    code = f'# /// script\n# [tool.airlock]\n# timeout = "{own}"\n# ///\n1' if own else "1"
    request = ExecutionRequest.model_validate({"code": code, "limits": limits})
    told = asked(profile=profile, request=request)
    granted = limits_of(POLICY.resolve(profile), request)
    for limit in LimitsRequest.model_fields:
        if isinstance(granted, Limits):
            assert told[f"limits.{limit}"].value == FORMATS[limit](amounts_of(granted)[limit])
        else:
            refused = limit in {one.field for one in granted}
            assert told[f"limits.{limit}"].value == ("refused" if refused else "not granted")


def test_a_recorded_document_is_told_in_the_words_of_a_file_also_with_keys_that_are_gone() -> None:
    document = json.loads(POLICY.resolve("trial").document) | {"gone": {"key": [1, None]}}
    told = {one.decision: one.value for one in recorded(document)}
    assert told["limits.memory.max"] == "2Gi"
    assert told["limits.cpu.default"] == "1"
    assert told["checks.imports.deny"] == "[ctypes]"
    assert told["retention.code"] == "30d"
    assert told["ceilings.memory"] == "8Gi"
    assert told["lanes.monty"] == "false"
    assert told["gone.key"] == "[1, None]"
    assert "version" not in told


@pytest.mark.parametrize("mode", ["warn", "audit"])
def test_a_mode_that_refuses_nothing_is_told_with_its_line_and_with_what_enforce_would_say(mode: str) -> None:
    softened = TEXT.replace(
        "    imports: {deny: [ctypes]}", f"    mode: {mode}\n    nesting: 1\n    imports: {{deny: [ctypes]}}"
    )
    policy = parse_policy(softened, file="acme.yaml")
    nested = "import ctypes\ndef a():\n    def b():\n        pass"
    told = asked(policy, profile="analyst", request={"code": nested})
    for decision, would in (("import ctypes", "denied"), ("nesting", "refused")):
        assert told[decision].value == f"would be {would}, and runs all the same"
        assert [(one.key, one.place) for one in told[decision].made][-1] == ("defaults.checks.mode", "acme.yaml:7")


def test_files_that_do_not_fit_are_refused_as_they_are_when_they_come() -> None:
    files = [{"path": "a", "content": "x" * 5000}]
    told = asked(profile="default", request={"code": "1", "files": files, "limits": {"disk": "4Ki"}})
    assert (told["files"].value, "do not fit limits.disk" in told["files"].why) == ("refused", True)
    assert "files" not in asked(profile="default", request={"code": "1", "files": files})
