"""The tables of a reflected database made in the target, around the load of their rows."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.schema import AddConstraint, CreateTable

from datastore.backends.base import Backend
from datastore.ddl import EnableVectors, execute
from datastore.errors import TransferError
from datastore.inspection import Note
from datastore.transfer.loading.naming import making
from datastore.transfer.plan import TableTransfer
from datastore.transfer.reflection.index_making import IndexMaker, rename_keys
from datastore.transfer.reflection.names import folded
from datastore.types import Vector


def create_tables(
    connection: Connection, tables: Sequence[TableTransfer], backend: Backend
) -> list[Note]:
    """Create the tables that are not there, with their unique keys and without other indexes.

    Foreign keys come with them where they cannot be added later. Return a note for each name that
    is another than expected. Raises `TransferError` for a table that is there with other columns.
    """
    targets = [table.target for table in tables]
    if any(isinstance(column.type, Vector) for table in targets for column in table.columns):
        execute(EnableVectors(), connection)
        backend.learn(connection)
    there = {folded(name, backend) for name in sa.inspect(connection).get_table_names()}
    notes: list[Note] = []
    # What a database names by itself, it names by a table, and longer: longer names come first.
    for table in sorted(targets, key=lambda each: -len(str(each.name))):
        if folded(str(table.name), backend) in there:
            _check_columns(connection, table, backend)
        else:
            notes += _create(connection, table, backend)
    made = IndexMaker(connection, backend)
    return [*notes, *(note for table in targets for note in made.make(table, unique=True))]


def _create(connection: Connection, table: sa.Table, backend: Backend) -> list[Note]:
    notes = rename_keys(connection, table, backend) if backend.names_constraints else []
    keys: list[sa.ForeignKeyConstraint] | None = [] if backend.adds_constraints else None
    with making(str(table.name), backend):
        connection.execute(CreateTable(table, include_foreign_key_constraints=keys))
    return notes


def _check_columns(connection: Connection, table: sa.Table, backend: Backend) -> None:
    there = sa.inspect(connection).get_columns(table.name)
    found = {folded(column["name"], backend) for column in there}
    wanted = {folded(str(column.name), backend) for column in table.columns}
    if found != wanted:
        missing, extra = sorted(wanted - found), sorted(found - wanted)
        raise TransferError(
            f"the target has a table {table.name} already, with other columns: expected "
            f"{', '.join(missing) or 'none more'}; found {', '.join(extra) or 'none more'}",
            table=str(table.name),
        )


def finish_tables(
    connection: Connection, tables: Sequence[TableTransfer], backend: Backend
) -> list[Note]:
    """Add indexes and foreign keys over all rows; return a note for each index that failed.

    An index is no data: a copy without one is complete. A foreign key that rows break is an error.
    """
    made = IndexMaker(connection, backend)
    notes = [note for each in tables for note in made.make(each.target, unique=False)]
    if backend.adds_constraints:
        for table in (each.target for each in tables):
            _add_foreign_keys(connection, table)
    return notes


def _add_foreign_keys(connection: Connection, table: sa.Table) -> None:
    found = sa.inspect(connection).get_foreign_keys(table.name)
    there = {tuple(key["constrained_columns"]) for key in found}
    for constraint in sorted(table.foreign_key_constraints, key=lambda c: str(c.column_keys)):
        if tuple(constraint.column_keys) not in there:
            # SQLAlchemy lets a constraint be added once; the same tables may be created again.
            connection.execute(AddConstraint(constraint))
