"""The corpus: every hostile program there is, in an order that mixes nothing."""

from __future__ import annotations

from typing import Final

from tests.hostile import files, guest, kernel, network, processes, resources
from tests.hostile.case import Hostile

ALL: Final[tuple[Hostile, ...]] = (
    *network.CASES,
    *files.CASES,
    *processes.CASES,
    *guest.CASES,
    *resources.CASES,
    *kernel.CASES,
)
