"""Running one statement, with what a driver says of its arguments made an error of SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import exc
from sqlalchemy.engine import Connection, CursorResult
from sqlalchemy.sql import Executable


def execute(connection: Connection, statement: Executable, params: Any) -> CursorResult[Any]:
    """Run a statement; its result knows how many rows were changed."""
    with refusals(connection):
        return connection.execute(statement, params, execution_options={"preserve_rowcount": True})


@contextmanager
def refusals(connection: Connection) -> Iterator[None]:
    """Raise `StatementError` for a value, or for several statements, that no driver would send."""
    try:
        yield
    except (TypeError, connection.dialect.loaded_dbapi.Warning) as error:
        raise exc.StatementError(type(error).__name__, None, None, error) from None
