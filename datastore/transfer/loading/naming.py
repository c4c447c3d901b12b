"""Errors of the database told with the table that they are about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from datastore.backends.base import Backend
from datastore.errors import DatastoreError, TransferError
from datastore.translation import translated


@contextmanager
def making(table: str, backend: Backend) -> Iterator[None]:
    """Raise `TransferError`, which names the table, if it cannot be made."""
    try:
        with translated(backend):
            yield
    except DatastoreError as error:
        message = f"table {table} cannot be made in the target: {error}"
        raise TransferError(message, table=table) from error
