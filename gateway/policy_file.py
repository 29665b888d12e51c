"""From the text of a policy file to a `Policy`, or to everything that is wrong with it: where, what, what to write.

Owns the places (line, column) and the words of refusal. Must not know what a policy is for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Final, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from gateway.policy import Flaw, Policy, PolicyDocument, closest, resolve
from gateway.quantities import shown
from gateway.yaml_tree import Entry, Fault, Mark, Node, Path, plain, read_tree

M = TypeVar("M", bound=BaseModel)

MOST_BYTES: Final = 1 << 20
"""The largest policy file, in bytes."""

_WORD: Final = re.compile(r"[A-Za-z0-9_<-]{1,64}")
_QUOTED: Final = re.compile(r"'([^']+)'")
_UNSHOWN: Final = frozenset(
    {
        "sha256",
        "url",
        "secret_env",
        "secret_file",
        "password_env",
        "password_file",
        "client_secret",
        "client_secret_env",
        "client_secret_file",
        "keys_file",
        "public_url",
        "issuer",
    }
)
"""The keys whose values are never repeated: who writes the secret itself there should not find it in a log."""
_UNSHOWN_ITEMS: Final = frozenset({"keys", "webhooks"})
"""The lists whose items are maps: what stands there instead may be the secret."""
_UNSHOWN_WHOLE: Final = _UNSHOWN_ITEMS | {"jwt", "mail", "console", "oidc"}
"""The maps and lists in which secrets are named: a text in place of one may be the secret."""


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
    return parse_policy(decoded(read_bytes(path), file=str(path)), file=str(path))


def read_bytes(path: FilePath) -> bytes:
    """What stands in a file, up to a byte more than is read of one; raises `PolicyError` where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise _refused(str(path), Mark(1, 1), f"cannot be read: {error.strerror}") from None


def decoded(data: bytes, *, file: str) -> str:
    """The text of `file`; raises `PolicyError` for what is none, with its place."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start]
        mark = Mark(before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        raise _refused(file, mark, "not UTF-8 text (save it as UTF-8)") from None


def parse_policy(text: str, *, file: str) -> Policy:
    """Turn the text of `file` into a policy, named after the file unless it says its name itself.

    Raises `PolicyError` with every problem of form, key and value; contradictions between values are looked for
    once each value is sound, since a typo would make them up.
    """
    document, root = parse_document(text, PolicyDocument, file=file)
    policy = resolve(document, name=FilePath(file).stem)
    if isinstance(policy, Policy):
        return replace(policy, places=MappingProxyType(dict(_places(file, root))))
    raise _all([_flaw_problem(file, root, flaw) for flaw in policy])


def parse_document(text: str, shape: type[M], *, file: str) -> tuple[M, Node]:
    """Turn the text of `file` into a document of that shape, and its tree; raises `PolicyError`."""
    if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise _refused(file, Mark(1, 1), f"larger than {MOST_BYTES} bytes")
    root, faults = read_tree(text)
    problems = [_problem(file, _quiet(fault)) for fault in faults]
    if root is None:
        raise PolicyError(tuple(problems)) if problems else _refused(file, Mark(1, 1), "is empty (write version: 1)")
    try:
        document = shape.model_validate(plain(root))
    except ValidationError as error:
        problems += _shape_problems(file, root, error, shape)
    else:
        if not problems:
            return document, root
    # Not as the cause: a ValidationError holds the values that it refused, a key perhaps among them.
    raise _all(problems) from None


def _all(problems: list[Problem]) -> PolicyError:
    return PolicyError(tuple(sorted(problems, key=lambda problem: (problem.line, problem.column))))


def problem_at(file: str, root: Node, path: Path, message: str, suggestion: str | None = None) -> Problem:
    """What is wrong with the value at `path` of a document, or with the nearest thing around it that is there."""
    return _problem(file, Fault(_mark(root, path), path, message), suggestion=suggestion)


def _places(file: str, root: Node, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield every key's place, and every list's items'."""
    inside = root.value
    if isinstance(inside, tuple):
        for index, node in enumerate(inside):
            yield (*path, index), f"{file}:{node.mark.line}"
            yield from _places(file, node, (*path, index))
    elif isinstance(inside, Mapping):
        for key, entry in inside.items():
            yield (*path, key), f"{file}:{entry.mark.line}"
            yield from _places(file, entry.node, (*path, key))


def _refused(file: str, mark: Mark, message: str) -> PolicyError:
    return PolicyError((_problem(file, Fault(mark, (), message)),))


def _problem(file: str, fault: Fault, *, value: str | None = None, suggestion: str | None = None) -> Problem:
    return Problem(
        file=file,
        line=fault.mark.line,
        column=fault.mark.column,
        path=_dotted(_told(fault.path)),
        value=None if _is_secret(fault.path) else value,
        message=fault.message,
        suggestion=suggestion,
    )


def _is_secret(path: Path) -> bool:
    """Whether what stands there may be a secret."""
    return (
        not _UNSHOWN.isdisjoint(path)
        or (len(path) > 1 and path[-2] in _UNSHOWN_ITEMS)
        or bool(path and path[-1] in _UNSHOWN_WHOLE)
    )


def _told(path: Path) -> Path:
    """A path up to where a secret may stand: what is below that may be a part of it."""
    return next((path[: end + 1] for end, part in enumerate(path) if part in _UNSHOWN), path)


