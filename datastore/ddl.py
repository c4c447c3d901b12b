"""DDL elements of search indexes; what stands behind one is each backend's own to render."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import DDL, ExecutableDDLElement

from datastore.definitions import (
    FullTextIndexDefinition,
    IndexDefinition,
    VectorIndexDefinition,
)
from datastore.errors import CapabilityError


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
