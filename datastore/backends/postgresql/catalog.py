"""What is asked of PostgreSQL's catalog about the tables of the default schema.

What belongs to an extension is no table of the user's.
"""

from __future__ import annotations

import sqlalchemy as sa

_OF_EXTENSION = (
    "EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = '{catalog}'::regclass "
    "AND d.objid = {oid} AND d.deptype = 'e')"
)
_RELATION_OF_EXTENSION = _OF_EXTENSION.format(catalog="pg_class", oid="c.oid")
_HERE = "c.relnamespace = to_regnamespace(quote_ident(current_schema()))"
_TABLES = f"{_HERE} AND c.relkind IN ('r', 'p') AND NOT c.relispartition"

RELATIONS = sa.text(f"""\
SELECT c.oid::bigint AS oid, c.relname AS name, c.relkind AS kind,
  CASE WHEN c.relkind IN ('r', 'p') THEN row_security_active(c.oid) ELSE false END AS hides_rows,
  c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = c.oid) AS has_heirs,
  c.relpersistence = 'u' AS is_unlogged, EXISTS (
    SELECT FROM pg_description AS d WHERE d.classoid = 'pg_class'::regclass AND d.objoid = c.oid
  ) AS has_comments
FROM pg_class AS c
WHERE {_HERE} AND c.relkind IN ('r', 'p', 'f', 'v', 'm') AND NOT c.relispartition
  AND NOT {_RELATION_OF_EXTENSION}
ORDER BY c.relname""")

#: All that no other relation may be named as.
NAMES = sa.text(f"SELECT c.relname FROM pg_class AS c WHERE {_HERE}")

# The base of a domain of a domain is the innermost type, and the checks of all of them count.
COLUMNS = sa.text(f"""\
WITH RECURSIVE bases(oid, level, base, modifier) AS (
  SELECT t.oid, t.oid, t.typbasetype, t.typtypmod FROM pg_type AS t WHERE t.typtype = 'd'
  UNION ALL
  SELECT b.oid, t.oid, t.typbasetype, t.typtypmod
  FROM bases AS b JOIN pg_type AS t ON t.oid = b.base WHERE t.typtype = 'd'
), innermost AS (
  SELECT b.oid, b.base, b.modifier FROM bases AS b JOIN pg_type AS t ON t.oid = b.base
  WHERE t.typtype <> 'd'
)
SELECT a.attrelid::bigint AS table, a.attname AS name,
  format_type(a.atttypid, a.atttypmod) AS written,
  t.typname AS base, t.typtype AS sort, declared.typtype = 'd' AS is_domain,
  CASE WHEN declared.typtype = 'd' THEN i.modifier ELSE a.atttypmod END AS modifier,
  n.nspname <> 'pg_catalog' AS own,
  CASE WHEN t.typcategory = 'A' AND t.typelem <> 0 THEN e.typname END AS element,
  a.attnotnull OR EXISTS (
    SELECT FROM bases AS b JOIN pg_type AS d ON d.oid = b.level
    WHERE b.oid = declared.oid AND d.typnotnull
  ) AS not_null, EXISTS (
    SELECT FROM pg_constraint AS k WHERE k.conrelid = a.attrelid AND k.contype = 'n'
    AND k.conkey[1] = a.attnum AND NOT k.convalidated
  ) AS has_nulls, a.attidentity AS identity,
  a.attgenerated AS generated, pg_get_expr(f.adbin, f.adrelid) AS default,
  declared.typdefault AS domain_default,
  (SELECT array_agg(l.enumlabel::text ORDER BY l.enumsortorder) FROM pg_enum AS l
   WHERE l.enumtypid = t.oid) AS labels,
  (SELECT array_agg(pg_get_expr(k.conbin, 0) ORDER BY k.conname)
   FROM bases AS b JOIN pg_constraint AS k ON k.contypid = b.level
   WHERE b.oid = declared.oid AND k.contype = 'c' AND k.convalidated) AS domain_checks,
  NOT coalesce(o.collisdeterministic, true) AS nondeterministic,
  s.increment, s.last_number, s.columns > 1 AS is_shared
FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
JOIN pg_type AS declared ON declared.oid = a.atttypid
LEFT JOIN innermost AS i ON i.oid = declared.oid
JOIN pg_type AS t ON t.oid = coalesce(i.base, declared.oid)
JOIN pg_namespace AS n ON n.oid = t.typnamespace
LEFT JOIN pg_type AS e ON e.oid = t.typelem
LEFT JOIN pg_attrdef AS f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
LEFT JOIN pg_collation AS o ON o.oid = a.attcollation
LEFT JOIN LATERAL (
  SELECT q.seqincrement AS increment, pg_sequence_last_value(q.seqrelid) AS last_number,
    1 AS columns
  FROM pg_sequence AS q JOIN pg_depend AS d ON d.objid = q.seqrelid
  WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'i'
    AND d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
  UNION
  SELECT q.seqincrement, pg_sequence_last_value(q.seqrelid),
    (SELECT count(*) FROM pg_depend AS e WHERE e.classid = 'pg_attrdef'::regclass
     AND e.refclassid = 'pg_class'::regclass AND e.refobjid = q.seqrelid)
  FROM pg_sequence AS q JOIN pg_depend AS d ON d.refobjid = q.seqrelid
  WHERE d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
    AND d.refclassid = 'pg_class'::regclass
  LIMIT 1
) AS s ON true
WHERE {_TABLES} AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum""")

