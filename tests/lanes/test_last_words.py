"""A program ends as CPython ends it, also where its guest cuts the interpreter's way out short."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from sandbox.job import Cell
from tests.data.last_words import LAST_WORDS
from tests.engine_support import Lab, open_lab

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]

CPYTHON: Final = """
import json, subprocess
with open("main.py", "w") as file: file.write(CODE)
ended = subprocess.run(["python3", "main.py"], capture_output=True, text=True)
print(json.dumps([ended.returncode, ended.stdout, ended.stderr]))
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with open_lab(cell=Cell("words")) as opened:
        yield opened


@pytest.mark.parametrize("name", LAST_WORDS)
async def test_it_says_and_does_what_it_would_under_cpython(lab: Lab, name: str) -> None:
    code = LAST_WORDS[name]
    ours, theirs = await lab.run(code), await lab.run(f"CODE = {code!r}\n{CPYTHON}")
    status, stdout, stderr = json.loads(theirs.stdout.text)
    assert (ours.exit_code, ours.stdout.text) == (status, stdout)
    assert _anywhere(ours.stderr.text) == _anywhere(stderr.replace("/tmp/main.py", "main.py"))


def _anywhere(text: str) -> str:
    return re.sub("0x[0-9a-f]+", "0x", text)


async def test_most_programs_are_cut_short(lab: Lab) -> None:
    """Or the others would prove nothing: the interpreter's own way out is seen by a hook that it calls on it."""
    watch = (
        "import os, sys\ndef hook(event, _, write=os.write):\n"
        "    if event == 'cpython.PyInterpreterState_Clear': write(1, b'all the way')\nsys.addaudithook(hook)\n"
    )
    short = await lab.run(watch + "x = {'a': [1, 2]}\nprint('done')")
    whole = await lab.run(watch + "f = open('/tmp/x', 'w')\nprint('done')")
    assert short.stdout.text == "done\n"
    assert whole.stdout.text == "done\nall the way"
