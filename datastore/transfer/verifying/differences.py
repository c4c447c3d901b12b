"""The proof: what rows add up to on both sides, and which of them differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from zlib import crc32

from datastore.errors import TransferError
from datastore.kinds import framed
from datastore.reading import Batch, Batches, Unreadable
from datastore.transfer.loading.troubles import EXAMPLES, key_text
from datastore.transfer.plan import TableTransfer
from datastore.transfer.source import Position, Source
from datastore.transfer.verifying.digest import MODULUS, DigestSum, TableDigest, row_hashes

#: Rows are told apart by their keys in so many groups at first, so that those of groups that differ
#: need be kept in memory, and of so many groups at most.
GROUPS, SEARCHED = 4096, 64


@dataclass(frozen=True)
class Difference:
    """Rows of a table that one side has and the other has not, or has otherwise.

    Each holds the keys of some of them, in the order of their text.
    """

    table: str
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


@dataclass
class GroupedSum:
    """The digest of a table, and of each group of its rows."""

    rows: int = 0
    sums: list[int] = field(default_factory=lambda: [0] * GROUPS)

    def result(self) -> TableDigest:
        """Return what the groups add up to."""
        return TableDigest(self.rows, f"{sum(self.sums) % MODULUS:064x}")


def digest_of(source: Source, table: TableTransfer) -> TableDigest:
    """Add up the rows of a table; raise `TransferError` for a value that is not of its kind."""
    added = DigestSum(table.kinds)
    for batch in readable(source, table):
        added.add(batch.values)
    return added.result()


def grouped(source: Source, table: TableTransfer) -> GroupedSum:
    """Add up the rows of a table as `digest_of` does, group by group."""
    added = GroupedSum()
    for batch in readable(source, table):
        hashes = list(row_hashes(table.kinds, batch.values))
        added.rows += len(hashes)
        for group, hashed in zip(_groups(table, batch, hashes), hashes, strict=True):
            added.sums[group] += int.from_bytes(hashed, "big")
    added.sums = [each % MODULUS for each in added.sums]
    return added


def difference(
    tables: tuple[TableTransfer, TableTransfer],
    sides: tuple[Source, Source],
    sums: tuple[GroupedSum, GroupedSum],
) -> Difference:
    """Find rows that differ, among those of the groups that do."""
    differing = (group for group in range(GROUPS) if sums[0].sums[group] != sums[1].sums[group])
    searched = set(list(differing)[:SEARCHED])
    one, other = (
        Counter(_rows_of(table, side, searched)) for table, side in zip(tables, sides, strict=True)
    )
    missing, extra = one - other, other - one
    keys = {key for key, _ in missing} & {key for key, _ in extra}
    return Difference(
        tables[0].name,
        missing=_first(key for key, _ in missing if key not in keys),
        extra=_first(key for key, _ in extra if key not in keys),
        changed=_first(keys),
    )


def readable(source: Source, table: TableTransfer, position: Position | None = None) -> Batches:
    """Read rows; raise `TransferError` for the first value that is not of its kind."""
    with closing(source.batches(table, position)) as batches:
        for batch in batches:
            for each in batch.unreadable[:1]:
                raise _unreadable(source, table, batch, each)
            yield batch


def _unreadable(
    source: Source, table: TableTransfer, batch: Batch, wrong: Unreadable
) -> TransferError:
    line, key = source.line(batch, wrong.row), _key(table, batch, wrong.row)
    place = f"table {table.name}, column {table.columns[wrong.column]}"
    where = f"{place}, line {line}" if line else place
    message = f"{where} ({key}): {wrong.reason}" if key else f"{where}: {wrong.reason}"
    return TransferError(message, table=table.name, key=key, line=line)


def _rows_of(table: TableTransfer, side: Source, groups: set[int]) -> Iterator[tuple[str, bytes]]:
    """Yield key and hash of each row of some groups; without a key, the hash stands for it."""
    for batch in readable(side, table):
        hashes = list(row_hashes(table.kinds, batch.values))
        for row, group in enumerate(_groups(table, batch, hashes)):
            if group in groups:
                hashed = hashes[row]
                yield _key(table, batch, row) or f"sha256 {hashed.hex()[:16]}", hashed


def _groups(table: TableTransfer, batch: Batch, hashes: Sequence[bytes]) -> Iterable[int]:
    keys = [framed(table.kinds[place], batch.values[place]) for place in table.key_positions]
    rows = map(b"".join, zip(*keys, strict=True)) if keys else hashes
    return (crc32(row) % GROUPS for row in rows)


def _key(table: TableTransfer, batch: Batch, row: int) -> str:
    return key_text(table.key, [batch.values[place][row] for place in table.key_positions])


def _first(keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(keys))[:EXAMPLES])
