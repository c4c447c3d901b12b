"""The search verbs, which a store and its transactions share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping
from sqlalchemy.sql import ColumnElement, FromClause

from datastore.backends.base import Backend
from datastore.definitions import Metric
from datastore.errors import UnknownNameError
from datastore.results import (
    Method,
    SearchHit,
    SearchResult,
    fused_score,
    text_score,
    vector_score,
)
from datastore.schema import FullTextIndex, SearchIndex, VectorIndex, search_indexes
from datastore.snippets import Marks, snippet
from datastore.sql import Filter, hybrid, matching, nearest
from datastore.textquery import TextQuery
from datastore.types import as_vector

RowDict: TypeAlias = Mapping[str, Any]
Index = TypeVar("Index", bound=SearchIndex)

_MEASURE = "datastore_measure"


class Searches:
    """Search over the tables of `metadata`; `embedding_model` is the one that vectors are of."""

    backend: Backend
    metadata: sa.MetaData
    embedding_model: str

    def query(self, statement: Any, params: Mapping[str, Any] | None = None) -> list[RowMapping]:
        """Return the rows of a statement."""
        raise NotImplementedError

    def vector_search(
        self,
        table: str | sa.Table,
        column: str,
        query: Any,
        limit: int = 10,
        *,
        filter: Filter = None,
        exact: bool = False,
        min_score: float | None = None,
        metric: Metric | None = None,
    ) -> SearchResult[RowDict]:
        """Find the rows whose vectors are nearest to `query`.

        `filter` is a Core expression over the table or a mapping of equalities; `limit` hits come
        back whenever that many rows fulfil it. `exact=True` forbids an approximate index. Raises
        `DimensionError`, `InvalidValueError` or `UnknownNameError`.
        """
        del exact  # no search is approximate yet
        found = self.table(table)
        index = self._index(VectorIndex, found, [column])
        measure = index.metric if metric is None else metric
        hits = nearest(
            index,
            as_vector(query, index.dimensions),
            limit,
            filter=filter,
            metric=measure,
            model=self.embedding_model if index.model is not None else None,
        )
        method, notes = self.backend.search_method()
        ranked = [
            SearchHit(id_, vector_score(value, measure), row, distance=value)
            for id_, value, row in self._rows(index, hits, hits.c.distance)
            if value is not None  # of a NaN that went past the library into a file
        ]
        kept = (hit for hit in ranked if min_score is None or hit.score >= min_score)
        return _result(kept, method, [index], notes)

    def full_text_search(
        self,
        table: str | sa.Table,
        columns: str | Sequence[str],
        query: str | TextQuery,
        limit: int = 10,
        *,
        filter: Filter = None,
        marks: Marks | None = None,
    ) -> SearchResult[RowDict]:
        """Find the rows that match any text at all, ranked by BM25; see `datastore.textquery`.

        `columns` are those of a full-text index. A text without words finds nothing. With `marks`,
        such as ("<b>", "</b>"), each hit has a `snippet`, its matched words between them.
        """
        found = self.table(table)
        names = [columns] if isinstance(columns, str) else list(columns)
        index = self._index(FullTextIndex, found, names)
        hits = matching(index, query, limit, filter=filter)
        ranked = (
            SearchHit(
                id_,
                text_score(value),
                row,
                relevance=value,
                snippet=_snippet(index, row, query, marks),
            )
            for id_, value, row in self._rows(index, hits, hits.c.relevance)
        )
        return _result(ranked, "exact", [index])

    def hybrid_search(
        self,
        table: str | sa.Table,
        *,
        text: str | TextQuery,
        vector: Any,
        limit: int = 10,
        filter: Filter = None,
        weights: tuple[float, float] | None = None,
        metric: Metric | None = None,
        marks: Marks | None = None,
    ) -> SearchResult[RowDict]:
        """Find rows by text and vector together, fused by reciprocal rank in one statement.

        `weights` (1, 1 unless given) are those of text and vector; `marks` are those of snippets,
        as in `full_text_search`.
        """
        found = self.table(table)
        text_index = self._index(FullTextIndex, found)
        vector_index = self._index(VectorIndex, found)
        both = (1.0, 1.0) if weights is None else weights
        hits = hybrid(
            text_index,
            vector_index,
            text=text,
            vector=as_vector(vector, vector_index.dimensions),
            k=limit,
            filter=filter,
            weights=both,
            metric=metric,
            model=self.embedding_model if vector_index.model is not None else None,
        )
        method, notes = self.backend.search_method()
        ranked = (
            SearchHit(
                id_,
                fused_score(value, both),
                row,
                snippet=_snippet(text_index, row, text, marks),
            )
            for id_, value, row in self._rows(text_index, hits, hits.c.score)
        )
        return _result(ranked, method, [text_index, vector_index], notes)

    def table(self, table: str | sa.Table) -> sa.Table:
        """Return a table of the metadata by its name; raise `UnknownNameError` for any other."""
        if isinstance(table, sa.Table):
            return table
        if table not in self.metadata.tables:
            raise UnknownNameError(f"there is no table {table!r}")
        return self.metadata.tables[table]

    def _index(
        self, kind: type[Index], found: sa.Table, columns: Sequence[str] | None = None
    ) -> Index:
        declared = [
            index
            for index in search_indexes(found.metadata)
            if isinstance(index, kind) and index.target is found
        ]
        chosen = [
            index
            for index in declared
            if columns is None or {column.name for column in index.columns} == set(columns)
        ]
        if len(chosen) == 1:
            return chosen[0]
        what = f"on {', '.join(columns)}" if columns is not None else "of its own"
        raise UnknownNameError(
            f"table {found.name}: expected one {kind.__name__} {what}, "
            f"found {', '.join(index.name for index in chosen or declared) or 'none'}"
        )

    def _rows(
        self, index: Any, hits: FromClause, measure: ColumnElement[Any]
    ) -> Iterable[tuple[Any, float, RowDict]]:
        found: sa.Table = index.target
        statement = (
            sa.select(found, measure.label(_MEASURE))
            .join(hits, index.key == hits.c[index.key.name])
            .order_by(hits.c.rank)
        )
        id_name = index.public_id.name
        for row in self.query(statement):
            values = {name: value for name, value in row.items() if name != _MEASURE}
            yield values[id_name], row[_MEASURE], values


def _snippet(
    index: FullTextIndex, row: RowDict, query: str | TextQuery, marks: Marks | None
) -> str | None:
    if marks is None:
        return None
    text = " ".join(row[column.name] or "" for column in index.columns)
    return snippet(text, query, language=index.language, marks=marks)


def _result(
    hits: Iterable[SearchHit[RowDict]],
    method: Method,
    indexes: Sequence[SearchIndex],
    notes: tuple[str, ...] = (),
) -> SearchResult[RowDict]:
    names = tuple(index.name for index in indexes)
    return SearchResult(tuple(hits), method, names, notes)
