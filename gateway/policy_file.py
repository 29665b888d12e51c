"""From the text of a policy file to a `Policy`, or to everything that is wrong with it: where, what, what to write.

Owns the places (line, column) and the words of refusal. Must not know what a policy is for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.policy import Flaw, Policy, PolicyDocument, closest, resolve
from gateway.quantities import shown
from gateway.yaml_tree import Entry, Fault, Mark, Node, Path, plain, read_tree

MOST_BYTES: Final = 1 << 20
"""The largest policy file, in bytes."""

_WORD: Final = re.compile(r"[A-Za-z0-9_<-]{1,64}")
_UNSHOWN: Final = frozenset({"sha256", "url"})
"""The keys whose values are never repeated: who writes the API key itself there should not find it in a log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with a policy file. `line` and `column` count from 1; `value` is None where none can be shown."""

    file: str
    line: int
    column: int
    path: str
    value: str | None
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: {f'{self.path}: ' if self.path else ''}"
        return f"{where}{self.message}{f' (did you mean {self.suggestion}?)' if self.suggestion else ''}"


class PolicyError(Exception):
    """The policy file cannot be used; `problems` in the order of the file, at least one."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def read_policy(path: FilePath) -> Policy:
    """Read the policy file at `path`; raises `PolicyError`, also for a file that cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        return parse_policy(data.decode(), file=str(path))
    except OSError as error:
        raise _refused(str(path), Mark(1, 1), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        before = data[: error.start]
        mark = Mark(before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        raise _refused(str(path), mark, "not UTF-8 text") from None


def parse_policy(text: str, *, file: str) -> Policy:
    """Turn the text of `file` into a policy, named after the file unless it says its name itself.

    Raises `PolicyError` with every problem of form, key and value; contradictions between values are looked for
    once each value is sound, since a typo would make them up.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise _refused(file, Mark(1, 1), f"larger than {MOST_BYTES} bytes")
    root, faults = read_tree(text)
    problems = [_problem(file, fault) for fault in faults]
    if root is None:
        raise PolicyError(tuple(problems)) if problems else _refused(file, Mark(1, 1), "is empty (write version: 1)")
    try:
        document = PolicyDocument.model_validate(plain(root))
    except ValidationError as error:
        problems += _shape_problems(file, root, error)
        document = None
    if document and not problems:
        policy = resolve(document, name=FilePath(file).stem)
        if isinstance(policy, Policy):
            return policy
        problems += [_flaw_problem(file, root, flaw) for flaw in policy]
    # Not as the cause: a ValidationError holds the values that it refused, a key perhaps among them.
    raise PolicyError(tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))) from None


def _refused(file: str, mark: Mark, message: str) -> PolicyError:
    return PolicyError((_problem(file, Fault(mark, (), message)),))


def _problem(file: str, fault: Fault, *, value: str | None = None, suggestion: str | None = None) -> Problem:
    return Problem(
        file=file,
        line=fault.mark.line,
        column=fault.mark.column,
        path=_dotted(fault.path),
        value=value if _UNSHOWN.isdisjoint(fault.path) else None,
        message=fault.message,
        suggestion=suggestion,
    )


def _dotted(path: Path) -> str:
    """Write a path as `keys[0].profile`; a key that is no plain word is quoted, for it may hold anything."""
    words = (
        f"[{part}]" if isinstance(part, int) else f".{part if _WORD.fullmatch(part) else shown(part)}" for part in path
    )
    return "".join(words).removeprefix(".")


def _shape_problems(file: str, root: Node, error: ValidationError) -> Iterator[Problem]:
    for detail in error.errors(include_url=False):
        path = tuple(part for part in detail["loc"] if part != "[key]")
        entry, unknown = _find(root, path), detail["type"] == "extra_forbidden"
        if entry is None:  # something is missing: point to what it is missing from
            yield _problem(file, Fault(_mark(root, path), path, _words(detail)))
        elif unknown or path != detail["loc"]:
            message, suggestion = _unknown_key(path) if unknown else (_words(detail), None)
            yield _problem(file, Fault(entry.mark, path, message), suggestion=suggestion)
        elif entry.node.value is not None:  # of those without a value the tree has told
            yield _problem(file, Fault(entry.node.mark, path, _words(detail)), value=shown(detail["input"]))


def _flaw_problem(file: str, root: Node, flaw: Flaw) -> Problem:
    entry = _find(root, flaw.path)
    value = shown(plain(entry.node)) if entry else None
    return _problem(
        file, Fault(_mark(root, flaw.path), flaw.path, flaw.message), value=value, suggestion=flaw.suggestion
    )


def _words(detail: ErrorDetails) -> str:
    """Say what is wrong in words for people who do not know pydantic; our own validators speak for themselves."""
    value, context = shown(detail["input"]), detail.get("ctx", {})
    return {
        "missing": "is missing",
        "int_type": f"{value} is not a whole number",
        "bool_type": f"{value} is neither true nor false",
        "string_type": f"{value} is not text (put it in quotes)",
        "enum": f"{value} is not {context.get('expected')}",
        "greater_than_equal": f"{value} is less than {context.get('ge')}",
        "less_than_equal": f"{value} is more than {context.get('le')}",
        "model_type": f"{value} is not a map of keys and values",
        "dict_type": f"{value} is not a map of keys and values",
        "tuple_type": f"{value} is not a list (write [a, b])",
        "frozen_set_type": f"{value} is not a list (write [a, b])",
    }.get(detail["type"], detail["msg"])


def _unknown_key(path: Path) -> tuple[str, str | None]:
    known = _known_keys(path[:-1])
    suggestion = closest(str(path[-1]), known)
    return "unknown key" if suggestion else f"unknown key (known here: {', '.join(known)})", suggestion


def _known_keys(path: Path) -> list[str]:
    """Return the keys that the map at `path` may have, by walking the models."""
    shape: object = PolicyDocument
    for part in path:
        if isinstance(shape, type) and issubclass(shape, BaseModel):
            shape = shape.model_fields[str(part)].annotation
        else:  # dict[str, Model] or tuple[Model, ...]
            shape = next(kind for kind in get_args(shape) if isinstance(kind, type) and issubclass(kind, BaseModel))
    models = [kind for kind in (shape, *get_args(shape)) if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return [field.alias or name for name, field in models[0].model_fields.items()] if models else []


def _find(root: Node, path: Path) -> Entry | None:
    entry = Entry(root.mark, root)
    for part in path:
        inside = entry.node.value
        if isinstance(inside, tuple) and isinstance(part, int):
            entry = Entry(inside[part].mark, inside[part])
        elif isinstance(inside, Mapping) and part in inside:
            entry = inside[str(part)]
        else:
            return None
    return entry


def _mark(root: Node, path: Path) -> Mark:
    """Return where the value at `path` begins, or where the nearest thing around it does."""
    around = (_find(root, path[:end]) for end in range(len(path), -1, -1))
    return next(entry.node.mark for entry in around if entry)
