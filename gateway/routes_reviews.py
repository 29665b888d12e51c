"""What reviewers ask: which reviews there are, what is in them, and to decide them. No route decides anything."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body, Path, Response

from gateway import openapi, openapi_examples
from gateway.requests import EditRequest, ReviewState, RulingRequest
from gateway.route_parts import ID, After, Onlooker, Page, Port, Reviewer, as_json, keyed_router

ReviewId = Annotated[str, Path(pattern=ID)]

router = keyed_router("/v1")


@router.get("/reviews", responses=openapi.REVIEWS, summary="List reviews")
async def list_reviews(
    service: Port,
    caller: Onlooker,
    state: ReviewState | None = None,
    limit: Page = 50,
    after: After = None,
) -> Response:
    """Answer with the tenant's reviews, oldest first."""
    return as_json(await service.reviews(caller, state=state, limit=limit, after=after))


@router.get("/reviews/{review}", responses=openapi.REVIEW, summary="Look at a review")
async def get_review(service: Port, caller: Onlooker, review: ReviewId) -> Response:
    """Answer with all that a reviewer needs, and the token that a ruling must echo."""
    return as_json(await service.review(caller, review))


@router.post("/reviews/{review}/rulings", responses=openapi.RULING, summary="Decide a review")
async def rule_on_review(
    service: Port,
    caller: Reviewer,
    review: ReviewId,
    ruling: Annotated[RulingRequest, Body(openapi_examples=openapi_examples.RULINGS)],
) -> Response:
    """Decide. What changed since the review was read is a 412, what is decided already a 409."""
    return as_json(await service.rule(caller, review, ruling))


@router.post("/reviews/{review}/checks", responses=openapi.CHECKS, summary="Check an edit")
async def check_edit(
    service: Port,
    caller: Reviewer,
    review: ReviewId,
    edit: Annotated[EditRequest, Body(openapi_examples=openapi_examples.EDITS)],
) -> Response:
    """Answer with what the checks would say of a reviewer's version. Nothing is run and nothing decided."""
    return as_json(await service.check_edit(caller, review, edit))
