"""A part of the guest: its own process, which serves one program and ends it.

It owns the wall-clock limit and what is kept of the output.
"""

from __future__ import annotations

import marshal
import os
import resource
import select
import time
from typing import TYPE_CHECKING

from sandbox.guest_channel import Channel, Stream
from sandbox.guest_counters import cpu_seconds_of_others, disk_full, forks_refused, oom_kills, peak_memory_bytes
from sandbox.guest_files import collect
from sandbox.guest_fork import become_program
from sandbox.guest_program import Program
from sandbox.guest_protection import SIGKILL, as_guest, as_program
from sandbox.guest_protocol import (
    BUNDLES,
    CHUNK_BYTES,
    END,
    ENDED,
    ERROR,
    FIGURE,
    ITS_ORDER,
    KILLING,
    MOST_FIGURES,
    NOTHING,
    RESULT_JSON,
    RESULT_REPR,
    STARTED,
    STDERR,
    STDERR_TAIL,
    STDOUT,
    STDOUT_TAIL,
    take_frames,
    write_all,
)
from sandbox.guest_tools import CELL, do_nothing, need

if TYPE_CHECKING:
    import signal as _signal

    from sandbox.guest_protocol import Order
else:
    import _signal

STREAM_CEILING_BYTES = 1 << 30  # a program that writes more to one stream is killed
REPORT_SLACK_BYTES = 1 << 19  # what an error record may add to a result
DRAIN_SECONDS = 0.2
REAP_AT_ONCE = 1_000  # between two looks at the clock, whatever is forked meanwhile
REAP_SECONDS = 5.0


