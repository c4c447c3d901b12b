"""Copies between databases, of either engine."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datastore import migrate
from datastore.backends.base import Access, Backend
from datastore.engine import access_engine, describe
from datastore.errors import TransferError
from datastore.store import Datastore
from datastore.transfer.loading.emptying import refuse_rows
from datastore.transfer.loading.load import IncompleteLoadError, load, rehearse
from datastore.transfer.loading.options import LoadOptions
from datastore.transfer.loading.resuming import load_resumably
from datastore.transfer.loading.schemas import DeclaredSchema, needs_ours, tables_present
from datastore.transfer.loading.standing import differences
from datastore.transfer.plan import TableTransfer
from datastore.transfer.reflection import FoundSchema
from datastore.transfer.reflection import reflect as reflected
from datastore.transfer.report import LoadReport
from datastore.transfer.selection import metadata_of, refuse_unfinished, tables_of
from datastore.transfer.source import DatabaseSource, snapshot
from datastore.transfer.verifying.searches import SearchSamples, sample_searches
from datastore.translation import translated


def copy(
    source: Datastore,
    target: Datastore | None,
    options: LoadOptions | None = None,
    *,
    reflect: bool = False,
    target_backend: Backend | None = None,
) -> LoadReport:
    """Copy all rows of the tables that the settings' metadata and ours declare.

    The source is read in one snapshot; both sides must be at one schema revision, and a target
    without a schema is migrated first. Raises `TransferError` where nothing was copied. A report
    that is not `is_complete` says which rows were left out. A dry run needs no target.

    With `reflect` it is all tables of the default schema, whoever made them, as they are found.
    They are created in the target; what cannot be there as it was stands in the report's notes. A
    dry run without a target takes `target_backend` (by default the source's) for its engine.
    """
    wanted = options or LoadOptions()
    if target is None and not wanted.dry_run:
        raise TransferError("expected a target, since this is no dry run")
    if target is not None and _same_place(source, target):
        raise TransferError("source and target are the same database")
    if reflect:
        return _copy_as_found(source, target, wanted, target_backend or source.backend)
    metadata = metadata_of(source)
    with snapshot(source) as there:
        migrated = _check_revision(there, target)
        tables, notes = tables_of(there, source, metadata, target)
        schema = DeclaredSchema(metadata, ours=migrated or needs_ours(metadata, tables))
        place = describe(source.engine)
        rows = DatabaseSource(there, source.backend, tables, place, wanted.batch_rows)
        if target is None or wanted.dry_run:
            if target is not None and wanted.existing == "refuse":
                refuse_filled(target, tables)
            backend = None if target is None else target.backend
            report = rehearse(rows, wanted, backend)
        elif wanted.resume:
            report = load_resumably(target, rows, wanted, schema)
        else:
            samples = _samples(there, source, metadata, wanted)
            report = load(target, rows, wanted, schema, samples.searches)
            notes += samples.notes
    return replace(report, notes=(*notes, *report.notes))


def _copy_as_found(
    source: Datastore, target: Datastore | None, options: LoadOptions, backend: Backend
) -> LoadReport:
    with snapshot(source) as there:
        refuse_unfinished(there, source)
        found = reflected(there, source.backend, target.backend if target else backend)
        place = describe(source.engine)
        rows = DatabaseSource(there, source.backend, found.tables, place, options.batch_rows)
        schema = FoundSchema(found)
        if target is not None:
            with snapshot(target) as other:
                typed = target.backend.keeps_types
                schema.notes.extend(map(str, differences(other, found.tables, types=typed)))
        if target is None or options.dry_run:
            if target is not None and options.existing == "refuse":
                refuse_filled(target, found.tables)
            report = rehearse(rows, options, target.backend if target else backend)
        else:
            load_rows = load_resumably if options.resume else load
            try:
                report = load_rows(target, rows, options, schema)
            except IncompleteLoadError as error:
                error.report = replace(error.report, notes=(*schema.notes, *error.report.notes))
                raise
    return replace(report, notes=(*schema.notes, *report.notes))


def _check_revision(connection: Connection, target: Datastore | None) -> bool:
    """Raise `TransferError` unless both are at one revision, or the target has no schema yet.

    Return whether the source has a schema of ours at all.
    """
    ours, theirs = migrate.current(connection), target and target.schema().version
    if ours is not None and ours != (theirs or migrate.head()):
        raise TransferError(
            f"the source is at schema revision {ours}, the target at {theirs or 'none'}, and this "
            f"code at {migrate.head()}: run `datastore upgrade` on both first"
        )
    return ours is not None


def _samples(
    connection: Connection,
    store: Datastore,
    metadata: Sequence[sa.MetaData],
    options: LoadOptions,
) -> SearchSamples:
    if options.verify != "full" or options.existing == "upsert":
        return SearchSamples()  # among other rows, searches find others
    return sample_searches(connection, store.backend, metadata)


def _same_place(source: Datastore, target: Datastore) -> bool:
    return source.dialect == target.dialect and _place(source) == _place(target)


def _place(store: Datastore) -> Hashable:
    engine = access_engine(store.engine, Access.STATEMENT)
    with translated(store.backend), engine.connect() as connection:
        return store.backend.place(connection)


def refuse_filled(target: Datastore, tables: Sequence[TableTransfer]) -> None:
    """Raise `TransferError` where tables of the target hold rows."""
    with snapshot(target) as there:
        present = tables_present(there, [table.target.metadata for table in tables])
        refuse_rows(there, [table for table in tables if table.name in present])
