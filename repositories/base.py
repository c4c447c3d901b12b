"""What the repositories have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import TypeAlias, TypeVar

from datastore import Datastore, Settings, Transaction
from datastore.errors import InvalidValueError
from datastore.types import check_text

T = TypeVar("T")
Session: TypeAlias = Datastore | Transaction

DEFAULT_NAMESPACE = "default"
#: Rows per statement of a bulk insert.
BATCH = 500


class Repository:
    """Base: one namespace, over a store or within a transaction."""

    def __init__(self, session: Session, namespace: str = DEFAULT_NAMESPACE) -> None:
        self.session = session
        self.namespace = check_text(namespace)

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        """Begin a transaction, or a savepoint within the one that this repository joined."""
        with self.session.transaction() as transaction:
            yield transaction


def batches(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """Cut an iterable into lists of at most `size`, reading no further than it must."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


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
