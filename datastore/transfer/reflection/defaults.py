"""Defaults of columns: literals as they are, and the moment of the insert."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from datastore.backends.base import Backend
from datastore.errors import InvalidValueError
from datastore.inspection import Moment
from datastore.kinds import Kind
from datastore.sqltokens import Token, closing, tokens
from datastore.transfer.reflection.meanings import (
    NotPortableError,
    in_one_form,
    numeric,
    truth,
)

#: What is written for a moment: its words, without casts, parentheses and commas.
_MOMENTS = {
    **dict.fromkeys(
        (
            "current_timestamp", "now", "localtimestamp", "transaction_timestamp",
            "statement_timestamp", "clock_timestamp", "datetime now", "datetime",
            "strftime %Y-%m-%d %H:%M:%S now", "timezone UTC now", "timezone utc now",
            "timezone UTC current_timestamp", "timezone utc current_timestamp",
            "to_char timezone UTC current_timestamp YYYY-MM-DD HH24:MI:SS",
        ),
        Moment.INSTANT,
    ),
    **dict.fromkeys(
        (
            "current_date", "date now", "date", "strftime %Y-%m-%d now",
            "to_char timezone UTC current_timestamp YYYY-MM-DD",
        ),
        Moment.DAY,
    ),
    **dict.fromkeys(
        (
            "current_time", "localtime", "time now", "time", "strftime %H:%M:%S now",
            "to_char timezone UTC current_timestamp HH24:MI:SS",
        ),
        Moment.CLOCK,
    ),
    **dict.fromkeys(
        (
            "strftime %s now", "cast strftime %s now as integer", "cast strftime %s now as int",
            "unixepoch", "unixepoch now", "floor extract epoch from current_timestamp",
            "extract epoch from current_timestamp", "extract epoch from now",
        ),
        Moment.EPOCH,
    ),
}  # fmt: skip
_PARSED = ("date", "time", "timestamp", "instant", "uuid")


def read_default(text: str, kind: Kind[Any], target: Backend) -> Any:
    """Return the server default of a column of `kind`, None for NULL.

    Raises `NotPortableError` for anything but a literal and the moment of the insert.
    """
    found = _without_casts(_bare(list(tokens(text, brackets=False))))
    if len(found) == 1 and found[0]("NULL"):
        return None
    words = (t.value.lower() if t.kind == "word" else t.value for t in found)
    moment = _MOMENTS.get(" ".join(word for word in words if word not in ("(", ")", ",")))
    if moment is not None and found[0].kind == "word":
        sql = target.moment(moment, kind)
        if sql is None:
            raise NotPortableError(f"{moment.value} in a column of {kind.name} is not portable")
        return sa.literal_column(sql)
    return _literal(found, kind)


def _bare(found: list[Token]) -> list[Token]:
    """Take away parentheses around all of it."""
    while found and found[0]("(") and closing(found, 0) == len(found) - 1:
        found = found[1:-1]
    return found


def _without_casts(found: list[Token]) -> list[Token]:
    kept: list[Token] = []
    place = 0
    while place < len(found):
        if not found[place]("::"):
            kept.append(found[place])
            place += 1
            continue
        place += 2
        while place < len(found) and found[place](
            ".", "VARYING", "PRECISION", "WITHOUT", "WITH", "TIME", "ZONE", "[", "]"
        ):
            place += 2 if found[place](".") else 1
        if place < len(found) and found[place]("("):
            place = closing(found, place) + 1
    return _bare(kept)


def _literal(found: Sequence[Token], kind: Kind[Any]) -> Any:
    sign = "-" if len(found) == 2 and found[0]("-") else ""
    if len(found) == 2 and found[0]("-", "+"):
        found = found[1:]
        if found[0].kind != "number":
            raise NotPortableError("it is no literal")
    if len(found) == 3 and found[1].kind == "number" and found[0]("(", "-"):
        raise NotPortableError("it is no literal")
    if len(found) != 1:
        raise NotPortableError("it is neither a literal nor the time of the insert")
    (token,) = found
    if token("TRUE", "FALSE"):
        return _of_truth(token("TRUE"), kind)
    if token.kind == "number":
        return _of_number(sign + token.value, kind)
    if token.kind in ("text", "quoted"):
        return _of_text(token.value, kind)
    raise NotPortableError("it is neither a literal nor the time of the insert")


def _of_truth(value: bool, kind: Kind[Any]) -> Any:
    if kind.name == "boolean":
        return sa.true() if value else sa.false()
    return _of_number(str(int(value)), kind)


def _of_number(text: str, kind: Kind[Any]) -> Any:
    number = -numeric(text[1:]) if text.startswith("-") else numeric(text)
    if kind.name == "text":
        return text
    if kind.name == "boolean" and number in (0, 1):
        return sa.true() if number else sa.false()
    if kind.name == "integer" and number == int(number):
        return sa.literal_column(str(int(number)))
    if kind.name in ("float", "decimal"):
        return sa.literal_column(format(Decimal(number), "f"))
    raise NotPortableError(f"a number is no {kind.name}")


def _of_text(text: str, kind: Kind[Any]) -> Any:
    if kind.name == "text":
        return text
    if kind.name == "boolean":
        return sa.true() if truth(text) else sa.false()
    try:
        if kind.name in ("integer", "float", "decimal"):
            return _of_number(text.strip(), kind)
        if kind.name == "json":
            kind.check(json.loads(text))
            return text
        if kind.name in _PARSED:
            return in_one_form(text, kind.name)
    except (InvalidValueError, ArithmeticError, ValueError) as error:
        raise NotPortableError(f"it is no {kind.name}") from error
    raise NotPortableError(f"a text is no {kind.name}")
