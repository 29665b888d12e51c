"""Runs in the peers' own environment: one kernel of a Jupyter kernel gateway, one program for each line read.

The WebSocket stays open between programs, as a client's would.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid

from tornado.httpclient import AsyncHTTPClient  # type: ignore[import-not-found] # the peers' environment has it
from tornado.websocket import WebSocketClientConnection, websocket_connect  # type: ignore[import-not-found] # as above


def _request() -> tuple[str, str]:
    message = uuid.uuid4().hex
    content = {"code": "print(1)", "silent": False, "store_history": False, "allow_stdin": False}
    header = {"msg_id": message, "msg_type": "execute_request", "username": "", "session": "bench", "version": "5.3"}
    whole = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    return message, json.dumps(whole)


async def _run(kernel: WebSocketClientConnection) -> float:
    """Seconds from the request to the kernel's being idle again, with the output and the reply in between."""
    message, text = _request()
    said, missing = "", {"execute_reply", "idle"}
    began = time.perf_counter()
    await kernel.write_message(text)
    while missing:
        answer = json.loads(await kernel.read_message())
        if answer["parent_header"].get("msg_id") != message:
            continue
        content = answer["content"]
        said += content.get("text", "") if answer["msg_type"] == "stream" else ""
        missing -= {answer["msg_type"], content.get("execution_state")}
    seconds = time.perf_counter() - began
    if said != "1\n":
        raise SystemExit(f"it said {said!r}")
    return seconds


async def main() -> None:
    """Start a kernel, then answer each line with the seconds of one program."""
    port = int(sys.argv[1])
    started = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/api/kernels", method="POST", body="{}")
    identity = json.loads(started.body)["id"]
    kernel = await websocket_connect(f"ws://127.0.0.1:{port}/api/kernels/{identity}/channels")
    while await asyncio.to_thread(sys.stdin.readline):
        print(await _run(kernel), flush=True)  # noqa: T201  # to whoever asked


asyncio.run(main())
