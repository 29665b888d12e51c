"""What callers send: closed shapes, in which an unknown field or a doubtful value is an error with its place.

Knows no store and no lane.
"""

from __future__ import annotations

import base64
import binascii
import json
import keyword
import re
from types import NoneType
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from gateway.events import RulingKind
from gateway.policy import LimitsRequest
from gateway.quantities import Seconds
from gateway.wire import Wire

NOT_THE_PROGRAM = frozenset({"task_id", "priority", "start_within", "confidence"})
"""The fields of a request on which nothing that the program does depends."""
TASK_ID = r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$"
_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"
_IDENTIFIER = re.compile(_NAME)
_PATH_PART = re.compile(r"^(?!\.{1,2}$)[^/\0]{1,255}$")
_KEYWORDS = frozenset(keyword.kwlist)
_LONGEST_PATH = 512
_LARGEST_SCHEMA = 64 << 10  # bytes as JSON


def _clean_path(path: str) -> str:
    """A relative path without a way out: `data/in.csv`, never `/x`, `../x`, `a//b`."""
    if len(path) > _LONGEST_PATH or not all(_PATH_PART.match(part) for part in path.split("/")):
        raise ValueError("must be a relative path without '..', '.' or empty parts, 512 characters at most")
    return path


def _clean_glob(pattern: str) -> str:
    """A glob below the working directory; `/tmp/` in front of it is what programs call that directory."""
    _clean_path(pattern.removeprefix("/tmp/"))  # noqa: S108  # the box's own /tmp
    return pattern


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL")
    return text


