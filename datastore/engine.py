"""Engines with a backend attached, and connections for what they are used for."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from functools import cache, partial
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from datastore.backends import backend_at, backend_class
from datastore.backends.base import Access, Backend
from datastore.errors import ConfigurationError, DatabaseError, DatastoreError
from datastore.settings import Settings, display_url
from datastore.translation import refuse_incapable, translated

logger = logging.getLogger("datastore")

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
    backend = backend_at(url)()
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
    event.listen(engine, "handle_error", partial(refuse_incapable, backend=backend))
    options = backend.execution_options(Access.STATEMENT)
    try:
        with translated(backend), engine.execution_options(**options).connect() as connection:
            backend.report = backend.probe(connection)
    except DatabaseError as error:
        backend.close(engine)
        message = f"{error}: {describe(engine)}"
        raise type(error)(message, code=error.code, remedy=error.remedy) from error.__cause__
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
    # From the root: of two views on one another, the inner one's isolation level would win.
    return _root(engine).execution_options(**_options(engine, access))


def connector(engine: Engine, access: Access) -> Callable[[], Connection]:
    """Return what opens a connection that is used for `access`.

    A view would set the isolation level by an event, and each statement would look for the
    listeners of two engines: that takes as long as SQLite takes to answer.
    """
    root, options = _root(engine), _options(engine, access)

    def connect() -> Connection:
        connection = root.connect()
        try:
            return connection.execution_options(**options)
        except BaseException:
            connection.close()
            raise

    return connect


def _options(engine: Engine, access: Access) -> dict[str, Any]:
    return {**engine.get_execution_options(), **backend_of(engine).execution_options(access)}


def describe(engine: Engine) -> str:
    """Return where an engine leads to, without a password, fit to be shown."""
    return display_url(engine.url.set(drivername=engine.url.get_backend_name()))
