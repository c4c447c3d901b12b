"""The way from arrays to pgvector's type, once the server has it."""

from __future__ import annotations

import logging
from typing import Any

import sqlalchemy as sa
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import exc
from sqlalchemy.engine import Connection

from datastore.backends.postgresql.fallback import (
    ARRAY_TYPE,
    DISABLE,
    VectorSupport,
    set_uses_pgvector,
)
from datastore.backends.postgresql.indexes import search_objects
from datastore.ddl import CreateVectorIndex, DropVectorIndex, EnableVectors, execute
from datastore.definitions import VectorIndexDefinition
from datastore.errors import CapabilityError

logger = logging.getLogger("datastore")

# Those of partitions follow their parents.
_COLUMNS = sa.text(f"""\
SELECT n.nspname AS schema, t.relname AS table, a.attname AS column,
  pg_table_is_visible(t.oid) AS visible
FROM pg_attribute AS a JOIN pg_class AS t ON t.oid = a.attrelid
JOIN pg_namespace AS n ON n.oid = t.relnamespace
WHERE a.atttypid = '{ARRAY_TYPE}'::regtype AND t.relkind IN ('r', 'p') AND NOT a.attisdropped
  AND a.attinhcount = 0
ORDER BY t.oid, a.attnum""")


def convert(connection: Connection, support: VectorSupport) -> None:
    """Convert every column of the domain, and the checks of vector indexes, if pgvector is there.

    Within the caller's transaction. Without the right to create extensions all stays as it is.
    """
    if not (support.installed or support.available):
        return
    if not _enabled(connection):
        logger.warning("the vectors stay arrays: this role may not create the extension vector")
        return
    definitions = _vector_indexes(connection)
    for definition in definitions:
        execute(DropVectorIndex(definition), connection)
    for column in connection.execute(_COLUMNS).all():
        _convert_column(connection, column, definitions)
    for statement in DISABLE:
        connection.exec_driver_sql(statement)
    for definition in definitions:
        execute(CreateVectorIndex(definition), connection)


def _enabled(connection: Connection) -> bool:
    """Create the extension; from here on SQL is for pgvector."""
    set_uses_pgvector(connection.dialect, True)
    try:
        with connection.begin_nested():
            execute(EnableVectors(), connection)
    except (CapabilityError, exc.DBAPIError) as error:
        set_uses_pgvector(connection.dialect, False)
        cause = error.orig if isinstance(error, exc.DBAPIError) else error.__cause__
        if not isinstance(cause, InsufficientPrivilege):
            raise
        return False
    return True


def _vector_indexes(connection: Connection) -> list[VectorIndexDefinition]:
    found = search_objects(connection).definitions
    return [each for each in found if isinstance(each, VectorIndexDefinition)]


def _convert_column(
    connection: Connection, column: Any, definitions: list[VectorIndexDefinition]
) -> None:
    quote = connection.dialect.identifier_preparer.quote
    lengths = {each.dimensions for each in definitions if _is_over(each, column)}
    length = lengths.pop() if len(lengths) == 1 else None
    type_ = "vector" if length is None else f"vector({length})"
    table, name = f"{quote(column.schema)}.{quote(column.table)}", quote(column.column)
    connection.exec_driver_sql(
        f"ALTER TABLE {table} ALTER COLUMN {name} TYPE {type_} USING {name}::real[]::{type_}"
    )


def _is_over(definition: VectorIndexDefinition, column: Any) -> bool:
    schema = column.visible if definition.schema is None else definition.schema == column.schema
    return bool(schema) and (definition.table, definition.column) == (column.table, column.column)
