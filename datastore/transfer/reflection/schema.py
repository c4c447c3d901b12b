"""The schema of a target that gets the tables of another database, and no table of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datastore import migrate
from datastore.backends.base import Backend
from datastore.engine import backend_of
from datastore.store import Datastore
from datastore.transfer.plan import TableTransfer
from datastore.transfer.reflection.creating import create_tables, finish_tables
from datastore.transfer.reflection.reflected import ReflectedDatabase


class FoundSchema:
    """Creates the tables of a reflected database; `notes` grow by the indexes that fail."""

    def __init__(self, found: ReflectedDatabase) -> None:
        self._found = found
        self.reached: Mapping[tuple[str, str], int] = found.reached
        self.notes = found.all_notes

    def changing(self, target: Datastore) -> AbstractContextManager[Connection]:
        """Run no migration."""
        return migrate.changing(target.engine)

    def create(self, connection: Connection, tables: Sequence[TableTransfer]) -> None:
        """Create the tables without foreign keys, if these can be added, and without indexes."""
        notes = create_tables(connection, tables, backend_of(connection.engine))
        self.notes.extend(map(str, notes))

    @contextmanager
    def loading(
        self, connection: Connection, backend: Backend, tables: Sequence[sa.Table]
    ) -> Iterator[None]:
        """Add what comes after the rows; what is there already goes meanwhile."""
        with backend.loading(connection, tables, ()):
            yield
        self.finish(connection)

    def finish(self, connection: Connection) -> None:
        """Add indexes and foreign keys."""
        backend = backend_of(connection.engine)
        self.notes.extend(map(str, finish_tables(connection, self._found.tables, backend)))
