"""Rows that take the place of those with the same key.

Where the primary key is a number that databases make by themselves, two databases gave the same
number to different rows. Such a table is matched by its unique key instead; its rows keep the
numbers that they have in the target, and what refers to them is led there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datastore.backends.base import Backend
from datastore.bulk import Values
from datastore.errors import TransferError
from datastore.reading import TableReading
from datastore.sql import upsert
from datastore.transfer.digest import DigestSum
from datastore.transfer.plan import TableTransfer
from datastore.transfer.writing import Write

#: Rows that are looked up by one statement.
ROWS = 200


class Upserts:
    """Upserts into several tables, parents first."""

    def __init__(self, connection: Connection, backend: Backend) -> None:
        self._connection, self._backend = connection, backend
        #: For each table the numbers of rows that are others in the target, in memory: a number
        #: that is the same on both sides takes no place.
        self._numbers: dict[str, dict[Any, Any]] = defaultdict(dict)

    def writer(self, table: TableTransfer) -> Write:
        """Return what writes rows of a table."""
        if not table.key:
            raise TransferError(
                f"table {table.name} has no primary key, by which its rows could be matched",
                table=table.name,
            )

        def write(stream: Iterable[Values]) -> None:
            for values in stream:
                self._write(table, values)

        return write

    def _write(self, table: TableTransfer, values: Values) -> None:
        given = self._led(table, values)
        number, key = number_and_key(table)
        columns = [name for name in table.columns if name != number]
        targets = dict(zip(table.columns, table.target_columns, strict=True))
        statement = upsert(
            table.target,
            key=[targets[name] for name in key],
            update=[targets[name] for name in columns if name not in key],
        )
        rows = [dict(zip(table.columns, row, strict=True)) for row in zip(*given, strict=True)]
        parameters = [{targets[name].key: row[name] for name in columns} for row in rows]
        self._connection.execute(statement, parameters)
        for start in range(0, len(rows), ROWS):
            self._settle(table, rows[start : start + ROWS])

    def _led(self, table: TableTransfer, values: Values) -> Values:
        """Return values in which references lead to the numbers of the target."""
        led = list(values)
        for column in table.target.columns:
            for foreign_key in column.foreign_keys:
                parent = foreign_key.column
                numbers = self._numbers.get(parent.table.fullname)
                if numbers and (parent.name,) == _names(parent.table.primary_key):
                    position = table.columns.index(column.name)
                    led[position] = [numbers.get(value, value) for value in led[position]]
        return led

    def _settle(self, table: TableTransfer, rows: Sequence[dict[str, Any]]) -> None:
        """Read what was written, remember its numbers, and compare the rest."""
        number, key = number_and_key(table)
        by_key = {tuple(row[name] for name in key): row for row in rows}  # the last one wins
        there = {tuple(row[name] for name in key): row for row in self._there(table, key, by_key)}
        if number is not None:
            self._remember(table, number, by_key, there)
        if _digest(table, by_key, number) != _digest(table, there, number):
            raise TransferError(
                f"table {table.name}: what was written is not what was read", table=table.name
            )

    def _there(
        self, table: TableTransfer, key: Sequence[str], keys: Iterable[tuple[Any, ...]]
    ) -> Iterator[dict[str, Any]]:
        """Read rows as they are stored, which types of the host's may show otherwise."""
        names = [table.target_columns[table.columns.index(name)] for name in key]
        which = sa.or_(
            *(sa.and_(*(c == v for c, v in zip(names, each, strict=True))) for each in keys)
        )
        reading = TableReading(table.target, table.target_columns, table.kinds, where=which)
        for batch in self._backend.read(self._connection, reading):
            for row in zip(*batch.values, strict=True):
                yield dict(zip(table.columns, row, strict=True))

    def _remember(
        self,
        table: TableTransfer,
        number: str,
        given: dict[tuple[Any, ...], dict[str, Any]],
        there: dict[tuple[Any, ...], dict[str, Any]],
    ) -> None:
        for key, row in given.items():
            if row[number] != there[key][number]:
                self._numbers[table.name][row[number]] = there[key][number]


def number_and_key(table: TableTransfer) -> tuple[str | None, tuple[str, ...]]:
    """Return the column that databases number by themselves, if any, and the key to match by."""
    primary = list(table.target.primary_key)
    unique = sorted(
        _names(constraint.columns)
        for constraint in table.target.constraints
        if isinstance(constraint, sa.UniqueConstraint)
    )
    alone = len(primary) == 1 and isinstance(primary[0].identity, sa.Identity)
    if alone and unique:
        return primary[0].name, unique[0]
    return None, table.key


def _names(columns: Any) -> tuple[str, ...]:
    return tuple(column.name for column in columns)


def _digest(
    table: TableTransfer, rows: dict[tuple[Any, ...], dict[str, Any]], number: str | None
) -> Any:
    places = [place for place, name in enumerate(table.columns) if name != number]
    added = DigestSum([table.kinds[place] for place in places])
    if rows:
        added.add([[row[table.columns[place]] for row in rows.values()] for place in places])
    return added.result()
