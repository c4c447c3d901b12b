"""The PostgreSQL backend: psycopg 3, pgvector for distances, tsvector and GIN for words."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event
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
from datastore.backends.postgresql import bulk, search  # noqa: F401 - registers its handlers
from datastore.backends.postgresql.catalog import NAMES
from datastore.backends.postgresql.columns import MOMENTS, SYSTEM_COLUMNS, column_type
from datastore.backends.postgresql.conversion import convert
from datastore.backends.postgresql.errors import TRIGRAM_REMEDY, is_outdated, scrub, translate
from datastore.backends.postgresql.fallback import (
    VectorSupport,
    finds_pgvector,
    look,
    set_uses_pgvector,
    uses_pgvector,
)
from datastore.backends.postgresql.hnsw import build_graphs
from datastore.backends.postgresql.indexes import search_objects
from datastore.backends.postgresql.inspection import found_indexes, inspect
from datastore.backends.postgresql.limits import limit
from datastore.backends.postgresql.liveness import replace_dead_connections
from datastore.backends.postgresql.loading import reset_sequences, taking_numbers, without_indexes
from datastore.backends.postgresql.reading import read, vector_lengths
from datastore.backends.postgresql.statistics import index_statistics
from datastore.backends.postgresql.types import (
    read_vectors_as_binary,
    register_arrays,
    register_vectors,
)
from datastore.bulk import BulkInsert
from datastore.definitions import IndexDefinition, Metric, VectorIndexDefinition
from datastore.errors import DatastoreError
from datastore.inspection import FoundDatabase, FoundIndex, Moment
from datastore.kinds import Kind
from datastore.reading import Batches, TableReading
from datastore.results import Method

if TYPE_CHECKING:
    from datastore.settings import PostgresqlSettings, Settings

#: The advisory lock that migrations hold: the first eight bytes of SHA-256 of
#: "datastore.migrations".
MIGRATION_LOCK = int.from_bytes(bytes.fromhex("50d7fa3b522870c2"))
#: The connections beyond the pool that a burst may open.
MAX_OVERFLOW = 10
_PREPARED = "datastore_prepared"
#: What values are written by as text, whatever a database or a role has set for itself.
_ALIKE = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
}


class PostgreSQLBackend(Backend):
    """One database on a server, version 14 or later."""

    name = "postgresql"
    driver = "psycopg"
    display_name = "PostgreSQL"
    name_bytes = 63
    ordered = Backend.ordered | {
        "boolean", "decimal", "uuid", "instant", "timestamp", "date", "time"
    }  # fmt: skip
    exact_floats = 8_000_000  # 12 to 15 ms: 20,000 vectors of 384 numbers, 5,000 of 1,536
    declared = frozenset(
        {
            Capability.VECTOR_TYPE,
            Capability.VECTOR_FUNCTIONS,
            Capability.FULL_TEXT,
            Capability.TRIGRAM,
        }
    )

    def create_engine(self, url: sa.URL, settings: Settings, *, create: bool) -> Engine:
        """Make a pool that checks a connection before it hands it out."""
        options = settings.postgresql
        engine = sa.create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_size=options.pool_size,
            max_overflow=MAX_OVERFLOW,
            pool_timeout=options.pool_timeout,
            hide_parameters=True,
            connect_args=_connect_arguments(options, url),
        )
        replace_dead_connections(engine)
        return engine

    def attach(self, engine: Engine) -> None:
        """Teach its connections vectors, in both directions, and COPY."""

        @event.listens_for(engine, "checkout")
        def checkout(connection: Any, record: Any, _proxy: Any) -> None:
            # Asked again until the type is there: an extension may come after the connection.
            if not record.info.get(_PREPARED):
                record.info[_PREPARED] = self._prepare(engine, connection)

        @event.listens_for(engine, "handle_error")
        def renew(context: Any) -> None:
            if is_outdated(context.original_exception):
                context.is_disconnect = True  # the pool makes all of its connections anew

        read_vectors_as_binary(engine)
        bulk.run_copies(engine)

    def _prepare(self, engine: Engine, connection: Any) -> bool:
        was_autocommit = connection.autocommit
        connection.autocommit = True
        try:
            native = finds_pgvector(connection.execute)
            if set_uses_pgvector(engine.dialect, native):
                engine.clear_compiled_cache()
            report = getattr(self, "report", None)  # without one, the probe is about to come
            if report and (Capability.VECTOR_TYPE in report.capabilities) is not native:
                self.report = _report(
                    report.version,
                    look(connection.execute),
                    Capability.TRIGRAM in report.capabilities,
                )
            return register_vectors(connection) if native else register_arrays(connection)
        finally:
            connection.autocommit = was_autocommit

    def probe(self, connection: Connection) -> ServerReport:
        """Look for pgvector and pg_trgm."""
        version = str(connection.exec_driver_sql("SHOW server_version").scalar_one())
        has_trigrams = bool(
            connection.exec_driver_sql(
                "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm')"
            ).scalar_one()
        )
        return _report(version, look(connection.exec_driver_sql), has_trigrams)

    def learn(self, connection: Connection) -> None:
        """Find out whether vectors are pgvector's or arrays, and teach the connection which."""
        found = finds_pgvector(connection.exec_driver_sql)
        if set_uses_pgvector(connection.dialect, found):
            connection.engine.clear_compiled_cache()
        driver_connection: Any = connection.connection.driver_connection
        register = register_vectors if found else register_arrays
        register(driver_connection)

    def execution_options(self, access: Access) -> Mapping[str, Any]:
        """Commit single statements by themselves; read from one snapshot that refuses writes."""
        if access is Access.READ:
            return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        if access is Access.WRITE:
            # Said outright, since an engine of the host's may have AUTOCOMMIT for its default.
            return {"isolation_level": "READ COMMITTED"}
        return super().execution_options(access)

    def translate(self, error: BaseException) -> DatastoreError | None:
        """Classify by SQLSTATE."""
        return translate(error)

    def scrub(self, error: BaseException) -> None:
        """Take out DETAIL, and the prose that quotes values."""
        scrub(error)

    def insert_many(self, connection: Connection, insert: BulkInsert) -> int:
        """Send rows by COPY in its binary format."""
        if insert.is_plain(connection.dialect):
            return bulk.insert_many(connection, insert)
        return super().insert_many(connection, insert)

    def read(self, connection: Connection, reading: TableReading) -> Batches:
        """Read rows by COPY in its binary format."""
        return read(connection, reading)

    def limit(self, type_: TypeEngine[Any]) -> Callable[[Any], None] | None:
        """Look at the size that a type declares."""
        return limit(type_)

    def place(self, connection: Connection) -> Hashable:
        """Ask the server, which may go by several names."""
        which = (
            "SELECT CAST(extract(epoch FROM pg_postmaster_start_time()) AS text), "
            "current_database(), current_schema()"
        )
        return tuple(connection.exec_driver_sql(which).one())

    def vector_lengths(self, connection: Connection, column: sa.Column[Any]) -> list[int]:
        """Let the server count."""
        return vector_lengths(connection, column)

    def write_alike(self, connection: Connection) -> None:
        """Set what the text of floats, times, bytes and money depends on."""
        settings = ", ".join(
            f"set_config('{name}', '{value}', true)" for name, value in _ALIKE.items()
        )
        connection.exec_driver_sql(f"SELECT {settings}")

    def take_time(self, connection: Connection) -> None:
        """Set the timeouts of this transaction to none, as far as this server knows them."""
        connection.exec_driver_sql(
            "SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN "
            "('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')"
        )

    @contextmanager
    def loading(
        self,
        connection: Connection,
        tables: Sequence[sa.Table],
        definitions: Sequence[IndexDefinition],
    ) -> Iterator[None]:
        """Take away indexes and foreign keys meanwhile; generated columns stay."""
        self.take_time(connection)
        with without_indexes(connection, tables), taking_numbers(connection, tables):
            yield

    def reset_identities(
        self,
        connection: Connection,
        tables: Sequence[sa.Table],
        reached: Mapping[tuple[str, str], int],
    ) -> None:
        """Set the sequences of identity and serial columns."""
        reset_sequences(connection, tables, reached)

    def inspect(self, connection: Connection) -> FoundDatabase:
        """Read the catalog, and look at decimals and documents for what the types do not say."""
        return inspect(connection, search_objects(connection))

    def relation_names(self, connection: Connection) -> frozenset[str]:
        """Read the catalog."""
        return frozenset(connection.execute(NAMES).scalars())

    def indexes(self, connection: Connection) -> Mapping[str, Sequence[FoundIndex]]:
        """Read the catalog; indexes of keys are not among them."""
        return found_indexes(connection)

    def column_type(self, type_: TypeEngine[Any]) -> TypeEngine[Any]:
        """Compare text by code point, as every database here does."""
        return column_type(type_)

    def is_reserved(self, name: str, *, of_column: bool) -> bool:
        """Tell whether every table has a column of that name."""
        return of_column and name in SYSTEM_COLUMNS

    def moment(self, moment: Moment, kind: Kind[Any]) -> str | None:
        """Take the time in UTC, whatever the time zone of the session."""
        return MOMENTS.get((moment, kind.name))

    @contextmanager
    def migrating(self, connection: Connection) -> Iterator[None]:
        """Hold a session-level advisory lock, which outlives the transactions within."""
        try:
            _await_migration_lock(connection)
            with connection.begin():
                yield
        finally:
            connection.invalidate()  # closing the session gives the lock back, and the timeouts

    def search_objects(self, connection: Connection) -> SearchObjects:
        """Read them from the comments of indexes and constraints."""
        return search_objects(connection)

    def search_method(self) -> tuple[Method, tuple[str, ...]]:
        """Distances come from pgvector, or else from functions in SQL."""
        if Capability.VECTOR_FUNCTIONS in self.report.capabilities:
            return "exact", ()
        vectors = self.report.findings[0]
        return "fallback", (f"{vectors.found}; {vectors.remedy}",)

    def adopt(self, connection: Connection) -> None:
        """Convert vectors that are arrays to pgvector's type, once the server has it."""
        if uses_pgvector(connection.dialect):
            return
        convert(connection, look(connection.exec_driver_sql))
        connection.engine.clear_compiled_cache()
        # Should the transaction fail, the next connection finds out.
        self.report = _report(
            self.report.version,
            look(connection.exec_driver_sql),
            Capability.TRIGRAM in self.report.capabilities,
        )

    def optimize(self, connection: Connection, metric: Metric) -> None:
        """Build the graphs of large vector spaces, and clear up behind many changes.

        VACUUM takes new texts into their index proper, and lets indexes answer without the rows.
        """
        definitions = search_objects(connection).definitions
        vectors = [d for d in definitions if isinstance(d, VectorIndexDefinition)]
        build_graphs(connection, vectors, metric, self.exact_limit)
        with without_timeout(connection):
            for table in {(definition.schema, definition.table) for definition in definitions}:
                names = map(connection.dialect.identifier_preparer.quote, filter(None, table))
                statement = f"VACUUM (ANALYZE) {'.'.join(names)}"
                connection.exec_driver_sql(statement)
            connection.exec_driver_sql("ANALYZE")

    def index_statistics(
        self, connection: Connection, definition: IndexDefinition
    ) -> IndexStatistics:
        """Look at the sizes of its indexes and at the rows that VACUUM has not cleared yet."""
        return index_statistics(connection, definition)

    def schema_changed(self, engine: Engine) -> None:
        """Drop the pool: prepared statements and the vector type belong to the old schema."""
        engine.dispose()


