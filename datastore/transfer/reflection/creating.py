"""The tables of a reflected database made in the target, around the load of their rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.schema import AddConstraint, CreateIndex, CreateTable

from datastore.backends.base import Backend
from datastore.ddl import EnableVectors, execute
from datastore.errors import DatabaseError, InvalidValueError, TransferError
from datastore.inspection import Note
from datastore.transfer.naming import making
from datastore.transfer.plan import TableTransfer
from datastore.translation import translated
from datastore.types import Vector


def create_tables(
    connection: Connection, tables: Sequence[TableTransfer], backend: Backend
) -> None:
    """Create the tables that are not there, with their unique keys and without other indexes.

    Foreign keys come with them where they cannot be added later. Raises `TransferError` for a table
    that is there with other columns.
    """
    targets = [table.target for table in tables]
    if any(isinstance(column.type, Vector) for table in targets for column in table.columns):
        execute(EnableVectors(), connection)
        backend.learn(connection)
    there = set(sa.inspect(connection).get_table_names())
    for table in targets:
        if str(table.name) in there:
            _check_columns(connection, table)
            continue
        keys: list[sa.ForeignKeyConstraint] | None = [] if backend.adds_constraints else None
        with making(str(table.name), backend):
            connection.execute(CreateTable(table, include_foreign_key_constraints=keys))
            for index in _indexes(table, unique=True):
                connection.execute(CreateIndex(index, if_not_exists=True))


def _check_columns(connection: Connection, table: sa.Table) -> None:
    found = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
    wanted = {str(column.name) for column in table.columns}
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
    notes = []
    for table in (each.target for each in tables):
        for index in _indexes(table, unique=False):
            try:
                with translated(backend), connection.begin_nested():
                    connection.execute(CreateIndex(index, if_not_exists=True))
            except (DatabaseError, InvalidValueError) as error:
                message = f"the index {index.name} could not be made: {error}"
                notes.append(Note(message, str(table.name)))
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


def _indexes(table: sa.Table, *, unique: bool) -> Iterator[sa.Index]:
    for index in sorted(table.indexes, key=lambda each: str(each.name)):
        if bool(index.unique) is unique:
            yield index
