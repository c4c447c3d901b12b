"""Rows of a SQLite table as they are stored, whatever SQLite's loose typing let in.

SQLite stores text in a column of integers if that is what it is given. So the values are read raw,
past the types that would fail in the midst of a batch, and each is looked at by the kind that its
column is to have.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.types import TypeEngine

from datastore.errors import InvalidValueError
from datastore.forms import is_written_as
from datastore.kinds import ArrayKind, DecimalKind, JSONKind, Kind, VectorKind
from datastore.reading import (
    Batches,
    Reader,
    TableReading,
    json_document,
    read_batches,
    taken_as_is,
    vectors_of_bytes,
)
from datastore.types import UTCDateTime, check_integer, check_text

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)
_FRACTION = re.compile(r"[.,][0-9]{6}([0-9]+)")
_RAW = sa.types.NullType()
#: The pages that a scan keeps, in KiB: it reads none of them twice.
_SCAN_CACHE = 4096
#: Digits of a second beyond the sixth.
_FINER = re.compile(r"[.,]\d{6}0*[1-9]")
#: What SQLite calls the classes of its values.
_STORAGE = {str: "text", bytes: "a blob", int: "an integer", float: "a real number"}


class InvalidText(bytes):
    """Text that is no UTF-8."""


def read(connection: Connection, reading: TableReading) -> Batches:
    """Read rows within the transaction of `connection`."""
    statement = reading.statement(*(sa.type_coerce(column, _RAW) for column in reading.columns))
    pairs = zip(reading.columns, reading.kinds, strict=True)
    readers = [reader(column.type, kind) for column, kind in pairs]
    with _any_text(connection), scanning(connection):
        rows = connection.execution_options(stream_results=True).execute(statement)
        with rows:
            yield from read_batches(rows, readers, reading.batch_rows)


def vector_lengths(connection: Connection, column: sa.Column[Any]) -> list[int]:
    """Return the different lengths of the vectors in a column."""
    raw = sa.type_coerce(column, _RAW)
    lengths = sa.select(sa.func.length(raw) // 4).where(sa.func.typeof(raw) == "blob").distinct()
    return sorted(connection.execute(lengths).scalars())


@contextmanager
def _any_text(connection: Connection) -> Iterator[None]:
    driver_connection: Any = connection.connection.dbapi_connection
    driver_connection.text_factory = _decoded
    try:
        yield
    finally:
        driver_connection.text_factory = str


@contextmanager
def scanning(connection: Connection) -> Iterator[None]:
    """Keep few pages meanwhile."""
    usual = connection.exec_driver_sql("PRAGMA cache_size").scalar_one()
    connection.exec_driver_sql(f"PRAGMA cache_size={-_SCAN_CACHE}")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"PRAGMA cache_size={int(usual)}")


def _decoded(data: bytes) -> str | InvalidText:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return InvalidText(data)


def reader(type_: TypeEngine[Any], kind: Kind[Any]) -> Reader:
    """Return what reads the raw values of a column of this type."""
    if isinstance(type_, UTCDateTime):
        return Reader(_none_taken, _instant_of_microseconds)
    if isinstance(kind, VectorKind):
        return Reader(partial(vectors_of_bytes, dimensions=kind.dimensions), _vector(kind))
    if isinstance(kind, ArrayKind):
        return Reader(_none_taken, lambda raw: kind.from_json(_json(raw)))
    if isinstance(kind, DecimalKind):
        return Reader(_none_taken, lambda raw: kind.check(_decimal(raw)))
    return _READERS[kind.name]


def _none_taken(values: Sequence[Any]) -> None:
    return None


def _expected(what: str, raw: Any) -> InvalidValueError:
    found = "text that is no UTF-8" if isinstance(raw, InvalidText) else _STORAGE[type(raw)]
    return InvalidValueError(f"expected {what}, found {found}")


def _of_text(raw: Any, what: str) -> str:
    if not isinstance(raw, str):
        raise _expected(what, raw)
    return raw


def _integer(raw: Any) -> int:
    if type(raw) is not int:
        raise _expected("an integer", raw)
    return check_integer(raw)


def _boolean(raw: Any) -> bool:
    if type(raw) is not int:
        raise _expected("a boolean", raw)
    if raw not in (0, 1):
        raise InvalidValueError("expected a boolean, found an integer other than 0 and 1")
    return bool(raw)


def _float(raw: Any) -> float:
    if type(raw) is int and float(raw) == raw:
        return float(raw)
    if type(raw) is not float:
        raise _expected("a float", raw)
    return raw


def _text(raw: Any) -> str:
    return check_text(_of_text(raw, "text"))


def _texts(values: Sequence[Any]) -> Sequence[Any] | None:
    if not {str, type(None)}.issuperset(map(type, values)):
        return None
    return None if "\x00" in "".join(filter(None, values)) else values


def _bytes(raw: Any) -> bytes:
    if type(raw) is not bytes:
        raise _expected("bytes", raw)
    return raw


def _instant_of_microseconds(raw: Any) -> datetime:
    if type(raw) is not int:
        raise _expected("microseconds since 1970", raw)
    try:
        return _EPOCH + timedelta(microseconds=raw)
    except OverflowError as error:
        raise InvalidValueError("expected an instant of the years 1 to 9999") from error


def _parsed(parse: Callable[[str], Any], what: str) -> Callable[[Any], Any]:
    def read_one(raw: Any) -> Any:
        try:
            return parse(_of_text(raw, what))
        except InvalidValueError:
            raise
        except ValueError as error:
            raise InvalidValueError(f"expected {what}, found other text") from error

    return read_one


def _written(text: str, kind: str) -> str:
    if not is_written_as(text, kind):
        raise ValueError
    return text


def _date(text: str) -> date:
    return date.fromisoformat(_written(text, "date"))


def _uuid(text: str) -> uuid.UUID:
    return uuid.UUID(_written(text, "uuid"))


def _moment(text: str) -> datetime:
    _check_fraction(_written(text, "timestamp"))
    return datetime.fromisoformat(text)  # a date alone is its midnight


def _check_fraction(text: str) -> None:
    # Python would drop what is smaller than a microsecond.
    fraction = _FRACTION.search(text)
    if fraction and fraction[1].strip("0"):
        raise InvalidValueError("expected a time to the microsecond, found one more exact")


def _naive(text: str) -> datetime:
    value = _moment(text)
    if value.tzinfo is not None:
        raise InvalidValueError("expected a timestamp without a zone, found one with")
    return value


def _zoned(text: str) -> datetime:
    value = _moment(text)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _time(text: str) -> time:
    _check_fraction(_written(text, "time"))
    value = time.fromisoformat(text)
    if value.tzinfo is not None:
        raise InvalidValueError("expected a time without a zone, found one with")
    return value


def _interval(text: str) -> timedelta:
    return _moment(text) - _NAIVE_EPOCH


def _decimal(raw: Any) -> Decimal:
    if isinstance(raw, bytes):
        raise _expected("a decimal", raw)
    if isinstance(raw, str) and not is_written_as(raw, "decimal"):
        raise InvalidValueError("expected a decimal, found other text")
    return Decimal(repr(raw) if isinstance(raw, float) else raw)


def _json(raw: Any) -> Any:
    if type(raw) in (int, float):  # a column declared as JSON makes numbers of texts that are some
        return _READ_JSON.check(raw)
    return json_document(_of_text(raw, "JSON"))


def _vector(kind: VectorKind) -> Callable[[Any], Any]:
    def read_one(raw: Any) -> Any:
        data = _bytes(raw)
        if len(data) % 4:
            raise InvalidValueError("expected a vector, found bytes that are no float32 numbers")
        return kind.check(np.frombuffer(data, dtype="<f4"))

    return read_one


_READ_JSON = JSONKind()
_READERS = {
    "integer": Reader(taken_as_is(int), _integer),
    "boolean": Reader(_none_taken, _boolean),
    "float": Reader(taken_as_is(float), _float),
    "text": Reader(_texts, _text),
    "bytes": Reader(taken_as_is(bytes), _bytes),
    "instant": Reader(_none_taken, _parsed(_zoned, "an instant")),
    "timestamp": Reader(_none_taken, _parsed(_naive, "a timestamp")),
    "date": Reader(_none_taken, _parsed(_date, "a date")),
    "time": Reader(_none_taken, _parsed(_time, "a time")),
    "interval": Reader(_none_taken, _parsed(_interval, "an interval")),
    "uuid": Reader(_none_taken, _parsed(_uuid, "a UUID")),
    "json": Reader(_none_taken, _json),
}
