"""The tables of a SQLite file, whoever made it: from the pragmas, the text of the statements, and
one scan of what each table holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy.engine import Connection

from datastore.backends.sqlite.beside import (
    foreign_collations,
    left_out,
    rows,
    trigger_notes,
    virtual_tables,
)
from datastore.backends.sqlite.connection import lend_collations
from datastore.backends.sqlite.created import Created, read_created
from datastore.backends.sqlite.declared import read_declared
from datastore.backends.sqlite.held import decide
from datastore.backends.sqlite.keys import Keys
from datastore.backends.sqlite.survey import null_keys, survey
from datastore.inspection import (
    FoundColumn,
    FoundDatabase,
    FoundIndex,
    FoundKey,
    FoundTable,
    Note,
    Numbering,
)

#: What `PRAGMA table_xinfo` says of generated columns.
_VIRTUAL, _STORED = 2, 3


def inspect(connection: Connection, hidden: frozenset[str]) -> FoundDatabase:
    """Find tables and what is beside them; `hidden` ones belong to search indexes of ours."""
    lend_collations(connection, foreign_collations(connection))
    reasons = left_out(connection, hidden)
    tables = [_Table(connection, name, sql) for name, sql in _tables(connection)]
    found = [table.result() for table in tables if table.name not in reasons]
    views = rows(connection, "SELECT name FROM sqlite_schema WHERE type = 'view' ORDER BY name")
    names = [table.name for table in tables if table.name in reasons]
    return FoundDatabase(
        tuple(found),
        tuple(name for (name,) in views),
        (
            *(Note(reasons[name], name) for name in names),
            *(note for table in tables for note in table.notes),
            *trigger_notes(connection),
        ),
        tuple(obstacle for table in tables for obstacle in table.obstacles),
    )


def found_indexes(connection: Connection) -> dict[str, list[FoundIndex]]:
    """Return the indexes of each table that were created by statements of their own."""
    virtual = virtual_tables(connection)
    return {
        name: list(Keys(connection, name, read_created(sql)).indexes())
        for name, sql in _tables(connection)
        if name not in virtual
    }


def _tables(connection: Connection) -> Iterator[tuple[str, str]]:
    found = rows(
        connection,
        "SELECT name, sql FROM sqlite_schema WHERE type = 'table' "
        "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    )
    for name, sql in found:
        yield name, sql or ""


class _Table:
    """Looks at one table, and notes what is not in a copy."""

    def __init__(self, connection: Connection, name: str, sql: str) -> None:
        self._connection, self.name = connection, name
        self._created: Created = read_created(sql)
        self._keys = Keys(connection, name, self._created)
        self.notes: list[Note] = []
        self.obstacles: list[str] = []

    def result(self) -> FoundTable:
        strict, rowid = self._kind()
        key = self._keys.primary()
        if key is not None and rowid:
            self._check_key(key)
        columns = list(self._columns())
        if key is not None and len(key.columns) == 1 and rowid and self._keys.is_rowid():
            columns = [self._numbered(c) if c.name == key.columns[0] else c for c in columns]
        for action in self._created.conflicts:
            if action not in ("ABORT", "FAIL", "ROLLBACK"):
                self._note(f"ON CONFLICT {action} was left out: a row that violates a key fails")
        if strict:
            self._note("it is STRICT; here the types of its columns say as much")
        return FoundTable(
            self.name,
            tuple(columns),
            key,
            tuple(self._keys.unique()),
            tuple(self._keys.foreign()),
            tuple(self._created.checks),
            tuple(self._keys.indexes()),
            {} if rowid else {"sqlite_with_rowid": False},
        )

    def _note(self, text: str, column: str | None = None) -> None:
        self.notes.append(Note(text, self.name, column))

    def _kind(self) -> tuple[bool, bool]:
        """Tell whether the table is STRICT, and whether it has a rowid."""
        sql = "SELECT strict, wr FROM pragma_table_list WHERE schema = 'main' AND name = ?"
        ((strict, without_rowid),) = rows(self._connection, sql, self.name)
        return bool(strict), not without_rowid

    def _check_key(self, key: FoundKey) -> None:
        nulls = null_keys(self._connection, self.name, key.columns)
        if nulls:
            self.obstacles.append(
                f"table {self.name}: {nulls:,} rows have NULL in their primary key "
                f"({', '.join(key.columns)}), which SQLite lets in and a key cannot be"
            )

    def _columns(self) -> Iterator[FoundColumn]:
        found = rows(
            self._connection,
            'SELECT name, type, "notnull", dflt_value, hidden FROM pragma_table_xinfo(?) '
            "ORDER BY cid",
            self.name,
        )
        declared = {row[0]: read_declared(row[1] or "") for row in found}
        surveys = survey(self._connection, self.name, list(declared.items()))
        generated = {name.lower(): text for name, text in self._created.generated.items()}
        for name, _, not_null, default, hidden in found:
            held = decide(declared[name], surveys[name])
            collation = self._collation(name)
            for text in held.notes:
                self._note(text, name)
            yield FoundColumn(
                name,
                held.type,
                not not_null,
                default,
                generated.get(name.lower(), "") if hidden in (_VIRTUAL, _STORED) else None,
                hidden == _STORED,
                ignores_case=collation == "NOCASE",
                unlike="" if collation == "BINARY" else f"it compares by the collation {collation}",
            )

    def _collation(self, column: str) -> str:
        collations = {name.lower(): what for name, what in self._created.collations.items()}
        collation = collations.get(column.lower(), "BINARY")
        if collation == "NOCASE":
            self._note(
                "it is compared without regard to the case of ASCII letters (COLLATE NOCASE); in "
                "the copy case counts, except in unique keys",
                column,
            )
        elif collation != "BINARY":
            self._note(
                f"it is compared by the collation {collation}; in the copy by code point", column
            )
        return collation

    def _numbered(self, column: FoundColumn) -> FoundColumn:
        """Say of the column that is the rowid that SQLite numbers it."""
        last = None
        if self._created.autoincrement:
            sql = "SELECT seq FROM sqlite_sequence WHERE name = ?"
            kept = rows(self._connection, sql, self.name)
            last = kept[0][0] if kept else None
        numbering = Numbering(last, once=self._created.autoincrement)
        return replace(column, numbering=numbering, nullable=False)
