"""Two databases compared: all rows by digests, and searches by what they find."""

from __future__ import annotations

from dataclasses import dataclass

from datastore.store import Datastore
from datastore.transfer.copying import metadata_of, tables_of
from datastore.transfer.equivalence import SearchSamples, compare_searches, sample_searches
from datastore.transfer.plan import TableTransfer
from datastore.transfer.report import SearchComparison, TableReport
from datastore.transfer.source import DatabaseSource, snapshot
from datastore.transfer.verification import Difference, difference, digest_of


@dataclass(frozen=True)
class VerifyReport:
    """What two databases add up to, which rows differ, and whether searches give the same hits."""

    tables: tuple[TableReport, ...]
    differences: tuple[Difference, ...] = ()
    searches: tuple[SearchComparison, ...] = ()
    missing_tables: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether both hold the same rows."""
        return not (self.differences or self.missing_tables)


def verify(one: Datastore, other: Datastore) -> VerifyReport:
    """Compare the rows of two databases, each in one snapshot, and a sample of searches."""
    metadata = metadata_of(one)
    with snapshot(one) as here, snapshot(other) as there:
        tables, _ = tables_of(here, one, metadata)
        others, _ = tables_of(there, other, metadata)
        names = {table.name for table in tables} & {table.name for table in others}
        both = [table for table in tables if table.name in names]
        left = DatabaseSource(here, one.backend, both)
        right = DatabaseSource(there, other.backend, both)
        reports = tuple(_compared(table, left, right) for table in both)
        samples = SearchSamples()
        if len(names) == len(tables):
            samples = sample_searches(here, one.backend, metadata)
        return VerifyReport(
            reports,
            tuple(
                difference(table, left, right)
                for table, report in zip(both, reports, strict=True)
                if not report.matches
            ),
            compare_searches(there, other.backend, samples.searches),
            tuple(sorted({table.name for table in (*tables, *others)} - names)),
            tuple(samples.notes),
        )


def _compared(table: TableTransfer, left: DatabaseSource, right: DatabaseSource) -> TableReport:
    one, other = digest_of(left, table), digest_of(right, table)
    return TableReport(
        table.name, one.rows, other.rows, source=one, target=other, matches=one == other
    )
