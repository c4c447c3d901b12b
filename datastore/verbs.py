"""The verbs that run statements, which a store and its transactions share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, CursorResult, MappingResult, RowMapping
from sqlalchemy.sql import Executable

from datastore.backends.base import Access
from datastore.bulk import BulkInsert
from datastore.errors import SchemaMissingError, UnknownNameError
from datastore.execution import execute, refusals
from datastore.results import RunResult
from datastore.schema import search_indexes
from datastore.search import Searches
from datastore.sql import UPSERT
from datastore.translation import translated
from datastore.types import check_text

Statement: TypeAlias = str | Executable
Params: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None

_GAP = r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*"
#: SQL text that changes nothing, unless a part of WITH does.
_READS = re.compile(
    rf"{_GAP}(SELECT|WITH|VALUES|TABLE|SHOW|EXPLAIN|PRAGMA)\b", re.IGNORECASE | re.DOTALL
)
_WRITES_WITHIN = re.compile(
    rf"{_GAP}WITH\b.*\b(INSERT|UPDATE|DELETE|MERGE|REPLACE)\b", re.IGNORECASE | re.DOTALL
)
#: Statements of Core that change something.
_MUTATIONS = (sa.UpdateBase, sa.schema.ExecutableDDLElement)


class Verbs(Searches):
    """What a store and a transaction have in common."""

    def _connection(self, access: Access) -> AbstractContextManager[Connection]:
        raise NotImplementedError

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Translate errors; a table that the metadata does not know is only a wrong name."""
        try:
            with translated(self.backend):
                yield
        except SchemaMissingError as error:
            if error.table is None or self._is_declared(error.table):
                raise
            raise UnknownNameError(f"there is no table {error.table!r}") from error.__cause__

    def _is_declared(self, name: str) -> bool:
        """Tell whether a table is one of the metadata, or part of a search index of it."""
        indexes = search_indexes(self.metadata)
        return name in {table.name for table in self.metadata.tables.values()} or any(
            name == index.name or name.startswith(f"{index.name}_") for index in indexes
        )

    def query(
        self, statement: Statement, params: Mapping[str, Any] | None = None
    ) -> list[RowMapping]:
        """Return the rows of SQL text (`:name` parameters) or of a Core statement."""
        with self._connection(access_of(statement)) as connection:
            return list(rows(connection, *_prepared(statement, params)).all())

    def query_one(
        self, statement: Statement, params: Mapping[str, Any] | None = None
    ) -> RowMapping | None:
        """Return the first row, or None."""
        with self._connection(access_of(statement)) as connection:
            return rows(connection, *_prepared(statement, params)).first()

    def execute(self, statement: Statement, params: Params = None) -> RunResult:
        """Run one mutation, or one for each mapping in a list of params; all of them or none."""
        with self._connection(Access.WRITE) as connection:
            return _run(connection, statement, params)

    def batch(self, statements: Iterable[Statement | tuple[Statement, Params]]) -> list[RunResult]:
        """Run statements, or (statement, params) pairs, in one transaction: all of them or none."""
        with self._connection(Access.WRITE) as connection:
            return [_run(connection, *_pair(statement)) for statement in statements]

    def insert_many(
        self,
        table: str | sa.Table,
        rows: Iterable[Mapping[str, Any]] | Iterable[Sequence[Any]],
        columns: Sequence[str] | None = None,
    ) -> int:
        """Insert rows as fast as the engine can, all or none; return how many.

        They are mappings with the columns of the first, or sequences in the order of `columns`,
        read in batches, so that memory is bounded. A row may refer to one before it, but not to one
        after it. Values are checked, and columns that are left out are filled, as Core does it.
        """
        found = self.table(table)
        with self._connection(Access.WRITE) as connection:
            return self.backend.insert_many(connection, BulkInsert(found, rows, columns))


def access_of(statement: object) -> Access:
    """What a query does: one that writes gets a transaction, lest a mistake be committed."""
    text = statement.text if isinstance(statement, sa.TextClause) else statement
    if isinstance(text, str):
        reads = _READS.match(text) and not _WRITES_WITHIN.match(text)
    else:
        reads = not isinstance(text, _MUTATIONS)
    return Access.STATEMENT if reads else Access.WRITE


def rows(connection: Connection, statement: Executable, params: Any) -> MappingResult:
    """Run a statement that returns rows."""
    with refusals(connection):
        result = connection.execute(statement, params)
    if not result.returns_rows:
        raise exc.ResourceClosedError("no rows")
    return result.mappings()


def _prepared(statement: Statement, params: Params) -> tuple[Executable, Params]:
    if not isinstance(statement, str):
        return statement, params
    # No type checks the values of SQL text, and what one engine would refuse, both refuse.
    for values in [params] if isinstance(params, Mapping) else params or ():
        for value in values.values():
            if isinstance(value, str):
                check_text(value)
    return sa.text(statement), params


def _pair(statement: Any) -> tuple[Statement, Params]:
    return statement if isinstance(statement, tuple) else (statement, None)


def _run(connection: Connection, statement: Statement, params: Params) -> RunResult:
    if isinstance(params, Sequence) and not params:
        return RunResult(0)
    result = execute(connection, *_prepared(statement, params))
    try:
        return RunResult(_changes(result, statement), _last_insert_id(result))
    finally:
        result.close()


def _changes(result: CursorResult[Any], statement: Statement) -> int:
    if not result.returns_rows:
        return max(result.rowcount, 0)
    # RETURNING: some drivers count a row when it is fetched. What only reads changes nothing.
    reads = access_of(statement) is Access.STATEMENT
    return 0 if reads else max(result.rowcount, len(result.all()))


def _last_insert_id(result: CursorResult[Any]) -> int | None:
    context = result.context
    if not result.is_insert or context.compiled is None or context.executemany:
        return None
    if context.execution_options.get(UPSERT):
        return None
    keys = result.inserted_primary_key
    return keys[0] if keys and len(keys) == 1 and isinstance(keys[0], int) else None
