"""Loading rows into a database: all of them or none, in one transaction.

The schema is brought up to date in the same transaction, search indexes are made anew over all rows
at its end, and what was written is compared with what was read before anything is committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datastore.backends.base import Backend
from datastore.errors import DatastoreError, TransferError
from datastore.reading import Batch
from datastore.store import Datastore
from datastore.transfer.loading.checkpoints import drop_checkpoints
from datastore.transfer.loading.emptying import empty, refuse_references, refuse_rows
from datastore.transfer.loading.matching import match_of
from datastore.transfer.loading.options import LoadOptions
from datastore.transfer.loading.orphans import Orphan, Orphans
from datastore.transfer.loading.rejects import Rejects
from datastore.transfer.loading.schemas import Schema
from datastore.transfer.loading.standing import refuse_generated
from datastore.transfer.loading.troubles import Troubles, key_text
from datastore.transfer.loading.upserting import Upserts
from datastore.transfer.loading.writing import (
    Limits,
    TableWriter,
    Write,
    attempting,
    inserting,
    limits_of,
    read_only,
)
from datastore.transfer.plan import TableTransfer, as_written, references_ahead
from datastore.transfer.progress import Meter
from datastore.transfer.report import LoadReport, SearchComparison, TableReport
from datastore.transfer.source import DatabaseSource, Source
from datastore.transfer.verifying.differences import digest_of
from datastore.transfer.verifying.digest import DigestSum, TableDigest
from datastore.transfer.verifying.searches import SearchSample, compare_searches
from datastore.translation import translated


class IncompleteLoadError(TransferError):
    """Some rows could not be taken, or did not arrive as they were; `report` has the details."""

    def __init__(self, report: LoadReport, done: str = "nothing was loaded") -> None:
        first = report.troubles[0] if report.troubles else None
        super().__init__(
            "\n  ".join([f"{done}:", *_shortcomings(report)]),
            table=first.table if first else None,
            line=first.line if first else None,
        )
        self.report = report


def _shortcomings(report: LoadReport) -> Iterator[str]:
    yield from map(str, report.troubles)
    for table in report.tables:
        if not table.matches:
            yield f"table {table.table}: what was written is not what was read"


class Transfer:
    """The rows of a source on their way, and what is known of them."""

    def __init__(self, source: Source, options: LoadOptions, backend: Backend | None) -> None:
        self.source, self.options, self._backend = source, options, backend
        self.troubles = Troubles()
        path = None if options.dry_run else options.rejects
        self.rejects = Rejects(path, goes_on=options.resume)
        self.reports: dict[str, TableReport] = {}
        self.digests: dict[str, DigestSum] = {}
        counts = [source.count(table) for table in source.tables]
        known = [count for count in counts if count is not None]
        self.meter = Meter(options.progress, sum(known) if len(known) == len(counts) else None)

    def write_table(self, table: TableTransfer, write: Write) -> None:
        """Write one table."""
        digest = self.digests.setdefault(table.name, DigestSum(table.kinds))
        writer = self.writer(table, write, digest if self.options.verify == "full" else None)
        began, read, size = self.meter.seconds, self.meter.rows, self.meter.bytes
        with closing(self.source.batches(table, None)) as batches:
            writer.write(self.metered(table, batches))
        self.reports[table.name] = TableReport(
            table.name,
            self.meter.rows - read,
            writer.written,
            writer.rejected,
            self.meter.bytes - size,
            self.meter.seconds - began,
        )

    def writer(self, table: TableTransfer, write: Write, digest: DigestSum | None) -> TableWriter:
        """Return what writes one table, and adds up its rows."""
        limits, line = self.limits(table), self.source.line
        return TableWriter(table, self.troubles, self.rejects, write, limits, line, digest)

    def metered(self, table: TableTransfer, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Count batches as they pass."""
        for batch in batches:
            self.meter.add(table.name, len(batch), batch.size)
            yield batch

    def limits(self, table: TableTransfer) -> Limits:
        """Return what the target does not hold as it is; none where nobody knows the target."""
        return () if self._backend is None else limits_of(self._backend, table)

    def report(self) -> LoadReport:
        """Return what was done so far."""
        return LoadReport(
            tuple(self.reports.values()),
            tuple(self.troubles),
            (*self.source.notes, *self.rejects.notes),
            verify=self.options.verify,
            seconds=self.meter.seconds,
            dry_run=self.options.dry_run,
        )


