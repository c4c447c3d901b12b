"""What stands behind the search indexes on SQLite, and how it is found again.

A full-text index is an FTS5 table over the content of its table, kept up to date by three triggers.
A vector index is two triggers that let in nothing but vectors. Each trigger carries the fingerprint
of its index in a comment, which `sqlite_master` keeps word for word.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.ext.compiler import compiles

from datastore.backends.base import SearchObjects
from datastore.ddl import (
    CreateFullTextIndex,
    CreateVectorIndex,
    DropFullTextIndex,
    DropVectorIndex,
    EnableVectors,
    Script,
)
from datastore.definitions import (
    FINGERPRINT,
    FullTextIndexDefinition,
    IndexDefinition,
    from_fingerprint,
)
from datastore.types import MAX_DIMENSIONS

#: Stemming by Porter's algorithm for English; every language folds case and accents.
_TOKENIZERS = {
    "english": "porter unicode61 remove_diacritics 2",
    "simple": "unicode61 remove_diacritics 2",
}
_FULL_TEXT_TRIGGERS = ("insert", "delete", "update")
_VECTOR_TRIGGERS = ("insert", "update")
_COMMENT = re.compile(r"/\* (" + FINGERPRINT + r"\{.*?\}) \*/", re.DOTALL)


@compiles(EnableVectors, "sqlite")
def _enable_vectors(element: EnableVectors, compiler: Any, **_: Any) -> Script:
    return Script()


@compiles(CreateVectorIndex, "sqlite")
def _create_vector_index(element: CreateVectorIndex, compiler: Any, **_: Any) -> Script:
    definition, quote = element.definition, compiler.preparer.quote
    column, table = f"new.{quote(definition.column)}", _table(definition, quote)
    wrong_size = f"NOT BETWEEN 4 AND {4 * MAX_DIMENSIONS}"
    if definition.dimensions is not None:
        wrong_size = f"<> {4 * definition.dimensions}"
    body = (
        f"ON {table} FOR EACH ROW WHEN {column} IS NOT NULL AND (typeof({column}) <> 'blob' "
        f"OR length({column}) {wrong_size} OR length({column}) % 4 <> 0 "
        f"OR {column} = zeroblob(length({column}))) "
        f"BEGIN {_comment(definition)} "
        f"SELECT RAISE(ABORT, '{_text(definition.name)}: expected a vector'); END"
    )
    names = _triggers(definition, _VECTOR_TRIGGERS, quote)
    events = ("INSERT", f"UPDATE OF {quote(definition.column)}")
    return Script(
        *(
            f"CREATE TRIGGER {name} BEFORE {happening} {body}"
            for name, happening in zip(names, events, strict=True)
        )
    )


@compiles(DropVectorIndex, "sqlite")
def _drop_vector_index(element: DropVectorIndex, compiler: Any, **_: Any) -> Script:
    quote = compiler.preparer.quote
    names = _triggers(element.definition, _VECTOR_TRIGGERS, quote)
    return Script(*(f"DROP TRIGGER IF EXISTS {name}" for name in names))


@compiles(CreateFullTextIndex, "sqlite")
def _create_full_text_index(element: CreateFullTextIndex, compiler: Any, **_: Any) -> Script:
    definition, quote = element.definition, compiler.preparer.quote
    index, table, key = quote(definition.name), _table(definition, quote), quote(definition.key)
    columns = ", ".join(map(quote, definition.columns))
    virtual = (
        f"CREATE VIRTUAL TABLE {index} USING fts5({columns}, content='{_text(definition.table)}', "
        f"content_rowid='{_text(definition.key)}', tokenize='{_TOKENIZERS[definition.language]}')"
    )
    # An update first takes the old words out: an external-content table cannot look them up later.
    fresh = f"new.{key}, {_row('new', definition, quote)}"
    add = f"INSERT INTO {index}(rowid, {columns}) VALUES ({fresh});"
    remove = (
        f"INSERT INTO {index}({index}, rowid, {columns}) "
        f"VALUES ('delete', old.{key}, {_row('old', definition, quote)});"
    )
    events = ("INSERT", "DELETE", f"UPDATE OF {key}, {columns}")
    bodies = (add, remove, f"{remove} {add}")
    names = _triggers(definition, _FULL_TEXT_TRIGGERS, quote)
    triggers = (
        f"CREATE TRIGGER {name} AFTER {happening} ON {table} FOR EACH ROW "
        f"BEGIN {_comment(definition)} {body} END"
        for name, happening, body in zip(names, events, bodies, strict=True)
    )
    return Script(virtual, *triggers, f"INSERT INTO {index}({index}) VALUES ('rebuild')")


@compiles(DropFullTextIndex, "sqlite")
def _drop_full_text_index(element: DropFullTextIndex, compiler: Any, **_: Any) -> Script:
    definition, quote = element.definition, compiler.preparer.quote
    names = _triggers(definition, _FULL_TEXT_TRIGGERS, quote)
    drops = (f"DROP TRIGGER IF EXISTS {name}" for name in names)
    return Script(*drops, f"DROP TABLE IF EXISTS {quote(definition.name)}")


def _row(prefix: str, definition: FullTextIndexDefinition, quote: Any) -> str:
    return ", ".join(f"{prefix}.{quote(column)}" for column in definition.columns)


def _table(definition: IndexDefinition, quote: Any) -> str:
    return str(quote(definition.table))


def _triggers(definition: IndexDefinition, events: tuple[str, ...], quote: Any) -> list[str]:
    return [quote(f"{definition.name}_{happening}") for happening in events]


def _text(value: str) -> str:
    return value.replace("'", "''")


def _comment(definition: IndexDefinition) -> str:
    # JSON may write a slash as \/, so no name can end the comment.
    fingerprint = definition.fingerprint().replace("*/", "*\\/")
    return f"/* {fingerprint} */"


def search_objects(connection: Connection) -> SearchObjects:
    """Read the search indexes of the main database from its schema."""
    rows = connection.execute(
        sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND sql LIKE :mark"),
        {"mark": f"%/* {FINGERPRINT}%"},
    ).all()
    found: dict[IndexDefinition, set[str]] = defaultdict(set)
    for name, definition in _fingerprinted(rows):
        found[definition].add(name)
    tables = _virtual_tables(connection)
    damaged = tuple(d.name for d, triggers in found.items() if not _whole(d, triggers, tables))
    return SearchObjects(tuple(found), damaged, tables)


def _fingerprinted(rows: Any) -> Iterator[tuple[str, IndexDefinition]]:
    for name, sql in rows:
        mark = _COMMENT.search(sql)
        definition = from_fingerprint(mark[1]) if mark else None
        if definition is not None:  # else it is somebody else's comment
            yield name, definition


def _whole(definition: IndexDefinition, triggers: set[str], tables: frozenset[str]) -> bool:
    full_text = isinstance(definition, FullTextIndexDefinition)
    events = _FULL_TEXT_TRIGGERS if full_text else _VECTOR_TRIGGERS
    expected = {f"{definition.name}_{happening}" for happening in events}
    return triggers == expected and (not full_text or definition.name in tables)


def _virtual_tables(connection: Connection) -> frozenset[str]:
    # Every virtual table with the shadow tables behind it, ours or not: none of them is data.
    kinds = connection.exec_driver_sql(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('virtual', 'shadow')"
    )
    return frozenset(kinds.scalars())
