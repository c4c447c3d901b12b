"""The error tree.

Every error that leaves this library is a `DatastoreError`. A message says what was found and what
was expected; it never holds a password, a bound parameter or the value of a row.
"""

from __future__ import annotations

import difflib


class DatastoreError(Exception):
    """Base of every error raised by this library."""


class ConfigurationError(DatastoreError):
    """Settings that are unknown, contradictory or incomplete; names the key, shows no value."""


class EmbeddingMismatchError(ConfigurationError):
    """Vectors of one space where those of another are: `found` is recorded, `expected` is claimed.

    `aspect` says what differs: model, dimensions, metric or normalized.
    """

    def __init__(self, aspect: str, *, found: object, expected: object, claimant: str) -> None:
        super().__init__(
            f"embedding.{aspect}: the vectors of this store are of {found!r}, {claimant} "
            f"{expected!r}; use what is recorded, or change it: `datastore reembed`"
        )
        self.aspect = aspect
        self.found = found
        self.expected = expected


class BackendNotFoundError(ConfigurationError):
    """No backend is registered for the dialect of this engine."""

    def __init__(self, name: str, available: tuple[str, ...]) -> None:
        alike = difflib.get_close_matches(name, available, 1)
        meant = f"did you mean {alike[0]}? Otherwise " if alike else ""
        super().__init__(
            f"no backend for the dialect {name!r}: found {', '.join(sorted(available))}; "
            f"{meant}a package adds one through the entry point group 'datastore.backends'"
        )
        self.name = name
        self.available = available


class CapabilityError(DatastoreError):
    """The server at hand cannot do what was asked of it."""

    def __init__(self, feature: str, *, found: str, needed: str, remedy: str) -> None:
        super().__init__(f"{feature}: found {found}, needed {needed}; {remedy}")
        self.feature = feature
        self.found = found
        self.needed = needed
        self.remedy = remedy


class MigrationError(DatastoreError):
    """A migration could not be run."""


class SchemaTooNewError(MigrationError):
    """The database was migrated by a later version of the code than this one."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(
            f"the database is at revision {found}, which this code does not know: "
            f"it knows revisions up to {expected}; update the code, nothing was written"
        )
        self.found = found
        self.expected = expected


class SchemaMissingError(MigrationError):
    """The tables are not there (yet); names the command that creates them."""

    def __init__(self, found: str, *, table: str | None = None) -> None:
        super().__init__(f"{found}; run `datastore upgrade` (or `store.migrate()`)")
        self.found = found
        self.table = table


class TransferError(DatastoreError):
    """Data could not be exported, imported or copied."""

    def __init__(
        self,
        message: str,
        *,
        table: str | None = None,
        key: str | None = None,
        line: int | None = None,
    ) -> None:
        super().__init__(message)
        self.table = table
        self.key = key
        self.line = line


class NotFoundError(DatastoreError):
    """A record that was asked for by its key is not there."""


class EmbeddingError(DatastoreError):
    """An embedder failed: a server that cannot be reached, or no answer that can be used."""


class EmbeddingRefusedError(EmbeddingError):
    """An embedder refused these texts, or made no vectors of them; others it may take."""


class InvalidValueError(DatastoreError, ValueError):
    """A value that no engine is allowed to store or search for."""


class DimensionError(InvalidValueError):
    """A vector of the wrong length."""

    def __init__(self, *, expected: int, got: int, what: str = "vector") -> None:
        super().__init__(f"{what}: expected {expected} dimensions, got {got}")
        self.expected = expected
        self.got = got


class UnknownNameError(InvalidValueError):
    """A table, column, index or model of that name does not exist."""


class DatabaseError(DatastoreError):
    """An error reported by the database; `code` is its SQLSTATE or SQLite result code name.

    `remedy` is what a user of the command line can do about it, where that is known.
    """

    def __init__(self, message: str, *, code: str | None = None, remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.remedy = remedy


class ConnectionFailedError(DatabaseError):
    """The database cannot be reached, does not exist, or turned us away."""


class TransientError(DatabaseError):
    """Nothing was changed and the same transaction may succeed when tried again."""


class QueryTimeoutError(DatabaseError):
    """A statement ran longer than it may."""


class ReadOnlyError(DatabaseError):
    """A write where only reading is possible."""


class CorruptDatabaseError(DatabaseError):
    """The file or its pages are damaged, or are no database at all."""


class DiskFullError(DatabaseError):
    """No space left; the transaction was rolled back."""


class PermissionDeniedError(DatabaseError):
    """The role or the file mode does not allow this."""


class IntegrityError(DatabaseError):
    """A constraint was violated; `constraint` is its name, or the columns where it has none."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        remedy: str = "",
        constraint: str | None = None,
    ) -> None:
        super().__init__(message, code=code, remedy=remedy)
        self.constraint = constraint


class UniqueViolation(IntegrityError):  # noqa: N818 - PostgreSQL's name of the condition
    """A key that must be unique exists already."""


class ForeignKeyViolation(IntegrityError):  # noqa: N818
    """A row refers to one that is not there, or is referred to."""


class NotNullViolation(IntegrityError):  # noqa: N818
    """A value is missing."""


class CheckViolation(IntegrityError):  # noqa: N818
    """A row fails a check constraint."""