class Load(Transfer):
    """One load into one target: what `load_at_once` does, step by step."""

    def __init__(
        self,
        target: Datastore,
        source: Source,
        options: LoadOptions,
        samples: Sequence[SearchSample] = (),
    ) -> None:
        super().__init__(source, options, target.backend)
        self.target, self.samples = target, samples
        self._orphans_before: frozenset[Orphan] = frozenset()

    @property
    def backend(self) -> Backend:
        """That of the target."""
        return self.target.backend

    def look_for_rows(self, connection: Connection) -> None:
        """Refuse a target that takes no values, or holds rows if it was not asked for otherwise."""
        at_once = self.options.existing != "upsert" and not self.options.resume
        refuse_generated(connection, dict(self._given()), identities=not at_once)
        if self.options.existing == "truncate":
            refuse_references(connection, self.source.tables)
        elif self.options.existing == "refuse":
            refuse_rows(connection, self.source.tables)
        else:
            self._orphans_before = Orphans(connection, self.backend, self.source.tables).known()

    def _given(self) -> Iterator[tuple[str, Sequence[sa.Column[Any]]]]:
        """Yield the columns that are given values; rows that are matched keep their numbers."""
        for table in self.source.tables:
            number = match_of(table).number if self.options.existing == "upsert" else None
            given = [column for column in table.target_columns if column.name != number]
            if given:
                yield table.name, given

    def write_all(self, connection: Connection) -> None:
        """Write every table."""
        if self.options.existing != "upsert":
            for table in self.source.tables:
                insert = inserting(connection, self.backend, table)
                self.write_table(table, attempting(connection, self.backend, insert))
            return
        upserts = Upserts(connection, self.backend, self.source.tables)
        for table in self.source.tables:
            self.write_table(table, attempting(connection, self.backend, upserts.writer(table)))
        if not self.troubles or self.options.on_error != "stop":
            upserts.finish()

    def remove_orphans(self, connection: Connection) -> None:
        """Take out what lost its parent, or never had one.

        An upsert may have put such a row in the place of a good one, and stops.
        """

        def report(table: TableTransfer, row: Sequence[Any], reason: str) -> None:
            key = key_text(table.key, [row[position] for position in table.key_positions])
            self.troubles.add(table.name, None, reason, key)
            self.rejects.add(table, row, None, reason)
            self.digests[table.name].remove([[value] for value in row])
            before = self.reports[table.name]
            self.reports[table.name] = replace(
                before, written=before.written - 1, rejected=before.rejected + 1
            )

        orphans = Orphans(connection, self.backend, self.source.tables)
        if self.options.existing != "upsert":
            orphans.remove(report)
            return
        before = sum(trouble.rows for trouble in self.troubles)
        orphans.report_others(self._orphans_before, report)
        if sum(trouble.rows for trouble in self.troubles) > before:
            raise IncompleteLoadError(self.report())

    def verify(self, connection: Connection) -> LoadReport:
        """Compare what stands in the target with what was read."""
        searches: tuple[SearchComparison, ...] = ()
        if self.options.verify != "none":
            for table in self.source.tables:
                self.meter.step("verify", table.name)
                self.reports[table.name] = self._verified(connection, table)
        if self.report().is_complete:  # among other rows, searches find others
            searches = compare_searches(connection, self.backend, self.samples)
        return replace(self.report(), searches=searches)

    def _verified(self, connection: Connection, table: TableTransfer) -> TableReport:
        report = self.reports[table.name]
        if self.options.existing == "upsert":  # each batch was compared as it was written
            return report
        there = DatabaseSource(
            connection, self.backend, [as_written(table)], batch_rows=self.options.batch_rows
        )
        if self.options.verify == "count":
            return replace(report, matches=there.count(there.tables[0]) == report.written)
        read = self.digests[table.name].result()
        found: TableDigest = digest_of(there, there.tables[0])
        return replace(report, source=read, target=found, matches=read == found)


def load_at_once(load: Load, connection: Connection, schema: Schema) -> LoadReport:
    """Load within the transaction of `connection`; an error means that it is to be undone."""
    load.look_for_rows(connection)
    drop_checkpoints(connection)
    tables = [table.target for table in load.source.tables]
    with loading(load, connection, tables, schema):
        if load.options.existing == "truncate":
            empty(connection, load.source.tables)
        load.write_all(connection)
        load.remove_orphans(connection)
        load.source.finish()
        if load.troubles and load.options.on_error == "stop":
            raise IncompleteLoadError(load.report())
        load.meter.step("index")
    load.backend.reset_identities(connection, tables, schema.reached)
    report = load.verify(connection)
    if not all(table.matches for table in report.tables):
        raise IncompleteLoadError(report)
    load.rejects.flush()
    return report


@contextmanager
def loading(
    load: Load, connection: Connection, tables: Sequence[sa.Table], schema: Schema
) -> Iterator[None]:
    """Make many rows fast to load; a few more rows are better indexed as they come."""
    if load.options.existing == "upsert":
        ahead = [table.target for table, _ in references_ahead(load.source.tables)]
        with load.backend.loading(connection, ahead, ()):
            yield
        schema.finish(connection)
        return
    with schema.loading(connection, load.backend, tables):
        yield


def load(
    target: Datastore,
    source: Source,
    options: LoadOptions,
    schema: Schema,
    samples: Sequence[SearchSample] = (),
) -> LoadReport:
    """Load all of `source` into `target`, whose tables `schema` sees to.

    Raises `IncompleteLoadError`, a `TransferError`, where a row cannot be taken and `on_error` is
    "stop", or where what arrived is not what was sent; nothing is changed then.
    """
    work = Load(target, source, options, samples)
    try:
        with translated(target.backend), schema.changing(target) as there:
            target.backend.write_alike(there)
            schema.create(there, source.tables)
            report = load_at_once(work, there, schema)
    finally:
        work.rejects.close()
    return optimized(work, report)


def optimized(load: Load, report: LoadReport) -> LoadReport:
    """Do for searches what a store does after many changes; the rows are there already."""
    load.meter.step("optimize")
    notes = report.notes
    try:
        load.target.optimize()
    except DatastoreError as error:
        notes = (*notes, f"all is loaded, but `datastore optimize` is to be run again: {error}")
    return replace(report, notes=notes, seconds=load.meter.seconds)


def rehearse(source: Source, options: LoadOptions, backend: Backend | None = None) -> LoadReport:
    """Read everything and check each value; what the database would say of rows stays unknown."""
    work = Transfer(source, options, backend)
    for table in source.tables:
        work.write_table(table, read_only)
    source.finish()
    return work.report()
