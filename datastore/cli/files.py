"""`datastore export` and `datastore import`: everything in a file of JSON lines, and back."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer

from datastore.cli.interruption import explained
from datastore.cli.invocation import Invocation, location
from datastore.cli.output import grid
from datastore.cli.transfer import (
    DryRunOption,
    OnErrorOption,
    RejectsOption,
    ResumeOption,
    TruncateOption,
    UpsertOption,
    VerifyOption,
    finish,
    load_options,
    opened,
    progress_shown,
    rows_text,
    target_of,
)
from datastore.store import Datastore
from datastore.transfer import ExportReport, export_jsonl, import_jsonl
from datastore.transfer.jsonl.compression import Compression
from datastore.transfer.jsonl.format import LONGEST_LINE
from datastore.transfer.jsonl.writer import Embedding

FormatOption: TypeAlias = Annotated[Literal["jsonl"], typer.Option(help="The format of the file.")]
_MEGABYTE = 2**20
_STANDARD = Path("-")


def export_command(
    invocation: Invocation,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where to; standard output without one.")
    ] = _STANDARD,
    format: FormatOption = "jsonl",
    embedding: Annotated[
        Embedding, typer.Option(help="Vectors as base64, or as numbers that people can read.")
    ] = "base64",
    compress: Annotated[
        Compression | None, typer.Option(help="Instead of what the ending .gz or .zst says.")
    ] = None,
) -> None:
    """Write all rows to a file, which appears once it is whole, or to standard output.

    Search indexes are not written: an import makes them anew.
    """
    destination = sys.stdout.buffer if file == _STANDARD else file
    if file == _STANDARD and sys.stdout.isatty() and compress not in (None, "none"):
        raise typer.BadParameter("compressed data are not for a terminal: name a file")
    with (
        opened(invocation, "source", create=False) as store,
        progress_shown(invocation) as tell,
    ):
        report = export_jsonl(
            store, destination, embedding=embedding, compression=compress, progress=tell
        )
        _tell(invocation, report, store, file)


def import_command(
    invocation: Invocation,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where from; standard input without one.")
    ] = _STANDARD,
    format: FormatOption = "jsonl",
    upsert: UpsertOption = False,
    truncate: TruncateOption = False,
    resume: ResumeOption = False,
    on_error: OnErrorOption = "stop",
    rejects: RejectsOption = None,
    verify: VerifyOption = "full",
    dry_run: DryRunOption = False,
    max_line: Annotated[
        int, typer.Option(metavar="MB", min=1, help="The longest line to be read.")
    ] = LONGEST_LINE // _MEGABYTE,
) -> None:
    """Load what `datastore export` wrote, plain or compressed, and compare it.

    All or nothing: without --resume, an import that fails or is killed leaves the database as it
    was.
    """
    options = load_options(upsert, truncate, resume, on_error, rejects, verify, dry_run)
    if file == _STANDARD and sys.stdin.isatty():
        raise typer.BadParameter("nothing to import: name a file, or redirect standard input")
    source = sys.stdin.buffer if file == _STANDARD else file
    with (
        explained(invocation, options) as watched,
        _target(invocation, dry_run) as (store, target),
        progress_shown(invocation) as watched.tell,
    ):
        run = replace(options, progress=watched)
        finish(
            invocation,
            lambda: import_jsonl(store, source, run, longest_line=max_line * _MEGABYTE),
            {"source": _name(file, "standard input"), "target": target},
        )


@contextmanager
def _target(invocation: Invocation, dry_run: bool) -> Iterator[tuple[Datastore, str]]:
    """Open the target; where a dry run would have to make it, one in memory takes its place."""
    with target_of(invocation, dry_run) as store:
        if store is not None:
            yield store, location(store)
            return
        with Datastore.open(replace(invocation, url="sqlite://").settings()) as stand_in:
            yield stand_in, "a new file"


def _tell(invocation: Invocation, report: ExportReport, store: Datastore, file: Path) -> None:
    """Give the report, on standard error where standard output is the file."""
    document = {
        "source": location(store),
        "target": _name(file, "standard output"),
        "rows": report.rows,
        **asdict(report),
    }
    if file != _STANDARD:
        invocation.answer(document, *_lines(report))
    elif invocation.json:
        sys.stderr.write(json.dumps(document) + "\n")
    else:
        invocation.aside(f"{rows_text(report.rows)} written")
        for note in report.notes:
            invocation.aside(f"note: {note}")


def _lines(report: ExportReport) -> Iterator[Any]:
    yield grid(
        (each.table, rows_text(each.rows), f"sha256 sum {each.digest.sha256_sum[:16]}")
        for each in report.tables
        if each.rows
    )
    yield from (f"note: {note}" for note in report.notes)
    yield f"{rows_text(report.rows)} written in {report.seconds:.1f} s"


def _name(file: Path, standard: str) -> str:
    return standard if file == _STANDARD else str(file)
