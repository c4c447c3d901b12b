"""Vector search on PostgreSQL, as one statement: by a graph where there is one, else exactly.

Its parts, whose names begin with `nearest_`, lest they hide a table of the host's, are:

    given     the arguments
    graph     the graph of this space, where it was built and the search is worth it
    effort    sets what the scan of the graph reads
    walked    with a filter: the nearest rows of all, whether they fulfil it or not
    passing   those that do; where they are enough, the nearest that fulfil it are among them
    few       else the keys of the rows that fulfil it, up to the number measured exactly
    near      what the graph finds, with its distances as they are; with a filter, beyond the few
    found     whether it found enough; sets back what was set
    measured  the distances of `near`, or else of `few`, or else of every row (see `exact.py`)

Parts that are not called for are skipped by conditions on one row, which PostgreSQL looks at before
it scans anything. `found` reads all of `near` before anything else does, so what `effort` sets
holds for this scan alone.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement

from datastore.backends.postgresql.exact import (
    choice,
    chooses_first,
    exact_nearest,
    measured_first,
    vectors,
)
from datastore.backends.postgresql.fallback import uses_pgvector
from datastore.backends.postgresql.hnsw import (
    DIGITS,
    MARK,
    MOST_DIMENSIONS,
    OPERATORS,
    expression,
    literal,
    name_prefix,
    space_prefix,
)
from datastore.elements import Nearest, best

#: Candidates for each hit, and how long the graph's list is at least: with pgvector's default of
#: 40, one in ten of the nearest was missed on 30,000 vectors.
OVERSAMPLE, LEAST_EF_SEARCH = 4, 100
#: The longest list (README of pgvector 0.8, "HNSW", hnsw.ef_search).
MOST_EF_SEARCH = 1000
#: A candidate of the graph costs about as much as so many rows that are simply measured.
COST = 16
#: The number of rows that a scan looks at before it gives up (pgvector's default), and how much of
#: `work_mem` it may take meanwhile.
MOST_SCANNED, MEMORY = 20_000, 4
#: A setting of ours that tells how many candidates there are to be. LIMIT reads it, since the
#: planner takes its value, which is nothing then, for an estimate: of a number that it cannot
#: know it expects a tenth of the table, for which no graph would be taken.
CANDIDATES = "datastore.candidates"

_SETTINGS = {
    "hnsw.iterative_scan": "'relaxed_order'",
    "hnsw.ef_search": f"CAST(least({MOST_EF_SEARCH}, coalesce(ef_search, "
    f"greatest({LEAST_EF_SEARCH}, candidates))) AS text)",
    "hnsw.max_scan_tuples": f"CAST(greatest({MOST_SCANNED}, 2 * candidates) AS text)",
    "hnsw.scan_mem_multiplier": f"'{MEMORY}'",
    CANDIDATES: "CAST(candidates AS text)",
}
_BEFORE = ", ".join(f"current_setting('{name}', true)" for name in _SETTINGS)
_SET = ", ".join(f"set_config('{name}', {value}, true)" for name, value in _SETTINGS.items())
_RESET = ", ".join(
    f"set_config('{name}', before[{n}], true)" for n, name in enumerate(_SETTINGS, 1)
)
_EFFORT = f"SELECT candidates, before, ARRAY[{_SET}] FROM nearest_graph"
_FOUND = f"""\
enough, ARRAY[{_RESET}]
  FROM (SELECT count(*) AS found FROM nearest_near) AS counted CROSS JOIN nearest_effort"""
#: With a filter, so many times the candidates are walked before anything else: where one in eight
#: rows fulfils it, they hold enough.
SPREAD = 2
_PASSED = """\
coalesce((SELECT count(*) >= (SELECT wanted FROM nearest_given) FROM nearest_passing), false)"""
_MANY = """\
(SELECT few > exact_rows
    FROM nearest_counted CROSS JOIN nearest_graph CROSS JOIN nearest_effort)"""
_ENOUGH = "coalesce((SELECT enough FROM nearest_found), false)"
_ARE_FEW = """\
coalesce((SELECT few <= exact_rows FROM nearest_counted CROSS JOIN nearest_graph), false)"""
_WANTED = f"coalesce(CAST(nullif(current_setting('{CANDIDATES}', true), '') AS bigint), 40)"


def nearest(element: Nearest, compiler: Any, **kw: Any) -> str:
    """Render the search; exactly where it is wanted, or where no graph can be named."""
    is_native = uses_pgvector(compiler.dialect)
    if element.exact or not is_native or not _may_have_graph(element):
        return exact_nearest(element, compiler, **kw)
    kw.pop("from_linter", None)
    kw.pop("asfrom", None)

    def process(part: Any) -> str:
        return str(compiler.process(part, **kw))

    filtered, found = "", "SELECT found >= candidates AS "
    if element.is_filtered:
        filtered = f"""\
), nearest_walked AS MATERIALIZED (
  {process(_walked(element, compiler))}
), nearest_passing AS MATERIALIZED (
  {process(_passing(element))}
), nearest_few AS MATERIALIZED (
  {process(_few(element))}
), nearest_counted AS MATERIALIZED (
  SELECT count(*) AS few FROM nearest_few
"""
        found = f"SELECT {_PASSED} OR found >= candidates AS "
    chosen = ""
    if chooses_first(element):
        chosen = f", {choice(element, compiler, _if(f'NOT {_ENOUGH}'), **kw)}"
    return f"""\
(WITH nearest_given AS MATERIALIZED (
  SELECT CAST({process(element.query)} AS vector({element.dimensions})) AS vector,
    CAST({process(element.limit)} AS bigint) AS wanted,
    coalesce(CAST({process(element.oversample)} AS bigint), {OVERSAMPLE}) AS oversample,
    CAST({process(element.ef_search)} AS bigint) AS ef_search
), nearest_graph AS MATERIALIZED (
  {_graph(element, compiler, process)}
), nearest_effort AS MATERIALIZED (
  {_EFFORT}
{filtered}), nearest_near AS MATERIALIZED (
  {process(_near(element, compiler))}
), nearest_found AS MATERIALIZED (
  {found}{_FOUND}
){chosen}, nearest_measured AS (
  {process(_measured(element))}
)
{process(_best(element))})"""


def _may_have_graph(element: Nearest) -> bool:
    if element.dimensions is None or element.dimensions > MOST_DIMENSIONS:
        return False
    # The model must stand in the statement as a constant: only then a partial index is found.
    return element.index.model is None or (
        isinstance(element.model, sa.BindParameter) and element.model.literal_execute
    )


def _graph(element: Nearest, compiler: Any, process: Any) -> str:
    """Select the graph by its name, where it is finished and larger than what is asked of it."""
    index, dimensions = element.index, element.dimensions or 0
    prefix = _escaped(name_prefix(index.definition), compiler)
    space = literal(space_prefix(element.metric, dimensions))
    model = "" if index.model is None else f" || {process(element.model)}"
    table = compiler.preparer.format_table(index.table).replace("'", "''")
    return f"""\
SELECT * FROM (
    SELECT wanted * greatest(oversample, 1) AS candidates, ef_search, i.reltuples,
      CAST(substring(obj_description(i.oid, 'pg_class') FROM '^{MARK}([0-9]{{1,18}})$')
        AS bigint) AS exact_rows, ARRAY[{_BEFORE}] AS before
    FROM pg_catalog.pg_index AS x
    JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid CROSS JOIN nearest_given
    WHERE x.indrelid = '{table}'::regclass AND x.indisvalid AND wanted > 0
      AND i.relname = CAST({prefix} || left(encode(sha256(convert_to(
        {space}{model}, 'UTF8')), 'hex'), {DIGITS}) AS name)
  ) AS named WHERE exact_rows IS NOT NULL AND candidates * {COST} <= reltuples"""


def _escaped(text: str, compiler: Any) -> str:
    """Return a string constant, its percent signs as the driver wants them."""
    doubled = "%%" in compiler.preparer.quote_identifier("%")
    return literal(text).replace("%", "%%") if doubled else literal(text)


def _few(element: Nearest) -> sa.Select[*tuple[Any, ...]]:
    """Select the keys of rows that may be hits, up to one more than are measured exactly."""
    return (
        sa.select(element.index.key.label("key"))
        .select_from(element.rows())
        .where(element.eligible(), _if("(SELECT true FROM nearest_graph)"), _if(f"NOT {_PASSED}"))
        .limit(sa.literal_column("(SELECT exact_rows + 1 FROM nearest_graph)"))
        .correlate(None)
    )


def _near(element: Nearest, compiler: Any) -> sa.Select[*tuple[Any, ...]]:
    """Select what the graph finds among the rows that fulfil the filter."""
    rows = element.scan().order_by(_order(element, compiler))
    nearby = rows.limit(sa.literal_column(_WANTED)).subquery("nearby")
    gate = _MANY if element.is_filtered else "(SELECT true FROM nearest_effort)"
    return sa.select(nearby).where(_if(gate)).correlate(None)


def _walked(element: Nearest, compiler: Any) -> sa.Select[*tuple[Any, ...]]:
    """Select what the graph finds among all rows of the model."""
    count: ColumnElement[int] = sa.literal_column(f"{SPREAD} * {_WANTED}")
    rows = vectors(element).order_by(_order(element, compiler))
    nearby = rows.limit(count).subquery("nearby")
    return sa.select(nearby).where(_if("(SELECT true FROM nearest_effort)")).correlate(None)


def _passing(element: Nearest) -> sa.Select[*tuple[Any, ...]]:
    """Select those of the rows walked that fulfil the filter."""
    index = element.index
    walked = sa.table("nearest_walked", sa.column("key"), sa.column("distance"))
    return (
        sa.select(walked.c.key, index.public_id.label("id"), walked.c.distance)
        .select_from(walked.join(index.target, index.key == walked.c.key))
        .where(element.condition)
        .correlate(None)
    )


def _order(element: Nearest, compiler: Any) -> ColumnElement[float]:
    """Return the order of the graph: equal to its expression, or the planner takes no index."""
    index, dimensions, preparer = element.index, element.dimensions or 0, compiler.preparer
    column = f"{preparer.format_table(index.table)}.{preparer.quote(index.column.name)}"
    # literal_column() doubles percent signs, which the preparer has done already.
    vectors = (column.replace("%%", "%"), "(SELECT vector FROM nearest_given)")
    left, right = (expression(vector, element.metric, dimensions) for vector in vectors)
    return sa.literal_column(f"{left} {OPERATORS[element.metric]} {right}", sa.Double())


def _measured(element: Nearest) -> sa.CompoundSelect[*tuple[Any, ...]]:
    """Select key, id and distance of the candidates or else of every row that may be a hit."""
    near = sa.table("nearest_near", sa.column("key"), sa.column("id"), sa.column("distance"))
    parts = [sa.select(near).where(_if(_ENOUGH))]
    if chooses_first(element):
        return sa.union_all(*parts, *measured_first(element))
    everything = element.scan().where(_if(f"NOT {_ENOUGH}"))
    if element.is_filtered:
        passing = sa.table(
            "nearest_passing", sa.column("key"), sa.column("id"), sa.column("distance")
        )
        parts.append(sa.select(passing).where(_if(_ENOUGH), _if(_PASSED)))
        few = sa.table("nearest_few", sa.column("key"))
        listed = element.index.key.in_(sa.select(few.c.key))
        parts.append(everything.where(_if(_ARE_FEW), listed))
        everything = everything.where(_if(f"NOT {_ARE_FEW}"))
    return sa.union_all(*parts, everything)


def _best(element: Nearest) -> sa.Select[*tuple[Any, ...]]:
    rows = sa.table("nearest_measured", sa.column("key"), sa.column("id"), sa.column("distance"))
    rows.c.id.type = element.index.public_id.type
    approximate = _if(_ENOUGH).label("approximate")
    return best(rows, "distance", element).add_columns(approximate).correlate(None)


def _if(condition: str) -> ColumnElement[bool]:
    return sa.literal_column(condition, sa.Boolean())
