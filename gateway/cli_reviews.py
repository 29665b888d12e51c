"""The commands of reviewers: which reviews there are, what is in one, and to decide it."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer
from pydantic import JsonValue

from gateway import arguments
from gateway.cli_parts import Limits, gateway


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


def reviews(*, state: Annotated[ReviewState | None, typer.Option(help="Only these.")] = None) -> None:
    """List the reviews of the tenant."""
    from gateway import output, terminal

    with gateway(reviewer=True) as client:
        found = client.reviews(state.value if state else None)
    terminal.show_reviews(output.console(sys.stdout), found)


def review(review_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Show a review: the tries, the code, what went wrong, and how to rule."""
    from gateway import output, terminal

    with gateway(reviewer=True) as client:
        terminal.show_review(output.console(sys.stdout), client.review(review_id))


def rule(  # noqa: PLR0913  # the parts of a ruling
    review_id: Annotated[str, typer.Argument(metavar="ID")],
    verdict: Verdict,
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
    with gateway(reviewer=True) as client:
        if token is None:
            seen = client.review(review_id)
            terminal.show_review(console, seen)
            token = seen.token or "decided"
        decided = client.rule(review_id, {**ruling, "token": token})
    terminal.show_reviews(console, [decided])
