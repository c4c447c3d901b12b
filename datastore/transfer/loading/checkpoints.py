"""How far a load in steps went, written down in the target for as long as it lasts."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datastore.types import JSONDocument, Text

_metadata = sa.MetaData()
#: One row for each table of the load. `key` is that of the last row that was read, `sum` that of
#: the digest of the rows that were written.
checkpoints = sa.Table(
    "datastore_transfer",
    _metadata,
    sa.Column("table_name", Text(), primary_key=True),
    sa.Column("source", Text(), nullable=False),
    sa.Column("read", sa.BigInteger(), nullable=False),
    sa.Column("written", sa.BigInteger(), nullable=False),
    sa.Column("key", JSONDocument(), nullable=False),
    sa.Column("sum", Text(), nullable=False),
    sa.Column("done", sa.Boolean(), nullable=False),
)


def has_checkpoints(connection: Connection) -> bool:
    """Tell whether a load in steps has begun in this database, and has not come to its end."""
    return sa.inspect(connection).has_table(checkpoints.name)


def drop_checkpoints(connection: Connection) -> None:
    """Let no load in steps go on from here."""
    checkpoints.drop(connection, checkfirst=True)
