"""How the portable types are stored by SQLite."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
import sqlalchemy as sa
from sqlalchemy.types import UserDefinedType

from datastore.textquery import TextQuery, TextQueryType
from datastore.types import RowKey, TextArray, UTCDateTime, Vector, register_half

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# A function of one value; the protocols that SQLAlchemy declares for them are private.
Processor: TypeAlias = Any


class VectorBlob(UserDefinedType[Any]):
    """The bytes of the array: float32, little-endian, as sqlite-vec reads them."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Name the column type."""
        return "BLOB"

    def bind_processor(self, dialect: Any) -> Processor:
        """Send bytes."""
        return lambda value: None if value is None else value.tobytes()

    def result_processor(self, dialect: Any, coltype: Any) -> Processor:
        """Read an array over the bytes, without a copy."""
        return lambda value: None if value is None else np.frombuffer(value, dtype="<f4")

    def literal_processor(self, dialect: Any) -> Processor:
        """Render a blob literal."""
        return lambda value: f"X'{value.tobytes().hex()}'"


class EpochMicroseconds(UserDefinedType[datetime]):
    """Whole microseconds since 1970-01-01 UTC: exact, sortable, and half the size of ISO text."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Name the column type."""
        return "BIGINT"

    def bind_processor(self, dialect: Any) -> Processor:
        """Send an integer."""
        return lambda value: None if value is None else (value - _EPOCH) // _MICROSECOND

    def result_processor(self, dialect: Any, coltype: Any) -> Processor:
        """Read an integer."""
        return lambda value: None if value is None else _EPOCH + value * _MICROSECOND

    def literal_processor(self, dialect: Any) -> Processor:
        """Render an integer literal."""
        return lambda value: str((value - _EPOCH) // _MICROSECOND)


class JSONText(UserDefinedType[Any]):
    """A list as JSON text, which `json_each` takes apart."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Name the column type."""
        return "JSON"

    def bind_processor(self, dialect: Any) -> Processor:
        """Send text."""
        return lambda value: None if value is None else json.dumps(value, ensure_ascii=False)

    def result_processor(self, dialect: Any, coltype: Any) -> Processor:
        """Read text."""
        return lambda value: None if value is None else json.loads(value)

    def literal_processor(self, dialect: Any) -> Processor:
        """Render a text literal."""
        return lambda value: _quoted(json.dumps(value, ensure_ascii=False))


class MatchExpression(UserDefinedType[TextQuery]):
    """The words of a query as an FTS5 expression that FTS5 cannot refuse."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Name the column type."""
        return "TEXT"

    def bind_processor(self, dialect: Any) -> Processor:
        """Send the expression."""
        return match_expression

    def literal_processor(self, dialect: Any) -> Processor:
        """Render a text literal."""
        return lambda value: _quoted(match_expression(value))


def match_expression(query: TextQuery) -> str:
    """Quote every word and OR them; the empty phrase, for no words, matches nothing."""
    return " OR ".join(f'"{word}"' for word in query.words) or '""'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


register_half(Vector, "sqlite", lambda _: VectorBlob())
register_half(UTCDateTime, "sqlite", lambda _: EpochMicroseconds())
register_half(TextArray, "sqlite", lambda _: JSONText())
register_half(RowKey, "sqlite", lambda _: sa.Integer())
register_half(TextQueryType, "sqlite", lambda _: MatchExpression())