_NAMES = (
    "(SELECT array_agg(a.attname::text ORDER BY k.place) "
    "FROM unnest({numbers}) WITH ORDINALITY AS k(number, place) "
    "JOIN pg_attribute AS a ON a.attrelid = {table} AND a.attnum = k.number)"
)

CONSTRAINTS = sa.text(f"""\
SELECT x.conrelid::bigint AS table, x.conname AS name, x.contype AS sort,
  {_NAMES.format(numbers="x.conkey", table="x.conrelid")} AS columns,
  p.relname AS parent, p.relnamespace <> c.relnamespace AS elsewhere,
  {_NAMES.format(numbers="x.confkey", table="x.confrelid")} AS parent_columns,
  x.confupdtype AS on_update, x.confdeltype AS on_delete,
  x.condeferrable AS deferrable, x.condeferred AS deferred,
  pg_get_expr(x.conbin, x.conrelid) AS expression, x.confmatchtype = 'f' AS is_full,
  x.convalidated AND coalesce((to_jsonb(x) ->> 'conenforced')::boolean, true) AS holds,
  coalesce((to_jsonb(x) ->> 'conperiod')::boolean, false) AS of_periods,
  to_jsonb(x) ->> 'confdelsetcols' IS NOT NULL AS sets_some,
  (SELECT (to_jsonb(i) ->> 'indnullsnotdistinct')::boolean FROM pg_index AS i
   WHERE i.indexrelid = x.conindid AND x.contype = 'u') AS nulls_alike
FROM pg_constraint AS x JOIN pg_class AS c ON c.oid = x.conrelid
LEFT JOIN pg_class AS p ON p.oid = x.confrelid
WHERE {_TABLES} AND x.contype IN ('p', 'u', 'f', 'c', 'x') AND x.conparentid = 0
ORDER BY x.conrelid, x.conname""")

INDEX_PARTS = sa.text(f"""\
SELECT x.indrelid::bigint AS table, c.relname AS of, i.relname AS name, x.indisunique AS is_unique,
  m.amname AS method,
  CASE WHEN x.indkey[place - 1] <> 0 THEN a.attname END AS column,
  pg_get_indexdef(x.indexrelid, place, false) AS expression,
  (x.indoption[place - 1] & 1) = 1 AS descending, pg_get_expr(x.indpred, x.indrelid) AS predicate,
  (to_jsonb(x) ->> 'indnullsnotdistinct')::boolean AS nulls_alike
FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid JOIN pg_am AS m ON m.oid = i.relam
JOIN pg_class AS c ON c.oid = x.indrelid
CROSS JOIN LATERAL generate_series(1, x.indnkeyatts) AS place
LEFT JOIN pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[place - 1]
WHERE {_TABLES} AND NOT i.relispartition
  AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = x.indexrelid
                  AND k.contype IN ('p', 'u', 'x'))
ORDER BY x.indrelid, i.relname, place""")

#: What stands beside the tables.
OTHERS = sa.text(f"""\
SELECT what, name, "of" FROM (
  SELECT 1 AS place, 'trigger' AS what, g.tgname::text AS name, c.relname::text AS "of"
  FROM pg_trigger AS g JOIN pg_class AS c ON c.oid = g.tgrelid
  WHERE {_TABLES} AND NOT g.tgisinternal
  UNION ALL
  SELECT 2, 'policy', p.polname::text, c.relname::text
  FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid WHERE {_TABLES}
  UNION ALL
  SELECT 3, 'rule', r.rulename::text, c.relname::text
  FROM pg_rewrite AS r JOIN pg_class AS c ON c.oid = r.ev_class WHERE {_TABLES}
  UNION ALL
  SELECT 3, 'statistics object', e.stxname::text, c.relname::text
  FROM pg_statistic_ext AS e JOIN pg_class AS c ON c.oid = e.stxrelid WHERE {_TABLES}
  UNION ALL
  SELECT 4, 'sequence', c.relname::text, NULL FROM pg_class AS c
  WHERE {_HERE} AND c.relkind = 'S' AND NOT EXISTS (
    SELECT FROM pg_depend AS d WHERE (d.objid = c.oid AND d.deptype IN ('i', 'a', 'e'))
      OR (d.refobjid = c.oid AND d.classid = 'pg_attrdef'::regclass))
  UNION ALL
  SELECT 5, 'function', p.proname::text, NULL FROM pg_proc AS p
  WHERE p.pronamespace = to_regnamespace(quote_ident(current_schema()))
    AND NOT {_OF_EXTENSION.format(catalog="pg_proc", oid="p.oid")}
) AS others ORDER BY place, "of", name""")

SCHEMAS = sa.text(f"""\
SELECT n.nspname AS name, count(*) AS tables
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT ({_HERE}) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
  AND NOT {_RELATION_OF_EXTENSION}
GROUP BY n.nspname ORDER BY n.nspname""")
