"""Expressions of one engine read for the other: what is said alike, and what is refused."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from datastore.kinds import (
    BooleanKind,
    BytesKind,
    DateKind,
    DecimalKind,
    FloatKind,
    IntegerKind,
    Kind,
    TextKind,
)
from datastore.sqltokens import tokens
from datastore.transfer.reflection.expressions import (
    Column,
    read_condition,
    read_expression,
    read_value,
)
from datastore.transfer.reflection.meanings import NotPortableError

KINDS: dict[str, Kind[object]] = {
    "n": IntegerKind(), "m": IntegerKind(), "f": FloatKind(), "d": DecimalKind(), "t": TextKind(),
    "b": BooleanKind(), "day": DateKind(), "blob": BytesKind(), "Odd one": TextKind(),
}  # type: ignore[dict-item] # fmt: skip
COLUMNS = {
    name: Column(sa.column(sa.sql.quoted_name(name, True)), kind) for name, kind in KINDS.items()
}


def said(text: str) -> str:
    element = read_condition(text, COLUMNS)
    return str(element.compile(compile_kwargs={"literal_binds": True})).replace('"', "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n > 0", "n > 0"),
        ("(N >= -1)", "n >= -1"),
        ('"t"."n" == 0x10', "n = 16"),
        ("n <> 5 AND NOT (t = 'x' OR t = 'it''s')", "n != 5 AND NOT (t = 'x' OR t = 'it''s')"),
        ("(n > 0 OR m > 0) AND f < 1.5", "(n > 0 OR m > 0) AND f < 1.5"),
        ("n IN (1, 2)", "n IN (1, 2)"),
        ("n NOT IN (1, 2)", "(n NOT IN (1, 2))"),
        ("n BETWEEN 1 AND 2 AND m = 1", "n BETWEEN 1 AND 2 AND m = 1"),
        ("t IS NULL OR t NOTNULL", "t IS NULL OR t IS NOT NULL"),
        ("t NOT NULL", "t IS NOT NULL"),
        ("[Odd one] <> `t`", "Odd one != t"),
        ('t = "literal"', "t = 'literal'"),
        ("b IN (0, 1)", "b IN (false, true)"),
        ("b", "b"),
        ("day > '2024-01-01'", "day > '2024-01-01'"),
        ("d > '0'", "d > 0"),
        ("t LIKE '%@%'", "t LIKE '%@%'"),
        ("length(t) > 2", "length(t) > 2"),
        ("n * 2 + m > 0", "n * 2 + m > 0"),
        ("n - (m - 1) > 0", "n - (m - 1) > 0"),
        ("(n + m) * 2 = n", "(n + m) * 2 = n"),
        ("n / m = n % 2", "(n / nullif(m, 0)) = n % 2"),
        ("b = n < m", "b = (n < m)"),
        ("coalesce(t, 'x') <> ''", "coalesce(t, 'x') != ''"),
        ("CASE WHEN n > 1 THEN t ELSE 'x' END = 'y'", "CASE WHEN (n > 1) THEN t ELSE 'x' END = 'y'"),
        # As PostgreSQL writes them.
        ("((d >= (0)::numeric) AND (n < 10))", "(d >= 0) AND (n < 10)"),
        ("((t)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[]))",
         "t IN ('a', 'b')"),
        ("(t <> ALL (ARRAY['a'::text, 'b'::text]))", "(t NOT IN ('a', 'b'))"),
        ("(t ~~ '%.%'::text)", "t LIKE '%.%'"),
        ("(day >= '2024-01-01'::date)", "day >= '2024-01-01'"),
        ("char_length((t)::text) <= 5", "length(t) <= 5"),
        ("(TRIM(BOTH FROM t) <> ''::text)", "trim(t) != ''"),
        ("(TRIM(LEADING FROM t) <> ''::text)", "ltrim(t) != ''"),
        ("(t <> E'a\\\\b')", "t != 'a\\b'"),
    ],
)  # fmt: skip
def test_a_condition_is_read(text: str, expected: str) -> None:
    assert said(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "t = 5", "n = 'x'", "n", "t AND b", "n LIKE '1%'", "t LIKE 'abc%'", "t GLOB 'a*'",
        "hex(t) = 'x'", "json_valid(t)", "typeof(n) = 'integer'", "t REGEXP 'x'", "t ~ 'x'",
        "f / 2 > 1", "n IN (SELECT 1)", "unknown > 1", "n > ", "(n > 1", "n > 1 extra",
        "t || f = 'x'", "b = 2", "n IS DISTINCT FROM m", "t = NULL", "length(f) > 1",
        "substr(t, -1) = 'x'", "blob = 'x'", "n COLLATE NOCASE = 1", "CAST(t AS INTEGER) > 1", "",
        "day > '2000'", "day <> ''", "day > '20240101'", "n = m < 5", "f < 'Infinity'", "f < 9e999",
        "d > '1_000'", "TRIM(BOTH 'x' FROM t) = ''",
    ],
)  # fmt: skip
def test_what_has_another_meaning_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(NotPortableError):
        read_condition(text, COLUMNS)


@pytest.mark.parametrize("text", ["n * 2", "n / 2", "n || t", "t || 'x'", "substr(t, 1, 2)"])
def test_values_that_both_engines_compute_alike(text: str) -> None:
    kind = TextKind() if "t" in text else IntegerKind()
    read_value(text, COLUMNS, kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["lower(t)", "d * 1.5", "abs(d)", "0.12345678901234567"])
def test_values_that_they_might_not_compute_alike(text: str) -> None:
    typed = read_expression(text, COLUMNS)
    assert not typed.exact
    with pytest.raises(NotPortableError, match="other values"):
        read_value(text, COLUMNS, DecimalKind())


def test_tokens_of_both_engines_without_comments() -> None:
    sql = """a -- 'x'\n /* " */ "b""c" [d e] `f``g` 'h''i' X'00ff' 1.5e-3 :: || <> E'\\n'"""
    assert [(token.kind, token.value) for token in tokens(sql)] == [
        ("word", "a"), ("quoted", 'b"c'), ("quoted", "d e"), ("quoted", "f`g"), ("text", "h'i"),
        ("blob", "00ff"), ("number", "1.5e-3"), ("symbol", "::"), ("symbol", "||"),
        ("symbol", "<>"), ("text", "\n"),
    ]  # fmt: skip


@pytest.mark.parametrize("sql", ["'open", '"open', "/* open", "a ' b", "\x00", "é"])
def test_any_text_has_tokens(sql: str) -> None:
    found = list(tokens(sql))
    assert all(sql[token.at : token.end].strip() for token in found)
    assert [token.at for token in found] == sorted(token.at for token in found)


@pytest.mark.parametrize(
    "text", ["t = CAST('abcd' AS varchar(2))", "b = 'maybe'::boolean", "n = '1.5'::integer"]
)
def test_a_literal_that_a_cast_would_change_is_refused(text: str) -> None:
    with pytest.raises(NotPortableError):
        read_condition(text, COLUMNS)
