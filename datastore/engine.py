"""Engines with a backend attached, and connections for what they are used for."""

from __future__ import annotations

import logging
import os
import re
import threading
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, CursorResult, Engine, MappingResult
from sqlalchemy.sql import Executable

from datastore.backends import backend_class
from datastore.backends.base import Access, Backend
from datastore.errors import ConfigurationError, DatabaseError, DatastoreError
from datastore.settings import Settings, display_url
from datastore.translation import translated

logger = logging.getLogger("datastore")

_GAP = r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*"
#: SQL text that changes nothing, unless a part of WITH does.
_READS = re.compile(
    rf"{_GAP}(SELECT|WITH|VALUES|TABLE|SHOW|EXPLAIN|PRAGMA)\b", re.IGNORECASE | re.DOTALL
)
_WRITES_WITHIN = re.compile(
    rf"{_GAP}WITH\b.*\b(INSERT|UPDATE|DELETE|MERGE|REPLACE)\b", re.IGNORECASE | re.DOTALL
)

_attached: WeakKeyDictionary[Engine, Backend] = WeakKeyDictionary()
# Reentrant, since a probe opens a connection, which may run anything of the host's.
_attaching = threading.RLock()
# The pools that a forked child was born with. They are kept: closing a connection that the parent
# uses, which collecting it would do, disturbs the parent.
_inherited: list[Any] = []


def create_engine(settings: Settings, *, create: bool = True) -> Engine:
    """Make the engine that `settings` describe, with its backend attached and its server probed.

    `create` allows a SQLite file to be made. Raises `ConnectionFailedError` and its siblings where
    the database cannot be reached.
    """
    url = settings.database_url()
    backend = backend_class(url.get_dialect().name)()
    engine = backend.create_engine(url, settings, create=create)
    _attach(engine, backend)
    logger.info("opened %s", describe(engine))
    return engine


def backend_of(engine: Engine) -> Backend:
    """Return the backend of an engine, attaching one to an engine of the host's on first sight.

    Attaching adds listeners to this one engine: they set up its connections and begin its
    transactions as the verbs of a store need it.
    """
    root = _root(engine)
    with _attaching:
        if root not in _attached:
            _attach(root, backend_class(root.dialect.name)())
        return _attached[root]


def _root(engine: Engine) -> Engine:
    # `Engine.execution_options` gives a view with events of its own. Listeners on the engine behind
    # it serve all views, and serve them once.
    while (behind := getattr(engine, "_proxied", None)) is not None:
        engine = behind
    return engine


def _attach(engine: Engine, backend: Backend) -> None:
    _check_driver(engine, backend)
    backend.attach(engine)
    options = backend.execution_options(Access.STATEMENT)
    try:
        with translated(backend), engine.execution_options(**options).connect() as connection:
            backend.report = backend.probe(connection)
    except DatabaseError as error:
        backend.close(engine)
        raise type(error)(f"{error}: {describe(engine)}", code=error.code) from error.__cause__
    except DatastoreError:
        backend.close(engine)
        raise
    _watch_forks()
    _attached[engine] = backend


def _check_driver(engine: Engine, backend: Backend) -> None:
    dialect = engine.dialect
    if backend.driver and (dialect.driver != backend.driver or dialect.is_async):
        raise ConfigurationError(
            f"the engine uses the driver {dialect.name}+{dialect.driver}"
            f"{' (asynchronous)' if dialect.is_async else ''}, and {backend.display_name} needs "
            f"{backend.name}+{backend.driver}"
        )


def _before_fork() -> None:
    for engine, backend in list(_attached.items()):
        backend.before_fork(engine)


def _after_fork() -> None:
    global _attaching  # a thread of the parent may have held it
    _attaching = threading.RLock()
    for engine, backend in list(_attached.items()):
        _inherited.append(engine.pool)
        backend.after_fork(engine)


@cache
def _watch_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before_fork, after_in_child=_after_fork)


def access_engine(engine: Engine, access: Access) -> Engine:
    """Return a view of `engine`, over the same pool, whose connections are used for `access`."""
    options = backend_of(engine).execution_options(access)
    # From the root: of two views on one another, the inner one's isolation level would win.
    return _root(engine).execution_options(**{**engine.get_execution_options(), **options})


def access_of(statement: object) -> Access:
    """What a query does: one that writes gets a transaction, lest a mistake be committed."""
    text = statement.text if isinstance(statement, sa.TextClause) else statement
    if isinstance(text, str):
        reads = _READS.match(text) and not _WRITES_WITHIN.match(text)
    else:
        reads = not isinstance(text, sa.UpdateBase | sa.schema.ExecutableDDLElement)
    return Access.STATEMENT if reads else Access.WRITE


def describe(engine: Engine) -> str:
    """Return where an engine leads to, without a password, fit to be shown."""
    return display_url(engine.url.set(drivername=engine.url.get_backend_name()))


def execute(connection: Connection, statement: Executable, params: Any) -> CursorResult[Any]:
    """Run a statement, and make what a driver says of its arguments an error of SQLAlchemy."""
    try:
        return connection.execute(statement, params, execution_options={"preserve_rowcount": True})
    except (TypeError, connection.dialect.loaded_dbapi.Warning) as error:
        # For a value, or for several statements, that it does not even send.
        raise exc.StatementError(type(error).__name__, None, None, error) from None


def rows(connection: Connection, statement: Executable, params: Any) -> MappingResult:
    """Run a statement that returns rows."""
    result = execute(connection, statement, params)
    if not result.returns_rows:
        raise exc.ResourceClosedError("no rows")
    return result.mappings()
