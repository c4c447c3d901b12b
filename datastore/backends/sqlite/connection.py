"""Connections to SQLite: how they are opened, set up, and how their transactions begin."""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
import sqlite_vec
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from datastore.backends.base import Access
from datastore.backends.sqlite.driver import can_load_extensions
from datastore.backends.sqlite.functions import register_distances
from datastore.errors import (
    ConnectionFailedError,
    DatabaseError,
    PermissionDeniedError,
    TransientError,
)

logger = logging.getLogger("datastore")

#: The execution option by which a connection says what it is used for; a `base.Access`.
ACCESS = "datastore_access"
#: Seconds; long, since a waiting writer is better than a failed one.
BUSY_TIMEOUT = 30.0
_PREPARED, _QUERY_ONLY = "datastore_prepared", "datastore_query_only"

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


def file_uri(url: sa.URL, *, create: bool) -> str:
    """Return the URI to open, having made the file where it is missing and may be made.

    An in-memory database gets a name of its own in SQLite's shared `memdb` file system, so that
    every connection of one engine sees the same data.
    """
    if url.database in (None, "", ":memory:"):
        return f"file:/datastore-{uuid.uuid4().hex}?vfs=memdb"
    path = Path(str(url.database)).expanduser().absolute()
    mode = str(url.query.get("mode", "rw"))
    if not path.exists():
        if not create or mode != "rw":
            raise ConnectionFailedError(f"there is no database file {path}")
        _make_file(path)
    return f"file:{quote(str(path))}?mode={mode}"


def _make_file(path: Path) -> None:
    # For the owner alone: SQLite would make it readable for everyone, and gives -wal and -shm the
    # mode of the main file.
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except PermissionError as error:
        raise PermissionDeniedError(f"no permission to make the database file {path}") from error
    except OSError as error:
        message = f"the database file {path} cannot be made: {error.strerror}"
        raise ConnectionFailedError(message) from error


def open_by_uri(engine: Engine, module: Any, uri: str, busy_timeout: float) -> None:
    """Let `engine` open `uri`; its URL stays the plain path, for people."""

    @event.listens_for(engine, "do_connect")
    def connect(*_: Any) -> Any:
        return module.connect(uri, uri=True, check_same_thread=False, timeout=busy_timeout)


def listen(engine: Engine, *, wal: bool = True, busy_timeout: float = BUSY_TIMEOUT) -> None:
    """Set up every connection of `engine`, also those that its pool holds already."""

    @event.listens_for(engine, "connect")
    def connect(dbapi_connection: Any, record: Any) -> None:
        prepare(dbapi_connection, wal=wal, busy_timeout=busy_timeout)
        record.info[_PREPARED] = True

    @event.listens_for(engine, "checkout")
    def checkout(dbapi_connection: Any, record: Any, _proxy: Any) -> None:
        if _PREPARED not in record.info:
            connect(dbapi_connection, record)

    event.listen(engine, "begin", begin)


def prepare(connection: Any, *, wal: bool = True, busy_timeout: float = BUSY_TIMEOUT) -> None:
    """Set up one connection of the driver."""
    connection.isolation_level = None  # else the driver opens transactions of its own
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={int(busy_timeout * 1000)}")
    if wal:
        _enter_wal(cursor)
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
    register_distances(connection, native=load_sqlite_vec(connection))


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
    """Begin as the connection's access needs it; without one, deferred as SQLite does."""
    options = connection.get_execution_options()
    access = options.get(ACCESS)
    driver_connection: Any = connection.connection.dbapi_connection
    if driver_connection.isolation_level is not None:
        driver_connection.isolation_level = None  # SQLAlchemy resets it after AUTOCOMMIT
    _set_query_only(connection, access is Access.READ)
    if access is Access.STATEMENT or options.get("isolation_level") == "AUTOCOMMIT":
        return
    connection.exec_driver_sql("BEGIN IMMEDIATE" if access is Access.WRITE else "BEGIN")


def _set_query_only(connection: Connection, wanted: bool) -> None:
    if connection.info.get(_QUERY_ONLY, False) is not wanted:
        connection.exec_driver_sql(f"PRAGMA query_only={'ON' if wanted else 'OFF'}")
        connection.info[_QUERY_ONLY] = wanted


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
