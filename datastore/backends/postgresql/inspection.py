"""The tables of a PostgreSQL database, whoever made them, from its catalog."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.types import TypeEngine

from datastore.backends.base import SearchObjects
from datastore.backends.postgresql import catalog
from datastore.backends.postgresql.catalog_types import CatalogType, portable, rounds, unlike
from datastore.backends.postgresql.held import as_held
from datastore.inspection import (
    FoundCheck,
    FoundColumn,
    FoundDatabase,
    FoundForeignKey,
    FoundIndex,
    FoundKey,
    FoundPart,
    FoundTable,
    Note,
    Numbering,
)
from datastore.sqltokens import tokens
from datastore.types import JSONDocument, Text

_NEXT_NUMBER = re.compile(r"nextval\('(?:[^']|'')+'::regclass\)")
_ACTIONS = {"c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT", "r": "RESTRICT"}


def inspect(connection: Connection, hidden: SearchObjects) -> FoundDatabase:
    """Find the tables of the default schema; `hidden` things belong to search indexes of ours."""
    return _Inspection(connection, hidden).result()


class _Inspection:
    def __init__(self, connection: Connection, hidden: SearchObjects) -> None:
        self._connection = connection
        self._hidden = hidden
        self.notes: list[Note] = []
        self.obstacles: list[str] = []
        self._constraints = self._by_table(catalog.CONSTRAINTS)
        self._parts = self._by_table(catalog.INDEX_PARTS)
        self._column_rows = self._by_table(catalog.COLUMNS)

    def _rows(self, statement: sa.TextClause, **parameters: Any) -> Sequence[Any]:
        return self._connection.execute(statement, parameters).all()

    def _by_table(self, statement: sa.TextClause) -> dict[int, list[Any]]:
        grouped: dict[int, list[Any]] = defaultdict(list)
        for row in self._rows(statement):
            grouped[row.table].append(row)
        return grouped

    def result(self) -> FoundDatabase:
        """Look at everything."""
        tables, views = [], []
        if self._connection.execute(sa.select(sa.func.current_schema())).scalar() is None:
            self.obstacles.append(
                "no schema of the search path is there and open to this role: name one by "
                "?options=-csearch_path%3DNAME in the URL"
            )
        for row in self._rows(catalog.RELATIONS):
            if row.name in self._hidden.tables:
                self.notes.append(Note("it belongs to a search index and was left out", row.name))
            elif row.kind in ("v", "m"):
                views.append(row.name)
            elif row.kind == "f":
                self.notes.append(Note("a foreign table was left out", row.name))
            else:
                self._check(row)
                tables.append(self._table(row))
        for row in self._rows(catalog.OTHERS):
            self.notes.append(Note(f"the {row.what} {row.name} was left out", row.of))
        for row in self._rows(catalog.SCHEMAS):
            self.notes.append(
                Note(f"the schema {row.name} was left out, with {row.tables:,} tables")
            )
        return FoundDatabase(tuple(tables), tuple(views), tuple(self.notes), tuple(self.obstacles))

    def _check(self, row: Any) -> None:
        if row.hides_rows:
            self.obstacles.append(
                f"table {row.name}: policies hide rows of it from this role; use one with "
                "BYPASSRLS, or the owner"
            )
        if row.has_heirs:
            self.obstacles.append(
                f"table {row.name}: other tables inherit from it, and their rows are among its own"
            )

    def _table(self, row: Any) -> FoundTable:
        columns, checks = self._columns(row)
        self._note_table(row)
        self._note_meanings(row)
        keys = [each for each in self._constraints[row.oid] if each.sort in "pu"]
        primary = [self._key(each) for each in keys if each.sort == "p"]
        for each in self._constraints[row.oid]:
            if each.sort == "x":
                self.notes.append(
                    Note(f"the exclusion constraint {each.name} was left out", row.name)
                )
        return FoundTable(
            row.name,
            tuple(columns),
            primary[0] if primary else None,
            tuple(self._key(each) for each in keys if each.sort == "u"),
            tuple(self._foreign_keys(row)),
            (*checks, *self._checks(row)),
            tuple(self._indexes(row)),
        )

    def _note_table(self, table: Any) -> None:
        if table.kind == "p":
            message = "it is partitioned; in the copy it is one table, without what its partitions"
            self.notes.append(Note(f"{message} have of their own", table.name))
        if table.is_unlogged:
            self.notes.append(Note("it is UNLOGGED; in the copy it is not", table.name))
        if table.has_comments:
            self.notes.append(Note("comments were left out", table.name))

    def _note_meanings(self, table: Any) -> None:
        """Note the keys that let in more in the copy than they did."""
        for row in self._constraints[table.oid]:
            if row.is_full:
                message = f"the foreign key {row.name} lets in rows of which a part is NULL"
                self.notes.append(Note(f"{message} (MATCH SIMPLE)", table.name))
            if row.of_periods and row.sort in "pu":
                message = f"the key {row.name} lets in periods that overlap (WITHOUT OVERLAPS)"
                self.notes.append(Note(message, table.name))
        found = (*self._constraints[table.oid], *self._parts[table.oid])
        for name in sorted({row.name for row in found if row.nulls_alike}):
            message = f"the unique key {name} lets in several NULLs"
            self.notes.append(Note(f"{message} (NULLS DISTINCT)", table.name))

    def _key(self, row: Any) -> FoundKey:
        options: dict[str, Any] = {}
        if row.deferrable:
            options = {"deferrable": True, "initially": "DEFERRED" if row.deferred else None}
        return FoundKey(tuple(row.columns), row.name, options=options)

    def _foreign_keys(self, table: Any) -> Iterator[FoundForeignKey]:
        for row in self._constraints[table.oid]:
            if row.sort != "f":
                continue
            if reason := _why_left_out(row):
                message = f"the foreign key {row.name} {reason}was left out"
                self.notes.append(Note(message, table.name))
                continue
            if row.sets_some:
                message = f"the foreign key {row.name} sets some of its columns when a row that it "
                message += "refers to is deleted; in the copy such a row cannot be"
                self.notes.append(Note(message, table.name))
            yield FoundForeignKey(
                tuple(row.columns),
                row.parent,
                tuple(row.parent_columns),
                row.name,
                _key_options(row),
            )

    def _checks(self, table: Any) -> Iterator[FoundCheck]:
        for row in self._constraints[table.oid]:
            if row.sort != "c":
                continue
            if row.holds:
                yield FoundCheck(row.expression, row.name)
            else:
                message = f"the check {row.name}, which not all rows may pass, was left out"
                self.notes.append(Note(message, table.name))

    def _columns(self, table: Any) -> tuple[list[FoundColumn], list[FoundCheck]]:
        columns: list[FoundColumn] = []
        checks: list[FoundCheck] = []
        for row in self._column_rows[table.oid]:
            if (table.name, row.name) in self._hidden.columns:
                continue
            self._note_column(table, row)
            checks += _checks_of(row)
            columns.append(self._column(table, row))
        return columns, checks

    def _column(self, table: Any, row: Any) -> FoundColumn:
        type_ = self._type(table, row)
        numbering = self._numbering(table, row)
        return FoundColumn(
            row.name,
            type_,
            not row.not_null or row.has_nulls,
            None if row.generated or numbering else row.default or row.domain_default,
            row.default if row.generated else None,
            row.generated != "v",
            numbering,
            # citext; a nondeterministic collation may mean anything
            ignores_case=row.base == "citext",
            unlike=unlike(row, type_),
            unordered=bool(row.labels),
            rounds=rounds(row),
        )

    def _note_column(self, table: Any, row: Any) -> None:
        if row.nondeterministic:
            message = "it is compared by a collation that holds different texts for the same"
            self.notes.append(Note(message, table.name, row.name))
        if row.has_nulls:
            message = "NOT NULL, which not all rows may keep to, was left out"
            self.notes.append(Note(message, table.name, row.name))

    def _type(self, table: Any, row: Any) -> TypeEngine[Any]:
        if row.element:
            element = CatalogType(row.element, row.element, row.sort, row.modifier)
            type_, note = portable(element)
            # Documents in an array arrive as texts, which are documents too.
            if note is not None or row.own or isinstance(type_, JSONDocument):
                type_, note = Text(), f"{row.written} becomes text, as PostgreSQL writes it"
            else:
                type_ = sa.ARRAY(sa.Text() if isinstance(type_, Text) else type_)
        else:
            own = row.own and row.base != "vector"
            found = CatalogType(row.base, row.written, row.sort, row.modifier, own)
            type_, note = portable(found)
        type_, note = as_held(self._connection, table.name, row, type_, note)
        if row.is_domain:
            self.notes.append(
                Note(f"the domain {row.written} becomes what it is made of", table.name, row.name)
            )
        if note is not None:
            self.notes.append(Note(note, table.name, row.name))
        return type_

    def _numbering(self, table: Any, row: Any) -> Numbering | None:
        if row.increment is None or not (row.identity or _is_serial(row)):
            return None
        if row.is_shared:
            message = "it takes its numbers from a sequence that others take theirs from too"
            message += "; in the copy it has its own"
            self.notes.append(Note(message, table.name, row.name))
        if row.increment != 1:
            message = f"its numbers grow by {row.increment}; in the copy by 1"
            self.notes.append(Note(message, table.name, row.name))
        if row.identity == "a":
            message = "it is GENERATED ALWAYS; the copy takes given numbers too (BY DEFAULT)"
            self.notes.append(Note(message, table.name, row.name))
        return Numbering(row.last_number)

    def _indexes(self, table: Any) -> Iterator[FoundIndex]:
        without_case = {row.name for row in self._column_rows[table.oid] if row.base == "citext"}
        indexes: dict[str, list[Any]] = defaultdict(list)
        for part in self._parts[table.oid]:
            indexes[part.name].append(part)
        for name, parts in indexes.items():
            first = parts[0]
            if (table.name, name) in self._hidden.indexes:
                continue
            if first.method not in ("btree", "hash"):
                self.notes.append(
                    Note(f"the index {name} ({first.method}) was left out", table.name)
                )
                continue
            yield _index(parts, without_case)


def _checks_of(row: Any) -> Iterator[FoundCheck]:
    """Yield what enumerations and domains let in, as checks of the column."""
    if row.labels:
        labels = ", ".join("'" + label.replace("'", "''") + "'" for label in row.labels)
        yield FoundCheck(f"{_quoted(row.name)} IN ({labels})")
    for text in row.domain_checks or ():
        yield FoundCheck(_of_column(text, row.name))


def _is_serial(row: Any) -> bool:
    """Tell whether the default of a column is the next number and nothing else."""
    plain = row.default is not None and _NEXT_NUMBER.fullmatch(row.default)
    return bool(plain) and row.not_null and row.base in ("int2", "int4", "int8")


def _why_left_out(row: Any) -> str:
    """Return what is to be said of a foreign key that cannot be kept."""
    if row.elsewhere:
        return "to another schema "
    if row.of_periods:
        return "over periods "
    return "" if row.holds else "that not all rows may keep to "


def _key_options(row: Any) -> dict[str, Any]:
    """Return the options of SQLAlchemy's foreign key."""
    actions = {"onupdate": row.on_update, "ondelete": "" if row.sets_some else row.on_delete}
    options: dict[str, Any] = {
        name: _ACTIONS[action] for name, action in actions.items() if action in _ACTIONS
    }
    if row.deferrable:
        options["deferrable"] = True
    if row.deferred:
        options["initially"] = "DEFERRED"
    return options


def _index(parts: Sequence[Any], without_case: Collection[str] = ()) -> FoundIndex:
    first = parts[0]
    found = (
        FoundPart(
            part.column,
            None if part.column else part.expression,
            part.descending,
            part.column in without_case,
        )
        for part in parts
    )
    return FoundIndex(first.name, tuple(found), first.is_unique, first.predicate)


def found_indexes(connection: Connection) -> dict[str, list[FoundIndex]]:
    """Return the indexes of each table, without those of its keys."""
    grouped: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for part in connection.execute(catalog.INDEX_PARTS):
        grouped[part.of, part.name].append(part)
    found: dict[str, list[FoundIndex]] = defaultdict(list)
    for (table, _), parts in grouped.items():
        found[table].append(_index(parts))
    return found


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _of_column(text: str, column: str) -> str:
    """Return the check of a domain as one of a column."""
    parts, at = [], 0
    for token in tokens(text, brackets=False):
        if token("VALUE"):
            parts += [text[at : token.at], _quoted(column)]
            at = token.end
    return "".join([*parts, text[at:]])
