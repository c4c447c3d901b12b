"""The SQLite backend: a file, no server; sqlite-vec for distances, FTS5 for words."""

from __future__ import annotations

import os
import weakref
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.types import TypeEngine

from datastore.backends.base import (
    Access,
    Backend,
    Capability,
    Finding,
    IndexStatistics,
    SearchObjects,
    ServerReport,
)
from datastore.backends.sqlite import bulk, search, types  # noqa: F401 - registers handlers and types
from datastore.backends.sqlite.candidates import Candidates
from datastore.backends.sqlite.columns import COMPARED_AS_TEXT, MOMENTS, column_type
from datastore.backends.sqlite.connection import (
    ACCESS,
    BUSY_TIMEOUT,
    WriterLock,
    listen,
    open_by_uri,
)
from datastore.backends.sqlite.driver import REMEDY, Driver, pick_driver
from datastore.backends.sqlite.errors import TEXT_REMEDY, is_read_only, scrub, translate, unreadable
from datastore.backends.sqlite.files import (
    PrivateDirectory,
    check_url,
    database_path,
    file_uri,
    is_in_memory,
    remove_file,
)
from datastore.backends.sqlite.indexes import full_text_size, search_objects, vector_spaces
from datastore.backends.sqlite.inspection import found_indexes, inspect
from datastore.backends.sqlite.limits import limit
from datastore.backends.sqlite.reading import read, scanning, vector_lengths
from datastore.backends.sqlite.sequences import reset_sequences
from datastore.backends.sqlite.statistics import vector_statistics
from datastore.bulk import BulkInsert
from datastore.definitions import (
    FullTextIndexDefinition,
    IndexDefinition,
    Metric,
    VectorIndexDefinition,
)
from datastore.errors import ConfigurationError, DatabaseError, DatastoreError, IntegrityError
from datastore.inspection import FoundDatabase, FoundIndex, Moment
from datastore.kinds import Kind
from datastore.reading import Batches, TableReading
from datastore.results import Method

if TYPE_CHECKING:
    from datastore.settings import Settings

#: The tokenizer is as old as 3.34, what our statement is made of as 3.35 (SQLite release history).
TRIGRAM_SINCE = (3, 35)


