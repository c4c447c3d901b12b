"""Tables that stood in the target before: what they have otherwise than a copy would make them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.types import NullType, TypeEngine

from datastore.errors import TransferError
from datastore.inspection import Note
from datastore.transfer.plan import TableTransfer
from datastore.types import Vector


def refuse_generated(
    connection: Connection, given: Mapping[str, Sequence[sa.Column[Any]]], *, identities: bool
) -> None:
    """Raise `TransferError` for a column whose values the target makes, and takes none for.

    `given` has the columns that are written, by their table as it is called for people. Without
    `identities`, a column that is numbered always is none: it can be made to take numbers.
    """
    inspector = sa.inspect(connection)
    for name, columns in given.items():
        table = columns[0].table
        found = _columns(inspector, table.name, table.schema)
        for column in columns:
            if reason := _why_generated(found.get(column.name, {}), identities):
                raise TransferError(
                    f"table {name}, column {column.name}: {reason}, so that the target takes no "
                    "values for it: change the column, or the table, first",
                    table=name,
                )


def _why_generated(found: Mapping[str, Any], identities: bool) -> str:
    if "computed" in found:
        return "it is generated from other columns there"
    if identities and found.get("identity", {}).get("always"):
        return "it is GENERATED ALWAYS AS IDENTITY there (BY DEFAULT would do)"
    return ""


def differences(
    connection: Connection, tables: Sequence[TableTransfer], *, types: bool
) -> Iterator[Note]:
    """Yield a note for what tables that are there have in another way; `types` also of types."""
    inspector = sa.inspect(connection)
    there = set(inspector.get_table_names())
    for table in (each.target for each in tables):
        name = str(table.name)
        if name in there:
            for column, text in _differences(inspector, table, connection.dialect, types):
                yield Note(f"the target has the table already, and {text}", name, column)


def _differences(
    inspector: sa.Inspector, table: sa.Table, dialect: Dialect, types: bool
) -> Iterator[tuple[str | None, str]]:
    found = _columns(inspector, str(table.name))
    for column in table.columns:
        if column.name not in found:
            continue
        there = found[column.name]
        if types:
            yield from _types(column, there["type"], dialect)
        if there["nullable"] != column.nullable and not column.primary_key:
            text = "with NOT NULL" if column.nullable else "without NOT NULL"
            yield column.name, f"the column {text}"
    primary = inspector.get_pk_constraint(str(table.name))["constrained_columns"]
    if primary != [column.name for column in table.primary_key]:
        yield None, f"with the primary key ({', '.join(primary)})" if primary else "with no key"
    unique = _unique_keys(inspector, str(table.name))
    for wanted in sorted(_wanted_keys(table)):
        if frozenset(wanted) not in unique:
            yield None, f"without a unique key over {', '.join(wanted)}"


def _columns(
    inspector: sa.Inspector, table: str, schema: str | None = None
) -> dict[str, Mapping[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", exc.SAWarning)  # of types that SQLAlchemy does not know
        return {column["name"]: column for column in inspector.get_columns(table, schema)}


def _types(
    column: sa.Column[Any], found: TypeEngine[Any], dialect: Dialect
) -> Iterator[tuple[str, str]]:
    wanted = _text(column.type, dialect)
    if isinstance(column.type, Vector) and isinstance(found, NullType):
        return  # of an extension, which SQLAlchemy does not know
    if (there := _text(found, dialect)) != wanted:
        yield column.name, f"the column as {there} instead of {wanted}"


def _text(type_: TypeEngine[Any], dialect: Dialect) -> str:
    try:
        return type_.compile(dialect).partition(" COLLATE ")[0].lower()
    except exc.CompileError:
        return "another type"


def _wanted_keys(table: sa.Table) -> Iterator[tuple[str, ...]]:
    for constraint in table.constraints:
        if isinstance(constraint, sa.UniqueConstraint):
            yield tuple(column.name for column in constraint.columns)


def _unique_keys(inspector: sa.Inspector, table: str) -> set[frozenset[str | None]]:
    """Return the columns of unique keys, and of unique indexes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", exc.SAWarning)  # of indexes over expressions
        found = inspector.get_indexes(table)
        constraints = [key["column_names"] for key in inspector.get_unique_constraints(table)]
    indexes = [index["column_names"] for index in found if index["unique"]]
    return {frozenset(columns) for keys in (constraints, indexes) for columns in keys}
