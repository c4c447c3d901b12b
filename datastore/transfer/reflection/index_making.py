"""Indexes and keys made in a target that may have others of their names already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateIndex

from datastore.backends.base import Backend
from datastore.errors import DatabaseError, InvalidValueError
from datastore.inspection import FoundIndex, Note
from datastore.transfer.reflection.names import FreeNames, folded
from datastore.transfer.reflection.tables import exact
from datastore.translation import translated

#: Whether an index is unique, and partial; and its columns, None for an expression.
_Shape: TypeAlias = tuple[bool, bool, tuple[str | None, ...]]


class IndexMaker:
    """Makes the indexes that are not there, under names that nothing else has."""

    def __init__(self, connection: Connection, backend: Backend) -> None:
        self._connection, self._backend = connection, backend
        self._taken = {self._folded(name) for name in backend.relation_names(connection)}
        self._there = {
            self._folded(table): indexes for table, indexes in backend.indexes(connection).items()
        }

    def _folded(self, name: str) -> str:
        return folded(name, self._backend)

    def make(self, table: sa.Table, *, unique: bool) -> Iterator[Note]:
        """Make those of a table; yield a note for each that failed, or has another name."""
        found = self._there.get(self._folded(str(table.name)), ())
        there = {self._folded(index.name): self._shape_found(index) for index in found}
        for index in sorted(table.indexes, key=lambda each: str(each.name)):
            if bool(index.unique) is unique and (name := self._free_name(index, there)):
                yield from self._make(str(table.name), index, name)

    def _free_name(self, index: sa.Index, there: Mapping[str, _Shape]) -> str | None:
        """Return the name that an index is to have, None if the table has the index."""
        shape = self._shape(index)
        if shape in there.values() and not shape[1] and None not in shape[2]:
            return None
        free = FreeNames(self._taken - there.keys(), self._backend)
        while (name := free.take(str(index.name))) and self._folded(name) in there:
            if there[self._folded(name)] == shape:
                return None
        return name

    def _make(self, table: str, index: sa.Index, name: str) -> Iterator[Note]:
        what = "unique index" if index.unique else "index"
        if name != index.name:
            yield Note(f"the {what} {index.name} is named {name}", table)
            index.name = exact(name)
        try:
            with translated(self._backend), self._connection.begin_nested():
                self._connection.execute(CreateIndex(index))
            self._taken.add(self._folded(name))
        except (DatabaseError, InvalidValueError) as error:
            message = f"the {what} {name} could not be made: {error}"
            yield Note(message, table)

    def _shape_found(self, index: FoundIndex) -> _Shape:
        columns = (part.column and self._folded(part.column) for part in index.parts)
        return index.unique, index.where is not None, tuple(columns)

    def _shape(self, index: sa.Index) -> _Shape:
        where = index.dialect_options[self._backend.name]["where"]
        columns = (_column(each) for each in index.expressions)
        return (
            bool(index.unique),
            where is not None,
            tuple(name and self._folded(name) for name in columns),
        )


def _column(expression: Any) -> str | None:
    element = expression.element if isinstance(expression, sa.UnaryExpression) else expression
    return str(element.name) if isinstance(element, sa.Column) else None


def rename_keys(connection: Connection, table: sa.Table, backend: Backend) -> list[Note]:
    """Give other names to the unique keys of a table whose names something else has."""
    unique = [each for each in table.constraints if isinstance(each, sa.UniqueConstraint)]
    keys = [key for key in unique if key.name is not None]
    taken = backend.relation_names(connection) if keys else frozenset()
    notes = []
    for key in keys:
        if str(key.name) in taken:
            name = FreeNames(taken, backend).take(str(key.name))
            notes.append(Note(f"the unique key {key.name} is named {name}", str(table.name)))
            key.name = exact(name)
    return notes
