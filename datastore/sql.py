"""Neutral constructs for the host's own statements.

`nearest()`, `matching()` and `hybrid()` are FROM elements: join them to the table whose rows are
found, by its integer key. Each has a column `rank`, 1 for the best hit, by which to order. Values
are bound, so one statement serves every search; a backend renders each construct for its dialect.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.sql import ClauseElement, ColumnElement, FromClause
from sqlalchemy.sql.dml import Insert
from sqlalchemy.sql.selectable import TableValuedAlias

from datastore.definitions import LEAST_WEIGHT, METRICS, MOST_WEIGHT, Metric, is_weight
from datastore.elements import (
    Each,
    Matching,
    Nearest,
    OnConflict,
    OneOf,
    binary_order,
    distance,
    unplanned,
)
from datastore.errors import InvalidValueError, UnknownNameError
from datastore.schema import FullTextIndex, VectorIndex
from datastore.textquery import TextQuery, TextQueryType
from datastore.types import (
    JSONDocument,
    Text,
    TextArray,
    Vector,
    as_vector,
    check_integer,
    check_text,
)

__all__ = [
    "CANDIDATE_POOL",
    "RRF_K",
    "binary_order",
    "distance",
    "each",
    "excluded",
    "hybrid",
    "matching",
    "nearest",
    "one_of",
    "upsert",
]

Filter: TypeAlias = ColumnElement[bool] | Mapping[str, Any] | None

#: The constant of reciprocal rank fusion (Cormack, Clarke, Buettcher: "Reciprocal Rank Fusion
#: outperforms Condorcet and individual Rank Learning Methods", SIGIR 2009).
RRF_K = 60
#: How many candidates of each list are fused at least; fewer cost recall.
CANDIDATE_POOL = 100
#: Beyond these an exact search is faster; pgvector refuses a longer list (README of pgvector 0.8,
#: "HNSW", hnsw.ef_search).
MOST_OVERSAMPLE, MOST_EF_SEARCH = 1000, 1000
#: What a row of `hybrid` has in its column `lists`: the sum of those that it was in.
IN_TEXT, IN_VECTOR = 1, 2
#: The execution option that marks an `upsert`.
UPSERT = "datastore_upsert"


def nearest(
    index: VectorIndex,
    vector: Any,
    k: Any = 10,
    *,
    filter: Filter = None,
    metric: Metric | None = None,
    model: Any = None,
    exact: bool = False,
    oversample: Any = None,
    ef_search: Any = None,
) -> TableValuedAlias:
    """Select the `k` rows nearest to `vector`: columns `<key>`, `rank`, `distance`, `approximate`.

    `<key>` is the integer primary key of the table that `index` finds. `filter` speaks of that
    table and narrows the search itself: `k` rows come back whenever that many fulfil it. `model` is
    needed where the index keeps several; `metric` is the index's own unless given. Equal distances
    are ordered by the public id.

    On many rows an approximate index chooses the rows that are measured, and `approximate` is true:
    `exact` forbids that, `oversample` is how many it chooses for each hit, `ef_search` how long a
    list a graph index keeps meanwhile (both from 1; the backend's own numbers unless given).

    `vector`, `k`, `model`, `oversample` and `ef_search` may be values or bind parameters; one for
    `vector` is best of type `Vector(length)`: without its length no index is used on PostgreSQL.
    """
    if index.model is not None and model is None:
        raise InvalidValueError(f"vector index {index.name}: expected the name of a model")
    if metric is not None and metric not in METRICS:
        raise InvalidValueError(f"metric: expected {', '.join(METRICS)}, got {metric!r}")
    element = Nearest(
        index,
        index.metric if metric is None else metric,
        exact,
        _vector_clause(vector, index.dimensions),
        limit_clause(k),
        condition(index.target, filter),
        _model_clause(model if index.model is not None else None),
        _count_clause("oversample", oversample, MOST_OVERSAMPLE),
        _count_clause("ef_search", ef_search, MOST_EF_SEARCH),
    )
    return element.table_valued(
        sa.column(index.key.name, index.key.type),
        sa.column("rank", sa.Integer()),
        sa.column("distance", sa.Double()),
        sa.column("approximate", sa.Boolean()),
    )


def matching(
    index: FullTextIndex,
    query: str | TextQuery | ColumnElement[Any],
    k: Any = 10,
    *,
    filter: Filter = None,
) -> TableValuedAlias:
    """Select the `k` rows that match `query` best: columns `<key>`, `rank`, `relevance`.

    Any text at all may be searched for. `relevance` is the BM25 score, larger is better; rows that
    hold none of the words are no hits. Otherwise as `nearest`.
    """
    element = Matching(
        index,
        _bound(query, TextQueryType(index.language, index.tokenizer)),
        limit_clause(k),
        condition(index.target, filter),
    )
    return element.table_valued(
        sa.column(index.key.name, index.key.type),
        sa.column("rank", sa.Integer()),
        sa.column("relevance", sa.Double()),
    )


def hybrid(
    text_index: FullTextIndex,
    vector_index: VectorIndex,
    *,
    text: Any,
    vector: Any,
    k: Any = 10,
    filter: Filter = None,
    weights: Sequence[Any] = (1.0, 1.0),
    pool: Any = CANDIDATE_POOL,
    metric: Metric | None = None,
    model: Any = None,
    exact: bool = False,
    oversample: Any = None,
    ef_search: Any = None,
) -> FromClause:
    """Fuse `matching` and `nearest` by reciprocal rank: `<key>`, `rank`, `score` and two more.

    A row scores the sum of `weight / (60 + rank)` over the two lists, each `pool` deep (at least
    `k`), in one statement and so in one snapshot. `weights` are those of text and vector. Both
    indexes must find rows of the same table. `approximate` is true in every row where an index
    chose the vectors; its arguments are those of `nearest`. `lists` says which lists a row was in:
    1 for text, 2 for vector, 3 for both.
    """
    if text_index.target is not vector_index.target:
        raise InvalidValueError(
            f"hybrid: {text_index.name} finds rows of {text_index.target.name}, "
            f"{vector_index.name} of {vector_index.target.name}"
        )
    found, key = text_index.target, text_index.key
    depth = _depth(pool, k)
    by_text = matching(text_index, text, depth, filter=filter)
    by_vector = nearest(
        vector_index,
        vector,
        depth,
        filter=filter,
        metric=metric,
        model=model,
        exact=exact,
        oversample=oversample,
        ef_search=ef_search,
    )
    lists: tuple[ColumnElement[int], ...] = (
        sa.literal_column(str(IN_TEXT)),
        sa.literal_column(str(IN_VECTOR)),
    )
    flags: tuple[ColumnElement[int], ...] = (
        sa.literal_column("0"),
        sa.cast(by_vector.c.approximate, sa.Integer()),
    )
    votes = sa.union_all(
        *(
            sa.select(
                hits.c[key.name].label("key"),
                (_weight_clause(weight) / (RRF_K + hits.c.rank)).label("vote"),
                flag.label("flag"),
                list_.label("list"),
            )
            for hits, weight, flag, list_ in zip(
                (by_text, by_vector), checked_weights(weights), flags, lists, strict=True
            )
        )
    ).subquery("votes")
    fused = (
        sa.select(
            votes.c.key,
            sa.func.sum(votes.c.vote).label("score"),
            sa.func.max(sa.func.max(votes.c.flag)).over().label("flag"),
            sa.func.sum(votes.c.list).label("lists"),
        )
        .group_by(votes.c.key)
        .subquery("fused")
    )
    order = (fused.c.score.desc(), binary_order(text_index.public_id).nulls_first())
    return (
        sa.select(
            fused.c.key.label(key.name),
            sa.func.row_number().over(order_by=order).label("rank"),
            fused.c.score,
            (fused.c.flag == sa.literal_column("1")).label("approximate"),
            fused.c.lists,
        )
        .select_from(fused.outerjoin(found, key == fused.c.key))
        .order_by(*order)
        .limit(limit_clause(k))
        .subquery("hybrid")
    )


def _depth(pool: Any, k: Any) -> Any:
    """Return how deep the two lists go."""
    if isinstance(pool, ColumnElement) or isinstance(k, ColumnElement):
        return limit_clause(pool)
    return max(whole_limit("pool", pool, 1), whole_limit("limit", k))


def _weight_clause(weight: Any) -> ColumnElement[float]:
    return weight if isinstance(weight, ColumnElement) else sa.literal(weight, sa.Double())


def checked_weights(weights: Sequence[Any]) -> Sequence[Any]:
    """Return the two weights, or raise `InvalidValueError` where they rank nothing."""
    if not isinstance(weights, Sequence) or isinstance(weights, str) or len(weights) != 2:
        raise InvalidValueError("weights: expected two numbers")
    if any(isinstance(weight, ColumnElement) for weight in weights):
        return weights
    if not all(weight == 0 or is_weight(weight) for weight in weights):
        raise InvalidValueError(
            f"weights: expected zero or a number from {LEAST_WEIGHT} to {MOST_WEIGHT:.0f} for each"
        )
    if not any(weights):
        raise InvalidValueError("weights: expected at least one above zero")
    return tuple(map(float, weights))


def limit_clause(k: Any) -> ColumnElement[int]:
    """Return a bound limit; raise `InvalidValueError` unless it is a whole number from 0 up."""
    if isinstance(k, unplanned):
        return k
    bound = k if isinstance(k, ColumnElement) else sa.literal(whole_limit("limit", k), sa.Integer())
    return unplanned(bound)


def whole_limit(what: str, number: Any, least: int = 0, most: int = 2**31 - 1) -> int:
    """Return a whole number, cut to `most`; raise `InvalidValueError` below `least`."""
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise InvalidValueError(f"{what}: expected a whole number of at least {least}")
    return min(number, most)


def _vector_clause(vector: Any, dimensions: int | None) -> ColumnElement[Any]:
    if isinstance(vector, ColumnElement):
        return _bound(vector, Vector(dimensions))
    checked = as_vector(vector, dimensions)
    return sa.literal(checked, Vector(checked.size))


def _model_clause(model: Any) -> ColumnElement[Any]:
    if model is None or isinstance(model, ColumnElement):
        return sa.null() if model is None else _bound(model, Text())
    # Written into the statement, since a partial index is only found by a constant.
    return sa.literal(check_text(model), Text(), literal_execute=True)


def _count_clause(what: str, number: Any, most: int) -> ColumnElement[Any]:
    if number is None or isinstance(number, ColumnElement):
        return sa.null() if number is None else number
    return sa.literal(whole_limit(what, number, 1, most), sa.Integer())


def condition(table: FromClause, filter: Filter) -> ColumnElement[bool]:
    """Return a filter as an expression: true without one, equalities for a mapping.

    Raises `UnknownNameError` for a name that is no column of `table`, `InvalidValueError` for
    anything that is neither a mapping nor an expression.
    """
    if filter is None:
        return sa.true()
    if isinstance(filter, ColumnElement):
        return filter
    if not isinstance(filter, Mapping):
        raise InvalidValueError(
            f"filter: expected a Core expression or a mapping, got {type(filter).__name__}"
        )
    unknown = [name for name in filter if not isinstance(name, str) or name not in table.c]
    if unknown:
        raise UnknownNameError(f"filter: {table.description} has no column {unknown[0]!r}")
    documents = [name for name in filter if isinstance(table.c[name].type, JSONDocument)]
    if documents:
        raise InvalidValueError(
            f"filter: {documents[0]} holds JSON: compare a value inside it, with an expression"
        )
    return sa.and_(sa.true(), *(_equal(table.c[name], value) for name, value in filter.items()))


def _equal(column: ColumnElement[Any], value: Any) -> ColumnElement[bool]:
    if isinstance(value, sa.BindParameter):
        value = unplanned(sa.type_coerce(value, column.type))
    equal: ColumnElement[bool] = column == comparable(column, value)
    return equal


def comparable(column: ColumnElement[Any], value: Any) -> Any:
    """Return a value to compare a column with.

    Raises `InvalidValueError` for one that some engine would convert to an integer first, and so
    take 1.5 for 2.
    """
    if value is None or isinstance(value, ClauseElement):
        return value
    if column.type._type_affinity is not sa.Integer:
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InvalidValueError(f"filter: {column.key} holds integers, got {type(value).__name__}")
    return check_integer(operator.index(value))


def _bound(value: Any, type_: sa.types.TypeEngine[Any]) -> ColumnElement[Any]:
    if isinstance(value, sa.BindParameter):
        return sa.type_coerce(value, type_) if isinstance(value.type, sa.types.NullType) else value
    return value if isinstance(value, ColumnElement) else sa.literal(value, type_)


def each(values: Any) -> TableValuedAlias:
    """Select from a list of texts, bound as one parameter however long it is: column `value`."""
    return Each(_bound(values, TextArray())).table_valued(sa.column("value", sa.Text()))


def one_of(value: ColumnElement[Any], query: sa.SelectBase) -> ColumnElement[bool]:
    """Compare with what a query of one column gives, all of it gathered before rows are looked for.

    It says what `value.in_(query)` says, and is the faster one for thousands of values that are
    looked up in an index; the slower one where no index leads to `value`.
    """
    return OneOf(value, query.scalar_subquery())


def excluded(table: sa.Table) -> Any:
    """Return the columns of the row that an `upsert` was about to insert."""
    return table.alias("excluded").c


def upsert(
    table: sa.Table,
    *,
    key: Sequence[sa.Column[Any]] | None = None,
    update: Sequence[sa.Column[Any]] | Mapping[sa.Column[Any], Any] | None = None,
) -> Insert:
    """Return an INSERT that updates the row whose `key` exists already.

    `key` is the primary key unless given. `update` lists the columns that take the new value, or
    maps columns to expressions over the old row (`table.c`) and the new one (`excluded(table)`);
    nothing (the default) leaves an existing row as it is.
    """
    fresh = excluded(table)
    values = update if isinstance(update, Mapping) else {c: fresh[c.key] for c in update or ()}
    updates = {c: _bound(value, c.type) for c, value in values.items()}
    target = list(table.primary_key if key is None else key)
    return sa.insert(table).ext(OnConflict(target, updates)).execution_options(**{UPSERT: True})
