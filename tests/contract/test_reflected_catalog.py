"""What PostgreSQL's catalog says of tables and SQLite has nothing like: kept, or said."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import exc

from tests.conftest import Databases
from tests.contract.found_databases import copied, rows_of, run, said, same


@pytest.fixture
def second(postgres_databases: Databases) -> Iterator[str]:
    name = postgres_databases.create()
    yield postgres_databases.url(name)
    postgres_databases.drop(name)


def test_a_domain_over_a_domain_keeps_what_both_ask_for(postgres: str, back: str) -> None:
    run(
        postgres,
        "CREATE DOMAIN inner_one AS integer NOT NULL DEFAULT 7 CHECK (VALUE > 5)",
        "CREATE DOMAIN outer_one AS inner_one CHECK (VALUE < 50)",
        "CREATE TABLE t (id int PRIMARY KEY, x outer_one)",
        "INSERT INTO t VALUES (1, 10)",
    )
    copied(postgres, back)
    run(back, "INSERT INTO t (id) VALUES (2)")
    assert rows_of(back, "SELECT x FROM t WHERE id = 2") == [(7,)]
    for value in ("NULL", "5", "50"):
        with pytest.raises(exc.IntegrityError):
            run(back, f"INSERT INTO t VALUES (3, {value})")


CATALOG = (
    "CREATE TABLE p (a int, b int, PRIMARY KEY (a, b))",
    "CREATE TABLE t (id int, b int, n int, CONSTRAINT partly FOREIGN KEY (id, b) REFERENCES p "
    "ON DELETE SET NULL (b))",
    "INSERT INTO p VALUES (1, 2)",
    "INSERT INTO t VALUES (1, 2, -5), (NULL, 3, 5)",
    "ALTER TABLE t ADD CONSTRAINT later CHECK (n > 0) NOT VALID",
    "ALTER TABLE t ADD CONSTRAINT unseen FOREIGN KEY (n, n) REFERENCES p NOT VALID",
    "COMMENT ON COLUMN t.n IS 'a comment'",
    "CREATE STATISTICS counted ON id, n FROM t",
    "CREATE UNLOGGED TABLE fast (a int)",
    "CREATE TABLE parts (a int) PARTITION BY LIST (a)",
    "CREATE TABLE part_one PARTITION OF parts (CHECK (a < 5)) FOR VALUES IN (1, 2)",
    "CREATE SEQUENCE numbers",
    "CREATE TABLE one (id int NOT NULL DEFAULT nextval('numbers') PRIMARY KEY)",
    "CREATE TABLE two (id int NOT NULL DEFAULT nextval('numbers') PRIMARY KEY)",
)
SAID = (
    "table t: the foreign key partly sets some of its columns when",
    "table t: the check later, which not all rows may pass, was left out",
    "table t: the foreign key unseen that not all rows may keep to was left out",
    "table t: comments were left out",
    "table t: the statistics object counted was left out",
    "table fast: it is UNLOGGED",
    "table parts: it is partitioned; in the copy it is one table",
    "table one, column id: it takes its numbers from a sequence that others",
    "table two, column id: it takes its numbers from a sequence that others",
)


def test_what_a_copy_does_not_have_is_said(postgres: str, back: str, second: str) -> None:
    run(postgres, *CATALOG)
    for target in (back, second):
        report = copied(postgres, target)
        assert report.is_complete
        assert [text for text in SAID if not said(report, text)] == []
        with pytest.raises(exc.IntegrityError):
            run(target, *["PRAGMA foreign_keys = ON"] * (target == back), "DELETE FROM p")


def test_what_came_with_postgresql_18_is_said(postgres: str, back: str) -> None:
    if rows_of(postgres, "SHOW server_version_num") < [("180000",)]:
        pytest.skip("this server is older")
    run(
        postgres,
        "CREATE TABLE t (s int4range, r int4range, CONSTRAINT periods PRIMARY KEY (s, r WITHOUT OVERLAPS))",
        "CREATE TABLE u (s int4range, r int4range, CONSTRAINT within FOREIGN KEY (s, PERIOD r) REFERENCES t (s, PERIOD r))",
        "CREATE TABLE v (a int CONSTRAINT told CHECK (a > 0) NOT ENFORCED)",
        "INSERT INTO v VALUES (-1)",
        "CREATE TABLE w (a int)",
        "INSERT INTO w VALUES (NULL)",
        "ALTER TABLE w ADD CONSTRAINT filled NOT NULL a NOT VALID",
    )
    report = copied(postgres, back)
    assert said(report, "table t: the key periods lets in periods that overlap")
    assert said(report, "table u: the foreign key within over periods was left out")
    assert said(report, "table w, column a: NOT NULL, which not all rows may keep to, was left out")
    assert said(report, "table v: the check told, which not all rows may pass, was left out")


def test_defaults_that_only_mention_a_sequence_are_left_out(postgres: str, back: str) -> None:
    run(
        postgres,
        "CREATE SEQUENCE s",
        "CREATE TABLE a (id text PRIMARY KEY DEFAULT 'INV-' || nextval('s'))",
        "CREATE TABLE b (x bigint DEFAULT nextval('s'))",
        "CREATE TABLE c (id bigint PRIMARY KEY DEFAULT nextval('s') * 10)",
        "CREATE TABLE d (id numeric PRIMARY KEY DEFAULT nextval('s'))",
        "INSERT INTO a DEFAULT VALUES",
        "INSERT INTO c DEFAULT VALUES",
        "INSERT INTO b VALUES (NULL)",
    )
    report = copied(postgres, back)
    for where in ("table a, column id", "table b, column x", "table c, column id",
                  "table d, column id"):  # fmt: skip
        assert said(report, f"{where}: the default ")
    assert rows_of(back, "SELECT id FROM a") == [("INV-1",)]
    assert rows_of(back, "SELECT x FROM b") == [(None,)]


def test_arrays_that_are_no_lists_become_text(postgres: str, back: str, second: str) -> None:
    run(
        postgres,
        "CREATE TABLE t (id int PRIMARY KEY, a int[] DEFAULT '{1,2}', b text[], c int[])",
        "INSERT INTO t VALUES (1, '[0:1]={1,2}', '{{a,b},{c,d}}', '{1,2}'), (2, '{}', NULL, NULL)",
    )
    for target in (back, second):
        report = copied(postgres, target)
        assert said(report, "table t, column a: integer[] holds arrays of several dimensions")
        assert said(report, "table t, column b: text[] holds arrays of several dimensions")
        assert not said(report, "column c:")
        assert rows_of(target, "SELECT a, b FROM t ORDER BY id") == [
            ("[0:1]={1,2}", "{{a,b},{c,d}}"),
            ("{}", None),
        ]
        assert same(postgres, target)


def test_arrays_of_documents_become_text(postgres: str, back: str, second: str) -> None:
    run(
        postgres,
        "CREATE TABLE t (id int PRIMARY KEY, a jsonb[])",
        """INSERT INTO t VALUES (1, '{"{}"}'), (2, '{"1",NULL,"{\\"a\\": [1]}","null"}'), (3, '{}')""",
    )
    for target in (second, back):
        assert said(copied(postgres, target), "column a: jsonb[] becomes text")
        assert rows_of(target, "SELECT a FROM t WHERE id = 1") == [('{"{}"}',)]
        assert same(postgres, target)
