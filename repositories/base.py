"""What the repositories have in common."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import SupportsIndex, TypeAlias, TypeVar

from datastore import Datastore, Settings, Transaction
from datastore.errors import InvalidValueError
from datastore.types import INT64, check_text

T = TypeVar("T")
Session: TypeAlias = Datastore | Transaction

DEFAULT_NAMESPACE = "default"
#: Rows per statement of a bulk insert.
BATCH = 500
#: What an integer column holds on both engines.
INT32 = range(-(2**31), 2**31)


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


def whole(what: str, value: SupportsIndex, least: int, most: int = INT64[-1]) -> int:
    """Return an integer, numpy's included; raise `InvalidValueError` for others and bounds."""
    try:
        number = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = least - 1
    if not least <= number <= most:
        raise InvalidValueError(f"{what}: expected a whole number from {least} to {most}")
    return number


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
