"""The search verbs, which a store and its transactions share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping

from datastore import prebuilt
from datastore.backends.base import Backend
from datastore.definitions import Metric
from datastore.errors import InvalidValueError, UnknownNameError
from datastore.prebuilt import bound_filter
from datastore.results import (
    Method,
    SearchHit,
    SearchResult,
    checked_score,
    fused_score,
    text_score,
    vector_score,
)
from datastore.schema import FullTextIndex, SearchIndex, VectorIndex, search_indexes
from datastore.snippets import Marks, checked_marks, snippet
from datastore.sql import (
    CANDIDATE_POOL,
    IN_TEXT,
    IN_VECTOR,
    MOST_EF_SEARCH,
    MOST_OVERSAMPLE,
    Filter,
    checked_weights,
    whole_limit,
)
from datastore.textquery import TextQuery
from datastore.types import as_vector

RowDict: TypeAlias = Mapping[str, Any]
Index = TypeVar("Index", bound=SearchIndex)


class Searches:
    """Search over the tables of `metadata`; `embedding_model` is that of the settings."""

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
        params: Mapping[str, Any] | None = None,
        exact: bool = False,
        oversample: int | None = None,
        ef_search: int | None = None,
        min_score: float | None = None,
        metric: Metric | None = None,
        model: str | None = None,
    ) -> SearchResult[RowDict]:
        """Find the rows whose vectors are nearest to `query`.

        `filter` is a Core expression over the table, whose bind parameters `params` gives, or a
        mapping of equalities; `limit` hits come back whenever that many rows fulfil it. On many
        rows an approximate index may choose what is measured, and the result says so: `exact`,
        `oversample` and `ef_search` are those of `datastore.sql.nearest`. Of an index that keeps
        several models, the vectors of `model` are searched by `metric`: those of `search_space`
        unless given. Raises `DimensionError`, `InvalidValueError` or `UnknownNameError`.
        """
        found = self.table(table)
        index = self._index(VectorIndex, found, _names(column))
        vector = as_vector(query, index.dimensions)
        model, measure = self._space(index, model, metric)
        least = checked_score(min_score)
        expression, values = bound_filter(found, filter)
        statement = prebuilt.nearest_rows(index, vector.size, measure, model, exact, expression)
        values |= {
            prebuilt.VECTOR: vector,
            prebuilt.LIMIT: whole_limit("limit", limit),
            **_effort(oversample, ef_search),
        }
        rows = self.query(statement, {**(params or {}), **values})
        ranked = [
            SearchHit(id_, vector_score(value, measure), row, distance=value, reasons=("vector",))
            for id_, value, row in _hits(index, rows)
            if value is not None  # of a NaN that went past the library into a file
        ]
        kept = (hit for hit in ranked if least is None or hit.score >= least)
        return _result(kept, [index], *self._how(rows))

    def full_text_search(
        self,
        table: str | sa.Table,
        columns: str | Sequence[str],
        query: str | TextQuery,
        limit: int = 10,
        *,
        filter: Filter = None,
        params: Mapping[str, Any] | None = None,
        marks: Marks | None = None,
    ) -> SearchResult[RowDict]:
        """Find the rows that match any text at all, ranked by BM25; see `datastore.textquery`.

        `columns` are those of a full-text index. A text without words finds nothing. With `marks`,
        such as ("<b>", "</b>"), each hit has a `snippet`, its matched words between them. `filter`
        and `params` are those of `vector_search`.
        """
        found = self.table(table)
        index = self._index(FullTextIndex, found, _names(columns))
        checked = checked_marks(marks)
        expression, values = bound_filter(found, filter)
        values |= {prebuilt.TEXT: query, prebuilt.LIMIT: whole_limit("limit", limit)}
        statement = prebuilt.matching_rows(index, expression)
        ranked = (
            SearchHit(
                id_,
                text_score(value),
                row,
                relevance=value,
                snippet=_snippet(index, row, query, checked),
                reasons=("text",),
            )
            for id_, value, row in _hits(index, self.query(statement, {**(params or {}), **values}))
        )
        return _result(ranked, [index])

    def hybrid_search(
        self,
        table: str | sa.Table,
        *,
        text: str | TextQuery,
        vector: Any,
        limit: int = 10,
        filter: Filter = None,
        params: Mapping[str, Any] | None = None,
        weights: tuple[float, float] | None = None,
        pool: int = CANDIDATE_POOL,
        exact: bool = False,
        oversample: int | None = None,
        ef_search: int | None = None,
        metric: Metric | None = None,
        model: str | None = None,
        marks: Marks | None = None,
    ) -> SearchResult[RowDict]:
        """Find rows by text and vector together, fused by reciprocal rank in one statement.

        `weights` (1, 1 unless given) are those of text and vector; `pool` is how many rows of each
        list are fused, at least `limit`. The rest is as in `vector_search` and `full_text_search`.
        """
        found = self.table(table)
        text_index = self._index(FullTextIndex, found)
        vector_index = self._index(VectorIndex, found)
        query = as_vector(vector, vector_index.dimensions)
        both = checked_weights((1.0, 1.0) if weights is None else weights)
        model, measure = self._space(vector_index, model, metric)
        checked = checked_marks(marks)
        expression, values = bound_filter(found, filter)
        statement = prebuilt.hybrid_rows(
            text_index, vector_index, query.size, measure, model, exact, expression
        )
        most = whole_limit("limit", limit)
        values |= {
            prebuilt.TEXT: text,
            prebuilt.VECTOR: query,
            prebuilt.LIMIT: most,
            prebuilt.POOL: max(whole_limit("pool", pool, 1), most),
            prebuilt.TEXT_WEIGHT: both[0],
            prebuilt.VECTOR_WEIGHT: both[1],
            **_effort(oversample, ef_search),
        }
        rows = self.query(statement, {**(params or {}), **values})
        ranked = (
            SearchHit(
                id_,
                fused_score(value, both),
                row,
                snippet=_snippet(text_index, row, text, checked),
                reasons=_REASONS[lists],
            )
            for (id_, value, row), lists in zip(
                _hits(text_index, rows), (row[prebuilt.LISTS] for row in rows), strict=True
            )
        )
        return _result(ranked, [text_index, vector_index], *self._how(rows))

    def table(self, table: str | sa.Table) -> sa.Table:
        """Return a table of the metadata by its name; raise `UnknownNameError` for any other."""
        if isinstance(table, sa.Table):
            return table
        if table not in self.metadata.tables:
            raise UnknownNameError(f"there is no table {table!r}")
        return self.metadata.tables[table]

    def _index(
        self, kind: type[Index], found: sa.Table, names: Sequence[str] | None = None
    ) -> Index:
        declared = [
            index
            for index in search_indexes(found.metadata)
            if isinstance(index, kind) and index.target is found
        ]
        chosen = [
            index
            for index in declared
            if names is None or {column.name for column in index.columns} == set(names)
        ]
        if len(chosen) == 1:
            return chosen[0]
        what = f"on {', '.join(names)}" if names else "of its own"
        raise UnknownNameError(
            f"table {found.name}: expected one {kind.__name__} {what}, "
            f"found {', '.join(index.name for index in chosen or declared) or 'none'}"
        )

    def search_space(self, index: VectorIndex) -> tuple[str | None, Metric]:
        """Return the model and the metric by which an index is searched.

        The model is None where the index keeps one alone; otherwise it is the one that is recorded
        as in use, or that of the settings where there is no record.
        """
        if index.model is None:
            return None, index.metric
        recorded = [] if index.space is None else self.query(index.space)
        if not recorded:
            return self.embedding_model, index.metric
        return recorded[0]["model"], recorded[0]["metric"]

    def _space(
        self, index: VectorIndex, model: str | None, metric: Metric | None
    ) -> tuple[str | None, Metric]:
        if index.model is None:
            return None, metric or index.metric
        if model is not None and metric is not None:
            return model, metric
        in_use, measure = self.search_space(index)
        return model or in_use, metric or measure

    def _how(self, rows: Sequence[RowMapping]) -> tuple[Method, tuple[str, ...]]:
        """Return the method, and notes for the reader, of a search over vectors."""
        method, notes = self.backend.search_method()
        approximate = any(row[prebuilt.APPROXIMATE] for row in rows)
        return ("approximate" if approximate else method), notes


_REASONS: Mapping[int, tuple[str, ...]] = {
    IN_TEXT: ("text",),
    IN_VECTOR: ("vector",),
    IN_TEXT + IN_VECTOR: ("text", "vector"),
}


def _names(columns: str | Sequence[str]) -> Sequence[str]:
    names = [columns] if isinstance(columns, str) else columns
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise InvalidValueError("columns: expected the name of one, or names")
    return names


def _effort(oversample: int | None, ef_search: int | None) -> dict[str, int | None]:
    """Return the parameters of an approximate search; None leaves a number to the backend."""
    given = (
        (prebuilt.OVERSAMPLE, "oversample", oversample, MOST_OVERSAMPLE),
        (prebuilt.EF_SEARCH, "ef_search", ef_search, MOST_EF_SEARCH),
    )
    return {
        parameter: None if number is None else whole_limit(name, number, 1, most)
        for parameter, name, number, most in given
    }


def _hits(index: Any, rows: Iterable[RowMapping]) -> Iterable[tuple[Any, float, RowDict]]:
    """Yield public id, measure, and the row without what a search adds to it."""
    id_name = index.public_id.name
    for row in rows:
        values = dict(row)
        for added in (prebuilt.APPROXIMATE, prebuilt.LISTS):
            values.pop(added, None)
        yield values[id_name], values.pop(prebuilt.MEASURE), values


def _snippet(
    index: FullTextIndex, row: RowDict, query: str | TextQuery, marks: Marks | None
) -> str | None:
    if marks is None:
        return None
    text = " ".join(row[column.name] or "" for column in index.columns)
    return snippet(text, query, language=index.language, tokenizer=index.tokenizer, marks=marks)


def _result(
    hits: Iterable[SearchHit[RowDict]],
    indexes: Sequence[SearchIndex],
    method: Method = "exact",
    notes: tuple[str, ...] = (),
) -> SearchResult[RowDict]:
    names = tuple(index.name for index in indexes)
    return SearchResult(tuple(hits), method, names, notes)
