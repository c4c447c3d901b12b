"""SQLSTATE codes and the errors that they mean (PostgreSQL manual, appendix A)."""

from __future__ import annotations

import re
from typing import Any

from datastore.backends.postgresql.fallback import DISTANCES
from datastore.backends.prose import stands_in_statement, without_values
from datastore.errors import (
    CapabilityError,
    CheckViolation,
    ConfigurationError,
    ConnectionFailedError,
    CorruptDatabaseError,
    DatabaseError,
    DatastoreError,
    DiskFullError,
    ForeignKeyViolation,
    IntegrityError,
    InvalidValueError,
    NotNullViolation,
    PermissionDeniedError,
    QueryTimeoutError,
    ReadOnlyError,
    SchemaMissingError,
    TransientError,
    UniqueViolation,
    UnknownNameError,
)

_CONSTRAINTS: dict[str, tuple[type[IntegrityError], str]] = {
    "23502": (NotNullViolation, "NOT NULL constraint"),
    "23503": (ForeignKeyViolation, "foreign key"),
    "23505": (UniqueViolation, "unique constraint"),
    "23514": (CheckViolation, "check constraint"),
}
#: By the whole code, or else by its class (the first two characters).
_CODES: dict[str, tuple[type[DatabaseError], str]] = {
    "08": (ConnectionFailedError, "the connection to the server failed"),
    "25006": (ReadOnlyError, "the server, or this transaction, is read-only"),
    "25P02": (DatabaseError, "the transaction was aborted by an earlier error"),
    "25P03": (QueryTimeoutError, "the transaction was idle for longer than it may be"),
    "28": (ConnectionFailedError, "the server turned down the user or the password"),
    "3D": (ConnectionFailedError, "there is no such database"),
    "40": (TransientError, "the transaction could not be serialized with another, or deadlocked"),
    "42501": (PermissionDeniedError, "the role lacks a privilege"),
    "53100": (DiskFullError, "the disk of the server is full"),
    "53300": (ConnectionFailedError, "the server has no connection left"),
    "54011": (DatabaseError, "PostgreSQL takes no more than 1,600 columns"),
    "55P03": (TransientError, "a lock was not to be had in time"),
    "57014": (QueryTimeoutError, "the statement ran longer than it may, or was cancelled"),
    "57P01": (TransientError, "the server ended the connection"),
    "57P02": (TransientError, "the server crashed and ended the connection"),
    "57P03": (ConnectionFailedError, "the server is starting up or shutting down"),
    "XX001": (CorruptDatabaseError, "the data on the server are damaged"),
    "XX002": (CorruptDatabaseError, "an index on the server is damaged"),
}
_UNDEFINED_TABLE = "42P01"
_UNDEFINED_FUNCTION = "42883"
_UNDEFINED_NAME = ("42703", "42704", _UNDEFINED_FUNCTION)
_SYNTAX = "42601"
#: Beyond a limit of the program, such as a text too long for full text.
_TOO_MUCH = "54000"
_LIMITS = (
    "a value is larger than PostgreSQL takes there: about 2,700 bytes in a key or an index, 1 MiB "
    "of words in full text"
)
#: Whose text names objects of the schema, and no value: "already exists" and the like.
_NAMING = (
    _UNDEFINED_TABLE, *_UNDEFINED_NAME, "0A000", "2BP01", "3F000", "42501", "42701", "42702",
    "42710", "42723", "42725", "42803", "42804", "42P07", "42P16", "55006",
)  # fmt: skip
REMEDY = (
    "install pgvector on the server, then run CREATE EXTENSION vector (or datastore upgrade) as a "
    "role that may create extensions"
)
TRIGRAM_REMEDY = (
    "install PostgreSQL's contrib modules on the server (the package postgresql-contrib of Debian "
    "and of Red Hat), then run CREATE EXTENSION pg_trgm as a role that may create extensions"
)
#: What an extension is needed for, what people call it, and how to get it.
_EXTENSIONS = {
    "vector": ("vectors", "pgvector", REMEDY),
    "pg_trgm": ("substring search", "pg_trgm", TRIGRAM_REMEDY),
}
#: A distance of arrays, asked of pgvector's type.
_CONVERTED = re.compile(rf"({'|'.join(DISTANCES.values())})\((\w+\.)?vector, ")
#: What migrations make for statements to call.
_OURS = re.compile(r"\bdatastore_\w+\(|\"vector\"")
_QUOTED = re.compile(r'"([^"]+)"')

# libpq reports a failed connection without a code: here alone the message decides.
_CONNECTING = {
    "password authentication failed": "the server turned down the user or the password",
    "no password supplied": "the server asks for a password, and none is set: PGPASSWORD holds "
    "one for any URL, PG_PASSWORD one for the host of the settings or, where they name none, any",
    "does not exist": "there is no such database or role",
    "refused": "nothing listens at that host and port",
    "resolve": "the name of the host is unknown",
    "timeout expired": "no answer within the connect timeout",
    "too many": "the server has no connection left",
    "read-only": "no server of the wanted kind (target_session_attrs)",
    "SSL": "the server and this client do not agree on TLS",
}


