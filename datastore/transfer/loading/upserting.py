"""Rows that take the place of those with the same key.

Rows that are matched by a unique key instead of their number keep the number that they have in the
target, and what refers to them is led there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datastore.backends.base import Backend
from datastore.bulk import Values
from datastore.errors import DatabaseError, InvalidValueError, TransferError
from datastore.reading import TableReading
from datastore.sql import upsert
from datastore.transfer.loading.matching import Match, Numbers, Reference, match_of, references_of
from datastore.transfer.loading.writing import Write
from datastore.transfer.plan import TableTransfer
from datastore.transfer.verifying.digest import DigestSum
from datastore.translation import translated

#: Rows that are looked up by one statement.
ROWS = 200
_Row = dict[str, Any]
_Key = tuple[Any, ...]


class Upserts:
    """Upserts into several tables, parents first."""

    def __init__(
        self, connection: Connection, backend: Backend, tables: Sequence[TableTransfer]
    ) -> None:
        self._connection, self._backend = connection, backend
        self._tables = {table.target.fullname: table for table in tables}
        self._matches = {name: match_of(table) for name, table in self._tables.items()}
        places = {name: place for place, name in enumerate(self._tables)}
        numbers = {name: m.number for name, m in self._matches.items() if m.number is not None}
        self._references = {
            name: list(references_of(table, places, numbers))
            for name, table in self._tables.items()
        }
        self._numbers: dict[str, Numbers] = defaultdict(Numbers)
        #: By table and reference, for the key of each row the number that it refers to: those whose
        #: numbers may be known at the end alone.
        self._ahead: dict[tuple[str, Reference], dict[_Key, Any]] = defaultdict(dict)

    def writer(self, table: TableTransfer) -> Write:
        """Return what writes rows of a table."""

        def write(stream: Iterable[Values]) -> None:
            for values in stream:
                self._write(table, values)

        return write

    def finish(self) -> None:
        """Lead references to rows that came later, now that all numbers are known."""
        for (name, reference), values in self._ahead.items():
            table, numbers = self._tables[name], self._numbers[reference.root]
            led = {key: _known(table, reference, numbers.find(v)) for key, v in values.items()}
            changed = {key: number for key, number in led.items() if number != values[key]}
            if changed:
                self._update(table, reference, changed)

    def _write(self, table: TableTransfer, values: Values) -> None:
        match = self._match(table)
        _refuse_null(table, match, values)
        given = self._led(table, values)
        columns = [name for name in table.columns if name != match.number]
        targets = _targets(table)
        statement = upsert(
            table.target,
            key=[targets[name] for name in match.key],
            update=[targets[name] for name in columns if name not in match.key],
        )
        rows = [dict(zip(table.columns, row, strict=True)) for row in zip(*given, strict=True)]
        parameters = [{targets[name].key: row[name] for name in columns} for row in rows]
        self._execute(table, match, statement, parameters)
        for start in range(0, len(rows), ROWS):
            self._settle(table, match, rows[start : start + ROWS])
        self._remember_ahead(table, match, rows)

    def _execute(self, table: TableTransfer, match: Match, statement: Any, rows: Any) -> None:
        try:
            with translated(self._backend):
                self._connection.execute(statement, rows)
        except DatabaseError as error:
            if type(error) is not DatabaseError:  # of its own class: it says what is wrong
                raise
            raise TransferError(
                f"table {table.name}: rows cannot be matched by {', '.join(match.key)}, over which "
                f"the target may have no unique key: {error}",
                table=table.name,
            ) from error

    def _match(self, table: TableTransfer) -> Match:
        match = self._matches[table.target.fullname]
        if not match.key:
            raise TransferError(
                f"table {table.name} has no primary key of values that are written, by which its "
                "rows could be matched",
                table=table.name,
            )
        return match

    def _led(self, table: TableTransfer, values: Values) -> Values:
        """Return values in which references lead to the numbers of the target, if known by now."""
        led = list(values)
        for reference in self._references[table.target.fullname]:
            if not reference.ahead:
                place = table.columns.index(reference.column)
                led[place] = self._led_column(table, reference, values)
        return led

    def _led_column(
        self, table: TableTransfer, reference: Reference, values: Values
    ) -> Sequence[Any]:
        numbers = self._numbers[reference.root]
        names = [name for name in (reference.column, *reference.beside) if name in table.columns]
        led = list(values[table.columns.index(reference.column)])
        for row, all_of_it in enumerate(
            zip(*(values[table.columns.index(name)] for name in names), strict=True)
        ):
            if None not in all_of_it:
                led[row] = numbers.find(led[row])
                if led[row] is None:  # that number may be a stranger's in the target
                    raise InvalidValueError(f"foreign key to {reference.root}: no such row came")
        return led

    def _settle(self, table: TableTransfer, match: Match, rows: Sequence[_Row]) -> None:
        """Read what was written, compare it, and remember its numbers."""
        number, key = match.number, match.key
        by_key = {tuple(row[name] for name in key): row for row in rows}  # the last one wins
        there = {tuple(row[name] for name in key): row for row in self._there(table, key, by_key)}
        if _digest(table, by_key, number) != _digest(table, there, number):
            raise TransferError(
                f"table {table.name}: what was written is not what was read", table=table.name
            )
        if number is not None:
            for each, row in by_key.items():
                self._numbers[table.target.fullname].add(row[number], there[each][number])

    def _there(
        self, table: TableTransfer, key: Sequence[str], keys: Iterable[_Key]
    ) -> Iterator[_Row]:
        """Read rows as they are stored, which types of the host's may show otherwise."""
        names = [_targets(table)[name] for name in key]
        which = sa.or_(
            *(sa.and_(*(c == v for c, v in zip(names, each, strict=True))) for each in keys)
        )
        reading = TableReading(table.target, table.target_columns, table.kinds, where=which)
        for batch in self._backend.read(self._connection, reading):
            for row in zip(*batch.values, strict=True):
                yield dict(zip(table.columns, row, strict=True))

    def _remember_ahead(self, table: TableTransfer, match: Match, rows: Sequence[_Row]) -> None:
        for reference in self._references[table.target.fullname]:
            if reference.ahead:
                values = self._ahead[table.target.fullname, reference]
                for row in rows:
                    if all(
                        row.get(n, 0) is not None for n in (reference.column, *reference.beside)
                    ):
                        values[tuple(row[name] for name in match.key)] = row[reference.column]

    def _update(self, table: TableTransfer, reference: Reference, led: Mapping[_Key, Any]) -> None:
        targets, key = _targets(table), self._match(table).key
        if reference.column in key:
            raise _not_led(table, reference, "is part of the key by which rows are matched")
        which = [targets[n] == sa.bindparam(f"key{i}") for i, n in enumerate(key)]
        statement = sa.update(table.target).where(*which)
        statement = statement.values({targets[reference.column]: sa.bindparam("led")})
        parameters = [
            {"led": number, **{f"key{i}": value for i, value in enumerate(each)}}
            for each, number in led.items()
        ]
        if self._connection.execute(statement, parameters).rowcount != len(parameters):
            raise _not_led(table, reference, "could not be updated in all rows")


def _targets(table: TableTransfer) -> dict[str, sa.Column[Any]]:
    return dict(zip(table.columns, table.target_columns, strict=True))


def _refuse_null(table: TableTransfer, match: Match, values: Values) -> None:
    """Raise for rows that would be new ones at every run."""
    for name in match.key:
        if None in values[table.columns.index(name)]:
            names = ", ".join(match.key)
            raise InvalidValueError(f"column {name}: NULL in the key that matches rows ({names})")


def _known(table: TableTransfer, reference: Reference, number: Any) -> Any:
    if number is None:
        raise _not_led(table, reference, "refers to a row that did not come")
    return number


def _not_led(table: TableTransfer, reference: Reference, why: str) -> TransferError:
    message = f"table {table.name}: column {reference.column}, which refers to {reference.root}, "
    return TransferError(message + why, table=table.name)


def _digest(
    table: TableTransfer, rows: dict[tuple[Any, ...], dict[str, Any]], number: str | None
) -> Any:
    places = [place for place, name in enumerate(table.columns) if name != number]
    added = DigestSum([table.kinds[place] for place in places])
    if rows:
        added.add([[row[table.columns[place]] for row in rows.values()] for place in places])
    return added.result()