@contextmanager
def without_timeout(connection: Connection) -> Iterator[None]:
    """Let statements take their time, on a connection that commits by itself."""
    before = connection.exec_driver_sql("SHOW statement_timeout").scalar_one()
    connection.exec_driver_sql("SET statement_timeout = 0")
    try:
        yield
    finally:
        if not connection.invalidated:
            set_back = sa.select(sa.func.set_config("statement_timeout", before, False))
            connection.execute(set_back)


def _await_migration_lock(connection: Connection) -> None:
    # In autocommit: the lock must be held before the transaction begins and until after it has
    # ended. No timeout ends the wait for it. The migration itself may take its time too, but must
    # not wait for a table without end: everyone else would then wait behind it.
    level = connection.get_isolation_level()
    connection.execution_options(isolation_level="AUTOCOMMIT")
    patience = connection.exec_driver_sql("SHOW lock_timeout").scalar_one()
    connection.exec_driver_sql("SET lock_timeout = 0")
    connection.exec_driver_sql("SET statement_timeout = 0")
    connection.exec_driver_sql("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
    connection.exec_driver_sql("SELECT set_config('lock_timeout', %s, false)", (patience,))
    connection.rollback()
    connection.execution_options(isolation_level=level)


def _connect_arguments(options: PostgresqlSettings, url: sa.URL) -> dict[str, Any]:
    timeouts = {
        "statement_timeout": options.statement_timeout,
        "lock_timeout": options.lock_timeout,
        "idle_in_transaction_session_timeout": options.idle_in_transaction_timeout,
    }
    parameters = [f"-c {name}={int(seconds * 1000)}" for name, seconds in timeouts.items()]
    defaults = {"connect_timeout": options.connect_timeout, "application_name": "datastore"}
    arguments: dict[str, Any] = {k: v for k, v in defaults.items() if k not in url.query}
    # UTC, so that no instant is out of range in the time zone of the server. Of two values for one
    # parameter the last wins, so the URL's come last.
    given = url.normalized_query.get("options", ())
    return {**arguments, "options": " ".join([*parameters, "-c timezone=UTC", *given])}


def _substring_finding(available: bool) -> Finding:
    # None of our own tables needs it, so that nothing is wrong without.
    if available:
        return Finding("substrings", "pg_trgm is available")
    return Finding("substrings", "no pg_trgm on this server", remedy=TRIGRAM_REMEDY)


def _report(version: str, vectors: VectorSupport, has_trigrams: bool) -> ServerReport:
    capabilities = {Capability.FULL_TEXT}
    if vectors.uses_pgvector:
        capabilities |= {Capability.VECTOR_TYPE, Capability.VECTOR_FUNCTIONS}
    if has_trigrams:
        capabilities.add(Capability.TRIGRAM)
    findings = (vectors.finding(), _substring_finding(has_trigrams))
    return ServerReport(version, frozenset(capabilities), findings)
