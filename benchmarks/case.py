"""What a case is, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from benchmarks.measure import Measured, Ratio

if TYPE_CHECKING:
    from benchmarks.workbench import Workbench


@dataclass(frozen=True)
class Target:
    """The bound of a figure; `unit` completes it, as in "≤ 1.5 × the time"."""

    sign: Literal["≤", "≥"]
    bound: float
    unit: str = ""

    def is_reached(self, figure: float) -> bool:
        """Compare the figure itself, not what is shown of it."""
        return figure <= self.bound if self.sign == "≤" else figure >= self.bound

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g} {self.unit}".rstrip()


@dataclass(frozen=True)
class Condition:
    """A second figure that must be reached with the first, such as a recall."""

    name: str
    figure: float
    target: Target

    @property
    def is_reached(self) -> bool:
        """Whether it is."""
        return self.target.is_reached(self.figure)


@dataclass(frozen=True)
class Bar:
    """A contestant's figure, in the unit of its outcome."""

    name: str
    value: float


@dataclass(frozen=True)
class Outcome:
    """What was measured: the figure that the target speaks of, and the bars behind it, ours first.

    `spread` is the least and the greatest of the rounds' figures.
    """

    figure: float
    bars: Sequence[Bar]
    unit: str
    spread: tuple[float, float] | None = None
    conditions: Sequence[Condition] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Case:
    """One comparison. Without a target it is only told."""

    name: str
    what: str
    peer: str
    target: Target | None
    function: Callable[[Workbench], Outcome] = field(repr=False)
    #: The reason, as far as it is known, why a target is not reached.
    if_missed: str = ""


@dataclass(frozen=True)
class Result:
    """A case that was run, skipped or failed; the latter two say why."""

    case: Case
    outcome: Outcome | None
    skipped: str = ""
    failed: str = ""

    @property
    def is_reached(self) -> bool | None:
        """Whether target and conditions are reached; None without both a target and an outcome."""
        if self.outcome is None or self.case.target is None:
            return None
        return self.case.target.is_reached(self.outcome.figure) and all(
            condition.is_reached for condition in self.outcome.conditions
        )


def times(most: float) -> Target:
    """Return the target of a time beside the peer's."""
    return Target("≤", most, "× the time")


def rate(least: float) -> Target:
    """Return the target of a rate beside the peer's."""
    return Target("≥", least, "× the rate")


def outcome_of_times(
    measured: Measured, conditions: Sequence[Condition] = (), notes: Sequence[str] = ()
) -> Outcome:
    """Compare the first contestant's time with the second's; others stand beside."""
    ours, peer = measured.names[:2]
    seconds = {name: measured.seconds(name) for name in measured.names}
    unit, factor = ("ms", 1e3) if max(seconds.values()) >= 1e-3 else ("µs", 1e6)
    bars = [Bar(name, value * factor) for name, value in seconds.items()]
    return _outcome(measured.ratio(ours, peer), bars, unit, conditions, notes)


def outcome_of_rates(measured: Measured, rows: int, notes: Sequence[str] = ()) -> Outcome:
    """Compare the rows per second of the first two, each of which handled `rows` in a round."""
    ours, peer = measured.names[:2]
    bars = [Bar(name, rows / measured.seconds(name)) for name in measured.names]
    return _outcome(measured.ratio(peer, ours), bars, "rows/s", (), notes)


def _outcome(
    ratio: Ratio,
    bars: Sequence[Bar],
    unit: str,
    conditions: Sequence[Condition],
    notes: Sequence[str],
) -> Outcome:
    spread = (ratio.least, ratio.greatest)
    return Outcome(ratio.middle, bars, unit, spread, tuple(conditions), tuple(notes))
