"""Many rows on their way into one table: read in batches, checked by the types of their columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import Any, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.types import TypeEngine

from datastore.errors import InvalidValueError, UnknownNameError
from datastore.execution import execute
from datastore.types import PortableType

T = TypeVar("T")
#: The values of a batch of rows, one sequence for each column.
Values: TypeAlias = Sequence[Sequence[Any]]

#: Rows for each call of a driver's `executemany`.
CORE_BATCH = 500


class BulkInsert:
    """A table, the columns that rows give values for, and the rows, which are read once.

    Rows are mappings, whose columns are those of the first one, or sequences in the order of
    `columns`. Raises `UnknownNameError` for a column that the table does not have.
    """

    def __init__(
        self,
        table: sa.Table,
        rows: Iterable[Mapping[str, Any]] | Iterable[Sequence[Any]],
        columns: Sequence[str] | None = None,
    ) -> None:
        if not isinstance(rows, Iterable):
            raise InvalidValueError(f"rows: expected an iterable, got {type(rows).__name__}")
        self.table = table
        self._kind: type = Mapping if columns is None else Sequence
        self._rows: Iterator[Any] = iter(rows)
        keys = self._keys_of_first() if columns is None else columns
        self.columns = tuple(_column(table, key) for key in keys)
        if len(set(self.columns)) < len(self.columns):
            raise InvalidValueError(f"columns of {table.name}: expected each of them once")

    def _keys_of_first(self) -> Sequence[str]:
        first = list(islice(self._rows, 1))
        self._rows = chain(first, self._rows)
        self._check_kind(first)
        return [key for row in first for key in row]

    def batches(self, size: int) -> Iterator[Values]:
        """Read at most `size` rows at a time; raise `InvalidValueError` for one unlike the rest."""
        for rows in batches(self._rows, size):
            self._check_kind(rows)
            count = len(self.columns)
            if not count or set(map(len, rows)) != {count}:
                raise InvalidValueError(
                    f"rows of {self.table.name}: expected values for the same columns in each, "
                    "and for at least one"
                )
            yield list(zip(*rows, strict=True)) if self._kind is Sequence else self._by_key(rows)

    def streams(self, size: int) -> Iterator[Iterator[Values]]:
        """Yield the batches in groups; those of a group may be read by the statement in progress.

        Here each is read before, so that whoever yields rows may use the connection.
        """
        return (iter([values]) for values in self.batches(size))

    def _check_kind(self, rows: Sequence[Any]) -> None:
        for kind in set(map(type, rows)):
            if not issubclass(kind, self._kind) or issubclass(kind, str | bytes):
                raise InvalidValueError(
                    f"rows of {self.table.name}: expected mappings, or sequences together with "
                    f"`columns`, got {kind.__name__}"
                )

    def _by_key(self, rows: Sequence[Mapping[str, Any]]) -> Values:
        try:
            return [list(map(itemgetter(column.key), rows)) for column in self.columns]
        except KeyError:
            raise InvalidValueError(
                f"rows of {self.table.name}: expected the columns of the first in each"
            ) from None

    def names(self, connection: Connection) -> tuple[str, str]:
        """Return the table and the list of columns as they are written in SQL."""
        preparer = connection.dialect.identifier_preparer
        table = preparer.format_table(self.table, use_schema=False)
        schema = connection.schema_for_object(self.table)
        if schema is not None:
            table = f"{preparer.quote_schema(schema)}.{table}"
        return table, ", ".join(map(preparer.format_column, self.columns))

    def is_plain(self, dialect: Dialect) -> bool:
        """Tell whether each row is its values and no more.

        SQLAlchemy alone knows defaults in Python, and types that put SQL around their values.
        """
        given = set(self.columns)
        return all(
            _impl(column, dialect).bind_expression(sa.bindparam(None)) is None
            if column in given
            else column.default is None
            for column in self.table.columns
        )

    def bound(self, values: Values, dialect: Dialect) -> Values:
        """Return the values as the types of their columns give them to the driver.

        Raises `StatementError` for one that a type refuses, as Core does.
        """
        try:
            return [
                self._processed(column, column_values, dialect)
                for column, column_values in zip(self.columns, values, strict=True)
            ]
        except Exception as error:
            raise exc.StatementError(type(error).__name__, None, None, error) from None

    def _processed(
        self, column: sa.Column[Any], values: Sequence[Any], dialect: Dialect
    ) -> Sequence[Any]:
        """Return the values of a column as its type gives them to the driver."""
        impl = _impl(column, dialect)
        if isinstance(impl, PortableType):
            values, impl = self._checked(impl, values, dialect), impl.impl_instance
        process = impl.bind_processor(dialect)
        return values if process is None else list(map(process, values))

    def _checked(
        self, type_: PortableType[Any], values: Sequence[Any], dialect: Dialect
    ) -> Sequence[Any]:
        return type_.process_many(values, dialect)

    def by_core(self, connection: Connection, values: Values) -> int:
        """Insert a batch as Core does; return the number of rows."""
        keys = [column.key for column in self.columns]
        rows = [dict(zip(keys, row, strict=True)) for row in zip(*values, strict=True)]
        return execute(connection, sa.insert(self.table), rows).rowcount


class StreamedInsert(BulkInsert):
    """Rows that come by columns and were checked: they are what portable types would make of them.

    Whoever yields them does not use the connection that they are written to, so that a statement
    may read them while it writes those before.
    """

    def __init__(self, table: sa.Table, columns: Sequence[str], stream: Iterable[Values]) -> None:
        super().__init__(table, (), columns)
        self._stream = stream

    def batches(self, size: int) -> Iterator[Values]:
        """Cut the rows into batches of at most `size`."""
        for values in self._stream:
            for start in range(0, len(values[0]), size):
                yield [column[start : start + size] for column in values]

    def streams(self, size: int) -> Iterator[Iterator[Values]]:
        """Yield all batches at once."""
        yield self.batches(size)

    def _checked(
        self, type_: PortableType[Any], values: Sequence[Any], dialect: Dialect
    ) -> Sequence[Any]:
        return values


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut an iterable into lists of at most `size`, reading no further than it must."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _column(table: sa.Table, key: str) -> sa.Column[Any]:
    if key not in table.columns:
        raise UnknownNameError(f"table {table.name} has no column {key!r}")
    return table.columns[key]


def _impl(column: sa.Column[Any], dialect: Dialect) -> TypeEngine[Any]:
    return column.type.dialect_impl(dialect)
