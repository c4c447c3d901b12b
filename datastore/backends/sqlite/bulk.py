"""Many rows in few statements: triggers cost by the statement more than by the row."""

from __future__ import annotations

from itertools import chain
from typing import Any

from sqlalchemy.engine import Connection

from datastore.bulk import BulkInsert

#: Rows in one statement. With 100, a full-text index takes 1.8 times as long, with 2000 two thirds;
#: those are more to hold in memory. Without an index the number makes no difference.
ROWS = 500
#: The most parameters of one statement (SQLITE_MAX_VARIABLE_NUMBER; https://sqlite.org/limits.html).
VARIABLES = 32_766


def insert_many(connection: Connection, insert: BulkInsert) -> int:
    """Insert rows by statements that hold several of them; return their number."""
    table, columns = insert.names(connection)
    row = f"({', '.join('?' * len(insert.columns))})"
    count = 0
    for values in insert.batches(min(ROWS, VARIABLES // max(1, len(insert.columns)))):
        bound = insert.bound(values, connection.dialect)
        parameters: tuple[Any, ...] = tuple(chain.from_iterable(zip(*bound, strict=True)))
        rows = ", ".join([row] * len(values[0]))
        statement = f"INSERT INTO {table} ({columns}) VALUES {rows}"
        count += connection.exec_driver_sql(statement, parameters).rowcount
    return count
