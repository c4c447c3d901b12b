"""Portable column types: one Python value, one meaning, a dialect-level type for each dialect.

A portable type checks and normalises the value; its dialect-level type, registered by a backend,
names the column type and does the wire format. What one engine would refuse, both refuse, with one
error.

| type           | Python                | SQLite                      | PostgreSQL          |
|----------------|-----------------------|-----------------------------|---------------------|
| `Vector`       | float32 `ndarray`     | BLOB, float32 little-endian | `vector(n)`         |
| `UTCDateTime`  | aware `datetime`, UTC | BIGINT, microseconds        | `timestamptz`       |
| `TextArray`    | `list[str]`           | JSON text                   | `TEXT[]`            |
| `JSONDocument` | JSON value            | JSON text                   | `JSONB`             |
| `Text`         | `str`                 | TEXT                        | `TEXT COLLATE "C"`  |
| `RowKey`       | `int`                 | INTEGER (the rowid)         | BIGINT              |
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from datastore.errors import DimensionError, InvalidValueError

T = TypeVar("T")
FloatVector: TypeAlias = NDArray[np.float32]
DialectType: TypeAlias = Callable[[Any], TypeEngine[Any]]

#: pgvector's limit on the dimensions of a stored vector (README of pgvector 0.8, "Vector Type").
MAX_DIMENSIONS = 16_000
#: What a 64-bit signed integer holds, the widest integer of both engines.
INT64 = range(-(2**63), 2**63)

_encode_json = json.JSONEncoder(allow_nan=False).encode
_dialect_types: dict[tuple[type[Any], str], DialectType] = {}


def register_dialect_type(
    portable: type[PortableType[Any]], dialect: str, build: DialectType
) -> None:
    """Let `build(portable_type)` make the dialect-level type of `portable`; backends call this."""
    _dialect_types[portable, dialect] = build


class PortableType(TypeDecorator[T]):
    """Base of the portable types; a dialect without a type of its own uses the plain `impl`."""

    __abstract__ = True
    cache_ok = True  # SQLAlchemy asks every class for its own

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type that a backend registered for this dialect."""
        build = _dialect_types.get((type(self), dialect.name))
        return build(self) if build else self.impl_instance

    def process_many(self, values: Sequence[Any], dialect: Dialect) -> Sequence[Any]:
        """Return what `process_bind_param` makes of each value; some types know a faster way."""
        return [self.process_bind_param(value, dialect) for value in values]

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Text(PortableType[str]):
    """Unicode text without NUL or lone surrogates, compared and sorted by code point."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Raise `InvalidValueError` for text that PostgreSQL cannot store."""
        return None if value is None else check_text(value)

    def process_many(self, values: Sequence[Any], dialect: Dialect) -> Sequence[Any]:
        """Check texts by looking at all of them as one."""
        texts = set(map(type, values)) <= {str, type(None)}
        if texts and _is_storable("".join(filter(None, values))):
            return values
        return super().process_many(values, dialect)


class RowKey(PortableType[int]):
    """The integer key that search indexes refer to; on SQLite it is the rowid itself."""

    impl = sa.BigInteger
    cache_ok = True

    def process_many(self, values: Sequence[Any], dialect: Dialect) -> Sequence[Any]:
        """Leave them to the driver."""
        return values


