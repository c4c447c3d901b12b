"""Rows on their way into a table: what can be taken is, and the rest is found and named.

They are read while those before them are written, so that neither side waits for the other. What
was written is kept until the database has taken it, so that a refused row can be looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy.engine import Connection

from datastore.backends.base import Backend
from datastore.bulk import StreamedInsert, Values
from datastore.errors import IntegrityError, InvalidValueError, TransferError
from datastore.reading import BYTES, Batch, Unreadable
from datastore.transfer.loading.rejects import Rejects
from datastore.transfer.loading.troubles import Troubles, key_text
from datastore.transfer.plan import TableTransfer
from datastore.transfer.verifying.digest import DigestSum
from datastore.translation import translated

#: Writes rows as they come, all or none; raises what the database says of them.
Write: TypeAlias = Callable[[Iterable[Values]], None]
#: Finds the line of a file that a row of a batch stands on, if there is a file.
Line: TypeAlias = Callable[[Batch, int], int | None]
#: Columns by their place, and what raises `InvalidValueError` for some values of theirs.
Limits: TypeAlias = Sequence[tuple[int, Callable[[Any], None]]]
#: Rows that the database refuses are looked for one by one, and no further than this.
MOST_REFUSED = 10_000
#: The most batches that are written at once, and kept until then, and the bytes that end them.
WINDOW, WINDOW_BYTES = 6, 6 * BYTES


def limits_of(backend: Backend, table: TableTransfer) -> Limits:
    """Return what the columns of the target do not hold as it is."""
    checks = enumerate(backend.limit(column.type) for column in table.target_columns)
    return [(place, check) for place, check in checks if check is not None]


def inserting(connection: Connection, backend: Backend, table: TableTransfer) -> Write:
    """Return what inserts rows."""

    def insert(stream: Iterable[Values]) -> None:
        keys = [column.key for column in table.target_columns]
        sent = _Counted(stream)
        stored = backend.insert_many(connection, StreamedInsert(table.target, keys, sent))
        if stored != sent.rows:
            raise TransferError(
                f"table {table.name}: of {sent.rows:,} rows that were sent, the target stored "
                f"{stored:,}: a trigger or a rule keeps others away",
                table=table.name,
            )

    return insert


class _Counted(Iterator[Values]):
    """Values as they come, and the number of their rows."""

    def __init__(self, stream: Iterable[Values]) -> None:
        self._stream, self.rows = iter(stream), 0

    def __next__(self) -> Values:
        values = next(self._stream)
        self.rows += len(values[0])
        return values


def read_only(stream: Iterable[Values]) -> None:
    """Write nothing."""
    for _ in stream:
        pass


def attempting(connection: Connection, backend: Backend, write: Write) -> Write:
    """Return what writes within a savepoint, so that the transaction survives a refusal."""

    def attempt(stream: Iterable[Values]) -> None:
        with translated(backend), connection.begin_nested():
            write(stream)

    return attempt


@dataclass(frozen=True)
class _Piece:
    """Rows of a batch, by their number there, and what they add up to."""

    batch: Batch
    rows: Sequence[int]
    values: Values
    digest: DigestSum | None


class _Window(Iterator[Values]):
    """Some batches, without the rows that are wrong; they are kept when they were read."""

    def __init__(self, batches: Iterator[Batch], cleared: Callable[[Batch], _Piece]) -> None:
        self.pieces: list[_Piece] = []
        self.failure: BaseException | None = None
        self.is_last = False
        self._batches, self._cleared = batches, cleared
        self._size = 0

    def __next__(self) -> Values:
        while len(self.pieces) < WINDOW and self._size < WINDOW_BYTES:
            self.pieces.append(self._cleared(self._next_batch()))
            if self.pieces[-1].rows:
                return self.pieces[-1].values
        raise StopIteration

    def _next_batch(self) -> Batch:
        try:
            batch = next(self._batches)
        except StopIteration:
            self.is_last = True
            raise
        except BaseException as error:
            self.failure = error
            raise
        self._size += batch.size
        return batch


class TableWriter:
    """Writes the rows of one table as far as they can be taken, and adds those up."""

    def __init__(
        self,
        table: TableTransfer,
        troubles: Troubles,
        rejects: Rejects,
        write: Write,
        limits: Limits = (),
        line: Line = lambda _batch, _row: None,
        digest: DigestSum | None = None,
    ) -> None:
        self.table = table
        self._troubles, self._rejects = troubles, rejects
        self._write, self._limits, self._line, self._digest = write, limits, line, digest
        self.written = self.rejected = 0
        self._refused = 0

    def write(self, batches: Iterator[Batch]) -> None:
        """Write what can be written."""
        is_last = False
        while not is_last:
            window = _Window(batches, self._cleared)
            try:
                self._write(window)
            except (IntegrityError, InvalidValueError):
                if window.failure is not None:
                    raise
                for piece in window.pieces:
                    self._write_by_halves(piece)
            else:
                for piece in window.pieces:
                    self._count(piece)
            is_last = window.is_last

    def _cleared(self, batch: Batch) -> _Piece:
        """Reject the rows of a batch that hold wrong values, and return the others."""
        wrong = {each.row: each for each in reversed([*batch.unreadable, *self._beyond(batch)])}
        for row, each in sorted(wrong.items()):
            column = self.table.columns[each.column]
            self._reject(batch, row, column, each.reason)
        rows = [row for row in range(len(batch)) if row not in wrong]
        return self._piece(batch, rows, chosen(batch.values, rows) if wrong else batch.values)

    def _piece(self, batch: Batch, rows: Sequence[int], values: Values) -> _Piece:
        if self._digest is None or not rows:
            return _Piece(batch, rows, values, None)
        digest = DigestSum(self.table.kinds)
        digest.add(values)
        return _Piece(batch, rows, values, digest)

    def _count(self, piece: _Piece) -> None:
        self.written += len(piece.rows)
        if self._digest is not None and piece.digest is not None:
            self._digest.merge(piece.digest)

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

    def _write_by_halves(self, piece: _Piece) -> None:
        """Write rows, halving those that are refused until the wrong ones are found."""
        if not piece.rows:
            return
        try:
            self._write([piece.values])
        except (IntegrityError, InvalidValueError) as error:
            if len(piece.rows) == 1:
                line = self._reject(piece.batch, piece.rows[0], None, str(error))
                self._count_refused(str(error), line)
                return
        else:
            self._count(piece)
            return
        half = len(piece.rows) // 2
        for part in (slice(half), slice(half, None)):
            values = [column[part] for column in piece.values]
            self._write_by_halves(self._piece(piece.batch, piece.rows[part], values))

    def _reject(self, batch: Batch, row: int, column: str | None, reason: str) -> int | None:
        """Note a row and what is wrong with it; return its line."""
        values, line = row_of(batch.values, row), self._line(batch, row)
        key = key_text(self.table.key, [values[each] for each in self.table.key_positions])
        self._troubles.add(self.table.name, column, reason, key, line)
        self._rejects.add(self.table, values, column, reason)
        self.rejected += 1
        return line

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
