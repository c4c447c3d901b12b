"""A database as it was found, and the tables that are to be created from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datastore.backends.base import Backend
from datastore.errors import TransferError
from datastore.inspection import FoundDatabase, Note
from datastore.transfer.plan import TableTransfer, in_order, stored_columns
from datastore.transfer.reflection.foreign_keys import add_foreign_keys
from datastore.transfer.reflection.indexes import add_indexes
from datastore.transfer.reflection.names import FreeNames, given_names, refused_names
from datastore.transfer.reflection.tables import TableMaker, source_table


@dataclass(frozen=True)
class ReflectedDatabase:
    """The tables on their way, parents first, and what is not in the copy as it was found.

    `reached` are the largest numbers that were given out before, by table and column.
    """

    tables: Sequence[TableTransfer]
    notes: Sequence[Note]
    views: Sequence[str]
    reached: Mapping[tuple[str, str], int]

    @property
    def all_notes(self) -> list[str]:
        """The notes for a report, the views among them."""
        views = [f"the view {name} was left out" for name in self.views]
        return [*map(str, self.notes), *views]


def reflect(connection: Connection, backend: Backend, target: Backend) -> ReflectedDatabase:
    """Find the tables of a database, and say how they are to be created in `target`.

    Raises `TransferError`, which names every reason, for a database that cannot be copied.
    """
    found = _with_columns(backend.inspect(connection))
    obstacles = [*found.obstacles, *refused_names(found, target)]
    if obstacles:
        raise TransferError("; ".join(obstacles))
    notes = list(found.notes)
    made = _made(found, backend, target, notes)
    source = sa.MetaData()
    sources = {table.name: source_table(table, source, backend) for table in found.tables}
    tables = [
        TableTransfer(sources[str(table.name)], table, stored_columns(table))
        for table in in_order(made.values())
    ]
    return ReflectedDatabase(tables, notes, found.views, _reached(found))


def _with_columns(found: FoundDatabase) -> FoundDatabase:
    empty = [table.name for table in found.tables if not table.columns]
    notes = (Note("it has no columns and was left out", name) for name in empty)
    return replace(
        found,
        tables=tuple(table for table in found.tables if table.columns),
        notes=(*found.notes, *notes),
    )


def _made(
    found: FoundDatabase, source: Backend, target: Backend, notes: list[Note]
) -> dict[str, sa.Table]:
    metadata = sa.MetaData()
    names = FreeNames(given_names(found, target), target)
    made = {
        table.name: TableMaker(table, metadata, source, target, names, notes).make()
        for table in found.tables
    }
    add_foreign_keys({table.name: table for table in found.tables}, made, target, notes)
    for table in found.tables:
        add_indexes(table, made[table.name], source, target, names, notes)
    return made


def _reached(found: FoundDatabase) -> dict[tuple[str, str], int]:
    return {
        (table.name, column.name): column.numbering.last
        for table in found.tables
        for column in table.columns
        if column.numbering is not None and column.numbering.last is not None
    }
