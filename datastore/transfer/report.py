"""What became of a transfer: numbers for programs, and whether all of it can be relied on."""

from __future__ import annotations

from dataclasses import dataclass

from datastore.transfer.loading.options import Verify
from datastore.transfer.loading.troubles import Trouble
from datastore.transfer.verifying.digest import TableDigest


@dataclass(frozen=True)
class TableReport:
    """One table: rows read, written and rejected, and what they add up to on both sides.

    Digests are None where nothing was compared in full.
    """

    table: str
    read: int
    written: int
    rejected: int = 0
    bytes: int = 0
    seconds: float = 0.0
    source: TableDigest | None = None
    target: TableDigest | None = None
    matches: bool = True


@dataclass(frozen=True)
class SearchComparison:
    """Searches for a sample of what is stored, and how many gave the same hits on both sides.

    They may differ by no fault of the rows: engines see other words in rare characters.
    """

    index: str
    queries: int
    same: int


@dataclass(frozen=True)
class LoadReport:
    """What was loaded. `troubles` say which rows were not, `notes` what else one should know."""

    tables: tuple[TableReport, ...]
    troubles: tuple[Trouble, ...] = ()
    notes: tuple[str, ...] = ()
    searches: tuple[SearchComparison, ...] = ()
    verify: Verify = "full"
    seconds: float = 0.0
    dry_run: bool = False

    @property
    def rows(self) -> int:
        """The rows that were written."""
        return sum(table.written for table in self.tables)

    @property
    def bytes(self) -> int:
        """The bytes of the values that were read."""
        return sum(table.bytes for table in self.tables)

    @property
    def is_complete(self) -> bool:
        """Whether every row arrived as it was, as far as rows were compared."""
        return (
            not self.troubles
            and not any(table.rejected for table in self.tables)
            and all(table.matches for table in self.tables)
        )
