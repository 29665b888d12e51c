"""Runs in the peers' own environment: llm-sandbox with its pool of containers, one pooled session for each line read.

A pooled session is what its documentation shows: take a container from the pool, run, give it back.
"""

from __future__ import annotations

import sys
import time

from llm_sandbox import SandboxSession  # type: ignore[import-not-found] # the peers' environment has it
from llm_sandbox.pool import PoolConfig, create_pool_manager  # type: ignore[import-not-found] # as above


def main() -> None:
    """Answer each line with the seconds of one run."""
    image = sys.argv[1]
    config = PoolConfig(min_pool_size=2, max_pool_size=2, enable_prewarming=True)
    # The image has Python where the library would install it, because nothing may be installed in it from here.
    with create_pool_manager(
        backend="docker", config=config, lang="python", image=image, skip_environment_setup=True
    ) as pool:
        for _ in sys.stdin:
            began = time.perf_counter()
            with SandboxSession(lang="python", pool=pool) as session:
                said = session.run("print(1)")
            seconds = time.perf_counter() - began
            if said.stdout != "1\n":
                raise SystemExit(f"it said {said!r}")
            print(seconds, flush=True)  # noqa: T201  # to whoever asked


main()
