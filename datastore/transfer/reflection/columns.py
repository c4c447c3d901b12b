"""The columns that expressions may name, and what both databases make of comparisons of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from datastore.backends.base import Backend
from datastore.inspection import FoundColumn, FoundTable, LongDecimal
from datastore.kinds import kind_of
from datastore.transfer.reflection.expressions import Column
from datastore.transfer.reflection.meanings import Element


def known_columns(
    found: FoundTable, source: Backend, target: Backend, element: Callable[[FoundColumn], Element]
) -> Mapping[str, Column]:
    """Return the columns of a table by their names; `element` says how one is written."""
    return {
        column.name: Column(
            element(column),
            kind_of(column.type),
            column.unlike or _unlike(column, source, target),
            column.unordered,
            source.compares_as_text(column.type),
        )
        for column in found.columns
    }


def _unlike(column: FoundColumn, source: Backend, target: Backend) -> str:
    for backend in (source, target):
        if isinstance(column.type, LongDecimal) and backend.compares_as_text(column.type):
            return f"{backend.display_name} compares decimals of so many digits as text"
    return ""
