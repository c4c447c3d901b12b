"""What rows add up to, in whatever order they come.

The digest of a table is the sum, modulo 2**256, of the SHA-256 of each row's canonical encoding, so
that two databases need not agree on an order. One flipped bit changes it, a row that is missing or
there twice too. It finds accidents; it is no defence against who forges rows to fit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from datastore.bulk import Values
from datastore.kinds import Kind, frames

MODULUS = 2**256


def row_hashes(kinds: Sequence[Kind[Any]], values: Values) -> Iterator[bytes]:
    """Yield the SHA-256 of each row, given as one sequence of values for each column."""
    columns = [each for pair in zip(kinds, values, strict=True) for each in frames(*pair)]
    for row in zip(*columns, strict=True):
        yield hashlib.sha256(b"".join(row)).digest()


@dataclass(frozen=True)
class TableDigest:
    """The number of rows of a table, and the sum of their hashes in hexadecimal digits."""

    rows: int
    sha256_sum: str


@dataclass
class DigestSum:
    """A digest that grows by batches of rows."""

    kinds: Sequence[Kind[Any]]
    rows: int = 0
    total: int = field(default=0, repr=False)

    def add(self, values: Values) -> None:
        """Add rows, given as one sequence of values for each column."""
        for hashed in row_hashes(self.kinds, values):
            self.total += int.from_bytes(hashed, "big")
            self.rows += 1
        self.total %= MODULUS

    def merge(self, other: DigestSum) -> None:
        """Add the rows of another digest of the same kinds."""
        self.total = (self.total + other.total) % MODULUS
        self.rows += other.rows

    def remove(self, values: Values) -> None:
        """Take rows out again that were added."""
        for hashed in row_hashes(self.kinds, values):
            self.total -= int.from_bytes(hashed, "big")
            self.rows -= 1
        self.total %= MODULUS

    def result(self) -> TableDigest:
        """Return what was added up so far."""
        return TableDigest(self.rows, f"{self.total:064x}")
