"""How the portable types are stored by SQLite."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
import sqlalchemy as sa
from sqlalchemy.types import UserDefinedType

from datastore.backends.substrings import substrings
from datastore.textquery import TRIGRAM, Term, TextQuery, TextQueryType
from datastore.types import RowKey, TextArray, UTCDateTime, Vector, register_dialect_type

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_encode = json.JSONEncoder(ensure_ascii=False).encode

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
        return lambda value: None if value is None else _microseconds(value)

    def result_processor(self, dialect: Any, coltype: Any) -> Processor:
        """Read an integer."""
        return lambda value: None if value is None else _EPOCH + value * _MICROSECOND

    def literal_processor(self, dialect: Any) -> Processor:
        """Render an integer literal."""
        return lambda value: str(_microseconds(value))


def _microseconds(value: datetime) -> int:
    # What dividing by a microsecond gives, in half the time.
    passed = value - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds


class JSONText(UserDefinedType[Any]):
    """A list as JSON text, which `json_each` takes apart."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Name the column type."""
        return "JSON"

    def bind_processor(self, dialect: Any) -> Processor:
        """Send text."""
        return lambda value: None if value is None else _encode(value)

    def result_processor(self, dialect: Any, coltype: Any) -> Processor:
        """Read text."""
        return lambda value: None if value is None else json.loads(value)

    def literal_processor(self, dialect: Any) -> Processor:
        """Render a text literal."""
        return lambda value: _quoted(_encode(value))


class MatchExpressions(UserDefinedType[TextQuery]):
    """A query as two FTS5 expressions that FTS5 cannot refuse, in a JSON array.

    The first ranks: it matches every text with a scored term. The second, or null, narrows: FTS5
    has no operator for a term that may but need not be there.
    """

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Name the column type."""
        return "TEXT"

    def bind_processor(self, dialect: Any) -> Processor:
        """Send the expressions."""
        return match_expressions

    def literal_processor(self, dialect: Any) -> Processor:
        """Render a text literal."""
        return lambda value: _quoted(match_expressions(value))


class SubstringExpressions(MatchExpressions):
    """The two FTS5 expressions of a query of substrings, and a list of substrings to scan for.

    The list is there where a substring is shorter than FTS5 can match, and then it holds all of the
    query, and the expressions match nothing; otherwise it is empty.
    """

    cache_ok = True

    def bind_processor(self, dialect: Any) -> Processor:
        """Send expressions and list."""
        return substring_expressions

    def literal_processor(self, dialect: Any) -> Processor:
        """Render a text literal."""
        return lambda value: _quoted(substring_expressions(value))


def substring_expressions(query: TextQuery) -> str:
    """Render the two expressions and the list."""
    given = substrings(query)
    if all(len(row["term"]) >= TRIGRAM for row in given):
        return json.dumps([*_expressions(query), []], ensure_ascii=False)
    return json.dumps([*_expressions(TextQuery(())), given], ensure_ascii=False)


def match_expressions(query: TextQuery) -> str:
    """Render the two expressions."""
    return json.dumps(_expressions(query), ensure_ascii=False)


def _expressions(query: TextQuery) -> list[str | None]:
    # The empty phrase, where nothing is scored, matches nothing.
    ranking = _joined(" OR ", query.scored) or '""'
    narrowing = _joined(" AND ", query.required) or ranking
    if query.excluded:
        narrowing = f"({narrowing}) NOT ({_joined(' OR ', query.excluded)})"
    is_narrower = query.required or query.excluded
    return [ranking, narrowing if is_narrower else None]


def _joined(operator: str, terms: Iterable[Term]) -> str:
    return operator.join(_phrase(" ".join(term.words)) + "*" * term.prefix for term in terms)


def _phrase(words: str) -> str:
    return '"' + words.replace('"', '""') + '"'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


register_dialect_type(Vector, "sqlite", lambda _: VectorBlob())
register_dialect_type(UTCDateTime, "sqlite", lambda _: EpochMicroseconds())
register_dialect_type(TextArray, "sqlite", lambda _: JSONText())
register_dialect_type(RowKey, "sqlite", lambda _: sa.Integer())
register_dialect_type(
    TextQueryType,
    "sqlite",
    lambda query: SubstringExpressions() if query.tokenizer == "trigram" else MatchExpressions(),
)
