"""What parts of an expression mean: the same to both engines, or they are refused.

SQLite compares anything with anything, and PostgreSQL refuses to; each has functions of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.sql.functions import FunctionElement

from datastore.errors import InvalidValueError
from datastore.forms import is_written_as
from datastore.kinds import DateKind, InstantKind, Kind, TimeKind, TimestampKind, UuidKind

Element: TypeAlias = sa.ColumnElement[Any]

_NUMBERS = ("integer", "float", "decimal")
#: Kinds that texts in an expression may stand for.
_WRITTEN_AS_TEXT: Mapping[str, Kind[Any]] = {
    kind.name: kind for kind in (DateKind(), TimeKind(), TimestampKind(), InstantKind(), UuidKind())
}
_NOT_COMPARED = ("json", "array", "vector", "interval")
_HEXADECIMAL = re.compile("0[xX][0-9a-fA-F]+")
#: Types that a text may be cast to, by the first word of their names, with the kind.
_CASTS = {
    **dict.fromkeys(("text", "character", "varchar", "bpchar", "char", "citext"), "text"),
    **dict.fromkeys(("integer", "int", "bigint", "smallint", "int4", "int8", "int2"), "integer"),
    **dict.fromkeys(("numeric", "decimal"), "decimal"),
    **dict.fromkeys(("double", "real", "float8", "float4"), "float"),
    "boolean": "boolean",
}
#: The texts of booleans, in lower case, that mean the same to both engines' programs.
_TRUTHS = {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}


class NotPortableError(Exception):
    """An expression that another engine cannot be given; says why."""


@dataclass(frozen=True)
class Typed:
    """An expression. `exact` says that both engines compute the very same value.

    `value` is that of a literal. Of comparisons, `unlike` says why they have another meaning,
    `unordered` that those by size have one, and `loose` that literals may have another form.
    """

    element: Element
    kind: str
    exact: bool = True
    value: Any = None
    is_column: bool = False
    unlike: str = ""
    unordered: bool = False
    loose: bool = False

    @property
    def is_number(self) -> bool:
        """Whether it is a number."""
        return self.kind in _NUMBERS


def chosen(element: Element, kind: str, exact: bool, parts: Sequence[Typed]) -> Typed:
    """Return a value that is one of `parts`, and compared as they are."""
    return Typed(
        element,
        kind,
        exact,
        unlike=next((part.unlike for part in parts if part.unlike), ""),
        unordered=any(part.unordered for part in parts),
        loose=any(part.loose for part in parts),
    )


def called(name: str, arguments: Sequence[Typed]) -> Typed:
    """Return a call of a function that is the same on both."""
    kinds = [argument.kind for argument in arguments]
    elements = [argument.element for argument in arguments]
    exact = all(argument.exact for argument in arguments)
    match name, kinds:
        case ("length" | "char_length" | "character_length", ["text"]):
            return Typed(sa.func.length(elements[0]), "integer", exact)
        case ("length" | "octet_length", ["bytes"]):
            return Typed(sa.func.length(elements[0]), "integer", exact)
        case ("lower" | "upper", ["text"]):
            # Of other letters than ASCII's they know different ones.
            return Typed(getattr(sa.func, name)(elements[0]), "text", exact=False)
        case ("trim" | "btrim", ["text"]):
            return Typed(sa.func.trim(elements[0]), "text", exact)
        case ("ltrim" | "rtrim", ["text"]):
            return Typed(getattr(sa.func, name)(elements[0]), "text", exact)
        case ("replace", ["text", "text", "text"]):
            for argument in arguments:
                _check_alike(argument)
            return Typed(sa.func.replace(*elements), "text", exact)
        case ("substr" | "substring", ["text", "integer"] | ["text", "integer", "integer"]):
            if all(isinstance(each.value, int) and each.value >= 1 for each in arguments[1:]):
                return Typed(sa.func.substr(*elements), "text", exact)
        case ("abs", ["integer" | "float" | "decimal"]):
            exact = exact and kinds[0] != "decimal"
            return chosen(sa.func.abs(elements[0]), kinds[0], exact, arguments)
        case ("coalesce" | "ifnull", [_, _, *_]):
            return chosen(sa.func.coalesce(*elements), one_kind(arguments), exact, arguments)
        case ("nullif", [_, _]):
            left, right = comparable(*arguments)
            return chosen(
                sa.func.nullif(left.element, right.element), left.kind, exact, [left, right]
            )
    raise NotPortableError(f"{name}({', '.join(kinds)}) is not portable")


def joined(join: Callable[..., Element], parts: Sequence[Typed]) -> Typed:
    """Return conditions joined by AND or OR."""
    conditions = [condition(part) for part in parts]
    return boolean(join(*(each.element for each in conditions)), *conditions)


def boolean(element: Element, *parts: Typed) -> Typed:
    """Return a condition that is made of `parts`."""
    return Typed(element, "boolean", all(part.exact for part in parts))


def condition(typed: Typed) -> Typed:
    """Return what is a condition; refuse what SQLite would take for true or false."""
    if typed.kind != "boolean":
        raise NotPortableError(f"{typed.kind} taken for true or false is not portable")
    return typed


def null_test(left: Typed, negated: bool) -> Typed:
    """Return IS NULL, or IS NOT NULL."""
    test = left.element.is_not(None) if negated else left.element.is_(None)
    return boolean(test, left)


def among(left: Typed, items: Sequence[Typed], negated: bool) -> Typed:
    """Return IN, or NOT IN."""
    pairs = [comparable(left, item) for item in items]
    found = pairs[0][0].element.in_([item.element for _, item in pairs])
    return compared(sa.not_(found) if negated else found, left, *items)


def like(left: Typed, pattern: Typed, negated: bool) -> Typed:
    """Return LIKE with a pattern of which both make the same."""
    # Case counts for PostgreSQL alone, and the backslash too.
    text = pattern.value
    if left.kind != "text" or not isinstance(text, str):
        raise NotPortableError("LIKE is portable for a text and a literal alone")
    if "\\" in text or text.lower() != text.upper():
        raise NotPortableError("LIKE is portable for patterns without letters and backslashes")
    like = left.element.like(pattern.element)
    return boolean(sa.not_(like) if negated else like, left)


def _check_alike(typed: Typed) -> None:
    if typed.unlike:
        raise NotPortableError(typed.unlike)


def compared(element: Element, *parts: Typed, by_size: bool = False) -> Typed:
    """Return a comparison of `parts`; by size it is one of more than equality."""
    if by_size and any(part.unordered for part in parts):
        raise NotPortableError("its values have an order of their own")
    # Texts have the order of their collation, and what is loose that of its spelling.
    exact = not any(part.loose or (by_size and part.kind == "text") for part in parts)
    return replace(boolean(element, *parts), exact=exact and all(part.exact for part in parts))


def comparable(left: Typed, right: Typed) -> tuple[Typed, Typed]:
    """Return two values that can be compared, a literal made one of the other's kind."""
    for side in (left, right):
        if side.kind in _NOT_COMPARED:
            raise NotPortableError(f"a comparison of {side.kind} is not portable")
        _check_alike(side)
    if left.kind == right.kind != "null" or (left.is_number and right.is_number):
        return left, right
    if left.value is not None:
        return _as(left, right), right
    return left, _as(right, left)


