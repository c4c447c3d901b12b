"""Search statements, built once for each shape: building one takes longer than many a search.

A shape is an index and what else changes the SQL text; all values are bind parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement, FromClause

from datastore.definitions import Metric
from datastore.schema import FullTextIndex, SearchIndex, VectorIndex
from datastore.sql import Filter, comparable, condition, hybrid, matching, nearest
from datastore.types import Vector

Statement: TypeAlias = sa.Select[*tuple[Any, ...]]

#: Shapes that are kept; a host has a handful, and an expression made for one search is one more.
SHAPES = 256
#: The columns beside those of the row found.
MEASURE, APPROXIMATE, LISTS = "datastore_measure", "datastore_approximate", "datastore_lists"

VECTOR, TEXT, LIMIT = "datastore_vector", "datastore_text", "datastore_limit"
POOL, TEXT_WEIGHT, VECTOR_WEIGHT = (
    "datastore_pool",
    "datastore_text_weight",
    "datastore_vector_weight",
)
OVERSAMPLE, EF_SEARCH = "datastore_oversample", "datastore_ef_search"
_FILTER = "datastore_filter_"


def bound_filter(table: sa.Table, filter: Filter) -> tuple[ColumnElement[bool], dict[str, Any]]:
    """Return a filter as an expression, one object for each set of names, and its values."""
    if not isinstance(filter, Mapping) or not all(map(_is_plain, filter.values())):
        return condition(table, filter), {}
    equalities = _equalities(table, tuple(filter))
    values = {_FILTER + name: comparable(table.c[name], value) for name, value in filter.items()}
    return equalities, values


def _is_plain(value: Any) -> bool:
    return value is not None and not isinstance(value, sa.ClauseElement)


@lru_cache(SHAPES)
def _equalities(table: sa.Table, names: tuple[str, ...]) -> ColumnElement[bool]:
    return condition(table, {name: sa.bindparam(f"{_FILTER}{name}") for name in names})


@lru_cache(SHAPES)
def nearest_rows(
    index: VectorIndex,
    dimensions: int,
    metric: Metric,
    model: str | None,
    exact: bool,
    filter: ColumnElement[bool],
) -> Statement:
    """Select rows by `VECTOR`, `LIMIT`, `OVERSAMPLE` and `EF_SEARCH`."""
    hits = nearest(
        index,
        sa.bindparam(VECTOR, type_=Vector(dimensions)),
        _number(LIMIT),
        filter=filter,
        metric=metric,
        model=model,
        exact=exact,
        oversample=_number(OVERSAMPLE),
        ef_search=_number(EF_SEARCH),
    )
    return _rows(index, hits, hits.c.distance).add_columns(hits.c.approximate.label(APPROXIMATE))


@lru_cache(SHAPES)
def matching_rows(index: FullTextIndex, filter: ColumnElement[bool]) -> Statement:
    """Select rows by `TEXT` and `LIMIT`."""
    hits = matching(index, sa.bindparam(TEXT), _number(LIMIT), filter=filter)
    return _rows(index, hits, hits.c.relevance)


@lru_cache(SHAPES)
def hybrid_rows(
    text_index: FullTextIndex,
    vector_index: VectorIndex,
    dimensions: int,
    metric: Metric,
    model: str | None,
    exact: bool,
    filter: ColumnElement[bool],
) -> Statement:
    """Select rows by all the parameters there are."""
    hits = hybrid(
        text_index,
        vector_index,
        text=sa.bindparam(TEXT),
        vector=sa.bindparam(VECTOR, type_=Vector(dimensions)),
        k=_number(LIMIT),
        filter=filter,
        weights=(
            sa.bindparam(TEXT_WEIGHT, type_=sa.Double()),
            sa.bindparam(VECTOR_WEIGHT, type_=sa.Double()),
        ),
        pool=_number(POOL),
        metric=metric,
        model=model,
        exact=exact,
        oversample=_number(OVERSAMPLE),
        ef_search=_number(EF_SEARCH),
    )
    statement = _rows(text_index, hits, hits.c.score)
    return statement.add_columns(hits.c.approximate.label(APPROXIMATE), hits.c.lists.label(LISTS))


def _rows(index: SearchIndex, hits: FromClause, measure: ColumnElement[Any]) -> Statement:
    found = index.target
    # Every hit has its row. An outer join has the hits read first, not every row.
    rows = hits.outerjoin(found, index.key == hits.c[index.key.name])
    return sa.select(found, measure.label(MEASURE)).select_from(rows).order_by(hits.c.rank)


def _number(name: str) -> sa.BindParameter[int]:
    return sa.bindparam(name, type_=sa.Integer())
