"""Foreign keys that can be kept: those whose parent is there, with a key of comparable types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from datastore.backends.base import Backend
from datastore.inspection import FoundForeignKey, FoundTable, Note
from datastore.kinds import kind_of
from datastore.transfer.reflection.names import constraint_name
from datastore.transfer.reflection.tables import exact


def add_foreign_keys(
    found: Mapping[str, FoundTable],
    tables: Mapping[str, sa.Table],
    target: Backend,
    notes: list[Note],
) -> None:
    """Add to `tables` their foreign keys, and note those that cannot be kept."""
    for table in found.values():
        for key in table.foreign_keys:
            reason = _obstacle(key, table, found)
            if reason is not None:
                where = f"the foreign key of {', '.join(key.columns)} to {key.parent}"
                notes.append(Note(f"{where} was left out: {reason}", table.name))
                continue
            ours = tables[table.name]
            name = None if key.name is None else constraint_name(key.name, ours, target)
            if name != key.name:
                notes.append(Note(f"the foreign key {key.name} is named {name}", table.name))
            ours.append_constraint(_constraint(key, tables[key.parent], name))


def _constraint(
    key: FoundForeignKey, parent: sa.Table, name: str | None
) -> sa.ForeignKeyConstraint:
    options: dict[str, Any] = dict(key.options)
    return sa.ForeignKeyConstraint(
        list(key.columns),
        [parent.c[column] for column in key.parent_columns],
        name=exact(name) if name is not None else None,
        **options,
    )


def _obstacle(
    key: FoundForeignKey, table: FoundTable, found: Mapping[str, FoundTable]
) -> str | None:
    parent = found.get(key.parent)
    if parent is None:
        return "there is no such table"
    theirs = {column.name: column for column in parent.columns}
    ours = {column.name: column for column in table.columns}
    if not key.parent_columns or not set(key.parent_columns) <= set(theirs):
        return "there are no such columns"
    if len(key.parent_columns) != len(key.columns):
        return "it has another number of columns"
    if not _is_key(key.parent_columns, parent):
        return f"{', '.join(key.parent_columns)} is no key there"
    for one, other in zip(key.columns, key.parent_columns, strict=True):
        kinds = kind_of(ours[one].type).name, kind_of(theirs[other].type).name
        if len(set(kinds)) > 1:
            return f"one holds {kinds[0]}, the other {kinds[1]}"
    return None


def _is_key(columns: tuple[str, ...], table: FoundTable) -> bool:
    keys = [set(key.columns) for key in table.unique_keys]
    if table.primary_key is not None:
        keys.append(set(table.primary_key.columns))
    for index in table.indexes:
        plain = not any(part.column is None or part.ignores_case for part in index.parts)
        if index.unique and index.where is None and plain:
            keys.append({str(part.column) for part in index.parts})
    return set(columns) in keys
