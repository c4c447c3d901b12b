"""Imports: a file of JSON lines, loaded as a copy is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from datastore.errors import TransferError
from datastore.store import Datastore
from datastore.transfer.copying import refuse_filled
from datastore.transfer.jsonl.format import LONGEST_LINE, Header, TableTotals
from datastore.transfer.jsonl.reader import JSONLReader
from datastore.transfer.jsonl.source import JSONLSource
from datastore.transfer.loading.load import load, rehearse
from datastore.transfer.loading.options import LoadOptions
from datastore.transfer.loading.resuming import load_resumably
from datastore.transfer.loading.schemas import DeclaredSchema, needs_ours
from datastore.transfer.report import LoadReport
from datastore.transfer.selection import metadata_of


@dataclass(frozen=True)
class CheckedFile:
    """A file that is whole. `identity` is the same for the same content."""

    header: Header
    tables: dict[str, TableTotals]
    identity: str


def check_jsonl(source: str | Path, *, longest_line: int = LONGEST_LINE) -> CheckedFile:
    """Read a file through, and raise `TransferError` unless it is as it was written.

    Whether its values are good for any table is not looked at.
    """
    with _opened(Path(source)) as stream:
        reader = JSONLReader(stream, longest_line)
        trailer = reader.finish()
    return CheckedFile(reader.header, trailer.tables, f"file {reader.identity}")


def import_jsonl(
    store: Datastore,
    source: str | Path | IO[bytes],
    options: LoadOptions | None = None,
    *,
    longest_line: int = LONGEST_LINE,
) -> LoadReport:
    """Load a file that `export_jsonl` wrote, plain or compressed, into a store of either engine.

    The schema of the store is upgraded first; tables are found by their names in the metadata of
    the settings and in ours. Raises `TransferError`, with the line, where nothing was loaded. A
    report that is not `is_complete` says which rows were left out. To resume, a path is needed: the
    file is read through before anything is committed.
    """
    wanted, metadata = options or LoadOptions(), metadata_of(store)
    with ExitStack() as opened:
        counts, identity = {}, ""
        if wanted.resume:
            checked = check_jsonl(_path(source), longest_line=longest_line)
            counts = {name: totals.rows for name, totals in checked.tables.items()}
            identity = checked.identity
        rows = JSONLSource(
            _opener(source, opened),
            metadata,
            dialect=store.engine.dialect,
            longest_line=longest_line,
            batch_rows=wanted.batch_rows,
            counts=counts,
            identity=identity,
        )
        if wanted.dry_run:
            if wanted.existing == "refuse":
                refuse_filled(store, rows.tables)
            return rehearse(rows, wanted, store.backend)
        migrated = rows.header.schema_revision is not None
        schema = DeclaredSchema(metadata, ours=migrated or needs_ours(metadata, rows.tables))
        run = load_resumably if wanted.resume else load
        return run(store, rows, wanted, schema)


def _opener(source: str | Path | IO[bytes], opened: ExitStack) -> Callable[[], IO[bytes]]:
    if isinstance(source, str | Path):
        path = Path(source)
        return lambda: opened.enter_context(_opened(path))
    return lambda: source


def _path(source: str | Path | IO[bytes]) -> Path:
    if not isinstance(source, str | Path) or not Path(source).is_file():
        raise TransferError("to resume an import, name a file: it is read more than once")
    return Path(source)


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.expanduser().open("rb")
    except OSError as error:
        raise TransferError(f"the file {path} cannot be read: {error.strerror}") from error
