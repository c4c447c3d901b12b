"""Alembic operations for search indexes, and their place in autogenerate.

A revision says what it wants in neutral words:

    from datastore import operations

    def upgrade():
        operations.create_full_text_index("notes_by_words", "notes", ["body"], key="id")

They are plain functions rather than methods of `alembic.op`, so that type checkers know them and
nothing of Alembic's is changed by importing this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from functools import cache
from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import UpgradeOps
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority, PriorityDispatchResult

from datastore.backends import backend_class
from datastore.backends.base import SearchObjects
from datastore.ddl import EnableVectors, SearchDDL, create_element, drop_element
from datastore.definitions import (
    DEFAULT_LANGUAGES,
    FullTextIndexDefinition,
    IndexDefinition,
    Metric,
    VectorIndexDefinition,
)
from datastore.errors import MigrationError
from datastore.schema import search_indexes
from datastore.textquery import Tokenizer

#: The names to list in `autogenerate_plugins` of a host's own `env.py`.
PLUGINS = ("alembic.autogenerate.*", "datastore.search_indexes")


class SearchOperation(MigrateOperation):
    """Base: something done to one search index."""

    def __init__(self, definition: IndexDefinition) -> None:
        self.definition = definition

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Say what `alembic check` found."""
        return (type(self).__name__, self.definition)


class CreateIndexOperation(SearchOperation):
    """CREATE of the index that its definition describes."""

    def reverse(self) -> MigrateOperation:
        """Return what the downgrade does."""
        return DropIndexOperation(self.definition)


class DropIndexOperation(SearchOperation):
    """DROP of the index that its definition describes."""

    def reverse(self) -> MigrateOperation:
        """Return what the downgrade does."""
        return CreateIndexOperation(self.definition)


class EnableVectorsOperation(MigrateOperation):
    """Make the vector type known; nothing to undo, since others may use it."""

    def reverse(self) -> MigrateOperation:
        """Return what the downgrade does: make sure of it again, harmlessly."""
        return self

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Say what `alembic check` found."""
        return ("EnableVectorsOperation",)


def enable_vectors() -> None:
    """Make the vector type known to the database, before the first table that uses it."""
    op.invoke(EnableVectorsOperation())


def create_vector_index(
    name: str,
    table: str,
    column: str,
    *,
    key: str,
    metric: Metric = "cosine",
    dimensions: int | None = None,
    model: str | None = None,
    schema: str | None = None,
) -> None:
    """Create a vector index.

    `key` is the integer column that names the row found: the primary key, or the reference to it
    where vectors stand in a table of their own; `dimensions` as in the type of the column; `model`
    the column that names a vector's model, if there is one.
    """
    definition = VectorIndexDefinition(name, table, schema, column, key, metric, dimensions, model)
    op.invoke(CreateIndexOperation(definition))


def drop_vector_index(
    name: str,
    table: str,
    column: str,
    *,
    key: str,
    metric: Metric = "cosine",
    dimensions: int | None = None,
    model: str | None = None,
    schema: str | None = None,
) -> None:
    """Drop a vector index, described as it was created."""
    definition = VectorIndexDefinition(name, table, schema, column, key, metric, dimensions, model)
    op.invoke(DropIndexOperation(definition))


def create_full_text_index(
    name: str,
    table: str,
    columns: Sequence[str],
    *,
    key: str,
    weights: Sequence[float] | None = None,
    language: str | None = None,
    tokenizer: Tokenizer = "words",
    schema: str | None = None,
) -> None:
    """Create a full-text index; `key` is the integer primary key, `weights` go with `columns`."""
    definition = _full_text(name, table, columns, key, weights, language, tokenizer, schema)
    op.invoke(CreateIndexOperation(definition))


def drop_full_text_index(
    name: str,
    table: str,
    columns: Sequence[str],
    *,
    key: str,
    weights: Sequence[float] | None = None,
    language: str | None = None,
    tokenizer: Tokenizer = "words",
    schema: str | None = None,
) -> None:
    """Drop a full-text index, described as it was created."""
    definition = _full_text(name, table, columns, key, weights, language, tokenizer, schema)
    op.invoke(DropIndexOperation(definition))


def _full_text(
    name: str,
    table: str,
    columns: Sequence[str],
    key: str,
    weights: Sequence[float] | None,
    language: str | None,
    tokenizer: Tokenizer,
    schema: str | None,
) -> FullTextIndexDefinition:
    numbers = tuple(weights or [1.0] * len(columns))
    language = language or DEFAULT_LANGUAGES[tokenizer]
    return FullTextIndexDefinition(
        name, table, schema, key, tuple(columns), numbers, language, tokenizer
    )


def execute_for(**statements: str | None) -> None:
    """Run the SQL text given for the dialect at hand; None means that it needs nothing.

    Raises `MigrationError` where the dialect is not among them, rather than do nothing.
    """
    dialect = op.get_context().dialect.name
    if dialect not in statements:
        raise MigrationError(
            f"this revision has statements for {', '.join(statements)}, and none for {dialect}"
        )
    statement = statements[dialect]
    if statement is not None:
        op.execute(sa.DDL(statement.replace("%", "%%")))  # type: ignore[no-untyped-call]


@Operations.implementation_for(EnableVectorsOperation)
def _run_enable(operations: Operations, operation: EnableVectorsOperation) -> None:
    _execute(operations, EnableVectors())


@Operations.implementation_for(CreateIndexOperation)
def _run_create(operations: Operations, operation: CreateIndexOperation) -> None:
    _execute(operations, create_element(operation.definition))


@Operations.implementation_for(DropIndexOperation)
def _run_drop(operations: Operations, operation: DropIndexOperation) -> None:
    _execute(operations, drop_element(operation.definition))


def _execute(operations: Operations, element: SearchDDL) -> None:
    for statement in element.statements(operations.get_context().dialect):
        operations.execute(statement)


@renderers.dispatch_for(EnableVectorsOperation)
def _render_enable(context: AutogenContext, operation: EnableVectorsOperation) -> str:
    context.imports.add("from datastore import operations")
    return "operations.enable_vectors()"


@renderers.dispatch_for(CreateIndexOperation)
def _render_create(context: AutogenContext, operation: CreateIndexOperation) -> str:
    return _render(context, "create", operation.definition)


@renderers.dispatch_for(DropIndexOperation)
def _render_drop(context: AutogenContext, operation: DropIndexOperation) -> str:
    return _render(context, "drop", operation.definition)


def _render(context: AutogenContext, verb: str, definition: IndexDefinition) -> str:
    context.imports.add("from datastore import operations")
    values = {field.name: getattr(definition, field.name) for field in fields(definition)}
    leading = [values.pop(name) for name in ("name", "table")]
    leading.append(values.pop("column") if "column" in values else list(values.pop("columns")))
    arguments = [repr(value) for value in leading]
    arguments += [f"{name}={value!r}" for name, value in values.items() if value is not None]
    return f"operations.{verb}_{definition.kind}_index({', '.join(arguments)})"


def render_item(kind: str, item: Any, context: AutogenContext) -> str | bool:
    """Render types that are not SQLAlchemy's with their import; for `render_item` of `env.py`."""
    module = type(item).__module__
    if kind != "type" or module.startswith("sqlalchemy."):
        return False
    context.imports.add(f"import {module}")
    return f"{module}.{item!r}"


