"""Tables made fast to load: what is kept up to date row by row is made anew at the end.

Building an index over all rows, and checking a foreign key by one join, take a fraction of the time
that each row alone would. Unique indexes stay: they say which row is there twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

# Indexes behind no constraint, of tables that this role may change. HNSW graphs are not made
# again: they belong to `optimize()`, which knows which are worth it.
_INDEXES = sa.text("""\
SELECT i.oid::regclass::text AS name, pg_get_indexdef(i.oid) AS definition,
  obj_description(i.oid, 'pg_class') AS comment, a.amname = 'hnsw' AS graph
FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid JOIN pg_am AS a ON a.oid = i.relam
JOIN pg_class AS t ON t.oid = x.indrelid
WHERE x.indrelid = ANY (CAST(:tables AS text[])::regclass[]) AND NOT x.indisunique
  AND x.indisvalid AND i.relkind = 'i' AND NOT i.relispartition AND pg_has_role(t.relowner, 'USAGE')
ORDER BY i.oid""")
_FOREIGN_KEYS = sa.text("""\
SELECT c.conrelid::regclass::text AS table, quote_ident(c.conname) AS name,
  pg_get_constraintdef(c.oid) AS definition, obj_description(c.oid, 'pg_constraint') AS comment
FROM pg_constraint AS c JOIN pg_class AS t ON t.oid = c.conrelid
WHERE c.conrelid = ANY (CAST(:tables AS text[])::regclass[]) AND c.contype = 'f'
  AND c.conparentid = 0 AND pg_has_role(t.relowner, 'USAGE')
ORDER BY c.oid""")
_ALWAYS = sa.text("""\
SELECT t.oid::regclass::text AS table, quote_ident(a.attname) AS column
FROM pg_attribute AS a JOIN pg_class AS t ON t.oid = a.attrelid
WHERE a.attrelid = ANY (CAST(:tables AS text[])::regclass[]) AND a.attidentity = 'a'
  AND NOT a.attisdropped AND pg_has_role(t.relowner, 'USAGE')
ORDER BY t.oid""")
_SEQUENCES = sa.text("""\
SELECT a.attname AS column, s.seqrelid::regclass::text AS sequence,
  greatest(s.seqmin, pg_sequence_last_value(s.seqrelid) + 1) AS lowest, s.seqmax AS highest
FROM pg_attribute AS a
JOIN pg_sequence AS s ON s.seqrelid = pg_get_serial_sequence(:table, a.attname)::regclass
WHERE a.attrelid = to_regclass(:table) AND a.attnum > 0 AND NOT a.attisdropped""")


@contextmanager
def without_indexes(connection: Connection, tables: Sequence[sa.Table]) -> Iterator[None]:
    """Drop indexes and foreign keys of `tables`, and make them again unless the body fails."""
    names = {"tables": [_name(table, connection) for table in tables]}
    indexes = connection.execute(_INDEXES, names).all()
    foreign_keys = connection.execute(_FOREIGN_KEYS, names).all()
    for key in foreign_keys:
        _run(connection, f"ALTER TABLE {key.table} DROP CONSTRAINT {key.name}")
    for index in indexes:
        _run(connection, f"DROP INDEX {index.name}")
    yield
    for index in indexes:
        _create(connection, index)
    for key in foreign_keys:
        _run(connection, f"ALTER TABLE {key.table} ADD CONSTRAINT {key.name} {key.definition}")
        _comment(connection, f"CONSTRAINT {key.name} ON {key.table}", key.comment)


@contextmanager
def taking_numbers(connection: Connection, tables: Sequence[sa.Table]) -> Iterator[None]:
    """Let columns that are GENERATED ALWAYS AS IDENTITY take the numbers of rows meanwhile."""
    names = {"tables": [_name(table, connection) for table in tables]}
    found = connection.execute(_ALWAYS, names).all()
    alter = "ALTER TABLE {0.table} ALTER COLUMN {0.column} SET GENERATED {1}"
    for column in found:
        _run(connection, alter.format(column, "BY DEFAULT"))
    yield
    for column in found:
        _run(connection, alter.format(column, "ALWAYS"))


def _create(connection: Connection, index: Any) -> None:
    if index.graph:
        return
    _run(connection, index.definition)
    _comment(connection, f"INDEX {index.name}", index.comment)


def _comment(connection: Connection, what: str, comment: str | None) -> None:
    if comment is not None:
        quoted = comment.replace("'", "''")
        _run(connection, f"COMMENT ON {what} IS '{quoted}'")


def reset_sequences(
    connection: Connection, tables: Sequence[sa.Table], reached: Mapping[tuple[str, str], int]
) -> None:
    """Set the sequence behind each column of `tables` to the largest that ever stood there.

    No number is given out again, and none that a sequence cannot reach is asked of it.
    """
    for table in tables:
        found = connection.execute(_SEQUENCES, {"table": _name(table, connection)}).all()
        columns = {column.name: column for column in table.columns}
        for column, sequence, lowest, highest in found:
            there = sa.select(sa.func.max(columns[column])).scalar_subquery()
            given = sa.cast(reached.get((str(table.name), column)), sa.BigInteger())
            largest = sa.func.greatest(there, given)  # NULL where there was none
            connection.execute(
                sa.select(sa.func.setval(sa.cast(sequence, sa.Text()), largest)).where(
                    largest.between(lowest, highest)
                )
            )


def _run(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement.replace("%", "%%"))


def _name(table: sa.Table, connection: Connection) -> str:
    # The preparer doubles percent signs for psycopg; here the name is a value.
    return connection.dialect.identifier_preparer.format_table(table).replace("%%", "%")
