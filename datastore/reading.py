"""Rows on their way out of one table: streamed in batches of bounded size, each value looked at.

A value that is not of its column's kind does not end the reading: it stays as it was found, and the
batch says where it stands and what is wrong.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, NoReturn, TypeAlias

import numpy as np
import sqlalchemy as sa

from datastore.bulk import Values
from datastore.errors import InvalidValueError
from datastore.kinds import JSONKind, Kind
from datastore.types import INT64

#: The most rows of a batch, and the bytes of texts and blobs after which it ends.
ROWS = 4000
BYTES = 2**20
JSON = JSONKind()
#: How many values may stand within one another in JSON. Python reads and writes about 980.
DEEPEST = 800
_TOO_DEEP = "expected JSON, found values that are nested too deeply"
#: What not every engine takes stands in JSON only where an escaped character does, or one of these:
#: a number of many digits, on whichever side of its point, or one with an exponent.
_NOT_PLAIN = re.compile(r"[0-9](?:[eE]|[0-9.]{15})")


@dataclass(frozen=True)
class TableReading:
    """What is to be read: columns of a table, each with the kind that its values must be of.

    With `after`, rows come in the order of the primary key, from behind that key (from the first
    row for an empty one). No batch has more than `batch_rows`;
    `where` chooses rows.
    """

    table: sa.Table
    columns: tuple[sa.Column[Any], ...]
    kinds: tuple[Kind[Any], ...]
    after: tuple[Any, ...] | None = None
    batch_rows: int = ROWS
    where: sa.ColumnElement[bool] | None = None

    def statement(
        self, *columns: Any, key: Sequence[sa.ColumnElement[Any]] | None = None
    ) -> sa.Select[*tuple[Any, ...]]:
        """Select `columns` from the table, in the order that is asked for.

        `key` stands for the columns of the primary key where they are compared as something else.
        """
        statement: sa.Select[*tuple[Any, ...]] = sa.select(*columns).select_from(self.table)
        if self.where is not None:
            statement = statement.where(self.where)
        if self.after is None:
            return statement
        primary = list(self.table.primary_key)
        compared = primary if key is None else key
        if self.after:
            values = [sa.literal(v, c.type) for v, c in zip(self.after, primary, strict=True)]
            statement = statement.where(sa.tuple_(*compared) > sa.tuple_(*values))
        return statement.order_by(*compared)


@dataclass(frozen=True)
class Unreadable:
    """A value that is not of its column's kind: its row in the batch, its column, and why."""

    row: int
    column: int
    reason: str


@dataclass(frozen=True)
class Batch:
    """Rows as one sequence of values for each column; `unreadable` ones are as they were found."""

    values: Values
    unreadable: tuple[Unreadable, ...] = ()

    def __len__(self) -> int:
        return len(self.values[0])

    @cached_property
    def size(self) -> int:
        """About how many bytes the values take: text by its characters, numbers by eight."""
        return sum(map(_column_size, self.values))


#: Batches as they are read, from a database that is busy until they are at an end or closed.
Batches: TypeAlias = Generator[Batch, None, None]


def json_document(text: str) -> Any:
    """Read JSON; raise `InvalidValueError` for what is none, and for what not both engines take."""
    plain = not (_NOT_PLAIN.search(text) or "\\u" in text)
    document = _decoded(_plain_json if plain else _any_json, text)
    if text.count("[") + text.count("{") > DEEPEST:
        _check_depth(document)
    if document is None:
        return sa.JSON.NULL
    return document if plain else JSON.check(document)


def strict_json(text: str) -> Any:
    """Read JSON; raise `InvalidValueError` for what is none, or could be read in several ways."""
    return _decoded(_plain_json, text)


def _decoded(decoder: json.JSONDecoder, text: str) -> Any:
    try:
        return decoder.decode(text)
    except InvalidValueError:
        raise
    except RecursionError as error:
        raise InvalidValueError(_TOO_DEEP) from error
    except ValueError as error:
        raise InvalidValueError("expected JSON, found other text") from error


def _check_depth(document: Any) -> None:
    pending = [(document, 1)]
    while pending:
        value, depth = pending.pop()
        items = value.values() if isinstance(value, dict) else value
        if isinstance(items, str) or not isinstance(value, dict | list):
            continue
        if depth > DEEPEST:
            raise InvalidValueError(_TOO_DEEP)
        pending.extend((item, depth + 1) for item in items)


