"""The reviewer: looks at the queue now and then, and rules, with a key that no agent has.

Scripted where a person would be. It edits the program, says what is wrong with it, or answers in its stead.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from examples.catalogue.gateway import Gateway
from examples.catalogue.programs import program
from examples.catalogue.world import Fate, Product

_PAUSE_SECONDS: Final = 0.5
_PAGE: Final = "/v1/reviews?state=open&limit=100"


@dataclass(slots=True)
class Reviewer:
    """One person. `product_of` finds the product of a task, None for other people's tasks."""

    gateway: Gateway
    key: str
    product_of: Callable[[str], Product | None]

    async def work(self) -> None:
        """Rule on whatever comes, until cancelled."""
        connection = self.gateway.connect(self.key)
        try:
            while True:
                page = await self.gateway.ask(connection, "GET", _PAGE)
                reviews = page.body.get("reviews")
                for review in reviews if isinstance(reviews, list) else ():
                    product = self.product_of(review["task"])
                    if product is None:
                        continue
                    path = f"/v1/reviews/{review['id']}"
                    whole = await self.gateway.ask(connection, "GET", path)
                    ruling = json.dumps({"token": whole.body.get("token"), **ruling_on(product)}).encode("ascii")
                    # 409: it was decided already (the answer to an earlier try was lost); 412: it changed, look again.
                    done = await self.gateway.ask(connection, "POST", f"{path}/rulings", ruling)
                    if done.status == 200:  # noqa: PLR2004
                        self.gateway.tally.reviews[product.fate] += 1
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            await connection.close()


def ruling_on(product: Product) -> Mapping[str, object]:
    """What this reviewer decides about a product's task."""
    match product.fate:
        case Fate.EDITED:
            return {"ruling": "approve_edited", "code": program(product.template)}
        case Fate.GRANTED:
            return {"ruling": "grant", "failures": 1, "message": "No page has an article: its label is sku."}
        case Fate.ANSWERED:
            return {"ruling": "answer", "result": dict(product.truth)}
