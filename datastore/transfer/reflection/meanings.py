"""What parts of an expression mean: the same to both engines, or they are refused.

SQLite compares anything with anything, and PostgreSQL refuses to; each has functions of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, TypeAlias

import sqlalchemy as sa

Element: TypeAlias = sa.ColumnElement[Any]

_NUMBERS = ("integer", "float", "decimal")
#: Kinds that texts in an expression may stand for.
_WRITTEN_AS_TEXT = ("date", "time", "timestamp", "instant", "uuid")
#: Types that a text may be cast to, by the first word of their names, with the kind.
_CASTS = {
    **dict.fromkeys(("text", "character", "varchar", "bpchar", "char", "citext"), "text"),
    **dict.fromkeys(("integer", "int", "bigint", "smallint", "int4", "int8", "int2"), "integer"),
    **dict.fromkeys(("numeric", "decimal"), "decimal"),
    **dict.fromkeys(("double", "real", "float8", "float4"), "float"),
    "boolean": "boolean",
}


class NotPortableError(Exception):
    """An expression that another engine cannot be given; says why."""


@dataclass(frozen=True)
class Typed:
    """An expression. `exact` says that both engines compute the very same value.

    `value` is that of a literal.
    """

    element: Element
    kind: str
    exact: bool = True
    value: Any = None
    is_column: bool = False

    @property
    def is_number(self) -> bool:
        """Whether it is a number."""
        return self.kind in _NUMBERS


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
            return Typed(sa.func.replace(*elements), "text", exact)
        case ("substr" | "substring", ["text", "integer"] | ["text", "integer", "integer"]):
            if all(isinstance(each.value, int) and each.value >= 1 for each in arguments[1:]):
                return Typed(sa.func.substr(*elements), "text", exact)
        case ("abs", ["integer" | "float" | "decimal"]):
            return Typed(sa.func.abs(elements[0]), kinds[0], exact and kinds[0] != "decimal")
        case ("coalesce" | "ifnull", [_, _, *_]):
            return Typed(sa.func.coalesce(*elements), one_kind(arguments), exact)
        case ("nullif", [_, _]):
            left, right = comparable(*arguments)
            return Typed(sa.func.nullif(left.element, right.element), left.kind, exact)
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
    return boolean(sa.not_(found) if negated else found, left, *items)


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


def comparable(left: Typed, right: Typed) -> tuple[Typed, Typed]:
    """Return two values that can be compared, a literal made one of the other's kind."""
    if left.kind == right.kind != "null" or (left.is_number and right.is_number):
        return left, right
    if left.value is not None:
        return _as(left, right), right
    return left, _as(right, left)


def _as(literal: Typed, other: Typed) -> Typed:
    if other.kind == "boolean" and literal.kind == "integer" and literal.value in (0, 1):
        return Typed(sa.true() if literal.value else sa.false(), "boolean")
    if other.kind in _WRITTEN_AS_TEXT and isinstance(literal.value, str):
        return replace(literal, kind=other.kind)
    if other.is_column and other.is_number and isinstance(literal.value, str):
        return number_literal(numeric(literal.value))
    raise NotPortableError(f"{literal.kind} compared with {other.kind} is not portable")


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
    return Typed(sa.type_coerce(element, sa.types.NullType()), kind, exact)


def cast_to(operand: Typed, name: str) -> Typed:
    """Return a cast that changes no value; `name` is that of the type."""
    kind = _CASTS.get(name.lower().partition("(")[0])
    limited = "(" in name
    if isinstance(operand.value, str):
        return _cast_text(operand, name, kind)
    if operand.value is not None and operand.is_number and kind in _NUMBERS and not limited:
        return replace(operand, kind=operand.kind if kind == "decimal" else str(kind))
    if operand.kind == "null" or (kind == operand.kind and not limited):
        return operand
    if operand.kind == "integer" and kind in ("decimal", "float"):
        return replace(operand, kind=str(kind), exact=False)
    raise NotPortableError(f"{operand.kind} cast to {name} is not portable")


def _cast_text(operand: Typed, name: str, kind: str | None) -> Typed:
    if kind in _NUMBERS:
        return number_literal(numeric(operand.value))
    if kind == "boolean":
        return Typed(sa.true() if operand.value.lower() in ("t", "true") else sa.false(), kind)
    return operand  # of text, of an enumeration, or compared with what it stands for


def numeric(text: str) -> int | Decimal:
    """Read a number."""
    try:
        return int(text, 0) if text.lower().startswith("0x") else int(text)
    except ValueError:
        pass
    try:
        return Decimal(text)
    except ArithmeticError as error:
        raise NotPortableError("a number is not understood") from error


def number_literal(value: int | Decimal) -> Typed:
    """Return a number."""
    if isinstance(value, int):
        return Typed(sa.literal_column(str(value)), "integer", value=value)
    return Typed(sa.literal_column(format(value, "f")), "decimal", value=value)


def text_literal(value: str) -> Typed:
    """Return a text."""
    if "\x00" in value:
        raise NotPortableError("NUL in a text is not portable")
    return Typed(sa.literal(value, sa.Text()), "text", value=value)
