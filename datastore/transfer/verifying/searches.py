"""Searches that give the same hits before and after: what was moved is found as it was."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datastore.backends.base import Backend
from datastore.errors import DatastoreError
from datastore.schema import FullTextIndex, SearchIndex, VectorIndex, search_indexes
from datastore.sql import matching, nearest
from datastore.transfer.loading.schemas import tables_present
from datastore.transfer.report import SearchComparison
from datastore.translation import translated

#: How many searches are made over each index, and how many hits are compared. A vector search
#: measures every row.
TEXT_QUERIES, VECTOR_QUERIES, DEPTH = 10, 4, 10
#: A stored text is searched for by so many of its first words.
WORDS = 6
#: Engines add up the same numbers in another order: hits that are as near as this may trade places.
TOLERANCE = 1e-5

Hits: TypeAlias = list[tuple[Any, float]]


@dataclass(frozen=True)
class SearchSample:
    """One search, and the hits that it found: public id and distance or relevance, best first."""

    index: SearchIndex
    statement: sa.Select[*tuple[Any, ...]]
    hits: Hits


@dataclass
class SearchSamples:
    """Searches by all indexes; `notes` say which of them could not be searched by."""

    searches: list[SearchSample] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def sample_searches(
    connection: Connection, backend: Backend, metadata: Sequence[sa.MetaData]
) -> SearchSamples:
    """Search for some of what is stored, by every search index."""
    present = tables_present(connection, metadata)
    samples = SearchSamples()
    for index in (index for each in metadata for index in search_indexes(each)):
        if not {index.table.fullname, index.target.fullname} <= present:
            continue
        try:
            with translated(backend), connection.begin_nested():
                samples.searches += _sampled_by(connection, index)
        except DatastoreError as error:  # the rows may be worth moving all the same
            samples.notes.append(f"search index {index.name} does not work: {error}")
    return samples


def _sampled_by(connection: Connection, index: SearchIndex) -> list[SearchSample]:
    return [
        SearchSample(index, statement, _hits(connection, statement))
        for statement in _searches(connection, index)
    ]


def compare_searches(
    connection: Connection, backend: Backend, samples: Iterable[SearchSample]
) -> tuple[SearchComparison, ...]:
    """Search again, and count for each index how many searches give the same hits."""
    outcomes: dict[str, list[bool]] = {}
    for sample in samples:
        same = False
        with suppress(DatastoreError), translated(backend), connection.begin_nested():
            same = _are_same(sample.hits, _hits(connection, sample.statement))
        outcomes.setdefault(sample.index.name, []).append(same)
    return tuple(SearchComparison(name, len(each), sum(each)) for name, each in outcomes.items())


def _are_same(before: Hits, after: Hits) -> bool:
    """Compare rank by rank; rows that are as near as one another may trade places."""
    if len(before) != len(after):
        return False
    pairs = list(zip(before, after, strict=True))
    near = all(
        math.isclose(one[1], other[1], rel_tol=TOLERANCE, abs_tol=TOLERANCE) for one, other in pairs
    )
    # At the end of the list others that are as near may come in.
    last = before[-1][1] if before else 0.0
    inner = {
        id_
        for id_, measure in before
        if not math.isclose(measure, last, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    }
    return near and inner <= {id_ for id_, _ in after}


def _hits(connection: Connection, statement: sa.Select[*tuple[Any, ...]]) -> Hits:
    return [(row[0], float(row[1])) for row in connection.execute(statement)]


def _searches(connection: Connection, index: SearchIndex) -> Iterator[sa.Select[*tuple[Any, ...]]]:
    if isinstance(index, VectorIndex):
        columns = [index.column] if index.model is None else [index.column, index.model]
        for row in _sampled(connection, index, columns, VECTOR_QUERIES):
            model = row[-1] if index.model is not None else None
            hits = nearest(index, row[0], DEPTH, model=model, exact=True)
            yield _ids(index, hits, hits.c.distance)
    elif isinstance(index, FullTextIndex):
        for row in _sampled(connection, index, index.columns, TEXT_QUERIES):
            if words := _words(row):
                found = matching(index, " ".join(words), DEPTH)
                yield _ids(index, found, found.c.relevance)


def _ids(index: SearchIndex, hits: Any, measure: Any) -> sa.Select[*tuple[Any, ...]]:
    joined = index.target.join(hits, hits.c[index.key.name] == index.key)
    return sa.select(index.public_id, measure).select_from(joined).order_by(hits.c.rank)


def _sampled(
    connection: Connection, index: SearchIndex, columns: Sequence[Any], count: int
) -> Iterator[Sequence[Any]]:
    """Yield rows from all over the table, the same ones in each run over the same rows."""
    key = list(index.table.primary_key)
    there = columns[0].is_not(None)
    counted = sa.select(sa.func.count()).select_from(index.table).where(there)
    total = connection.execute(counted).scalar_one()
    keys = sa.select(*key).where(there).order_by(*key)
    for number in range(min(count, total)):
        place = connection.execute(keys.offset(number * total // count).limit(1)).one()
        same = (column == value for column, value in zip(key, place, strict=True))
        yield tuple(connection.execute(sa.select(*columns).where(*same)).one())


def _words(row: Sequence[str | None]) -> list[str]:
    # Engines may part words otherwise at characters that are neither letters nor digits.
    return [
        word
        for text in row
        for word in [word for word in (text or "").split() if word.isalnum()][:WORDS]
    ]