def _as(literal: Typed, other: Typed) -> Typed:
    if other.kind == "boolean" and literal.kind == "integer" and literal.value in (0, 1):
        return Typed(sa.true() if literal.value else sa.false(), "boolean")
    if other.kind in _WRITTEN_AS_TEXT and isinstance(literal.value, str):
        if other.loose:
            raise NotPortableError(f"a text compared with {other.kind} is compared as text")
        return replace(text_literal(in_one_form(literal.value, other.kind)), kind=other.kind)
    if other.is_column and other.is_number and isinstance(literal.value, str):
        return number_literal(numeric(literal.value))
    raise NotPortableError(f"{literal.kind} compared with {other.kind} is not portable")


def in_one_form(text: str, kind: str) -> str:
    """Return a value as it is written by both engines."""
    if not is_written_as(text, kind):
        raise NotPortableError(f"it is no {kind}")
    try:
        value = _WRITTEN_AS_TEXT[kind].from_json(text)
        if kind == "instant":
            value = value.astimezone(UTC)
    except (InvalidValueError, OverflowError) as error:
        raise NotPortableError(f"it is no {kind}") from error
    return value.isoformat(" ") if isinstance(value, datetime) else str(value)


def one_kind(parts: Sequence[Typed]) -> str:
    """Return the kind that all parts have, NULL aside."""
    kinds = {part.kind for part in parts} - {"null"}
    if len(kinds) != 1:
        raise NotPortableError(f"{' and '.join(sorted(kinds))} mixed are not portable")
    return kinds.pop()


