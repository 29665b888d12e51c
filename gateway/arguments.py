"""What is typed on a command line, as what a request holds. A mistake is told in the words of the command line."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import typer
from pydantic import JsonValue, TypeAdapter, ValidationError

from gateway.requests import Path as FilePath
from gateway.requests import RulingRequest

_CLEAN = TypeAdapter[str](FilePath)


def text_of(path: str) -> str:
    """The text of a file; `-` is stdin."""
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return data.decode("utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{path} is not UTF-8 text") from None


def values(pairs: Iterable[str]) -> dict[str, JsonValue]:
    """`NAME=VALUE`, the value as JSON where it is JSON and as text where it is not."""
    return {name: _json_or_text(value) for name, value in _split(pairs)}


def json_value(text: str) -> JsonValue:
    """A JSON value."""
    try:
        return _json(text)
    except ValueError as error:
        raise typer.BadParameter(f"this is not JSON: {error}") from None


def file_in(path: Path) -> dict[str, JsonValue]:
    """A file for the program, by its relative path, or its name where the path leads elsewhere."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror}") from None
    name = path.as_posix() if is_clean(path.as_posix()) else path.name
    try:
        return {"path": name, "content": data.decode("utf-8")}
    except UnicodeDecodeError:
        return {"path": name, "content": base64.b64encode(data).decode("ascii"), "encoding": "base64"}


def is_clean(path: str) -> bool:
    """Whether a path is relative and leads nowhere else."""
    try:
        _CLEAN.validate_python(path)
    except ValidationError:
        return False
    return True


def check_ruling(ruling: dict[str, JsonValue]) -> None:
    """Tell what a ruling lacks before anybody is asked anything."""
    try:
        RulingRequest.model_validate({**ruling, "token": "later"})
    except ValidationError as error:
        told = [
            ".".join(map(str, one["loc"])) + " " + one["msg"].removeprefix("Value error, ") for one in error.errors()
        ]
        raise typer.BadParameter("; ".join(line.strip() for line in told)) from None


def _split(pairs: Iterable[str]) -> list[tuple[str, str]]:
    for pair in pairs:
        if "=" not in pair:
            raise typer.BadParameter(f"{pair!r} must be NAME=VALUE")
    return [(name, value) for name, _, value in (pair.partition("=") for pair in pairs)]


def _json_or_text(text: str) -> JsonValue:
    try:
        return _json(text)
    except (ValueError, RecursionError):
        return text


def _json(text: str) -> JsonValue:
    value: JsonValue = json.loads(text, parse_constant=_refuse)
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
