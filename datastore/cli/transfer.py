"""`datastore copy` and `datastore verify`, and what all commands share that move data."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from datastore.backends import backend_at
from datastore.cli.interruption import explained
from datastore.cli.invocation import Invocation, location
from datastore.cli.output import console, grid
from datastore.errors import ConnectionFailedError, DatastoreError
from datastore.store import Datastore
from datastore.transfer import (
    Difference,
    IncompleteLoadError,
    LoadOptions,
    LoadReport,
    VerifyReport,
    copy,
    verify,
)
from datastore.transfer.loading.options import OnError, Verify
from datastore.transfer.loading.troubles import EXAMPLES
from datastore.transfer.progress import Progress as Done
from datastore.transfer.report import SearchComparison, TableReport

_REJECTS = Path("rejected.jsonl")

UpsertOption: TypeAlias = Annotated[
    bool, typer.Option("--upsert", help="Let rows take the place of those with the same key.")
]
TruncateOption: TypeAlias = Annotated[
    bool, typer.Option("--truncate", help="Empty the tables of the target first.")
]
ResumeOption: TypeAlias = Annotated[
    bool,
    typer.Option("--resume", help="Commit in steps, and go on where an earlier run ended."),
]
OnErrorOption: TypeAlias = Annotated[
    OnError,
    typer.Option(help="Of rows that cannot be taken: stop, skip them, or write them to --rejects."),
]
RejectsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        dir_okay=False,
        help=f"Where --on-error quarantine writes rejected rows; {_REJECTS} in the current folder "
        "without it.",
    ),
]
VerifyOption: TypeAlias = Annotated[
    Verify, typer.Option(help="Compare every value and some searches, count rows, or neither.")
]
DryRunOption: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Read and check everything, write nothing.")
]
ReflectOption: TypeAlias = Annotated[
    bool,
    typer.Option("--reflect", help="Take all tables as they are found, and create them there."),
]


def copy_command(
    invocation: Invocation,
    source: Annotated[str, typer.Argument(metavar="SOURCE_URL", help="Where rows are read.")],
    target: Annotated[str, typer.Argument(metavar="TARGET_URL", help="Where they go.")],
    upsert: UpsertOption = False,
    truncate: TruncateOption = False,
    resume: ResumeOption = False,
    on_error: OnErrorOption = "stop",
    rejects: RejectsOption = None,
    verify: VerifyOption = "full",
    dry_run: DryRunOption = False,
    reflect: ReflectOption = False,
) -> None:
    """Copy all rows from one database to another, of either engine, and compare them.

    All or nothing: without --resume, a copy that fails or is killed leaves the target as it was.
    """
    options = load_options(upsert, truncate, resume, on_error, rejects, verify, dry_run)
    there = invocation.at(target, "TARGET_URL")
    place = there.settings().database_url()
    with (
        explained(invocation, options) as watched,
        opened(invocation.at(source, "SOURCE_URL"), "source", create=False) as one,
        target_of(there, dry_run) as other,
        progress_shown(invocation) as watched.tell,
    ):
        run = replace(options, progress=watched)
        engine = backend_at(place)()
        finish(
            invocation,
            lambda: copy(one, other, run, reflect=reflect, target_backend=engine),
            _ends(one, other),
        )


def verify_command(
    invocation: Invocation,
    one: Annotated[str, typer.Argument(metavar="URL", help="A database.")],
    other: Annotated[str, typer.Argument(metavar="URL", help="One that should hold the same.")],
    reflect: Annotated[
        bool, typer.Option("--reflect", help="Compare all tables as they are found.")
    ] = False,
) -> None:
    """Compare two databases: every row by digests, and what a sample of searches finds."""
    with (
        opened(invocation.at(one, "the first URL"), "first", create=False) as left,
        opened(invocation.at(other, "the second URL"), "second", create=False) as right,
    ):
        report = verify(left, right, reflect=reflect)
        document = {"same": report.is_same, **asdict(report)}
        invocation.answer(document, *_verified(report))
    if not report.is_same:
        raise typer.Exit(1)


def load_options(
    upsert: bool,
    truncate: bool,
    resume: bool,
    on_error: OnError,
    rejects: Path | None,
    verify: Verify,
    dry_run: bool,
) -> LoadOptions:
    """Return the options of a load, or refuse those that contradict each other."""
    if upsert + truncate + resume > 1:
        raise typer.BadParameter("--upsert, --truncate and --resume exclude each other")
    if rejects is not None and on_error != "quarantine":
        raise typer.BadParameter("--rejects is for --on-error quarantine")
    return LoadOptions(
        existing="upsert" if upsert else "truncate" if truncate else "refuse",
        resume=resume,
        on_error=on_error,
        rejects=(rejects or _REJECTS) if on_error == "quarantine" else None,
        verify=verify,
        dry_run=dry_run,
    )


@contextmanager
def opened(invocation: Invocation, role: str, *, create: bool) -> Iterator[Datastore]:
    """Open the database of an invocation, and say which it is."""
    try:
        store = Datastore.open(invocation.settings(), create=create)
    except ConnectionFailedError as error:
        error.remedy = ""  # a new database would hold nothing that could be moved
        raise
    with store:
        invocation.aside(f"{role}: {store.display_name}, {location(store)}")
        yield store


@contextmanager
def target_of(invocation: Invocation, dry_run: bool) -> Iterator[Datastore | None]:
    """Open a target, which may be a file to be made; one that holds nothing is removed again."""
    place = invocation.settings().database_url()
    backend = backend_at(place)()
    existed = backend.exists(place)
    if dry_run and not existed:
        yield None
        return
    empty = not existed
    with _unwound():
        try:
            with opened(invocation, "target", create=True) as store:
                try:
                    yield store
                finally:
                    empty = empty and _is_empty(store)
        finally:
            if empty:
                backend.remove(place)


@contextmanager
def _unwound() -> Iterator[None]:
    """Let SIGTERM end what was begun as Ctrl-C does, and then the process."""
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL or not _is_main_thread():
        yield
        return
    received = []

    def stop(number: int, _frame: Any) -> None:
        received.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if received:
            signal.raise_signal(signal.SIGTERM)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _is_empty(store: Datastore) -> bool:
    try:
        return not store.schema().tables
    except DatastoreError:
        return False


def finish(invocation: Invocation, run: Callable[[], LoadReport], ends: dict[str, Any]) -> None:
    """Run a load and give its report; end with 1 where any row was lost or changed."""
    try:
        report = run()
    except IncompleteLoadError as error:
        if invocation.json:
            sys.stdout.write(json.dumps(_document(error.report, ends, str(error)), indent=2) + "\n")
            raise typer.Exit(1) from error
        raise
    invocation.answer(_document(report, ends), *_lines(report))
    if not report.is_complete:
        raise typer.Exit(1)


@contextmanager
def progress_shown(invocation: Invocation) -> Iterator[Callable[[Done], None] | None]:
    """Show progress on standard error: a bar on a terminal, lines of JSON with --json."""
    err = console(stderr=True)
    if invocation.json:
        yield _JSONLines()
    elif err.is_terminal and invocation.verbose is not False:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task("", total=None, rate="")
            yield lambda done: bar.update(
                task,
                description=f"{done.step} {done.table or ''}",
                completed=done.rows,
                total=done.total,
                rate=_rate(done.rows, done.bytes, done.seconds),
            )
    else:
        yield None


class _JSONLines:
    """Writes a line for each step: for each table that it comes to, not for each batch."""

    def __init__(self) -> None:
        self._last: tuple[str, str | None] | None = None

    def __call__(self, done: Done) -> None:
        if (done.step, done.table) != self._last:
            self._last = (done.step, done.table)
            sys.stderr.write(json.dumps(asdict(done)) + "\n")


def _ends(source: Datastore, target: Datastore | None) -> dict[str, Any]:
    return {"source": location(source), "target": location(target) if target else "a new file"}


def _document(report: LoadReport, ends: dict[str, Any], error: str = "") -> dict[str, Any]:
    failed = {"error": {"class": "IncompleteLoadError", "message": error}} if error else {}
    totals = {"rows": report.rows, "bytes": report.bytes, "complete": report.is_complete}
    return {**failed, **ends, **totals, **asdict(report)}


def _lines(report: LoadReport) -> Iterator[Any]:
    moved = [table for table in report.tables if table.read]
    yield grid(
        (each.table, rows_text(each.read if report.dry_run else each.written), _outcome(each))
        for each in moved
    )
    yield from _searches(report.searches)
    yield from (f"note: {note}" for note in report.notes)
    yield from (f"not taken: {trouble}" for trouble in report.troubles)
    done = "read, nothing written" if report.dry_run else "written"
    rows = sum(table.read for table in moved) if report.dry_run else report.rows
    rate = _rate(rows, report.bytes, report.seconds)
    yield f"{rows_text(rows)} {done} in {report.seconds:.1f} s ({rate}); {_verdict(report)}"


def rows_text(number: int) -> str:
    """Return a number of rows in words."""
    return f"{number:,} {'row' if number == 1 else 'rows'}"


def _outcome(table: TableReport) -> str:
    rejected = f"{table.rejected:,} not taken" if table.rejected else ""
    digest = f"sha256 sum {table.target.sha256_sum[:16]}" if table.target else ""
    return ", ".join(filter(None, (rejected, digest)))


def _verdict(report: LoadReport) -> str:
    if rejected := sum(table.rejected for table in report.tables):
        return f"not taken: {rows_text(rejected)}"
    if report.dry_run:
        return "nothing is wrong with the values"
    return {
        "full": "all values are the same",
        "count": "the counts are the same",
        "none": "not compared",
    }[report.verify]


def _rate(rows: int, size: int, seconds: float) -> str:
    elapsed = max(seconds, 0.001)
    return f"{rows / elapsed:,.0f} rows/s, {size / elapsed / 1e6:,.1f} MB/s"


def _verified(report: VerifyReport) -> Iterator[Any]:
    if filled := [each for each in report.tables if each.read or each.written]:
        yield grid((each.table, *_compared(each)) for each in filled)
    yield from _missing("first", "second", report.missing_in_first)
    yield from _missing("second", "first", report.missing_in_second)
    yield from report.missing_columns
    for difference in report.differences:
        yield from _told(difference)
    yield from _searches(report.searches)
    yield from (f"note: {note}" for note in report.notes)
    yield "both hold the same rows" if report.is_same else "they do not hold the same rows"


def _missing(side: str, other: str, tables: Sequence[str]) -> Iterator[str]:
    for name in tables:
        yield f"table {name}: not there in the {side}, and not empty in the {other}"


def _compared(table: TableReport) -> tuple[str, str]:
    if table.read == table.written:
        return rows_text(table.read), "the same" if table.matches else "not the same"
    return rows_text(table.read), f"{rows_text(table.written)} in the second"


def _searches(searches: Sequence[SearchComparison]) -> Iterator[str]:
    for each in searches:
        found = f"searches by {each.index}: {each.same} of {each.queries} find the same rows"
        rare = "" if each.same == each.queries else "; the rows are the same: see docs/search.md"
        yield found + rare


def _told(difference: Difference) -> Iterator[str]:
    kinds = (
        ("in the first alone", difference.missing),
        ("in the second alone", difference.extra),
        ("different", difference.changed),
    )
    for what, keys in kinds:
        if keys:
            more = "; ..." if len(keys) == EXAMPLES else ""
            yield f"table {difference.table}, {what}: {'; '.join(keys)}{more}"