def _quiet(fault: Fault) -> Fault:
    """A fault of form without what it quotes, where that may be a secret: `!` and `*` begin keys as well."""
    return replace(fault, message=_QUOTED.sub("this", fault.message)) if _is_secret(fault.path) else fault


def _dotted(path: Path) -> str:
    """Write a path as `keys[0].profile`; a key that is no plain word is quoted, for it may hold anything."""
    words = (
        f"[{part}]" if isinstance(part, int) else f".{part if _WORD.fullmatch(part) else shown(part)}" for part in path
    )
    return "".join(words).removeprefix(".")


def _shape_problems(file: str, root: Node, error: ValidationError, shape: type[BaseModel]) -> Iterator[Problem]:
    for detail in error.errors(include_url=False):
        path = tuple(part for part in detail["loc"] if part != "[key]")
        entry, unknown = _find(root, path), detail["type"] == "extra_forbidden"
        if entry is None:  # something is missing: point to what it is missing from
            yield _problem(file, Fault(_mark(root, path), path, _words(detail, path, shape)))
        elif unknown or path != detail["loc"]:
            message, suggestion = _unknown_key(path, shape) if unknown else (_words(detail, path, shape), None)
            yield _problem(file, Fault(entry.mark, path, message), suggestion=suggestion)
        elif entry.node.value is not None:  # of those without a value the tree has told
            fault = Fault(entry.node.mark, path, _words(detail, path, shape))
            yield _problem(file, fault, value=shown(detail["input"]), suggestion=_meant(detail))


def _flaw_problem(file: str, root: Node, flaw: Flaw) -> Problem:
    entry = _find(root, flaw.path)
    value = shown(plain(entry.node)) if entry else None
    return _problem(
        file, Fault(_mark(root, flaw.path), flaw.path, flaw.message), value=value, suggestion=flaw.suggestion
    )


def _words(detail: ErrorDetails, path: Path, root: type[BaseModel]) -> str:
    """Say what is wrong in words for people who do not know pydantic; our own validators speak for themselves."""
    given, context = detail["input"], detail.get("ctx", {})
    value = "this" if _is_secret(path) and not isinstance(given, dict | list) else shown(given)
    begin = "" if path else ": begin with version: 1, and a blank after each colon"
    keys = f" (known here: {', '.join(_known_keys(path, root))})" if detail["type"] == "model_type" else ""
    items = f"[{given}]" if isinstance(given, str) and value != "this" and _WORD.fullmatch(given) else "[a, b]"
    digits = " (write it without quotes and leading zeros)" if isinstance(given, str) and given.isdecimal() else ""
    return {
        "missing": "is missing",
        "int_type": f"{value} is not a whole number{digits}",
        "float_type": f"{value} is not a number (write 0.5)",
        "bool_type": f"{value} is neither true nor false (write one of them, without quotes)",
        "string_type": f"{value} is not text (put it in quotes)",
        "enum": f"{value} is not {context.get('expected')}",
        "greater_than_equal": f"{value} is less than {context.get('ge')}",
        "less_than_equal": f"{value} is more than {context.get('le')}",
        "model_type": f"{value} is not a map of keys and values{begin or keys}",
        "dict_type": f"{value} is not a map of keys and values",
        "tuple_type": f"{value} is not a list (write {items}, or begin each with a dash)",
        "frozen_set_type": f"{value} is not a list (write {items}, or begin each with a dash)",
    }.get(detail["type"], detail["msg"])


def _meant(detail: ErrorDetails) -> str | None:
    """Which of some words was probably meant."""
    words = _QUOTED.findall(str(detail.get("ctx", {}).get("expected")))
    return closest(detail["input"], words) if detail["type"] == "enum" and isinstance(detail["input"], str) else None


def _unknown_key(path: Path, root: type[BaseModel]) -> tuple[str, str | None]:
    known, name = _known_keys(path[:-1], root), str(path[-1])
    if near := closest(name, known):
        return "unknown key", near
    same = (where for where in _all_keys(root, ()) if where[-1] == name)
    elsewhere = max(same, key=lambda where: where[: len(path) - 1] == path[:-1], default=None)  # below, or the first
    return f"unknown key (known here: {', '.join(known)})", _dotted(elsewhere) if elsewhere else None


def _all_keys(shape: type[BaseModel], path: Path) -> Iterator[Path]:
    """Every key that there is, what is in `defaults` before what is in profiles."""
    for name, field in _fields(shape).items():
        yield (*path, name)
        inside = _model_in(field.annotation)
        if inside is not None:
            origin = get_origin(field.annotation)
            many: Path = ("NAME",) if origin is dict else (0,) if origin is tuple else ()
            yield from _all_keys(inside, (*path, name, *many))


def _known_keys(path: Path, root: type[BaseModel]) -> list[str]:
    """Return the keys that the map at `path` may have, by walking the models."""
    shape: type[BaseModel] | None = root
    for part in path:
        if shape is None:
            return []
        fields = _fields(shape)
        if (
            part in fields
        ):  # else it is a key or an index of dict[str, Model] or tuple[Model, ...], which is walked already
            shape = _model_in(fields[str(part)].annotation)
    return list(_fields(shape)) if shape is not None else []


def _fields(shape: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in shape.model_fields.items()}


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model of a value, of the items of a list or map, or of what may be left out."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for kind in get_args(annotation) if (found := _model_in(kind))), None)


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