class UTCDateTime(PortableType[datetime]):
    """An instant, to the microsecond. Refuses naive values, returns them in UTC."""

    impl = sa.TIMESTAMP(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Raise `InvalidValueError` for a value without a time zone."""
        if value is None:
            return None
        if not isinstance(value, datetime):
            raise InvalidValueError(f"instant: expected a datetime, got {type(value).__name__}")
        if value.utcoffset() is None:
            raise InvalidValueError("instant: expected an aware datetime, got a naive one")
        return value if value.tzinfo is UTC else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the instant in UTC, whatever the time zone of the session."""
        return None if value is None else value.astimezone(UTC)


class TextArray(PortableType[list[str]]):
    """A list of texts; NULL is not an empty list."""

    impl = sa.JSON(none_as_null=True)
    cache_ok = True

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> list[str] | None:
        """Raise `InvalidValueError` unless `value` is a sequence of texts."""
        if value is None:
            return None
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise InvalidValueError(f"text array: expected texts, got {type(value).__name__}")
        return [check_text(item) for item in value]


class JSONDocument(PortableType[Any]):
    """Any JSON value without NaN, infinity, NUL or integers beyond 64 bits; None is SQL NULL."""

    impl = sa.JSON(none_as_null=True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Raise `InvalidValueError` for what is not JSON to both engines."""
        if value is not None:
            check_json(value)
        return value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Return the document as it was stored."""
        return restored_json(value)

    def literal_processor(self, dialect: Dialect) -> Any:
        """Render a document as a text literal."""
        quoted = sa.Text().dialect_impl(dialect).literal_processor(dialect)
        if quoted is None:
            raise InvalidValueError(f"JSON: dialect {dialect.name} has no text literals")
        return lambda value: quoted(json.dumps(self.process_bind_param(value, dialect)))

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        """Let an index such as `column["key"]` keep the type of the key."""
        return self.impl_instance.coerce_compared_value(op, value)  # type: ignore[no-any-return, no-untyped-call, unused-ignore]


class Vector(PortableType[FloatVector]):
    """A vector of finite float32 numbers, not zero; `dimensions=None` leaves the length open."""

    impl = sa.LargeBinary
    cache_ok = True

    def __init__(self, dimensions: int | None = None) -> None:
        super().__init__()
        if dimensions is not None and not 1 <= dimensions <= MAX_DIMENSIONS:
            raise InvalidValueError(f"dimensions: expected 1 to {MAX_DIMENSIONS}, got {dimensions}")
        self.dimensions = dimensions

    def __repr__(self) -> str:
        return f"Vector({self.dimensions or ''})"

    def process_bind_param(self, value: Any, dialect: Dialect) -> FloatVector | None:
        """Raise `DimensionError` or `InvalidValueError` as `as_vector` does."""
        return None if value is None else as_vector(value, self.dimensions)

    def process_many(self, values: Sequence[Any], dialect: Dialect) -> Sequence[Any]:
        """Set up numpy once, which takes as long as the vector itself."""
        with np.errstate(all="ignore"):
            return [None if value is None else _vector(value, self.dimensions) for value in values]


def as_vector(value: Any, dimensions: int | None = None) -> FloatVector:
    """Return `value` (list, tuple or array of numbers) as a contiguous little-endian float32 array.

    Raises `DimensionError` for another length than `dimensions`, `InvalidValueError` for anything
    that is no vector of finite numbers, or whose norm is zero or infinite in float32: its distance
    to others would be NaN.
    """
    with np.errstate(all="ignore"):
        return _vector(value, dimensions)


def _vector(value: Any, dimensions: int | None) -> FloatVector:
    vector = _float32(value)
    if dimensions is not None and vector.size != dimensions:
        raise DimensionError(expected=dimensions, got=vector.size)
    if not 1 <= vector.size <= MAX_DIMENSIONS:
        raise DimensionError(expected=MAX_DIMENSIONS, got=vector.size, what="vector, at most")
    _check_norm(vector)
    return vector


def _float32(value: Any) -> FloatVector:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError):
        raise InvalidValueError("vector: expected numbers, got nested or mixed values") from None
    if array.dtype.kind not in "fiu":
        raise InvalidValueError(f"vector: expected numbers, got {type(value).__name__}")
    if array.ndim != 1:
        raise InvalidValueError(f"vector: expected one dimension of numbers, got {array.ndim}")
    return np.ascontiguousarray(array, dtype="<f4")


def _check_norm(vector: FloatVector) -> None:
    squared = float(np.dot(vector, vector))  # NaN or infinite where any number is
    if squared != 0.0 and math.isfinite(squared):
        return
    if not np.isfinite(vector).all():
        raise InvalidValueError("vector: expected finite float32 numbers, found NaN or infinity")
    raise InvalidValueError("vector: expected a norm that float32 can hold, found zero or infinity")


def check_text(value: str) -> str:
    """Return `value`, or raise `InvalidValueError` for what not both engines can store."""
    if not isinstance(value, str):
        raise InvalidValueError(f"text: expected str, got {type(value).__name__}")
    if "\x00" in value:
        raise InvalidValueError("text: found a NUL character, which PostgreSQL cannot store")
    if not _is_storable(value):
        raise InvalidValueError("text: found a lone surrogate, which is no Unicode text")
    return value


def _is_storable(text: str) -> bool:
    if text.isascii():
        return "\x00" not in text
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


def check_integer(value: int) -> int:
    """Return `value`, or raise `InvalidValueError` where it needs more than 64 bits."""
    if value not in INT64:
        raise InvalidValueError("integer: expected at most 64 bits")
    return value


def check_json(value: Any) -> None:
    """Raise `InvalidValueError` unless `value` is JSON that both engines can store."""
    pending = [value]
    try:
        _encode_json(value)  # refuses cycles and foreign types, which a walk would not
    except (TypeError, ValueError, RecursionError):
        raise InvalidValueError(
            "JSON: expected JSON values without NaN, infinity or cycles"
        ) from None
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            check_text(item)
        elif isinstance(item, dict):
            pending.extend(_checked_keys(item))
        elif isinstance(item, list | tuple):
            pending.extend(item)
        elif isinstance(item, int):
            check_integer(item)


def restored_json(value: Any) -> Any:
    """Return a document as it was stored, from what JSONB made of its numbers."""
    # JSONB writes 1e300 as an integer. An integer beyond 64 bits was never stored, so it was a
    # float.
    if isinstance(value, dict):
        return {key: restored_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [restored_json(item) for item in value]
    return float(value) if isinstance(value, int) and value not in INT64 else value


def _checked_keys(item: dict[Any, Any]) -> Sequence[Any]:
    if not all(isinstance(key, str) for key in item):
        raise InvalidValueError("JSON: expected text keys")
    return [*item.keys(), *item.values()]
