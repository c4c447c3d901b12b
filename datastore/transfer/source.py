"""Where rows come from: the contract that a database and a file fulfil alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datastore.backends.base import Backend
from datastore.reading import Batch, TableReading
from datastore.transfer.plan import TableTransfer


class Source(Protocol):
    """Tables, and their rows in batches. Tables are read one after the other, in their order."""

    tables: Sequence[TableTransfer]

    def count(self, table: TableTransfer) -> int | None:
        """Return how many rows a table has, None where that is not known yet."""

    def batches(self, table: TableTransfer, after: tuple[Any, ...] | None) -> Iterator[Batch]:
        """Read the rows of a table; with `after` in the order of its key, from behind that key."""

    def line(self, batch: Batch, row: int) -> int | None:
        """Return the line of a file that a row of a batch stands on; None for a database."""

    def finish(self) -> None:
        """Raise `TransferError` unless all was read as it was written; called before a commit."""


class DatabaseSource:
    """The rows of a database, in the one snapshot of a connection."""

    def __init__(
        self, connection: Connection, backend: Backend, tables: Sequence[TableTransfer]
    ) -> None:
        self._connection = connection
        self._backend = backend
        self.tables = tables

    def count(self, table: TableTransfer) -> int:
        """Count the rows."""
        counted = sa.select(sa.func.count()).select_from(table.source)
        return int(self._connection.execute(counted).scalar_one())

    def batches(self, table: TableTransfer, after: tuple[Any, ...] | None) -> Iterator[Batch]:
        """Read rows as they are stored."""
        columns = tuple(table.source.c[name] for name in table.columns)
        reading = TableReading(table.source, columns, table.kinds, after)
        return self._backend.read(self._connection, reading)

    def line(self, batch: Batch, row: int) -> None:
        """Return None: a database has no lines."""

    def finish(self) -> None:
        """Do nothing: a snapshot is always whole."""
