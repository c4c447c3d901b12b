"""Two databases compared: all rows by digests, and searches by what they find."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.engine import Connection

from datastore.backends.base import Backend
from datastore.store import Datastore
from datastore.transfer.plan import TableTransfer, as_written
from datastore.transfer.reflection import reflect as reflected
from datastore.transfer.report import SearchComparison, TableReport
from datastore.transfer.selection import metadata_of, tables_of
from datastore.transfer.source import DatabaseSource, snapshot
from datastore.transfer.verifying.alike import compare
from datastore.transfer.verifying.differences import Difference, GroupedSum, difference, grouped
from datastore.transfer.verifying.searches import SearchSamples, compare_searches, sample_searches


@dataclass(frozen=True)
class VerifyReport:
    """What two databases add up to, which rows differ, and whether searches give the same hits.

    `missing_tables` hold rows on one side, and are not there on the other, which the fields behind
    it name; `missing_columns` are
    there on one side alone, and the others were compared.
    """

    tables: tuple[TableReport, ...]
    differences: tuple[Difference, ...] = ()
    searches: tuple[SearchComparison, ...] = ()
    missing_tables: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    missing_columns: tuple[str, ...] = ()
    missing_in_first: tuple[str, ...] = ()
    missing_in_second: tuple[str, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether both hold the same rows."""
        return not (self.differences or self.missing_tables or self.missing_columns)


def verify(one: Datastore, other: Datastore, *, reflect: bool = False) -> VerifyReport:
    """Compare the rows of two databases, each in one snapshot, and a sample of searches.

    With `reflect` it is all tables as they are found, and no searches.
    """
    with snapshot(one) as here, snapshot(other) as there:
        if reflect:
            tables = reflected(here, one.backend, other.backend).tables
            others = reflected(there, other.backend, one.backend).tables
            left, right = _End(here, one.backend, tables), _End(there, other.backend, others)
            return _compared(left, right, reflect=True)
        metadata = metadata_of(one)
        declared, _ = tables_of(here, one, metadata, other)
        theirs, _ = tables_of(there, other, metadata, one)
        ends = _End(here, one.backend, declared), _End(there, other.backend, theirs)
        report = _compared(*ends, reflect=False)
        samples = SearchSamples()
        if len(report.tables) == len(declared) and not report.differences:
            samples = sample_searches(here, one.backend, metadata)
        searches = compare_searches(there, other.backend, samples.searches)
        return replace(report, searches=searches, notes=tuple(samples.notes))


@dataclass(frozen=True)
class _End:
    """One of the two databases, and its tables."""

    connection: Connection
    backend: Backend
    tables: Sequence[TableTransfer]

    def source(self) -> DatabaseSource:
        return DatabaseSource(self.connection, self.backend, self.tables)


def _compared(one: _End, other: _End, *, reflect: bool) -> VerifyReport:
    theirs = {table.name: table for table in other.tables}
    reports, differences = [], []
    columns: list[str] = []
    notes: list[str] = []
    for table in one.tables:
        if table.name not in theirs:
            continue
        own = theirs[table.name] if reflect else as_written(table)
        comparison = compare(table, own)
        columns.extend(comparison.told())
        if not comparison.columns:
            continue
        sides = comparison.sides((one.connection, one.backend), (other.connection, other.backend))
        sums = grouped(sides[0], sides[0].table), grouped(sides[1], sides[1].table)
        reports.append(report := _report(table, *sums))
        if not report.matches:
            notes.extend(comparison.other_kinds())
            differences.append(difference((sides[0].table, sides[1].table), sides, sums))
    names = {report.table for report in reports}
    left, right = _filled(one.source(), names), _filled(other.source(), names)
    return VerifyReport(
        tuple(reports),
        tuple(differences),
        missing_tables=left + right,
        notes=tuple(notes),
        missing_columns=tuple(columns),
        missing_in_first=right,
        missing_in_second=left,
    )


def _filled(side: DatabaseSource, names: Collection[str]) -> tuple[str, ...]:
    """Return the tables other than those of `names` that hold rows."""
    return tuple(
        table.name for table in side.tables if table.name not in names and side.count(table)
    )


def _report(table: TableTransfer, one: GroupedSum, other: GroupedSum) -> TableReport:
    source, target = one.result(), other.result()
    return TableReport(
        table.name, one.rows, other.rows, source=source, target=target, matches=source == target
    )
