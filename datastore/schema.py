"""Search indexes as schema items: declared beside a table, created and dropped with it.

    notes = Table("notes", metadata, Column("id", Integer, primary_key=True),
                  Column("body", Text), Column("embedding", Vector(384)))
    VectorIndex("notes_by_meaning", notes.c.embedding, metric="cosine")
    FullTextIndex("notes_by_words", notes.c.body)

An item boils down to a frozen *definition*: hashable, so it is part of a statement's cache key, and
JSON, so it is the fingerprint by which a database says which indexes it holds. What stands behind a
definition is each backend's own; the DDL elements here carry it there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import DDL, ExecutableDDLElement, SchemaItem

from datastore.errors import CapabilityError, ConfigurationError
from datastore.types import Vector

Metric: TypeAlias = Literal["cosine", "l2", "inner_product"]
METRICS: tuple[Metric, ...] = get_args(Metric)

#: Languages whose words every backend stems alike; "simple" stems none.
LANGUAGES = ("english", "simple")
#: PostgreSQL labels positions with one of four weights.
MAX_WEIGHTS = 4

FINGERPRINT = "datastore:"
_INFO_KEY = "datastore_search_indexes"


@dataclass(frozen=True)
class IndexDefinition:
    """What the database needs to know of a search index."""

    name: str
    table: str
    schema: str | None

    kind: ClassVar[str]

    def fingerprint(self) -> str:
        """Return the text that is stored with the index; `from_fingerprint` reads it."""
        return FINGERPRINT + json.dumps({"kind": self.kind, **asdict(self)}, sort_keys=True)


@dataclass(frozen=True)
class VectorIndexDefinition(IndexDefinition):
    """`dimensions` is None where vectors of several models stand in one column."""

    column: str
    metric: Metric
    dimensions: int | None

    kind: ClassVar[str] = "vector"


@dataclass(frozen=True)
class FullTextIndexDefinition(IndexDefinition):
    """`key` is the integer primary key; `weights` has one number per column."""

    key: str
    columns: tuple[str, ...]
    weights: tuple[float, ...]
    language: str

    kind: ClassVar[str] = "full_text"


def from_fingerprint(text: str | None) -> IndexDefinition | None:
    """Read what `IndexDefinition.fingerprint` wrote; None for anything else."""
    if text is None or not text.startswith(FINGERPRINT):
        return None
    classes = {cls.kind: cls for cls in (VectorIndexDefinition, FullTextIndexDefinition)}
    try:
        fields = json.loads(text.removeprefix(FINGERPRINT))
        cls = classes[fields.pop("kind")]
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()
        }
        return cls(**values)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


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
        self.name = name
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
    by side; a search then names one. The table that is found needs an integer primary key.
    """

    def __init__(
        self,
        name: str,
        column: sa.Column[Any] | str,
        *,
        metric: Metric = "cosine",
        of: sa.Table | None = None,
        model: sa.Column[Any] | None = None,
    ) -> None:
        if metric not in METRICS:
            raise ConfigurationError(
                f"vector index {name}: expected a metric of {', '.join(METRICS)}, got {metric!r}"
            )
        self.metric: Metric = metric
        self._of = of
        self.model = model
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
            self.metric,
            self.dimensions,
        )


class FullTextIndex(SearchIndex):
    """Makes text columns searchable by `matching()`, ranked by BM25.

    `weights` maps a column's name to how much a word in it counts (1.0 unless named). `language`
    rules stemming and the stop words of queries. The table needs an integer primary key.
    """

    def __init__(
        self,
        name: str,
        *columns: sa.Column[Any] | str,
        weights: Mapping[str, float] | None = None,
        language: str = "english",
    ) -> None:
        self.weights = dict(weights or {})
        self.language = language
        super().__init__(name, *columns)

    def _attach(self, table: Any) -> None:
        super()._attach(table)
        self.target = table
        self.key = _integer_key(table, self.name)
        unknown = self.weights.keys() - {column.name for column in self.columns}
        if unknown or not all(weight > 0 for weight in self.weights.values()):
            raise ConfigurationError(
                f"full-text index {self.name}: expected positive weights of its own columns"
            )
        if len(set(self.definition.weights)) > MAX_WEIGHTS:
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
        )


