"""How the tables of a load come to be, within the transaction that rows are loaded in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datastore import migrate
from datastore.backends.base import Backend
from datastore.schema import search_indexes
from datastore.store import Datastore
from datastore.transfer.plan import TableTransfer
from datastore.types import Vector


class Schema(Protocol):
    """The tables of a target. `reached` are numbers that must not be given out again."""

    reached: Mapping[tuple[str, str], int]

    def changing(self, target: Datastore) -> AbstractContextManager[Connection]:
        """Give a transaction that alone may change the schema; before it, bring that up to date."""
        ...

    def create(self, connection: Connection, tables: Sequence[TableTransfer]) -> None:
        """Create the tables that are not there."""

    def loading(
        self, connection: Connection, backend: Backend, tables: Sequence[sa.Table]
    ) -> AbstractContextManager[None]:
        """Make many rows fast to load."""
        ...

    def finish(self, connection: Connection) -> None:
        """Add what comes after the rows, unless it is there."""


def tables_present(connection: Connection, metadata: Sequence[sa.MetaData]) -> set[str]:
    """Return the names of the tables in the default schema, and of those in the schemas named."""
    inspector = sa.inspect(connection)
    named = {table.schema for each in metadata for table in each.tables.values()} - {None}
    others = {f"{schema}.{name}" for schema in named for name in inspector.get_table_names(schema)}
    return {*inspector.get_table_names(), *others}


def needs_ours(metadata: Sequence[sa.MetaData], tables: Sequence[TableTransfer]) -> bool:
    """Tell whether tables have vectors or search indexes, for which migrations make what it takes.

    That is types and functions, on some engines.
    """
    names = {(table.target.name, table.target.schema) for table in tables}
    indexes = (index for each in metadata for index in search_indexes(each))
    return any((index.table.name, index.table.schema) in names for index in indexes) or any(
        isinstance(column.type, Vector) for table in tables for column in table.target.columns
    )


class DeclaredSchema:
    """The tables that metadata declare: ours by migrations, the host's by themselves.

    Without `ours`, no migration is run.
    """

    reached: Mapping[tuple[str, str], int] = {}

    def __init__(self, metadata: Sequence[sa.MetaData], *, ours: bool = True) -> None:
        self._metadata, self._ours = metadata, ours

    def changing(self, target: Datastore) -> AbstractContextManager[Connection]:
        """Upgrade first."""
        if self._ours:
            return migrate.upgraded(target.engine, target.metadata)
        return migrate.changing(target.engine)

    def create(self, connection: Connection, tables: Sequence[TableTransfer]) -> None:
        """Create the tables that no migration of ours makes: those of the host."""
        present = tables_present(connection, self._metadata)
        wanted = {table.name for table in tables} - present
        for each in self._metadata:
            missing = [table for name, table in each.tables.items() if name in wanted]
            each.create_all(connection, tables=missing, checkfirst=True)

    @contextmanager
    def loading(
        self, connection: Connection, backend: Backend, tables: Sequence[sa.Table]
    ) -> Iterator[None]:
        """Make search indexes anew at the end."""
        names = {(table.name, table.schema) for table in tables}
        definitions = [
            index.definition
            for each in self._metadata
            for index in search_indexes(each)
            if (index.table.name, index.table.schema) in names
        ]
        with backend.loading(connection, tables, definitions):
            yield

    def finish(self, connection: Connection) -> None:
        """Do nothing: the tables are complete."""
