"""The databases of a run: stores of ours, and bare connections for the peers."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Hashable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
import psycopg
import sqlalchemy as sa
import sqlite_vec
from psycopg.adapt import Buffer, Dumper, Loader
from psycopg.pq import Format
from psycopg.types import TypeInfo
from threadpoolctl import threadpool_limits

from datastore import Datastore
from datastore.backends.sqlite.driver import pick_driver
from datastore.testing.postgres import PostgresServer

T = TypeVar("T")

#: As durable as a server is by default, and roomy enough for the data of a case.
SERVER_SETTINGS: Mapping[str, str] = {
    "autovacuum": "off",  # it would come between two contestants
    "fsync": "on",
    "full_page_writes": "on",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "4GB",
    "shared_buffers": "512MB",
}
#: What the store sets on its own connections (`datastore.backends.sqlite.connection`).
PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=NORMAL",
    "foreign_keys=ON",
    "temp_store=MEMORY",
    "cache_size=-65536",
)


class Workbench:
    """What cases need; its databases are gone after the `with` block."""

    def __init__(self, quick: bool) -> None:
        self.quick = quick
        self.rounds = 3 if quick else 5
        self._stack = ExitStack()
        self._subject = ExitStack()
        self._kept: dict[Hashable, Any] = {}
        self._server: PostgresServer | None = None
        self._folder = Path()
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        # numpy gets one thread, as a search of ours has one.
        self._stack.enter_context(threadpool_limits(1, "blas"))
        self._folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="datastore-")))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end_subject()
        self._stack.close()

    def end_subject(self) -> None:
        """Close what the cases of a subject shared, and forget it."""
        self._kept.clear()
        self._subject.close()
        self._subject = ExitStack()

    def size(self, full: int, quick: int) -> int:
        """Choose by the kind of run."""
        return quick if self.quick else full

    def kept(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what the first case of a subject that asked for it made."""
        if key not in self._kept:
            self._kept[key] = make()
        found: T = self._kept[key]
        return found

    def sqlite(self, metadata: sa.MetaData | None = None) -> Datastore:
        """Return a store over a new file with these tables, or else with those of ours."""
        path = self._folder / f"store-{next(self._numbers)}.db"
        return self._store(f"sqlite:///{path}", metadata)

    def postgresql(self, metadata: sa.MetaData | None = None) -> Datastore:
        """Return a store over a new database with these tables, or else with those of ours."""
        server, name = self.server, f"bench_{next(self._numbers)}"
        server.create_database(name)
        self._subject.callback(server.drop_database, name)
        with closing(self._connection(sa.make_url(server.url(name)))) as connection:
            connection.execute("CREATE EXTENSION vector")
        return self._store(server.url(name), metadata)

    def raw_sqlite(self, store: Datastore | None = None) -> Any:
        """Return a bare connection of the driver: to the file of `store`, or to a new file."""
        path = store.engine.url.database if store else None
        path = path or str(self._folder / f"raw-{next(self._numbers)}.db")
        module = pick_driver().module
        connection = module.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.enable_load_extension(True)
        sqlite_vec.load(connection)
        return self._subject.enter_context(closing(connection))

    def raw_postgresql(self, store: Datastore) -> psycopg.Connection[Any]:
        """Return a bare connection of psycopg, in autocommit, that knows vectors as bytes."""
        connection = self._connection(store.engine.url)
        self._subject.enter_context(closing(connection))
        info = TypeInfo.fetch(connection, "vector")
        assert info is not None
        info.register(connection)
        dumper = type("WireDumper", (_WireDumper,), {"oid": info.oid})
        connection.adapters.register_dumper(WireVector, dumper)
        connection.adapters.register_loader(info.oid, _WireLoader)
        return connection

    @property
    def server(self) -> PostgresServer:
        """The server, started when it is first asked for."""
        if self._server is None:
            server = PostgresServer(settings=SERVER_SETTINGS)
            self._server = self._stack.enter_context(server)
        return self._server

    def _connection(self, url: sa.URL) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=url.host,
            port=url.port,
            user=url.username,
            password=url.password,
            dbname=url.database,
            autocommit=True,
        )

    def _store(self, url: str, metadata: sa.MetaData | None) -> Datastore:
        store = self._subject.enter_context(Datastore.open(url))
        if metadata is None:
            store.migrate()
        else:
            metadata.create_all(store.engine)
        return store


class WireVector:
    """A vector in pgvector's wire format, as a hand-written program would send it."""

    __slots__ = ("data",)

    def __init__(self, vector: np.ndarray) -> None:
        self.data = struct.pack(">HH", vector.size, 0) + vector.astype(">f4").tobytes()


class _WireDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: WireVector) -> Buffer:
        return obj.data


class _WireLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> np.ndarray:
        return np.frombuffer(data, ">f4", offset=4).astype("<f4")


def settle(bench: Workbench, store: Datastore) -> Datastore:
    """Make a store ready to be read, on a server as autovacuum would have done by then."""
    store.optimize()
    if store.dialect == "postgresql":
        bench.raw_postgresql(store).execute("VACUUM ANALYZE")
    return store


def drain(connection: psycopg.Connection[Any], table: str) -> Callable[[], object]:
    """Return what empties a table of a server."""
    return lambda: connection.execute(f"TRUNCATE {table} CASCADE")
