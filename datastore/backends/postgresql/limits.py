"""What columns of PostgreSQL do not hold of the values that other engines let in.

The server refuses most of them, without saying which column it was; some it changes silently.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from datastore.errors import InvalidValueError

Check: TypeAlias = Callable[[Any], None]

_SINGLE = struct.Struct("<f")
#: FLOAT(n) of so many bits is of single precision (PostgreSQL manual, 8.1.3).
_SINGLE_BITS = 24


def limit(type_: TypeEngine[Any]) -> Check | None:
    """Return what refuses such values, None for a type that holds all of its kind."""
    if isinstance(type_, sa.Enum) and type_.native_enum:
        return _labels(frozenset(type_.enums))
    if isinstance(type_, sa.String):
        return _text(type_)
    if isinstance(type_, sa.SmallInteger):
        return _bits(16)
    if isinstance(type_, sa.Integer) and not isinstance(type_, sa.BigInteger):
        return _bits(32)
    if isinstance(type_, sa.Float) and _is_single(type_):
        return _single
    return None


def _is_single(type_: sa.Float[Any]) -> bool:
    if isinstance(type_, sa.REAL):
        return True
    precision = None if isinstance(type_, sa.Double) else type_.precision
    return precision is not None and precision <= _SINGLE_BITS


def _bits(number: int) -> Check:
    held = range(-(2 ** (number - 1)), 2 ** (number - 1))

    def check(value: int) -> None:
        if value not in held:
            raise InvalidValueError(f"expected an integer of {number} bits")

    return check


def _single(value: float) -> None:
    try:
        (held,) = _SINGLE.unpack(_SINGLE.pack(value))
    except OverflowError:
        held = None
    if held != value:
        raise InvalidValueError("expected a float of single precision")


def _labels(labels: frozenset[str]) -> Check:
    def check(value: str) -> None:
        if value not in labels:
            raise InvalidValueError("expected one of the labels of the enumeration")

    return check


def _text(type_: sa.String) -> Check | None:
    length, padded = type_.length, isinstance(type_, sa.CHAR)
    if length is None:
        return None

    def check(value: str) -> None:
        if len(value) > length:
            raise InvalidValueError(f"expected text of at most {length} characters")
        if padded and value.endswith(" "):
            raise InvalidValueError("expected text without spaces at its end, for CHAR adds some")

    return check
