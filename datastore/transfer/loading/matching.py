"""By which key the rows of an upsert find theirs, and which numbers lead to which.

Where the primary key is a number that databases make by themselves, two databases gave the same
number to different rows. Such a table is matched by a unique key instead.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from datastore.transfer.plan import TableTransfer


@dataclass(frozen=True)
class Match:
    """The column that databases number by themselves, if any, and the key to match by."""

    number: str | None
    key: tuple[str, ...]


@dataclass(frozen=True)
class Reference:
    """A column that holds numbers of rows of the table `root`.

    Rows of the table may come before those of the root, if it is `ahead`. Where one of the columns
    of `beside` is NULL, the number need not be that of any row.
    """

    column: str
    root: str
    ahead: bool
    beside: tuple[str, ...]


class Numbers:
    """The numbers of rows that were written, and which they have in the target.

    One that is the same on both sides takes a bit, where numbers are dense.
    """

    def __init__(self) -> None:
        self._others: dict[Any, int] = {}
        self._same: dict[int, int] = defaultdict(int)

    def add(self, number: int, there: int) -> None:
        """Remember a row; what is said of it later counts."""
        self._others.pop(number, None)
        if number == there:
            self._same[number >> 6] |= 1 << (number & 63)
        else:
            self._others[number] = there

    def find(self, number: Any) -> Any:
        """Return the number that stands for `number` in the target, None for an unknown one."""
        if number in self._others:
            return self._others[number]
        if not isinstance(number, int | Decimal) or number != int(number):
            return None
        whole = int(number)
        return number if self._same.get(whole >> 6, 0) >> (whole & 63) & 1 else None


def match_of(table: TableTransfer) -> Match:
    """Return how the rows of a table are matched; the key is empty where nothing matches them."""
    primary = list(table.target.primary_key)
    if len(primary) == 1 and isinstance(primary[0].identity, sa.Identity):
        number = primary[0].name
        keys = [key for key in _unique_keys(table) if number not in key]
        if keys and not primary[0].foreign_keys:
            return Match(number, min(keys, key=lambda key: _order(table, key)))
    return Match(None, table.key)


def references_of(
    table: TableTransfer, places: Mapping[str, int], numbers: Mapping[str, str]
) -> Iterator[Reference]:
    """Yield the columns that lead to a number, be it through other tables.

    `places` is the order in which tables are written, `numbers` the column that each has.
    """
    for constraint in table.target.foreign_key_constraints:
        for element in constraint.elements:
            root = _root(element.column, numbers)
            if root is not None and element.parent.name in table.columns:
                beside = tuple(c.name for c in constraint.columns if c is not element.parent)
                ahead = places[root] >= places[table.target.fullname]
                yield Reference(element.parent.name, root, ahead, beside)


def _root(
    column: sa.Column[Any], numbers: Mapping[str, str], seen: tuple[sa.Column[Any], ...] = ()
) -> str | None:
    if numbers.get(column.table.fullname) == column.name:
        return str(column.table.fullname)
    for foreign_key in column.foreign_keys:
        if foreign_key.column not in seen:
            root = _root(foreign_key.column, numbers, (*seen, column))
            if root is not None:
                return root
    return None


def _unique_keys(table: TableTransfer) -> Iterator[tuple[str, ...]]:
    """Yield those whose columns have values of their own, also of indexes over all rows."""
    for columns in (*_constraints(table.target), *_indexes(table.target)):
        names = tuple(column.name for column in columns)
        if names and set(names) <= set(table.columns):
            yield names


def _constraints(table: sa.Table) -> Iterator[Sequence[sa.Column[Any]]]:
    for constraint in table.constraints:
        if isinstance(constraint, sa.UniqueConstraint):
            yield list(constraint.columns)


def _indexes(table: sa.Table) -> Iterator[Sequence[sa.Column[Any]]]:
    for index in table.indexes:
        is_partial = any(name.endswith("_where") for name in index.dialect_kwargs)
        if index.unique and not is_partial and _are_columns(index.expressions):
            yield list(index.columns)


def _are_columns(expressions: Iterable[Any]) -> bool:
    return all(isinstance(expression, sa.Column) for expression in expressions)


def _order(table: TableTransfer, key: tuple[str, ...]) -> Any:
    """Prefer a key without NULL, which matches nothing; then the first of the table."""
    columns = {column.name: column for column in table.target_columns}
    places = sorted(table.columns.index(name) for name in key)
    return any(columns[name].nullable for name in key), places
