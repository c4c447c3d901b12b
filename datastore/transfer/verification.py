"""The proof: what rows add up to on both sides, and which of them differ."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from datastore.errors import TransferError
from datastore.transfer.digest import MODULUS, DigestSum, TableDigest, row_hashes
from datastore.transfer.plan import TableTransfer
from datastore.transfer.prefetching import prefetched
from datastore.transfer.source import Source
from datastore.transfer.troubles import EXAMPLES, key_text

#: Keys are told apart in so many groups at first, so that only those of groups that differ need be
#: kept in memory.
GROUPS = 4096


@dataclass(frozen=True)
class Difference:
    """Rows of a table that one side has and the other has not, or has otherwise.

    Each holds the keys of the first few, in the order of their text.
    """

    table: str
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


def digest_of(source: Source, table: TableTransfer) -> TableDigest:
    """Add up the rows of a table; raise `TransferError` for a value that is not of its kind."""
    added = DigestSum(table.kinds)
    for batch in prefetched(source.batches(table, None)):
        for each in batch.unreadable[:1]:
            column = table.columns[each.column]
            row = [column[each.row] for column in batch.values]
            key = key_text(table.key, [row[position] for position in table.key_positions])
            message = f"table {table.name}, column {column} ({key}): {each.reason}"
            raise TransferError(message, table=table.name, key=key)
        added.add(batch.values)
    return added.result()


def difference(table: TableTransfer, left: Source, right: Source) -> Difference:
    """Find the rows that differ: first the groups, then, of those alone, the rows."""
    groups = _sums(table, left), _sums(table, right)
    differing = {number for number in range(GROUPS) if groups[0][number] != groups[1][number]}
    theirs, ours = (_rows_of(table, side, differing) for side in (left, right))
    missing, extra = theirs - ours, ours - theirs
    keys = {key for key, _ in missing} & {key for key, _ in extra}
    return Difference(
        table.name,
        missing=_first(key for key, _ in missing if key not in keys),
        extra=_first(key for key, _ in extra if key not in keys),
        changed=_first(keys),
    )


def _sums(table: TableTransfer, side: Source) -> list[int]:
    sums = [0] * GROUPS
    for key, hashed in _hashes(table, side):
        group = _group(key)
        sums[group] = (sums[group] + int.from_bytes(hashed, "big")) % MODULUS
    return sums


def _rows_of(table: TableTransfer, side: Source, groups: set[int]) -> Counter[tuple[str, bytes]]:
    return Counter(row for row in _hashes(table, side) if _group(row[0]) in groups)


def _group(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") % GROUPS


def _hashes(table: TableTransfer, side: Source) -> Iterator[tuple[str, bytes]]:
    """Yield key and hash of each row; without a primary key the whole row is its key."""
    for batch in side.batches(table, None):
        columns = [batch.values[position] for position in table.key_positions]
        for number, hashed in enumerate(row_hashes(table.kinds, batch.values)):
            values = [column[number] for column in columns]
            key = key_text(table.key, values) if values else f"sha256 {hashed.hex()[:16]}"
            yield key, hashed


def _first(keys: Any) -> tuple[str, ...]:
    return tuple(sorted(set(keys))[:EXAMPLES])
