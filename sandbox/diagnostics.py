"""What Monty's type checker says, told apart: wrong code, Monty's own gaps, and what is merely doubtful.

Pure but for looking at CPython's standard library, which says whether a member that Monty
lacks exists at all.
"""

from __future__ import annotations

import builtins
import importlib
import json
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

_QUOTED = re.compile(r"`([^`]*)`")
# Modules that do something when they are imported, or need what a server has not.
_NEVER_LOOKED_AT = frozenset({"antigravity", "this", "idlelib", "turtle", "turtledemo", "tkinter"})
_BUILTINS = frozenset(dir(builtins)) | {"__file__", "__name__", "__doc__", "__builtins__", "__spec__", "__loader__"}


class DiagnosticKind(StrEnum):
    """What a diagnostic means for the program."""

    SYNTAX = "syntax"  # Monty's parser objects
    BAD_NAME = "bad_name"  # neither Monty nor CPython has it
    MONTY_GAP = "monty_gap"  # CPython has it, Monty has not
    THIRD_PARTY = "third_party"  # a module outside the standard library
    TYPE = "type"  # advice


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding of the type checker; `name` is the undefined name where there is one. Lines and columns from 1."""

    kind: DiagnosticKind
    code: str
    message: str
    line: int
    column: int
    name: str | None = None


def read_diagnostics(text: str, gate: str) -> Iterator[Diagnostic]:
    """The checker's JSON, classified; what it says of the gate itself is left out.

    The gate is the one line in front of the program, so every line is one too far.
    """
    for item in json.loads(text):
        if gate not in item["message"]:
            yield _classify(item["code"], item["message"], item["location"]["row"] - 1, item["location"]["column"])


def _classify(code: str, message: str, line: int, column: int) -> Diagnostic:
    quoted = _QUOTED.findall(message)
    kind, name = DiagnosticKind.TYPE, None
    if code == "invalid-syntax":
        kind = DiagnosticKind.SYNTAX
    elif code == "unresolved-import" and message.startswith("Cannot resolve") and quoted:
        known = quoted[0].split(".")[0] in sys.stdlib_module_names
        kind = DiagnosticKind.MONTY_GAP if known else DiagnosticKind.THIRD_PARTY
    elif code == "unresolved-reference" and quoted:
        name = quoted[0]
        kind = DiagnosticKind.MONTY_GAP if name in _BUILTINS else DiagnosticKind.BAD_NAME
    elif code in {"unresolved-import", "unresolved-attribute"} and message.startswith("Module") and len(quoted) > 1:
        kind = DiagnosticKind.MONTY_GAP if _may_have(quoted[0], quoted[1]) else DiagnosticKind.BAD_NAME
    return Diagnostic(kind, code, message, line, column, name)


def _may_have(module: str, name: str) -> bool:
    """Whether CPython's module has the member; yes where that cannot be told without running strangers' code."""
    top = module.split(".", maxsplit=1)[0]
    if top not in sys.stdlib_module_names or top in _NEVER_LOOKED_AT or top.startswith("_"):
        return True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return hasattr(importlib.import_module(module), name) or _is_module(f"{module}.{name}")
        except ImportError:
            return True


def _is_module(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True
