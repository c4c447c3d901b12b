"""One table in two databases, whose columns may be of other kinds: how their values are compared.

Each side is read by its own kinds, so that no value is rounded to be one of the other's. Numbers
are compared as decimals then, and days as their midnight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, TypeAlias

from sqlalchemy.engine import Connection

from datastore.backends.base import Backend
from datastore.kinds import ArrayKind, DecimalKind, Kind, TimestampKind
from datastore.reading import Batch, Batches
from datastore.transfer.plan import TableTransfer
from datastore.transfer.source import DatabaseSource, Position

#: A connection to a database, and its backend.
End: TypeAlias = tuple[Connection, Backend]
#: Makes a value one of the kind that is compared; leaves what was found to be wrong.
_Convert: TypeAlias = Callable[[Any], Any]
_NUMBERS = frozenset({"integer", "float", "decimal"})
_DAYS = frozenset({"date", "timestamp"})
#: Whose values are read from what is found, not from what a database makes of it.
_STRUCTURED = frozenset({"json", "array", "vector"})


class Side(DatabaseSource):
    """The rows of one table in one of two databases, by the kinds that are compared.

    `reading` is the table by the kinds of this side.
    """

    def __init__(self, end: End, reading: TableTransfer, kinds: Sequence[Kind[Any]]) -> None:
        self.table = replace(reading, given_kinds=tuple(kinds))
        super().__init__(*end, [self.table])
        self._reading = reading
        pairs = zip(reading.kinds, kinds, strict=True)
        self._convert = [_conversion(read, compared) for read, compared in pairs]

    def batches(self, table: TableTransfer, position: Position | None) -> Batches:
        """Read the rows of the table."""
        with closing(super().batches(self._reading, position)) as batches:
            for batch in batches:
                pairs = zip(batch.values, self._convert, strict=True)
                values = [v if convert is None else list(map(convert, v)) for v, convert in pairs]
                yield Batch(values, batch.unreadable)


@dataclass(frozen=True)
class Comparison:
    """Both sides of a table: the columns that both have, those of one alone, and other kinds."""

    columns: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    readings: tuple[TableTransfer, TableTransfer]
    kinds: tuple[tuple[Kind[Any], Kind[Any]], ...]

    def sides(self, one: End, other: End) -> tuple[Side, Side]:
        """Return what reads both sides."""
        left, right = self.readings
        compared = [_compared(*pair) for pair in self.kinds]
        return (
            Side(one, left, [pair[0] for pair in compared]),
            Side(other, right, [pair[1] for pair in compared]),
        )

    def told(self) -> Iterator[str]:
        """Say which columns one side has alone."""
        for names, where in ((self.missing, "first"), (self.extra, "second")):
            for name in names:
                yield f"table {self.readings[0].name}, column {name}: in the {where} alone"

    def other_kinds(self) -> Iterator[str]:
        """Say which columns hold values of other kinds."""
        for column, (one, other) in zip(self.columns, self.kinds, strict=True):
            if one.name != other.name:
                yield (
                    f"table {self.readings[0].name}, column {column}: {one.name} in the first, "
                    f"{other.name} in the second"
                )


def compare(one: TableTransfer, other: TableTransfer) -> Comparison:
    """Compare the columns of a table as it was found on both sides."""
    here, there = _names(one), _names(other)
    columns = tuple(name for name in one.columns if name in there)
    own = dict(zip(one.columns, one.kinds, strict=True))
    theirs = dict(zip(other.columns, other.kinds, strict=True))
    kinds = tuple((own[name], _read_as(own[name], theirs.get(name))) for name in columns)
    left = replace(one, columns=columns, given_kinds=tuple(pair[0] for pair in kinds))
    right = replace(left, source=other.source, given_kinds=tuple(pair[1] for pair in kinds))
    missing = tuple(name for name in one.columns if name not in there)
    extra = tuple(name for name in other.columns if name not in here)
    return Comparison(columns, missing, extra, (left, right), kinds)


def _names(table: TableTransfer) -> frozenset[str]:
    return frozenset(column.name for column in table.source.columns)


def _read_as(one: Kind[Any], other: Kind[Any] | None) -> Kind[Any]:
    """Return the kind by which the other side is read."""
    if other is None:
        return one
    is_structured = not _STRUCTURED.isdisjoint((one.name, other.name))
    if is_structured and (one.name != other.name or isinstance(one, ArrayKind)):
        return one
    return other


def _compared(one: Kind[Any], other: Kind[Any]) -> tuple[Kind[Any], Kind[Any]]:
    names = {one.name, other.name}
    if len(names) > 1 and names <= _NUMBERS:
        return DecimalKind(), DecimalKind()
    if len(names) > 1 and names <= _DAYS:
        return TimestampKind(), TimestampKind()
    return one, other


def _conversion(read: Kind[Any], compared: Kind[Any]) -> _Convert | None:
    if read.name == compared.name:
        return None
    return _as_decimal if compared.name == "decimal" else _as_midnight


def _as_decimal(value: Any) -> Any:
    return Decimal(repr(value)) if isinstance(value, int | float) else value


def _as_midnight(value: Any) -> Any:
    return datetime.combine(value, time()) if type(value) is date else value
