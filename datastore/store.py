"""Datastore and Transaction: the verbs."""

from __future__ import annotations

import importlib
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, Engine

from datastore import migrate
from datastore.backends.base import Access, Backend, Capability
from datastore.engine import backend_of, connect, create_engine, describe
from datastore.errors import (
    CapabilityError,
    ConfigurationError,
    DatabaseError,
    DatastoreError,
    TransientError,
)
from datastore.results import DatabaseSchema, RunResult
from datastore.settings import Settings
from datastore.translation import translated
from datastore.verbs import Params, Statement, Verbs

P = ParamSpec("P")
T = TypeVar("T")
#: How often `run` tries again, and the longest first pause in seconds; pauses double.
RETRIES = 5
FIRST_PAUSE = 0.02


class Datastore(Verbs):
    """A database with its verbs; safe to share between threads.

    Give it an engine of the host's, or use `Datastore.open()`. `metadata` is that of the tables
    that may be searched by name; unless given, the one that the settings name.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        metadata: sa.MetaData | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.engine = engine
        self.backend: Backend = backend_of(engine)
        self.settings = settings or _settings_beside(engine)
        self.backend.search_settings = self.settings.search
        self.embedding_model = self.settings.embedding.model
        self._metadata = metadata
        self._owns_engine = False

    @classmethod
    def open(
        cls, source: str | sa.URL | Settings | None = None, *, create: bool = True
    ) -> Datastore:
        """Open what settings, a URL, or (without either) the environment and files describe.

        `create=False` raises `ConnectionFailedError` where a SQLite file is not there. Raises
        `ConfigurationError`, and `SchemaTooNewError` for a database of later code than this.
        """
        settings = source if isinstance(source, Settings) else _settings(source)
        engine = create_engine(settings, create=create)
        store = cls(engine, settings=settings)
        store._owns_engine = True
        try:
            store._refuse_newer_schema()
        except BaseException:
            store.close()
            raise
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Datastore {describe(self.engine)}>"

    def close(self) -> None:
        """Close the connections of an engine that `open` made; the host's own stays open."""
        if self._owns_engine:
            self.backend.close(self.engine)

    @property
    def display_name(self) -> str:
        """The database's name for people, such as "SQLite"."""
        return self.backend.display_name

    @property
    def dialect(self) -> str:
        """The name of the SQLAlchemy dialect."""
        return self.engine.dialect.name

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this server was found able to do."""
        return self.backend.report.capabilities

    @cached_property
    def metadata(self) -> sa.MetaData:  # type: ignore[override]
        """The tables that may be searched by name."""
        return self._metadata if self._metadata is not None else load_metadata(self.settings)

    def transaction(self, read_only: bool = False) -> Transaction:
        """Return a context manager: commits at its end, rolls back on an exception.

        A read-only one sees one snapshot and never waits for a writer.
        """
        return Transaction(self, Access.READ if read_only else Access.WRITE)

    def run(
        self, fn: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `fn(transaction, ...)` and commit; again, after a pause, on a `TransientError`.

        `fn` may run several times, so it should do nothing that a rollback does not undo.
        """
        attempt = 0
        while True:
            try:
                with self.transaction() as transaction:
                    return fn(transaction, *args, **kwargs)
            except TransientError:
                if attempt == RETRIES:
                    raise
            time.sleep(random.uniform(0, FIRST_PAUSE * 2**attempt))  # noqa: S311
            attempt += 1

    def migrate(self, revision: str = "head") -> None:
        """Upgrade the schema, under a lock that lets one process at a time do so."""
        with translated(self.backend):
            migrate.upgrade(self.engine, self.metadata, revision)

    def downgrade(self, revision: str) -> None:
        """Downgrade the schema; "base" takes everything away, the data included."""
        with translated(self.backend):
            migrate.downgrade(self.engine, self.metadata, revision)

    def optimize(self) -> None:
        """Build or refresh what searches need, after many changes.

        Full-text indexes are merged, the planner's statistics refreshed, and approximate vector
        indexes built where there are enough vectors. Others may read meanwhile, and write on a
        server; to a SQLite file writers wait.
        """
        with self.backend.writing(), self._connection(Access.STATEMENT) as connection:
            self.backend.optimize(connection, self.settings.embedding.metric)

    def backup(self, path: str | Path) -> None:
        """Copy the database to a new file while it is in use; `CapabilityError` on a server."""
        with self._connection(Access.STATEMENT) as connection:
            self.backend.backup(connection, str(path))

    def schema(self) -> DatabaseSchema:
        """Describe what is in the database."""
        with self._connection(Access.STATEMENT) as connection:
            return migrate.describe_schema(connection, self.backend)

    @contextmanager
    def _connection(self, access: Access) -> Iterator[Connection]:
        options = self.backend.execution_options(access)
        with self._translated():
            if access is not Access.WRITE:
                with connect(self.engine, options) as connection:
                    yield connection
                return
            with (
                self.backend.writing(),
                connect(self.engine, options) as connection,
                connection.begin(),
            ):
                yield connection

    def _refuse_newer_schema(self) -> None:
        with self._connection(Access.STATEMENT) as connection:
            migrate.refuse_newer_schema(connection)


