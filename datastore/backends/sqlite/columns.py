"""Column types for tables that were found elsewhere: declared and written as SQLite users do.

Each declared type is one from which the type can be told again (`declared.py`), and none of which
SQLite makes other values: an array of text is declared as `TEXT[]` and holds JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

from datastore.backends.sqlite.reading import reader
from datastore.inspection import LongDecimal, Moment
from datastore.kinds import Kind, kind_of
from datastore.types import JSONDocument, Vector

#: The moment of an insert for columns of these kinds.
MOMENTS: Mapping[tuple[Moment, str], str] = {
    (Moment.INSTANT, "timestamp"): "CURRENT_TIMESTAMP",
    (Moment.INSTANT, "instant"): "CURRENT_TIMESTAMP",
    (Moment.INSTANT, "text"): "CURRENT_TIMESTAMP",
    (Moment.INSTANT, "date"): "CURRENT_DATE",
    (Moment.DAY, "date"): "CURRENT_DATE",
    (Moment.DAY, "text"): "CURRENT_DATE",
    (Moment.DAY, "timestamp"): "CURRENT_DATE",
    (Moment.CLOCK, "time"): "CURRENT_TIME",
    (Moment.CLOCK, "text"): "CURRENT_TIME",
    (Moment.EPOCH, "integer"): "(CAST(strftime('%s', 'now') AS INTEGER))",
}


#: Types whose values are compared as texts, dates aside: these have one form alone.
COMPARED_AS_TEXT = (LongDecimal, sa.DateTime, sa.Time, sa.Uuid)


class _Declared(UserDefinedType[Any]):
    """A type of this name, whose values the driver takes as they are."""

    cache_ok = True

    def __init__(self, declared: str) -> None:
        self.declared = declared

    def get_col_spec(self, **_: Any) -> str:
        """Name the type."""
        return self.declared


class Stored(TypeDecorator[Any]):
    """A portable type, with the name that it is declared by, and how its values are written."""

    impl = sa.Text
    cache_ok = True

    def __init__(
        self, portable: TypeEngine[Any], declared: str, write: Callable[[Any], Any]
    ) -> None:
        super().__init__()
        self.impl = portable  # type: ignore[assignment]
        self.portable, self.declared, self.write = portable, declared, write

    def copy(self, **_: Any) -> Stored:
        """Return another one."""
        return Stored(self.portable, self.declared, self.write)

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type by its name."""
        return _Declared(self.declared)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Write a value."""
        return None if value is None else self.write(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Read a value."""
        return None if value is None else reader(self.portable, kind_of(self.portable)).one(value)


def column_type(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    """Return the type by which a column of a portable type is created."""
    if isinstance(type_, sa.ARRAY):
        declared = f'"{_declared(column_type(type_.item_type))}[]"'
        return Stored(type_, declared, _list_writer(kind_of(type_)))
    if isinstance(type_, Vector):
        declared = f"F32_BLOB({type_.dimensions})" if type_.dimensions else "F32_BLOB"
        return Stored(type_, declared, lambda value: value.tobytes())
    if isinstance(type_, sa.Numeric) and not isinstance(type_, sa.Float):
        is_text = isinstance(type_, LongDecimal)
        return Stored(type_, _decimal_name(type_), _digits if is_text else _decimal_text)
    if isinstance(type_, JSONDocument):
        return Stored(type_, "JSON", _json_text)
    for class_, declared, write in _WRITTEN:
        if isinstance(type_, class_):
            zoned = getattr(type_, "timezone", False)
            return Stored(type_, "TIMESTAMPTZ" if zoned else declared, write)
    return type_


def _declared(type_: TypeEngine[Any]) -> str:
    return type_.declared if isinstance(type_, Stored) else type_.compile()


def _decimal_name(type_: sa.Numeric[Any]) -> str:
    # SQLite keeps a NUMERIC of more digits than a double holds as the nearest double.
    name = "DECIMAL_TEXT" if isinstance(type_, LongDecimal) else "NUMERIC"
    return name if type_.precision is None else f"{name}({type_.precision}, {type_.scale or 0})"


def _decimal_text(value: Any) -> str:
    return format(value, "f")


def _digits(value: Any) -> str:
    # Texts are equal if they are the same, and keys are compared as texts.
    text = _decimal_text(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _json_text(value: Any) -> str:
    return "null" if value is sa.JSON.NULL else json.dumps(value, ensure_ascii=False)


def _list_writer(kind: Kind[Any]) -> Callable[[Any], str]:
    return lambda value: _json_text(kind.to_json(value))


def _timestamp(value: datetime) -> str:
    # With the zone where there is one, and sorted as texts as they are as instants.
    return (value if value.tzinfo is None else value.astimezone(UTC)).isoformat(" ")


def _iso(value: date | time) -> str:
    return value.isoformat()


_WRITTEN: tuple[tuple[type, str, Callable[[Any], Any]], ...] = (
    (sa.DateTime, "TIMESTAMP", _timestamp),
    (sa.Date, "DATE", _iso),
    (sa.Time, "TIME", _iso),
    (sa.Uuid, "UUID", str),
)