class SQLiteBackend(Backend):
    """One database file, or one in memory."""

    name = "sqlite"
    driver = "pysqlite"
    display_name = "SQLite"
    declared = frozenset(
        {
            Capability.VECTOR_FUNCTIONS,
            Capability.FULL_TEXT,
            Capability.TRIGRAM,
            Capability.BACKUP,
        }
    )

    folds_names = True
    names_constraints = False
    adds_constraints = False
    computes_when_read = True
    numbers_keys_only = True
    keeps_types = False
    numbered_once = MappingProxyType({"sqlite_autoincrement": True})

    def __init__(self) -> None:
        self._lock = WriterLock()
        self._wal = True
        self._busy_timeout = BUSY_TIMEOUT
        self._private: PrivateDirectory | None = None
        # Without a cycle, so that a database in memory ends as soon as its engine does.
        self._candidates = Candidates(weakref.proxy(self))

    def exists(self, url: sa.URL) -> bool:
        """Look for the file; one in memory is always there."""
        return is_in_memory(url) or database_path(url).exists()

    def remove(self, url: sa.URL) -> None:
        """Remove the file, and those that stand beside it while it is in use."""
        if not is_in_memory(url):
            remove_file(database_path(url))

    def create_engine(self, url: sa.URL, settings: Settings, *, create: bool) -> Engine:
        """Open a file, made (mode 0600) where `create` allows; `:memory:` is one in memory."""
        check_url(url)
        driver = pick_driver()
        self._wal, self._busy_timeout = settings.sqlite.wal, settings.sqlite.busy_timeout
        uri = self._private_uri() if is_in_memory(url) else file_uri(url, create=create)
        self._lock = WriterLock(self._busy_timeout)
        engine = sa.create_engine(
            url.set(drivername="sqlite+pysqlite", query={}),
            module=driver.module,
            poolclass=sa.pool.QueuePool,
            pool_size=settings.sqlite.pool_size,
            hide_parameters=True,
        )
        open_by_uri(engine, driver.module, uri, self._busy_timeout)
        return engine

    def _private_uri(self) -> str:
        # SQLite has no log for what is truly in memory, so that readers would wait for writers.
        self._private, self._wal = PrivateDirectory(), True
        return file_uri(sa.URL.create("sqlite", database=self._private.file), create=True)

    def attach(self, engine: Engine) -> None:
        """Set up its connections, and begin its transactions ourselves."""
        if isinstance(engine.pool, sa.pool.StaticPool | sa.pool.SingletonThreadPool):
            raise ConfigurationError(
                f"the engine's {type(engine.pool).__name__} gives one connection to several users, "
                "whose transactions would be one: use a file, or "
                'Datastore.open("sqlite:///:memory:")'
            )
        listen(engine, self._candidates, wal=self._wal, busy_timeout=self._busy_timeout)

    def close(self, engine: Engine) -> None:
        """Close the connections; a database in memory ends."""
        self._candidates.close()
        engine.dispose()
        if self._private is not None:
            self._private.remove()

    def before_fork(self, engine: Engine) -> None:
        """Close the idle connections: SQLite cannot tell a child's locks from its parent's."""
        self._candidates.disconnect()
        engine.dispose()

    def after_fork(self, engine: Engine) -> None:
        """Forget the connections, and a lock that a thread of the parent may have held.

        Where a thread was within a transaction, SQLite itself believes in the child that its locks
        are held: such a child can read, and should run another program before it writes.
        """
        super().after_fork(engine)
        self._candidates.forked()
        self._lock = WriterLock(self._busy_timeout)

    def probe(self, connection: Connection) -> ServerReport:
        """Look for sqlite-vec and FTS5."""
        version = str(connection.exec_driver_sql("SELECT sqlite_version()").scalar_one())
        functions = set(
            connection.exec_driver_sql("SELECT name FROM pragma_function_list").scalars()
        )
        modules = set(connection.exec_driver_sql("SELECT name FROM pragma_module_list").scalars())
        capabilities = {Capability.BACKUP}
        if "vec_version" in functions:
            capabilities.add(Capability.VECTOR_FUNCTIONS)
        if "fts5" in modules:
            capabilities.add(Capability.FULL_TEXT)
            if tuple(map(int, version.split("."))) >= TRIGRAM_SINCE:
                capabilities.add(Capability.TRIGRAM)
        driver = Driver(connection.dialect.loaded_dbapi)  # type: ignore[arg-type]
        return ServerReport(
            version, frozenset(capabilities), tuple(_findings(driver, frozenset(capabilities)))
        )

    def execution_options(self, access: Access) -> Mapping[str, Any]:
        """Tell the `begin` listener what the connection is for."""
        return {ACCESS: access}

    def writing(self) -> AbstractContextManager[None]:
        """Wait in line with the other writers of this process."""
        return self._lock.held()

    def translate(self, error: BaseException) -> DatastoreError | None:
        """Classify by the extended result code."""
        opening = not hasattr(self, "report")
        return unreadable(error) if opening and is_read_only(error) else translate(error)

    def scrub(self, error: BaseException) -> None:
        """Take out what SQLite quotes, unless it stands in the statement."""
        scrub(error)

    def insert_many(self, connection: Connection, insert: BulkInsert) -> int:
        """Insert several rows by one statement."""
        if insert.is_plain(connection.dialect):
            return bulk.insert_many(connection, insert)
        return super().insert_many(connection, insert)

    def limit(self, type_: TypeEngine[Any]) -> Callable[[Any], None] | None:
        """Look at what becomes a float, or a time."""
        return limit(type_)

    def place(self, connection: Connection) -> Hashable:
        """Look at the file itself, which may go by several names."""
        databases = connection.exec_driver_sql("PRAGMA database_list").all()
        status = Path(next(path for _, name, path in databases if name == "main")).stat()
        return status.st_dev, status.st_ino

    def scanning(self, connection: Connection) -> AbstractContextManager[None]:
        """Keep few pages."""
        return scanning(connection)

    def read(self, connection: Connection, reading: TableReading) -> Batches:
        """Read values as they are stored, of whatever type."""
        return read(connection, reading)

    def inspect(self, connection: Connection) -> FoundDatabase:
        """Look at each table's columns, and at what they hold."""
        return inspect(connection, search_objects(connection).tables)

    def relation_names(self, connection: Connection) -> frozenset[str]:
        """Read the schema of the file."""
        return frozenset(connection.exec_driver_sql("SELECT name FROM sqlite_schema").scalars())

    def indexes(self, connection: Connection) -> Mapping[str, Sequence[FoundIndex]]:
        """Read the schema of the file."""
        return found_indexes(connection)

    def column_type(self, type_: TypeEngine[Any]) -> TypeEngine[Any]:
        """Declare it so that SQLite changes no value, and the type can be told again."""
        return column_type(type_)

    def compares_as_text(self, type_: TypeEngine[Any]) -> bool:
        """Tell of the types that SQLite has none like."""
        return isinstance(type_, COMPARED_AS_TEXT)

    def is_reserved(self, name: str, *, of_column: bool) -> bool:
        """Tell whether it begins as the names of SQLite's own tables do."""
        return not of_column and name.lower().startswith("sqlite_")

    def moment(self, moment: Moment, kind: Kind[Any]) -> str | None:
        """All of them are in UTC."""
        return MOMENTS.get((moment, kind.name))

    def vector_lengths(self, connection: Connection, column: sa.Column[Any]) -> list[int]:
        """Count bytes: SQLite knows them without reading them."""
        return vector_lengths(connection, column)

    @contextmanager
    def migrating(self, connection: Connection) -> Iterator[None]:
        """Hold the write lock from before the first statement; DDL is rolled back with the rest.

        Foreign keys are off meanwhile, or moving a table would delete what refers to it; they are
        checked before the commit.
        """
        driver_connection: Any = connection.connection.dbapi_connection
        with self.writing():
            # Past SQLAlchemy, since within a transaction this pragma does nothing.
            driver_connection.execute("PRAGMA foreign_keys=OFF")
            try:
                with connection.begin():
                    before = _orphans(connection)
                    yield
                    _check_foreign_keys(before, _orphans(connection))
            finally:
                driver_connection.execute("PRAGMA foreign_keys=ON")

    def reset_identities(
        self,
        connection: Connection,
        tables: Sequence[sa.Table],
        reached: Mapping[tuple[str, str], int],
    ) -> None:
        """Set what AUTOINCREMENT remembers; what is there SQLite sees by itself."""
        reset_sequences(connection, tables, reached)

    def search_objects(self, connection: Connection) -> SearchObjects:
        """Read them from `sqlite_master`."""
        return search_objects(connection)

    def search_method(self) -> tuple[Method, tuple[str, ...]]:
        """Distances come from sqlite-vec, or else from numpy."""
        if Capability.VECTOR_FUNCTIONS in self.report.capabilities:
            return "exact", ()
        return "fallback", (f"sqlite-vec is not loaded, so numpy computes distances; {REMEDY}",)

    def optimize(self, connection: Connection, metric: Metric) -> None:
        """Merge the full-text indexes, refresh the planner's statistics, read vectors' codes."""
        for definition in search_objects(connection).definitions:
            if isinstance(definition, FullTextIndexDefinition):
                index = connection.dialect.identifier_preparer.quote(definition.name)
                connection.exec_driver_sql(f"INSERT INTO {index}({index}) VALUES ('optimize')")
            elif isinstance(definition, VectorIndexDefinition):
                for model, dimensions, _ in vector_spaces(connection, definition):
                    self._candidates.prepare(definition, model, dimensions)
        connection.exec_driver_sql("ANALYZE")

    def index_statistics(
        self, connection: Connection, definition: IndexDefinition
    ) -> IndexStatistics:
        """Look at FTS5's own tables, or at the codes of this process and the log behind them."""
        if isinstance(definition, VectorIndexDefinition):
            return vector_statistics(connection, definition, self._candidates, self.exact_limit)
        return IndexStatistics(size=full_text_size(connection, definition))

    def schema_changed(self, engine: Engine) -> None:
        """Forget the codes of vectors that may be others now."""
        self._candidates.clear()

    def backup(self, connection: Connection, path: str) -> None:
        """Copy page by page into a new file (mode 0600), reading one snapshot."""
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except OSError as error:
            raise DatabaseError(f"the file {path} cannot be made: {error.strerror}") from error
        try:
            _copy(connection, path)
        except BaseException as error:
            Path(path).unlink()
            if isinstance(error, connection.dialect.loaded_dbapi.Error):
                raise translate(error) from error
            raise


