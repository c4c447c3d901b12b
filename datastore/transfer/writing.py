"""Batches on their way into a table: what can be taken is, and the rest is found and named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from sqlalchemy.engine import Connection

from datastore.backends.base import Backend
from datastore.bulk import ColumnwiseInsert, Values
from datastore.errors import IntegrityError, InvalidValueError, TransferError
from datastore.reading import Batch, Unreadable
from datastore.transfer.plan import TableTransfer
from datastore.transfer.rejects import Rejects
from datastore.transfer.troubles import Troubles, key_text
from datastore.translation import translated

#: Writes rows, all or none; raises what the database says of them.
Write: TypeAlias = Callable[[Values], None]
#: Columns by their place, and what raises `InvalidValueError` for some values of theirs.
Limits: TypeAlias = Sequence[tuple[int, Callable[[Any], None]]]
#: Rows that the database refuses are looked for one by one, and no further than this.
MOST_REFUSED = 10_000


def limits_of(backend: Backend, table: TableTransfer) -> Limits:
    """Return what the columns of the target do not hold as it is."""
    checks = enumerate(backend.limit(column.type) for column in table.target_columns)
    return [(place, check) for place, check in checks if check is not None]


def inserting(connection: Connection, backend: Backend, table: TableTransfer) -> Write:
    """Return what inserts rows."""

    def insert(values: Values) -> None:
        keys = [column.key for column in table.target_columns]
        rows = ColumnwiseInsert(table.target, keys, values)
        backend.insert_many(connection, rows)

    return insert


def attempting(connection: Connection, backend: Backend, write: Write) -> Write:
    """Return what writes within a savepoint, so that the transaction survives a refusal."""

    def attempt(values: Values) -> None:
        with translated(backend), connection.begin_nested():
            write(values)

    return attempt


class TableWriter:
    """Writes the rows of one table as far as they can be taken, and counts them."""

    def __init__(
        self,
        table: TableTransfer,
        troubles: Troubles,
        rejects: Rejects,
        write: Write,
        limits: Limits = (),
    ) -> None:
        self.table = table
        self._troubles, self._rejects = troubles, rejects
        self._write, self._limits = write, limits
        self.written = self.rejected = 0
        self._refused = 0

    def write(self, batch: Batch, line: Callable[[int], int | None]) -> Values:
        """Write what can be written, and return it; `line` tells where a row stands in a file."""
        wrong = {each.row: each for each in reversed([*batch.unreadable, *self._beyond(batch)])}
        for row, each in sorted(wrong.items()):
            column = self.table.columns[each.column]
            self._reject(row_of(batch.values, row), column, each.reason, line(row))
        rows = [row for row in range(len(batch)) if row not in wrong]
        values = batch.values if not wrong else chosen(batch.values, rows)
        taken = list(self._taken(values, rows, line)) if rows else []
        self.written += sum(len(part[0]) for part in taken)
        return _joined(taken, len(self.table.columns))

    def _beyond(self, batch: Batch) -> Iterator[Unreadable]:
        """Find values that the target would refuse, or store as others."""
        unreadable = {(each.row, each.column) for each in batch.unreadable}
        for column, check in self._limits:
            for row, value in enumerate(batch.values[column]):
                if value is None or (row, column) in unreadable:
                    continue
                try:
                    check(value)
                except InvalidValueError as error:
                    yield Unreadable(row, column, str(error))

    def _taken(
        self, values: Values, rows: Sequence[int], line: Callable[[int], int | None]
    ) -> Iterator[Values]:
        """Write rows, halving those that are refused until the wrong ones are found."""
        try:
            self._write(values)
        except (IntegrityError, InvalidValueError) as error:
            if len(rows) == 1:
                self._reject(row_of(values, 0), None, str(error), line(rows[0]))
                self._count_refused(str(error), line(rows[0]))
                return
        else:
            yield values
            return
        half = len(rows) // 2
        for part in (slice(half), slice(half, None)):
            yield from self._taken([column[part] for column in values], rows[part], line)

    def _reject(
        self, row: Sequence[Any], column: str | None, reason: str, line: int | None
    ) -> None:
        key = key_text(self.table.key, [row[each] for each in self.table.key_positions])
        self._troubles.add(self.table.name, column, reason, key, line)
        self._rejects.add(self.table, row, column, reason)
        self.rejected += 1

    def _count_refused(self, reason: str, line: int | None) -> None:
        self._refused += 1
        if self._refused == MOST_REFUSED:
            raise TransferError(
                f"table {self.table.name}: the database refused {MOST_REFUSED:,} rows, and no more "
                f"were tried; the last: {reason}",
                table=self.table.name,
                line=line,
            )


def row_of(values: Values, row: int) -> list[Any]:
    """Return one row of values that are given by column."""
    return [column[row] for column in values]


def chosen(values: Values, rows: Sequence[int]) -> Values:
    """Return some rows of values that are given by column."""
    return [[column[row] for row in rows] for column in values]


def _joined(parts: Sequence[Values], width: int) -> Values:
    if len(parts) == 1:
        return parts[0]
    return [[value for part in parts for value in part[number]] for number in range(width)]
