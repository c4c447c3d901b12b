"""Which portable type a column of PostgreSQL has, by what its catalog says of the type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from datastore.types import MAX_DIMENSIONS, JSONDocument, Text, Vector


@dataclass(frozen=True)
class CatalogType:
    """A type of the catalog: that of the elements for an array, what stands behind a domain.

    `modifier` is `atttypmod`, -1 without one; `own` is said of a type that is not PostgreSQL's.
    """

    name: str
    written: str
    sort: str
    modifier: int = -1
    own: bool = False


_PLAIN: Mapping[str, Callable[[], TypeEngine[Any]]] = {
    "int2": sa.SmallInteger,
    "int4": sa.Integer,
    "int8": sa.BigInteger,
    "bool": sa.Boolean,
    "float4": sa.Double,
    "float8": sa.Double,
    "text": Text,
    "bytea": sa.LargeBinary,
    "date": sa.Date,
    "time": sa.Time,
    "timestamp": sa.DateTime,
    "timestamptz": lambda: sa.DateTime(timezone=True),
    "uuid": sa.Uuid,
    "json": JSONDocument,
    "jsonb": JSONDocument,
}
_NOTES = {
    "float4": "real becomes double precision, which holds the same numbers",
    "json": "json becomes jsonb: the same documents, without their spelling",
    "bpchar": "the blanks that char(n) adds at the end, and does not count, are left out",
}
_TEXTS = ("text", "varchar", "bpchar")
#: Modifiers of lengths and of numeric count from here (VARHDRSZ).
_HEADER = 4


def portable(found: CatalogType) -> tuple[TypeEngine[Any], str | None]:
    """Return the portable type, and what is to be said about it."""
    note = _NOTES.get(found.name)
    if found.own:
        return _other(found)
    if found.name in _PLAIN:
        return _PLAIN[found.name](), note
    if found.name in ("varchar", "bpchar"):
        length = found.modifier - _HEADER
        return (sa.String(length) if length > 0 else Text()), note
    if found.name == "numeric":
        return _numeric(found)
    return _other(found)


def _numeric(found: CatalogType) -> tuple[TypeEngine[Any], str | None]:
    if found.modifier < _HEADER:
        return sa.Numeric(), None
    packed = found.modifier - _HEADER
    precision, scale = packed >> 16, packed & 0x7FF
    if scale > precision or scale > 0x3FF:  # PostgreSQL 15 lets a scale be negative or larger
        return sa.Numeric(), f"{found.written} becomes numeric without limits"
    return sa.Numeric(precision, scale), None


def _other(found: CatalogType) -> tuple[TypeEngine[Any], str | None]:
    if found.name == "vector":
        dimensions = found.modifier if 1 <= found.modifier <= MAX_DIMENSIONS else None
        return Vector(dimensions), None
    if found.sort == "e":
        return Text(), f"the enumeration {found.written} becomes text with a check"
    return Text(), f"{found.written} becomes text, as PostgreSQL writes it"


def rounds(row: Any) -> bool:
    """Tell of a row of the catalog whether its type makes other values of what it is given."""
    return row.modifier != -1 or "float4" in (row.base, row.element)


def unlike(row: Any, type_: TypeEngine[Any]) -> str:
    """Return why comparisons of a column that becomes one of `type_` mean something else there."""
    if row.base == "citext":
        return "it is compared without regard to case"
    if row.nondeterministic:
        return "its collation holds different texts for the same"
    if isinstance(type_, Text) and row.base not in _TEXTS and not row.labels:
        return f"{row.written} is not compared as text"
    return ""
