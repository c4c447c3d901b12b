"""How far a transfer has come, for those who watch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Step: TypeAlias = Literal["export", "load", "index", "verify", "optimize"]


@dataclass(frozen=True)
class Progress:
    """A step, the table it is at, the rows done and to do in all (None: not known), the seconds."""

    step: Step
    table: str | None
    rows: int
    total: int | None
    bytes: int
    seconds: float


class Meter:
    """Counts, and tells who wants to know."""

    def __init__(
        self,
        tell: Callable[[Progress], None] | None,
        total: int | None,
        moving: Step = "load",
    ) -> None:
        self._tell = tell
        self._moving: Step = moving
        self.total = total
        self._began = time.monotonic()
        self.rows = 0
        self.bytes = 0

    @property
    def seconds(self) -> float:
        """The time since the beginning."""
        return time.monotonic() - self._began

    def add(self, table: str, rows: int, size: int) -> None:
        """Count rows that were dealt with."""
        self.rows += rows
        self.bytes += size
        self.step(self._moving, table)

    def step(self, step: Step, table: str | None = None) -> None:
        """Tell what is being done."""
        if self._tell is not None:
            done = Progress(step, table, self.rows, self.total, self.bytes, self.seconds)
            self._tell(done)
