"""Loading in steps, each committed together with how far it went, so that a killed load goes on.

A table in the target says so while the load lasts, and goes with its last step. Search indexes are
kept up to date row by row, since anybody may search meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datastore.backends.base import Access
from datastore.engine import access_engine
from datastore.errors import TransferError
from datastore.reading import Batch
from datastore.store import Datastore
from datastore.transfer.loading.checkpoints import checkpoints, drop_checkpoints, has_checkpoints
from datastore.transfer.loading.load import (
    IncompleteLoadError,
    Load,
    optimized,
)
from datastore.transfer.loading.options import LoadOptions
from datastore.transfer.loading.schemas import Schema, tables_present
from datastore.transfer.loading.writing import TableWriter, attempting, inserting
from datastore.transfer.plan import TableTransfer, as_written, references_ahead
from datastore.transfer.report import LoadReport, TableReport
from datastore.transfer.source import DatabaseSource, Position, Source, snapshot
from datastore.transfer.verifying.differences import digest_of
from datastore.transfer.verifying.digest import DigestSum
from datastore.transfer.verifying.searches import SearchSample
from datastore.translation import translated

_STOPPED = "the load has stopped; what was committed stays, and --resume goes on from there"


class ResumableLoad(Load):
    """A load whose batches are committed one by one."""

    def __init__(
        self,
        target: Datastore,
        source: Source,
        options: LoadOptions,
        samples: Sequence[SearchSample] = (),
    ) -> None:
        super().__init__(target, source, options, samples)
        self._begun_before: list[TableTransfer] = []

    def run(self, schema: Schema) -> LoadReport:
        """Go on from where the last one ended, to the end."""
        _refuse_cycles(self.source.tables)
        with self._changing(schema) as connection:
            schema.create(connection, self.source.tables)
            if not has_checkpoints(connection):
                self.look_for_rows(connection)
                checkpoints.create(connection)
            self._begin(connection)
        for table in self.source.tables:
            self._load_table(table)
        self.source.finish()
        return self._end(schema)

    @contextmanager
    def _changing(self, schema: Schema) -> Iterator[Connection]:
        with translated(self.backend), schema.changing(self.target) as connection:
            self.backend.write_alike(connection)
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        engine = access_engine(self.target.engine, Access.WRITE)
        with translated(self.backend), self.backend.writing(), engine.begin() as connection:
            self.backend.take_time(connection)
            self.backend.write_alike(connection)
            yield connection

    def _begin(self, connection: Connection) -> None:
        """Write down that a load begins, or see that it is this one that goes on."""
        others = sa.select(checkpoints.c.source).where(checkpoints.c.source != self.source.identity)
        if connection.execute(others.limit(1)).first() is not None:
            raise TransferError(
                "the target is in the midst of a load from another source: resume that one, or "
                "begin again with --truncate"
            )
        known = set(connection.execute(sa.select(checkpoints.c.table_name)).scalars())
        fresh = {"source": self.source.identity, "read": 0, "written": 0, "sum": "0", "done": False}
        for table in self.source.tables:
            if table.name not in known:
                connection.execute(
                    checkpoints.insert(), {**fresh, "table_name": table.name, "key": []}
                )

    def _checkpoint(self, table: TableTransfer) -> Any:
        with snapshot(self.target) as connection:
            found = sa.select(checkpoints).where(checkpoints.c.table_name == table.name)
            return connection.execute(found).one()

    def _load_table(self, table: TableTransfer) -> None:
        checkpoint = self._checkpoint(table)
        self.digests[table.name] = DigestSum(
            table.kinds, checkpoint.written, int(checkpoint.sum, 16)
        )
        self.reports[table.name] = TableReport(
            table.name, checkpoint.read, checkpoint.written, checkpoint.read - checkpoint.written
        )
        self.meter.rows += checkpoint.read
        if checkpoint.read:
            self._begun_before.append(table)
        if checkpoint.done:
            return
        if not self.source.has_positions(table):  # no row says how far it went: all or none
            with closing(self.source.batches(table, None)) as batches:
                self._load_batches(table, batches, done=True)
            return
        position = Position(checkpoint.read, _key_of(table, checkpoint.key))
        with closing(self.source.batches(table, position)) as batches:
            for batch in batches:
                self._load_batches(table, [batch])
        self._load_batches(table, [], done=True)

    def _load_batches(
        self, table: TableTransfer, batches: Iterable[Batch], done: bool = False
    ) -> None:
        """Write batches, and how far that goes, in one transaction."""
        with self._writing() as connection:
            write = attempting(connection, self.backend, inserting(connection, self.backend, table))
            writer = self.writer(table, write, self.digests[table.name])
            began, read, size = self.meter.seconds, self.meter.rows, self.meter.bytes
            reached = _Reached(table, self.metered(table, batches))
            writer.write(reached)
            self._count(writer, self.meter.rows - read, self.meter.bytes - size)
            if self.troubles and self.options.on_error == "stop":
                raise IncompleteLoadError(self.report(), _STOPPED)
            self.rejects.flush()
            self._save_checkpoint(connection, table, reached.key, done)
        report = self.reports[table.name]
        elapsed = report.seconds + self.meter.seconds - began
        self.reports[table.name] = replace(report, seconds=elapsed)

    def _count(self, writer: TableWriter, read: int, size: int) -> None:
        before = self.reports[writer.table.name]
        self.reports[writer.table.name] = replace(
            before,
            read=before.read + read,
            written=before.written + writer.written,
            rejected=before.rejected + writer.rejected,
            bytes=before.bytes + size,
        )

    def _save_checkpoint(
        self, connection: Connection, table: TableTransfer, key: Any, done: bool
    ) -> None:
        report = self.reports[table.name]
        values: dict[str, Any] = {
            "read": report.read,
            "written": report.written,
            "sum": self.digests[table.name].result().sha256_sum,
            "done": done,
        }
        if key is not None:
            values["key"] = key
        connection.execute(
            sa.update(checkpoints).where(checkpoints.c.table_name == table.name).values(**values)
        )

    def _end(self, schema: Schema) -> LoadReport:
        self._refuse_changes()
        with self._changing(schema) as connection:
            self.remove_orphans(connection)
            if self.troubles and self.options.on_error == "stop":
                raise IncompleteLoadError(self.report(), _STOPPED)
            schema.finish(connection)
            tables = [table.target for table in self.source.tables]
            self.backend.reset_identities(connection, tables, schema.reached)
            report = self.verify(connection)
            if not all(table.matches for table in report.tables):
                raise IncompleteLoadError(report, "the load is not right")
            self.rejects.flush()
            drop_checkpoints(connection)
        return report

    def _refuse_changes(self) -> None:
        """Raise `TransferError` if rows that an earlier run read are others by now."""
        if not isinstance(self.source, DatabaseSource):
            return  # the identity of a file is that of its content
        for table in self._begun_before:
            report = self.reports[table.name]
            changed = self.source.count(table) != report.read
            if not changed and not report.rejected and self.options.verify == "full":
                self.meter.step("verify", table.name)
                read = self.digests[table.name].result()
                changed = digest_of(self.source, table) != read
            if changed:
                raise TransferError(
                    f"table {table.name} of the source has changed since the load began: load "
                    "again from the beginning, with --truncate",
                    table=table.name,
                )


class _Reached(Iterator[Batch]):
    """Batches, and the primary key that was reached, as JSON."""

    def __init__(self, table: TableTransfer, batches: Iterator[Batch]) -> None:
        self._table, self._batches = table, batches
        self.key: list[Any] | None = None

    def __next__(self) -> Batch:
        batch = next(self._batches)
        self.key = _last_key(self._table, batch) or self.key
        return batch


def load_resumably(
    target: Datastore,
    source: Source,
    options: LoadOptions,
    schema: Schema,
    samples: Sequence[SearchSample] = (),
) -> LoadReport:
    """Load with commits in between; called again after an interruption, go on from there.

    Raises `TransferError` for a target that holds other rows, and `IncompleteLoadError` where what
    arrived is not what was sent: what was committed stays then.
    """
    if (report := _nothing_to_do(target, source)) is not None:
        return report
    work = ResumableLoad(target, source, options, samples)
    try:
        report = work.run(schema)
    finally:
        work.rejects.close()
    return optimized(work, report)


def _nothing_to_do(target: Datastore, source: Source) -> LoadReport | None:
    """Return a report if no load is under way, and the target holds the very rows of the source."""
    with snapshot(target) as connection:
        present = tables_present(connection, [table.target.metadata for table in source.tables])
        wanted = {table.name for table in source.tables}
        if has_checkpoints(connection) or not wanted <= present:
            return None
        there = DatabaseSource(connection, target.backend, [as_written(t) for t in source.tables])
        counts = [there.count(table) for table in there.tables]
        sent = [source.count(table) for table in source.tables]
        if not any(counts) or (None not in sent and sent != counts):
            return None
        reports = []
        for table, own in zip(source.tables, there.tables, strict=True):
            read, found = digest_of(source, table), digest_of(there, own)
            if read != found:
                return None
            reports.append(TableReport(table.name, read.rows, 0, source=read, target=found))
    source.finish()
    return LoadReport(tuple(reports), notes=("the target held all rows already",))


def _refuse_cycles(tables: Sequence[TableTransfer]) -> None:
    """Raise `TransferError` where a row may refer to one that a later step brings."""
    for table, parent in references_ahead(tables):
        raise TransferError(
            f"rows of table {table.name} refer to rows of {parent} that may come after them, so "
            "that it cannot be loaded in steps: load without --resume",
            table=table.name,
        )


def _last_key(table: TableTransfer, batch: Batch) -> list[Any] | None:
    """Return the primary key of the last row that has one, as JSON."""
    wrong = {(each.row, each.column) for each in batch.unreadable}
    for row in range(len(batch) - 1, -1, -1):
        places = [(row, column) for column in table.key_positions]
        values = [batch.values[column][row] for column in table.key_positions]
        if wrong.isdisjoint(places) and None not in values:
            return _key_as_json(table, values)
    return None


def _key_as_json(table: TableTransfer, key: Sequence[Any]) -> list[Any]:
    kinds = [table.kinds[position] for position in table.key_positions]
    return [kind.to_json(value) for kind, value in zip(kinds, key, strict=True)]


def _key_of(table: TableTransfer, written: Sequence[Any]) -> tuple[Any, ...]:
    kinds = [table.kinds[position] for position in table.key_positions]
    return tuple(kind.from_json(item) for kind, item in zip(kinds, written, strict=False))
