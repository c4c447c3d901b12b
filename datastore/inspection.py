"""What a database was found to consist of, whoever made it, in terms that no engine owns.

Types are portable ones. Expressions (of defaults, checks, generated columns and indexes) are the
SQL text of the database that they were found in.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine


class LongDecimal(sa.Numeric[Any]):
    """Decimals with more digits than a double holds."""

    cache_ok = True


class Moment(enum.Enum):
    """The time at which a row is inserted, as a default of a column."""

    INSTANT = "date and time"
    DAY = "the day"
    CLOCK = "the time of day"
    EPOCH = "whole seconds since 1970"


@dataclass(frozen=True)
class Note:
    """Something that is not in the copy as it was in the source, and why."""

    text: str
    table: str | None = None
    column: str | None = None

    def __str__(self) -> str:
        where = f"table {self.table}" if self.table else ""
        where += f", column {self.column}" if self.column else ""
        return f"{where}: {self.text}" if where else self.text


@dataclass(frozen=True)
class Numbering:
    """A column whose values the database makes by counting.

    `last` is the largest number that it gave out, as far as it remembers. With `once` it never
    gives out a number again whose row was deleted.
    """

    last: int | None = None
    once: bool = True


@dataclass(frozen=True)
class FoundColumn:
    """A column. `ignores_case` is said of a collation that holds `A` and `a` for the same.

    `unlike` says why comparisons of its values mean something else in a copy, and `unordered` that
    those by size do; `rounds` is said of a type that makes other values of what it is given.
    """

    name: str
    type: TypeEngine[Any]
    nullable: bool = True
    default: str | None = None
    generated: str | None = None
    is_stored: bool = True
    numbering: Numbering | None = None
    ignores_case: bool = False
    unlike: str = ""
    unordered: bool = False
    rounds: bool = False


@dataclass(frozen=True)
class FoundKey:
    """A primary or unique key; with `ignores_case`, texts that differ in case alone are equal."""

    columns: tuple[str, ...]
    name: str | None = None
    ignores_case: frozenset[str] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FoundForeignKey:
    """A foreign key; its options are those of SQLAlchemy's constraint."""

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    name: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FoundCheck:
    """A check constraint."""

    text: str
    name: str | None = None


@dataclass(frozen=True)
class FoundPart:
    """A column of an index, or else an expression."""

    column: str | None = None
    expression: str | None = None
    descending: bool = False
    ignores_case: bool = False


@dataclass(frozen=True)
class FoundIndex:
    """An index that belongs to no constraint; `where` says which rows are in it."""

    name: str
    parts: tuple[FoundPart, ...]
    unique: bool = False
    where: str | None = None


@dataclass(frozen=True)
class FoundTable:
    """A table; `options` are those of SQLAlchemy's `Table` that its own engine understands."""

    name: str
    columns: tuple[FoundColumn, ...]
    primary_key: FoundKey | None = None
    unique_keys: tuple[FoundKey, ...] = ()
    foreign_keys: tuple[FoundForeignKey, ...] = ()
    checks: tuple[FoundCheck, ...] = ()
    indexes: tuple[FoundIndex, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FoundDatabase:
    """The tables that hold rows, what stands beside them, and what makes a copy impossible."""

    tables: tuple[FoundTable, ...] = ()
    views: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    obstacles: tuple[str, ...] = ()
