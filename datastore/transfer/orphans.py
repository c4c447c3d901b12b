"""Rows whose parents did not come with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datastore.transfer.plan import TableTransfer

#: Called with a table, the values of a row by column, and what is wrong with it.
Report = Callable[[TableTransfer, Sequence[Any], str], None]


def remove_orphans(connection: Connection, tables: Sequence[TableTransfer], report: Report) -> None:
    """Delete the rows that refer to none, and those that refer to them, until all refer to some."""
    while sum(_removed(connection, table, report) for table in tables):
        pass


def _removed(connection: Connection, table: TableTransfer, report: Report) -> int:
    removed = 0
    for key in _foreign_keys(table.target):
        orphaned = _orphaned(key)
        columns = [table.target.c[name] for name in table.columns]
        reason = f"foreign key to {key.referred_table.name}: there is no such row"
        for row in connection.execute(sa.select(*columns).where(orphaned)).all():
            report(table, tuple(row), reason)
            removed += 1
        if removed:
            connection.execute(sa.delete(table.target).where(orphaned))
    return removed


def _foreign_keys(table: sa.Table) -> Iterator[sa.ForeignKeyConstraint]:
    for constraint in sorted(table.foreign_key_constraints, key=lambda c: str(c.column_keys)):
        # To a table that is not known here the database itself sees.
        if all(element.constraint is not None for element in constraint.elements):
            yield constraint


def _orphaned(key: sa.ForeignKeyConstraint) -> sa.ColumnElement[bool]:
    """Return what is true of a row that refers to one which is not there."""
    parent = key.referred_table.alias("parent")
    pairs = [(element.parent, parent.c[element.column.name]) for element in key.elements]
    there = sa.exists().where(*(theirs == ours for ours, theirs in pairs))
    return sa.and_(*(ours.is_not(None) for ours, _ in pairs), ~there)
