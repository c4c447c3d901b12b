"""The elements of SQL behind the neutral constructs: a backend renders each for its dialect.

Handlers render the clauses and make no bind parameters of their own: those would be frozen into the
cached statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ColumnElement, FromClause
from sqlalchemy.sql.base import SyntaxExtension
from sqlalchemy.sql.dml import Insert
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.visitors import InternalTraversal

from datastore.ddl import unsupported
from datastore.definitions import METRICS, Metric
from datastore.errors import InvalidValueError
from datastore.schema import FullTextIndex, SearchIndex, VectorIndex
from datastore.types import Vector


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


class unplanned(FunctionElement[Any]):  # noqa: N801
    """A bound value that a statement is not planned by: one plan serves all values."""

    name = "unplanned"
    inherit_cache = True

    def __init__(self, value: ColumnElement[Any]) -> None:
        super().__init__(value)
        self.type = value.type


@compiles(unplanned)
def _unplanned(element: unplanned, compiler: Any, **kw: Any) -> str:
    return str(compiler.process(element.clauses, **kw))


class SearchFunction(FunctionElement[Any]):
    """Base of the table-valued searches: key, rank and measure of the best `limit` rows."""

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
    """The rows whose vectors are nearest to one vector, and whether an index chose them.

    The type of `query` knows the length of the vector, where it is known at all. A backend may let
    an approximate index choose candidates unless `exact`.
    """

    name = "nearest"
    feature = "vector search"
    inherit_cache = True
    index: VectorIndex
    _traverse_internals = [  # noqa: RUF012 - as SQLAlchemy has it
        *SearchFunction._traverse_internals,
        ("metric", InternalTraversal.dp_string),
        ("exact", InternalTraversal.dp_boolean),
    ]

    def __init__(self, index: VectorIndex, metric: Metric, exact: bool, *clauses: Any) -> None:
        self.metric: Metric = metric
        self.exact = exact
        super().__init__(index, *clauses)

    @property
    def model(self) -> Any:
        """The name of the model whose vectors are searched; NULL where the index has but one."""
        return list(self.clauses)[3]

    @property
    def oversample(self) -> Any:
        """How many candidates an index chooses for each hit; NULL for the backend's own number."""
        return list(self.clauses)[4]

    @property
    def ef_search(self) -> Any:
        """The length of the list that a graph index keeps; NULL for the backend's own number."""
        return list(self.clauses)[5]

    @property
    def dimensions(self) -> int | None:
        """The length of the vector, where it is known before the statement runs."""
        type_ = self.query.type
        return type_.dimensions if isinstance(type_, Vector) else None

    @property
    def is_filtered(self) -> bool:
        """Whether there is a condition on the rows found."""
        return not isinstance(self.condition, sa.True_)

    def rows(self) -> FromClause:
        """Return the table of the vectors joined to that of the rows found."""
        index = self.index
        if index.table is index.target:
            return index.target
        return index.target.join(index.table, index.reference == index.key)

    def eligible(self) -> ColumnElement[bool]:
        """Return the condition on a joined row for being a hit: a vector, its model, the filter."""
        index = self.index
        model = sa.true() if index.model is None else index.model == self.model
        # Asked for nothing, this would keep an index from answering without the rows.
        is_vector = index.column.is_not(None) if index.column.nullable else sa.true()
        return sa.and_(is_vector, model, self.condition)

    def scan(self) -> sa.Select[*tuple[Any, ...]]:
        """Select key, id and `distance` of every row that may be a hit, in no order."""
        index = self.index
        measure = distance(index.column, self.query, self.metric).label("distance")
        return (
            sa.select(index.key.label("key"), index.public_id.label("id"), measure)
            .select_from(self.rows())
            .where(self.eligible())
            .correlate(None)
        )


class Matching(SearchFunction):
    """The rows whose text matches a query best."""

    name = "matching"
    feature = "full-text search"
    inherit_cache = True
    index: FullTextIndex


class Each(FunctionElement[str]):
    """A list of texts as a table of one column."""

    name = "each"
    feature = "list as a table"
    inherit_cache = True


class OneOf(FunctionElement[bool]):
    """Whether a value is one of those that a query gives."""

    name = "one_of"
    feature = "value of a query"
    type = sa.Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> OneOf:
        """Stay a condition: compared with 1, as a function would be, it leads to no index."""
        return self


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


@compiles(distance)
@compiles(binary_order)
@compiles(Nearest)
@compiles(Matching)
@compiles(Each)
@compiles(OneOf)
@compiles(OnConflict)
def _refuse(element: Any, compiler: Any, **_: Any) -> str:
    feature = getattr(element, "feature", type(element).__name__)
    raise unsupported(feature, compiler.dialect.name)
