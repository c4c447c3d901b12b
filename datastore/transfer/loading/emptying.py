"""Tables that a load finds filled: refused, or emptied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datastore.errors import TransferError
from datastore.transfer.loading.checkpoints import has_checkpoints
from datastore.transfer.plan import TableTransfer


def filled(connection: Connection, tables: Sequence[TableTransfer]) -> list[TableTransfer]:
    """Return those of the tables that hold rows in the target."""
    return [table for table in tables if _holds_rows(connection, table.target)]


def refuse_rows(connection: Connection, tables: Sequence[TableTransfer]) -> None:
    """Raise `TransferError` where a table holds rows."""
    found = filled(connection, tables)
    if not found:
        return
    advice = "choose to upsert (--upsert) or to truncate (--truncate)"
    if has_checkpoints(connection):
        advice = "they are those of an interrupted load, which --resume goes on with"
    names = ", ".join(table.name for table in found)
    raise TransferError(
        f"the target holds rows already, in {names}: expected empty tables; {advice}",
        table=found[0].name,
    )


def refuse_references(connection: Connection, tables: Sequence[TableTransfer]) -> None:
    """Raise `TransferError` where rows of other tables refer to rows of these."""
    emptied = {(table.target.schema, table.target.name) for table in filled(connection, tables)}
    loaded = {(table.target.schema, table.target.name) for table in tables}
    for referring, key in _foreign_keys(connection):
        referred = (key["referred_schema"], key["referred_table"])
        if referring not in loaded and referred in emptied:
            _refuse_reference(connection, referring, key)


def empty(connection: Connection, tables: Sequence[TableTransfer]) -> None:
    """Delete all rows."""
    for table in reversed(filled(connection, tables)):
        connection.execute(sa.delete(table.target))


def _foreign_keys(connection: Connection) -> Iterator[tuple[tuple[str | None, str], Any]]:
    for table, keys in sa.inspect(connection).get_multi_foreign_keys().items():
        yield from ((table, key) for key in keys)


def _refuse_reference(connection: Connection, referring: tuple[str | None, str], key: Any) -> None:
    schema, name = referring
    columns: list[Any] = [sa.column(column) for column in key["constrained_columns"]]
    refer = sa.and_(*(column.is_not(None) for column in columns))
    if _holds_rows(connection, sa.table(name, *columns, schema=schema), refer):
        raise TransferError(
            f"table {name} of the target refers to {key['referred_table']}, and does not come with "
            "the source: delete its rows first, or upsert",
            table=name,
        )


def _holds_rows(connection: Connection, table: Any, *which: sa.ColumnElement[bool]) -> bool:
    first = sa.select(sa.literal(1)).select_from(table).where(*which).limit(1)
    return connection.execute(first).first() is not None
