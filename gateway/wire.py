"""What all that callers send and read has in common, and how an error is told."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Wire(BaseModel):
    """Closed and immutable: an unknown field is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldProblem(Wire):
    """One wrong field."""

    field: str
    message: str


class Problem(BaseModel):
    """An error answer (RFC 9457, `application/problem+json`)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = None
