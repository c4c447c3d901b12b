"""Kinds: which values they refuse, and that equal values, and no others, have one encoding."""

from __future__ import annotations

from datetime import time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.errors import InvalidValueError
from datastore.kinds import DecimalKind, InstantKind, Kind, TimeKind, VectorKind

decimals = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**60), max_value=10**60)


@given(decimals, decimals)
def test_decimals_have_one_encoding_only_if_they_are_equal(one: Decimal, other: Decimal) -> None:
    kind = DecimalKind()
    assert (kind.encode(one) == kind.encode(other)) == (one == other)


@pytest.mark.parametrize("digits", [28, 29, 60])
def test_all_digits_of_a_decimal_count(digits: int) -> None:
    kind = DecimalKind()
    assert kind.encode(Decimal("1" * digits)) != kind.encode(Decimal("1" * (digits - 1) + "2"))


@pytest.mark.parametrize("text", ["0", "-0", "0.000", "0E+9", "-0E-9"])
def test_zeros_are_the_same(text: str) -> None:
    assert DecimalKind(5, 2).encode(DecimalKind(5, 2).from_json(text)) == b"0"


@pytest.mark.parametrize("text", ["12345678.10", "-0.5", "12345678", "1E+7"])
def test_a_decimal_that_needs_no_rounding_is_taken(text: str) -> None:
    assert DecimalKind(10, 2).from_json(text) == Decimal(text)


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        (DecimalKind(10, 2), "1.005"),
        (DecimalKind(10, 2), "123456789"),
        (DecimalKind(3, 3), "1"),
        (DecimalKind(), "1E+131072"),
        (DecimalKind(), "1E-16384"),
        (DecimalKind(), "1E+999999999999999999"),
        (DecimalKind(), "NaN"),
        (DecimalKind(), "sNaN"),
        (DecimalKind(), "-Infinity"),
        (DecimalKind(), 1.5),
        (InstantKind(), "0001-01-01T00:00:00+14:00"),
        (InstantKind(), "9999-12-31T23:59:59-01:00"),
        (InstantKind(), "2026-01-01T00:00:00"),
        (TimeKind(), "12:00:00+01:00"),
        (VectorKind(), [True, 1.5]),
        (VectorKind(), ["1", 2]),
        (VectorKind(), [None, 2]),
    ],
)
def test_what_cannot_be_stored_everywhere_is_refused(kind: Kind[Any], item: Any) -> None:
    with pytest.raises(InvalidValueError):
        kind.from_json(item)


def test_a_time_with_a_zone_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="zone"):
        TimeKind().check(time(12, tzinfo=timezone(timedelta(hours=1))))