class Supervisor:
    """One program's run, seen from the guest's process. The program's own waits for its order beforehand."""

    def __init__(self) -> None:
        self.report = bytearray()
        self.poll = select.poll()
        self.status: int | None = None
        self.killed_for: str | None = None
        self.wall_seconds = 0.0
        self.oom_kills = oom_kills()
        self.forks_refused = forks_refused()
        self.peak_memory_bytes = peak_memory_bytes() if CELL else 0

    def fork(self) -> Program | None:
        """Fork; return the program in its own process, once it has its order, and None in the guest's."""
        as_program()
        stdin, out, err, report = (os.pipe() for _ in range(4))
        as_guest()
        wake, orders = os.pipe(), os.pipe()
        for descriptor in (stdin[1], out[0], err[0], report[0], *wake):
            os.set_blocking(descriptor, False)
        _signal.signal(_signal.SIGCHLD, do_nothing)  # a handler, so that the wake-up pipe is written
        _signal.set_wakeup_fd(wake[1], warn_on_full_buffer=False)
        self.process = os.fork()
        if self.process == 0:
            return become_program(orders[0], (stdin[0], out[1], err[1]), report[1])
        for descriptor in (orders[0], stdin[0], out[1], err[1], report[1]):
            os.close(descriptor)
        self.orders_descriptor, self.output_descriptors = orders[1], (out[0], err[0])
        self.stdin_descriptor, self.report_descriptor, self.wake_descriptor = stdin[1], report[0], wake[0]
        for descriptor in (0, *self.output_descriptors, self.report_descriptor, self.wake_descriptor):
            self.poll.register(descriptor, select.POLLIN)
        return None

    def rehearse(self) -> None:
        """Tell nobody of a run that there was not, so that this process has its own copy of the memory that this takes."""
        scrap = os.pipe()
        self._take(NOTHING, Channel(scrap[1]))
        for descriptor in (self.wake_descriptor, self.report_descriptor, *self.output_descriptors):
            self.poll.modify(descriptor, select.POLLIN)
        self.channel.send_record(STARTED, {"python": ""})
        self.cpu_seconds = cpu_seconds_of_others()
        self.tell()
        for descriptor in scrap:
            os.close(descriptor)

    def begin(self, order: Order, channel: Channel) -> None:
        """Let the program have its order."""
        its = marshal.dumps({name: order[name] for name in ITS_ORDER})  # type: ignore[literal-required]
        self.cpu_seconds = cpu_seconds_of_others()
        self.began = time.monotonic()
        try:
            write_all(self.orders_descriptor, len(its).to_bytes(4, "big") + its)
        except BrokenPipeError:
            os._exit(
                1
            )  # it died while it waited, of what no program did: the box is lost, and its like takes the order
        os.close(self.orders_descriptor)
        self._take(order, channel)
        self.poll.register(self.stdin_descriptor, select.POLLOUT)

    def _take(self, order: Order, channel: Channel) -> None:
        self.order, self.channel = order, channel
        self.stdin = memoryview(order["stdin"].encode("utf-8", "replace"))
        kept = order["output_bytes"]
        kinds = ((STDOUT, STDOUT_TAIL), (STDERR, STDERR_TAIL))
        self.streams = {one: Stream(*kind, kept) for one, kind in zip(self.output_descriptors, kinds)}  # noqa: B905 - came with 3.10

    def watch(self) -> None:
        """Serve the program until it ended or has to be ended; then leave no process behind."""
        deadline = self.began + self.order["wall_seconds"]
        while self.status is None and self.killed_for is None:
            now = time.monotonic()
            if now >= deadline:
                self._condemn("wall")
                break
            late = self.channel.waiting and now >= self.channel.due
            if late:
                self.channel.flush()
            self.poll.register(1, select.POLLOUT if late and self.channel.waiting else 0)
            until = min(deadline, self.channel.due) if self.channel.waiting and not late else deadline
            for descriptor, _ in self.poll.poll((until - now) * 1000 + 1):
                self._serve(descriptor)
        self.wall_seconds = time.monotonic() - self.began
        self._end_all()
        until = time.monotonic() + DRAIN_SECONDS
        for descriptor in (self.report_descriptor, *self.streams):
            while time.monotonic() < until and self._read(descriptor):
                pass

    def _serve(self, descriptor: int) -> None:
        if descriptor == 1:
            self.channel.flush()
        elif descriptor == self.stdin_descriptor:
            self._feed()
        elif descriptor == self.wake_descriptor:
            os.read(descriptor, CHUNK_BYTES)
            self._reap()
        elif descriptor == 0:
            if not os.read(0, CHUNK_BYTES):
                os._exit(1)  # the gateway is gone: nobody can want this box any more
        elif self._read(descriptor) == b"":
            self.poll.unregister(descriptor)

    def _read(self, descriptor: int) -> bytes | None:
        """Take some of what the program wrote there; empty at its end, None when there is nothing yet."""
        try:
            data = os.read(descriptor, CHUNK_BYTES)
        except BlockingIOError:
            return None
        if descriptor == self.report_descriptor:
            self.report += data[: 2 * self.order["output_bytes"] + REPORT_SLACK_BYTES - len(self.report)]
            return data
        stream = self.streams[descriptor]
        head = stream.take(data)
        if head:
            self.channel.send(stream.kind, head)
        if stream.total > STREAM_CEILING_BYTES and self.status is None and self.killed_for is None:
            self._condemn("output")
        return data

    def _condemn(self, reason: str) -> None:
        """Say why the program is going to be killed, before it is: so that the kill has an author whatever follows."""
        self.killed_for = reason
        self.channel.send_record(KILLING, {"reason": reason})
        self.channel.flush()

    def _feed(self) -> None:
        try:
            self.stdin = self.stdin[os.write(self.stdin_descriptor, self.stdin[:CHUNK_BYTES]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.stdin = self.stdin[:0]
        if not self.stdin:
            self.poll.unregister(self.stdin_descriptor)
            os.close(self.stdin_descriptor)
            self.stdin_descriptor = -1

    def _reap(self) -> bool:
        """Collect what has ended, orphans too: they count against the box. False when no process is left."""
        for _ in range(REAP_AT_ONCE):
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if process == 0:
                return True
            if process == self.process:
                self.status = status
        return True

    def _end_all(self) -> None:
        """Kill whatever runs, and wait until nothing is left."""
        until = time.monotonic() + REAP_SECONDS
        while True:
            try:
                os.kill(-1, SIGKILL)
            except ProcessLookupError:
                pass  # nothing is left, or only what has ended
            if not self._reap() or time.monotonic() > until:
                return
            time.sleep(0.001)

    def tell(self) -> None:
        """Send everything that there is to say of a run that has ended."""
        self.channel.wait()
        self.channel.send_record(
            ENDED,
            {
                "status": self.status,
                "wall_seconds": self.wall_seconds,
                "cpu_seconds": self._cpu_seconds(),
                "peak_memory_bytes": self._peak_memory_bytes(),
                "oom_kills": _step(self.oom_kills, oom_kills()),
                "forks_refused": _step(self.forks_refused, forks_refused()),
                "disk_full": disk_full(),
                "written_bytes": [stream.total for stream in self.streams.values()],
            },
        )
        if self.order["outputs"]:
            self.channel.flush()  # to collect may take long
        for stream in self.streams.values():
            stream.send_tail(self.channel)
        figures: list[str] = []
        for kind, data in take_frames(self.report):
            if kind in (RESULT_JSON, RESULT_REPR, BUNDLES, ERROR):
                self.channel.send(kind, data)
            elif kind == FIGURE and len(figures) < MOST_FIGURES and _is_figure(data):
                figures.append(data.decode())
        self.order["outputs"] += figures
        if self.order["outputs"]:
            need("files")
        collected = not self.order["outputs"] or collect(self.order, self.channel)
        self.channel.send_record(END, {"collected": collected})
        self.channel.flush()

    def _peak_memory_bytes(self) -> int | None:
        """Unknown in a cell that had as much before: nobody but the host's root can set the mark back."""
        peak = peak_memory_bytes()
        return None if peak is None or self.peak_memory_bytes is None or peak <= self.peak_memory_bytes else peak

    def _cpu_seconds(self) -> float | None:
        """CPU time of the program and of all that it started.

        What `wait` tells leaves out every process whose parent ignored SIGCHLD; the box's own account leaves
        out none, but may be a clock tick behind: the larger of the two is never too much.
        """
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        collected = used.ru_utime + used.ru_stime
        counted = cpu_seconds_of_others()
        if counted is None or self.cpu_seconds is None:
            return None if self.status is None else collected
        return max(counted - self.cpu_seconds, collected)


def _is_figure(name: bytes) -> bool:
    """Whether it is a name as `Display` gives them: a program may have said anything."""
    return name.startswith(b"figure-") and name.endswith(b".png") and name[7:-4].isdigit() and len(name) < 20  # noqa: PLR2004 - a number


def _step(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before
