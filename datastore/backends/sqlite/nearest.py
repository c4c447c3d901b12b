"""Vector search on SQLite, as one statement: candidates chosen in memory, measured from the rows.

Its parts, whose names begin with `nearest_`, lest they hide a table of the host's, are:

    given       the arguments, and the ends of the log as this snapshot has it
    chosen      what `candidates.py` answers: keys, or that every row is to be measured
    passing     with a filter: the first of the chosen that fulfil it
    narrowed    where too few do: chosen again, among all rows that fulfil the filter
    candidates  all of these, and what the log says has changed since
    measured    their distances, or those of every row

Parts are joined by CROSS JOIN, which SQLite does not reorder: the keys come first, then the rows.
LIMIT 1 tells its planner what it cannot see, lest it make an index for a single pass.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement, FromClause

from datastore.backends.sqlite.candidates import FUNCTION, SPREAD
from datastore.backends.sqlite.indexes import log_table
from datastore.backends.sqlite.joins import OrderedJoin
from datastore.backends.standard import exact_nearest
from datastore.elements import Nearest, best, distance

_VECTOR: ColumnElement[Any] = sa.literal_column("(SELECT vector FROM nearest_given)")
_CHOSEN = sa.table("nearest_chosen", sa.column("found"))
_PASSING = sa.table("nearest_passing", sa.column("key"))
_CANDIDATES = sa.table("nearest_candidates", sa.column("key"))


def nearest(element: Nearest, compiler: Any, **kw: Any) -> str:
    """Render the search; exactly where the element asks for it."""
    if element.exact:
        return exact_nearest(element, compiler, **kw)
    kw.pop("from_linter", None)
    kw.pop("asfrom", None)

    def process(part: Any) -> str:
        return str(compiler.process(part, **kw))

    log = compiler.preparer.quote(log_table(element.index.definition))
    spread, parts = 1, ""
    keys = ["SELECT value AS key FROM nearest_chosen CROSS JOIN json_each(found, '$.keys')"]
    if element.is_filtered:
        spread = SPREAD
        parts = _filtered(element, process)
        keys = [
            "SELECT key FROM nearest_passing",
            "SELECT value FROM nearest_narrowed CROSS JOIN json_each(found, '$.keys')",
        ]
    keys.append(f"SELECT key FROM nearest_chosen CROSS JOIN {log} WHERE seq > found ->> '$.seq'")
    how = "coalesce((SELECT found FROM nearest_narrowed), found)" if parts else "found"
    approximate: ColumnElement[Any] = sa.literal_column(
        f"(SELECT NOT {how} ->> '$.exact' FROM nearest_chosen)"
    )
    rows = sa.table("nearest_measured", sa.column("key"), sa.column("id"), sa.column("distance"))
    rows.c.id.type = element.index.public_id.type
    top = best(rows, "distance", element).add_columns(approximate.label("approximate"))
    return f"""\
(WITH nearest_given AS MATERIALIZED (
  SELECT {process(element.query)} AS vector, {process(element.limit)} AS wanted,
    {process(element.oversample)} AS oversample, {process(element.model)} AS model,
    (SELECT max(seq) FROM {log}) AS newest, (SELECT min(seq) FROM {log}) AS oldest
  LIMIT 1
), nearest_chosen AS MATERIALIZED (
  SELECT {_call(element, spread, "NULL")} AS found FROM nearest_given LIMIT 1
){parts}, nearest_candidates AS MATERIALIZED (
  {" UNION ".join(keys)}
), nearest_measured AS (
  {process(_measured(element))}
  UNION ALL
  {process(_everything(element))}
)
{process(top.correlate(None))})"""


def _filtered(element: Nearest, process: Any) -> str:
    return f"""\
, nearest_passing AS MATERIALIZED (
  {process(_passing(element))}
), nearest_narrowed AS MATERIALIZED (
  SELECT CASE WHEN NOT found ->> '$.exact'
      AND (SELECT count(*) FROM nearest_passing) < found ->> '$.enough'
    THEN {_call(element, 1, f"({process(_fulfilling(element))})")} END AS found
  FROM nearest_chosen CROSS JOIN nearest_given
)"""


def _call(element: Nearest, spread: int, filter: str) -> str:
    definition = element.index.definition.fingerprint().replace("'", "''")
    return (
        f"{FUNCTION}('{definition}', '{element.metric}', model, vector, wanted, oversample, "
        f"newest, oldest, {spread}, {filter})"
    )


def _passing(element: Nearest) -> sa.Select[*tuple[Any, ...]]:
    """Select the first keys, in the order of their codes, whose rows fulfil the filter."""
    index = element.index
    listed = sa.func.json_each(_CHOSEN.c.found, sa.literal_column("'$.keys'"))
    chosen = listed.table_valued("value", name="nearest_listed")
    first = OrderedJoin(_CHOSEN, chosen, sa.literal_column("1"))
    return (
        sa.select(chosen.c.value.label("key"))
        .select_from(OrderedJoin(first, index.target, index.key == chosen.c.value))
        .where(element.condition)
        .limit(sa.literal_column("(SELECT found ->> '$.wanted' FROM nearest_chosen)"))
        .correlate(None)
    )


def _fulfilling(element: Nearest) -> sa.Select[*tuple[Any, ...]]:
    """Select the keys of all rows that fulfil the filter, as one JSON array."""
    keys: ColumnElement[Any] = sa.func.json_group_array(element.index.reference)
    return sa.select(keys).select_from(element.rows()).where(element.eligible()).correlate(None)


def _measured(element: Nearest) -> sa.Select[*tuple[Any, ...]]:
    """Select key, id and distance of the candidates that may be hits."""
    index = element.index
    rows: FromClause = OrderedJoin(_CANDIDATES, index.table, index.reference == _CANDIDATES.c.key)
    if index.table is not index.target:
        rows = OrderedJoin(rows, index.target, index.key == index.reference)
    return _select(element, rows)


def _everything(element: Nearest) -> sa.Select[*tuple[Any, ...]]:
    """Select the same of every row, where `chosen` says so."""
    index = element.index
    rows: FromClause = OrderedJoin(
        _CHOSEN, index.table, sa.literal_column("nearest_chosen.found ->> '$.exact'")
    )
    if index.table is not index.target:
        rows = OrderedJoin(rows, index.target, index.key == index.reference)
    return _select(element, rows)


def _select(element: Nearest, rows: FromClause) -> sa.Select[*tuple[Any, ...]]:
    index = element.index
    measure = distance(index.column, _VECTOR, element.metric)
    return (
        sa.select(index.key.label("key"), index.public_id.label("id"), measure.label("distance"))
        .select_from(rows)
        .where(element.eligible())
        .correlate(None)
    )
