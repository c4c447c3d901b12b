"""Copies in steps of databases that others made: keys of any kind, and rows without their parents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datastore.errors import TransferError
from datastore.transfer import IncompleteLoadError, Progress
from tests.conftest import Databases
from tests.contract.found_databases import copied, rows_of, run, sqlite_file

Make = Callable[[], str]
ROWS = 20


class InterruptionError(Exception):
    """Raised in the midst of a load."""


@pytest.fixture
def make_postgres(postgres_databases: Databases) -> Iterator[Make]:
    names: list[str] = []

    def make() -> str:
        names.append(postgres_databases.create())
        return postgres_databases.url(names[-1])

    yield make
    for name in names:
        postgres_databases.drop(name)


def interrupt(source: str, target: str) -> None:
    """Copy in steps of four rows, and fail after twelve."""

    def tell(progress: Progress) -> None:
        if progress.rows >= 12:
            raise InterruptionError

    with pytest.raises(InterruptionError):
        copied(source, target, resume=True, batch_rows=4, progress=tell)


def test_sqlite_keys_that_are_spelt_in_several_ways_lose_no_row(
    make_postgres: Make, tmp_path: Path
) -> None:
    keys = {  # REAL and the two behind it are stored in one way each
        "UUID": "upper(printf('%08x-0000-0000-0000-00000000abcd', (i + 160) * 16777216))",
        "TIMESTAMP": "strftime('%Y-%m-%dT%H:%M:%SZ', i * 1000, 'unixepoch')",
        "DATETIME": "strftime('%Y-%m-%dT%H:%M:%S', i * 1000, 'unixepoch')",
        "JSON": """'{"a": ' || i || '}'""",
        "DECIMAL(4, 1)": "i * 0.1",
        "REAL": "i * 0.1",
        "BLOB": "CAST(char(i + 64) AS BLOB)",
        "TEXT COLLATE NOCASE": "char(CASE WHEN i % 2 THEN 64 ELSE 96 END + i)",
    }
    for place, (type_, key) in enumerate(keys.items()):
        source = sqlite_file(
            tmp_path / f"{place}.db",
            f"CREATE TABLE t (id {type_} PRIMARY KEY); WITH s (i) AS (SELECT 1 UNION ALL "
            f"SELECT i + 1 FROM s WHERE i < {ROWS}) INSERT INTO t SELECT {key} FROM s",
        )
        target = make_postgres()
        interrupt(source, target)
        assert copied(source, target, resume=True, verify="none").is_complete, type_
        assert rows_of(target, "SELECT count(*) FROM t") == [(ROWS,)], type_


KEYS = {
    "uuid": "CAST(md5(CAST(i AS text)) AS uuid)",
    "citext": "chr(CASE WHEN i % 2 = 0 THEN 64 ELSE 96 END + i)",
    "letter": "CAST(chr(96 + i) AS letter)",
    "inet": "CAST('10.0.0.' || i AS inet)",
    "interval": "i * interval '7 hours'",
    "oid": "CAST(i AS oid)",
    "money": "CAST(i * 1.5 AS money)",
    "int4range": "int4range(i, i + 5)",
    "timetz": "CAST(time '10:00' + i * interval '1 second' AS timetz)",
    "bit(8)": "CAST(i AS bit(8))",
    "numeric": "i * 0.1",
    "timestamptz": "timestamptz '2024-01-01' + i * interval '1 hour'",
    "jsonb": "to_jsonb(i)",
    "char(5)": "CAST(i AS text)",
}


def test_keys_of_postgresql_that_are_read_as_text_are_gone_on_behind(
    make_postgres: Make, tmp_path: Path
) -> None:
    source, target = make_postgres(), f"sqlite:///{tmp_path / 'target.db'}"
    letters = ", ".join(f"'{chr(96 + i)}'" for i in range(ROWS, 0, -1))
    run(source, "CREATE EXTENSION citext", f"CREATE TYPE letter AS ENUM ({letters})")
    for place, (type_, key) in enumerate(KEYS.items()):
        run(
            source,
            f"CREATE TABLE t{place} (id {type_} PRIMARY KEY)",
            f"INSERT INTO t{place} SELECT {key} FROM generate_series(1, {ROWS}) AS i",
        )

    for count in range(10, len(KEYS) * ROWS, 30):  # in the midst of one table after the other

        def tell(progress: Progress, until: int = count) -> None:
            if progress.rows >= until:
                raise InterruptionError

        with pytest.raises(InterruptionError):
            copied(source, target, resume=True, batch_rows=4, progress=tell)
    report = copied(source, target, resume=True, batch_rows=4)
    assert report.is_complete
    assert report.rows == len(KEYS) * ROWS


FAMILY = """
CREATE TABLE p (id INTEGER PRIMARY KEY, x INT);
CREATE TABLE c (id INTEGER PRIMARY KEY, p INT REFERENCES p);
INSERT INTO p VALUES (1, 1), (2, 'bad');
INSERT INTO c VALUES (1, 1), (2, 2), (3, NULL);
"""


@pytest.mark.parametrize("destination", ["sqlite", "postgresql"])
def test_rows_without_parents_are_left_out_at_the_end_of_steps_too(
    make_postgres: Make, tmp_path: Path, destination: str
) -> None:
    source, rejects = sqlite_file(tmp_path / "family.db", FAMILY), tmp_path / "rejected.jsonl"
    target = make_postgres() if destination == "postgresql" else f"sqlite:///{tmp_path / 't.db'}"
    report = copied(source, target, resume=True, on_error="quarantine", rejects=rejects)
    assert [(table.table, table.rejected) for table in report.tables] == [("p", 1), ("c", 1)]
    assert all(table.matches for table in report.tables)
    lines = rejects.read_text().splitlines()
    assert [json.loads(line)["table"] for line in lines] == ["p", "c"]
    assert rows_of(target, "SELECT id FROM c ORDER BY id") == [(1,), (3,)]
    # The load has ended: what is there are rows like others.
    with pytest.raises(TransferError, match="expected empty tables; choose to upsert"):
        copied(source, target, resume=True, on_error="skip")


def test_rows_without_parents_stop_the_end_of_steps_by_name(
    make_postgres: Make, tmp_path: Path
) -> None:
    source = sqlite_file(tmp_path / "family.db", FAMILY.replace("(2, 'bad')", "(3, 3)"))
    with pytest.raises(IncompleteLoadError, match=r"table c: foreign key to p: .*\(id=2\)"):
        copied(source, make_postgres(), resume=True)
