"""Where rows come from: the contract that a database and a file fulfil alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datastore.backends.base import Access, Backend
from datastore.engine import access_engine
from datastore.reading import ROWS, Batch, Batches, TableReading
from datastore.store import Datastore
from datastore.transfer.plan import TableTransfer
from datastore.translation import translated


@dataclass(frozen=True)
class Position:
    """How far a table was read: how many of its rows, and the primary key of the last of them."""

    rows: int = 0
    key: tuple[Any, ...] = ()


class Source(Protocol):
    """Tables, and their rows in batches. Tables are read one after the other, in their order.

    `identity` tells this source from others, and is the same whenever it is opened again; it holds
    no password. `notes` say what a reader of a report should know.
    """

    identity: str
    tables: Sequence[TableTransfer]
    notes: Sequence[str]

    def count(self, table: TableTransfer) -> int | None:
        """Return how many rows a table has, None where that is not known yet."""

    def has_positions(self, table: TableTransfer) -> bool:
        """Tell whether a table can be read from behind any of its rows."""
        ...

    def batches(self, table: TableTransfer, position: Position | None) -> Batches:
        """Read the rows of a table, from behind a position in an order that is always the same.

        Without a position all rows are read, in any order.
        """
        ...

    def line(self, batch: Batch, row: int) -> int | None:
        """Return the line of a file that a row of a batch stands on; None for a database."""

    def finish(self) -> None:
        """Raise `TransferError` unless all was read as it was written; called before a commit."""


class DatabaseSource:
    """The rows of a database, in the one snapshot of a connection."""

    notes: Sequence[str] = ()

    def __init__(
        self,
        connection: Connection,
        backend: Backend,
        tables: Sequence[TableTransfer],
        identity: str = "",
        batch_rows: int = ROWS,
    ) -> None:
        self._connection = connection
        self._backend = backend
        self.tables = tables
        self.identity = identity
        self._batch_rows = batch_rows

    def count(self, table: TableTransfer) -> int:
        """Count the rows."""
        counted = sa.select(sa.func.count()).select_from(table.source)
        with self._backend.scanning(self._connection):
            return int(self._connection.execute(counted).scalar_one())

    def has_positions(self, table: TableTransfer) -> bool:
        """Tell whether its key is of kinds that the database stores in one way each."""
        kinds = {table.kinds[position].name for position in table.key_positions}
        return bool(kinds) and kinds <= self._backend.ordered

    def batches(self, table: TableTransfer, position: Position | None) -> Batches:
        """Read rows as they are stored, by their primary key if there is a position."""
        after = None if position is None else position.key
        reading = TableReading(
            table.source, table.source_columns, table.kinds, after, self._batch_rows
        )
        return self._backend.read(self._connection, reading)

    def line(self, batch: Batch, row: int) -> None:
        """Return None: a database has no lines."""

    def finish(self) -> None:
        """Do nothing: a snapshot is always whole."""


@contextmanager
def snapshot(store: Datastore) -> Iterator[Connection]:
    """Give a connection that sees one state of the database for as long as it is needed."""
    engine = access_engine(store.engine, Access.READ)
    with translated(store.backend), engine.begin() as connection:
        store.backend.take_time(connection)
        store.backend.write_alike(connection)
        yield connection
