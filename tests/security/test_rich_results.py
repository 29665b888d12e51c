"""What a program says a notebook would show is its own word: bounded, of known kinds, and it opens no way to any file."""

from __future__ import annotations

import pytest

from sandbox.outcome import Ending, SkippedFile
from tests.engine_support import IN_BOTH, Lab, limited

pytestmark = [pytest.mark.engine, pytest.mark.asyncio]

PYPLOT = """
import sys, types
class Figure:
    def __init__(self, number): self.number = number
    def savefig(self, path, **_):
        {savefig}
helpers, pyplot = types.ModuleType("matplotlib._pylab_helpers"), types.ModuleType("matplotlib.pyplot")
helpers.Gcf = types.SimpleNamespace(figs={{1: 1}})
pyplot.get_fignums = lambda: list(range(1, {figures} + 1))
pyplot.figure = Figure
sys.modules.update({{"matplotlib._pylab_helpers": helpers, "matplotlib.pyplot": pyplot}})
"""
SAVE = "open(path, 'wb').write(b'picture')"


def plotting(savefig: str = SAVE, figures: int = 1, then: str = "None") -> str:
    return PYPLOT.format(savefig=savefig, figures=figures) + then


@IN_BOTH
async def test_open_figures_come_back_unasked_and_no_other_file_does(lab: Lab) -> None:
    outcome = await lab.run(plotting(figures=3, then="open('other.png', 'w').write('x')\nsys.exit(0)"))
    assert outcome.ending is Ending.SUCCEEDED
    assert [(file.path, file.content) for file in outcome.files] == [
        (f"figure-{number}.png", b"picture") for number in (1, 2, 3)
    ]
    assert [bundle.file for bundle in outcome.bundles] == ["figure-1.png", "figure-2.png", "figure-3.png"]


@IN_BOTH
async def test_a_figure_that_cannot_be_saved_is_told_and_fails_nothing(lab: Lab) -> None:
    outcome = await lab.run(plotting(savefig="raise SystemExit(3)", then="6 * 7"))
    assert (outcome.ending, outcome.exit_code) == (Ending.SUCCEEDED, 0)
    assert outcome.result is not None
    assert outcome.result.value == 42
    assert [(bundle.file, bundle.omitted) for bundle in outcome.bundles] == [(None, ("image/png",))]


async def test_a_program_that_failed_shows_nothing(lab: Lab) -> None:
    outcome = await lab.run(plotting(then="1 / 0"))
    assert outcome.ending is Ending.FAILED
    assert (outcome.files, outcome.bundles) == ((), ())


async def test_no_figure_leads_to_another_file(lab: Lab) -> None:
    outcome = await lab.run(plotting(savefig="import os; os.symlink('/etc/passwd', path)"))
    assert outcome.files == ()
    assert outcome.skipped_files == (SkippedFile("figure-1.png", "not_regular"),)


async def test_no_more_figures_than_twenty_come_back_and_the_rest_is_counted(lab: Lab) -> None:
    outcome = await lab.run(plotting(figures=1000))
    assert len(outcome.files) == 20
    assert outcome.bundles[-1].data == {"text/plain": "980 more figures"}


async def test_figures_take_the_programs_own_time(lab: Lab) -> None:
    outcome = await lab.run(plotting(savefig="\n        while True: pass"), limited(wall_seconds=1.0))
    assert outcome.ending is Ending.TIMED_OUT


FORGE = """
import os, struct
def say(kind, data):
    for start in range(0, len(data), 65536):
        part = data[start:start + 65536]
        os.write(200, struct.pack(">cI", kind, len(part)) + part)
"""


@IN_BOTH
async def test_what_is_forged_is_read_within_bounds_or_not_at_all(lab: Lab) -> None:
    for said in (
        "say(b'm', b'[' * 10_000)",
        "say(b'm', b'x' * 10_000_000)",
        'say(b\'m\', b\'[{"data": {"text/javascript": "x"}, "metadata": {}}]\')',
        "say(b'g', b'../../etc/passwd')\nsay(b'g', b'**')\nsay(b'g', b'figure-1.png\\0')",
        "[say(b'g', b'figure-%d.png' % n) for n in range(10_000)]",
    ):
        outcome = await lab.run(FORGE + said + "\nNone")
        assert outcome.ending is Ending.SUCCEEDED, said
        assert (outcome.bundles, outcome.files) == ((), ()), said


async def test_a_forged_bundle_is_the_programs_own_word(lab: Lab) -> None:
    outcome = await lab.run(FORGE + 'say(b"m", b\'[{"data": {"text/html": "<script>"}, "metadata": {}}]\')\nNone')
    assert [dict(bundle.data) for bundle in outcome.bundles] == [{"text/html": "<script>"}]


async def test_values_that_tell_of_themselves_cannot_fail_their_program(lab: Lab) -> None:
    code = (
        "class Trap(dict):\n    def get(self, *_): raise KeyboardInterrupt\n    def __hash__(self): return 1\n"
        "class Value:\n    def _repr_mimebundle_(self): return Trap()\n    def _repr_html_(self): return '<b>'\nValue()"
    )
    outcome = await lab.run(code)
    assert (outcome.ending, outcome.bundles) == (Ending.SUCCEEDED, ())
    assert outcome.result is not None
    assert outcome.result.form == "repr"