def _no_number(constant: str) -> NoReturn:
    raise InvalidValueError("expected JSON, found NaN or infinity")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise InvalidValueError("expected JSON, found an object with a key that stands there twice")
    return document


def _whole_number(digits: str) -> int | float:
    """Read digits: more than 64 bits of them are how JSONB writes 1e300."""
    value = int(digits)
    if value in INT64:
        return value
    number = float(digits)
    if not math.isfinite(number) or Decimal(repr(number)) != value:
        raise InvalidValueError("integer: expected at most 64 bits")
    return number


def _fraction(text: str) -> float:
    """Read a number of which Python would drop digits."""
    number = float(text)
    if math.isfinite(number) and Decimal(repr(number)) != Decimal(text):
        raise InvalidValueError("expected JSON, found a number of more digits than a float has")
    return number


_plain_json = json.JSONDecoder(parse_constant=_no_number, object_pairs_hook=_unique)
_any_json = json.JSONDecoder(
    parse_constant=_no_number,
    parse_int=_whole_number,
    parse_float=_fraction,
    object_pairs_hook=_unique,
)

#: Takes a whole column, or returns None where its values must be looked at one by one.
ColumnReader: TypeAlias = Callable[[Sequence[Any]], Sequence[Any] | None]


@dataclass(frozen=True)
class Reader:
    """How the raw values of a column become those of its kind.

    `one` raises `InvalidValueError`; it is not given None.
    """

    many: ColumnReader
    one: Callable[[Any], Any]


def taken_as_is(*classes: type) -> ColumnReader:
    """Return what takes a column whose values are all of these classes, or None."""
    wanted = frozenset((*classes, type(None)))
    return lambda values: values if wanted.issuperset(map(type, values)) else None


def vectors_of_bytes(values: Sequence[Any], dimensions: int | None) -> Sequence[Any] | None:
    """Take vectors of one length, given as little-endian float32, by looking at them as one matrix.

    Return None where one is none, of other `dimensions`, or to be looked at by itself.
    """
    if set(map(type, values)) != {bytes} or len(set(map(len, values))) != 1:
        return None
    length = len(values[0])
    if not length or length % 4 or (dimensions or length // 4) * 4 != length:
        return None
    matrix = np.frombuffer(b"".join(values), dtype="<f4").reshape(len(values), -1)
    with np.errstate(all="ignore"):
        norms = np.einsum("ij,ij->i", matrix, matrix)
    return list(matrix) if bool((np.isfinite(norms) & (norms > 0)).all()) else None


def read_batches(
    rows: Iterable[Sequence[Any]], readers: Sequence[Reader], most: int = ROWS
) -> Iterator[Batch]:
    """Cut raw rows into batches of at most `most`, and read each of their values."""
    return (read_batch(batch, readers) for batch in _sized(rows, most))


def read_batch(rows: Sequence[Sequence[Any]], readers: Sequence[Reader]) -> Batch:
    """Read each value of some raw rows."""
    columns: list[Sequence[Any]] = []
    unreadable: list[Unreadable] = []
    for number, raw in enumerate(zip(*rows, strict=True)):
        columns.append(_column(raw, readers[number], number, unreadable))
    return Batch(columns, tuple(unreadable))


def _column(
    raw: Sequence[Any], reader: Reader, number: int, unreadable: list[Unreadable]
) -> Sequence[Any]:
    taken = reader.many(raw)
    if taken is not None:
        return taken
    values = list(raw)
    for row, value in enumerate(raw):
        if value is None:
            continue
        try:
            values[row] = reader.one(value)
        except InvalidValueError as error:
            unreadable.append(Unreadable(row, number, str(error)))
    return values


def _sized(rows: Iterable[Sequence[Any]], most: int) -> Iterator[list[Sequence[Any]]]:
    batch: list[Sequence[Any]] = []
    size = 0
    for row in rows:
        batch.append(row)
        for value in row:
            kind = type(value)
            if kind is str or kind is bytes:
                size += len(value)
            elif kind is np.ndarray:
                size += value.nbytes
        if len(batch) == most or size >= BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _column_size(values: Sequence[Any]) -> int:
    first = next((value for value in values if value is not None), None)
    if isinstance(first, np.ndarray):
        return sum(value.nbytes for value in values if isinstance(value, np.ndarray))
    if isinstance(first, str | bytes):
        return sum(len(value) for value in values if isinstance(value, str | bytes))
    return 8 * len(values)
