"""What is asked of a load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from datastore.errors import ConfigurationError
from datastore.reading import ROWS
from datastore.transfer.progress import Progress

#: What to do with rows that are there before.
Existing: TypeAlias = Literal["refuse", "upsert", "truncate"]
#: What to do about a row that cannot be taken.
OnError: TypeAlias = Literal["stop", "skip", "quarantine"]
#: How the target is compared with the source.
Verify: TypeAlias = Literal["full", "count", "none"]


@dataclass(frozen=True)
class LoadOptions:
    """How rows are loaded; by default all of them or none, into empty tables, fully verified.

    - `existing`: "refuse" a target with rows; "upsert" takes the row that has the same key (its
      unique key, where the primary key is a number that databases make); "truncate" empties the
      tables first.
    - `resume`: commit in batches, together with how far they went, and go on from there.
    - `on_error`: "stop" loads nothing if any row cannot be taken (with `resume`, nothing of that
      batch and those after it); "skip" loads the rest; "quarantine" writes those rows to the new
      file `rejects` as well, one JSON object in each line.
    - `verify`: "full" compares each value, by digests, and a sample of searches; "count" counts.
    - `dry_run`: read and check everything, write nothing.
    - `batch_rows`: the most rows that are read, and with `resume` committed, at a time.
    - `progress`: called after each batch and at each step, by the thread that loads.
    """

    existing: Existing = "refuse"
    resume: bool = False
    on_error: OnError = "stop"
    rejects: Path | None = None
    verify: Verify = "full"
    dry_run: bool = False
    batch_rows: int = ROWS
    progress: Callable[[Progress], None] | None = None

    def __post_init__(self) -> None:
        for name, kind in (("existing", Existing), ("on_error", OnError), ("verify", Verify)):
            if getattr(self, name) not in get_args(kind):
                raise ConfigurationError(f"{name}: expected one of {', '.join(get_args(kind))}")
        if (self.on_error == "quarantine") != (self.rejects is not None):
            raise ConfigurationError(
                "rejects: expected a file with on_error=quarantine, and only then"
            )
        if self.batch_rows < 1:
            raise ConfigurationError("batch_rows: expected at least 1")
        if self.resume and self.existing != "refuse":
            raise ConfigurationError("resume: it cannot be used together with upsert or truncate")
