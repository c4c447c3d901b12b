"""Databases that others made, for copies of tables as they are found."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from datastore import Datastore
from datastore.transfer import LoadOptions, LoadReport, copy, verify


def sqlite_file(path: Path, script: str, *rows: tuple[str, Sequence[Any]]) -> str:
    """Make a SQLite file by a script, and by statements with parameters; return its URL."""
    connection = sqlite3.connect(path)
    connection.executescript(script)
    for statement, parameters in rows:
        connection.execute(statement, parameters)
    connection.commit()
    connection.close()
    return f"sqlite:///{path}"


def run(url: str, *statements: str) -> None:
    """Run statements, each as it is written."""
    with raw(url) as connection:
        for statement in statements:
            connection.exec_driver_sql(_escaped(url, statement))
        connection.commit()


def rows_of(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query as the driver gives them."""
    with raw(url) as connection:
        return [tuple(row) for row in connection.exec_driver_sql(_escaped(url, sql))]


def _escaped(url: str, sql: str) -> str:
    # psycopg takes a single percent sign for a parameter.
    return sql if url.startswith("sqlite") else sql.replace("%", "%%")


def raw(url: str) -> sa.Connection:
    """Return a connection of SQLAlchemy's own, without this library."""
    engine = sa.create_engine(
        sa.make_url(url).set(
            drivername="sqlite" if url.startswith("sqlite") else "postgresql+psycopg"
        ),
        poolclass=sa.pool.NullPool,
    )
    return engine.connect()


def copied(source: str, target: str, **options: Any) -> LoadReport:
    """Copy all tables as they are found."""
    with Datastore.open(source) as one, Datastore.open(target) as other:
        return copy(one, other, LoadOptions(**options), reflect=True)


def said(report: LoadReport, text: str) -> bool:
    """Tell whether a note holds this text."""
    return any(text in note for note in report.notes)


def same(one: str, other: str) -> bool:
    """Tell whether two databases hold the same, as they are found."""
    with Datastore.open(one) as first, Datastore.open(other) as second:
        return verify(first, second, reflect=True).is_same