def _no_surrogates(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be text that has a UTF-8 form (it holds half of a surrogate pair)") from None
    return text


def _told(pattern: str, longest: int) -> FieldInfo:
    """What the OpenAPI document tells of a text that a function of ours judges, with better words."""
    says: JsonDict = {"pattern": pattern, "maxLength": longest}
    info: FieldInfo = Field(json_schema_extra=says)
    return info


# As regular expressions of JSON Schema.
_PART = r"(?!\.{1,2}(?:/|$))[^/\u0000]{1,255}"
_PARTS = rf"{_PART}(?:/{_PART})*"

Text: TypeAlias = Annotated[str, AfterValidator(_no_surrogates)]
Argument: TypeAlias = Annotated[
    str,
    AfterValidator(_no_surrogates),
    AfterValidator(_no_nul),
    Field(max_length=8192),
    _told(r"^[^\u0000]*$", 8192),
]
Path: TypeAlias = Annotated[
    str, AfterValidator(_no_surrogates), AfterValidator(_clean_path), _told(f"^{_PARTS}$", _LONGEST_PATH)
]
Glob: TypeAlias = Annotated[
    str,
    AfterValidator(_no_surrogates),
    AfterValidator(_clean_glob),
    _told(f"^(?:/tmp/)?{_PARTS}$", _LONGEST_PATH),
]
ReviewState: TypeAlias = Literal["open", "decided", "withdrawn", "expired"]
TaskId: TypeAlias = Annotated[str, Field(pattern=TASK_ID)]


class FileIn(Wire):
    """A file that the program finds in its working directory."""

    path: Path
    content: Text
    encoding: Literal["utf8", "base64"] = "utf8"

    @model_validator(mode="after")
    def _decodes(self) -> FileIn:
        self.data()
        return self

    def data(self) -> bytes:
        """The file's bytes; raises `ValueError` for what is not base64."""
        if self.encoding == "utf8":
            return self.content.encode()
        try:
            return base64.b64decode(self.content, validate=True)
        except binascii.Error as error:
            raise ValueError(f"content is not base64: {error}") from None


_A_SCHEMA: JsonDict = {"type": ["object", "boolean", "null"]}
_Bytes: TypeAlias = Annotated[int, Field(strict=True, ge=0)]


class Expect(Wire):
    """What a run has to come to besides its success. One that breaks it is `failed` with the error type `bad_result`."""

    result_schema: JsonValue = Field(
        default=None,
        json_schema_extra=_A_SCHEMA,
        description="A JSON Schema that `result` keeps. References lead nowhere but into itself; patterns have no"
        " lookaround and no backreferences; formats are checked.",
    )
    max_stdout_bytes: _Bytes | None = None
    max_stderr_bytes: _Bytes | None = None
    max_result_bytes: _Bytes | None = Field(default=None, description="Of the result as compact JSON.")
    max_files_bytes: _Bytes | None = Field(default=None, description="Of all files that come back, together.")
    files: list[Path] = Field(default_factory=list, max_length=256, description="Files that `outputs` bring back.")

    @field_validator("result_schema")
    @classmethod
    def _bounded(cls, schema: JsonValue) -> JsonValue:
        if not isinstance(schema, (dict, bool, NoneType)):
            raise ValueError("a schema is an object or a boolean")  # noqa: TRY004  # pydantic tells values, not types
        if len(json.dumps(schema)) > _LARGEST_SCHEMA:
            raise ValueError(f"a schema must not be larger than {_LARGEST_SCHEMA} bytes")
        return schema


class ExecutionRequest(Wire):
    """A program and what it is given."""

    code: Text = Field(min_length=1, description="The Python program, as the text of one file.")
    task_id: TaskId | None = Field(
        default=None,
        description="What this program belongs to; the retry budget is the task's. Without it, the caller's rolling anonymous task.",
    )
    inputs: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="JSON values, bound to variables of these names.",
        json_schema_extra={"propertyNames": {"pattern": _NAME}},
    )
    stdin: Text = ""
    args: list[Argument] = Field(default_factory=list, max_length=256, description="sys.argv[1:]")
    env: dict[str, Argument] = Field(
        default_factory=dict, max_length=128, json_schema_extra={"propertyNames": {"pattern": _NAME}}
    )
    files: list[FileIn] = Field(default_factory=list, max_length=256)
    outputs: list[Glob] = Field(default_factory=list, max_length=64, description="Globs of the files to bring back.")
    limits: LimitsRequest | None = None
    expect: Expect | None = Field(default=None, description="What the run has to come to besides its success.")
    lane: Literal["auto", "monty", "container"] = Field(
        default="auto",
        description="`container` skips Monty; `monty` refuses what Monty cannot run exactly like CPython.",
    )
    priority: Literal["low", "normal", "high"] = Field(
        default="normal", description="Which of your tenant's programs gets a box first; others' are not concerned."
    )
    start_within: Seconds | None = Field(
        default=None, description="Do not run it any more if it has not started by then; its status is `expired`."
    )
    confidence: float | None = Field(
        default=None,
        strict=True,
        ge=0,
        le=1,
        description="How sure its author is that it does what it should. The policy may have a person look at the rest.",
    )
    force: bool = Field(
        default=False, strict=True, description="Run it although a check is certain that a name does not exist."
    )

    @field_validator("inputs")
    @classmethod
    def _names(cls, inputs: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for name in inputs:
            if not _IDENTIFIER.fullmatch(name) or name in _KEYWORDS or (name.startswith("__") and name.endswith("__")):
                raise ValueError(f"{name!r} cannot be a variable's name")
        return inputs

    @field_validator("env")
    @classmethod
    def _env_names(cls, env: dict[str, str]) -> dict[str, str]:
        for name in env:
            if not _IDENTIFIER.fullmatch(name):
                raise ValueError(f"{name!r} cannot be an environment variable's name")
        return env

    @model_validator(mode="after")
    def _can_come_back(self) -> ExecutionRequest:
        if self.expect is not None and self.expect.files and not self.outputs:
            raise ValueError("`expect.files` needs `outputs` that bring them back")
        return self

    @field_validator("files")
    @classmethod
    def _distinct(cls, files: list[FileIn]) -> list[FileIn]:
        paths = [file.path for file in files]
        if len(set(paths)) < len(paths):
            raise ValueError("two files have the same path")
        return files


class EditRequest(Wire):
    """A reviewer's version of the reviewed program, to be judged and not to be run."""

    code: Text = Field(min_length=1)


class RulingRequest(Wire):
    """A reviewer's decision. `token` is the one that the review showed."""

    token: str = Field(min_length=1, max_length=128)
    ruling: RulingKind
    message: Text = Field(default="", max_length=10_000)
    code: Text | None = Field(default=None, min_length=1, description="approve_edited: the reviewer's version.")
    limits: LimitsRequest | None = Field(default=None, description="raise_limits: what to run it with.")
    failures: int | None = Field(default=None, strict=True, ge=1, le=1000, description="grant: how many failures more.")
    result: JsonValue = Field(default=None, description="answer: the result that a person gives.")
    final: bool = Field(default=True, strict=True, description="reject: whether the task is over.")

    @model_validator(mode="after")
    def _complete(self) -> RulingRequest:
        needs = {RulingKind.APPROVE_EDITED: "code", RulingKind.RAISE_LIMITS: "limits", RulingKind.GRANT: "failures"}
        owner = {field: kind for kind, field in needs.items()}
        for field in self.model_fields_set & set(owner):
            if owner[field] is not self.ruling:
                raise ValueError(f"`{field}` belongs to the ruling `{owner[field]}`")
        needed = needs.get(self.ruling)
        if needed and getattr(self, needed) is None:
            raise ValueError(f"the ruling `{self.ruling}` needs `{needed}`")
        if self.ruling is RulingKind.ANSWER and "result" not in self.model_fields_set:
            raise ValueError("the ruling `answer` needs `result`")
        if self.ruling is RulingKind.REJECT and not self.message.strip():
            raise ValueError("the ruling `reject` needs a `message`: the agent reads it")
        return self


class ExplainRequest(Wire):
    """Whose request it would be, and what it would be."""

    key: str | None = Field(default=None, max_length=64, description="The name that the policy has for a key.")
    profile: str | None = Field(default=None, max_length=64, description="A profile, instead of the key's.")
    request: ExecutionRequest | None = Field(default=None, description="What would be sent to `POST /v1/executions`.")
