"""Reading one batch ahead, while the one before it is written or added up."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()


def prefetched(items: Iterator[T]) -> Iterator[T]:
    """Yield the same items, each read by another thread before it is asked for."""
    with ThreadPoolExecutor(1, "datastore-prefetch") as executor:
        upcoming = executor.submit(next, items, _END)
        try:
            while (item := upcoming.result()) is not _END:
                upcoming = executor.submit(next, items, _END)
                yield item
        finally:
            if isinstance(items, Generator):
                executor.submit(items.close)
