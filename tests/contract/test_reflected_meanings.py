"""Expressions that would mean something else in a copy: none is kept, and each is said.

A generated column becomes a plain one with the values that were found; a check or an index is left
out.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import exc

from tests.contract.found_databases import copied, rows_of, run, said, same, sqlite_file

#: Columns of PostgreSQL, the generated one that is not the same in SQLite, and the values.
GENERATED_THERE = [
    ("a numeric", "numeric(10, 2)", "a", "1.2367"),
    ("a timestamp", "timestamp(0)", "a", "'2024-01-01 00:00:00.7'"),
    ("a time", "time(0)", "a", "'00:00:00.7'"),
    ("a real", "real", "a + a", "0.1"),
    ("a varchar", "char(3)", "a", "'b'"),
    ("a numeric(40, 25)", "boolean", "a > 9", "10.12345678901234567"),
    ("a numeric", "numeric", "a", "9007199254740993.1"),
    ("a text", "boolean", "a < 'B'", "'a'"),
    ("a interval", "boolean", "a > '2 days'", "'1 month'"),
]


def test_generated_columns_of_postgresql_keep_their_values(postgres: str, back: str) -> None:
    for number, (column, type_, expression, value) in enumerate(GENERATED_THERE):
        run(
            postgres,
            f"CREATE TABLE t{number} ({column}, g {type_} GENERATED ALWAYS AS ({expression}) STORED)",
            f"INSERT INTO t{number} (a) VALUES ({value})",
        )
    report = copied(postgres, back)
    plain = [
        number
        for number in range(len(GENERATED_THERE))
        if said(report, f"table t{number}, column g: it was generated as")
    ]
    assert plain == [number for number in range(len(GENERATED_THERE)) if number != 6]
    assert same(postgres, back)
    for name in (f"t{number}" for number in plain):
        assert rows_of(back, f"SELECT g IS NOT NULL FROM {name}") == [(1,)]
    assert rows_of(back, "SELECT g FROM t3") == rows_of(postgres, "SELECT g::float8 FROM t3")


def test_a_moment_is_compared_in_the_form_that_it_is_stored_in(postgres: str, back: str) -> None:
    run(
        postgres,
        "CREATE TABLE t (id int PRIMARY KEY, z timestamp, i timestamptz CHECK (i <= '2024-01-01 00:00+05'), "
        "g boolean GENERATED ALWAYS AS (z <= '2024-01-01 00:00:00.5'::timestamp) STORED)",
        "INSERT INTO t VALUES (1, '2024-01-01 00:00:00.5', '2023-12-31 19:00Z'), (2, '2024-01-01 00:00:00.500001', NULL)",
    )
    assert copied(postgres, back).notes == ()
    assert rows_of(back, "SELECT g FROM t ORDER BY id") == [(1,), (0,)]


#: Columns of SQLite, of which one is generated.
GENERATED_HERE = [
    "s TEXT COLLATE NOCASE, g BOOLEAN AS (s = 'open')",
    "s TEXT COLLATE RTRIM, g BOOLEAN AS (s = 'Open ')",
    "s TEXT COLLATE NOCASE, g BOOLEAN AS (coalesce(s, '') IN ('OPEN'))",
    "s TEXT COLLATE NOCASE, g BOOLEAN AS (CASE WHEN 1 = 1 THEN s END = 'OPEN')",
    "s TIMESTAMP, g BOOLEAN AS (s > '2024-01-01')",
]


def test_generated_columns_of_sqlite_keep_their_values(tmp_path: Path, postgres: str) -> None:
    script = "".join(f"CREATE TABLE t{n} ({each});" for n, each in enumerate(GENERATED_HERE))
    values = ["Open"] * 4 + ["2024-01-01 00:00:00"]
    rows = [(f"INSERT INTO t{n} (s) VALUES (?)", (value,)) for n, value in enumerate(values)]
    source = sqlite_file(tmp_path / "source.db", script, *rows)
    report = copied(source, postgres)
    for number in range(len(values)):
        assert said(report, f"table t{number}, column g: it was generated as")
        name = f"t{number}"
        found = rows_of(source, f"SELECT g FROM {name}")
        assert rows_of(postgres, f"SELECT g::int FROM {name}") == found
    assert same(source, postgres)


#: Checks that let in other rows in the copy, and the values of their columns.
CHECKS_HERE = [
    ("s TEXT COLLATE NOCASE CHECK (s IN ('open', 'closed'))", "Open"),
    ("s DATE CHECK (s > '2000')", "2024-01-01"),
    ("s DATE CHECK (s <> '')", "2024-01-01"),
    ("s DATE CHECK (s > '20000101')", "2024-01-01"),
    ("s TIMESTAMP CHECK (s > '2024-01-01')", "2024-01-01 00:00:00"),
    ("s INTEGER CHECK (s = 5 < 7)", 1),
    ("s JSON CHECK (s <> '{}')", "[]"),
    ("s UUID CHECK (s <> 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11')",
     "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("s REAL CHECK (s < '1_000')", 5.5),
    ("s REAL CHECK (s < 9e999)", 5.5),
    ("s DECIMAL_TEXT CHECK (s < 9)", "10.12345678901234567"),
]  # fmt: skip


def test_checks_of_sqlite_that_mean_something_else_are_left_out(
    tmp_path: Path, postgres: str
) -> None:
    script = "".join(f"CREATE TABLE t{n} ({each});" for n, (each, _) in enumerate(CHECKS_HERE))
    rows = [(f"INSERT INTO t{n} VALUES (?)", (value,)) for n, (_, value) in enumerate(CHECKS_HERE)]
    report = copied(sqlite_file(tmp_path / "source.db", script, *rows), postgres)
    assert report.is_complete
    for number in range(len(CHECKS_HERE)):
        assert said(report, f"table t{number}: the check s "), CHECKS_HERE[number]
    assert rows_of(postgres, "SELECT count(*) FROM pg_constraint WHERE contype = 'c'") == [(2,)]


CHECKS_THERE = [
    ("a numeric(40, 25) CHECK (a < 9)", "1.12345678901234567"),
    ("a float8 CHECK (a < 'Infinity')", "1"),
    ("a interval CHECK (a > '2 days')", "'1 month'"),
    ("a mood CHECK (a > 'sad')", "'glad'"),
    ("a jsonb CHECK (a <> '{}')", "'[]'"),
    ("a int[] CHECK (a <> '{}')", "'{1}'"),
]


def test_checks_of_postgresql_that_mean_something_else_are_left_out(
    postgres: str, back: str
) -> None:
    run(postgres, "CREATE TYPE mood AS ENUM ('sad', 'glad')")
    for number, (column, value) in enumerate(CHECKS_THERE):
        run(
            postgres,
            f"CREATE TABLE t{number} ({column})",
            f"INSERT INTO t{number} VALUES ({value})",
        )
    report = copied(postgres, back)
    assert report.is_complete
    for number in range(len(CHECKS_THERE)):
        assert said(report, f"table t{number}: the check "), CHECKS_THERE[number]


def test_unique_indexes_that_mean_something_else_are_left_out(
    tmp_path: Path, postgres: str, back: str
) -> None:
    source = sqlite_file(
        tmp_path / "source.db",
        "CREATE TABLE t (s TEXT COLLATE NOCASE, a INT); INSERT INTO t VALUES ('Open', 1), ('x', 1);"
        "CREATE UNIQUE INDEX i ON t (a) WHERE s = 'open';",
    )
    assert said(copied(source, postgres), "table t: the unique index i was left out")
    run(postgres, "DROP TABLE t", "CREATE TABLE t (x numeric(40, 25), a int)",
        "INSERT INTO t VALUES (10.12345678901234567, 1), (8, 1)",
        "CREATE UNIQUE INDEX i ON t (a) WHERE x > 9")  # fmt: skip
    assert said(copied(postgres, back), "table t: the unique index i was left out")


def test_indexes_over_expressions_are_made(postgres: str, back: str) -> None:
    run(
        postgres,
        "CREATE TABLE t (a int, b int, c int, m text CHECK (TRIM(BOTH FROM m) <> ''))",
        "CREATE INDEX one ON t ((a + b) DESC)",
        "CREATE UNIQUE INDEX two ON t ((a - (b - c)) DESC, (a * (b + c)))",
        "INSERT INTO t VALUES (5, 3, 1, 'm')",
    )
    assert copied(postgres, back).notes == ()
    assert rows_of(back, "SELECT count(*) FROM sqlite_schema WHERE type = 'index'") == [(2,)]
    with pytest.raises(exc.IntegrityError):
        run(back, "INSERT INTO t VALUES (5, 3, 1, 'n')")
    run(back, "INSERT INTO t VALUES (0, 2, 1, 'n'), (2, -4, 9, 'n')")
    run(postgres, "DROP TABLE t")
    assert copied(back, postgres).notes == ()
    assert rows_of(postgres, "SELECT count(*) FROM pg_indexes WHERE schemaname = 'public'") == [
        (2,)
    ]


def test_an_index_that_the_target_cannot_make_is_said(tmp_path: Path, postgres: str) -> None:
    source = sqlite_file(
        tmp_path / "source.db",
        "CREATE TABLE t (a TEXT, b INT); CREATE UNIQUE INDEX i ON t (a || b);"
        "CREATE INDEX k ON t (b || a); INSERT INTO t VALUES ('a', 1);",
    )
    report = copied(source, postgres)
    assert report.is_complete
    made = rows_of(postgres, "SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")
    for name, what in (("i", "unique index"), ("k", "index")):
        assert ((name,) in made) != said(report, f"the {what} {name} could not be made")


def test_sums_of_small_integers_are_not_too_large(tmp_path: Path, postgres: str) -> None:
    source = sqlite_file(
        tmp_path / "source.db",
        "CREATE TABLE t (x SMALLINT, y SMALLINT, z INTEGER AS (x * y), w INTEGER AS (x / (y - 300)),"
        "CHECK (x * (y + 1) > 5), CHECK (x % (y - 300) IS NULL)); INSERT INTO t VALUES (300, 300);",
    )
    assert copied(source, postgres).notes == ()
    assert rows_of(postgres, "SELECT z, w FROM t") == [(90000, None)]


def test_what_is_generated_from_generated_columns_becomes_plain(
    tmp_path: Path, postgres: str
) -> None:
    source = sqlite_file(
        tmp_path / "source.db",
        "CREATE TABLE t (a INT, b INT AS (a * 2) STORED, f INT AS (b + 1)); INSERT INTO t VALUES (1)",
    )
    report = copied(source, postgres)
    assert said(report, "column f: it was generated as b + 1")
    assert not said(report, "column b: it was generated")
    assert rows_of(postgres, "SELECT a, b, f FROM t") == [(1, 2, 3)]


def test_a_generated_key_becomes_plain(postgres: str, back: str) -> None:
    run(
        postgres,
        "CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a * 2) STORED PRIMARY KEY, "
        "c int GENERATED ALWAYS AS (a * 3) STORED UNIQUE)",
        "CREATE TABLE lone (a int GENERATED ALWAYS AS (5) STORED)",
        "INSERT INTO t VALUES (1)",
        "INSERT INTO lone DEFAULT VALUES",
    )
    report = copied(postgres, back, resume=True)
    for where in ("table t, column b", "table t, column c", "table lone, column a"):
        assert said(report, f"{where}: it was generated as")
    assert rows_of(back, "SELECT * FROM t") == [(1, 2, 3)]
    assert same(postgres, back)


def test_keys_of_long_decimals_are_equal_if_the_numbers_are(postgres: str, back: str) -> None:
    run(
        postgres,
        "CREATE TABLE p (x numeric PRIMARY KEY)",
        "CREATE TABLE t (x numeric REFERENCES p)",
        "INSERT INTO p VALUES (1.50), (100), (0.12345678901234567)",
        "INSERT INTO t VALUES (1.5), (100.0), (0.123456789012345670)",
    )
    assert copied(postgres, back).is_complete
    assert rows_of(back, "SELECT x FROM t ORDER BY x") == [
        ("0.12345678901234567",), ("1.5",), ("100",)
    ]  # fmt: skip
    assert same(postgres, back)


NOT_FINITE = [
    ("a float8 DEFAULT 'Infinity'", "'Infinity'::double precision"),
    ("a float8 DEFAULT 'NaN'", "'NaN'::double precision"),
    ("a numeric DEFAULT 'NaN'", "'NaN'::numeric"),
]


def test_defaults_that_are_no_numbers_are_left_out(
    tmp_path: Path, postgres: str, back: str
) -> None:
    for number, (column, _) in enumerate(NOT_FINITE):
        run(postgres, f"CREATE TABLE t{number} ({column})")
    report = copied(postgres, back)
    for _, text in NOT_FINITE:
        assert said(report, f"column a: the default {text} was left out")
    source = sqlite_file(
        tmp_path / "s.db", "CREATE TABLE u (a NUMERIC DEFAULT '1_000', b DATE DEFAULT '2024-W01-1')"
    )
    report = copied(source, postgres)
    assert said(report, "column a: the default '1_000' was left out")
    assert said(report, "column b: the default '2024-W01-1' was left out")


def test_texts_without_case_are_compared_by_nothing_but_their_keys(
    postgres: str, back: str
) -> None:
    if not rows_of(postgres, "SELECT 1 FROM pg_available_extensions WHERE name = 'citext'"):
        pytest.skip("this server has no citext")
    run(
        postgres,
        "CREATE EXTENSION citext",
        "CREATE TABLE t (id int PRIMARY KEY, s citext CHECK (s IN ('open', 'closed')), k citext)",
        "CREATE UNIQUE INDEX one ON t (k)",
        "INSERT INTO t VALUES (1, 'Open', 'A')",
    )
    assert said(copied(postgres, back), "table t: the check (s = ANY ")
    with pytest.raises(exc.IntegrityError):
        run(back, "INSERT INTO t VALUES (2, 'x', 'a')")
