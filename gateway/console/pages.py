"""Templates and static files. Every template escapes what it is given, and fails over a name that it is not given."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from gateway import __version__
from gateway.console import text, tries, words
from gateway.console.guarding import OPERATORS, READERS, ROOT, RULERS, roles_of
from gateway.console.sessions import Session
from gateway.quantities import format_cores, format_seconds, format_size
from gateway.times import now

_HERE: Final = Path(__file__).parent
_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
)


@dataclass(frozen=True, slots=True)
class Static:
    """A file that browsers load."""

    content: bytes
    media_type: str
    etag: str


def _static_files() -> dict[str, Static]:
    files = {}
    for path in sorted((_HERE / "static").iterdir()):
        if path.suffix in _TYPES:
            content = path.read_bytes()
            files[path.name] = Static(content, _TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return files


class Pages:
    """Turns a template and what it shows into a response."""

    def __init__(self) -> None:
        self._static = _static_files()
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters |= {
            "shown": text.shown,
            "short": text.short,
            "size": tries.size,
            "amount_size": format_size,
            "amount_time": format_seconds,
            "amount_cores": format_cores,
            "reason": words.reason,
            "status": words.status,
            "verdict": words.verdict,
            "when": _when,
            "machine": _machine,
            "clock": _clock,
            "tojson_text": json.dumps,
            "lines_of": text.tail,
        }
        self._environment.globals |= {"root": ROOT, "airlock_version": __version__}

    async def show(
        self,
        name: str,
        session: Session | None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **shown: object,
    ) -> Response:
        """A page, made in a thread: it may be long, and others are served meanwhile."""
        content = await asyncio.to_thread(self.render, name, session, **shown)
        return HTMLResponse(content, status, dict(headers or {}))

    def render(self, name: str, session: Session | None, **shown: object) -> str:
        """The page's text."""
        at = now()
        roles = roles_of(session.caller) if session else frozenset[str]()
        return self._environment.get_template(name).render(
            session=session,
            caller=session.caller if session else None,
            reads=bool(roles & READERS),
            rules=bool(roles & RULERS),
            operates=bool(roles & OPERATORS),
            csrf=session.csrf if session else "",
            now=at,
            age=lambda since: words.age(since, at),
            until=lambda end: words.span((end - at).total_seconds()),
            **shown,
        )

    def static(self, name: str, request: Request) -> Response | None:
        """A static file; None where there is no such file."""
        found = self._static.get(name)
        if found is None:
            return None
        headers = {"ETag": found.etag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == found.etag:
            return Response(status_code=304, headers=headers)
        return Response(found.content, headers=headers, media_type=found.media_type)


def _when(at: datetime | str) -> str:
    stamp = datetime.fromisoformat(at) if isinstance(at, str) else at
    return f"{stamp:%Y-%m-%d %H:%M:%S} UTC"


def _machine(at: datetime | str) -> str:
    return at if isinstance(at, str) else at.isoformat()


def _clock(at: datetime) -> str:
    return f"{at:%H:%M:%S}"
