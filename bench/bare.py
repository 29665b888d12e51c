"""What one would write without Airlock: an endpoint that runs a program in Monty. Nothing checks, bounds or records it.

It listens as the gateway does: uvicorn on uvloop with h11, no access log.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request
from pydantic import BaseModel
from pydantic_monty import AsyncMonty, CollectString


class Program(BaseModel):
    """What is sent."""

    code: str


class Said(BaseModel):
    """What is answered."""

    stdout: str


@asynccontextmanager
async def _pool(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncMonty(binary_path=Path(sysconfig.get_path("scripts")) / "monty") as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=_pool, telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False})


@app.get("/healthz")
async def healthz() -> bool:
    """Answer."""
    return True


@app.post("/run")
async def run(program: Program, request: Request) -> Said:
    """Run a program in Monty."""
    pool: AsyncMonty = request.app.state.pool
    collected = CollectString()
    async with pool.checkout() as session:
        await session.feed_run(program.code, print_callback=collected)
    return Said(stdout=collected.output)


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="h11", ws="none", access_log=False, log_level="warning")
