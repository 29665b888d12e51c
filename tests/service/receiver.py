"""A receiver of webhooks: a small HTTP server that keeps what it is sent, and answers as it is told to."""

from __future__ import annotations

import base64
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from tests.conftest import free_port

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes....").decode()


@dataclass(frozen=True)
class Letter:
    """What came, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def type(self) -> str:
        return str(json.loads(self.body)["type"])

    @property
    def data(self) -> dict:  # type: ignore[type-arg]
        data = json.loads(self.body)["data"]
        assert isinstance(data, dict)
        return data


@dataclass
class Receiver:
    """`status` and `headers` are of the answers; `seconds` is how long one takes; before the `with` nobody listens."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0
    body: bytes = b""
    port: int = field(default_factory=free_port)
    letters: list[Letter] = field(default_factory=list)
    taken: list[Letter] = field(default_factory=list)
    """Of the letters, those that were answered with success."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/token-in-the-path"

    def webhook(self, **more: object) -> str:
        """The policy's entry."""
        entry = {"name": "alerts", "url": self.url, "secret_env": "AIRLOCK_SECRET_ALERTS", "base": "200ms", **more}
        return f"webhooks: [{json.dumps(entry)}]\n"

    def of(self, kind: str) -> list[Letter]:
        return [letter for letter in self.letters if letter.type == kind]

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                names = {name.lower(): value for name, value in self.headers.items()}
                letter = Letter(self.path, names, body)
                receiver.letters.append(letter)
                time.sleep(receiver.seconds)
                status = receiver.status
                if status < 300:
                    receiver.taken.append(letter)
                self.send_response(status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(receiver.body)))
                self.end_headers()
                self.wfile.write(receiver.body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
