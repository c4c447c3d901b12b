"""Which tables move, with which columns, in which order."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

from datastore.errors import TransferError
from datastore.kinds import Kind, kind_of
from datastore.types import PortableType


@dataclass(frozen=True)
class TableTransfer:
    """One table on its way: as it is read and as it is written.

    Both have the columns named in `columns`; what their values are is said by the table that is
    written.
    """

    source: sa.Table
    target: sa.Table
    columns: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name for people and in files, the schema's before it where there is one."""
        return self.target.fullname

    @cached_property
    def kinds(self) -> tuple[Kind[Any], ...]:
        """The kind of each column's values."""
        return tuple(_kind(self.target.c[name]) for name in self.columns)

    @cached_property
    def key(self) -> tuple[str, ...]:
        """The columns of the primary key; none where the table has none."""
        return tuple(column.name for column in self.target.primary_key)

    @cached_property
    def key_positions(self) -> tuple[int, ...]:
        """Where the columns of the key stand among all columns."""
        return tuple(self.columns.index(name) for name in self.key)


def _kind(column: sa.Column[Any]) -> Kind[Any]:
    try:
        return kind_of(column.type)
    except Exception as error:
        message = f"table {column.table.name}, column {column.name}: {error}"
        raise TransferError(message, table=column.table.name) from error


def plan(metadata: Iterable[sa.MetaData], present: Collection[str]) -> list[TableTransfer]:
    """Return the tables of `metadata` that are `present`, parents before their children."""
    tables: dict[str, sa.Table] = {}
    for each in metadata:
        for table in in_order(as_stored(each).tables.values()):
            tables.setdefault(table.fullname, table)
    chosen = (table for name, table in tables.items() if name in present)
    return [TableTransfer(table, table, stored_columns(table)) for table in chosen]


def as_stored(metadata: sa.MetaData) -> sa.MetaData:
    """Return metadata whose columns have the types of what is stored.

    A host's own `TypeDecorator` makes other Python values of it, perhaps the same for different
    ones, and is no business of ours.
    """
    foreign = [
        column for table in metadata.tables.values() for column in table.c if _is_foreign(column)
    ]
    if not foreign:
        return metadata
    stored = sa.MetaData()
    for table in metadata.tables.values():
        table.to_metadata(stored)
    for column in foreign:
        type_: Any = column.type
        stored.tables[column.table.fullname].c[column.name].type = type_.impl_instance
    return stored


def _is_foreign(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, TypeDecorator) and not isinstance(column.type, PortableType)


def stored_columns(table: sa.Table) -> tuple[str, ...]:
    """Return the names of the columns that hold values of their own: generated ones do not."""
    return tuple(column.name for column in table.columns if column.computed is None)


def in_order(tables: Iterable[sa.Table]) -> list[sa.Table]:
    """Sort tables so that each comes after those that it refers to, as far as that can be."""
    # Of a cycle some reference must go forwards; who loads the rows sees to that.
    by_name = sorted(tables, key=lambda each: each.fullname)
    found = sa.schema.sort_tables_and_constraints(by_name)  # type: ignore[no-untyped-call]
    return [table for table, _ in found if table is not None]
