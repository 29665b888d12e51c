"""Who is measured when: everybody in each round, in an order of its own, so that noise hits all alike."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.results import Results
from bench.subject import Latency, Throughput

_TRIES = 3  # for a sample that was not what it should be: a warm box that was not there


@dataclass(slots=True)
class Plan:
    """Measures into `results`. `say` is told what is being measured, `advance` that another turn is over."""

    results: Results
    chance: random.Random
    say: Callable[[str], None]
    advance: Callable[[], None]
    _gone: set[str] = field(default_factory=set)

    async def latencies(self, subjects: Sequence[Latency], rounds: int) -> None:
        """Batches of one program after another."""
        for subject in subjects:
            self.results.subjects.setdefault(subject.name, subject.described)
        for _ in range(rounds):
            for subject in self._order(subjects):
                self.say(f"{subject.described.title}, one at a time")
                samples = self.results.latencies.setdefault(subject.name, [])
                try:
                    samples.append(await _batch(subject))
                except Exception as error:  # noqa: BLE001  # whatever a peer does; ours is raised again
                    self._give_up(subject, error)
                self.advance()

    async def rates(self, subjects: Sequence[Throughput], rounds: int) -> None:
        """Turns under load, each level of each subject in each round."""
        for subject in subjects:
            self.results.subjects.setdefault(subject.name, subject.described)
        for _ in range(rounds):
            turns = [(subject, level) for subject in subjects for level in subject.levels]
            self.chance.shuffle(turns)
            for subject, level in turns:
                self.say(f"{subject.described.title}, {level} at a time")
                rate = await subject.rate(level)
                await subject.settle()
                self.results.rates.setdefault(subject.name, {}).setdefault(level, []).append(rate)
                self.advance()

    def _order(self, subjects: Sequence[Latency]) -> list[Latency]:
        present = [subject for subject in subjects if subject.name not in self._gone]
        self.chance.shuffle(present)
        return present

    def _give_up(self, subject: Latency, error: Exception) -> None:
        """A peer that fails is left out from here on; a failure of ours, or of a floor, ends the run."""
        if subject.described.kind != "peer":
            raise error
        self._gone.add(subject.name)
        self.results.missing[subject.name] = f"{type(error).__name__}: {str(error)[:200]}"


async def _batch(subject: Latency) -> list[float]:
    samples = []
    for _ in range(subject.batch):
        for _ in range(_TRIES):
            await subject.ready()
            seconds = await subject.once()
            if seconds is not None:
                samples.append(seconds)
                break
    await subject.settle()
    return samples
