"""Many rows by COPY in its binary format, within the transaction of the connection.

The binary format trusts what it is given: the bytes of an integer are a date to the server if the
column is one. So the server is asked for the types of the columns, and a batch is copied only if
each value is of a Python class that stands for its column's type in full. All else goes by Core,
which has the server convert: columns of other types (enumerations, domains, intervals and so on),
text for a number, numbers of numpy.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.types.json import Json, Jsonb
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from datastore.backends.postgresql.fallback import ARRAY_TYPE, uses_pgvector
from datastore.backends.postgresql.types import VectorValue
from datastore.bulk import BulkInsert, Values
from datastore.execution import refusals

#: Rows for each COPY that must be read before it begins. Each costs about as much as 50 vectors of
#: 1536 dimensions, or 1000 rows of a few short texts.
ROWS = 4000
#: Rows that are checked while the server stores those before them.
PART = 250
#: With fewer rows than these, COPY and asking for the types take longer than Core's inserts.
FEW = 10
#: The execution option that holds what is to be copied.
_PARTS = "datastore_copy"


@dataclass(frozen=True)
class _Wire:
    """The Python classes whose values a type takes in the binary format, if `suits` all of them."""

    classes: frozenset[type]
    suits: Callable[[Iterable[Any]], bool]

    def takes(self, values: Sequence[Any]) -> bool:
        if not self.classes.issuperset(map(type, values)):
            return False
        return self.suits(value for value in values if value is not None)


def _wire(*classes: type, suits: Callable[[Iterable[Any]], bool] = lambda _: True) -> _Wire:
    return _Wire(frozenset((type(None), *classes)), suits)


def _within(bits: int) -> Callable[[Iterable[int]], bool]:
    # psycopg cuts off what is too long.
    numbers = range(-(2 ** (bits - 1)), 2 ** (bits - 1))
    return lambda values: all(value in numbers for value in values)


def _aware(values: Iterable[datetime.datetime]) -> bool:
    return all(value.utcoffset() is not None for value in values)


def _naive(values: Iterable[datetime.datetime]) -> bool:
    return all(value.tzinfo is None for value in values)


def _texts(values: Iterable[list[Any]]) -> bool:
    return all(type(item) is str for value in values for item in value)


#: By the name that psycopg knows a type by.
_WIRES: Mapping[str, _Wire] = {
    "bool": _wire(bool),
    "int2": _wire(int, bool, suits=_within(16)),
    "int4": _wire(int, bool, suits=_within(32)),
    "int8": _wire(int, bool, suits=_within(64)),
    "float8": _wire(float),
    "numeric": _wire(decimal.Decimal),
    "text": _wire(str),
    "varchar": _wire(str),
    "text[]": _wire(list, suits=_texts),
    "bytea": _wire(bytes, psycopg.Binary),
    "date": _wire(datetime.date),
    "timestamp": _wire(datetime.datetime, suits=_naive),
    "timestamptz": _wire(datetime.datetime, suits=_aware),
    "uuid": _wire(uuid.UUID),
    "json": _wire(Json),
    "jsonb": _wire(Jsonb),
    "vector": _wire(VectorValue),
}
#: Without pgvector: its domain is sent as what it is made of. Arrays of the host's are lists.
_ARRAYS: Mapping[str, _Wire] = {"float4[]": _wire(VectorValue)}
# A view, a rule or a policy for rows: COPY ignores or refuses them.
_TYPES = sa.text(f"""\
SELECT a.attname AS name, CASE WHEN a.atttypid = to_regtype('{ARRAY_TYPE}')
  THEN to_regtype('real[]') ELSE a.atttypid END::oid AS type
FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
WHERE c.oid = to_regclass(:table) AND a.attnum > 0 AND NOT a.attisdropped
AND c.relkind IN ('r', 'p') AND NOT c.relhasrules AND NOT row_security_active(c.oid)""")


@dataclass(frozen=True)
class _Column:
    """The number of a column's type, and what it takes."""

    oid: int
    wire: _Wire


def run_copies(engine: Engine) -> None:
    """Let statements of this engine with our execution option be run as COPY.

    They then have the errors, the log and the events of any other statement.
    """

    @event.listens_for(engine, "do_execute")
    def do_execute(cursor: Any, statement: str, _parameters: Any, context: Any) -> bool:
        parts = context.execution_options.get(_PARTS)
        if parts is None:
            return False
        with cursor.copy(statement) as copy:
            copy.set_types([column.oid for column in parts.columns])
            for values in parts:
                for row in zip(*values, strict=True):
                    copy.write_row(row)
        return True


def insert_many(connection: Connection, insert: BulkInsert) -> int:
    """Insert rows, by COPY where they are many; return their number."""
    columns: Sequence[_Column] = ()
    count = 0
    for stream in insert.streams(ROWS):
        parts = _Parts(insert, stream, connection.dialect)
        while parts.rest:
            if not columns and len(parts.rest[0]) >= FEW:
                columns = _columns(connection, insert)
            count += _copy(connection, insert, parts, columns) if columns else 0
            count += insert.by_core(connection, parts.take_rest()) if parts.rest else 0
    return count


class _Parts:
    """Batches in parts, as far as all of a part can be copied.

    `rest` is what remains of a batch then; there is none at the end of all.
    """

    def __init__(self, insert: BulkInsert, batches: Iterator[Values], dialect: sa.Dialect) -> None:
        self._insert, self._batches, self._dialect = insert, batches, dialect
        self.rest: Values = next(batches, ())
        self.columns: Sequence[_Column] = ()

    def take_rest(self) -> Values:
        """Return what remains of a batch, and go on to the next."""
        values, self.rest = self.rest, next(self._batches, ())
        return values

    def __iter__(self) -> Iterator[Values]:
        """Yield parts; read the next batch when all of the one before was taken."""
        while self.rest:
            values = self.rest
            for start in range(0, len(values[0]), PART):
                self.rest = [column[start:] for column in values]
                bound = self._insert.bound([each[:PART] for each in self.rest], self._dialect)
                if not all(c.wire.takes(v) for c, v in zip(self.columns, bound, strict=True)):
                    return
                yield bound
            self.take_rest()


def _copy(
    connection: Connection, insert: BulkInsert, parts: _Parts, columns: Sequence[_Column]
) -> int:
    table, names = insert.names(connection)
    parts.columns = columns
    with refusals(connection):
        return connection.exec_driver_sql(
            f"COPY {_single(table)} ({_single(names)}) FROM STDIN (FORMAT BINARY)",
            execution_options={_PARTS: parts},
        ).rowcount


def _columns(connection: Connection, insert: BulkInsert) -> Sequence[_Column]:
    """Ask for the types of the columns; return none of them where not all can be copied."""
    table, _ = insert.names(connection)
    rows = connection.execute(_TYPES, {"table": _single(table)})
    types = {row.name: row.type for row in rows}
    wires = _wires(connection)
    oids = [types.get(column.name, 0) for column in insert.columns]  # no type has number 0
    return [_Column(oid, wires[oid]) for oid in oids] if wires.keys() >= set(oids) else []


def _wires(connection: Connection) -> Mapping[int, _Wire]:
    driver_connection: Any = connection.connection.driver_connection
    known = driver_connection.adapters.types
    wires = _WIRES if uses_pgvector(connection.dialect) else {**_WIRES, **_ARRAYS}
    return {known.get_oid(name): wire for name, wire in wires.items() if known.get(name)}


def _single(name: str) -> str:
    # Undo what is meant for statements with parameters, which COPY has none of.
    return name.replace("%%", "%")