_UNKNOWN_OPTION = re.compile(r'invalid (?:connection option|URI query parameter:) "(\w+)"')
_CREATE = "CREATE DATABASE makes one, on a server that runs"


def translate(error: Any) -> DatastoreError:
    """Return our error for one raised by psycopg."""
    code = getattr(error, "sqlstate", None)
    name = type(error).__name__
    if code is None:
        return _without_code(error, name)
    if code in _CONSTRAINTS:
        return _constraint(error, code)
    if extension := _extension(error):
        feature, needed, remedy = _EXTENSIONS[extension]
        return CapabilityError(feature, found=_prose(error), needed=needed, remedy=remedy)
    if code == _TOO_MUCH:
        return InvalidValueError(f"{_LIMITS} ({name}, {code})")
    if code.startswith("22"):
        return InvalidValueError(f"a value is not valid for its type ({name}, {code})")
    if code == _UNDEFINED_TABLE:
        name = _first_name(error)
        return SchemaMissingError(f"there is no table {name}", table=name.rpartition(".")[2])
    if is_outdated(error):
        return TransientError(
            "the vectors were converted to pgvector's type while this engine was open; try again "
            f"({name}, {code})",
            code=code,
        )
    if code in _UNDEFINED_NAME and _OURS.search(_primary(error)):
        return SchemaMissingError("functions and types that migrations make are not there")
    if code in _UNDEFINED_NAME:
        return UnknownNameError(
            f"there is no {name.removeprefix('Undefined').lower()}: {_prose(error)}"
        )
    error_class, text = _CODES.get(code) or _CODES.get(code[:2]) or (DatabaseError, _prose(error))
    remedy = _CREATE if code.startswith("3D") else ""
    return error_class(f"{text} ({name}, {code})", code=code, remedy=remedy)


def is_outdated(error: Any) -> bool:
    """Tell whether a statement was made for a database that has been converted since."""
    undefined = getattr(error, "sqlstate", None) == _UNDEFINED_FUNCTION
    return undefined and _CONVERTED.search(_primary(error)) is not None


def _constraint(error: Any, code: str) -> IntegrityError:
    error_class, what = _CONSTRAINTS[code]
    diagnostics = error.diag
    constraint = diagnostics.constraint_name or diagnostics.column_name
    where = " of ".join(filter(None, (constraint, diagnostics.table_name)))
    return error_class(
        f"{what} violated on {where} ({type(error).__name__}, {code})",
        code=code,
        constraint=constraint,
    )


def _without_code(error: Any, name: str) -> DatastoreError:
    if unknown := _UNKNOWN_OPTION.search(str(error)):
        return ConfigurationError(f"the PostgreSQL URL has the unknown option {unknown[1]}")
    if name in ("DataError", "ProgrammingError", "InterfaceError", "NotSupportedError"):
        return InvalidValueError(f"a value cannot be sent to the server ({name})")
    message = str(error)
    reasons = (text for mark, text in _CONNECTING.items() if mark in message)
    reason = next(reasons, "the connection to the server failed")
    remedy = _CREATE if "does not exist" in message else ""
    return ConnectionFailedError(reason, remedy=remedy)


def _extension(error: Any) -> str | None:
    # The place in the server's source is the same in every language of its messages.
    if error.diag.source_file != "extension.c":
        return None
    return next((name for name in _EXTENSIONS if name in _primary(error)), None)


def _prose(error: Any) -> str:
    """Return what the server says, but not where RAISE or a parser quotes what it got."""
    # With a place in the statement, it is the statement's syntax; without, that of a value.
    syntax = error.sqlstate == _SYNTAX and error.diag.statement_position
    if syntax or error.sqlstate in _NAMING:
        return without_values(error, _primary(error))
    return "the server refused it"


def _primary(error: Any) -> str:
    return str(error.diag.message_primary or type(error).__name__)


def _first_name(error: Any) -> str:
    found = _QUOTED.search(_primary(error))
    # "schema.table" is one name to the server, and may be two in the statement.
    known = found and stands_in_statement(error, found[1].rpartition(".")[2])
    return found[1] if found and known else "of that name"


def scrub(error: Any) -> None:
    """Leave of the server's message what holds no value of a row, a parameter or the password."""
    code = getattr(error, "sqlstate", None)
    name = type(error).__name__
    if code is None:
        error.args = (f"{name}: {_without_code(error, name)}",)
    elif code in _NAMING:
        error.args = (_prose(error),)
    else:
        error.args = (f"{name} ({code})",)
