"""A gateway whose clock is set by a file: AIRLOCK_TEST_CLOCK names one with the seconds that it is ahead."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

from gateway import times

_FILE = Path(os.environ["AIRLOCK_TEST_CLOCK"])  # noqa: TID251  # a test's own
_true = times.now


def _shifted() -> datetime:
    return _true() + timedelta(seconds=float(_FILE.read_text()))


times.now = _shifted  # before anybody else imports it

if __name__ == "__main__":
    from gateway.cli import app

    app()
