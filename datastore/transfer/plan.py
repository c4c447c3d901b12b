"""Which tables move, with which columns, in which order."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from datastore.errors import DatastoreError, TransferError
from datastore.kinds import Kind
from datastore.transfer.stored import as_stored, common_kind


@dataclass(frozen=True)
class TableTransfer:
    """One table on its way: as it is read and as it is written.

    Both have the columns named in `columns`. What their values are is said by the table that is
    written, unless `given_kinds` has it.
    """

    source: sa.Table
    target: sa.Table
    columns: tuple[str, ...]
    given_kinds: tuple[Kind[Any], ...] | None = None

    @property
    def name(self) -> str:
        """The name for people and in files, the schema's before it where there is one."""
        return self.target.fullname

    @cached_property
    def kinds(self) -> tuple[Kind[Any], ...]:
        """The kind of each column's values."""
        return self.given_kinds or tuple(kind_of_column(each) for each in self.target_columns)

    @cached_property
    def source_columns(self) -> tuple[sa.Column[Any], ...]:
        """The columns that are read."""
        return _columns(self.source, self.columns)

    @cached_property
    def target_columns(self) -> tuple[sa.Column[Any], ...]:
        """The columns that are written."""
        return _columns(self.target, self.columns)

    @cached_property
    def key(self) -> tuple[str, ...]:
        """The columns of the primary key; none where the table has none, or generates it."""
        names = tuple(column.name for column in self.target.primary_key)
        return names if set(names) <= set(self.columns) else ()

    @cached_property
    def key_positions(self) -> tuple[int, ...]:
        """Where the columns of the key stand among all columns."""
        return tuple(self.columns.index(name) for name in self.key)


def as_written(table: TableTransfer) -> TableTransfer:
    """Return a table to be read where it was written to."""
    return replace(table, source=table.target)


def _columns(table: sa.Table, names: Sequence[str]) -> tuple[sa.Column[Any], ...]:
    by_name = {column.name: column for column in table.columns}  # their keys may be others
    return tuple(by_name[name] for name in names)


def kind_of_column(column: sa.Column[Any], dialects: Sequence[Dialect] = ()) -> Kind[Any]:
    """Return the kind of a column's values; raise `TransferError` where they cannot be moved."""
    try:
        return common_kind(column.type, dialects)
    except DatastoreError as error:
        message = f"table {column.table.name}, column {column.name}: {error}"
        raise TransferError(message, table=column.table.name) from error


def plan(
    metadata: Iterable[sa.MetaData],
    present: Collection[str],
    source: Dialect | None = None,
    target: Dialect | None = None,
) -> list[TableTransfer]:
    """Return the tables of `metadata` that are `present`, parents before their children.

    The dialects are those that they are read and written by, as far as they are known.
    """
    ends = source or target, target or source
    dialects = [dialect for dialect in ends if dialect is not None]
    tables: dict[str, TableTransfer] = {}
    for each in metadata:
        read, written = as_stored(each, dialects), as_stored(each, dialects[::-1])
        for name, table in each.tables.items():
            columns = stored_columns(table)
            kinds = tuple(kind_of_column(c, dialects) for c in _columns(table, columns))
            moved = TableTransfer(read.tables[name], written.tables[name], columns, kinds)
            if name in present:
                tables.setdefault(name, moved)
    ordered = in_order(table.target for table in tables.values())
    return [tables[table.fullname] for table in ordered]


def stored_columns(table: sa.Table) -> tuple[str, ...]:
    """Return the names of the columns that hold values of their own: generated ones do not."""
    return tuple(column.name for column in table.columns if column.computed is None)


def in_order(tables: Iterable[sa.Table]) -> list[sa.Table]:
    """Sort tables so that each comes after those that it refers to, as far as that can be."""
    # Of a cycle some reference must go forwards; who loads the rows sees to that.
    by_name = sorted(tables, key=lambda each: each.fullname)
    found = sa.schema.sort_tables_and_constraints(by_name)  # type: ignore[no-untyped-call]
    return [table for table, _ in found if table is not None]


def references_ahead(tables: Sequence[TableTransfer]) -> Iterator[tuple[TableTransfer, str]]:
    """Yield tables with rows that may refer to rows behind them, and the table of those."""
    places = {table.target.fullname: place for place, table in enumerate(tables)}
    for place, table in enumerate(tables):
        for key in table.target.foreign_key_constraints:
            parent = key.referred_table.fullname
            if places.get(parent, -1) >= place:
                yield table, parent
