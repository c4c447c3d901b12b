"""Copies into tables that others made in the target: what they have otherwise is said, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from datastore.errors import TransferError
from datastore.transfer import IncompleteLoadError
from tests.contract.found_databases import copied, rows_of, run, sqlite_file

THERE = "the target has the table already, and"


def source_of(tmp_path: Path, columns: str, *rows: str) -> str:
    inserted = "".join(f"INSERT INTO t VALUES {row};" for row in rows)
    return sqlite_file(tmp_path / "source.db", f"CREATE TABLE t ({columns}); {inserted}")


def test_other_types_and_keys_are_said(tmp_path: Path, postgres: str) -> None:
    columns = "id INTEGER PRIMARY KEY, n REAL, d DATE, s TEXT NOT NULL, u TEXT UNIQUE"
    source = source_of(tmp_path, columns, "(1, 1.5, '2024-01-01', 'a', 'b')")
    run(
        postgres,
        "CREATE TABLE t (id bigint, n numeric(5, 0), d timestamp, s text, u text)",
        "CREATE UNIQUE INDEX i ON t (id)",
    )
    report = copied(source, postgres, verify="count")
    assert set(report.notes) == {
        f"table t, column n: {THERE} the column as numeric(5, 0) instead of double precision",
        f"table t, column d: {THERE} the column as timestamp without time zone instead of date",
        f"table t, column s: {THERE} the column without NOT NULL",
        f"table t: {THERE} with no key",
        f"table t: {THERE} without a unique key over u",
    }


def test_tables_that_a_copy_made_differ_in_nothing(tmp_path: Path, postgres: str) -> None:
    columns = "id INTEGER PRIMARY KEY, a TEXT UNIQUE, b JSON, c UUID, d DATETIME, e DECIMAL(5, 2)"
    source = source_of(tmp_path, f"{columns}, f BOOLEAN NOT NULL, g BLOB, h VARCHAR(3), i SMALLINT")
    for target in (postgres, f"sqlite:///{tmp_path / 'target.db'}"):
        assert copied(source, target).notes == copied(source, target).notes == ()


@pytest.mark.parametrize("count", [5, 20])  # by statements, and by COPY
@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("destination", ["sqlite", "postgresql"])
def test_rows_that_a_trigger_keeps_away_are_missed_even_if_nothing_is_compared(
    tmp_path: Path, postgres: str, destination: str, resume: bool, count: int
) -> None:
    source = source_of(tmp_path, "x INTEGER PRIMARY KEY", *(f"({i})" for i in range(count)))
    if destination == "postgresql":
        target = postgres
        run(
            target,
            "CREATE TABLE t (x bigint PRIMARY KEY)",
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
            "CREATE TRIGGER f BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.x = 3) "
            "EXECUTE FUNCTION f()",
        )
    else:
        target = sqlite_file(
            tmp_path / "target.db",
            "CREATE TABLE t (x INTEGER PRIMARY KEY); CREATE TRIGGER f BEFORE INSERT ON t "
            "WHEN NEW.x = 3 BEGIN SELECT RAISE(IGNORE); END;",
        )
    with pytest.raises(TransferError, match=rf"table t: of {count} rows .* stored {count - 1}:"):
        copied(source, target, verify="none", resume=resume)
    assert rows_of(target, "SELECT * FROM t") == []


def test_columns_that_take_no_values_are_named(tmp_path: Path, postgres: str) -> None:
    source = source_of(tmp_path, "id INTEGER PRIMARY KEY, x INTEGER NOT NULL UNIQUE", "(1, 7)")
    always = "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, x bigint UNIQUE)"
    run(postgres, always)
    with pytest.raises(TransferError, match=r"table t, column id: it is GENERATED ALWAYS AS IDENT"):
        copied(source, postgres, resume=True)
    assert copied(source, postgres, existing="upsert").rows == 1  # rows keep the target's numbers
    target = sqlite_file(
        tmp_path / "target.db",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, x INT GENERATED ALWAYS AS (id + 1))",
    )
    with pytest.raises(TransferError, match="table t, column x: it is generated from other col"):
        copied(source, target)


def test_a_table_that_is_always_numbered_takes_the_numbers_of_the_source(
    tmp_path: Path, postgres: str
) -> None:
    source = source_of(tmp_path, "id INTEGER PRIMARY KEY, x INTEGER", "(7, 1), (9, 2)")
    run(postgres, "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, x bigint)")
    copied(source, postgres)
    run(postgres, "INSERT INTO t (x) VALUES (3)")
    assert rows_of(postgres, "SELECT id, x FROM t ORDER BY id") == [(7, 1), (9, 2), (10, 3)]
    always = "SELECT attidentity::text FROM pg_attribute WHERE attname = 'id' AND attrelid = 't'::regclass"
    assert rows_of(postgres, always) == [("a",)]


@pytest.mark.parametrize("destination", ["sqlite", "postgresql"])
def test_a_table_that_cannot_be_made_is_named(
    tmp_path: Path, postgres: str, destination: str
) -> None:
    target = postgres if destination == "postgresql" else f"sqlite:///{tmp_path / 'target.db'}"
    run(target, "CREATE VIEW t AS SELECT 1 AS x")
    with pytest.raises(TransferError, match=r"table t cannot be made .*\"t\" already exists"):
        copied(source_of(tmp_path, "x INT"), target)


def test_limits_of_postgresql_are_told(tmp_path: Path, postgres: str) -> None:
    key = source_of(tmp_path, "x TEXT PRIMARY KEY", "(hex(randomblob(9000)))")
    with pytest.raises(IncompleteLoadError, match=r"table t: .* about 2,700 bytes in a key or an"):
        copied(key, postgres)
    names = ", ".join(f"c{number} INT" for number in range(1601))
    many = sqlite_file(tmp_path / "many.db", f"CREATE TABLE t ({names})")
    with pytest.raises(TransferError, match=r"table t cannot be made .* more than 1,600 col"):
        copied(many, postgres)


def test_what_python_has_no_value_for_is_told_of_arrays_too(tmp_path: Path, postgres: str) -> None:
    run(
        postgres,
        "CREATE TABLE t (id int PRIMARY KEY, days date[], moments timestamptz[])",
        "INSERT INTO t VALUES (1, '{2024-01-01,infinity}', NULL), (2, NULL, '{-infinity}')",
    )
    with pytest.raises(IncompleteLoadError) as caught:
        copied(postgres, f"sqlite:///{tmp_path / 'target.db'}")
    assert [str(trouble) for trouble in caught.value.report.troubles] == [
        "table t, column days: expected a date of the years 1 to 9999: 1 row (id=1)",
        "table t, column moments: expected an instant of the years 1 to 9999: 1 row (id=2)",
    ]
