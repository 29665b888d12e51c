"""Catalogue software products that do not exist, through a gateway that is killed on the way."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import uvloop
from rich.console import Console

from examples.catalogue.audit import read_store, replay
from examples.catalogue.chaos import Chaos, Every, OwnGateway, StartError
from examples.catalogue.coordinator import Assignment, Keys, coordinate
from examples.catalogue.display import Display
from examples.catalogue.gateway import Gateway
from examples.catalogue.ledger import Ledger, LedgerError
from examples.catalogue.report import Report, judge, parts
from examples.catalogue.tally import Tally
from examples.catalogue.world import Shares

_POLICY: Final = Path(__file__).with_name("policy.yaml")
_USUAL: Final = Shares()
_SAMPLES: Final = 40  # of the gateway's size, in the whole run


def main() -> int:
    """Run from the command line; 1 where something was lost, run twice or wrong."""
    options = _parser().parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    shares = Shares(options.mistakes, options.container, options.reviews)
    assignment = Assignment(options.products, options.agents, options.seed, shares)
    try:
        return _run(options, assignment)
    except KeyboardInterrupt:
        sys.stderr.write("catalogue: stopped; the same command goes on where it was\n")
        return 130


def _run(options: argparse.Namespace, assignment: Assignment) -> int:
    try:
        return uvloop.run(_main(options, assignment))
    except* (StartError, LedgerError) as errors:  # a gateway that is started again fails inside a group
        sys.stderr.write(f"catalogue: {'; '.join(map(str, errors.exceptions))}\n")
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.catalogue", description=__doc__)
    parser.add_argument("--products", type=int, default=2_000)
    parser.add_argument("--agents", type=int, default=64, help="researchers at the same time")
    parser.add_argument("--seed", type=int, default=1, help="of the world")
    parser.add_argument(
        "--folder", type=Path, default=Path("data/catalogue"), help="what must survive; run again to resume"
    )
    parser.add_argument(
        "--kill-every", type=Every.read, metavar="N|Ns", help="kill -9 the gateway once in N products, or N seconds"
    )
    parser.add_argument("--policy", type=Path, default=_POLICY, help="of our own gateway")
    parser.add_argument("--server", metavar="URL", help="use this gateway, which runs already, and start none")
    parser.add_argument("--key-file", type=Path, help="of --server: an agent's key, if it wants one")
    parser.add_argument("--reviewer-key-file", type=Path, default=Path("data/reviewer.key"), help="of --server")
    parser.add_argument(
        "--mistakes", type=float, default=_USUAL.mistakes, help="share of first programs that are wrong"
    )
    parser.add_argument(
        "--container", type=float, default=_USUAL.container, help="share of pages that need a container"
    )
    parser.add_argument("--reviews", type=float, default=_USUAL.reviews, help="share of products that end in a review")
    return parser


async def _main(options: argparse.Namespace, assignment: Assignment) -> int:
    console = Console()
    own = None if options.server else OwnGateway(options.folder, options.policy)
    ledger = Ledger(options.folder / "catalogue.db", _settings(assignment))
    tally = Tally(assignment.products, ledger.seconds(), len(ledger.done()))
    try:
        if own is not None:
            console.print(f"gateway: {own.url}, its data in {own.folder}")
            await own.start()
        gateway = Gateway(own.url if own is not None else options.server, tally)
        display = Display(console, tally)
        with display.shown():
            async with _chaos(options, own, tally):
                tally.began, used = time.monotonic(), time.process_time()
                await coordinate(assignment, gateway, _keys(options, own), ledger, _looks(display, own, tally))
                tally.processor_seconds = time.process_time() - used
        ledger.export(options.folder / "catalogue.jsonl")
        console.print("comparing with the truth and with the gateway's record ...")
        report = await _report(assignment, ledger, gateway, own, _keys(options, own))
    finally:
        ledger.close()
        if own is not None:
            await own.stop()
    text = report.markdown()
    (options.folder / "report.md").write_text(text, encoding="utf-8")
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    return 1 if report.problems else 0


def _keys(options: argparse.Namespace, own: OwnGateway | None) -> Keys:
    reviewer = own.reviewer_key if own is not None else options.reviewer_key_file.read_text("ascii").strip()
    return Keys(reviewer, options.key_file.read_text("ascii").strip() if options.key_file else None)


def _settings(assignment: Assignment) -> dict[str, object]:
    """What must be the same in every run on one folder."""
    shares = assignment.shares
    return {
        "products": assignment.products,
        "seed": assignment.seed,
        "shares": [shares.mistakes, shares.container, shares.reviews],
    }


@asynccontextmanager
async def _chaos(options: argparse.Namespace, own: OwnGateway | None, tally: Tally) -> AsyncIterator[None]:
    """Kill the gateway on the way, if that is wanted and it is ours."""
    every: Every | None = options.kill_every
    if own is None or every is None:
        yield
        return

    def killed() -> None:
        tally.kills += 1
        tally.note("kill", 1.0)

    def progress() -> float:
        return tally.seconds if every.seconds else tally.finished

    async with asyncio.TaskGroup() as group:  # where it cannot be started again, the work ends
        chaos = group.create_task(Chaos(own, every, progress, killed, random.Random()).work())  # noqa: S311  # any moment
        yield
        chaos.cancel()
    await own.be_there()


def _looks(display: Display, own: OwnGateway | None, tally: Tally) -> Callable[[], None]:
    """Show how things stand, and now and then measure the gateway."""
    step, due = max(1, tally.wanted // _SAMPLES), 0

    def look() -> None:
        nonlocal due
        display.look()
        if own is not None and tally.finished >= due and own.memory_bytes():
            due = (tally.finished // step + 1) * step
            tally.note("memory", own.memory_bytes())
            tally.note("store", own.store_bytes())
            tally.note("processor", own.processor_seconds())

    return look


async def _report(
    assignment: Assignment, ledger: Ledger, gateway: Gateway, own: OwnGateway | None, keys: Keys
) -> Report:
    moments = ledger.moments()
    database = own.data / "airlock.db" if own is not None else None
    return Report(
        assignment=assignment,
        tally=gateway.tally,
        catalogue=judge(assignment, ledger),
        parts=parts(ledger.times(), moments),
        kills=sum(what == "kill" for _, what, _ in moments),
        absences=[value for _, what, value in moments if what == "away"],
        replay=await replay(gateway, keys.researchers, assignment, ledger.executions(), most=500),
        store=read_store(database, assignment.seed, ledger.executions()) if database is not None else None,
    )


if __name__ == "__main__":
    sys.exit(main())
