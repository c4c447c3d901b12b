"""Search indexes as schema items: declared beside a table, created and dropped with it.

notes = Table("notes", metadata, Column("id", Integer, primary_key=True),
              Column("body", Text), Column("embedding", Vector(384)))
VectorIndex("notes_by_meaning", notes.c.embedding, metric="cosine")
FullTextIndex("notes_by_words", notes.c.body)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.schema import SchemaItem

from datastore.ddl import EnableVectors, create_element, drop_element, execute
from datastore.definitions import (
    DEFAULT_LANGUAGES,
    LEAST_WEIGHT,
    METRICS,
    MOST_WEIGHT,
    FullTextIndexDefinition,
    IndexDefinition,
    Metric,
    VectorIndexDefinition,
    is_weight,
)
from datastore.errors import ConfigurationError
from datastore.textquery import TOKENIZERS, Tokenizer
from datastore.types import Vector

#: Languages whose words every backend stems alike; "simple" stems none.
LANGUAGES = ("english", "simple")
#: PostgreSQL labels positions with one of four weights.
MAX_WEIGHTS = 4
#: Bytes of a name in UTF-8: parts of an index are named after it, and PostgreSQL cuts off what is
#: beyond 63.
MAX_NAME = 54

_INFO_KEY = "datastore_search_indexes"


class SearchIndex(SchemaItem):
    """Base of the schema items; give it columns of a table, or stand it inside `Table(...)`."""

    table: sa.Table
    columns: tuple[sa.Column[Any], ...]
    #: The table whose rows are found, and its integer primary key.
    target: sa.Table
    key: sa.Column[Any]

    def __init__(self, name: str, *columns: sa.Column[Any] | str) -> None:
        if not columns:
            raise ConfigurationError(f"search index {name}: expected at least one column")
        self.name = _checked_name(name)
        self._given = columns
        tables = [column.table for column in columns if isinstance(column, sa.Column)]
        if tables:
            self._attach(tables[0])

    def _set_parent(self, parent: Any, **_: Any) -> None:
        self._attach(parent)

    def _attach(self, table: Any) -> None:
        self.table = table
        self.columns = tuple(self._column(given) for given in self._given)
        table.metadata.info.setdefault(_INFO_KEY, []).append(self)
        event.listen(table, "after_create", self._after_create)
        event.listen(table, "before_drop", self._before_drop)

    def _column(self, given: sa.Column[Any] | str) -> sa.Column[Any]:
        name = given if isinstance(given, str) else given.name
        if name not in self.table.c or not (isinstance(given, str) or given.table is self.table):
            raise ConfigurationError(
                f"search index {self.name}: table {self.table.name} has no column {name}"
            )
        return self.table.c[name]

    def _after_create(self, target: sa.Table, connection: Connection, **_: Any) -> None:
        self.create(connection)

    def _before_drop(self, target: sa.Table, connection: Connection, **_: Any) -> None:
        self.drop(connection)

    @property
    def public_id(self) -> sa.Column[Any]:
        """What hits are known by and ties are broken by: column `id`, or else the integer key."""
        return self.target.c.get("id", self.key)

    @property
    def definition(self) -> IndexDefinition:
        """What is created in the database."""
        raise NotImplementedError

    def create(self, connection: Connection) -> None:
        """Create the index over the rows that are there; the table must exist."""
        execute(create_element(self.definition), connection)

    def drop(self, connection: Connection) -> None:
        """Drop the index, leaving the table and its rows."""
        execute(drop_element(self.definition), connection)

    def __repr__(self) -> str:
        names = ", ".join(column.name for column in self.columns)
        return f"{type(self).__name__}({self.name!r}, {self.table.name}: {names})"


class VectorIndex(SearchIndex):
    """Makes a `Vector` column searchable by `nearest()`.

    `of` names the table whose rows are found, where vectors stand in a table of their own: it is
    reached over the foreign key of the vectors' table, filters speak of its columns and hits carry
    its key. `model` names the column that says which model made a vector, where several stand side
    by side; a search then names one. `space` selects the row of the one in use, with columns
    `model` and `metric`, by which the verbs of a store search unless they are given others. The
    table that is found needs an integer primary key.
    """

    def __init__(
        self,
        name: str,
        column: sa.Column[Any] | str,
        *,
        metric: Metric = "cosine",
        of: sa.Table | None = None,
        model: sa.Column[Any] | None = None,
        space: sa.Select[Any] | None = None,
    ) -> None:
        if metric not in METRICS:
            raise ConfigurationError(
                f"vector index {name}: expected a metric of {', '.join(METRICS)}, got {metric!r}"
            )
        self.metric: Metric = metric
        self._of = of
        self.model = model
        self.space = space
        super().__init__(name, column)

    def _attach(self, table: Any) -> None:
        super()._attach(table)
        if not isinstance(self.column.type, Vector):
            raise ConfigurationError(f"vector index {self.name}: {self.column.name} is no Vector")
        self.target = table if self._of is None else self._of
        self.key = _integer_key(self.target, self.name)
        self.reference = self.key if self._of is None else _reference(table, self.key, self.name)
        event.listen(table, "before_create", self._before_create)

    def _before_create(self, target: sa.Table, connection: Connection, **_: Any) -> None:
        execute(EnableVectors(), connection)

    @property
    def column(self) -> sa.Column[Any]:
        """The column that holds the vectors."""
        return self.columns[0]

    @property
    def dimensions(self) -> int | None:
        """The length of every vector, where the column fixes one."""
        type_ = self.column.type
        return type_.dimensions if isinstance(type_, Vector) else None

    @property
    def definition(self) -> VectorIndexDefinition:
        """What is created in the database."""
        return VectorIndexDefinition(
            self.name,
            self.table.name,
            self.table.schema,
            self.column.name,
            self.reference.name,
            self.metric,
            self.dimensions,
            None if self.model is None else self.model.name,
        )


class FullTextIndex(SearchIndex):
    """Makes text columns searchable by `matching()`, ranked by BM25.

    `weights` maps a column's name to how much a word in it counts (1.0 unless named). `language`
    ("english" unless given) rules stemming and the stop words of queries. With the tokenizer
    "trigram" any substring is found, in every script, and there is no language to choose. The table
    needs an integer primary key.
    """

    def __init__(
        self,
        name: str,
        *columns: sa.Column[Any] | str,
        weights: Mapping[str, float] | None = None,
        language: str | None = None,
        tokenizer: Tokenizer = "words",
    ) -> None:
        self.weights = dict(weights or {})
        self.tokenizer: Tokenizer = _checked_tokenizer(name, tokenizer, language)
        self.language = language or DEFAULT_LANGUAGES[tokenizer]
        super().__init__(name, *columns)

    def _attach(self, table: Any) -> None:
        super()._attach(table)
        self.target = table
        self.key = _integer_key(table, self.name)
        _check_texts(self)
        unknown = self.weights.keys() - {column.name for column in self.columns}
        if unknown or not all(map(is_weight, self.weights.values())):
            raise ConfigurationError(
                f"full-text index {self.name}: expected weights of its own columns, "
                f"from {LEAST_WEIGHT} to {MOST_WEIGHT:.0f}"
            )
        if self.tokenizer == "words" and len(set(self.definition.weights)) > MAX_WEIGHTS:
            raise ConfigurationError(
                f"full-text index {self.name}: expected at most {MAX_WEIGHTS} different weights"
            )
        if self.language not in LANGUAGES:
            raise ConfigurationError(
                f"full-text index {self.name}: expected a language of {', '.join(LANGUAGES)}, "
                f"got {self.language!r}"
            )

    @property
    def definition(self) -> FullTextIndexDefinition:
        """What is created in the database."""
        names = tuple(column.name for column in self.columns)
        return FullTextIndexDefinition(
            self.name,
            self.table.name,
            self.table.schema,
            self.key.name,
            names,
            tuple(float(self.weights.get(name, 1.0)) for name in names),
            self.language,
            self.tokenizer,
        )


def search_indexes(metadata: sa.MetaData) -> tuple[SearchIndex, ...]:
    """Return the search indexes declared on tables of this metadata, in that order."""
    return tuple(metadata.info.get(_INFO_KEY, ()))


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or not name or "\0" in name or len(name.encode()) > MAX_NAME:
        raise ConfigurationError(
            f"search index {name!r}: expected a name of 1 to {MAX_NAME} bytes in UTF-8"
        )
    return name


def _check_texts(index: FullTextIndex) -> None:
    for column in index.columns:
        if not isinstance(_plain_type(column), sa.String) or isinstance(column.type, sa.Enum):
            raise ConfigurationError(f"full-text index {index.name}: {column.name} is no text")
    if len(set(index.columns)) < len(index.columns):
        raise ConfigurationError(f"full-text index {index.name}: expected each column once")


def _plain_type(column: sa.Column[Any]) -> Any:
    type_ = column.type
    return type_.impl_instance if isinstance(type_, sa.TypeDecorator) else type_


def _checked_tokenizer(index: str, tokenizer: Tokenizer, language: str | None) -> Tokenizer:
    if tokenizer not in TOKENIZERS:
        raise ConfigurationError(
            f"full-text index {index}: expected a tokenizer of {', '.join(TOKENIZERS)}, "
            f"got {tokenizer!r}"
        )
    if tokenizer == "trigram" and language is not None:
        raise ConfigurationError(
            f"full-text index {index}: expected no language, since substrings are neither stemmed "
            f"nor stop words, got {language!r}"
        )
    return tokenizer


def _integer_key(table: sa.Table, index: str) -> sa.Column[Any]:
    """Return the single integer primary key, or refuse the table: rows are found again by it."""
    keys = list(table.primary_key)
    if len(keys) == 1 and keys[0].type._type_affinity is sa.Integer:
        return keys[0]
    raise ConfigurationError(
        f"search index {index}: table {table.name} needs one integer primary key, since rows are "
        "found again by it; a text id may stand beside it as a unique column"
    )


def _reference(table: sa.Table, key: sa.Column[Any], index: str) -> sa.Column[Any]:
    for column in table.c:
        if any(foreign_key.column is key for foreign_key in column.foreign_keys):
            return column
    raise ConfigurationError(
        f"vector index {index}: table {table.name} needs a foreign key to "
        f"{key.table.name}.{key.name}"
    )
