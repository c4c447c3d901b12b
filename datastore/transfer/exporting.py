"""Exports: everything of one snapshot, in a file of JSON lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, get_args

from sqlalchemy.engine import Connection

from datastore import migrate
from datastore.bulk import Values
from datastore.errors import ConfigurationError, SchemaMissingError
from datastore.kinds import VectorKind
from datastore.store import Datastore
from datastore.transfer.jsonl.compression import Compression, compressing, compression_of
from datastore.transfer.jsonl.files import appearing
from datastore.transfer.jsonl.format import (
    FORMAT,
    LONGEST_LINE,
    VERSION,
    ColumnHeader,
    Header,
    TableHeader,
    kind_name,
)
from datastore.transfer.jsonl.writer import Embedding, JSONLWriter
from datastore.transfer.plan import TableTransfer
from datastore.transfer.progress import Meter, Progress
from datastore.transfer.selection import metadata_of, tables_of
from datastore.transfer.source import DatabaseSource, Position, snapshot
from datastore.transfer.verifying.differences import readable
from datastore.transfer.verifying.digest import TableDigest


@dataclass(frozen=True)
class ExportedTable:
    """A table in a file: its rows, and what they add up to."""

    table: str
    rows: int
    digest: TableDigest


@dataclass(frozen=True)
class ExportReport:
    """What was written; `bytes` before compression, `notes` what else one should know."""

    tables: tuple[ExportedTable, ...]
    schema_revision: str | None
    notes: tuple[str, ...]
    bytes: int
    seconds: float

    @property
    def rows(self) -> int:
        """The rows that were written."""
        return sum(table.rows for table in self.tables)


def export_jsonl(
    store: Datastore,
    destination: str | Path | IO[bytes],
    *,
    embedding: Embedding = "base64",
    compression: Compression | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ExportReport:
    """Write all rows of the tables that the settings' metadata and ours declare.

    A path names a file that appears, with mode 0600, once all of it was written; unless given, its
    ending chooses the compression (`.gz`, `.zst`). Search indexes are not written: an import makes
    them anew. Raises `TransferError` for a value that is not of its column's kind.
    """
    if embedding not in get_args(Embedding):
        raise ConfigurationError(f"embedding: expected one of {', '.join(get_args(Embedding))}")
    with _opened(destination, compression) as stream, snapshot(store) as connection:
        return _Export(store, connection, embedding, progress).write(stream)


@contextmanager
def _opened(
    destination: str | Path | IO[bytes], compression: Compression | None
) -> Iterator[IO[bytes]]:
    with ExitStack() as stack:
        if isinstance(destination, str | Path):
            path = Path(destination)
            compression = compression or compression_of(path)
            destination = stack.enter_context(appearing(path))
        yield stack.enter_context(compressing(destination, compression or "none"))


class _Export:
    """One export: what is known of it before and while it is written."""

    def __init__(
        self,
        store: Datastore,
        connection: Connection,
        embedding: Embedding,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._store, self._connection = store, connection
        self._embedding: Embedding = embedding
        self._tables, self._notes = tables_of(connection, store, metadata_of(store))
        if not self._tables:
            raise SchemaMissingError("the database has none of the tables to export")
        self._source = DatabaseSource(connection, store.backend, self._tables)
        self._progress = progress

    def write(self, stream: IO[bytes]) -> ExportReport:
        """Write header, rows and trailer."""
        began = time.monotonic()
        header = self._header()
        writer = JSONLWriter(stream, header, self._embedding)
        total = sum(self._source.count(table) for table in self._tables)
        meter = Meter(self._progress, total, "export")
        for table in self._tables:
            with closing(self._rows(table, meter)) as rows:
                writer.write_table(table, rows)
        writer.finish()
        if writer.longest_line > LONGEST_LINE:
            self._notes.append(
                f"a line has {writer.longest_line:,} bytes: an import needs --max-line "
                f"{-(-writer.longest_line // 2**20)}"
            )
        return ExportReport(
            tuple(
                ExportedTable(name, totals.rows, TableDigest(totals.rows, totals.digest))
                for name, totals in writer.tables.items()
            ),
            header.schema_revision,
            tuple(self._notes),
            writer.bytes,
            time.monotonic() - began,
        )

    def _header(self) -> Header:
        return Header(
            format=FORMAT,
            version=VERSION,
            schema_revision=migrate.current(self._connection),
            created_at=datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            tables=[
                TableHeader(
                    name=table.name, columns=list(self._columns(table)), key=list(table.key)
                )
                for table in self._tables
            ],
        )

    def _columns(self, table: TableTransfer) -> Iterator[ColumnHeader]:
        for column, kind in zip(table.source_columns, table.kinds, strict=True):
            dimensions = None
            if isinstance(kind, VectorKind):
                dimensions = self._store.backend.vector_lengths(self._connection, column)
            yield ColumnHeader(name=column.name, kind=kind_name(kind), dimensions=dimensions)

    def _rows(self, table: TableTransfer, meter: Meter) -> Generator[Values, None, None]:
        # In the order of the key, so that the same rows make the same file.
        with closing(readable(self._source, table, Position())) as batches:
            for batch in batches:
                yield batch.values
                meter.add(table.name, len(batch), batch.size)
