"""The frame reader against a hostile box: any bytes, in any pieces."""

from __future__ import annotations

import itertools
import json
import marshal
import struct
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import frames, guest_protocol
from sandbox.frames import FrameReader, StreamReader
from sandbox.job import InputFile, Job, Limits
from sandbox.transcript import Transcript

LIMITS = Limits(cpu_cores=1, memory_bytes=1 << 26, wall_seconds=1, pids=8, disk_bytes=1 << 20, output_bytes=4096)
KINDS = [b"S", b"F", b"k", b"p", b"z", b"o", b"e", b"O", b"E", b"j", b"r", b"m", b"x", b"f", b"d", b"s"]
ENDED = {
    "status": 0,
    "wall_seconds": 0.1,
    "cpu_seconds": 0,
    "peak_memory_bytes": None,
    "oom_kills": 0,
    "forks_refused": 0,
    "disk_full": False,
    "written_bytes": [3, 0],
}
FORGED = b'{"type": "A", "message": "", "line": null, "traceback": "", "errno": 28.0}'


def frame(kind: bytes, payload: bytes | Mapping[str, object]) -> bytes:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return guest_protocol.HEADER.pack(kind, len(data)) + data


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def held(reader: FrameReader) -> int:
    return len(reader._buffer)  # noqa: SLF001 - what it allocates is the promise


@given(st.lists(st.binary(max_size=300), max_size=30))
def test_any_bytes_end_in_frames_or_a_broken_reader(pieces: list[bytes]) -> None:
    reader, transcript = FrameReader(), Transcript(LIMITS)
    for piece in pieces:
        for heard in reader.feed(piece):
            transcript.add(heard)
        assert held(reader) <= guest_protocol.FRAME_BYTES + guest_protocol.HEADER.size + 300


@given(
    st.lists(
        st.tuples(
            st.sampled_from(KINDS),
            st.one_of(
                st.binary(max_size=40),
                st.recursive(
                    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: (
                        st.lists(inner, max_size=3)
                        | st.dictionaries(
                            st.sampled_from(
                                ["python", "path", "size", "reason", "status", "killed_for", "line", "type"]
                            ),
                            inner,
                            max_size=5,
                        )
                    ),
                    max_leaves=8,
                ).map(lambda value: json.dumps(value).encode()),
            ),
        ),
        max_size=12,
    )
)
def test_well_framed_nonsense_never_raises(parts: list[tuple[bytes, bytes]]) -> None:
    reader, transcript = FrameReader(), Transcript(LIMITS)
    for kind, payload in parts:
        for heard in reader.feed(frame(kind, payload)):
            transcript.add(heard)
    assert (transcript.output("stdout").total_bytes or 0) <= frames.LARGEST_NUMBER
    assert transcript.result is None or transcript.result.form in {"json", "repr"}


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=3)
)


@given(st.dictionaries(st.sampled_from(sorted(ENDED)), VALUES, max_size=4))
def test_whatever_a_box_claims_of_its_end_is_refused_or_within_bounds(claims: dict[str, object]) -> None:
    reader = FrameReader()
    for heard in reader.feed(frame(b"p", {**ENDED, **claims})):
        assert isinstance(heard, frames.Ended)
        for number in (heard.status, heard.peak_memory_bytes, heard.oom_kills, heard.forks_refused, heard.stdout_bytes):
            assert number is None or (type(number) is int and 0 <= number <= frames.LARGEST_NUMBER)
        for seconds in (heard.wall_seconds, heard.cpu_seconds):
            assert seconds is None or 0 <= seconds <= frames.LARGEST_NUMBER
        assert heard.disk_full in {None, True, False}
        assert not isinstance(heard.disk_full, int) or isinstance(heard.disk_full, bool)
        return
    assert reader.broken is not None


@given(st.lists(st.integers(min_value=0), max_size=20))
def test_frames_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    data = frame(b"S", {"python": "3.13"}) + frame(b"o", b"abc") + frame(b"p", ENDED) + frame(b"z", {"collected": True})
    reader = FrameReader()
    heard = [found for piece in pieces_of(data, cuts) for found in reader.feed(piece)]
    assert reader.broken is None
    assert [type(found) for found in heard] == [frames.Started, frames.Written, frames.Ended, frames.Finished]


