"""How answers look on a terminal. What an agent wrote is shown, never obeyed: no colour, no cursor, no order of its own.

Must not know where the answers come from.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from gateway.events import Status
from gateway.quantities import format_keeping
from gateway.spelling import visible
from gateway.wire import Problem
from gateway.wire_answers import Error, ExecutionView, Finding, LimitsInfo, TaskInfo, TaskView
from gateway.wire_operations import (
    BodyCounts,
    DeadLetter,
    IsolationView,
    MontyLaneView,
    ProofView,
    ReadyView,
    RetentionView,
)
from gateway.wire_reviews import Proposal, ReviewSummary, ReviewView, TryView

EXIT_TIMED_OUT: Final = 124  # as timeout(1) says it
EXIT_OUT_OF_MEMORY: Final = 137  # as a shell says SIGKILL
EXIT_TEMPORARY: Final = 75  # EX_TEMPFAIL: worth another try
_SIGNAL_BASE: Final = 128
_MAX_EXIT: Final = 255
_LANE: Final = "lane.container"
_STYLES: Final = {"open": "yellow", "in_review": "yellow", "succeeded": "green", "decided": "green"}


def exit_code(view: ExecutionView) -> int:
    """The program's exit code, as a shell would tell it."""
    match view.status:
        case Status.SUCCEEDED:
            return 0
        case Status.TIMED_OUT:
            return EXIT_TIMED_OUT
        case Status.OUT_OF_MEMORY:
            return EXIT_OUT_OF_MEMORY
        case Status.PLATFORM_ERROR:
            return EXIT_TEMPORARY
    if view.signal and view.signal in signal.Signals.__members__:
        return _SIGNAL_BASE + signal.Signals[view.signal]
    return min(view.exit_code, _MAX_EXIT) if view.exit_code and view.exit_code > 0 else 1


def show_ending(console: Console, view: ExecutionView) -> None:
    """What the program's own output does not say: how it ended, what to mend, what is left, what to do next."""
    for words in _findings(view.findings):
        _say(console, words)
    if view.cached:
        _say(console, _line("cached", "not run; an earlier one of its kind was"))
    if view.status is not Status.SUCCEEDED:
        _say(console, _ending(view))
        if view.error and view.error.traceback and view.error.traceback.strip() not in view.stderr:
            _say(console, _agents(view.error.traceback.rstrip("\n")))
        if view.error and view.error.hint:
            _say(console, _line("hint", view.error.hint))
        _say(console, _line("task", _task_words(view.task)))
        _say(console, _line("next", ", ".join(view.next_actions)))
    for skipped in view.skipped_files:
        _say(console, _line("skipped", f"{skipped.path} ({skipped.reason})"))


def show_task(console: Console, task: TaskView) -> None:
    """A task, its executions, and how the newest one ended."""
    console.print(_line("task", _task_words(task)))
    if task.message:
        console.print(_line("reviewer", task.message))
    table = _table("execution", "status", "submitted", "answered")
    for execution in task.executions:
        table.add_row(
            _agents(execution.id),
            _state(execution.status),
            f"{execution.submitted_at:%F %T}",
            f"{execution.answered_at:%F %T}" if execution.answered_at else "",
        )
    console.print(table)
    if task.latest:
        console.print(_agents(task.latest.stdout.rstrip("\n")))
        if task.latest.result is not None:
            console.print(_line("result", result_text(task.latest)))
        if task.latest.error:
            console.print(_error(task.latest.error))
    console.print(_line("next", ", ".join(task.next_actions)))


def show_reviews(console: Console, reviews: Iterable[ReviewSummary]) -> None:
    """The queue."""
    table = _table("review", "state", "task", "why", "opened", "expires", "ruling", "by")
    for review in reviews:
        table.add_row(
            _agents(review.id),
            _state(review.state),
            _agents(review.task),
            review.reason,
            f"{review.opened_at:%F %T}",
            f"{review.expires_at:%F %T}",
            review.ruling or "",
            _agents(review.decided_by or ""),
        )
    console.print(table)


def show_review(console: Console, review: ReviewView) -> None:
    """All that a reviewer needs to decide."""
    console.print(_line("review", f"{review.id} of task {review.task}: {review.state}, {review.reason}"))
    console.print(_line("written by", review.submitted_by))
    console.print(_line("expires", f"{review.expires_at:%F %T}"))
    for number, one in enumerate(review.tries, 1):
        reviewed = one.execution.id == review.execution
        console.print(
            _try(one, f"try {number} of {len(review.tries)}{' (under review)' if reviewed else ''}", reviewed)
        )
        if reviewed:
            console.print(_line("budget", _task_words(one.execution.task)))
    console.print(_line("ceilings", _limits_words(review.ceilings)))
    console.print(_line("grants left", str(review.grants_left)))
    if review.level or review.escalates_at:
        when = f", passed on at {review.escalates_at:%F %T}" if review.escalates_at else ""
        console.print(_line("level", f"{review.level}{when}"))
    if review.proposal:
        console.print(_proposal(review.proposal))
    if review.ruling:
        console.print(_line("ruling", f"{review.ruling} by {review.decided_by}: {review.message or ''}"))
    if review.rulings:
        console.print(_line("token", review.token or ""))
        for ruling in review.rulings:
            console.print(_line("rule", f"airlock rule {review.id} {ruling.replace('_', '-')}{_NEEDS.get(ruling, '')}"))


