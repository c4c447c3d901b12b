"""What columns of SQLite do not hold of the values that other engines let in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from datastore.errors import InvalidValueError

_EPOCH = datetime(1970, 1, 1)
_SHORTEST, _LONGEST = datetime.min - _EPOCH, datetime.max - _EPOCH


def limit(type_: TypeEngine[Any]) -> Callable[[Any], None] | None:
    """Return what refuses such values, None for a type that holds all of its kind."""
    if isinstance(type_, sa.Numeric) and not isinstance(type_, sa.Float):
        return _decimal
    if isinstance(type_, sa.Interval):
        return _interval
    return None


def _decimal(value: Decimal) -> None:
    if Decimal(repr(float(value))) != value:
        raise InvalidValueError("expected a decimal of at most 15 digits, as SQLite stores floats")


def _interval(value: timedelta) -> None:
    if not _SHORTEST <= value <= _LONGEST:
        raise InvalidValueError("expected an interval that leads from 1970 to the years 1 to 9999")
