"""Rows of a PostgreSQL table, by COPY in its binary format.

COPY gives one row after the other, so that memory is bounded by the row and not by the number of
rows that a cursor fetches; and vectors arrive as the bytes that they are.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa
from psycopg import ClientCursor, DataError
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format
from psycopg.types.datetime import DateBinaryLoader, TimeBinaryLoader
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection
from sqlalchemy.types import TypeEngine

from datastore.backends.postgresql.arrays import REAL_ARRAY, RealArrayLoader
from datastore.backends.postgresql.fallback import uses_pgvector
from datastore.backends.postgresql.types import PgVector, vector_from_wire
from datastore.errors import InvalidValueError
from datastore.execution import refusals
from datastore.kinds import ArrayKind, Kind
from datastore.reading import (
    Batches,
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
    """Stands for a value that Python has none for; says what is expected instead."""


_MOMENT = struct.Struct(">q")
_INTERVAL = struct.Struct(">qii")
#: What PostgreSQL counts microseconds from.
_EPOCH = datetime(2000, 1, 1)
_EPOCH_IN_UTC = _EPOCH.replace(tzinfo=UTC)


class _TimestampLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> datetime | Unrepresentable:
        try:
            return _EPOCH + timedelta(microseconds=_MOMENT.unpack(data)[0])
        except OverflowError:
            return Unrepresentable("a timestamp of the years 1 to 9999")


class _InstantLoader(Loader):
    """Gives UTC, whatever the time zone of the session."""

    format = Format.BINARY

    def load(self, data: Buffer) -> datetime | Unrepresentable:
        try:
            return _EPOCH_IN_UTC + timedelta(microseconds=_MOMENT.unpack(data)[0])
        except OverflowError:
            return Unrepresentable("an instant of the years 1 to 9999")


class _IntervalLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> timedelta | Unrepresentable:
        microseconds, days, months = _INTERVAL.unpack(data)
        if months:
            return Unrepresentable("an interval of days and seconds, without months")
        try:
            return timedelta(days=days, microseconds=microseconds)
        except OverflowError:
            return Unrepresentable("an interval of at most 999,999,999 days")


class _DateLoader(DateBinaryLoader):
    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)
        except DataError:
            return Unrepresentable("a date of the years 1 to 9999")


class _TimeLoader(TimeBinaryLoader):
    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)
        except DataError:
            return Unrepresentable("a time before 24:00")


class _RawLoader(Loader):
    """Leaves vectors for when there are many."""

    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


_LOADERS: Mapping[str, type[Loader]] = {
    "timestamptz": _InstantLoader,
    "timestamp": _TimestampLoader,
    "date": _DateLoader,
    "time": _TimeLoader,
    "interval": _IntervalLoader,
}


def read(connection: Connection, reading: TableReading) -> Batches:
    """Read rows within the transaction of `connection`, which does nothing else meanwhile."""
    wires = [_wire(kind, connection) for kind in reading.kinds]
    columns = [sa.cast(column, w[0]) for column, w in zip(reading.columns, wires, strict=True)]
    driver_connection: Any = connection.connection.driver_connection
    # As what is read of it: a key that is read as text is not compared with text otherwise.
    read_as = dict(zip((column.name for column in reading.columns), columns, strict=True))
    primary = () if reading.after is None else reading.table.primary_key
    key = [read_as[column.name] for column in primary]
    query = _with_values(reading.statement(*columns, key=key), connection)
    command = f"COPY ({query}) TO STDOUT (FORMAT BINARY)"
    with driver_connection.cursor() as cursor, refusals(connection):
        for name, loader in _LOADERS.items():
            cursor.adapters.register_loader(name, loader)
        if any(name == "vector" for _, name in wires):
            cursor.adapters.register_loader("vector", _RawLoader)
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
    query: Any = str(compiled)
    return ClientCursor(driver_connection).mogrify(query, values)


def _bound(parameter: sa.BindParameter[Any], connection: Connection) -> Any:
    process = parameter.type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
    return parameter.value if process is None else process(parameter.value)


def vector_lengths(connection: Connection, column: sa.Column[Any]) -> list[int]:
    """Return the different lengths of the vectors in a column."""
    native = uses_pgvector(connection.dialect)
    length = sa.func.vector_dims(column) if native else sa.func.cardinality(column)
    lengths = sa.select(length).where(column.is_not(None)).distinct()
    return sorted(connection.execute(lengths).scalars())


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
    if kind.name == "float":
        return Reader(_floats, kind.check)
    if kind.name == "decimal":
        return Reader(lambda _: None, kind.check)
    if kind.name == "array":
        return Reader(lambda _: None, _representable(kind))
    if kind.name == "vector":
        return Reader(_vectors, _vector)
    return Reader(taken_as_is(*kind.classes), _representable(kind))


def _floats(values: Sequence[Any]) -> Sequence[Any] | None:
    if set(map(type, values)) != {float} or any(map(math.isnan, values)):
        return None
    return values


def _vectors(values: Sequence[Any]) -> Sequence[Any] | None:
    """Take vectors of one length as one matrix; the type and our check let in nothing else."""
    if set(map(type, values)) != {bytes} or len(set(map(len, values))) != 1:
        return None
    words = np.frombuffer(b"".join(values), dtype=">f4").reshape(len(values), -1)
    matrix = words[:, 1:].astype("<f4")  # behind the number of dimensions, in 32 bits
    matrix.flags.writeable = False
    return list(matrix)


def _vector(raw: Any) -> Any:
    return vector_from_wire(raw) if isinstance(raw, bytes) else raw


def _representable(kind: Kind[Any]) -> Any:
    def read_one(value: Any) -> Any:
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Unrepresentable):
                raise InvalidValueError(f"expected {item}")
        return kind.check(value)

    return read_one
