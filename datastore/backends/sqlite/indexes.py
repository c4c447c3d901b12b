"""What stands behind the search indexes on SQLite, and how it is found again.

A full-text index is an FTS5 table over the content of its table, kept up to date by three triggers.
A vector index is two triggers that let in nothing but vectors, and a log of the rows that changed,
written by three more and trimmed by a fourth. Each trigger carries the fingerprint of its index in
a comment, which `sqlite_master` keeps word for word.
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
    VectorIndexDefinition,
    from_fingerprint,
)
from datastore.folding import NEW_SYMBOLS, code_points
from datastore.types import MAX_DIMENSIONS

# The last first: FTS5 keeps them sorted, and need not search for the place of each.
_SYMBOLS = "".join(map(chr, reversed(code_points(NEW_SYMBOLS))))
#: What `datastore.folding` describes.
_WORDS = f"unicode61 remove_diacritics 2 categories ''L* Nd Nl'' separators ''{_SYMBOLS}''"
#: By tokenizer and language. Stemming by Porter's algorithm for English; words are folded by case
#: and accents, substrings by case.
_TOKENIZERS = {
    ("words", "english"): f"porter {_WORDS}",
    ("words", "simple"): _WORDS,
    ("trigram", "simple"): "trigram",
}
_FULL_TEXT_TRIGGERS = ("insert", "delete", "update")
_DOOR_TRIGGERS = ("insert", "update")
_LOG_TRIGGERS = ("logs_insert", "logs_delete", "logs_update", "trims_log")
#: The log keeps so many changes at least; who lags further behind reads all vectors anew.
LOG_LENGTH, LOG_TRIMMED_EVERY = 65_536, 1024
#: The planner takes a table of one or two rows for one that is best scanned, however it grows.
_LOG_SEEDS = 64
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
    names = _triggers(definition, _DOOR_TRIGGERS, quote)
    events = ("INSERT", f"UPDATE OF {quote(definition.column)}")
    doors = (
        f"CREATE TRIGGER {name} BEFORE {happening} {body}"
        for name, happening in zip(names, events, strict=True)
    )
    return Script(*doors, *_log(definition, quote))


def _log(definition: VectorIndexDefinition, quote: Any) -> Iterator[str]:
    """Yield what makes the log: the table, its first rows, and the triggers that write and trim it.

    Its numbers begin at random, so that another log of the same name is never taken for this one.
    """
    log, key = quote(log_table(definition)), quote(definition.key)
    yield f"CREATE TABLE {log} (seq INTEGER PRIMARY KEY, key INTEGER)"
    yield (
        f"INSERT INTO {log} WITH RECURSIVE seeds(number, seq) AS "
        f"(SELECT 1, abs(random() % {2**40}) UNION ALL "
        f"SELECT number + 1, seq + 1 FROM seeds WHERE number < {_LOG_SEEDS}) "
        "SELECT seq, NULL FROM seeds"
    )
    add = f"INSERT INTO {log}(key) VALUES"
    columns = [definition.key, definition.column, *filter(None, [definition.model])]
    events = ("INSERT", "DELETE", f"UPDATE OF {', '.join(map(quote, columns))}")
    bodies = (
        f"{add} (new.{key});",
        f"{add} (old.{key});",
        f"{add} (new.{key}); INSERT INTO {log}(key) SELECT old.{key} "
        f"WHERE old.{key} IS NOT new.{key};",
    )
    *names, trim = _triggers(definition, _LOG_TRIGGERS, quote)
    for name, happening, body in zip(names, events, bodies, strict=True):
        yield (
            f"CREATE TRIGGER {name} AFTER {happening} ON {_table(definition, quote)} "
            f"FOR EACH ROW BEGIN {_comment(definition)} {body} END"
        )
    yield (
        f"CREATE TRIGGER {trim} AFTER INSERT ON {log} WHEN new.seq % {LOG_TRIMMED_EVERY} = 0 "
        f"BEGIN {_comment(definition)} DELETE FROM {log} WHERE seq <= new.seq - {LOG_LENGTH}; END"
    )


@compiles(DropVectorIndex, "sqlite")
def _drop_vector_index(element: DropVectorIndex, compiler: Any, **_: Any) -> Script:
    quote = compiler.preparer.quote
    names = _triggers(element.definition, (*_DOOR_TRIGGERS, *_LOG_TRIGGERS), quote)
    drops = (f"DROP TRIGGER IF EXISTS {name}" for name in names)
    return Script(*drops, f"DROP TABLE IF EXISTS {quote(log_table(element.definition))}")


@compiles(CreateFullTextIndex, "sqlite")
def _create_full_text_index(element: CreateFullTextIndex, compiler: Any, **_: Any) -> Script:
    definition, quote = element.definition, compiler.preparer.quote
    index, table, key = quote(definition.name), _table(definition, quote), quote(definition.key)
    columns = ", ".join(map(quote, definition.columns))
    tokenizer = _TOKENIZERS[definition.tokenizer, definition.language]
    virtual = (
        f"CREATE VIRTUAL TABLE {index} USING fts5({columns}, content='{_text(definition.table)}', "
        f"content_rowid='{_text(definition.key)}', tokenize='{tokenizer}')"
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


def log_table(definition: VectorIndexDefinition) -> str:
    """Return the name of the table that logs which rows have changed."""
    return f"{definition.name}_log"


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
    logs = {log_table(d) for d in found if isinstance(d, VectorIndexDefinition)}
    tables = _virtual_tables(connection) | _present(logs, connection)
    damaged = tuple(d.name for d, triggers in found.items() if not _whole(d, triggers, tables))
    return SearchObjects(tuple(found), damaged, tables)


def _fingerprinted(rows: Any) -> Iterator[tuple[str, IndexDefinition]]:
    for name, sql in rows:
        mark = _COMMENT.search(sql)
        definition = from_fingerprint(mark[1]) if mark else None
        if definition is not None:  # else it is somebody else's comment
            yield name, definition


def _whole(definition: IndexDefinition, triggers: set[str], tables: frozenset[str]) -> bool:
    events: tuple[str, ...] = _FULL_TEXT_TRIGGERS
    table = definition.name
    if isinstance(definition, VectorIndexDefinition):
        events, table = (*_DOOR_TRIGGERS, *_LOG_TRIGGERS), log_table(definition)
    return triggers == {f"{definition.name}_{event}" for event in events} and table in tables


def _present(names: set[str], connection: Connection) -> frozenset[str]:
    return frozenset(names.intersection(sa.inspect(connection).get_table_names()))


def _virtual_tables(connection: Connection) -> frozenset[str]:
    # Every virtual table with the shadow tables behind it, ours or not: none of them is data.
    kinds = connection.exec_driver_sql(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('virtual', 'shadow')"
    )
    return frozenset(kinds.scalars())


def vector_spaces(
    connection: Connection, definition: VectorIndexDefinition
) -> list[tuple[str | None, int, int]]:
    """Return model (None without a column for it), dimensions and rows of each vector space."""
    table = sa.table(definition.table)
    column: sa.ColumnElement[Any] = sa.column(definition.column)
    model: sa.ColumnElement[Any] = sa.null()
    if definition.model is not None:
        model = sa.column(definition.model)
    dimensions = sa.func.length(column) // 4
    spaces = (
        sa.select(model, dimensions, sa.func.count())
        .select_from(table)
        .where(column.is_not(None))
        .group_by(model, dimensions)
    )
    return [(name, length, rows) for name, length, rows in connection.execute(spaces)]


def full_text_size(connection: Connection, definition: IndexDefinition) -> int:
    """Return the bytes of a full-text index, those of the text itself aside."""
    data = connection.dialect.identifier_preparer.quote(f"{definition.name}_data")
    size = connection.exec_driver_sql(f"SELECT coalesce(sum(length(block)), 0) FROM {data}")
    return int(size.scalar_one())


def logged(connection: Connection, definition: VectorIndexDefinition, since: int) -> int:
    """Count the changes in the log of a vector index after a number of it."""
    log = connection.dialect.identifier_preparer.quote(log_table(definition))
    counted = f"SELECT count(*) FROM {log} WHERE seq > ? AND key IS NOT NULL"
    return int(connection.exec_driver_sql(counted, (since,)).scalar_one())
