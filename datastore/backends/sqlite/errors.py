"""SQLite's result codes and the errors that they mean."""

from __future__ import annotations

import re
from typing import Any

from datastore.backends.prose import stands_in_statement, without_values
from datastore.errors import (
    CapabilityError,
    CheckViolation,
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

TEXT_REMEDY = "use a current SQLite that was built with FTS5: pip install 'pysqlite3>=0.6.1'"

#: Primary result codes (https://sqlite.org/rescode.html), with what they say to a user.
_PRIMARY: dict[int, tuple[type[DatabaseError], str]] = {
    3: (PermissionDeniedError, "access to the database file was denied"),
    5: (TransientError, "the database is locked by another connection"),
    6: (TransientError, "a table is locked by this process"),
    8: (ReadOnlyError, "the database, or this transaction, is read-only"),
    9: (QueryTimeoutError, "the statement was interrupted"),
    11: (CorruptDatabaseError, "the database file is damaged"),
    13: (DiskFullError, "the disk is full"),
    14: (ConnectionFailedError, "the database file cannot be opened"),
    23: (PermissionDeniedError, "not authorized"),
    26: (CorruptDatabaseError, "the file is no SQLite database"),
}
_CONSTRAINT, _RAISED = 19, 1811
#: Extended codes of a violated constraint.
_CONSTRAINTS: dict[int, tuple[type[IntegrityError], str]] = {
    275: (CheckViolation, "check constraint"),
    787: (ForeignKeyViolation, "foreign key"),
    1299: (NotNullViolation, "NOT NULL constraint"),
    1555: (UniqueViolation, "primary key"),
    1811: (CheckViolation, "check of a trigger"),
    2067: (UniqueViolation, "unique constraint"),
    2579: (UniqueViolation, "primary key"),
}
# pysqlite3 gives the primary code alone, which leaves the words before "constraint failed".
_CONSTRAINT_WORDS = {"CHECK": 275, "FOREIGN KEY": 787, "NOT NULL": 1299, "UNIQUE": 2067}
_READ_ONLY = 8
_TOO_BIG, _MISMATCH = 18, 20
# SQLITE_ERROR (1) is what everything else is called, so here alone the message decides.
_NO_FULL_TEXT = re.compile(r"no such module: fts5|no such tokenizer: \w+")
_NO_TABLE = re.compile(r"no such table: ([\w.]+)")
# From sqlite-vec, and from a function in Python.
_NOT_COMPARABLE = re.compile(r"^Vector dimension mis|^user-defined function raised exception")
# What SQLite adds to its fixed words: in quotes, or after a colon.
_ADDED = re.compile(r"""(?<=["'])(.+)(?=["'])|(?<=: ).+$""", re.DOTALL)
_NO_COLUMN = re.compile(r"(no such column: |has no column named |no such function: )([\w.]+)")


def translate(error: Any) -> DatastoreError:
    """Return our error for one raised by a SQLite driver."""
    code = getattr(error, "sqlite_errorcode", None)
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    message = str(error)
    if code is None:
        return _without_code(error, name)
    if code & 0xFF == _CONSTRAINT:
        return _constraint(code, name, message)
    if code in (_TOO_BIG, _MISMATCH):
        return InvalidValueError(f"a value is too big or of the wrong type ({name})")
    if code & 0xFF in _PRIMARY:
        error_class, text = _PRIMARY[code & 0xFF]
        return error_class(f"{text} ({name})", code=name)
    return _by_message(error, name)


def is_read_only(error: Any) -> bool:
    """Tell whether SQLite would have had to write."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF == _READ_ONLY


def unreadable(error: Any) -> ReadOnlyError:
    """Return our error where writing was needed although nothing was asked but to read."""
    name = error.sqlite_errorname
    return ReadOnlyError(
        "to read this database SQLite must write beside the file, which it may not: it is in "
        f"write-ahead mode, or was left by a crash ({name})",
        code=name,
        remedy="make the folder writable, or copy the database to one that is",
    )


def scrub(error: Any) -> None:
    """Leave of SQLite's message what holds no value of a row or of a parameter."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None or code & 0xFF != _CONSTRAINT:  # those name columns and constraints
        error.args = (_told(error),)


def _constraint(code: int, name: str, message: str) -> IntegrityError:
    words, failed, constraint = message.partition(" constraint failed")
    if code == _CONSTRAINT:
        code = _CONSTRAINT_WORDS.get(words, _RAISED) if failed else _RAISED
    error_class, what = _CONSTRAINTS.get(code, (IntegrityError, "constraint"))
    constraint = constraint.removeprefix(": ") if failed else words
    where = f" on {constraint}" if constraint else ""
    return error_class(f"{what} violated{where} ({name})", code=name, constraint=constraint or None)


def _without_code(error: Any, name: str) -> DatastoreError:
    # Raised by the driver itself, before SQLite saw the value.
    if name in ("InterfaceError", "ProgrammingError", "DataError", "NotSupportedError"):
        return InvalidValueError(
            f"a value cannot be bound or a statement is no single one ({name})"
        )
    return _by_message(error, name)


def _by_message(error: Any, name: str) -> DatastoreError:
    message = str(error)
    if found := _NO_FULL_TEXT.search(message):
        needed = "FTS5 and its tokenizers (SQLite 3.35)"
        return CapabilityError("full text", found=found[0], needed=needed, remedy=TEXT_REMEDY)
    if found := _NO_TABLE.search(message):
        name = _name(error, found[1])
        return SchemaMissingError(f"there is no table {name}", table=name.rpartition(".")[2])
    if found := _NO_COLUMN.search(message):
        kind = "function" if "function" in found[1] else "column"
        return UnknownNameError(f"there is no {kind} {_name(error, found[2])}")
    if _NOT_COMPARABLE.search(message):
        return InvalidValueError("a function refused its arguments, such as vectors of two lengths")
    return DatabaseError(f"SQLite: {_told(error)}", code=name)


def _name(error: Any, name: str) -> str:
    # FTS5 says "no such column" of a word of the query.
    return name if stands_in_statement(error, name) else "of that name"


def _told(error: Any) -> str:
    return without_values(error, str(error), _ADDED)