def include_name_for(
    connection: sa.Connection, metadata: sa.MetaData
) -> Callable[[str | None, str, Any], bool]:
    """Return the `include_name` of `env.py`: of the tables of `metadata`, what is declared.

    Tables of others in the same database are theirs, and the generated columns, indexes and shadow
    tables that search indexes consist of belong to those.
    """
    objects = backend_class(connection.dialect.name)().search_objects(connection)
    schemas = {table.schema for table in metadata.tables.values()}

    def include_name(name: str | None, kind: str, parents: Any) -> bool:
        if kind == "schema":
            return name in schemas
        if kind == "table":
            return parents.get("schema_qualified_table_name", name) in metadata.tables
        part = (parents.get("table_name"), name)
        return part not in (objects.columns if kind == "column" else objects.indexes)

    return include_name


@cache
def install() -> None:
    """Make the comparator known to Alembic; `env.py` calls it, and may call it again."""
    Plugin(PLUGINS[1]).add_autogenerate_comparator(
        _compare, "schema", "search_indexes", priority=DispatchPriority.LAST
    )


def autogenerate_options(connection: sa.Connection, metadata: sa.MetaData) -> dict[str, Any]:
    """Return what a host's own `env.py` adds to `context.configure()`.

    With it autogenerate knows search indexes and portable types, and looks at the tables of
    `metadata` alone: those of this library, in the same database, have a history of their own.
    """
    install()
    backend_class(connection.dialect.name)().learn(connection)
    return {
        "include_name": include_name_for(connection, metadata),
        "include_schemas": any(table.schema for table in metadata.tables.values()),
        "render_item": render_item,
        "autogenerate_plugins": list(PLUGINS),
    }


def _compare(
    context: AutogenContext, upgrade_ops: UpgradeOps, schemas: Any
) -> PriorityDispatchResult:
    connection = context.connection
    if connection is None:
        return PriorityDispatchResult.CONTINUE
    objects = backend_class(connection.dialect.name)().search_objects(connection)
    declared = _declared(context.metadata)
    created = _to_create(objects, declared)
    first: list[MigrateOperation] = [
        DropIndexOperation(d) for d in _to_drop(context, objects, declared)
    ]
    if any(isinstance(definition, VectorIndexDefinition) for definition in created):
        first.insert(0, EnableVectorsOperation())
    # Created behind the tables' own operations: a table that is moved loses its triggers by it.
    upgrade_ops.ops = [*first, *upgrade_ops.ops, *map(CreateIndexOperation, created)]
    return PriorityDispatchResult.CONTINUE


def _to_drop(
    context: AutogenContext, objects: SearchObjects, declared: Sequence[IndexDefinition]
) -> list[IndexDefinition]:
    present = [d for d in objects.definitions if d not in declared or d.name in objects.damaged]
    # An index that lost all its marks is known by the name of what is left of it.
    lost = [d for d in declared if d not in objects.definitions and d.name in objects.tables]
    return [
        definition
        for definition in [*present, *(d for d in lost if d.name not in _names(present))]
        if context.run_name_filters(definition.table, "table", {"schema_name": None})
    ]


def _to_create(
    objects: SearchObjects, declared: Sequence[IndexDefinition]
) -> list[IndexDefinition]:
    return [d for d in declared if d not in objects.definitions or d.name in objects.damaged]


def _names(definitions: Iterable[IndexDefinition]) -> set[str]:
    return {definition.name for definition in definitions}


def _declared(metadata: Any) -> list[IndexDefinition]:
    several = metadata if isinstance(metadata, list | tuple) else [metadata]
    return [index.definition for one in several if one is not None for index in search_indexes(one)]
