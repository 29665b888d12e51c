"""Forms as they come, and the rulings that they stand for. Pure; what is wrong is a `GatewayError` in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from pydantic import JsonValue, ValidationError

from gateway import strict_json
from gateway.errors import InvalidRequest, MalformedRequest
from gateway.requests import RulingRequest

_MOST_FIELDS: Final = 40
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_FRACTION: Final = re.compile(r"[0-9]{1,18}\.[0-9]{1,18}")
LIMITS: Final = ("memory", "time", "cpu", "pids", "disk", "output")


def parse(body: bytes) -> dict[str, str]:
    """The fields of a form; raises `MalformedRequest` for what is none."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            encoding="utf-8",
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError:
        raise MalformedRequest("The body is not a form.") from None
    if len({name for name, _ in pairs}) < len(pairs):
        raise MalformedRequest("The form has a field twice.")
    return {name: value.replace("\r\n", "\n") for name, value in pairs}  # as browsers write line ends


def ruling(form: Mapping[str, str]) -> RulingRequest:
    """The ruling that a form stands for; raises `InvalidRequest` in words."""
    kind = form.get("ruling", "")
    asked: dict[str, JsonValue] = {
        "token": form.get("token", ""),
        "ruling": kind,
        "message": form.get("message", "").strip(),
    }
    match kind:
        case "approve_edited":
            asked["code"] = form.get("code", "")
        case "raise_limits":
            asked["limits"] = _limits(form)
        case "grant":
            asked["failures"] = _number(form.get("failures", ""))
        case "reject":
            asked["final"] = "go_on" not in form
        case "answer":
            asked["result"] = _value(form.get("result", ""))
    try:
        return RulingRequest.model_validate(asked)
    except ValidationError as error:
        fields = tuple((".".join(map(str, one["loc"])), _words(one["msg"])) for one in error.errors())
        raise InvalidRequest("This cannot be ruled like that.", fields=fields) from None


def _limits(form: Mapping[str, str]) -> dict[str, JsonValue]:
    given: dict[str, JsonValue] = {}
    for name in LIMITS:
        text = form.get(f"limit.{name}", "").strip()
        if text:
            given[name] = _amount(text)
    if not given:
        raise InvalidRequest(fields=(("limits", "say at least one of them"),))
    return given


def _amount(text: str) -> JsonValue:
    """A number, or a quantity as the policy writes it."""
    if _NUMBER.fullmatch(text):
        return int(text)
    return float(text) if _FRACTION.fullmatch(text) else text


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text.strip()):
        raise InvalidRequest(fields=(("failures", "must be a number"),))
    return int(text)


def _value(text: str) -> JsonValue:
    """What a person typed: JSON, and else the text itself is refused, since nobody could tell the two apart."""
    try:
        return strict_json.parse(text.encode())
    except MalformedRequest as error:
        why = error.detail.replace("The body", "It")
        told = f'must be JSON: a text stands in quotes, "like this". {why}'
        raise InvalidRequest(fields=(("result", told),)) from None


def _words(message: str) -> str:
    return message.removeprefix("Value error, ").replace("`", "")
