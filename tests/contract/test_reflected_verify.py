"""Databases that others made, compared as they are found: no value is rounded to look the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from datastore import Datastore
from datastore.cli import main
from datastore.transfer import VerifyReport, verify
from tests.contract.found_databases import run, sqlite_file


def compared(one: str, other: str) -> VerifyReport:
    with Datastore.open(one) as left, Datastore.open(other) as right:
        return verify(left, right, reflect=True)


#: For a column of SQLite: its type and value; the type on PostgreSQL, an equal value and another.
OTHER_KINDS = {
    "whole": ("INTEGER", "2", "numeric", "2.0", "2.4"),
    "fraction": ("REAL", "1.5", "numeric(9, 2)", "1.5", "1.51"),
    "day": ("DATE", "'2024-01-01'", "timestamp", "'2024-01-01'", "'2024-01-01 17:00'"),
    "moment": ("TIMESTAMP", "'2024-01-01 10:00:00.5'", "date", None, "'2024-01-01'"),
    "digits": ("TEXT", "'7'", "integer", None, "8"),
    "word": ("TEXT", "'a'", "char(3)", "'a'", "'b'"),
}


def test_values_of_other_kinds_are_the_same_only_if_they_are_equal(
    tmp_path: Path, postgres: str
) -> None:
    script = ""
    for name, (type_, value, other_type, equal, other) in OTHER_KINDS.items():
        script += f"CREATE TABLE {name} (x {type_}); INSERT INTO {name} VALUES ({value});"
        run(postgres, f"CREATE TABLE {name} (x {other_type})")
        run(postgres, f"INSERT INTO {name} VALUES ({equal or other})")
    found = sqlite_file(tmp_path / "found.db", script)
    unequal = {name for name, (*_, equal, _) in OTHER_KINDS.items() if equal is None}
    for pair in ((found, postgres), (postgres, found)):
        assert {each.table for each in compared(*pair).differences} == unequal
    for name, (*_, other) in OTHER_KINDS.items():
        run(postgres, f"UPDATE {name} SET x = {other}")
    for pair in ((found, postgres), (postgres, found)):
        report = compared(*pair)
        assert {each.table for each in report.differences} == OTHER_KINDS.keys()
        assert len(report.notes) == len(OTHER_KINDS) - 1
    note = "table whole, column x: integer in the first, decimal in the second"
    assert note in compared(found, postgres).notes


def test_columns_of_one_side_alone_are_named_and_the_others_compared(
    tmp_path: Path, postgres: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = sqlite_file(
        tmp_path / "found.db",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, x INT, here INT); INSERT INTO t VALUES (1, 2, 3);",
    )
    run(postgres, "CREATE TABLE t (there int, x int, id int)", "INSERT INTO t VALUES (9, 2, 1)")
    report = compared(found, postgres)
    assert report.missing_columns == (
        "table t, column here: in the first alone",
        "table t, column there: in the second alone",
    )
    assert report.differences == ()
    assert not report.is_same
    assert main(["verify", "--reflect", found, postgres]) == 1
    assert "table t, column there: in the second alone" in capsys.readouterr().out
    run(postgres, "UPDATE t SET x = 5")
    assert [each.changed for each in compared(found, postgres).differences] == [("id=1",)]
