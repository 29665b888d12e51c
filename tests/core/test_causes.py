"""The table of causes: closed, complete, and the one that the documentation shows."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from gateway.causes import KINDS, Cause, cause_of, cause_of_ending, markdown
from gateway.events import Status, Verdict
from gateway.steps import STATUS_OF
from sandbox.job import Lane
from sandbox.outcome import Ending, Evidence, Fault, Loss, Outcome, ProgramError

ERROR = ProgramError(type="ValueError", message="no", line=1, traceback="")
DOCUMENT = Path(__file__).parents[2] / "docs" / "failures.md"


def lost(loss: Loss | None) -> Outcome:
    return Outcome(ending=Ending.LOST, lane=Lane.CONTAINER, evidence=Evidence(loss=loss))


def ended(ending: Ending) -> Outcome:
    return Outcome(ending=ending, lane=Lane.CONTAINER)


def test_every_cause_has_its_row() -> None:
    assert set(KINDS) == set(Cause)


def test_the_documentation_shows_the_very_table() -> None:
    assert markdown() in DOCUMENT.read_text()


def test_only_faults_of_the_code_are_charged() -> None:
    charged = {cause for cause, kind in KINDS.items() if kind.charge != "nothing"}
    assert charged == {cause for cause, kind in KINDS.items() if kind.fault is Fault.CODE}


def test_only_the_agent_can_mend_what_it_is_charged_for() -> None:
    assert {kind.again for kind in KINDS.values() if kind.charge != "nothing"} == {"agent"}


def test_every_fault_of_the_platform_is_answered_as_such_and_no_other() -> None:
    platform = {cause for cause, kind in KINDS.items() if kind.fault is Fault.PLATFORM}
    assert set(Cause) - set(STATUS_OF) == {*platform, Cause.REPEATED, Cause.LANE}
    assert Status.PLATFORM_ERROR not in STATUS_OF.values()


def test_every_verdict_against_a_program_is_a_cause() -> None:
    refusals = {verdict for verdict in Verdict if verdict is not Verdict.ADMIT}
    faults = {verdict: KINDS[Cause(verdict.value)].fault for verdict in refusals}
    assert {verdict for verdict, fault in faults.items() if fault is not Fault.CODE} == {Verdict.HELD}


@pytest.mark.parametrize("more", [False, True])
def test_every_ending_with_every_loss_has_exactly_one_cause(more: bool) -> None:  # noqa: FBT001
    causes = {
        cause_of(replace(ended(ending), evidence=Evidence(loss=loss)), more_memory=more)
        for ending, loss in product(Ending, (None, *Loss))
    }
    assert None in causes
    assert causes - {None} <= set(KINDS)


def test_a_success_has_no_cause() -> None:
    assert cause_of(ended(Ending.SUCCEEDED), more_memory=True) is None
    assert cause_of_ending(Ending.SUCCEEDED) is None


@pytest.mark.parametrize(
    ("loss", "cause"),
    [
        (Loss.ENGINE, Cause.ENGINE_LOST),
        (Loss.REFUSED, Cause.ENGINE_REFUSED),
        (Loss.UNFIT, Cause.UNFIT),
        (Loss.BOX, Cause.BOX_LOST),
        (Loss.STOPPED, Cause.GATEWAY_LOST),
        (None, Cause.BOX_LOST),
    ],
)
def test_a_loss_says_what_was_lost(loss: Loss | None, cause: Cause) -> None:
    assert cause_of(lost(loss), more_memory=False) is cause


def test_out_of_memory_is_the_platforms_until_the_program_had_all_that_it_may_have() -> None:
    assert cause_of(ended(Ending.OUT_OF_MEMORY), more_memory=True) is Cause.MEMORY_SHORT
    assert cause_of(ended(Ending.OUT_OF_MEMORY), more_memory=False) is Cause.OUT_OF_MEMORY
    assert KINDS[Cause.MEMORY_SHORT].fault is Fault.PLATFORM
    assert KINDS[Cause.OUT_OF_MEMORY].fault is Fault.CODE


def test_a_failure_is_told_by_what_ended_the_program() -> None:
    failed = ended(Ending.FAILED)
    assert cause_of(replace(failed, error=ERROR, exit_code=1), more_memory=False) is Cause.EXCEPTION
    assert cause_of(replace(failed, exit_code=3), more_memory=False) is Cause.EXIT_CODE
    assert cause_of(replace(failed, signal="SIGSEGV"), more_memory=False) is Cause.SIGNAL
