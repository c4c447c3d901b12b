"""Rows of a PostgreSQL table, by COPY in its binary format.

COPY gives one row after the other, so that memory is bounded by the row and not by the number of
rows that a cursor fetches; and vectors arrive as the bytes that they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from psycopg import ClientCursor, DataError
from psycopg.types.datetime import (
    DateBinaryLoader,
    TimestampBinaryLoader,
    TimestamptzBinaryLoader,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection
from sqlalchemy.types import TypeEngine

from datastore.backends.postgresql.arrays import REAL_ARRAY, RealArrayLoader
from datastore.backends.postgresql.fallback import uses_pgvector
from datastore.backends.postgresql.types import PgVector
from datastore.errors import InvalidValueError
from datastore.execution import refusals
from datastore.kinds import ArrayKind, Kind
from datastore.reading import (
    Batch,
    Reader,
    TableReading,
    json_document,
    read_batches,
    taken_as_is,
)

#: What a column of each kind is cast to, and what psycopg calls the type.
_WIRES: dict[str, tuple[TypeEngine[Any], str]] = {
    "integer": (sa.BigInteger(), "int8"),
    "boolean": (sa.Boolean(), "bool"),
    "float": (sa.Double(), "float8"),
    "text": (sa.Text(), "text"),
    "bytes": (postgresql.BYTEA(), "bytea"),
    "instant": (postgresql.TIMESTAMP(timezone=True), "timestamptz"),
    "timestamp": (postgresql.TIMESTAMP(), "timestamp"),
    "date": (sa.Date(), "date"),
    "time": (sa.Time(), "time"),
    "interval": (postgresql.INTERVAL(), "interval"),
    "decimal": (sa.Numeric(), "numeric"),
    "uuid": (postgresql.UUID(), "uuid"),
    "json": (sa.Text(), "text"),
}


class Unrepresentable(str):
    """Stands for a value that Python has none for, by its text."""


class _InstantLoader(TimestamptzBinaryLoader):
    def load(self, data: Any) -> Any:
        try:
            return super().load(data)
        except DataError:
            return Unrepresentable("an instant")


class _TimestampLoader(TimestampBinaryLoader):
    def load(self, data: Any) -> Any:
        try:
            return super().load(data)
        except DataError:
            return Unrepresentable("a timestamp")


class _DateLoader(DateBinaryLoader):
    def load(self, data: Any) -> Any:
        try:
            return super().load(data)
        except DataError:
            return Unrepresentable("a date")


_LOADERS = {"timestamptz": _InstantLoader, "timestamp": _TimestampLoader, "date": _DateLoader}


def read(connection: Connection, reading: TableReading) -> Iterator[Batch]:
    """Read rows within the transaction of `connection`, which does nothing else meanwhile."""
    wires = [_wire(kind, connection) for kind in reading.kinds]
    columns = [sa.cast(column, w[0]) for column, w in zip(reading.columns, wires, strict=True)]
    driver_connection: Any = connection.connection.driver_connection
    query = _with_values(reading.statement(*columns), connection)
    command = f"COPY ({query}) TO STDOUT (FORMAT BINARY)"
    with driver_connection.cursor() as cursor, refusals(connection):
        for name, loader in _LOADERS.items():
            cursor.adapters.register_loader(name, loader)
        if not uses_pgvector(connection.dialect):
            cursor.adapters.register_loader(REAL_ARRAY, RealArrayLoader)
        with cursor.copy(command) as copy:
            copy.set_types([name for _, name in wires])
            readers = [_reader(kind) for kind in reading.kinds]
            yield from read_batches(copy.rows(), readers, reading.batch_rows)


def _with_values(statement: sa.Select[Any], connection: Connection) -> str:
    """Return SQL that holds the values of its parameters, which COPY takes none of."""
    compiled = statement.compile(connection)
    driver_connection: Any = connection.connection.driver_connection
    values = {
        compiled.bind_names[parameter]: _bound(parameter, connection)
        for parameter in compiled.bind_names
    }
    return ClientCursor(driver_connection).mogrify(str(compiled), values)


def _bound(parameter: sa.BindParameter[Any], connection: Connection) -> Any:
    process = parameter.type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
    return parameter.value if process is None else process(parameter.value)


def _wire(kind: Kind[Any], connection: Connection) -> tuple[TypeEngine[Any], str]:
    if isinstance(kind, ArrayKind):
        item, name = _wire(kind.item, connection)
        return postgresql.ARRAY(item), f"{name}[]"
    if kind.name == "vector":
        native = uses_pgvector(connection.dialect)
        return (PgVector(), "vector") if native else (postgresql.ARRAY(sa.REAL()), "float4[]")
    return _WIRES[kind.name]


def _reader(kind: Kind[Any]) -> Reader:
    if kind.name == "json":
        return Reader(lambda _: None, json_document)
    if kind.name in ("float", "decimal", "array"):
        return Reader(lambda _: None, kind.check)
    if kind.name == "vector":  # the type and our check let in nothing else
        return Reader(lambda values: values, kind.check)
    return Reader(taken_as_is(*kind.classes), _representable(kind))


def _representable(kind: Kind[Any]) -> Any:
    def read_one(value: Any) -> Any:
        if isinstance(value, Unrepresentable):
            raise InvalidValueError(f"expected {value} of the years 1 to 9999")
        return kind.check(value)

    return read_one
