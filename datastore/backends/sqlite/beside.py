"""What stands beside the tables of a SQLite file: virtual tables, triggers, collations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from sqlalchemy import exc
from sqlalchemy.engine import Connection

from datastore.definitions import FINGERPRINT
from datastore.inspection import Note
from datastore.sqltokens import tokens

#: The ends of the names of the tables behind a virtual table, by its module, which may not be there
#: to say which are its own. vec0 has some for each of its columns.
_FTS3 = "content|segments|segdir|docsize|stat"
_RTREE = "node|rowid|parent"
_SHADOWS = {
    "fts3": _FTS3,
    "fts4": _FTS3,
    "fts5": "data|idx|content|docsize|config",
    "rtree": _RTREE,
    "rtree_i32": _RTREE,
    "geopoly": _RTREE,
    "vec0": r"info|chunks|rowids|vector_chunks\d+|metadatachunks\d+|metadatatext\d+|auxiliary",
}


def rows(connection: Connection, sql: str, *parameters: Any) -> Sequence[Any]:
    """Return the rows of a query."""
    return connection.exec_driver_sql(sql, parameters).all()


def virtual_tables(connection: Connection) -> Mapping[str, str]:
    """Return the virtual tables, and the modules behind them."""
    found = {}
    for name, sql in rows(connection, "SELECT name, sql FROM sqlite_schema WHERE type = 'table'"):
        words = list(tokens(sql or ""))
        if len(words) > 1 and words[1]("VIRTUAL"):
            using = next(place for place, word in enumerate(words) if word("USING"))
            found[name] = words[using + 1].value
    return found


def left_out(connection: Connection, hidden: frozenset[str]) -> Mapping[str, str]:
    """Return the tables that hold no rows of their own, and why each is left out.

    `hidden` ones belong to search indexes of ours.
    """
    virtual = virtual_tables(connection)
    shadows = {
        name
        for (name,) in rows(connection, "SELECT name FROM pragma_table_list WHERE type = 'shadow'")
    }
    reasons = dict.fromkeys(hidden, "it belongs to a search index and was left out")
    behind = [_behind(name, module) for name, module in virtual.items()]
    for (name,) in rows(connection, "SELECT name FROM sqlite_schema WHERE type = 'table'"):
        if name in shadows or any(each.fullmatch(name) for each in behind):
            reasons[name] = "it belongs to a virtual table and was left out"
    return {
        **reasons,
        **{name: f"a virtual table ({module}) was left out" for name, module in virtual.items()},
    }


def _behind(name: str, module: str) -> re.Pattern[str]:
    """Return what the names of the tables behind a virtual table match."""
    return re.compile(f"{re.escape(name)}_(?:{_SHADOWS.get(module.lower(), '(?!)')})")


def trigger_notes(connection: Connection) -> Iterator[Note]:
    """Yield a note for each trigger that belongs to no search index of ours."""
    found = rows(
        connection,
        "SELECT name, tbl_name, sql FROM sqlite_schema WHERE type = 'trigger' ORDER BY name",
    )
    for name, table, sql in found:
        if FINGERPRINT not in sql:
            yield Note(f"the trigger {name} was left out", table)


def foreign_collations(connection: Connection) -> set[str]:
    """Return the collations that tables and indexes name and this connection does not know."""
    named = {
        word.value
        for (sql,) in rows(connection, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")
        for before, word in pairwise(tokens(sql))
        if before("COLLATE")
    }
    return {name for name in named if not _knows(connection, name)}


def _knows(connection: Connection, collation: str) -> bool:
    # `PRAGMA collation_list` also tells those that are named in the schema alone.
    quoted = connection.dialect.identifier_preparer.quote_identifier(collation)
    try:
        rows(connection, f"SELECT 'a' < 'b' COLLATE {quoted}")
    except exc.OperationalError:
        return False
    return True
