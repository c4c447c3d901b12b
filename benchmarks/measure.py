"""Times of several contestants, taken in turns, and what they say of each other."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any


class Skipped(Exception):  # noqa: N818 - no error: what a case needs is not there
    """Why a case was not run."""


@dataclass(frozen=True)
class Contestant:
    """Something to be timed; `prepare` runs before each round and is not."""

    name: str
    run: Callable[[Any], object]
    prepare: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Ratio:
    """The median of the rounds' ratios, with the least and the greatest."""

    middle: float
    least: float
    greatest: float


@dataclass(frozen=True)
class Measured:
    """Seconds by contestant and round, the contestants in the order they were given."""

    rounds: Mapping[str, Sequence[float]]

    @property
    def names(self) -> list[str]:
        """The contestants."""
        return list(self.rounds)

    def seconds(self, name: str) -> float:
        """Return the median of the rounds."""
        return median(self.rounds[name])

    def ratio(self, name: str, other: str) -> Ratio:
        """Return how many times as long as `other` it took.

        Round by round, since the two of one round met the same state of the machine.
        """
        pairs = zip(self.rounds[name], self.rounds[other], strict=True)
        ratios = [mine / its for mine, its in pairs]
        return Ratio(median(ratios), min(ratios), max(ratios))


def measure(
    contestants: Sequence[Contestant],
    arguments: Sequence[Any] = (None,),
    rounds: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> Measured:
    """Time each contestant on each argument, `rounds` times, after one that does not count.

    A round's figure is the median over the arguments. Who comes first changes from round to round.
    With `time.process_time` for a clock it is processor time of this process.
    """
    taken: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    for number in range(rounds + 1):
        start = number % len(contestants)
        for contestant in (*contestants[start:], *contestants[:start]):
            contestant.prepare()
            with no_collection():
                figure = median(_seconds(contestant.run, argument, clock) for argument in arguments)
            if number > 0:
                taken[contestant.name].append(figure)
    return Measured(taken)


def _seconds(run: Callable[[Any], object], argument: Any, clock: Callable[[], float]) -> float:
    start = clock()
    run(argument)
    return clock() - start


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep the garbage collector out of the times."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