def search_indexes(metadata: sa.MetaData) -> tuple[SearchIndex, ...]:
    """Return the search indexes declared on tables of this metadata, in that order."""
    return tuple(metadata.info.get(_INFO_KEY, ()))


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


class Script(str):
    """Several SQL statements: what a compile handler of a DDL element here returns."""

    statements: tuple[str, ...]

    def __new__(cls, *statements: str) -> Script:
        """Join the statements for display, keep them apart for execution."""
        script = super().__new__(cls, ";\n".join(statements))
        script.statements = statements
        return script


class SearchDDL(ExecutableDDLElement):
    """Base of the DDL elements, executed statement by statement: drivers take one at a time."""

    feature: ClassVar[str]

    def statements(self, dialect: Dialect) -> Iterator[DDL]:
        """Yield the statements for one dialect, ready to execute or to print."""
        script = self.compile(dialect=dialect).string
        # Some drivers want a percent sign in a name doubled, which DDL() sees to by itself.
        doubled = "%%" in dialect.identifier_preparer.quote_identifier("%")
        for statement in getattr(script, "statements", (script,)):
            plain = statement.replace("%%", "%") if doubled else statement
            yield DDL(plain.replace("%", "%%"))  # type: ignore[no-untyped-call]


class EnableVectors(SearchDDL):
    """Makes the vector type known to the database; does nothing where it is, or needs no type."""

    feature = "vectors"


class IndexDDL(SearchDDL):
    """Base of the elements that create or drop a search index."""

    def __init__(self, definition: Any) -> None:
        self.definition = definition


class CreateVectorIndex(IndexDDL):
    """CREATE of a `VectorIndex`."""

    feature = "vector index"
    definition: VectorIndexDefinition


class DropVectorIndex(IndexDDL):
    """DROP of a `VectorIndex`."""

    feature = "vector index"
    definition: VectorIndexDefinition


class CreateFullTextIndex(IndexDDL):
    """CREATE of a `FullTextIndex`."""

    feature = "full-text index"
    definition: FullTextIndexDefinition


class DropFullTextIndex(IndexDDL):
    """DROP of a `FullTextIndex`."""

    feature = "full-text index"
    definition: FullTextIndexDefinition


def create_element(definition: IndexDefinition) -> IndexDDL:
    """Return the element that creates what `definition` describes."""
    if isinstance(definition, VectorIndexDefinition):
        return CreateVectorIndex(definition)
    return CreateFullTextIndex(definition)


def drop_element(definition: IndexDefinition) -> IndexDDL:
    """Return the element that drops what `definition` describes."""
    if isinstance(definition, VectorIndexDefinition):
        return DropVectorIndex(definition)
    return DropFullTextIndex(definition)


def execute(element: SearchDDL, connection: Connection) -> None:
    """Run every statement of `element`."""
    for statement in element.statements(connection.dialect):
        connection.execute(statement)


@compiles(EnableVectors)
@compiles(CreateVectorIndex)
@compiles(DropVectorIndex)
@compiles(CreateFullTextIndex)
@compiles(DropFullTextIndex)
def _refuse(element: SearchDDL, compiler: Any, **_: Any) -> str:
    raise unsupported(element.feature, compiler.dialect.name)


def unsupported(feature: str, dialect: str) -> CapabilityError:
    """Return the error of a construct that no backend renders for `dialect`."""
    return CapabilityError(
        feature,
        found=f"dialect {dialect}",
        needed="a backend that renders it",
        remedy="a package adds one through the entry point group 'datastore.backends'",
    )