@pytest.mark.parametrize(
    "data",
    [
        b"?\x00\x00\x00\x00",
        b"o" + struct.pack(">I", guest_protocol.FRAME_BYTES + 1),
        b"o\xff\xff\xff\xff",
        frame(b"S", b"{"),
        frame(b"S", b"[]"),
        frame(b"S", {}),
        frame(b"S", {"python": 3.13}),
        frame(b"S", {"python": "3.13; rm"}),
        frame(b"S", b"[" * 100_000),
        frame(b"p", {**ENDED, "status": -1}),
        frame(b"p", {**ENDED, "status": True}),
        frame(b"p", {**ENDED, "oom_kills": 1 << 60}),
        frame(b"p", {**ENDED, "forks_refused": -1}),
        frame(b"p", {**ENDED, "forks_refused": 1.5}),
        frame(b"p", {**ENDED, "disk_full": 1}),
        frame(b"p", {key: value for key, value in ENDED.items() if key != "disk_full"}),
        frame(b"p", {**ENDED, "cpu_seconds": True}),
        frame(b"F", {"type": "OSError", "message": "", "errno": 0}),
        frame(b"F", {"type": "OSError", "message": "", "errno": 4096}),
        frame(b"k", {"reason": "fun"}),
        frame(b"p", {**ENDED, "wall_seconds": -0.5}),
        frame(b"p", json.dumps(ENDED).replace("0.1", "NaN").encode()),
        frame(b"p", {**ENDED, "written_bytes": [1]}),
        frame(b"f", {"path": "/etc/passwd", "size": 1}),
        frame(b"f", {"path": "a/../../b", "size": 1}),
        frame(b"f", {"path": "a\0b", "size": 1}),
        frame(b"f", {"path": "a" * 5000, "size": 1}),
        frame(b"f", {"path": "a", "size": -1}),
        frame(b"s", {"path": "a", "reason": "because"}),
        frame(b"z", {"collected": 1}),
    ],
)
def test_what_no_guest_would_send_breaks_the_reader(data: bytes) -> None:
    reader = FrameReader()
    assert reader.feed(data) == []
    assert reader.broken is not None
    assert reader.feed(frame(b"o", b"more")) == []


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b'{"type": 1}', b'{"type": "A", "line": -4}', FORGED])
def test_a_malformed_error_record_is_the_programs_own_and_breaks_nothing(payload: bytes) -> None:
    reader = FrameReader()
    assert reader.feed(frame(b"x", payload) + frame(b"o", b"x")) == [frames.Written("stdout", is_tail=False, data=b"x")]
    assert reader.broken is None


def test_text_from_a_box_can_be_passed_on() -> None:
    record = {"type": "E", "message": "\ud800", "line": None, "traceback": "", "errno": None}
    (heard,) = FrameReader().feed(frame(b"x", record))
    assert isinstance(heard, frames.Raised)
    assert heard.message == "\\ud800"


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=50))), st.lists(st.integers(min_value=0)))
def test_the_engines_stream_is_taken_apart_however_it_is_cut(parts: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = b"".join(struct.pack(">BxxxI", stream, len(payload)) + payload for stream, payload in parts)
    reader = StreamReader()
    found = [piece for part in pieces_of(data, cuts) for piece in reader.feed(part)]
    for stream in range(256):
        assert b"".join(payload for number, payload in found if number == stream) == b"".join(
            payload for number, payload in parts if number == stream
        )


@given(st.lists(st.binary(max_size=200)))
def test_any_bytes_pass_through_the_engines_stream(pieces: list[bytes]) -> None:
    reader = StreamReader()
    fed = sum(map(len, pieces))
    assert sum(len(piece) for data in pieces for _, piece in reader.feed(data)) <= fed


def test_a_job_is_sent_whole_and_its_collection_is_capped() -> None:
    job = Job(
        execution="e",
        attempt=1,
        code="print('é')",
        limits=Limits(cpu_cores=1, memory_bytes=1, wall_seconds=2.5, pids=1, disk_bytes=1 << 30, output_bytes=7),
        image="i",
        inputs={"n": 1},
        files=(InputFile("a/b", b"\x00\xff"), InputFile("c", b"")),
        outputs=("*.txt",),
    )
    data = frames.encode_job(job)
    (length,) = struct.unpack(">I", data[:4])
    order = marshal.loads(data[4 : 4 + length])
    assert order["code"] == "print('é')"
    assert order["files"] == [("a/b", 2), ("c", 0)]
    assert (order["collect_bytes"], order["output_bytes"], order["wall_seconds"]) == (16 << 20, 7, 2.5)
    assert data[4 + length :] == b"\x00\xff"