def arithmetic(operator: str, left: Typed, right: Typed) -> Typed:
    """Return a sum, difference, product, quotient or remainder."""
    kinds = {left.kind, right.kind}
    if not kinds <= set(_NUMBERS):
        raise NotPortableError(f"{operator} with {left.kind} and {right.kind} is not portable")
    if operator in "/%" and kinds != {"integer"}:
        raise NotPortableError(f"{operator} of other than integers is not portable")
    kind = "float" if "float" in kinds else "decimal" if "decimal" in kinds else "integer"
    if kind == "integer":
        left, right = _of_many_bits(left, right), _divisor(right) if operator in "/%" else right
    combine: dict[str, Callable[[Any, Any], Any]] = {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a.op("/")(b),
        "%": lambda a, b: a % b,
    }
    # SQLite computes decimals as floats.
    exact = left.exact and right.exact and kind != "decimal"
    element = combine[operator](left.element, right.element)
    return chosen(sa.type_coerce(element, sa.types.NullType()), kind, exact, [left, right])


def _of_many_bits(left: Typed, right: Typed) -> Typed:
    """Let the result have 64 bits, as SQLite's have, though the operands have 16."""
    if any(isinstance(each.element.type, sa.SmallInteger) for each in (left, right)):
        return replace(left, element=sa.cast(left.element, sa.BigInteger()))
    return left


def _divisor(right: Typed) -> Typed:
    # Division by zero is NULL to SQLite and an error to PostgreSQL.
    return right if right.value else replace(right, element=sa.func.nullif(right.element, 0))


def in_groups(typed: Typed) -> Element:
    """Return an expression that stays one, whatever stands around it."""
    whole = (sa.ColumnClause, FunctionElement, Grouping, sa.BindParameter)
    return typed.element if isinstance(typed.element, whole) else Grouping(typed.element)


def cast_to(operand: Typed, name: str) -> Typed:
    """Return a cast that changes no value; `name` is that of the type."""
    kind = _CASTS.get(name.lower().partition("(")[0])
    limited = "(" in name
    if isinstance(operand.value, str) and not limited:
        return _cast_text(operand, kind)
    if operand.value is not None and operand.is_number and kind in _NUMBERS and not limited:
        return replace(operand, kind=operand.kind if kind == "decimal" else str(kind))
    if operand.kind == "null" or (kind == operand.kind and not limited):
        return operand
    if operand.kind == "integer" and kind in ("decimal", "float"):
        return replace(operand, kind=str(kind), exact=False)
    raise NotPortableError(f"{operand.kind} cast to {name} is not portable")


def _cast_text(operand: Typed, kind: str | None) -> Typed:
    if kind in _NUMBERS:
        number = numeric(operand.value)
        if kind == "integer" and not isinstance(number, int):
            raise NotPortableError("a text is no whole number")
        return number_literal(number)
    if kind == "boolean":
        return Typed(sa.true() if truth(operand.value) else sa.false(), kind)
    return operand  # of text, of an enumeration, or compared with what it stands for


def truth(text: str) -> bool:
    """Read a boolean, of the texts that PostgreSQL prints one by."""
    if text.lower() not in _TRUTHS:
        raise NotPortableError("a text is no boolean")
    return _TRUTHS[text.lower()]


def numeric(text: str) -> int | Decimal:
    """Read a number: Python's own parsers take more for one."""
    if _HEXADECIMAL.fullmatch(text):
        return int(text, 16)
    if not is_written_as(text, "decimal"):
        raise NotPortableError("a text is no number")
    if math.isinf(float(text)):
        raise NotPortableError("a number is larger than a float can be")
    return int(text) if text.lstrip("+-").isdigit() else Decimal(text)


def number_literal(value: int | Decimal) -> Typed:
    """Return a number: SQLite reads more digits than a float has as the nearest float."""
    if isinstance(value, int):
        exact = -(2**63) <= value < 2**63
        return Typed(sa.literal_column(str(value)), "integer", exact, value)
    exact = Decimal(repr(float(value))) == value
    return Typed(sa.literal_column(format(value, "f")), "decimal", exact, value)


def text_literal(value: str) -> Typed:
    """Return a text."""
    if "\x00" in value:
        raise NotPortableError("NUL in a text is not portable")
    return Typed(sa.literal(value, sa.Text()), "text", value=value)