class Transaction(Verbs):
    """A transaction, or a savepoint within one; use it in a `with` block.

    After a statement has failed nothing more can be run, on either engine, until a rollback: what
    may fail stands in a savepoint of its own (`with transaction.transaction():`).
    """

    def __init__(self, store: Datastore, access: Access, outer: Transaction | None = None) -> None:
        self.store = store
        self.backend = store.backend
        self.embedding_model = store.embedding_model
        self._access = access
        self._outer = outer
        self._stack = ExitStack()
        self._connected: Connection | None = None
        self._begun: sa.engine.Transaction | None = None
        # Whether a statement has failed concerns the transaction as a whole, savepoints included.
        self._outermost: Transaction = outer._outermost if outer else self
        self._failed = False

    @property
    def metadata(self) -> sa.MetaData:  # type: ignore[override]
        """The tables that may be searched by name."""
        return self.store.metadata

    def __enter__(self) -> Self:
        if self._connected is not None:
            raise DatabaseError("a transaction is entered once; ask the store for another")
        try:
            with translated(self.backend):
                self._begin()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _begin(self) -> None:
        if self._outer is not None:
            self._connected = self._outer._usable()
            self._begun = self._connected.begin_nested()
            return
        if self._access is Access.WRITE:
            self._stack.enter_context(self.backend.writing())
        options = self.backend.execution_options(self._access)
        self._connected = self._stack.enter_context(connect(self.store.engine, options))
        self._begun = self._connected.begin()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._stack:
            if self._begun is None or (error is not None and not self._begun.is_active):
                return
            if error is not None:
                with suppress(DatastoreError):  # the error of the body is the one to be told
                    self.rollback()
            elif self._outermost._failed:
                self.rollback()
                raise DatabaseError("rolled back: a statement of this transaction had failed")
            else:
                self.commit()

    def commit(self) -> None:
        """Make the changes last (those of a savepoint: part of the transaction around it)."""
        self._usable()
        transaction = self._ended()
        try:
            with translated(self.backend):
                transaction.commit()
        except BaseException:
            transaction.close()
            raise

    def rollback(self) -> None:
        """Undo everything since the beginning of this transaction or savepoint."""
        transaction = self._ended()
        self._outermost._failed = False
        with translated(self.backend):
            transaction.rollback()

    def batch(self, statements: Iterable[Statement | tuple[Statement, Params]]) -> list[RunResult]:
        """Run statements, or (statement, params) pairs: all of them or none, by a savepoint."""
        with self.transaction() as savepoint:
            return super(Transaction, savepoint).batch(statements)

    def insert_many(
        self,
        table: str | sa.Table,
        rows: Iterable[Mapping[str, Any]] | Iterable[Sequence[Any]],
        columns: Sequence[str] | None = None,
    ) -> int:
        """Insert rows as a store does; an error of any kind fails the transaction.

        Some rows may be there already when it is raised, by `rows` itself for example.
        """
        self._usable()
        try:
            return super().insert_many(table, rows, columns)
        except BaseException:
            self._outermost._failed = True
            raise

    def transaction(self) -> Transaction:
        """Return a savepoint: an inner transaction that can be rolled back alone."""
        return Transaction(self.store, self._access, self)

    def _active(self) -> sa.engine.Transaction:
        # Inactive: a savepoint whose transaction has ended.
        if self._begun is None or not self._begun.is_active:
            raise DatabaseError("the transaction is over, or was not entered")
        return self._begun

    def _ended(self) -> sa.engine.Transaction:
        transaction, self._begun = self._active(), None
        return transaction

    def _usable(self) -> Connection:
        self._active()
        if self._outermost._failed or self._connected is None:
            raise DatabaseError("a statement of this transaction has failed; roll it back")
        return self._connected

    @contextmanager
    def _connection(self, access: Access) -> Iterator[Connection]:
        connection = self._usable()
        with self._translated():
            try:
                yield connection
            except (
                exc.DBAPIError,
                exc.ResourceClosedError,
                CapabilityError,
                OverflowError,
                UnicodeError,
            ):
                self._outermost._failed = True
                raise


def _settings(source: str | sa.URL | None) -> Settings:
    if source is None:
        return Settings.load()
    if isinstance(source, sa.URL):
        source = source.render_as_string(hide_password=False)
    return Settings.load(url=source)


def _settings_beside(engine: Engine) -> Settings:
    """Read the settings that are not about the database, which a host's engine is already."""
    # An engine with a `creator` may name no database, and settings insist on one.
    return _settings(engine.url.set(database=engine.url.database or ":memory:"))


def load_metadata(settings: Settings) -> sa.MetaData:
    """Import the metadata that the settings name as `package.module:attribute`."""
    module_name, _, attribute = settings.metadata.partition(":")
    try:
        metadata = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        message = f"metadata: {settings.metadata} cannot be imported"
        raise ConfigurationError(message) from error
    if not isinstance(metadata, sa.MetaData):
        raise ConfigurationError(f"metadata: {settings.metadata} is no sqlalchemy.MetaData")
    return metadata
