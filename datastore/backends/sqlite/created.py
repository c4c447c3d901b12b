"""What a CREATE TABLE says that no pragma tells: checks, collations, generated columns, names.

SQLite keeps the text of the statement, and rewrites it when a table is altered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from datastore.inspection import FoundCheck
from datastore.sqltokens import Token, closing, tokens

_TABLE_CONSTRAINTS = ("CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN")


@dataclass
class Created:
    """What was read, by the names of the columns where it is said of one."""

    checks: list[FoundCheck] = field(default_factory=list)
    collations: dict[str, str] = field(default_factory=dict)
    generated: dict[str, str] = field(default_factory=dict)
    #: The names of unique keys, by their columns.
    unique_names: dict[tuple[str, ...], str] = field(default_factory=dict)
    #: For each foreign key, in the order of the text, its name and whether it may be deferred.
    foreign_keys: list[tuple[str | None, dict[str, Any]]] = field(default_factory=list)
    autoincrement: bool = False
    #: What a violated key or NOT NULL does, other than to fail.
    conflicts: list[str] = field(default_factory=list)


def read_created(sql: str) -> Created:
    """Read the text of a CREATE TABLE."""
    created = Created()
    found = list(tokens(sql))
    opening = next((place for place, token in enumerate(found) if token("(")), None)
    if opening is not None:
        body = found[opening + 1 : closing(found, opening)]
        for definition in _definitions(body):
            _Definition(sql, definition, created).read()
    return created


def _definitions(body: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """Cut at the commas that are in no parentheses."""
    depth = begin = 0
    for place, token in enumerate(body):
        depth += token("(") - token(")")
        if depth == 0 and token(","):
            yield body[begin:place]
            begin = place + 1
    yield body[begin:]


class _Definition:
    """A column with its constraints, or constraints of the table (commas between are optional)."""

    def __init__(self, sql: str, definition: Sequence[Token], created: Created) -> None:
        self._sql, self._tokens, self._created = sql, definition, created
        of_column = bool(definition) and not definition[0](*_TABLE_CONSTRAINTS)
        self._column = definition[0].value if of_column else None
        self._name: str | None = None

    def read(self) -> None:
        place = 0 if self._column is None else 1
        while place < len(self._tokens):
            place = self._read_at(place)

    def _read_at(self, place: int) -> int:
        """Read what begins at a token, and return where the next begins."""
        token = self._tokens[place]
        if token("("):
            return closing(self._tokens, place) + 1
        if token("CONSTRAINT") and place + 1 < len(self._tokens):
            self._name = self._tokens[place + 1].value
            return place + 2
        if token("CHECK"):
            self._created.checks.append(FoundCheck(self._inside(place + 1), self._named()))
        elif token("UNIQUE"):
            self._read_unique(place + 1)
        elif token("PRIMARY"):
            self._named()
        elif token("AUTOINCREMENT"):
            self._created.autoincrement = True
        elif token("REFERENCES"):
            self._created.foreign_keys.append((self._named(), {}))
        elif token("CONFLICT") and self._is(place - 1, "ON") and place + 1 < len(self._tokens):
            self._created.conflicts.append(self._tokens[place + 1].value.upper())
        elif token("DEFERRABLE") and self._created.foreign_keys:
            self._read_deferrable(place)
        elif self._column is not None:
            self._read_of_column(self._column, token, place)
        return place + 1

    def _read_of_column(self, column: str, token: Token, place: int) -> None:
        if token("COLLATE") and place + 1 < len(self._tokens):
            self._created.collations[column] = self._tokens[place + 1].value.upper()
        elif token("AS") and self._is(place + 1, "("):
            self._created.generated[column] = self._inside(place + 1)

    def _read_unique(self, place: int) -> None:
        name = self._named()
        if self._column is not None:
            columns: tuple[str, ...] = (self._column,)
        else:
            inner = self._tokens[place + 1 : closing(self._tokens, place)]
            columns = tuple(part[0].value for part in _definitions(inner) if part)
        if name is not None:
            self._created.unique_names[columns] = name

    def _read_deferrable(self, place: int) -> None:
        deferrable = not self._is(place - 1, "NOT")
        options: dict[str, Any] = {"deferrable": deferrable} if deferrable else {}
        if deferrable and self._is(place + 1, "INITIALLY") and self._is(place + 2, "DEFERRED"):
            options["initially"] = "DEFERRED"
        self._created.foreign_keys[-1][1].update(options)

    def _is(self, place: int, word: str) -> bool:
        return 0 <= place < len(self._tokens) and self._tokens[place](word)

    def _named(self) -> str | None:
        name, self._name = self._name, None
        return name

    def _inside(self, opening: int) -> str:
        """Return the text between parentheses."""
        if opening >= len(self._tokens):
            return ""
        end = self._tokens[closing(self._tokens, opening)]
        return self._sql[self._tokens[opening].end : end.at].strip()
