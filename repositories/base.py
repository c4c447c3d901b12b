"""What the repositories have in common."""

from __future__ import annotations

import operator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any, SupportsIndex, TypeAlias

import sqlalchemy as sa

from datastore import Datastore, Settings, Transaction
from datastore.errors import InvalidValueError
from datastore.types import check_text

Session: TypeAlias = Datastore | Transaction

DEFAULT_NAMESPACE = "default"
#: Records that are written together, and rows per page of an iteration.
BATCH = 500
#: What a column of type `Integer` holds on both engines.
INT32 = range(-(2**31), 2**31)
#: Bytes of UTF-8 in a namespace, an id or a type; in a name; in a path. Several of them stand in a
#: row of an index, which holds some 2,700 bytes on PostgreSQL.
MOST_KEY, MOST_NAME, MOST_PATH = 500, 1_000, 2_000


class Repository:
    """Base: one namespace, over a store or within a transaction."""

    def __init__(self, session: Session, namespace: str = DEFAULT_NAMESPACE) -> None:
        self.session = session
        self.namespace = key("namespace", namespace)

    def _parameters(self, **values: Any) -> dict[str, Any]:
        return {"namespace": self.namespace, **values}

    def _snapshot(self) -> AbstractContextManager[Transaction]:
        """Let several statements read one state."""
        if isinstance(self.session, Transaction):
            return nullcontext(self.session)
        return self.session.transaction(read_only=True)

    def _count(self, table: sa.Table) -> int:
        mine = table.c.namespace == sa.bindparam("namespace")
        statement = sa.select(sa.func.count().label("n")).select_from(table).where(mine)
        return int(self.session.query(statement, self._parameters())[0]["n"])


def whole(what: str, value: SupportsIndex, least: int, most: float = float("inf")) -> int:
    """Return an integer, of numpy's too, as an `int`; raise `InvalidValueError` for all else."""
    try:
        number = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = least - 1
    if not least <= number <= most:
        raise InvalidValueError(f"{what}: expected a whole number from {least} to {most}")
    return number


def text(what: str, value: str) -> str:
    """Return a text as it is; raise `InvalidValueError` for all else."""
    if not isinstance(value, str):
        raise InvalidValueError(f"{what}: expected a text, got {type(value).__name__}")
    return value


def key(what: str, value: str, most: int = MOST_KEY) -> str:
    """Return a text that an index can hold; raise `InvalidValueError` for all else."""
    check_text(text(what, value))
    if 4 * len(value) > most and len(value.encode()) > most:
        raise InvalidValueError(f"{what}: expected at most {most:,} bytes of UTF-8")
    return value


def is_text(value: str) -> bool:
    """Tell whether both engines can store a text."""
    try:
        check_text(value)
    except InvalidValueError:
        return False
    return True


def now() -> datetime:
    """Return the present instant."""
    return datetime.now(UTC)


def settings_of(session: Session) -> Settings:
    """Return the settings of the store behind `session`."""
    return session.store.settings if isinstance(session, Transaction) else session.settings
