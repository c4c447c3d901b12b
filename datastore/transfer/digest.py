"""What rows add up to, in whatever order they come.

The digest of a table is the sum, modulo 2**256, of the SHA-256 of each row's canonical encoding, so
that two databases need not agree on an order. One flipped bit changes it, a row that is missing or
there twice too. It finds accidents; it is no defence against who forges rows to fit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from datastore.kinds import Kind, framed

_MODULUS = 2**256


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

    def add(self, values: Sequence[Sequence[Any]]) -> None:
        """Add rows, given as one sequence of values for each column."""
        columns = [framed(kind, column) for kind, column in zip(self.kinds, values, strict=True)]
        for row in zip(*columns, strict=True):
            hashed = hashlib.sha256(b"".join(row)).digest()
            self.total += int.from_bytes(hashed, "big")
            self.rows += 1
        self.total %= _MODULUS

    def result(self) -> TableDigest:
        """Return what was added up so far."""
        return TableDigest(self.rows, f"{self.total:064x}")
