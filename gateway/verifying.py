"""The command `airlock verify` around the walk: where the heads are, how far it is, and how the end looks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import Progress

from gateway.auditing import Flaw
from gateway.database import DatabaseError, looking
from gateway.export_reading import verify_export
from gateway.spelling import visible
from gateway.verification import HEADS, Head, HeadsError, Report, head_text, read_heads, task_count, verify

_SHOWN: Final = 100  # flaws; the rest is counted


class VerifyError(Exception):
    """Nothing could be verified; the message is for an operator."""


def run(url: str, heads: Path | None, *, renew: bool, console: Console) -> Report:
    """Walk the store at `url`; raises `VerifyError`.

    Heads are compared where their file is there, and written where it is not or `renew` is said. Nothing is written where
    something is wrong.
    """
    compare = heads is not None and heads.exists()
    try:
        with (
            _writing(heads if renew or not compare else None) as written,
            heads.open(encoding="utf-8") if heads and compare else nullcontext() as file,
            looking(url) as session,
            Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
        ):
            bar = progress.add_task("tasks", total=task_count(session))
            known = read_heads(file) if file else ()
            report = verify(session, known=known, keep=written.keep, step=lambda: progress.advance(bar))
            written.good = not report.flaws
    except (DatabaseError, HeadsError) as error:
        raise VerifyError(str(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise VerifyError(f"The heads cannot be used: {error}") from None
    report.heads = written.digest if written.good else None
    return report


def run_export(path: Path) -> Report:
    """Verify an export; raises `VerifyError`."""
    try:
        with path.open(encoding="utf-8") as file:
            return verify_export(file)
    except (OSError, UnicodeDecodeError) as error:
        raise VerifyError(f"The export cannot be read: {error}") from None


class _Written:
    """Heads on their way into a file that takes its name only when all are there and all is well."""

    def __init__(self, keep: Callable[[Head], None]) -> None:
        self.keep = keep
        self.good = False
        self.digest: str | None = None


@contextmanager
def _writing(path: Path | None) -> Iterator[_Written]:
    if path is None:
        yield _Written(lambda _: None)
        return
    beside = path.with_name(f"{path.name}.new")
    whole = hashlib.sha256(f"{HEADS}\n".encode())
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(f"{HEADS}\n")

            def keep(head: Head) -> None:
                whole.update(head_text(head).encode())
                file.write(head_text(head))

            written = _Written(keep)
            yield written
        if written.good:
            beside.replace(path)
            written.digest = whole.hexdigest()
    finally:
        beside.unlink(missing_ok=True)


def show(console: Console, report: Report) -> None:
    """What is wrong, then what was looked at."""
    for flaw in report.flaws[:_SHOWN]:
        console.print(f"{_place(flaw)}: {visible(flaw.what)}", markup=False, highlight=False, soft_wrap=True)
    if len(report.flaws) > _SHOWN:
        console.print(f"and {len(report.flaws) - _SHOWN} more")
    looked = ", ".join(f"{count} {name}" for name, count in sorted(report.counts.items()) if count) or "nothing"
    console.print(f"looked at: {looked}", markup=False, highlight=False, soft_wrap=True)
    if report.heads:
        console.print(f"heads written, SHA-256 {report.heads}", markup=False, highlight=False, soft_wrap=True)
    console.print("all is well" if not report.flaws else f"WRONG: {len(report.flaws)} flaws")


def as_json(report: Report) -> str:
    """The report as JSON."""
    flaws = [{"task": flaw.task, "seq": flaw.seq, "what": flaw.what} for flaw in report.flaws]
    return json.dumps({"flaws": flaws, "counts": dict(report.counts), "heads_sha256": report.heads}, indent=2)


def _place(flaw: Flaw) -> str:
    parts = [visible(flaw.task)] if flaw.task else []
    return " ".join([*parts, f"event {flaw.seq}"] if flaw.seq is not None else parts) or "store"
