"""What the values of a column are, whichever database they stand in.

Data that moves is compared, and written to files, by these: a kind has one Python class, one
canonical encoding, by which rows are digested, and one form in JSON. Two databases hold the same
rows if the encodings of their values are the same.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import struct
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, InvalidOperation
from operator import add
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator, TypeEngine

from datastore.errors import ConfigurationError, InvalidValueError
from datastore.types import (
    INT64,
    FloatVector,
    JSONDocument,
    TextArray,
    UTCDateTime,
    Vector,
    as_vector,
    check_integer,
    check_json,
    check_text,
)

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_DOUBLE = struct.Struct(">d")
#: Floats that JSON cannot write as numbers.
_INFINITIES = {"Infinity": math.inf, "-Infinity": -math.inf}
_dump = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode
#: The key of an object in a file that holds a document which could be taken for something else.
_WRAPPED = "$json"
#: The digits that PostgreSQL stores of a number (manual, 8.1.2), and arithmetic that keeps them.
_MOST_BEFORE, _MOST_BEHIND = 131_072, 16_383
_EXACT = Context(prec=_MOST_BEFORE + _MOST_BEHIND, Emax=MAX_EMAX, Emin=MIN_EMIN)
#: A number in a document that is written with a fraction or an exponent, perhaps.
_FRACTION = re.compile(r"[0-9][.eE]")


class Kind(Generic[T]):
    """Base of the kinds. `name` is how files call it."""

    name: ClassVar[str]
    #: The classes of its values in Python.
    classes: ClassVar[tuple[type, ...]]

    def check(self, value: Any) -> T:
        """Return `value` as one of this kind; raise `InvalidValueError` for any other."""
        if type(value) not in self.classes:
            raise InvalidValueError(f"expected {self.name}, got {type(value).__name__}")
        return value  # type: ignore[no-any-return]

    def encode(self, value: T) -> bytes:
        """Return the canonical encoding."""
        raise NotImplementedError

    def encode_many(self, values: Sequence[T]) -> Sequence[bytes]:
        """Return the encodings of values, none of which is None."""
        return list(map(self.encode, values))

    def to_json(self, value: T) -> Any:
        """Return what stands for a value in JSON."""
        return value

    def from_json(self, item: Any) -> T:
        """Read what `to_json` wrote; raise `InvalidValueError` for anything else."""
        return self.check(item)


class IntegerKind(Kind[int]):
    """Whole numbers of 64 bits."""

    name = "integer"
    classes = (int,)

    def check(self, value: Any) -> int:
        """Refuse booleans and what needs more bits."""
        return check_integer(super().check(value))

    def encode(self, value: int) -> bytes:
        """Write digits."""
        return b"%d" % value


class BooleanKind(Kind[bool]):
    """True and false."""

    name = "boolean"
    classes = (bool,)

    def encode(self, value: bool) -> bytes:
        """Write a letter."""
        return b"t" if value else b"f"


class FloatKind(Kind[float]):
    """Double precision. NaN is refused; -0.0 is 0.0, since SQLite does not keep them apart."""

    name = "float"
    classes = (float,)

    def check(self, value: Any) -> float:
        """Refuse NaN, which equals nothing, not even itself."""
        if math.isnan(super().check(value)):
            raise InvalidValueError("expected a float, got NaN")
        return float(value)

    def encode(self, value: float) -> bytes:
        """Write the eight bytes of IEEE 754."""
        return _DOUBLE.pack(value or 0.0)

    def to_json(self, value: float) -> Any:
        """Write a number, or the name of an infinity."""
        return value if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"

    def from_json(self, item: Any) -> float:
        """Read a number, a whole one too."""
        if isinstance(item, str) and item in _INFINITIES:
            return _INFINITIES[item]
        if type(item) is int:
            item = _exact_float(item)
        if type(item) is float and math.isinf(item):  # 1e999: no float was written so
            raise InvalidValueError("expected a float, got a number beyond its range")
        return self.check(item)


class TextKind(Kind[str]):
    """Unicode text without NUL."""

    name = "text"
    classes = (str,)

    def check(self, value: Any) -> str:
        """Refuse what not both engines can store."""
        return check_text(super().check(value))

    def encode(self, value: str) -> bytes:
        """Write UTF-8."""
        return value.encode()


class BytesKind(Kind[bytes]):
    """Bytes; base64 in JSON."""

    name = "bytes"
    classes = (bytes,)

    def encode(self, value: bytes) -> bytes:
        """Take them as they are."""
        return bytes(value)

    def to_json(self, value: bytes) -> str:
        """Write base64."""
        return base64.b64encode(value).decode()

    def from_json(self, item: Any) -> bytes:
        """Read base64."""
        return _from_base64(item)


class InstantKind(Kind[datetime]):
    """A point in time, to the microsecond; ISO 8601 in UTC."""

    name = "instant"
    classes = (datetime,)

    def check(self, value: Any) -> datetime:
        """Refuse a time without a zone."""
        if super().check(value).utcoffset() is None:
            raise InvalidValueError("expected an instant, got a time without a zone")
        try:
            return value.astimezone(UTC)  # type: ignore[no-any-return]
        except OverflowError as error:
            message = "expected an instant of the years 1 to 9999 in UTC, got another"
            raise InvalidValueError(message) from error

    def encode(self, value: datetime) -> bytes:
        """Write the microseconds since 1970."""
        return b"%d" % ((value - _EPOCH) // _MICROSECOND)

    def to_json(self, value: datetime) -> str:
        """Write ISO 8601, with Z for UTC."""
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")

    def from_json(self, item: Any) -> datetime:
        """Read ISO 8601."""
        return self.check(_parsed(datetime.fromisoformat, item, self.name))


class TimestampKind(Kind[datetime]):
    """A date and a time of day, in no zone."""

    name = "timestamp"
    classes = (datetime,)

    def check(self, value: Any) -> datetime:
        """Refuse a time with a zone."""
        if super().check(value).tzinfo is not None:
            raise InvalidValueError("expected a timestamp without a zone, got one with")
        return value  # type: ignore[no-any-return]

    def encode(self, value: datetime) -> bytes:
        """Write the microseconds since 1970."""
        return b"%d" % ((value - _NAIVE_EPOCH) // _MICROSECOND)

    def to_json(self, value: datetime) -> str:
        """Write ISO 8601."""
        return value.isoformat()

    def from_json(self, item: Any) -> datetime:
        """Read ISO 8601."""
        return self.check(_parsed(datetime.fromisoformat, item, self.name))


class DateKind(Kind[date]):
    """A day."""

    name = "date"
    classes = (date,)

    def encode(self, value: date) -> bytes:
        """Write ISO 8601."""
        return value.isoformat().encode()

    def to_json(self, value: date) -> str:
        """Write ISO 8601."""
        return value.isoformat()

    def from_json(self, item: Any) -> date:
        """Read ISO 8601."""
        return self.check(_parsed(date.fromisoformat, item, self.name))


class TimeKind(Kind[time]):
    """A time of day, in no zone."""

    name = "time"
    classes = (time,)

    def check(self, value: Any) -> time:
        """Refuse a time with a zone."""
        if super().check(value).tzinfo is not None:
            raise InvalidValueError("expected a time without a zone, got one with")
        return value  # type: ignore[no-any-return]

    def encode(self, value: time) -> bytes:
        """Write ISO 8601."""
        return value.isoformat().encode()

    def to_json(self, value: time) -> str:
        """Write ISO 8601."""
        return value.isoformat()

    def from_json(self, item: Any) -> time:
        """Read ISO 8601."""
        return self.check(_parsed(time.fromisoformat, item, self.name))


class IntervalKind(Kind[timedelta]):
    """A span of time; in JSON its microseconds."""

    name = "interval"
    classes = (timedelta,)

    def encode(self, value: timedelta) -> bytes:
        """Write the microseconds."""
        return b"%d" % (value // _MICROSECOND)

    def to_json(self, value: timedelta) -> int:
        """Write the microseconds."""
        return value // _MICROSECOND

    def from_json(self, item: Any) -> timedelta:
        """Read the microseconds."""
        if type(item) is not int:
            raise InvalidValueError(f"expected microseconds, got {type(item).__name__}")
        try:
            return item * _MICROSECOND
        except OverflowError as error:
            raise InvalidValueError("expected an interval, got one beyond its range") from error


class DecimalKind(Kind[Decimal]):
    """An exact number, in JSON as text. 1.50 and 1.5 are the same."""

    name = "decimal"
    classes = (Decimal,)

    def __init__(self, precision: int | None = None, scale: int | None = None) -> None:
        self.precision, self.scale = precision, scale

    def check(self, value: Any) -> Decimal:
        """Refuse NaN, infinities, and what the column would have to round."""
        number: Decimal = super().check(value)
        if not number.is_finite():
            raise InvalidValueError("expected a decimal, got NaN or infinity")
        if number.adjusted() >= _MOST_BEFORE or _exponent(number) < -_MOST_BEHIND:
            raise InvalidValueError(
                f"expected a decimal of at most {_MOST_BEFORE:,} digits before the point and "
                f"{_MOST_BEHIND:,} behind it"
            )
        if self.precision is None:
            return number
        scale, exact = self.scale or 0, number.normalize(_EXACT)
        if exact and (-_exponent(exact) > scale or exact.adjusted() >= self.precision - scale):
            raise InvalidValueError(
                f"expected a decimal of {self.precision} digits, {scale} of them behind the point"
            )
        return number

    def encode(self, value: Decimal) -> bytes:
        """Write all digits, without zeros at the end."""
        return format(value.normalize(_EXACT), "f").encode() if value else b"0"

    def to_json(self, value: Decimal) -> str:
        """Write text."""
        return format(value, "f")

    def from_json(self, item: Any) -> Decimal:
        """Read text."""
        if not isinstance(item, str):
            raise InvalidValueError(f"expected a decimal as text, got {type(item).__name__}")
        try:
            return self.check(Decimal(item))
        except InvalidOperation as error:
            raise InvalidValueError("expected a decimal") from error


class UuidKind(Kind[uuid.UUID]):
    """A UUID."""

    name = "uuid"
    classes = (uuid.UUID,)

    def encode(self, value: uuid.UUID) -> bytes:
        """Write its 16 bytes."""
        return value.bytes

    def to_json(self, value: uuid.UUID) -> str:
        """Write the usual text."""
        return str(value)

    def from_json(self, item: Any) -> uuid.UUID:
        """Read the usual text."""
        return self.check(_parsed(uuid.UUID, item, self.name))


class JSONKind(Kind[Any]):
    """A document. Keys have no order, and whole floats are the same as integers.

    JSON's null, which is a document and not NULL, is `sqlalchemy.JSON.NULL`. In files it is
    `{"$json": null}`, and so is any object whose one key is `$json` wrapped once more.
    """

    name = "json"
    classes = (dict, list, str, int, float, bool, type(sa.JSON.NULL))

    def check(self, value: Any) -> Any:
        """Refuse what not both engines can store."""
        if value is not sa.JSON.NULL:
            check_json(value)
        return value

    def to_json(self, value: Any) -> Any:
        """Write a document that cannot be taken for NULL."""
        if value is sa.JSON.NULL:
            return {_WRAPPED: None}
        return {_WRAPPED: value} if _is_wrapped(value) else value

    def from_json(self, item: Any) -> Any:
        """Read a document."""
        if not _is_wrapped(item):
            return self.check(item)
        return sa.JSON.NULL if item[_WRAPPED] is None else self.check(item[_WRAPPED])

    def encode(self, value: Any) -> bytes:
        """Write JSON with sorted keys, without spaces."""
        if value is sa.JSON.NULL:
            return b"null"
        text = _dump(value)
        if _FRACTION.search(text):
            text = _dump(json.loads(text, parse_float=_whole))
        return text.encode()


class ArrayKind(Kind[list[Any]]):
    """A list of values of another kind, or of None."""

    name = "array"
    classes = (list,)

    def __init__(self, item: Kind[Any]) -> None:
        self.item = item

    def check(self, value: Any) -> list[Any]:
        """Check each item."""
        return [None if item is None else self.item.check(item) for item in super().check(value)]

    def encode(self, value: list[Any]) -> bytes:
        """Frame each item."""
        return b"".join(framed(self.item, value))

    def to_json(self, value: list[Any]) -> list[Any]:
        """Write a list."""
        return [None if item is None else self.item.to_json(item) for item in value]

    def from_json(self, item: Any) -> list[Any]:
        """Read a list."""
        if not isinstance(item, list):
            raise InvalidValueError(f"expected a list, got {type(item).__name__}")
        return [None if each is None else self.item.from_json(each) for each in item]


class VectorKind(Kind[FloatVector]):
    """float32 numbers; base64 of their little-endian bytes in JSON, or a list of numbers."""

    name = "vector"
    classes = (np.ndarray,)

    def __init__(self, dimensions: int | None = None) -> None:
        self.dimensions = dimensions

    def check(self, value: Any) -> FloatVector:
        """Refuse other lengths, NaN, infinities and zero vectors."""
        return as_vector(value, self.dimensions)

    def encode(self, value: FloatVector) -> bytes:
        """Write the bytes."""
        return value.tobytes()

    def to_json(self, value: FloatVector) -> str:
        """Write base64."""
        return base64.b64encode(value.tobytes()).decode()

    def from_json(self, item: Any) -> FloatVector:
        """Read base64, or a list of numbers."""
        if isinstance(item, list):
            if not {int, float}.issuperset(map(type, item)):
                raise InvalidValueError(
                    "expected a vector, got a list of other things than numbers"
                )
            return self.check(item)
        data = _from_base64(item)
        if len(data) % 4:
            raise InvalidValueError("expected a vector, got bytes that are no float32 numbers")
        return self.check(np.frombuffer(data, dtype="<f4"))


_NULL = b"\xff\xff\xff\xff"
_LENGTH = struct.Struct(">I")


def framed(kind: Kind[Any], values: Sequence[Any]) -> list[bytes]:
    """Return the encoding of each value behind its length; NULL is no length."""
    return list(map(add, *frames(kind, values)))


def frames(kind: Kind[Any], values: Sequence[Any]) -> tuple[Iterable[bytes], Sequence[bytes]]:
    """Return the lengths and the encodings of `framed`, which need not be joined one by one."""
    if type(None) not in set(map(type, values)):
        encodings = kind.encode_many(values)
        return map(_LENGTH.pack, map(len, encodings)), encodings
    found = [None if value is None else kind.encode(value) for value in values]
    lengths = [_NULL if data is None else _LENGTH.pack(len(data)) for data in found]
    return lengths, [data or b"" for data in found]


def kind_of(type_: TypeEngine[Any]) -> Kind[Any]:
    """Return the kind of a column type; raise `ConfigurationError` where it has none."""
    for classes, make in _KINDS:
        if isinstance(type_, sa.Time) and type_.timezone:
            break  # no engine but one knows such, and Python's have no order
        if isinstance(type_, classes):
            kind: Kind[Any] = make(type_)
            return kind
    if isinstance(type_, TypeDecorator):
        return kind_of(type_.impl_instance)
    raise ConfigurationError(f"columns of type {type_!r} cannot be moved")


_KINDS: Sequence[tuple[Any, Any]] = (
    (Vector, lambda type_: VectorKind(type_.dimensions)),
    (UTCDateTime, lambda _: InstantKind()),
    (TextArray, lambda _: ArrayKind(TextKind())),
    ((JSONDocument, sa.JSON), lambda _: JSONKind()),
    (sa.Uuid, lambda _: UuidKind()),
    (sa.Boolean, lambda _: BooleanKind()),
    (sa.Interval, lambda _: IntervalKind()),
    (sa.String, lambda _: TextKind()),
    (sa.Integer, lambda _: IntegerKind()),
    (sa.Float, lambda _: FloatKind()),
    (sa.Numeric, lambda type_: DecimalKind(type_.precision, type_.scale)),
    (sa.LargeBinary, lambda _: BytesKind()),
    (sa.DateTime, lambda type_: InstantKind() if type_.timezone else TimestampKind()),
    (sa.Date, lambda _: DateKind()),
    (sa.Time, lambda _: TimeKind()),
    (sa.ARRAY, lambda type_: ArrayKind(kind_of(type_.item_type))),
)


def _is_wrapped(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {_WRAPPED}


def _exponent(number: Decimal) -> int:
    """Return the power of ten of the last digit of a finite number."""
    exponent = number.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


def _exact_float(value: int) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if number != value:
        raise InvalidValueError("expected a float, got an integer that none equals")
    return number


def _from_base64(item: Any) -> bytes:
    if not isinstance(item, str):
        raise InvalidValueError(f"expected base64, got {type(item).__name__}")
    try:
        return base64.b64decode(item, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidValueError("expected base64") from error


def _parsed(parse: Any, item: Any, what: str) -> Any:
    if not isinstance(item, str):
        raise InvalidValueError(f"expected {what} as text, got {type(item).__name__}")
    try:
        return parse(item)
    except ValueError as error:
        raise InvalidValueError(f"expected {what}, got other text") from error


def _whole(text: str) -> int | float:
    """Read a float, as an integer if it is a whole number."""
    value = float(text)
    return int(value) if value.is_integer() and int(value) in INT64 else value
