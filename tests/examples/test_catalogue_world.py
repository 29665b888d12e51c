from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from examples.catalogue.pages import FOR_CONTAINERS, ORDINARY, PAGES
from examples.catalogue.programs import FIND, program
from examples.catalogue.researcher import is_record
from examples.catalogue.world import Fate, Flaw, Product, Shares, product
from sandbox.exactness import inexact
from sandbox.monty_text import unfit_inputs

PLAIN = Shares(mistakes=0, container=0, reviews=0)
ODD = Shares(mistakes=0.5, container=0.2, reviews=0.3)


def world(count: int, shares: Shares) -> list[Product]:
    return [product(7, number, shares) for number in range(count)]


def run(code: str, page: str) -> object:
    """What CPython makes of a program: the value of its last expression."""
    tree = ast.parse(code)
    last = tree.body.pop()
    assert isinstance(last, ast.Expr)
    names: dict[str, object] = {"page": page}
    exec(compile(tree, "main.py", "exec"), names)
    return eval(compile(ast.Expression(last.value), "main.py", "eval"), names)


def flawed(flaw: Flaw) -> Iterator[Product]:
    return (one for one in world(600, Shares(0.8, 0, 0.2)) if one.flaw is flaw)


def test_a_product_is_the_same_whenever_it_is_made() -> None:
    assert world(50, ODD) == world(50, ODD)
    assert [one.page for one in world(50, PLAIN)] != [product(8, number, PLAIN).page for number in range(50)]


def test_every_template_is_read_by_its_program() -> None:
    seen = dict.fromkeys(PAGES, 0)
    for one in [*world(600, PLAIN), *world(600, Shares(0, 1, 0))]:
        assert run(program(one.template), one.page) == dict(one.truth), one
        seen[one.template] += 1
    assert {name for name, count in seen.items() if count < 20} == {"scan"}
    assert set(FIND) == set(PAGES)


@pytest.mark.parametrize("template", ORDINARY)
def test_an_ordinary_page_is_read_in_monty(template: str) -> None:
    assert inexact(ast.parse(program(template))) == ()
    pages = [one.page for one in world(200, PLAIN) if one.template == template]
    assert [unfit_inputs({"page": page}) for page in pages] == [None] * len(pages)


@pytest.mark.parametrize("template", FOR_CONTAINERS)
def test_some_pages_need_a_container(template: str) -> None:
    assert inexact(ast.parse(program(template)))


@pytest.mark.parametrize(
    ("flaw", "error"),
    [(Flaw.MISSING, KeyError), (Flaw.PRICE, ValueError), (Flaw.NAME, NameError), (Flaw.LABEL, KeyError)],
)
def test_a_flawed_program_fails_on_the_page_that_it_is_written_for(flaw: Flaw, error: type[Exception]) -> None:
    for one in flawed(flaw):
        with pytest.raises(error):
            run(program(one.template, flaw), one.page)


def test_a_record_of_another_shape_is_none() -> None:
    for one in flawed(Flaw.SHAPE):
        record = run(program(one.template, Flaw.SHAPE), one.page)
        assert isinstance(record, dict)
        assert not is_record(record)
        assert is_record(dict(one.truth))


def test_a_program_in_a_markdown_fence_is_no_program() -> None:
    for one in flawed(Flaw.FENCE):
        with pytest.raises(SyntaxError):
            ast.parse(program(one.template, Flaw.FENCE))


def test_no_program_can_read_what_only_a_person_can() -> None:
    scans = [one for one in world(400, ODD) if one.template == "scan"]
    assert scans
    assert {one.fate for one in scans} == {Fate.ANSWERED}
    for one in scans:
        with pytest.raises(KeyError):
            run(program(one.template), one.page)