def _proposal(proposal: Proposal) -> RenderableType:
    """What some have said; who agrees says the same."""
    said = (
        f"{proposal.ruling} by {', '.join(proposal.approved_by)}; {proposal.needed} people in all have to say the same"
    )
    parts: list[RenderableType] = [_line("proposal", said)]
    if proposal.code is not None:
        parts.append(_code(proposal.code))
    told = {"limits": proposal.limits, "failures": proposal.failures, "result": proposal.result}
    parts += [_line(name, json.dumps(value)) for name, value in told.items() if value is not None]
    return Group(*parts)


_NEEDS: Final = {
    "approve_edited": " --code FILE",
    "raise_limits": " --limit memory=1Gi",
    "grant": " --failures 3",
    "reject": " -m 'why' [--not-final]",
    "answer": " --result JSON",
}


def show_letters(console: Console, letters: Iterable[DeadLetter]) -> None:
    """Letters to webhooks and mail addresses."""
    table = _table("letter", "state", "to", "tells of", "written", "tries", "why")
    for letter in letters:
        table.add_row(
            _agents(letter.id),
            _state(letter.state),
            _agents(letter.webhook or letter.mail or ""),
            letter.type,
            f"{letter.written_at:%F %T}",
            str(letter.attempts),
            _agents(letter.error or ""),
        )
    console.print(table)


def show_readiness(console: Console, ready: ReadyView) -> None:
    """Whether the gateway takes programs, and where they would run."""
    console.print(_line("ready", "yes" if ready.ready else "no"))
    if not ready.store.writable:
        console.print(_line("store", f"nothing can be recorded: {ready.store.reason}"))
    for lane, info in ready.lanes.items():
        python = f", Python {info.python}" if info.python else ""
        console.print(_line(lane, f"{'available' if info.available else 'not available'}{python}: {info.detail}"))
    console.print(_line("executions", f"{ready.live_executions} live, {ready.queued} of them wait for a box"))
    if ready.breaker != "closed":
        console.print(_line("engine", "away: its circuit breaker is open, programs for boxes wait"))
    if ready.open_reviews is not None:
        console.print(_line("reviews", f"{ready.open_reviews} open"))
    console.print(_line("version", f"{ready.version}, policy {ready.policy}"))


def show_isolation(console: Console, view: IsolationView) -> None:
    """What a box of each profile is, and what did not hold."""
    for name, proof in view.profiles.items():
        console.print(_line(name, f"{_proof_words(proof)}; {proof.image} in {proof.runtime or 'the default runtime'}"))
        for finding in proof.findings:
            console.print(_line("", finding))
        if proof.posture is not None and proof.tested_at is not None:
            console.print(_line("posture", f"{proof.posture}, tested at {proof.tested_at:%Y-%m-%d %H:%M:%S} UTC"))


def show_retention(console: Console, view: RetentionView) -> None:
    """What is kept how long, what is due, and what was deleted."""
    for name, rules in view.profiles.items():
        words = [f"{body} {format_keeping(seconds)}" for body, seconds in rules.model_dump().items()]
        console.print(_line(name, f"keeps {', '.join(words)}"))
    console.print(_line("due", _counts_words(view.due)))
    if view.held:
        console.print(_line("held", f"{view.held} executions of tasks that are in review or running"))
    when = f", latest pass {view.ended_at:%F %T}" if view.ended_at else ""
    console.print(_line("deleted", f"{_counts_words(view.deleted)}; {view.freed_bytes} bytes since the start{when}"))
    if view.running:
        console.print(_line("running", "a pass is under way"))


def show_monty(console: Console, view: MontyLaneView) -> None:
    """Where the switch of the Monty lane stands, and what shadow runs came to."""
    console.print(_line("monty", "on" if view.on else "OFF: a program came to something else in a container"))
    if view.moved_at is not None:
        console.print(_line("moved", f"{view.moved_at:%F %T} UTC{f' by {view.by}' if view.by else ''}"))
    if view.execution is not None or view.differs:
        console.print(_line("because", f"{view.execution or ''} differs in {', '.join(view.differs)}"))
    runs = ", ".join(f"{count} {shown}" for shown, count in view.shadow_runs.items() if count) or "none"
    console.print(_line("shadow", f"{runs}; {view.shadow_waiting} waiting"))


