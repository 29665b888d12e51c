"""The guest and the probe that are sent are those that are read and type-checked, without what only readers need."""

from __future__ import annotations

import ast
import dis
import inspect
from collections import Counter
from types import CodeType, ModuleType

import pytest

from sandbox import guest, guest_cell, probe_order
from sandbox.bundle import JOINED, PARTS, PROBE, bare, guest_text, joined, probe_text

GUEST = (*JOINED, guest, guest_cell, *PARTS.values())
MODULES = (*GUEST, *PROBE)


def functions(code: CodeType) -> dict[str, tuple[list[tuple[str, object]], tuple[str, ...], tuple[object, ...]]]:
    """Every function's instructions, names and constants, by its qualified name; docstrings are left out by the compiler."""
    found = {}
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            constants = tuple(one for one in inner.co_consts if not isinstance(one, CodeType))
            if inner.co_name.isidentifier() and not _is_class(inner):
                found[inner.co_qualname] = (_operations(inner), inner.co_names, constants)
            found.update(functions(inner))
    return found


def _operations(code: CodeType) -> list[tuple[str, object]]:
    """But for what depends on the place of a docstring, and on whether a module was imported."""
    return [
        (
            one.opname.replace("METHOD", "ATTR"),
            None if one.opcode in dis.hasjrel or isinstance(one.argval, CodeType) else one.argval,
        )
        for one in dis.get_instructions(code)
        if one.opname not in {"NOP", "PUSH_NULL"}
    ]


def _is_class(code: CodeType) -> bool:
    return "__qualname__" in code.co_names


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_function_does_to_the_instruction_what_its_source_says(module: ModuleType) -> None:
    sent = functions(compile(bare(module), "sent", "exec", dont_inherit=True, optimize=2))
    read = functions(compile(inspect.getsource(module), "read", "exec", dont_inherit=True, optimize=2))
    assert sent or module is probe_order  # which has none
    for name, done in sent.items():
        assert done == read[name], name
    assert read.keys() - sent.keys() == set()
    assert ast.dump(ast.parse(ast.unparse(bare(module)))) == ast.dump(bare(module))


@pytest.mark.parametrize(
    ("text", "modules"), [(guest_text(cell=False), GUEST), (guest_text(cell=True), GUEST), (probe_text(), PROBE)]
)
def test_what_only_readers_need_is_not_sent(text: str, modules: tuple[ModuleType, ...]) -> None:
    assert '"""' not in text
    assert "TYPE_CHECKING" not in text
    assert "from sandbox" not in text
    assert len(text) < sum(len(inspect.getsource(module)) for module in modules) * 3 / 4


@pytest.mark.parametrize("cell", [False, True])
def test_the_program_that_is_sent_runs_the_guest_as_it_was_joined(cell: bool) -> None:  # noqa: FBT001 - a parameter
    text = next(one.value for one in ast.walk(ast.parse(guest_text(cell=cell))) if isinstance(one, ast.Constant))
    assert isinstance(text, str)
    ran = functions(compile(text, "ran", "exec", dont_inherit=True))
    modules = (*JOINED, *((guest_cell,) if cell else ()), guest)
    assert ran == functions(compile(ast.unparse(joined(*modules)), "joined", "exec", dont_inherit=True))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_what_a_part_takes_of_another_it_calls_by_its_own_name(module: ModuleType) -> None:
    """Where they are one text, nothing gives it another."""
    taken = [one for one in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(one, ast.ImportFrom)]
    ours = [one for one in taken if (one.module or "").startswith("sandbox.")]
    assert [name.name for one in ours for name in one.names if name.asname is not None] == []


@pytest.mark.parametrize("modules", [GUEST, PROBE], ids=["guest", "probe"])
def test_no_part_hides_a_name_of_another(modules: tuple[ModuleType, ...]) -> None:
    """They run as one module."""
    names = Counter(name for module in modules for name in _defined(bare(module)))
    assert [name for name, count in names.items() if count > 1] == []


def _defined(tree: ast.Module) -> set[str]:
    found = set()
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            found.add(statement.name)
        elif isinstance(statement, ast.Assign):
            found |= {one.id for target in statement.targets for one in ast.walk(target) if isinstance(one, ast.Name)}
    return found
