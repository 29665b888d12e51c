"""Options and arguments that several commands have."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

Pairs: TypeAlias = list[str] | None
Limits: TypeAlias = Annotated[Pairs, typer.Option("--limit", metavar="NAME=AMOUNT", help="As memory=128Mi, time=10s.")]
Database: TypeAlias = Annotated[str | None, typer.Option(metavar="URL", help="Other than the gateway's own.")]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print it whole as JSON.")]
