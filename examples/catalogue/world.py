"""The world: software products that do not exist, what is true of each, and how its page tells it.

Pure: a product is a function of the seed and its number, so that any of them can be made again, anywhere, in any order.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

from examples.catalogue import pages
from examples.catalogue.pages import PAGES, Told

FIELDS: Final = ("sku", "name", "version", "licence", "price_cents", "currency", "released")
"""What a record has, of text but for `price_cents`, which is an int; null is for what the page does not tell."""

_FIRST: Final = (
    "Amber",
    "Basalt",
    "Cobalt",
    "Drift",
    "Ember",
    "Fjord",
    "Granite",
    "Heron",
    "Indigo",
    "Juniper",
    "Kelp",
)
_SECOND: Final = ("Ledger", "Planner", "Studio", "Index", "Relay", "Mapper", "Vault", "Scheduler", "Viewer", "Compiler")
_EDITIONS: Final = ("", "", "", " Pro", " Server", ", Team Edition", " & Friends", " 2000")
_CURRENCIES: Final = ("USD", "EUR", "GBP")
_FIRST_DAY: Final = date(1998, 1, 1)
_DAYS: Final = 9_800


class Flaw(StrEnum):
    """What is wrong with the first program that a researcher writes for a page."""

    MISSING = "missing"  # it expects a field that this page leaves out: KeyError
    PRICE = "price"  # it expects a plain number: ValueError
    SHAPE = "shape"  # it runs, and its record is not what was asked for
    NAME = "name"  # it uses a function that it does not define: the checks reject it
    FENCE = "fence"  # it comes in a Markdown fence: the checks reject it
    LABEL = "label"  # it looks for a label that no page has, and its researcher does not see why


class Fate(StrEnum):
    """How a review of the product's task ends, if there is one."""

    EDITED = "edited"  # the reviewer mends the program
    GRANTED = "granted"  # the reviewer says what is wrong, and lets the researcher try again
    ANSWERED = "answered"  # no program can read the page: the reviewer does


@dataclass(frozen=True, slots=True)
class Shares:
    """How many of all products are out of the ordinary. What is left has a page for the Monty lane and a sound first program."""

    mistakes: float = 0.05
    container: float = 0.002
    reviews: float = 0.0005


@dataclass(frozen=True, slots=True)
class Product:
    """One product: its page, the truth, and what its researcher and its reviewer will make of it."""

    number: int
    template: str
    page: str
    truth: Mapping[str, object]
    flaw: Flaw | None
    fate: Fate

    @property
    def needs_review(self) -> bool:
        """Whether its researcher comes to an end of their wits."""
        return self.flaw is Flaw.LABEL

    @property
    def charges(self) -> int:
        """How many failures its task is charged when everything goes as it should, whatever happens to the gateway."""
        match self.flaw:
            case None | Flaw.SHAPE:
                return 0
            case Flaw.LABEL:
                return 3  # the same failure three times, see `budget.same_failure`
            case _:
                return 1


def product(seed: int, number: int, shares: Shares) -> Product:
    """Make the product with that number."""
    chance = random.Random(f"{seed}:{number}")  # noqa: S311  # a world, not a secret
    told = _told(chance, number)
    roll = chance.random()
    fate = chance.choice(tuple(Fate))
    template, flaw = chance.choice(pages.ORDINARY), None
    if roll < shares.reviews:
        flaw = Flaw.LABEL
        template = pages.UNREADABLE if fate is Fate.ANSWERED else template
    elif roll < shares.reviews + shares.container:
        template = chance.choice(pages.FOR_CONTAINERS)
    elif roll < shares.reviews + shares.container + shares.mistakes:
        flaw = chance.choice((Flaw.MISSING, Flaw.PRICE, Flaw.SHAPE, Flaw.NAME, Flaw.FENCE))
        told = _with_cause(told, flaw)
    page = PAGES[template](told, chance)
    return Product(number, template, page, _truth(told), flaw, fate)


def _told(chance: random.Random, number: int) -> Told:
    """The facts; now and then one is missing, and one price in ten is none."""
    released = _FIRST_DAY + timedelta(days=chance.randrange(_DAYS))
    name = chance.choice(_FIRST) + " " + chance.choice(_SECOND) + chance.choice(_EDITIONS)
    version = ".".join(str(chance.randrange(30)) for _ in range(chance.choice((2, 3))))
    priced = chance.random()
    return Told(
        sku=f"SW-{number:06d}",
        name=name,
        version=version + chance.choice(("", "", "", "-rc.1", "b2")),
        licence=chance.choice((*pages.LICENCES, None)),
        price_cents=chance.randrange(100, 900_000),
        price_words=None if priced < 0.9 else chance.choice(("free", "on request")),  # noqa: PLR2004
        currency=chance.choice(_CURRENCIES),
        released=released if chance.random() < 0.9 else None,  # noqa: PLR2004
    )


def _with_cause(told: Told, flaw: Flaw) -> Told:
    """The facts such that the flaw shows."""
    match flaw:
        case Flaw.MISSING:
            return replace(told, released=None)
        case Flaw.PRICE | Flaw.SHAPE:
            return replace(told, price_words=None)
        case _:
            return told


def _truth(told: Told) -> Mapping[str, object]:
    free = {"free": 0}.get(told.price_words or "")
    return {
        "sku": told.sku,
        "name": told.name,
        "version": told.version,
        "licence": told.licence,
        "price_cents": free if told.price_words else told.price_cents,
        "currency": None if told.price_words else told.currency,
        "released": told.released.isoformat() if told.released else None,
    }
