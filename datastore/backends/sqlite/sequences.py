"""What AUTOINCREMENT remembers: the largest number that it ever gave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datastore.backends.sqlite.created import read_created


def reset_sequences(
    connection: Connection, tables: Sequence[sa.Table], reached: Mapping[tuple[str, str], int]
) -> None:
    """Let no number be given out again that was reached elsewhere.

    What stands in a table with AUTOINCREMENT SQLite remembers when it is inserted.
    """
    names = {str(table.name) for table in tables if _is_numbered_once(connection, table)}
    for (table, _), last in reached.items():
        if table not in names:
            continue
        raised = connection.exec_driver_sql(
            "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (last, table)
        )
        if not raised.rowcount:
            connection.exec_driver_sql("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, last))


def _is_numbered_once(connection: Connection, table: sa.Table) -> bool:
    """Tell whether a table has AUTOINCREMENT, which one that was there before may not have."""
    if not table.dialect_options["sqlite"]["autoincrement"]:
        return False
    sql = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND lower(name) = lower(?)"
    found = connection.exec_driver_sql(sql, (str(table.name),)).scalar()
    return found is not None and read_created(found).autoincrement
