"""Two databases compared: all rows by digests, and searches by what they find."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from datastore.store import Datastore
from datastore.transfer.copying import metadata_of, tables_of
from datastore.transfer.equivalence import SearchSamples, compare_searches, sample_searches
from datastore.transfer.plan import TableTransfer, as_written
from datastore.transfer.reflection import reflect as reflected
from datastore.transfer.report import SearchComparison, TableReport
from datastore.transfer.source import DatabaseSource, snapshot
from datastore.transfer.verification import Difference, GroupedSum, difference, grouped


@dataclass(frozen=True)
class VerifyReport:
    """What two databases add up to, which rows differ, and whether searches give the same hits.

    `missing_tables` hold rows on one side, and are not there on the other.
    """

    tables: tuple[TableReport, ...]
    differences: tuple[Difference, ...] = ()
    searches: tuple[SearchComparison, ...] = ()
    missing_tables: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether both hold the same rows."""
        return not (self.differences or self.missing_tables)


def verify(one: Datastore, other: Datastore, *, reflect: bool = False) -> VerifyReport:
    """Compare the rows of two databases, each in one snapshot, and a sample of searches.

    With `reflect` it is all tables as they are found, and no searches.
    """
    metadata = [] if reflect else metadata_of(one)
    tables: Sequence[TableTransfer]
    others: Sequence[TableTransfer]
    with snapshot(one) as here, snapshot(other) as there:
        if reflect:
            tables = reflected(here, one.backend, other.backend).tables
            others = reflected(there, other.backend, one.backend).tables
        else:
            tables, _ = tables_of(here, one, metadata, other)
            others, _ = tables_of(there, other, metadata, one)
        names = {table.name for table in tables} & {table.name for table in others}
        both = [table for table in tables if table.name in names]
        left = DatabaseSource(here, one.backend, both)
        right = DatabaseSource(there, other.backend, [as_written(table) for table in both])
        reports, differences = [], []
        for table in both:
            sums = grouped(left, table), grouped(right, as_written(table))
            reports.append(report := _report(table, *sums))
            if not report.matches:
                differences.append(difference(table, (left, right), sums))
        samples = SearchSamples()
        if len(names) == len(tables) and not differences:
            samples = sample_searches(here, one.backend, metadata)
        return VerifyReport(
            tuple(reports),
            tuple(differences),
            compare_searches(there, other.backend, samples.searches),
            _filled(DatabaseSource(here, one.backend, tables), names)
            + _filled(DatabaseSource(there, other.backend, others), names),
            tuple(samples.notes),
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
