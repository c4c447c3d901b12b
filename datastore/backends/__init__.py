"""One folder per dialect, and nothing outside them that knows one.

A backend is registered by importing its package: that registers its halves of the portable types
and its compile handlers, and gives a `Backend` subclass. Third parties name theirs in the entry
point group `datastore.backends`, under the name of their SQLAlchemy dialect.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from sqlalchemy import URL
from sqlalchemy.exc import NoSuchModuleError

from datastore.backends.base import Backend
from datastore.backends.postgresql import PostgreSQLBackend
from datastore.backends.sqlite import SQLiteBackend
from datastore.errors import BackendNotFoundError

ENTRY_POINT_GROUP = "datastore.backends"

_BUILT_IN: dict[str, type[Backend]] = {
    backend.name: backend for backend in (SQLiteBackend, PostgreSQLBackend)
}


@cache
def backend_class(dialect: str) -> type[Backend]:
    """Return the backend of a dialect; raise `BackendNotFoundError` where nobody registered one."""
    if dialect in _BUILT_IN:
        return _BUILT_IN[dialect]
    third_party = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if dialect not in third_party:
        raise BackendNotFoundError(dialect, (*_BUILT_IN, *third_party))
    loaded: type[Backend] = third_party[dialect].load()
    return loaded


def backend_at(url: URL) -> type[Backend]:
    """Return the backend of a URL; raise `BackendNotFoundError` also where it is misspelt."""
    try:
        dialect = url.get_dialect().name
    except NoSuchModuleError:
        dialect = url.get_backend_name()
    return backend_class(dialect)
