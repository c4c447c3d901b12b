"""Neutral constructs for the host's own statements.

`nearest()`, `matching()` and `hybrid()` are FROM elements: join them to the table whose rows are
found, by its integer key. Each has a column `rank`, 1 for the best hit, by which to order. Values
are bound, so one statement serves every search; a backend renders each construct for its dialect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ColumnElement, FromClause
from sqlalchemy.sql.base import SyntaxExtension
from sqlalchemy.sql.dml import Insert
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.sql.visitors import InternalTraversal

from datastore.ddl import unsupported
from datastore.definitions import METRICS, Metric
from datastore.errors import InvalidValueError, UnknownNameError
from datastore.schema import FullTextIndex, SearchIndex, VectorIndex
from datastore.textquery import TextQuery, TextQueryType
from datastore.types import JSONDocument, TextArray, Vector

Filter: TypeAlias = ColumnElement[bool] | Mapping[str, Any] | None

#: The constant of reciprocal rank fusion (Cormack, Clarke, Buettcher: "Reciprocal Rank Fusion
#: outperforms Condorcet and individual Rank Learning Methods", SIGIR 2009).
RRF_K = 60
#: How many candidates of each list are fused at least; fewer cost recall.
CANDIDATE_POOL = 100
#: The execution option that marks an `upsert`.
UPSERT = "datastore_upsert"


class distance(FunctionElement[float]):  # noqa: N801 - a function of SQL
    """How far two vectors are apart by a metric; smaller is nearer.

    Cosine: 1 - cosine similarity, 0 to 2. L2: Euclidean distance. Inner product: the negative
    product.
    """

    name = "distance"
    type = sa.Double()
    inherit_cache = True
    _traverse_internals = [  # noqa: RUF012 - as SQLAlchemy has it
        *FunctionElement._traverse_internals,
        ("metric", InternalTraversal.dp_string),
    ]

    def __init__(self, left: Any, right: Any, metric: Metric = "cosine") -> None:
        if metric not in METRICS:
            raise InvalidValueError(f"metric: expected {', '.join(METRICS)}, got {metric!r}")
        self.metric: Metric = metric
        super().__init__(left, right)


class binary_order(FunctionElement[Any]):  # noqa: N801
    """A value to sort by, text by code point whatever the collation of its column."""

    name = "binary_order"
    inherit_cache = True

    def __init__(self, value: ColumnElement[Any]) -> None:
        super().__init__(value)
        self.type = value.type


class SearchFunction(FunctionElement[Any]):
    """Base of the table-valued searches: key, rank and measure of the best `limit` rows.

    Handlers render the clauses and make no bind parameters of their own: those would be frozen into
    the cached statement.
    """

    feature: str
    index: Any
    inherit_cache = True
    _traverse_internals = [  # noqa: RUF012 - as SQLAlchemy has it
        *FunctionElement._traverse_internals,
        ("index", InternalTraversal.dp_plain_obj),
    ]

    def __init__(self, index: SearchIndex, *clauses: Any) -> None:
        self.index = index
        super().__init__(*clauses)

    @property
    def query(self) -> Any:
        """What is searched for."""
        return next(iter(self.clauses))

    @property
    def limit(self) -> Any:
        """How many rows are wanted at most."""
        return list(self.clauses)[1]

    @property
    def condition(self) -> Any:
        """The condition that every hit fulfils."""
        return list(self.clauses)[2]


def best(
    rows: FromClause, measure: str, element: SearchFunction, *, descending: bool = False
) -> sa.Select[*tuple[Any, ...]]:
    """Select key, `rank` and measure of the first rows, equals in the order of their id.

    `rows` has the columns `key`, `id` and the one that `measure` names. For compile handlers.
    """

    def order(table: FromClause) -> tuple[ColumnElement[Any], ...]:
        value = table.c[measure]
        return (value.desc() if descending else value, binary_order(table.c.id).nulls_first())

    top = sa.select(rows).order_by(*order(rows)).limit(element.limit).subquery("top")
    rank = sa.func.row_number().over(order_by=order(top)).label("rank")
    key = top.c.key.label(element.index.key.name)
    return sa.select(key, rank, top.c[measure]).order_by(*order(top))


class Nearest(SearchFunction):
    """The rows whose vectors are nearest to one vector."""

    name = "nearest"
    feature = "vector search"
    inherit_cache = True
    index: VectorIndex
    _traverse_internals = [  # noqa: RUF012 - as SQLAlchemy has it
        *SearchFunction._traverse_internals,
        ("metric", InternalTraversal.dp_string),
    ]

    def __init__(self, index: VectorIndex, metric: Metric, *clauses: Any) -> None:
        self.metric: Metric = metric
        super().__init__(index, *clauses)

    def scan(self) -> sa.Select[*tuple[Any, ...]]:
        """Select key and `distance` of every row that fulfils the filter, in no order."""
        index = self.index
        rows: FromClause = index.target
        if index.table is not index.target:
            rows = index.target.join(index.table, index.reference == index.key)
        measure = distance(index.column, self.query, self.metric).label("distance")
        return (
            sa.select(index.key.label("key"), index.public_id.label("id"), measure)
            .select_from(rows)
            .where(index.column.is_not(None), self.condition)
            .correlate(None)
        )


class Matching(SearchFunction):
    """The rows whose text matches a query best."""

    name = "matching"
    feature = "full-text search"
    inherit_cache = True
    index: FullTextIndex


def nearest(
    index: VectorIndex,
    vector: Any,
    k: Any = 10,
    *,
    filter: Filter = None,
    metric: Metric | None = None,
    model: Any = None,
) -> TableValuedAlias:
    """Select the `k` rows nearest to `vector`: columns `<key>`, `rank`, `distance`.

    `<key>` is the integer primary key of the table that `index` finds. `filter` speaks of that
    table and narrows the search itself: `k` rows come back whenever that many fulfil it. `model` is
    needed where the index keeps several; `metric` is the index's own unless given. `vector`, `k`
    and `model` may be values or bind parameters. Equal distances are ordered by the public id.
    """
    narrowed = condition(index.target, filter)
    if index.model is not None:
        if model is None:
            raise InvalidValueError(f"vector index {index.name}: expected the name of a model")
        narrowed = sa.and_(index.model == model, narrowed)
    element = Nearest(
        index,
        index.metric if metric is None else metric,
        _bound(vector, Vector(index.dimensions)),
        limit_clause(k),
        narrowed,
    )
    return element.table_valued(
        sa.column(index.key.name, index.key.type),
        sa.column("rank", sa.Integer()),
        sa.column("distance", sa.Double()),
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
        _bound(query, TextQueryType(index.language)),
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
    weights: tuple[float, float] = (1.0, 1.0),
    pool: int = CANDIDATE_POOL,
    metric: Metric | None = None,
    model: Any = None,
) -> FromClause:
    """Fuse `matching` and `nearest` by reciprocal rank: columns `<key>`, `rank`, `score`.

    A row scores the sum of `weight / (60 + rank)` over the two lists, each `pool` deep, in one
    statement and so in one snapshot. `weights` are those of text and vector. Both indexes must find
    rows of the same table.
    """
    if text_index.target is not vector_index.target:
        raise InvalidValueError(
            f"hybrid: {text_index.name} finds rows of {text_index.target.name}, "
            f"{vector_index.name} of {vector_index.target.name}"
        )
    found, key = text_index.target, text_index.key
    pool = max(pool, k) if isinstance(k, int) else pool
    lists = [
        matching(text_index, text, pool, filter=filter),
        nearest(vector_index, vector, pool, filter=filter, metric=metric, model=model),
    ]
    votes = sa.union_all(
        *(
            sa.select(
                hits.c[key.name].label("key"),
                (sa.literal(weight, sa.Double()) / (RRF_K + hits.c.rank)).label("vote"),
            )
            for hits, weight in zip(lists, _checked_weights(weights), strict=True)
        )
    ).subquery("votes")
    score = sa.func.sum(votes.c.vote).label("score")
    fused = sa.select(votes.c.key, score).group_by(votes.c.key).subquery("fused")
    order = (fused.c.score.desc(), binary_order(text_index.public_id).nulls_first())
    return (
        sa.select(
            fused.c.key.label(key.name),
            sa.func.row_number().over(order_by=order).label("rank"),
            fused.c.score,
        )
        .join(found, key == fused.c.key)
        .order_by(*order)
        .limit(limit_clause(k))
        .subquery("hybrid")
    )


def _checked_weights(weights: Sequence[float]) -> Sequence[float]:
    """Return the two weights, or raise `InvalidValueError` where they rank nothing."""
    if len(weights) != 2 or not all(0 <= weight < float("inf") for weight in weights):
        raise InvalidValueError("weights: expected two finite numbers, none negative")
    if not any(weights):
        raise InvalidValueError("weights: expected at least one above zero")
    return weights


def limit_clause(k: Any) -> ColumnElement[int]:
    """Return a bound limit; raise `InvalidValueError` unless it is a whole number from 0 up."""
    if isinstance(k, ColumnElement):
        return k
    if isinstance(k, bool) or not isinstance(k, int) or k < 0:
        raise InvalidValueError("limit: expected a whole number of at least 0")
    return sa.literal(min(k, 2**31 - 1), sa.Integer())


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
    unknown = [name for name in filter if name not in table.c]
    if unknown:
        raise UnknownNameError(f"filter: {table.description} has no column {unknown[0]!r}")
    documents = [name for name in filter if isinstance(table.c[name].type, JSONDocument)]
    if documents:
        raise InvalidValueError(
            f"filter: {documents[0]} holds JSON: compare a value inside it, with an expression"
        )
    return sa.and_(sa.true(), *(table.c[name] == value for name, value in filter.items()))


def _bound(value: Any, type_: sa.types.TypeEngine[Any]) -> ColumnElement[Any]:
    if isinstance(value, sa.BindParameter):
        return sa.type_coerce(value, type_) if isinstance(value.type, sa.types.NullType) else value
    return value if isinstance(value, ColumnElement) else sa.literal(value, type_)


class Each(FunctionElement[str]):
    """A list of texts as a table of one column."""

    name = "each"
    feature = "list as a table"
    inherit_cache = True


def each(values: Any) -> TableValuedAlias:
    """Select from a list of texts, bound as one parameter however long it is: column `value`."""
    return Each(_bound(values, TextArray())).table_valued(sa.column("value", sa.Text()))


class OnConflict(SyntaxExtension, ClauseElement):
    """ON CONFLICT (key) DO UPDATE SET ..., or DO NOTHING where nothing is set."""

    feature = "upsert"
    inherit_cache = True
    _traverse_internals = [  # noqa: RUF012 - as SQLAlchemy has it
        ("key", InternalTraversal.dp_clauseelement_list),
        ("updates", InternalTraversal.dp_dml_values),
    ]

    def __init__(
        self, key: Sequence[sa.Column[Any]], updates: Mapping[sa.Column[Any], ColumnElement[Any]]
    ) -> None:
        self.key = list(key)
        self.updates = dict(updates)

    def apply_to_insert(self, insert_stmt: Insert) -> None:
        """Stand behind VALUES."""
        insert_stmt.apply_syntax_extension_point(self.append_replacing_same_type, "post_values")


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
    values = update if isinstance(update, Mapping) else {c: fresh[c.name] for c in update or ()}
    updates = {c: _bound(value, c.type) for c, value in values.items()}
    target = list(table.primary_key if key is None else key)
    return sa.insert(table).ext(OnConflict(target, updates)).execution_options(**{UPSERT: True})


@compiles(distance)
@compiles(binary_order)
@compiles(Nearest)
@compiles(Matching)
@compiles(Each)
@compiles(OnConflict)
def _refuse(element: Any, compiler: Any, **_: Any) -> str:
    feature = getattr(element, "feature", type(element).__name__)
    raise unsupported(feature, compiler.dialect.name)
