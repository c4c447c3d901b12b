"""Rows whose parents did not come with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datastore.backends.base import Backend
from datastore.reading import TableReading
from datastore.transfer.plan import TableTransfer

#: Called with a table, the values of a row by column, and what is wrong with it.
Report: TypeAlias = Callable[[TableTransfer, Sequence[Any], str], None]
#: A table, the columns that refer, and the primary key of a row.
Orphan: TypeAlias = tuple[str, tuple[str, ...], tuple[Any, ...]]


class Orphans:
    """The rows of some tables that refer to none; they are looked for in the whole table."""

    def __init__(
        self, connection: Connection, backend: Backend, tables: Sequence[TableTransfer]
    ) -> None:
        self._connection, self._backend, self._tables = connection, backend, tables

    def known(self) -> frozenset[Orphan]:
        """Return those that are there now."""
        found: set[Orphan] = set()
        for table in self._tables:
            for key in _foreign_keys(table.target):
                found.update(_named(table, key, row) for row in self._rows(table, key))
        return frozenset(found)

    def remove(self, report: Report) -> None:
        """Delete them, and then those that refer to them, until all rows refer to some."""
        while sum(self._remove(table, report) for table in self._tables):
            pass

    def report_others(self, known: frozenset[Orphan], report: Report) -> None:
        """Report those that are not among `known`, and leave them."""
        for table in self._tables:
            for key in _foreign_keys(table.target):
                for row in self._rows(table, key):
                    if _named(table, key, row) not in known:
                        report(table, row, _reason(key))

    def _remove(self, table: TableTransfer, report: Report) -> int:
        removed = 0
        for key in _foreign_keys(table.target):
            before = removed
            for row in self._rows(table, key):
                report(table, row, _reason(key))
                removed += 1
            if removed > before:
                self._connection.execute(sa.delete(table.target).where(_orphaned(key)))
        return removed

    def _rows(
        self, table: TableTransfer, key: sa.ForeignKeyConstraint
    ) -> Iterator[tuple[Any, ...]]:
        reading = TableReading(
            table.target, table.target_columns, table.kinds, where=_orphaned(key)
        )
        for batch in self._backend.read(self._connection, reading):
            yield from zip(*batch.values, strict=True)


def _named(table: TableTransfer, key: sa.ForeignKeyConstraint, row: Sequence[Any]) -> Orphan:
    places = table.key_positions or range(len(row))
    return table.name, tuple(key.column_keys), tuple(row[place] for place in places)


def _reason(key: sa.ForeignKeyConstraint) -> str:
    return f"foreign key to {key.referred_table.name}: there is no such row"


def _foreign_keys(table: sa.Table) -> list[sa.ForeignKeyConstraint]:
    return sorted(table.foreign_key_constraints, key=lambda key: str(key.column_keys))


def _orphaned(key: sa.ForeignKeyConstraint) -> sa.ColumnElement[bool]:
    """Return what is true of a row that refers to one which is not there."""
    parent = key.referred_table.alias("parent")
    pairs = [(element.parent, parent.c[element.column.key]) for element in key.elements]
    there = sa.exists().where(*(theirs == ours for ours, theirs in pairs))
    return sa.and_(*(ours.is_not(None) for ours, _ in pairs), ~there)
