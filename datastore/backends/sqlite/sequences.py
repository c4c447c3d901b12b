"""What AUTOINCREMENT remembers: the largest number that it ever gave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection


def reset_sequences(
    connection: Connection, tables: Sequence[sa.Table], reached: Mapping[tuple[str, str], int]
) -> None:
    """Let no number be given out again that was reached elsewhere.

    What stands in a table with AUTOINCREMENT SQLite remembers when it is inserted.
    """
    names = {str(table.name) for table in tables if _is_numbered_once(table)}
    for (table, _), last in reached.items():
        if table not in names:
            continue
        raised = connection.exec_driver_sql(
            "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (last, table)
        )
        if not raised.rowcount:
            connection.exec_driver_sql("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, last))


def _is_numbered_once(table: sa.Table) -> bool:
    return bool(table.dialect_options["sqlite"]["autoincrement"])
