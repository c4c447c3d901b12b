"""Kinds: canonical encodings are equal where values are, and JSON gives back what it was given."""

from __future__ import annotations

import json
import math
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from datastore import JSONDocument, RowKey, Text, TextArray, UTCDateTime, Vector
from datastore.errors import ConfigurationError, InvalidValueError
from datastore.kinds import (
    ArrayKind,
    BooleanKind,
    BytesKind,
    DateKind,
    DecimalKind,
    FloatKind,
    InstantKind,
    IntegerKind,
    IntervalKind,
    JSONKind,
    Kind,
    TextKind,
    TimeKind,
    TimestampKind,
    UuidKind,
    VectorKind,
    framed,
    kind_of,
)
from datastore.reading import DEEPEST, json_document

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
ZONES = st.sampled_from(
    [UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-11))]
)
INSTANTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=ZONES)
FLOATS = st.floats(allow_nan=False)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | INT64 | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
).map(lambda value: sa.JSON.NULL if value is None else value)
VECTORS = st.lists(
    st.floats(-(2.0**60), 2.0**60, width=32).filter(lambda number: abs(number) > 1e-15),
    min_size=1,
    max_size=6,
).map(lambda numbers: np.array(numbers, dtype="<f4"))

KINDS: dict[str, tuple[Kind[Any], st.SearchStrategy[Any]]] = {
    "integer": (IntegerKind(), INT64),
    "boolean": (BooleanKind(), st.booleans()),
    "float": (FloatKind(), FLOATS),
    "text": (TextKind(), TEXT),
    "bytes": (BytesKind(), st.binary()),
    "instant": (InstantKind(), INSTANTS),
    "timestamp": (TimestampKind(), st.datetimes()),
    "date": (DateKind(), st.dates()),
    "time": (TimeKind(), st.times()),
    "interval": (IntervalKind(), st.timedeltas()),
    "decimal": (DecimalKind(), st.decimals(allow_nan=False, allow_infinity=False, places=None)),
    "uuid": (UuidKind(), st.uuids()),
    "json": (JSONKind(), DOCUMENTS),
    "array": (ArrayKind(TextKind()), st.lists(st.none() | TEXT)),
    "vector": (VectorKind(), VECTORS),
}  # fmt: skip
kinds = pytest.mark.parametrize("name", KINDS)


def equal(one: Any, other: Any) -> bool:
    """Equal by value and type, as far as databases tell them apart."""
    if isinstance(one, np.ndarray):
        return bool(one.tobytes() == other.tobytes())
    if isinstance(one, bool) or isinstance(other, bool):
        return type(one) is type(other) and one == other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return bool(one == other)


@kinds
def test_encodings_are_equal_where_values_are(name: str) -> None:
    kind, values = KINDS[name]

    @settings(max_examples=80, deadline=None)
    @given(values, values)
    def check(one: Any, other: Any) -> None:
        one, other = kind.check(one), kind.check(other)
        assert (kind.encode(one) == kind.encode(other)) is equal(one, other)
        assert kind.encode(one) == kind.encode(one)

    check()


@kinds
def test_json_gives_back_what_it_was_given(name: str) -> None:
    kind, values = KINDS[name]

    @settings(max_examples=80, deadline=None)
    @given(values)
    def check(value: Any) -> None:
        value = kind.check(value)
        written = json.dumps(kind.to_json(value), allow_nan=False)
        read = kind.from_json(json.loads(written))
        assert kind.encode(read) == kind.encode(value)
        assert equal(read, value)
        assert kind.to_json(value) is not None  # which is NULL in a file

    check()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        (1, 1.0, True),
        ([1e22], [10**18 * 10**4 * 1.0], True),
        (1, True, False),
        (0, False, False),
        (0.0, -0.0, True),
        ("1", 1, False),
        ([], {}, False),
        (sa.JSON.NULL, "null", False),
        ({"a": None}, {}, False),
        ("é", "e\u0301", False),
        (2**53, 2**53 + 1, False),
        (0.1 + 0.2, 0.3, False),
    ],
)
def test_documents_are_compared_by_what_they_say(one: Any, other: Any, same: bool) -> None:
    kind = JSONKind()
    assert (kind.encode(one) == kind.encode(other)) is same


def test_negative_zero_is_zero_in_a_column_and_itself_in_a_vector() -> None:
    # SQLite keeps no negative zero in a column of numbers.
    assert FloatKind().encode(-0.0) == FloatKind().encode(0.0)
    one, other = (np.array([1.0, zero], dtype="<f4") for zero in (0.0, -0.0))
    assert VectorKind().encode(one) != VectorKind().encode(other)


def test_decimals_are_compared_by_their_value() -> None:
    kind = DecimalKind(10, 2)
    assert (
        kind.encode(Decimal("1.50")) == kind.encode(Decimal("1.5")) != kind.encode(Decimal("1.51"))
    )
    assert kind.encode(Decimal("-0.00")) == kind.encode(Decimal(0))
    for text in ("1.005", "123456789", "NaN", "Infinity", "1E+8"):
        with pytest.raises(InvalidValueError):
            kind.check(Decimal(text))
    assert kind.check(Decimal("99999999.99"))


def test_instants_are_compared_by_the_moment() -> None:
    east = timezone(timedelta(hours=5, minutes=45))
    kind = InstantKind()
    assert kind.encode(kind.check(datetime(2026, 1, 1, 5, 45, tzinfo=east))) == kind.encode(
        datetime(2026, 1, 1, tzinfo=UTC)
    )


