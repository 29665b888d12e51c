"""PEP 723 blocks: found as the PEP's own regular expression finds them, read without harm, and told with their line."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits import LimitsRequest
from gateway.policy import Profile
from gateway.policy_file import parse_policy
from gateway.requests import ExecutionRequest
from gateway.resources import effective, lane_of, limits_of, wrong_with_declaration
from gateway.script_block import blocks, declared
from sandbox.job import Limits

# As PEP 723 has it.
REFERENCE = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
LINES = [
    "# /// script",
    "# /// script ",
    "# /// other",
    "# ///",
    "#",
    "# a = 1",
    "#a",
    "##",
    "",
    "x = 1",
    "# ///\r",
    "# ",
]


def reference(code: str) -> list[tuple[str, int, str]]:
    return [
        (
            match["type"],
            code.count("\n", 0, match.start()) + 1,
            "".join(
                line[2:] if line.startswith("# ") else line[1:]
                for line in re.split(r"(?<=\n)", match["content"])  # not splitlines: "\r" is a character of the line
            ),
        )
        for match in REFERENCE.finditer(code)
    ]


@given(st.lists(st.sampled_from(LINES), max_size=14).map("\n".join), st.sampled_from(["", "\n"]))
def test_blocks_are_those_of_the_pep(code: str, end: str) -> None:
    assert list(blocks(code + end)) == reference(code + end)


def test_blocks_that_never_end_take_time_that_grows_with_the_text() -> None:
    def seconds(lines: int) -> float:
        code = "# /// script\n" * lines
        began = time.process_time()
        for _ in range(3):
            assert list(blocks(code)) == []
        return time.process_time() - began

    assert seconds(80_000) < 100 * seconds(4_000), "twenty times the text; its square would be four hundred"


def block(*lines: str) -> str:
    return "\n".join(["# /// script", *(f"# {line}" for line in lines), "# ///", "print(1)"])


def test_a_block_says_what_it_says() -> None:
    said = declared(
        block(
            'requires-python = ">=3.11"',
            "dependencies = ['numpy>=2', 'rich']",
            "[tool.airlock]",
            'memory = "512Mi"',
            "timeout = 10",
            'cpu = "500m"',
            'lane = "container"',
            "[tool.other]",
            "x = 1",
        )
    )
    assert said.complaints == ()
    assert said.limits == LimitsRequest.model_validate({"memory": "512Mi", "time": 10, "cpu": 0.5})
    assert said.lane == "container"
    assert [str(one) for one in said.dependencies] == ["numpy>=2", "rich"]
    assert str(said.requires_python) == ">=3.11"
    assert said.line("memory") == 5


@pytest.mark.parametrize(
    ("lines", "line", "words"),
    [
        (["x = 1", "y = ", "z = 1"], 3, "not TOML"),
        (["x = [1,"], 2, "not TOML"),
        (["[tool.airlock]", "memory = '1GB'"], 3, "tool.airlock.memory: '1GB' is not a size"),
        (
            ["[tool.airlock]", "cores = 1"],
            3,
            "tool.airlock.cores: unknown key (known here: cpu, memory, timeout, lane)",
        ),
        (["[tool.airlock]", "lane = 'cloud'"], 3, "tool.airlock.lane"),
        (["tool = 1"], 1, "tool.airlock"),
        (["tool.airlock = 1"], 2, "tool.airlock"),
        (["dependencies = 'numpy'"], 2, "not a list"),
        (["", "dependencies = ['numpy', 'a b']"], 3, "'a b' is not a requirement"),
        (["dependencies = [1]"], 2, "1 is not a requirement"),
        (["requires-python = '3'"], 2, "requires-python"),
        (["requires-python = 3.13"], 2, "requires-python"),
        (["x = '" + "a" * 5000 + "'"], 1, "2048 characters"),
        (["x = " + "[" * 1000 + "]" * 1000], 1, "cannot be read"),
        (["x = " + "9" * 1500 + "e9", "dependencies = ['" + "(" * 150 + "']"], 3, "not a requirement"),
        (["x = 0x" + "f" * 1900], None, ""),
        ([".".join("a" * 900) + " = 1"], None, ""),
        (["memory = datetime", "[tool.airlock]"], 2, "not TOML"),
        (["[tool.airlock]", "timeout = 1979-05-27"], 3, "tool.airlock.timeout"),
        (["[tool.airlock]", "cpu = nan"], 3, "tool.airlock.cpu"),
        (["[tool.airlock]", "timeout = -inf"], 3, "tool.airlock.timeout"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_block_is_a_complaint_with_its_line(lines: list[str], line: int | None, words: str) -> None:
    said = declared(block(*lines))
    if line is None:
        assert all(one.line for one in said.complaints)
        return
    assert said.limits == LimitsRequest()
    assert (said.complaints[0].line, words in said.complaints[0].message) == (line, True), said.complaints


def test_there_is_one_block_at_most() -> None:
    (complaint,) = declared(block("x = 1") + "\n" + block("x = 1")).complaints
    assert complaint.line == 5


@given(st.text(alphabet="# /scriptx=[]{}\"'\n.1aé\\", max_size=400))
def test_no_block_is_an_exception(text: str) -> None:
    body = "".join(f"# {line}\n" for line in text.split("\n"))
    declared(f"# /// script\n{body}# ///\n")
    declared(text)


def profile(text: str = "") -> Profile:
    return parse_policy(f"version: 1\ndefaults: {{{text}}}", file="policy.yaml").resolve("default")


def request(code: str, **more: object) -> ExecutionRequest:
    return ExecutionRequest.model_validate({"code": code, **more})


def test_the_request_wins_over_the_code_and_the_code_over_the_policy() -> None:
    asked = request(block("[tool.airlock]", "memory = '512Mi'", "timeout = '10s'"), limits={"time": "20s", "pids": 9})
    limits = limits_of(profile(), asked)
    assert isinstance(limits, Limits)
    assert (limits.memory_bytes, limits.wall_seconds, limits.pids, limits.cpu_cores) == (512 << 20, 20, 9, 1)
    told = effective(profile(), asked, limits, source="agent")
    assert told.sources == {
        "cpu": "default",
        "memory": "code",
        "time": "request",
        "pids": "request",
        "disk": "default",
        "output": "default",
    }
    assert told.memory_bytes == 512 << 20


def test_the_lane_of_the_request_wins() -> None:
    code = block("[tool.airlock]", "lane = 'container'")
    assert lane_of(request(code)) == "container"
    assert lane_of(request(code, lane="monty")) == "monty"
    assert lane_of(request("1")) == "auto"


def test_what_no_policy_gives_is_refused_with_the_maximum_and_never_had() -> None:
    asked = request(block("[tool.airlock]", "memory = '2Gi'"))
    limits = limits_of(profile(), asked)
    assert isinstance(limits, Limits)
    assert limits.memory_bytes == 256 << 20
    (finding,) = wrong_with_declaration(asked, profile(), None, ruled=False)
    assert (finding.rule, finding.line, "2Gi is more than 1Gi" in finding.message) == ("script.limit", 3, True)
    overridden = request(block("[tool.airlock]", "memory = '2Gi'"), limits={"memory": "300Mi"})
    assert list(wrong_with_declaration(overridden, profile(), None, ruled=False)) == []
    assert list(wrong_with_declaration(asked, profile(), None, ruled=True)) == []


@pytest.mark.parametrize(
    ("dependency", "says"),
    [
        ("numpy", None),
        ("NumPy>=2", None),
        ("numpy>=3", "numpy 2.1.0, which is not >=3"),
        ("ruamel_yaml", None),
        ("ruamel.yaml>=99", None),  # nobody told its version
        ("pandas", "does not have pandas"),
        ("numpy @ https://example.com/numpy.whl", "does not have numpy"),
        ("pandas; python_version < '3.9'", None),
        ("pandas; sys_platform == 'linux'", "does not have pandas"),
    ],
)
def test_a_dependency_is_there_or_the_agent_reads_what_is(dependency: str, says: str | None) -> None:
    rules = profile("isolation: {packages: [numpy==2.1.0, ruamel.yaml]}")
    asked = request(block(f'dependencies = ["{dependency}"]'))
    found = list(wrong_with_declaration(asked, rules, "3.13", ruled=False))
    if says is None:
        assert found == []
    else:
        (finding,) = found
        assert (finding.rule, finding.line, says in finding.message) == ("script.dependency", 2, True), finding
        assert "numpy==2.1.0, ruamel.yaml" in (finding.hint or "")


@pytest.mark.parametrize(
    ("python", "fits"), [(">=3.11", True), ("==3.13.*", True), (">=3.13.5", True), (">=3.14", False), ("<3.13", False)]
)
def test_the_python_that_is_asked_for_is_the_guests(python: str, fits: bool) -> None:  # noqa: FBT001
    asked = request(block(f'requires-python = "{python}"'))
    assert (list(wrong_with_declaration(asked, profile(), "3.13", ruled=False)) == []) is fits
    assert list(wrong_with_declaration(asked, profile(), None, ruled=False)) == []