def _copy(connection: Connection, path: str) -> None:
    driver_connection: Any = connection.connection.dbapi_connection
    target = connection.dialect.loaded_dbapi.connect(path)
    try:
        driver_connection.backup(target)
    finally:
        target.close()


def _findings(driver: Driver, capabilities: frozenset[Capability]) -> Iterator[Finding]:
    yield Finding("driver", f"{driver.name}, SQLite {driver.version}")
    if not driver.has_safe_wal:
        yield Finding(
            "write-ahead log",
            f"SQLite {driver.version} can corrupt a database when its WAL is reset",
            ok=False,
            remedy="use SQLite 3.51.3 or later: pip install 'pysqlite3>=0.6.1'",
        )
    native = Capability.VECTOR_FUNCTIONS in capabilities
    found = "sqlite-vec is loaded" if native else "sqlite-vec is not loaded; numpy does its work"
    yield Finding("vectors", found, ok=native, remedy="" if native else REMEDY)
    text = Capability.FULL_TEXT in capabilities
    yield Finding("full text", "FTS5" if text else "no FTS5", text, "" if text else TEXT_REMEDY)
    trigrams = Capability.TRIGRAM in capabilities
    found = "FTS5's trigrams" if trigrams else "no trigrams in this FTS5"
    # None of our own tables needs it, so that nothing is wrong without.
    yield Finding("substrings", found, remedy="" if trigrams else TEXT_REMEDY)


def _orphans(connection: Connection) -> Counter[tuple[str, str]]:
    """Count the rows without a parent, by their table and the parent's."""
    # Counted, since moving a table may give its rows and its foreign keys other numbers.
    rows = connection.exec_driver_sql("PRAGMA foreign_key_check")
    return Counter((table, parent) for table, _, parent, _ in rows)


def _check_foreign_keys(before: Counter[tuple[str, str]], after: Counter[tuple[str, str]]) -> None:
    # A host's own table may have had such rows all along.
    for table, _ in after - before:
        raise IntegrityError(f"the migration would leave rows of {table} without their parent")
