"""What a backend is: one object per engine that knows everything its dialect needs knowing.

The defaults are those of a server that commits, rolls back and has nothing special about it, so a
hook added here breaks no backend that exists already.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.types import TypeEngine

from datastore.bulk import CORE_BATCH, BulkInsert
from datastore.ddl import create_element, drop_element, execute
from datastore.definitions import IndexDefinition, Metric
from datastore.errors import CapabilityError, DatabaseError, DatastoreError
from datastore.inspection import FoundDatabase, FoundIndex, Moment
from datastore.kinds import Kind
from datastore.reading import Batches, Reader, TableReading, read_batches
from datastore.results import Method
from datastore.settings import SearchSettings

if TYPE_CHECKING:
    from datastore.settings import Settings


class Access(enum.Enum):
    """What a unit of work does to the database."""

    STATEMENT = "one statement, committed by itself"
    READ = "a snapshot that nothing is written to"
    WRITE = "a transaction that may write"


class Capability(enum.Enum):
    """Something that one server can do and another cannot."""

    VECTOR_FUNCTIONS = "distances computed by a native extension"
    VECTOR_TYPE = "a column type for vectors"
    FULL_TEXT = "full-text indexes"
    TRIGRAM = "substring search"
    BACKUP = "a consistent copy of the database file while it is in use"


@dataclass(frozen=True)
class Finding:
    """Something that `doctor` has to say: what it looked at, what it found, how to mend it."""

    check: str
    found: str
    ok: bool = True
    remedy: str = ""


@dataclass(frozen=True)
class ServerReport:
    """What a probe found: once per engine, at the first connection."""

    version: str
    capabilities: frozenset[Capability]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class IndexStatistics:
    """How a search index is doing.

    `size` is in bytes of the database, None where it cannot be told; `memory` in bytes that each
    process takes for it. `uncoded` rows are in no approximate index yet, and measured one by one.
    `dead` are the entries that say nothing new: logged changes, rows that wait for VACUUM.
    """

    size: int | None = None
    memory: int = 0
    uncoded: int = 0
    dead: int = 0


@dataclass(frozen=True)
class SearchObjects:
    """The search indexes of a database, and the tables, columns and indexes that they consist of.

    `damaged` names indexes of which a part is missing; `columns` and `indexes` are pairs with the
    name of their table.
    """

    definitions: tuple[IndexDefinition, ...] = ()
    damaged: tuple[str, ...] = ()
    tables: frozenset[str] = frozenset()
    columns: frozenset[tuple[str, str]] = frozenset()
    indexes: frozenset[tuple[str, str]] = frozenset()


class Backend:
    """The contract. `name` is the SQLAlchemy dialect's, `display_name` what people read."""

    name: ClassVar[str]
    #: The SQLAlchemy driver that the code is made for, where another would not do.
    driver: ClassVar[str] = ""
    display_name: ClassVar[str]
    #: What the code can do; a probe of the server narrows it down.
    declared: ClassVar[frozenset[Capability]] = frozenset()
    #: Up to so many numbers (vectors times dimensions) every distance is computed, unless the
    #: settings name another limit.
    exact_floats: ClassVar[int] = 2_000_000
    #: The most bytes of a name, where there is a limit.
    name_bytes: ClassVar[int | None] = None
    #: Whether names that differ in case alone are the same.
    folds_names: ClassVar[bool] = False
    #: Whether keys and what counts numbers have names of one space with tables and indexes, and the
    #: constraints of a table different names.
    names_constraints: ClassVar[bool] = True
    #: Whether a table can be given keys once it is there.
    adds_constraints: ClassVar[bool] = True
    #: Whether generated columns need not be stored.
    computes_when_read: ClassVar[bool] = False
    #: Whether the database numbers rows in a primary key of one column, and nowhere else.
    numbers_keys_only: ClassVar[bool] = False
    #: Whether the type of a column says what it holds.
    keeps_types: ClassVar[bool] = True
    #: The kinds whose values are stored in one way each, so that a table with a key of them can be
    #: read on from behind a row.
    ordered: ClassVar[frozenset[str]] = frozenset({"integer", "float", "text", "bytes"})
    #: The options of a SQLAlchemy `Table` whose numbers are never given out again.
    numbered_once: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    #: What the probe found; set when the engine is attached.
    report: ServerReport
    #: Set by the store over the engine.
    search_settings: SearchSettings = SearchSettings()

    def create_engine(self, url: sa.URL, settings: Settings, *, create: bool) -> Engine:
        """Make the engine; `create` allows a database that is a file to be made."""
        return sa.create_engine(url, hide_parameters=True)

    def exists(self, url: sa.URL) -> bool:
        """Tell whether there is a database, where opening one may make it."""
        return True

    def remove(self, url: sa.URL) -> None:
        """Remove a database that was made by opening it, and that nothing was written to."""

    def attach(self, engine: Engine) -> None:
        """Add to this one engine (ours or the host's) the listeners that the rest relies on.

        Raises `ConfigurationError` for an engine that cannot be worked with.
        """

    def close(self, engine: Engine) -> None:
        """Close the connections of an engine of ours that is not used any more."""
        engine.dispose()

    def before_fork(self, engine: Engine) -> None:
        """Let go, in the parent, of what a child must not even inherit."""

    def after_fork(self, engine: Engine) -> None:
        """Make anew, in the child, what it cannot share with its parent."""
        engine.dispose(close=False)

    def probe(self, connection: Connection) -> ServerReport:
        """Find out what this server can do."""
        return ServerReport(version="unknown", capabilities=self.declared)

    def learn(self, connection: Connection) -> None:
        """Find out what SQL for this database depends on, where no backend was attached."""

    def adopt(self, connection: Connection) -> None:
        """Take up what the server has gained; called before an upgrade, in its transaction."""

    def execution_options(self, access: Access) -> Mapping[str, Any]:
        """Return the options of a connection that is used for `access`."""
        return {"isolation_level": "AUTOCOMMIT"} if access is Access.STATEMENT else {}

    def writing(self) -> AbstractContextManager[None]:
        """Hold back other writers of this process, where the engine would make them wait badly."""
        return nullcontext()

    def translate(self, error: BaseException) -> DatastoreError | None:
        """Return our error for one of the driver's, by its code; None for any other."""
        return DatabaseError(type(error).__name__)

    def scrub(self, error: BaseException) -> None:
        """Take values of rows and parameters out of the driver's message."""

    def insert_many(self, connection: Connection, insert: BulkInsert) -> int:
        """Insert rows within the transaction of `connection`, reading them in batches."""
        return sum(insert.by_core(connection, values) for values in insert.batches(CORE_BATCH))

    def scanning(self, connection: Connection) -> AbstractContextManager[None]:
        """Let whole tables be read without keeping them in memory."""
        return nullcontext()

    def read(self, connection: Connection, reading: TableReading) -> Batches:
        """Read the rows of a table, within the transaction of `connection`.

        Nothing else may be done with the connection until the last batch was read.
        """
        statement = reading.statement(*reading.columns)
        readers = [Reader(lambda _: None, kind.check) for kind in reading.kinds]
        with connection.execution_options(stream_results=True).execute(statement) as rows:
            yield from read_batches(rows, readers, reading.batch_rows)

    def limit(self, type_: TypeEngine[Any]) -> Callable[[Any], None] | None:
        """Return what raises `InvalidValueError` for values that a column would refuse or change.

        They are values of the column's kind. None where it holds all of them as they are.
        """
        return None

    def place(self, connection: Connection) -> Hashable:
        """Return what tells this database from all others of its dialect, however it is named."""
        url = connection.engine.url
        return url.host, url.port, url.database

    def take_time(self, connection: Connection) -> None:
        """Let this transaction last, and its statements too, without limit."""

    def write_alike(self, connection: Connection) -> None:
        """Let the text of values be the same in this transaction whatever the database has set."""

    @contextmanager
    def loading(
        self,
        connection: Connection,
        tables: Sequence[sa.Table],
        definitions: Sequence[IndexDefinition],
    ) -> Iterator[None]:
        """Make tables fast to load, and all of their rows be checked at the end.

        Within the transaction of `connection`. Search indexes are made anew at the end, over all
        rows; foreign keys that are checked row by row are checked there too, if they can be.
        """
        for definition in definitions:
            execute(drop_element(definition), connection)
        yield
        for definition in definitions:
            execute(create_element(definition), connection)

    def reset_identities(
        self,
        connection: Connection,
        tables: Sequence[sa.Table],
        reached: Mapping[tuple[str, str], int],
    ) -> None:
        """Let the next key that the database makes be one behind those that are there.

        By table and column, `reached` are numbers that were given out before and are not there.
        """

    def inspect(self, connection: Connection) -> FoundDatabase:
        """Find the tables of the database, whoever made them, within one transaction."""
        raise CapabilityError(
            "tables as they are found",
            found=self.display_name,
            needed="a backend that can look for them",
            remedy="declare the tables, and copy without --reflect",
        )

    def relation_names(self, connection: Connection) -> frozenset[str]:
        """Return the names of tables, views, indexes and the like, which no other may have."""
        found = sa.inspect(connection)
        return frozenset((*found.get_table_names(), *found.get_view_names()))

    def indexes(self, connection: Connection) -> Mapping[str, Sequence[FoundIndex]]:
        """Return the indexes of each table that has some."""
        return {}

    def column_type(self, type_: TypeEngine[Any]) -> TypeEngine[Any]:
        """Return the type by which a found column of a portable type is created here."""
        return type_

    def compares_as_text(self, type_: TypeEngine[Any]) -> bool:
        """Tell whether values of a found type are compared as the texts that they are stored as."""
        return False

    def is_reserved(self, name: str, *, of_column: bool) -> bool:
        """Tell whether the database keeps a name for a table, or a column, of its own."""
        return False

    def moment(self, moment: Moment, kind: Kind[Any]) -> str | None:
        """Return SQL for the time of an insert, as a default of a column; None if there is none."""
        return None

    def vector_lengths(self, connection: Connection, column: sa.Column[Any]) -> list[int]:
        """Return the different lengths of the vectors in a column, in order."""
        found = connection.execute(sa.select(column).where(column.is_not(None)))
        return sorted({len(vector) for (vector,) in found.yield_per(CORE_BATCH)})

    @contextmanager
    def migrating(self, connection: Connection) -> Iterator[None]:
        """Let one process at a time change the schema; commit at the end, roll back on an error."""
        with connection.begin():
            yield

    def search_objects(self, connection: Connection) -> SearchObjects:
        """Find the search indexes in the database, by their fingerprints."""
        return SearchObjects()

    @property
    def memory_limit(self) -> int:
        """Return how many bytes this process may spend on indexes that it keeps in memory."""
        return self.search_settings.memory * 2**20

    @property
    def exact_limit(self) -> int:
        """Up to how many numbers (vectors times dimensions) every distance is computed."""
        given = self.search_settings.exact_floats
        return self.exact_floats if given is None else given

    def index_statistics(
        self, connection: Connection, definition: IndexDefinition
    ) -> IndexStatistics:
        """Look how a search index is doing."""
        return IndexStatistics()

    def search_method(self) -> tuple[Method, tuple[str, ...]]:
        """Return how vectors are searched, and notes for the reader."""
        return "exact", ()

    def optimize(self, connection: Connection, metric: Metric) -> None:
        """Build or refresh what searches need; called outside a transaction.

        `metric` is the one of the store's vector space, by which indexes of several models compare.
        """

    def schema_changed(self, engine: Engine) -> None:
        """Let go of what connections remember of the schema; called after a migration."""

    def backup(self, connection: Connection, path: str) -> None:
        """Write a consistent copy of the database to a file that does not exist yet."""
        raise self.unable(Capability.BACKUP, remedy="use the server's own tools")

    def unable(self, capability: Capability, *, remedy: str) -> CapabilityError:
        """Return the error of something that this server was found unable to do."""
        return CapabilityError(
            capability.value, found=self.display_name, needed=capability.name, remedy=remedy
        )
