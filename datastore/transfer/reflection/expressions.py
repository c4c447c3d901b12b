"""Expressions of one database as portable ones: only what both engines take for the same.

An expression is read, whichever of the two wrote it, its types are worked out, and what has another
meaning elsewhere (`meanings.py`) is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import Grouping

from datastore.kinds import Kind
from datastore.sqltokens import Token, tokens
from datastore.transfer.reflection.meanings import (
    Element,
    NotPortableError,
    Typed,
    among,
    arithmetic,
    boolean,
    called,
    cast_to,
    chosen,
    comparable,
    compared,
    condition,
    in_groups,
    joined,
    like,
    null_test,
    number_literal,
    numeric,
    one_kind,
    text_literal,
)

_COMPARISONS: Mapping[str, Callable[[Element, Element], Element]] = {
    "=": lambda a, b: a == b,
    "==": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_EQUALITIES = ("=", "==", "<>", "!=")
_INEQUALITIES = ("<", "<=", ">", ">=")
_TRIMS = {"BOTH": "trim", "LEADING": "ltrim", "TRAILING": "rtrim"}


@dataclass(frozen=True)
class Column:
    """What an expression may name: how it is written, and the kind of its values.

    `unlike`, `unordered` and `loose` are those of `Typed`; `refused` says why it may not be named.
    """

    element: Element
    kind: Kind[Any]
    unlike: str = ""
    unordered: bool = False
    loose: bool = False
    refused: str = ""


def _of_column(column: Column) -> Typed:
    if column.refused:
        raise NotPortableError(column.refused)
    return Typed(
        column.element,
        column.kind.name,
        is_column=True,
        unlike=column.unlike,
        unordered=column.unordered,
        loose=column.loose,
    )


def read_expression(text: str, columns: Mapping[str, Column]) -> Typed:
    """Read an expression over `columns`; raise `NotPortableError` for one that is not portable."""
    parser = _Parser(list(tokens(text, brackets="ARRAY[" not in text)), columns)
    result = parser.disjunction()
    if parser.rest:
        raise NotPortableError(f"{parser.rest[0].value} is not understood")
    element: Any = result.element
    while isinstance(element, Grouping):
        element = element.element
    return replace(result, element=element)


def read_condition(text: str, columns: Mapping[str, Column]) -> Element:
    """Read an expression that is true or false."""
    return condition(read_expression(text, columns)).element


def read_value(text: str, columns: Mapping[str, Column], kind: Kind[Any]) -> Element:
    """Read an expression of which both engines make the same value, one of `kind`."""
    typed = read_expression(text, columns)
    if not typed.exact:
        raise NotPortableError("both engines might compute other values")
    if typed.kind != kind.name:
        raise NotPortableError(f"it gives {typed.kind}")
    return typed.element


class _Parser:
    """Descends from the operators that bind least to those that bind most."""

    def __init__(self, found: Sequence[Token], columns: Mapping[str, Column]) -> None:
        self.rest = list(found)
        self._columns = columns
        self._folded = {name.lower(): column for name, column in columns.items()}

    def _sees(self, *words: str) -> bool:
        return bool(self.rest) and self.rest[0](*words)

    def _follow(self, *words: str) -> bool:
        """Tell whether these words come next, one after the other."""
        return len(self.rest) >= len(words) and all(
            token(word) for token, word in zip(self.rest, words, strict=False)
        )

    def _take(self, *words: str) -> bool:
        """Step over these words if they come next."""
        if not self._follow(*words):
            return False
        del self.rest[: len(words)]
        return True

    def _next(self) -> Token:
        if not self.rest:
            raise NotPortableError("it ends too early")
        return self.rest.pop(0)

    def _expect(self, word: str) -> None:
        if not self._take(word):
            found = self.rest[0].value if self.rest else "the end"
            raise NotPortableError(f"{found} is not understood")

    def disjunction(self) -> Typed:
        parts = [self._conjunction()]
        while self._take("OR"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else joined(sa.or_, parts)

    def _conjunction(self) -> Typed:
        parts = [self._negation()]
        while self._take("AND"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else joined(sa.and_, parts)

    def _negation(self) -> Typed:
        if self._take("NOT"):
            operand = condition(self._negation())
            return replace(operand, element=sa.not_(operand.element))
        return self._equality()

    def _equality(self) -> Typed:
        left = self._inequality()
        while self.rest:
            if self._sees(*_EQUALITIES):
                left = self._compared(left, self._inequality)
            elif self._sees("IS"):
                left = self._identity(left)
            elif self._sees("ISNULL", "NOTNULL") or self._follow("NOT", "NULL"):
                left = self._postfix_null(left)
            elif self._sees("IN", "BETWEEN", "LIKE", "~~") or (
                self._sees("NOT", "!~~") and not self._follow("NOT", "NULL")
            ):
                left = self._membership(left)
            else:
                break
        return left

    def _inequality(self) -> Typed:
        """Read comparisons by size, which bind more than equality: to PostgreSQL they do not.

        But PostgreSQL keeps expressions with all of their parentheses.
        """
        left = self._sum()
        while self._sees(*_INEQUALITIES):
            left = self._compared(left, self._sum)
        return left

    def _compared(self, left: Typed, operand: Callable[[], Typed]) -> Typed:
        operator = self._next().value
        if self._sees("ANY", "ALL"):
            return self._quantified(left, operator)
        left, right = comparable(left, operand())
        by_size = operator in _INEQUALITIES
        element = _COMPARISONS[operator](left.element, right.element)
        return compared(element, left, right, by_size=by_size)

    def _quantified(self, left: Typed, operator: str) -> Typed:
        """Read `= ANY (ARRAY[...])` and `<> ALL (ARRAY[...])`, which are IN and NOT IN."""
        quantifier = self._next().value.upper()
        if (operator, quantifier) not in (("=", "ANY"), ("<>", "ALL")):
            raise NotPortableError(f"{operator} {quantifier} is not portable")
        depth = 0
        while self._take("("):
            depth += 1
        self._expect("ARRAY")
        self._expect("[")
        items = [self.disjunction()]
        while self._take(","):
            items.append(self.disjunction())
        self._expect("]")
        for _ in range(depth):
            self._skip_casts()
            self._expect(")")
        return among(left, items, negated=quantifier == "ALL")

    def _skip_casts(self) -> None:
        while self._take("::"):
            self._type_name()

    def _identity(self, left: Typed) -> Typed:
        self._expect("IS")
        negated = self._take("NOT")
        if self._take("NULL"):
            return null_test(left, negated)
        for word, value in (("TRUE", sa.true()), ("FALSE", sa.false())):
            if left.kind == "boolean" and self._take(word):
                same = sa.and_(left.element.is_not(None), left.element == value)
                return boolean(sa.not_(same) if negated else same, left)
        raise NotPortableError("IS is portable before NULL, TRUE and FALSE alone")

    def _postfix_null(self, left: Typed) -> Typed:
        if self._take("ISNULL"):
            return null_test(left, negated=False)
        if not self._take("NOTNULL"):
            self._take("NOT", "NULL")
        return null_test(left, negated=True)

    def _membership(self, left: Typed) -> Typed:
        negated = self._take("NOT")
        if self._take("IN"):
            self._expect("(")
            items = [self.disjunction()]
            while self._take(","):
                items.append(self.disjunction())
            self._expect(")")
            return among(left, items, negated)
        if self._take("BETWEEN"):
            left, low = comparable(left, self._sum())
            self._expect("AND")
            left, high = comparable(left, self._sum())
            between = left.element.between(low.element, high.element)
            between = sa.not_(between) if negated else between
            return compared(between, left, low, high, by_size=True)
        negated = self._take("!~~") or negated
        if not negated or not self._sees("!~~"):
            _ = self._take("LIKE") or self._take("~~")
        return like(left, self._sum(), negated)

    def _sum(self) -> Typed:
        left = self._product()
        while self._sees("+", "-"):
            left = arithmetic(self._next().value, left, self._product())
        return left

    def _product(self) -> Typed:
        left = self._concatenation()
        while self._sees("*", "/", "%"):
            left = arithmetic(self._next().value, left, self._concatenation())
        return left

    def _concatenation(self) -> Typed:
        left = self._cast()
        while self._take("||"):
            right = self._cast()
            for side in (left, right):
                if side.kind not in ("text", "integer"):
                    raise NotPortableError(f"|| with {side.kind} is not portable")
            if "text" not in (left.kind, right.kind):
                raise NotPortableError("|| without text is not portable")
            joined = sa.cast(left.element, sa.Text()) if left.kind != "text" else left.element
            left = Typed(joined.concat(right.element), "text", exact=left.exact and right.exact)
        return left

    def _cast(self) -> Typed:
        operand = self._unary()
        while self._take("::"):
            operand = cast_to(operand, self._type_name())
        return operand

    def _type_name(self) -> str:
        """Step over the name of a type, and return its first word, or all of an unknown one."""
        words = [self._next().value]
        while self._take("."):
            words = [self._next().value]
        while self._sees("VARYING", "PRECISION", "WITHOUT", "WITH", "TIME", "ZONE"):
            self._next()
        if self._take("("):
            words.append("(")
            while not self._take(")"):
                self._next()
        while self._take("[") and self._take("]"):
            words.append("[]")
        return "".join(words)

    def _unary(self) -> Typed:
        if self._take("-"):
            operand = self._unary()
            if not operand.is_number:
                raise NotPortableError(f"- before {operand.kind} is not portable")
            value = None if operand.value is None else -operand.value
            element = -operand.element if value is None else number_literal(value).element
            return replace(operand, element=element, value=value)
        if self._take("+"):
            return self._unary()
        return self._primary()

    def _primary(self) -> Typed:
        if self._take("("):
            inner = self.disjunction()
            self._expect(")")
            return inner if inner.value is not None else replace(inner, element=in_groups(inner))
        token = self._next()
        if token.kind == "number":
            return number_literal(numeric(token.value))
        if token.kind == "text":
            return text_literal(token.value)
        if token.kind == "word":
            special = self._special(token)
            if special is not None:
                return special
        if token.kind in ("word", "quoted"):
            return self._named(token)
        raise NotPortableError(f"{token.value} is not portable")

    def _special(self, token: Token) -> Typed | None:
        if self._sees("("):
            if token("CAST"):
                return self._standard_cast()
            if token("TRIM") and len(self.rest) > 1 and self.rest[1](*_TRIMS):
                return self._trim()
            self._expect("(")
            return self._call(token.value.lower())
        if token("TRUE", "FALSE") and token.value.lower() not in self._folded:
            truth = token("TRUE")
            return Typed(sa.true() if truth else sa.false(), "boolean")
        if token("NULL"):
            return Typed(sa.null(), "null")
        if token("CASE"):
            return self._case()
        return None

    def _named(self, token: Token) -> Typed:
        while self._take("."):  # behind the name of the table
            token = self._next()
        column = self._columns.get(token.value) or self._folded.get(token.value.lower())
        if column is not None:
            return _of_column(column)
        if token.kind == "quoted":  # SQLite takes a name that it does not know for a text
            return text_literal(token.value)
        raise NotPortableError(f"{token.value} is not known")

    def _standard_cast(self) -> Typed:
        self._expect("(")
        operand = self.disjunction()
        self._expect("AS")
        name = self._type_name()
        self._expect(")")
        return cast_to(operand, name)

    def _trim(self) -> Typed:
        """Read `TRIM(BOTH FROM text)`, and no characters but blanks."""
        self._expect("(")
        name = _TRIMS[self._next().value.upper()]
        self._expect("FROM")
        return self._call(name)

    def _case(self) -> Typed:
        whens: list[tuple[Typed, Typed]] = []
        while self._take("WHEN"):
            when = condition(self.disjunction())
            self._expect("THEN")
            whens.append((when, self.disjunction()))
        if not whens:
            raise NotPortableError("CASE with an operand is not portable")
        otherwise = self.disjunction() if self._take("ELSE") else None
        self._expect("END")
        results = [result for _, result in whens] + ([otherwise] if otherwise else [])
        kind = one_kind(results)
        case = sa.case(
            *((when.element, result.element) for when, result in whens),
            else_=otherwise.element if otherwise else None,
        )
        exact = all(each.exact for each in (*results, *(when for when, _ in whens)))
        return chosen(case, kind, exact, results)

    def _call(self, name: str) -> Typed:
        arguments: list[Typed] = []
        while not self._take(")"):
            arguments.append(self.disjunction())
            if not self._sees(")"):
                self._expect(",")
        return called(name, arguments)