@given(
    st.lists(st.none() | TEXT, min_size=2, max_size=2),
    st.lists(st.none() | TEXT, min_size=2, max_size=2),
)
def test_rows_of_other_columns_do_not_look_the_same(one: list[Any], other: list[Any]) -> None:
    def row(values: list[Any]) -> bytes:
        return b"".join(framed(TextKind(), [value])[0] for value in values)

    assert (row(one) == row(other)) is (one == other)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (IntegerKind(), True), (IntegerKind(), 1.0), (IntegerKind(), 2**63), (BooleanKind(), 1),
        (FloatKind(), math.nan), (FloatKind(), 1), (TextKind(), "a\0"), (TextKind(), "\ud800"),
        (TextKind(), b"a"), (BytesKind(), "a"), (InstantKind(), datetime(2026, 1, 1)), (InstantKind(), date(2026, 1, 1)),
        (TimestampKind(), datetime(2026, 1, 1, tzinfo=UTC)), (DateKind(), datetime(2026, 1, 1)),
        (TimeKind(), timedelta()), (DecimalKind(), 1.5), (UuidKind(), "0" * 32), (JSONKind(), math.inf),
        (JSONKind(), {1: 2}), (JSONKind(), [2**63]), (JSONKind(), ["\0"]), (ArrayKind(TextKind()), ["a", 1]),
        (VectorKind(), [0.0]), (VectorKind(), []), (VectorKind(2), [1.0]), (VectorKind(), [math.nan]),
    ],
)  # fmt: skip
def test_values_of_other_kinds_are_refused(kind: Kind[Any], value: Any) -> None:
    with pytest.raises(InvalidValueError):
        kind.check(value)


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        (IntegerKind(), "1"), (IntegerKind(), 1.5), (BooleanKind(), 1), (FloatKind(), "NaN"), (FloatKind(), 2**53 + 1),
        (FloatKind(), 10**400), (FloatKind(), math.inf), (TextKind(), None), (BytesKind(), "a"), (BytesKind(), "ä==="),
        (InstantKind(), "2026-02-30T00:00:00Z"), (InstantKind(), "2026-01-01T00:00:00"), (InstantKind(), 0),
        (DateKind(), "2026-13-01"), (IntervalKind(), 10**25), (IntervalKind(), 1.0), (DecimalKind(), 1.5), (DecimalKind(), "1,5"),
        (UuidKind(), "x"), (ArrayKind(TextKind()), "ab"), (VectorKind(), "AAAA"), (VectorKind(), "AAA="),
    ],
)  # fmt: skip
def test_json_of_other_kinds_is_refused(kind: Kind[Any], item: Any) -> None:
    with pytest.raises(InvalidValueError):
        kind.from_json(item)


@pytest.mark.parametrize(
    ("type_", "name"),
    [
        (RowKey(), "integer"), (Text(), "text"), (UTCDateTime(), "instant"), (TextArray(), "array"),
        (JSONDocument(), "json"), (Vector(3), "vector"), (sa.SmallInteger(), "integer"), (sa.Boolean(), "boolean"),
        (sa.Float(), "float"), (sa.Double(), "float"), (sa.Numeric(5, 2), "decimal"), (sa.Date(), "date"),
        (sa.DateTime(), "timestamp"), (sa.DateTime(timezone=True), "instant"), (sa.Time(), "time"),
        (sa.Interval(), "interval"), (sa.Uuid(), "uuid"), (sa.LargeBinary(), "bytes"), (sa.JSON(), "json"),
        (sa.Enum("a"), "text"), (sa.Unicode(), "text"), (sa.ARRAY(sa.Integer()), "array"),
    ],
)  # fmt: skip
def test_every_type_has_a_kind(type_: Any, name: str) -> None:
    assert kind_of(type_).name == name


@pytest.mark.parametrize("type_", [sa.types.NullType(), sa.Time(timezone=True)])
def test_a_type_that_would_lose_something_has_none(type_: Any) -> None:
    with pytest.raises(ConfigurationError, match="cannot be moved"):
        kind_of(type_)


def test_documents_as_deep_as_they_may_be_are_read_and_encoded() -> None:
    deep = "[" * DEEPEST + "1.0" + "]" * DEEPEST
    assert JSONKind().encode(json_document(deep)) == deep.replace("1.0", "1").encode()
    with pytest.raises(InvalidValueError, match="nested too deeply"):
        json_document(f"[{deep}]")
    assert json_document('"' + "[" * 5000 + '"') == "[" * 5000


def test_numbers_of_documents_are_those_that_were_written() -> None:
    assert json_document("1" + "0" * 300) == 1e300
    assert json_document(str(2**63 - 1)) == 2**63 - 1
    assert json_document("[123456789.1234567, 1.5, 0.1]") == [123456789.1234567, 1.5, 0.1]
    beyond = ("123456789.123456789", "12345678901.12345678901", "0.12345678901234567")
    for text in (str(2**64), str(2**64 + 1), "1" * 40, "9" * 400, "1e400", "-1e400", *beyond):
        with pytest.raises(InvalidValueError):
            json_document(text)


def test_uuids_are_read_however_they_are_written() -> None:
    value = uuid.uuid4()
    assert UuidKind().from_json(value.hex) == UuidKind().from_json(str(value)) == value


def test_times_have_microseconds() -> None:
    kind = TimeKind()
    assert kind.encode(time(1, 2, 3)) != kind.encode(time(1, 2, 3, 1))
