"""Exact vector search on PostgreSQL: every vector is measured, and few are joined to their rows.

Where vectors stand in a table of their own, joining each to its row takes as long as measuring it,
only to learn the ids that decide between equal distances. So without a filter the nearest vectors
are chosen first, by distance alone and some more than are wanted. The parts of the statement, whose
names begin with `nearest_`, are:

    closest   keys and distances of these vectors
    joined    those whose rows are there, with the ids
    complete  whether all hits are among them: because nothing was left out, or because as many as
              are wanted are nearer than the furthest of `closest`, and so than all that was

Otherwise, where many vectors are equally far or a policy hides rows, every vector is joined.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement

from datastore.backends import standard
from datastore.elements import Nearest, best, distance

#: How many vectors are chosen beyond twice the number wanted: some may be as far as the last hit.
MORE = 20
_COMPLETE: ColumnElement[bool] = sa.literal_column(
    "(SELECT complete FROM nearest_complete)", sa.Boolean()
)


def exact_nearest(element: Nearest, compiler: Any, **kw: Any) -> str:
    """Render a search that measures every vector."""
    if not chooses_first(element):
        return standard.exact_nearest(element, compiler, **kw)
    kw.pop("from_linter", None)
    kw.pop("asfrom", None)
    measured = sa.union_all(*measured_first(element)).subquery("measured")
    found = best(measured, "distance", element).add_columns(sa.false().label("approximate"))
    return f"(WITH {choice(element, compiler, sa.true(), **kw)}\n{compiler.process(found, **kw)})"


def chooses_first(element: Nearest) -> bool:
    """Tell whether the nearest vectors are chosen before they are joined to their rows."""
    return element.index.table is not element.index.target and not element.is_filtered


def choice(element: Nearest, compiler: Any, condition: ColumnElement[bool], **kw: Any) -> str:
    """Render the parts that choose; nothing is measured unless `condition` holds."""

    def process(part: Any) -> str:
        return str(compiler.process(part, **kw))

    twice = sa.cast(element.limit, sa.BigInteger()) * sa.literal_column("2")
    count = twice + sa.literal_column(str(MORE))
    nearby = vectors(element).order_by("distance").limit(count).subquery("nearby")
    return f"""\
nearest_closest AS MATERIALIZED (
  {process(sa.select(nearby).where(condition).correlate(None))}
), nearest_joined AS MATERIALIZED (
  {process(_joined(element))}
), nearest_complete AS MATERIALIZED (
  SELECT (SELECT count(*) FROM nearest_closest) < {process(count)}
    OR (SELECT count(*) FROM nearest_joined
        WHERE distance < (SELECT max(distance) FROM nearest_closest)) >= {process(element.limit)}
    AS complete
)"""


def vectors(element: Nearest) -> sa.Select[*tuple[Any, ...]]:
    """Select key and distance of every vector of the model, whether its row is there or not."""
    index = element.index
    model = sa.true() if index.model is None else index.model == element.model
    measure = distance(index.column, element.query, element.metric)
    return sa.select(index.reference.label("key"), measure.label("distance")).where(
        index.column.is_not(None), model
    )


def measured_first(element: Nearest) -> tuple[sa.Select[*tuple[Any, ...]], ...]:
    """Select key, id and distance of the vectors chosen, or else of all."""
    chosen = sa.table("nearest_joined", sa.column("key"), sa.column("id"), sa.column("distance"))
    chosen.c.id.type = element.index.public_id.type
    return (
        sa.select(chosen).where(_COMPLETE),
        element.scan().where(sa.not_(_COMPLETE)),
    )


def _joined(element: Nearest) -> sa.Select[*tuple[Any, ...]]:
    index = element.index
    closest = sa.table("nearest_closest", sa.column("key"), sa.column("distance"))
    return (
        sa.select(closest.c.key, index.public_id.label("id"), closest.c.distance)
        .select_from(closest.join(index.target, index.key == closest.c.key))
        .correlate(None)
    )
