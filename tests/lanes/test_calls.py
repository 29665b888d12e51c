"""What the gateway speaks by hand it understands as HTTP, and whatever else comes back is a failure in words."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sandbox.calls import Answer, CallError, EngineAddress, call

HELD = b'{"Id": "1"}'
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n5;x=y\r\n" + HELD[:5] + b"\r\n6\r\n" + HELD[5:] + b"\r\n0\r\n\r\n"


async def said(place: Path, words: bytes) -> tuple[Answer, bytes]:
    """The answer to a call of a server that says just that, and what it was asked."""
    heard = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(2))
        writer.write(words)
        writer.close()

    server = await asyncio.start_unix_server(serve, place / "engine")
    async with server, asyncio.timeout(10):
        return await call(EngineAddress(f"unix://{place}/engine"), "POST", "/v1.41/containers/create", b"{}"), bytes(
            heard
        )


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (b"HTTP/1.1 201 Created\r\nContent-Length: 11\r\n\r\n" + HELD, Answer(201, HELD)),
        (b"HTTP/1.1 201 Created\r\n" + CHUNKED, Answer(201, HELD)),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Answer(204, b"")),
    ],
)
async def test_an_answer_is_whole_however_it_is_framed(tmp_path: Path, words: bytes, answer: Answer) -> None:
    found, heard = await said(tmp_path, words)
    assert found == answer
    assert not found.failed
    assert heard.startswith(b"POST /v1.41/containers/create HTTP/1.1\r\n")
    assert heard.endswith(b"\r\n\r\n{}")


@pytest.mark.parametrize("body", [b'{"message": "no such image: x"}', b"no such image: x", b"[]", b"\xff"])
async def test_a_refusal_is_told_in_the_engines_words(tmp_path: Path, body: bytes) -> None:
    answer, _ = await said(tmp_path, b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    assert answer.failed
    assert answer.message.startswith("404: ")
    assert ("no such image" in answer.message) == (b"image" in body)


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 yes\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: 12\r\n\r\n" + HELD,
        b"HTTP/1.1 201 Created\r\nContent-Length: 99999999999\r\n\r\n" + HELD,
        b"HTTP/1.1 201 Created\r\nContent-Length: -1\r\n\r\n" + HELD,
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n" + HELD,
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n" + HELD,
        b"x" * (1 << 20),
    ],
)
async def test_what_is_no_answer_is_a_failure(tmp_path: Path, words: bytes) -> None:
    with pytest.raises(CallError):
        await said(tmp_path, words)


async def test_an_engine_that_is_not_there_is_one_too(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        await call(EngineAddress(f"unix://{tmp_path}/engine"), "GET", "/_ping")
    with pytest.raises(CallError, match="cannot be reached"):
        await call(EngineAddress("ftp://engine"), "GET", "/_ping")
