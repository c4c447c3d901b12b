"""The keys and indexes of a table of a SQLite file, from its pragmas and the text of statements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy.engine import Connection

from datastore.backends.sqlite.beside import rows
from datastore.backends.sqlite.created import Created
from datastore.inspection import FoundForeignKey, FoundIndex, FoundKey, FoundPart
from datastore.sqltokens import Token, closing, tokens


def key_columns(connection: Connection, table: str) -> tuple[str, ...]:
    """Return the columns of the primary key."""
    sql = "SELECT name FROM pragma_table_xinfo(?) WHERE pk ORDER BY pk"
    return tuple(name for (name,) in rows(connection, sql, table))


class Keys:
    """The keys and indexes of one table."""

    def __init__(self, connection: Connection, table: str, created: Created) -> None:
        self._connection, self._table, self._created = connection, table, created

    def _rows(self, sql: str, *parameters: Any) -> Sequence[Any]:
        return rows(self._connection, sql, *parameters)

    def primary(self) -> FoundKey | None:
        """Return the primary key."""
        columns = key_columns(self._connection, self._table)
        return FoundKey(columns, ignores_case=self._ignoring("pk", columns)) if columns else None

    def is_rowid(self) -> bool:
        """Tell whether the primary key has no index of its own, as the rowid alone has none."""
        return not any(origin == "pk" for _, origin, _ in self._index_list())

    def unique(self) -> Iterator[FoundKey]:
        """Yield the unique keys."""
        names = {
            tuple(column.lower() for column in columns): name
            for columns, name in self._created.unique_names.items()
        }
        for index, origin, _ in self._index_list():
            if origin == "u":
                columns = tuple(part[0] for part in self._parts(index))
                name = names.get(tuple(column.lower() for column in columns))
                yield FoundKey(columns, name, self._ignoring("u", columns))

    def _index_list(self) -> Sequence[Any]:
        sql = 'SELECT name, origin, "unique" FROM pragma_index_list(?) ORDER BY seq DESC'
        return self._rows(sql, self._table)

    def _parts(self, index: str) -> Sequence[Any]:
        return self._rows(
            'SELECT name, "desc", upper(coll) FROM pragma_index_xinfo(?) WHERE key ORDER BY seqno',
            index,
        )

    def _ignoring(self, origin: str, columns: tuple[str, ...]) -> frozenset[str]:
        """Return the columns of a key whose index holds upper and lower case for the same."""
        for name, found, _ in self._index_list():
            parts = self._parts(name)
            if found == origin and tuple(part[0] for part in parts) == columns:
                return frozenset(part[0] for part in parts if part[2] == "NOCASE")
        return frozenset()

    def foreign(self) -> Iterator[FoundForeignKey]:
        """Yield the foreign keys, in the order of the text."""
        found = self._rows(
            'SELECT id, "table", "from", "to", on_update, on_delete '
            "FROM pragma_foreign_key_list(?) ORDER BY id DESC, seq",
            self._table,
        )
        for order, number in enumerate(dict.fromkeys(row[0] for row in found)):
            pairs = [row for row in found if row[0] == number]
            yield self._foreign_key(pairs, order)

    def _foreign_key(self, pairs: Sequence[Any], order: int) -> FoundForeignKey:
        _, parent, _, to, on_update, on_delete = pairs[0]
        written = self._created.foreign_keys
        name, options = written[order] if order < len(written) else (None, {})
        parent = self._as_spelled(parent)
        spelled = {column.lower(): column for column in self._names_of(parent)}
        named = tuple(str(spelled.get(row[3].lower(), row[3])) for row in pairs if to)
        actions = {"ondelete": on_delete, "onupdate": on_update}
        given = {key: action for key, action in actions.items() if action != "NO ACTION"}
        return FoundForeignKey(
            tuple(row[2] for row in pairs),
            parent,
            named or key_columns(self._connection, parent),
            name,
            {**options, **given},
        )

    def _as_spelled(self, table: str) -> str:
        sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND lower(name) = lower(?)"
        found = self._rows(sql, table)
        return str(found[0][0]) if found else table

    def _names_of(self, table: str) -> tuple[str, ...]:
        return tuple(
            name for (name,) in self._rows("SELECT name FROM pragma_table_xinfo(?)", table)
        )

    def indexes(self) -> Iterator[FoundIndex]:
        """Yield the indexes that were created by statements of their own."""
        for name, origin, unique in self._index_list():
            if origin != "c":
                continue
            sql = "SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?"
            texts, where = _read_index(self._rows(sql, name)[0][0])
            parts = [
                FoundPart(
                    column,
                    None if column is not None else text,
                    bool(descending),
                    collation == "NOCASE",
                )
                for (column, descending, collation), text in zip(
                    self._parts(name), texts, strict=True
                )
            ]
            yield FoundIndex(name, tuple(parts), bool(unique), where)


def _read_index(sql: str) -> tuple[list[str], str | None]:
    """Return the texts of an index's parts, and the condition of a partial one."""
    found = list(tokens(sql))
    opening = next(place for place, token in enumerate(found) if token("("))
    end = closing(found, opening)
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in found[opening + 1 : end]:
        depth += token("(") - token(")")
        if depth == 0 and token(","):
            parts.append([])
        else:
            parts[-1].append(token)
    where = found[end + 1 :]
    return [_without_order(sql, part) for part in parts], sql[where[0].end :] if where else None


def _without_order(sql: str, part: Sequence[Token]) -> str:
    words = list(part)
    if words and words[-1]("ASC", "DESC"):
        words.pop()
    if len(words) > 1 and words[-2]("COLLATE"):
        del words[-2:]
    return sql[words[0].at : words[-1].end] if words else ""
