"""Names that something else in the target has, or would get: nothing is left out for its name."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import exc

from tests.contract.found_databases import copied, rows_of, run, said, sqlite_file


def test_an_index_named_like_a_key_of_the_target_has_another_name(
    tmp_path: Path, postgres: str
) -> None:
    source = sqlite_file(
        tmp_path / "source.db",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, email TEXT);"
        "CREATE UNIQUE INDEX t_pkey ON t (email); INSERT INTO t VALUES (1, 'a');",
    )
    assert said(copied(source, postgres), "table t: the index t_pkey is named t_pkey_")
    with pytest.raises(exc.IntegrityError):
        run(postgres, "INSERT INTO t (email) VALUES ('a')")


IN_USE = (
    "CREATE TABLE other (a INTEGER, b INTEGER)",
    "CREATE INDEX i ON other (a)",
    "CREATE TABLE k (a INTEGER)",
)
INDEXED = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT, CONSTRAINT other UNIQUE (a, b));"
    "CREATE UNIQUE INDEX i ON t (a); CREATE INDEX k ON t (b); CREATE INDEX mine ON t (b, a);"
    "CREATE INDEX part ON t (a DESC) WHERE a > 5; CREATE INDEX over ON t (a + 1);"
    "INSERT INTO t VALUES (1, 1, 'b');"
)


@pytest.mark.parametrize("engine", ["postgres", "back"])
def test_indexes_are_made_whatever_has_their_names_and_made_once(
    tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    target = str(request.getfixturevalue(engine))
    run(target, *IN_USE)
    source = sqlite_file(tmp_path / "source.db", INDEXED)
    report = copied(source, target)
    assert said(report, "table t: the unique index i is named i_")
    assert said(report, "table t: the index k is named k_")
    names = (
        "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND tablename = 't'"
        if engine == "postgres"
        else "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 't'"
    )
    made = rows_of(target, names)
    assert len(made) == (7 if engine == "postgres" else 6)
    with pytest.raises(exc.IntegrityError):
        run(target, "INSERT INTO t (a, b) VALUES (1, 'c')")
    for how in ("truncate", "upsert"):
        assert not said(copied(source, target, existing=how), "is named")
        assert rows_of(target, names) == made


def test_an_index_of_that_name_over_other_columns_is_another(tmp_path: Path, postgres: str) -> None:
    run(postgres, "CREATE TABLE t (id bigint PRIMARY KEY, a bigint, b text COLLATE \"C\")",
        "CREATE INDEX i ON t (a)")  # fmt: skip
    script = (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b TEXT); CREATE UNIQUE INDEX i ON t (b)"
    )
    report = copied(sqlite_file(tmp_path / "source.db", script), postgres)
    assert said(report, "table t: the unique index i is named i_")


@pytest.mark.parametrize("other", ["a_pkey", "a_id_seq", "a_x_key"])
def test_a_table_may_be_named_as_the_target_names_keys(
    tmp_path: Path, postgres: str, other: str
) -> None:
    source = sqlite_file(
        tmp_path / "source.db",
        f"CREATE TABLE a (id INTEGER PRIMARY KEY, x TEXT UNIQUE); CREATE TABLE {other} (b INT);"
        f"INSERT INTO a VALUES (1, 'x'); INSERT INTO {other} VALUES (2);",
    )
    assert copied(source, postgres).is_complete
    run(postgres, "INSERT INTO a (x) VALUES ('y')")
    assert rows_of(postgres, "SELECT max(id) FROM a") == [(2,)]


def test_constraints_of_one_name_get_different_ones(tmp_path: Path, postgres: str) -> None:
    source = sqlite_file(
        tmp_path / "source.db",
        "CREATE TABLE p (id INTEGER PRIMARY KEY);"
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT CONSTRAINT c CHECK (a > 0), "
        "b INT CONSTRAINT c CHECK (b > 0), p INT CONSTRAINT c REFERENCES p);",
    )
    report = copied(source, postgres)
    assert said(report, "table t: the check c is named c_")
    assert said(report, "table t: the foreign key c is named c_")
    kinds = "SELECT contype, count(*) FROM pg_constraint WHERE conrelid = 't'::regclass"
    found = dict(rows_of(postgres, f"{kinds} AND contype IN ('c', 'f') GROUP BY contype"))
    assert found == {"c": 2, "f": 1}


def test_names_that_differ_in_case_alone_are_one_table_to_sqlite(
    tmp_path: Path, postgres: str, back: str
) -> None:
    run(postgres, "CREATE TABLE u (id bigint PRIMARY KEY)", "INSERT INTO u VALUES (1)")
    run(back, "CREATE TABLE U (ID BIGINT NOT NULL PRIMARY KEY)")
    assert copied(postgres, back).is_complete
    assert rows_of(back, "SELECT * FROM U") == [(1,)]
