"""The commands of reviewers: which reviews there are, what is in one, and to decide it."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, TypeAlias

import typer
from pydantic import JsonValue

from gateway import arguments
from gateway.cli_client import reached
from gateway.cli_options import Limits

_RULINGS = (
    "approve: run it once, as it is. approve-edited: run your version. raise-limits: run it with more. grant: let the"
    " agent try again. reject: no, and why. answer: give the result yourself. escalate: pass it on."
)

Review: TypeAlias = Annotated[str, typer.Argument(metavar="ID", help="rev_..., as `airlock reviews` lists it.")]


class Verdict(StrEnum):
    """A ruling, as it is typed."""

    APPROVE = "approve"
    APPROVE_EDITED = "approve-edited"
    RAISE_LIMITS = "raise-limits"
    GRANT = "grant"
    REJECT = "reject"
    ANSWER = "answer"
    ESCALATE = "escalate"


class ReviewState(StrEnum):
    """Where a review is."""

    OPEN = "open"
    DECIDED = "decided"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


def reviews(
    *,
    state: Annotated[ReviewState, typer.Option(help="Only these.")] = ReviewState.OPEN,
    everything: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
) -> None:
    """List the reviews that wait for a person."""
    from gateway import output, terminal

    with reached(reviewer=True) as client:
        found = client.reviews(None if everything else state.value)
    if found:
        terminal.show_reviews(output.console(sys.stdout), found)
    else:
        typer.echo("no review" if everything else f"no review is {state.value}", err=True)


def review(review_id: Review) -> None:
    """Show a review: the tries, what went wrong, how to rule."""
    from gateway import output, terminal

    with reached(reviewer=True) as client:
        terminal.show_review(output.console(sys.stdout), client.review(review_id))


def rule(  # noqa: PLR0913  # the parts of a ruling
    review_id: Review,
    verdict: Annotated[Verdict, typer.Argument(metavar="RULING", help=_RULINGS)],
    *,
    message: Annotated[str, typer.Option("--message", "-m", help="For the agent.")] = "",
    code: Annotated[str | None, typer.Option(metavar="FILE", help="approve-edited: your version; - is stdin.")] = None,
    limits: Limits = None,
    failures: Annotated[int | None, typer.Option(help="grant: how many failures more.")] = None,
    result: Annotated[str | None, typer.Option(metavar="JSON", help="answer: the result.")] = None,
    not_final: Annotated[bool, typer.Option("--not-final", help="reject: the task goes on.")] = False,
    token: Annotated[str | None, typer.Option(help="Of the review that you looked at.")] = None,
) -> None:
    """Decide a review. Without --token, what it is now is shown and decided on."""
    from gateway import output, terminal

    ruling: dict[str, JsonValue] = {"ruling": verdict.replace("-", "_"), "message": message, "final": not not_final}
    if code is not None:
        ruling["code"] = arguments.text_of(code)
    if limits:
        ruling["limits"] = arguments.values(limits)
    if failures is not None:
        ruling["failures"] = failures
    if result is not None:
        ruling["result"] = arguments.json_value(result)
    arguments.check_ruling(ruling)
    console = output.console(sys.stdout)
    with reached(reviewer=True) as client:
        if token is None:
            seen = client.review(review_id)
            terminal.show_review(console, seen)
            token = seen.token or "decided"
        decided = client.rule(review_id, {**ruling, "token": token})
    terminal.show_reviews(console, [decided])
