"""How a search index on PostgreSQL is doing."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from datastore.backends.base import IndexStatistics
from datastore.backends.postgresql.hnsw import name_prefix
from datastore.definitions import IndexDefinition, VectorIndexDefinition

# What a full-text index consists of bears its name; graphs of vectors are known by their method. A
# partial graph holds the rows of its own model, of which the statistics have the last count.
_STATISTICS = sa.text("""\
SELECT coalesce(sum(pg_relation_size(i.oid)), 0) AS size,
  greatest(0, max(t.reltuples) - coalesce(sum(i.reltuples) FILTER (WHERE a.amname = 'hnsw'), 0))
    AS uncoded, pg_stat_get_dead_tuples(t.oid) AS dead
FROM pg_class AS t LEFT JOIN (pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid
  JOIN pg_am AS a ON a.oid = i.relam) ON x.indrelid = t.oid
  AND CASE WHEN CAST(:vectors AS boolean) THEN a.amname = 'hnsw' AND x.indisvalid
      AND starts_with(i.relname::text, CAST(:name AS text))
    ELSE i.relname::text IN (CAST(:name AS text), CAST(:name AS text) || '_length') END
WHERE t.oid = to_regclass(:table) GROUP BY t.oid""")


def index_statistics(connection: Connection, definition: IndexDefinition) -> IndexStatistics:
    """Add up the sizes of its indexes, and estimate the rows that none of its graphs holds."""
    quote = connection.dialect.identifier_preparer.quote
    schema = f"{quote(definition.schema)}." if definition.schema else ""
    vectors, name = False, definition.name
    if isinstance(definition, VectorIndexDefinition):
        vectors, name = True, name_prefix(definition)
    row = connection.execute(
        _STATISTICS,
        {
            "vectors": vectors,
            "name": name,
            "table": schema + quote(definition.table),
        },
    ).first()
    if row is None:
        return IndexStatistics()
    uncoded = int(row.uncoded) if vectors else 0
    return IndexStatistics(size=int(row.size), uncoded=uncoded, dead=int(row.dead))
