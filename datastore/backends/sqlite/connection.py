"""Connections to SQLite: how they are opened, set up, and how their transactions begin."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import sqlite_vec
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from datastore.backends.base import Access
from datastore.backends.sqlite.candidates import Candidates
from datastore.backends.sqlite.driver import can_load_extensions
from datastore.backends.sqlite.functions import register_distances, register_substrings
from datastore.errors import DatabaseError, TransientError

logger = logging.getLogger("datastore")

#: The execution option by which a connection says what it is used for; a `base.Access`.
ACCESS = "datastore_access"
#: Seconds; long, since a waiting writer is better than a failed one.
BUSY_TIMEOUT = 30.0
_PREPARED, _QUERY_ONLY = "datastore_prepared", "datastore_query_only"
_AUTOCOMMIT, _COLLATIONS = "datastore_autocommit", "datastore_collations"

# busy_timeout comes first: switching to WAL needs a lock that another process may hold.
# synchronous=NORMAL may lose the last commits at a power failure, never the database; recursive
# triggers let REPLACE keep a full-text index right; LIKE means the same as on other engines.
_PRAGMAS = (
    "synchronous=NORMAL",
    "foreign_keys=ON",
    "recursive_triggers=ON",
    "temp_store=MEMORY",
    "cache_size=-65536",
    "case_sensitive_like=ON",
)


def open_by_uri(engine: Engine, module: Any, uri: str, busy_timeout: float) -> None:
    """Let `engine` open `uri`; its URL stays the plain path, for people."""

    @event.listens_for(engine, "do_connect")
    def connect(*_: Any) -> Any:
        return module.connect(uri, uri=True, check_same_thread=False, timeout=busy_timeout)


def listen(
    engine: Engine,
    candidates: Candidates,
    *,
    wal: bool = True,
    busy_timeout: float = BUSY_TIMEOUT,
) -> None:
    """Set up every connection of `engine`, also those that its pool holds already."""

    module: Any = engine.dialect.loaded_dbapi

    @event.listens_for(engine, "connect")
    def connect(dbapi_connection: Any, record: Any) -> None:
        record.info[_AUTOCOMMIT] = dbapi_connection.isolation_level is None
        native = prepare(dbapi_connection, wal=wal, busy_timeout=busy_timeout)
        candidates.register(dbapi_connection, module, native=native)
        record.info[_PREPARED] = True

    @event.listens_for(engine, "checkout")
    def checkout(dbapi_connection: Any, record: Any, _proxy: Any) -> None:
        if _PREPARED not in record.info:
            connect(dbapi_connection, record)

    event.listen(engine, "checkin", _allow_writing)
    event.listen(engine, "checkin", _give_back)
    event.listen(engine, "begin", begin)


def prepare(connection: Any, *, wal: bool = True, busy_timeout: float = BUSY_TIMEOUT) -> bool:
    """Set up one connection of the driver; tell whether it has sqlite-vec."""
    connection.isolation_level = None  # else the driver opens transactions of its own
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={int(busy_timeout * 1000)}")
    if wal:
        _enter_wal(cursor)
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
    native = load_sqlite_vec(connection)
    register_distances(connection, native=native)
    register_substrings(connection)
    return native


def _enter_wal(cursor: Any) -> None:
    mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
    if mode not in ("wal", "memory"):
        with suppress(Exception):  # a read-only file stays in the mode it has, and readable
            cursor.execute("PRAGMA journal_mode=WAL")


def load_sqlite_vec(connection: Any) -> bool:
    """Load the extension where the driver can; extension loading is off again afterwards."""
    if not can_load_extensions(connection):
        return False
    connection.enable_load_extension(True)
    try:
        sqlite_vec.load(connection)
    except Exception as error:
        logger.warning("sqlite-vec cannot be loaded: %s", error)
        return False
    finally:
        connection.enable_load_extension(False)
    return True


def begin(connection: Connection) -> None:
    """Begin as the connection's access needs it; without one, as its engine was made to.

    That is deferred, or not at all where the engine has AUTOCOMMIT or a listener of the host's has
    begun already. Where an access is given, it wins over both.
    """
    access = connection.get_execution_options().get(ACCESS)
    driver_connection: Any = connection.connection.dbapi_connection
    if driver_connection.isolation_level is not None:
        driver_connection.isolation_level = None  # SQLAlchemy resets it after AUTOCOMMIT
    if access is None and (driver_connection.in_transaction or _is_autocommit(connection)):
        return
    if driver_connection.in_transaction:
        driver_connection.rollback()  # the host's own, in which nothing was done yet
    _set_query_only(connection, access is Access.READ)
    if access is not Access.STATEMENT:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if access is Access.WRITE else "BEGIN")


def _is_autocommit(connection: Connection) -> bool:
    level = connection.get_execution_options().get("isolation_level")
    return level == "AUTOCOMMIT" or (level is None and bool(connection.info[_AUTOCOMMIT]))


def _set_query_only(connection: Connection, wanted: bool) -> None:
    if connection.info.get(_QUERY_ONLY, False) is not wanted:
        connection.exec_driver_sql(f"PRAGMA query_only={'ON' if wanted else 'OFF'}")
        connection.info[_QUERY_ONLY] = wanted


def lend_collations(connection: Connection, names: Iterable[str]) -> None:
    """Let this connection read what is sorted by collations that an application brings.

    Until it goes back to its pool: by the order of code points, which is another one, nothing may
    be written to such an index.
    """
    driver_connection: Any = connection.connection.dbapi_connection
    for name in names:
        driver_connection.create_collation(name, lambda one, other: (one > other) - (one < other))
        connection.info.setdefault(_COLLATIONS, []).append(name)


def _give_back(driver_connection: Any, record: Any) -> None:
    for name in record.info.pop(_COLLATIONS, ()):
        if driver_connection is not None:
            driver_connection.create_collation(name, None)


def _allow_writing(driver_connection: Any, record: Any) -> None:
    # For who takes the connection next, perhaps without a transaction that would see to it.
    if record.info.pop(_QUERY_ONLY, False) and driver_connection is not None:
        driver_connection.execute("PRAGMA query_only=OFF")


class WriterLock:
    """Lets the writers of one process wait in line, instead of in SQLite's unfair busy loop."""

    def __init__(self, timeout: float = BUSY_TIMEOUT) -> None:
        self._lock = threading.Lock()
        self._timeout = timeout
        self._owner: int | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; `TransientError` after the timeout, `DatabaseError` at a second taking."""
        if self._owner == threading.get_ident():
            raise DatabaseError(
                "this thread has a write transaction open already, and SQLite allows one at a "
                "time: use that transaction (a repository takes one in the place of the store)"
            )
        if not self._lock.acquire(timeout=self._timeout):
            raise TransientError(f"another writer of this process held on for {self._timeout:g} s")
        self._owner = threading.get_ident()
        try:
            yield
        finally:
            self._owner = None
            self._lock.release()
