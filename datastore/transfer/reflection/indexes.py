"""Indexes that both engines can have, and the unique ones that stand for keys without case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from datastore.backends.base import Backend
from datastore.inspection import FoundIndex, FoundKey, FoundPart, FoundTable, Note
from datastore.transfer.reflection.columns import known_columns
from datastore.transfer.reflection.expressions import (
    Column,
    read_condition,
    read_expression,
)
from datastore.transfer.reflection.meanings import NotPortableError, in_groups
from datastore.transfer.reflection.names import FreeNames
from datastore.transfer.reflection.tables import exact


def add_indexes(
    found: FoundTable,
    table: sa.Table,
    source: Backend,
    target: Backend,
    names: FreeNames,
    notes: list[Note],
) -> None:
    """Add its indexes to a table, and note those that cannot be kept."""
    columns = known_columns(found, source, target, lambda column: table.c[column.name])
    for index in (*_without_case(found), *found.indexes):
        name = names.take(index.name)
        if name != index.name:
            notes.append(Note(f"the index {index.name} is named {name}", found.name))
        try:
            parts = [_part(part, columns, index.unique) for part in index.parts]
            options: dict[str, Any] = {}
            if index.where is not None:
                options[f"{target.name}_where"] = read_condition(index.where, columns)
        except NotPortableError as error:
            what = "unique index" if index.unique else "index"
            notes.append(Note(f"the {what} {index.name} was left out: {error}", found.name))
            continue
        sa.Index(exact(name), *parts, unique=index.unique, **options)


def _without_case(found: FoundTable) -> Iterator[FoundIndex]:
    """Return unique indexes over lower case, for keys to which case means nothing."""
    keys = [key for key in (found.primary_key, *found.unique_keys) if key is not None]
    for key in keys:
        if ignoring := _ignoring(key, found):
            parts = tuple(FoundPart(name, ignores_case=name in ignoring) for name in key.columns)
            yield FoundIndex(f"{found.name}_{'_'.join(key.columns)}_lower", parts, unique=True)


def _ignoring(key: FoundKey, found: FoundTable) -> frozenset[str]:
    columns = {column.name for column in found.columns if column.ignores_case}
    return key.ignores_case | (columns & set(key.columns))


def _part(part: FoundPart, columns: Mapping[str, Column], unique: bool) -> Any:
    if part.column is not None:
        element: Any = columns[part.column].element
        kind = columns[part.column].kind.name
    else:
        typed = read_expression(str(part.expression), columns)
        if unique and typed.unlike:
            raise NotPortableError(typed.unlike)
        element, kind = in_groups(typed), typed.kind
    if part.ignores_case and kind == "text":
        element = sa.func.lower(element)
    return element.desc() if part.descending else element
