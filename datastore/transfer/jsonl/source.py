"""The rows of a file of JSON lines, as values of the tables that they are for."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from datastore import migrate
from datastore.errors import InvalidValueError
from datastore.kinds import Kind, VectorKind
from datastore.reading import (
    BYTES,
    ROWS,
    Batch,
    Batches,
    Reader,
    read_batch,
    vectors_of_bytes,
)
from datastore.transfer.jsonl.format import (
    LONGEST_LINE,
    ColumnHeader,
    Header,
    TableHeader,
    at_line,
    kind_name,
    name_text,
)
from datastore.transfer.jsonl.reader import JSONLReader, Row
from datastore.transfer.plan import TableTransfer, plan
from datastore.transfer.source import Position


@dataclass(frozen=True)
class FileBatch(Batch):
    """Rows that stand on successive lines, from `first_line`."""

    first_line: int = 0


class JSONLSource:
    """A file as a source: its tables are found by their names in `metadata`.

    `open_stream` is called again for another reading, where rows are asked for a second time.
    `counts` and `identity` are what a reading of the whole file has found out before.
    """

    notes: Sequence[str] = ()

    def __init__(
        self,
        open_stream: Callable[[], IO[bytes]],
        metadata: Sequence[sa.MetaData],
        *,
        dialect: Dialect | None = None,
        longest_line: int = LONGEST_LINE,
        batch_rows: int = ROWS,
        counts: Mapping[str, int] | None = None,
        identity: str = "",
    ) -> None:
        self._open: Callable[[], JSONLReader] = lambda: JSONLReader(open_stream(), longest_line)
        self._reader = self._open()
        self._at = -1  # the place of the table that was asked for last
        self._counts = counts or {}
        self._batch_rows = batch_rows
        self.identity = identity
        self.header = self._reader.header
        _check_revision(self.header)
        self.tables: Sequence[TableTransfer] = _tables(self.header, metadata, dialect)

    def count(self, table: TableTransfer) -> int | None:
        """Return the rows that the trailer tells, where it was read."""
        return self._counts.get(table.name)

    def has_positions(self, table: TableTransfer) -> bool:
        """Tell whether rows have keys; a file has them in one order."""
        return bool(table.key)

    def batches(self, table: TableTransfer, position: Position | None) -> Batches:
        """Read the rows of a table in the order of the file."""
        place = self.tables.index(table)
        if place <= self._at:
            self._reader = self._open()
        self._at = place
        readers = [
            _reader(kind, column.dimensions)
            for kind, column in zip(table.kinds, self.header.tables[place].columns, strict=True)
        ]
        rows = self._reader.rows(place)
        for _ in range(position.rows if position else 0):
            next(rows, None)
        for batch in _cut(rows, self._batch_rows):
            read = read_batch([row.values for row in batch], readers)
            yield FileBatch(read.values, read.unreadable, batch[0].line)

    def line(self, batch: Batch, row: int) -> int | None:
        """Return the line of a row."""
        return batch.first_line + row if isinstance(batch, FileBatch) else None

    def finish(self) -> None:
        """Read to the end, and compare all with the trailer."""
        self._reader.finish()


def _cut(rows: Iterator[Row], most: int) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += row.size
        if len(batch) == most or size >= BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _reader(kind: Kind[Any], dimensions: Sequence[int] | None) -> Reader:
    if isinstance(kind, VectorKind) and dimensions is not None:
        known = frozenset(dimensions)
        return Reader(partial(_vectors, kind, known), partial(_vector, kind, known))
    return Reader(lambda _: None, kind.from_json)


def _vectors(
    kind: VectorKind, dimensions: frozenset[int], items: Sequence[Any]
) -> Sequence[Any] | None:
    if set(map(type, items)) != {str}:
        return None
    try:
        data = [base64.b64decode(item, validate=True) for item in items]
    except ValueError:
        return None
    vectors = vectors_of_bytes(data, kind.dimensions)
    return vectors if vectors and vectors[0].size in dimensions else None


def _vector(kind: VectorKind, dimensions: frozenset[int], item: Any) -> Any:
    vector = kind.from_json(item)
    if vector.size not in dimensions:
        known = " or ".join(map(str, sorted(dimensions))) or "no vectors at all"
        raise InvalidValueError(f"expected {known} dimensions as in the header, got {vector.size}")
    return vector


def _check_revision(header: Header) -> None:
    revision = header.schema_revision
    if revision is not None and not migrate.knows(revision):
        raise at_line(
            1,
            f"the file is at schema revision {name_text(revision)}, which this code does not know: "
            f"it knows revisions up to {migrate.head()}; update the code",
        )


def _tables(
    header: Header, metadata: Sequence[sa.MetaData], dialect: Dialect | None
) -> list[TableTransfer]:
    names = {each.name for each in header.tables}
    known = {table.name: table for table in plan(metadata, names, target=dialect)}
    for each in header.tables:
        if each.name not in known:
            message = f"table {name_text(each.name)} is none that the settings' metadata declares"
            raise at_line(1, message)
    return [_matched(each, known[each.name]) for each in header.tables]


def _matched(found: TableHeader, table: TableTransfer) -> TableTransfer:
    names = tuple(column.name for column in found.columns)
    kinds = dict(zip(table.columns, table.kinds, strict=True))
    for column in found.columns:
        if column.name not in kinds:
            message = f"table {table.name} has no column {name_text(column.name)}"
            raise at_line(1, message, table=table.name)
        _check_kind(table.name, column, kinds[column.name])
    for each in table.target_columns:
        if each.name not in names and not _may_be_missing(each):
            message = f"table {table.name}: column {each.name} is missing, and may not be"
            raise at_line(1, message, table=table.name)
    return replace(table, columns=names, given_kinds=tuple(kinds[name] for name in names))


def _may_be_missing(column: sa.Column[Any]) -> bool:
    if column.primary_key:
        return False
    return bool(column.nullable) or column.server_default is not None


def _check_kind(table: str, column: ColumnHeader, kind: Kind[Any]) -> None:
    if column.kind != kind_name(kind):
        raise at_line(
            1,
            f"table {table}, column {column.name}: expected {kind_name(kind)}, "
            f"found {name_text(column.kind)}",
            table=table,
        )