def _counts_words(counts: BodyCounts) -> str:
    return ", ".join(f"{body} of {count}" for body, count in counts.model_dump().items() if count) or "nothing"


def _proof_words(proof: ProofView) -> str:
    if proof.held is None:
        return "not tested yet"
    held = sum(trial.held is True for trial in proof.trials)
    return f"{'held' if proof.held else 'NOT FIT'} ({held} of {len(proof.trials)} trials held)"


def result_text(view: ExecutionView) -> str:
    """The result on one line; what has no JSON form as the program described it."""
    if view.result_form == "repr" and isinstance(view.result, str):
        return view.result
    return json.dumps(view.result, ensure_ascii=False)


def _try(one: TryView, title: str, reviewed: bool) -> RenderableType:  # noqa: FBT001  # read with its title
    parts: list[RenderableType] = [_ending(one.execution)]
    if one.execution.error:
        parts.append(_error(one.execution.error))
    if one.execution.attempts:
        parts.append(_line("limits", _limits_words(one.execution.attempts[-1].limits)))
    if one.expect:
        parts.append(_line("expects", one.expect.model_dump_json(exclude_defaults=True)))
    if one.diff:
        parts.append(_diff(one.diff))
    if reviewed:
        parts.append(_code(one.code))
    return Panel(Group(*parts), title=Text(title), title_align="left")


def _code(code: str) -> Text:
    lines = visible(code.removesuffix("\n")).split("\n")
    width = len(str(len(lines)))
    return Text("\n").join(
        Text.assemble((f"{number:>{width}} │ ", "dim"), (line, "")) for number, line in enumerate(lines, 1)
    )


def _diff(diff: str) -> Text:
    styles = {"+": "green", "-": "red", "@": "cyan"}
    return Text("\n").join(Text(line, styles.get(line[:1], "dim")) for line in visible(diff).split("\n"))


def _ending(view: ExecutionView) -> Text:
    words = [f"exit code {view.exit_code}"] if view.exit_code else []
    words += [view.signal] if view.signal else []
    words += [f"{view.error.type}: {view.error.message}"] if view.error else []
    words += [f"line {view.error.line}"] if view.error and view.error.line else []
    return Text.assemble((view.status, _STYLES.get(view.status, "red")), " ", visible("; ".join(words)))


def _error(error: Error) -> Text:
    return _agents((error.traceback or f"{error.type}: {error.message}").rstrip("\n"))


def findings_of(problem: Problem) -> list[str]:
    """What the checks have against a reviewer's version, one line each."""
    told = (problem.model_extra or {}).get("findings")
    found = [Finding.model_validate(one) for one in told] if isinstance(told, list) else []
    return [f"main.py:{one.line or '?'} {one.message} [{one.rule}]" for one in found]


def _findings(findings: Sequence[Finding]) -> Iterator[Text]:
    """One line each; of the reasons against Monty the first, for they ask nothing of anybody."""
    reasons = [one for one in findings if one.rule == _LANE]
    for finding in findings:
        if finding.rule != _LANE:
            yield _finding(finding)
    if reasons:
        more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
        yield _finding(reasons[0]).append(more)


def _finding(finding: Finding) -> Text:
    where = ":".join(["main.py", *(str(one) for one in (finding.line, finding.column) if one)])
    hint = f" ({finding.hint})" if finding.hint else ""
    return _line(finding.severity, f"{where} {finding.message} [{finding.rule}]{hint}")


def _task_words(task: TaskInfo) -> str:
    row, total = task.budget.failures_in_a_row, task.budget.failures_total
    review = f" (review {task.review})" if task.review else ""
    return (
        f"{task.id} is {task.state}{review}, the turn is {task.turn}'s;"
        f" failures left: {row.left} of {row.limit} in a row, {total.left} of {total.limit} in total"
    )


def _limits_words(limits: LimitsInfo) -> str:
    return (
        f"{limits.cpu_cores:g} cores, {limits.memory_bytes >> 20} MiB memory, {limits.wall_seconds:g} s,"
        f" {limits.pids} pids, {limits.disk_bytes >> 20} MiB disk, {limits.output_bytes >> 10} KiB output"
    )


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _line(label: str, words: str) -> Text:
    return Text.assemble((f"{label}: ", "bold"), visible(words))


def _state(state: str) -> Text:
    return Text(state, _STYLES.get(state, "red"))


def _say(console: Console, words: Text) -> None:
    """One line stays one line, for who reads it with a program."""
    console.print(words, soft_wrap=True)


def _agents(text: str) -> Text:
    return Text(visible(text))
