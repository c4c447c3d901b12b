"""Which tables of a database are moved."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datastore import migrate
from datastore.engine import describe
from datastore.errors import ConfigurationError, TransferError
from datastore.settings import Settings
from datastore.store import Datastore, load_metadata
from datastore.transfer.loading.checkpoints import has_checkpoints
from datastore.transfer.loading.schemas import tables_present
from datastore.transfer.plan import TableTransfer, plan


def metadata_of(store: Datastore) -> list[sa.MetaData]:
    """Return the metadata of the store, and that of our own tables where it is another."""
    default = Settings.model_fields["metadata"].default
    try:
        ours = load_metadata(store.settings.model_copy(update={"metadata": default}))
    except ConfigurationError:  # a host may have our library without the repositories
        return [store.metadata]
    return [store.metadata] if ours is store.metadata else [store.metadata, ours]


def tables_of(
    connection: Connection,
    store: Datastore,
    metadata: Sequence[sa.MetaData],
    target: Datastore | None = None,
) -> tuple[list[TableTransfer], list[str]]:
    """Return the tables to move, and a note for each that nothing declares."""
    refuse_unfinished(connection, store)
    hidden = store.backend.search_objects(connection).tables | {migrate.VERSION_TABLE}
    present = tables_present(connection, metadata) - hidden
    written_by = None if target is None else target.engine.dialect
    tables = plan(metadata, present, connection.dialect, written_by)
    left = sorted(present - {table.name for table in tables})
    return tables, [
        f"table {name} was left out: no metadata of the settings declares it" for name in left
    ]


def refuse_unfinished(connection: Connection, source: Datastore) -> None:
    """Raise `TransferError` where a load in steps has not come to its end."""
    if has_checkpoints(connection):
        raise TransferError(
            f"{describe(source.engine)} is in the midst of a load: let that come to its end "
            "first, with --resume"
        )
