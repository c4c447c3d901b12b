"""Tables as they were found, and as they are to be created: columns, keys and checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import quoted_name
from sqlalchemy.types import TypeEngine

from datastore.backends.base import Backend
from datastore.inspection import FoundColumn, FoundTable, Note
from datastore.kinds import kind_of
from datastore.transfer.reflection.columns import known_columns
from datastore.transfer.reflection.defaults import read_default
from datastore.transfer.reflection.expressions import (
    Column,
    read_condition,
    read_value,
)
from datastore.transfer.reflection.meanings import NotPortableError
from datastore.transfer.reflection.names import FreeNames, constraint_name
from datastore.types import RowKey


def exact(name: str) -> quoted_name:
    """Return a name that is always written in quotes: no keyword, and in its own case."""
    return quoted_name(name, True)


def source_table(found: FoundTable, metadata: sa.MetaData, source: Backend) -> sa.Table:
    """Return a table to be read: its columns, and the key that it can be read in the order of."""
    keys = found.primary_key.columns if found.primary_key else ()
    return sa.Table(
        exact(found.name),
        metadata,
        *(sa.Column(exact(c.name), source.column_type(c.type)) for c in found.columns),
        sa.PrimaryKeyConstraint(*keys),
    )


def _keyed(found: FoundTable) -> frozenset[str]:
    keys = (found.primary_key, *found.unique_keys, *found.foreign_keys)
    return frozenset(column for key in keys if key is not None for column in key.columns)


def _is_limited(type_: TypeEngine[Any]) -> bool:
    if not isinstance(type_, sa.Numeric) or isinstance(type_, sa.Float):
        return False
    return type_.precision is not None


class TableMaker:
    """Makes the table of the target, and notes what it cannot have."""

    def __init__(
        self,
        found: FoundTable,
        metadata: sa.MetaData,
        source: Backend,
        target: Backend,
        names: FreeNames,
        notes: list[Note],
    ) -> None:
        self._found, self._metadata = found, metadata
        self._source, self._target = source, target
        self._names, self._notes = names, notes
        self._key = found.primary_key.columns if found.primary_key else ()
        self._keyed = _keyed(found)
        self._once = False

    def make(self) -> sa.Table:
        """Return the table, with all but its foreign keys and indexes."""
        columns = [self._column(column) for column in self._found.columns]
        options = dict(self._found.options)
        if self._once:
            options.update(self._target.numbered_once)
        table = sa.Table(
            exact(self._found.name),
            self._metadata,
            *columns,
            sa.PrimaryKeyConstraint(*self._key),
            **options,
        )
        for key in self._found.unique_keys:
            table.append_constraint(self._unique(key.columns, key.name, key.options))
        # The names of those without one are chosen behind the others.
        for check in sorted(self._found.checks, key=lambda each: each.name is None):
            self._add_check(table, check.text, check.name)
        return table

    def _note(self, text: str, column: str | None = None) -> None:
        self._notes.append(Note(text, self._found.name, column))

    def _column(self, found: FoundColumn) -> sa.Column[Any]:
        numbered = self._is_numbered(found)
        type_ = self._target.column_type(self._type(found, numbered))
        generated = self._generated(found)
        lost = found.generated is not None and generated is None
        return sa.Column(
            exact(found.name),
            type_,
            *([sa.Identity()] if numbered else []),
            *([generated] if generated is not None else []),
            # A column that is not generated any more is given no value by who inserts rows.
            nullable=(found.nullable or lost) and found.name not in self._key,
            server_default=self._default(found, type_),
            autoincrement=numbered,
        )

    def _is_numbered(self, found: FoundColumn) -> bool:
        if found.numbering is None:
            return False
        if self._target.numbers_keys_only and self._key != (found.name,):
            self._note(
                f"its numbers are not made by {self._target.display_name}, which numbers primary "
                "keys of one column alone",
                found.name,
            )
            return False
        self._once = self._once or found.numbering.once
        return True

    def _type(self, found: FoundColumn, numbered: bool) -> TypeEngine[Any]:
        if numbered and isinstance(found.type, sa.BigInteger):
            return RowKey()
        if numbered and isinstance(found.type, sa.SmallInteger):
            return sa.Integer()
        if not numbered and self._target.numbers_keys_only and self._key == (found.name,):
            # Such a key would number itself if its type were INTEGER.
            return sa.BigInteger() if type(found.type) is sa.Integer else found.type
        return found.type

    def _default(self, found: FoundColumn, type_: TypeEngine[Any]) -> Any:
        if found.default is None or found.numbering is not None:
            return None
        try:
            return read_default(found.default, kind_of(type_), self._target)
        except NotPortableError as error:
            self._note(f"the default {found.default} was left out: {error}", found.name)
            return None

    def _generated(self, found: FoundColumn) -> sa.Computed | None:
        if found.generated is None:
            return None
        try:
            element = self._value(found, found.generated)
        except NotPortableError as error:
            self._note(
                f"it was generated as {found.generated}; it becomes a column like others, with "
                f"the values that were found: {error}",
                found.name,
            )
            return None
        stored = found.is_stored or not self._target.computes_when_read
        return sa.Computed(element, persisted=stored)

    def _value(self, found: FoundColumn, text: str) -> sa.ColumnElement[Any]:
        if found.rounds or _is_limited(found.type):
            raise NotPortableError("its type makes other values of what it is given")
        if found.name in self._keyed:
            raise NotPortableError("it is part of a key")
        if all(column.generated is not None for column in self._found.columns):
            raise NotPortableError("a row needs a column that is not generated")
        generated = {column.name for column in self._found.columns if column.generated is not None}
        named = {
            name: replace(column, refused=f"{name} is generated too" * (name in generated))
            for name, column in self._named().items()
        }
        return read_value(text, named, kind_of(found.type))

    def _named(self) -> Mapping[str, Column]:
        """Return the columns that expressions speak of."""
        return known_columns(
            self._found,
            self._source,
            self._target,
            lambda column: sa.column(exact(column.name), self._target.column_type(column.type)),
        )

    def _unique(
        self, columns: tuple[str, ...], name: str | None, options: Mapping[str, Any]
    ) -> sa.UniqueConstraint:
        if options and not self._target.adds_constraints:
            self._note(f"the unique key of {', '.join(columns)} is checked at once, not deferred")
            options = {}
        taken = None if name is None else self._names.take(name)
        if taken != name:
            self._note(f"the unique key {name} is named {taken}")
        return sa.UniqueConstraint(
            *columns, name=None if taken is None else exact(taken), **options
        )

    def _add_check(self, table: sa.Table, text: str, name: str | None) -> None:
        try:
            condition = read_condition(text, self._named())
        except NotPortableError as error:
            self._note(f"the check {text} was left out: {error}")
            return
        kept = None if name is None else constraint_name(name, table, self._target)
        if kept != name:
            self._note(f"the check {name} is named {kept}")
        table.append_constraint(
            sa.CheckConstraint(condition, name=None if kept is None else exact(kept))
        )
