"""The statements that `insert_many` sends to each engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from datastore import Datastore, RowKey, Text
from tests.databases import Databases

metadata = sa.MetaData()
items = sa.Table(
    "items",
    metadata,
    sa.Column("id", RowKey(), sa.Identity(), primary_key=True),
    sa.Column("Na%me", Text()),
    sa.Column("number", sa.Integer),
)
wide = sa.Table("wide", metadata, *(sa.Column(f"c{n}", sa.Integer) for n in range(100)))


def rows(count: int) -> list[dict[str, Any]]:
    return [{"Na%me": str(number), "number": number} for number in range(count)]


def recorded(store: Datastore) -> list[str]:
    """Return a list that takes up each statement's beginning and number of rows."""
    found: list[str] = []

    @sa.event.listens_for(store.engine, "before_cursor_execute")
    def note(_c: Any, _cursor: Any, statement: str, _p: Any, _context: Any, many: bool) -> None:
        if statement.startswith(("INSERT", "COPY")):
            verb = statement.partition(" ")[0]
            count = statement.count("(") - 1 if verb == "INSERT" else ""
            found.append(f"{verb} {'many' if many else count}".strip())

    return found


def count(store: Datastore, table: str = "items") -> int:
    return int(store.query(f"SELECT count(*) AS n FROM {table}")[0]["n"])


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Datastore]:
    with Datastore.open(f"sqlite:///{tmp_path / 'bulk.db'}") as store:
        metadata.create_all(store.engine)
        yield store


@pytest.fixture
def postgres_store(postgres_databases: Databases) -> Iterator[Datastore]:
    name = postgres_databases.create()
    with Datastore.open(postgres_databases.url(name)) as store:
        metadata.create_all(store.engine)
        yield store
    postgres_databases.drop(name)


class TestSQLite:
    def test_a_statement_holds_several_hundred_rows(self, sqlite_store: Datastore) -> None:
        statements = recorded(sqlite_store)
        sqlite_store.insert_many(items, rows(1100))
        assert statements == ["INSERT 500", "INSERT 500", "INSERT 100"]

    def test_and_no_more_parameters_than_sqlite_takes(self, sqlite_store: Datastore) -> None:
        statements = recorded(sqlite_store)
        sqlite_store.insert_many(wide, [{f"c{n}": n for n in range(100)}] * 400)
        assert statements == ["INSERT 327", "INSERT 73"]


class TestPostgreSQL:
    def test_many_rows_are_copied(self, postgres_store: Datastore) -> None:
        statements = recorded(postgres_store)
        postgres_store.insert_many(items, rows(5000))
        assert statements == ["COPY", "COPY"]

    def test_few_rows_are_not(self, postgres_store: Datastore) -> None:
        statements = recorded(postgres_store)
        postgres_store.insert_many(items, rows(5))
        assert statements == ["INSERT many"]

    def test_from_the_first_value_of_another_class_on_core_inserts(
        self, postgres_store: Datastore
    ) -> None:
        statements = recorded(postgres_store)
        data = rows(900)
        data[600]["number"] = np.int64(600)
        postgres_store.insert_many(items, data)
        assert statements == ["COPY", "INSERT many"]
        assert count(postgres_store) == 900

    def test_the_type_of_a_column_is_the_servers(self, postgres_store: Datastore) -> None:
        # Read as what the table is declared to be, the bytes would be of other values.
        for type_ in ("bigint", "numeric", "double precision", "text"):
            postgres_store.execute(f"ALTER TABLE items ALTER COLUMN number TYPE {type_}")
            postgres_store.execute("DELETE FROM items")
            postgres_store.insert_many(items, rows(100))
            (found,) = postgres_store.query("SELECT sum(number::numeric) AS total FROM items")
            assert found["total"] == sum(range(100))

    def test_a_view_takes_rows_as_from_any_insert(self, postgres_store: Datastore) -> None:
        postgres_store.execute('CREATE VIEW seen AS SELECT "Na%me", number FROM items')
        view = sa.Table(
            "seen", sa.MetaData(), *(sa.Column(c.name, c.type) for c in list(items.c)[1:])
        )
        postgres_store.insert_many(view, rows(100))
        assert count(postgres_store) == 100

    def test_so_does_a_table_whose_rows_are_guarded_by_policies(
        self, postgres_store: Datastore
    ) -> None:
        for statement in (
            "CREATE ROLE guarded",
            "GRANT ALL ON items TO guarded",
            "GRANT USAGE ON SCHEMA public TO guarded",
            "ALTER TABLE items ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY even ON items WITH CHECK (number >= 0)",
        ):
            postgres_store.execute(statement)
        try:
            with postgres_store.transaction() as transaction:
                transaction.execute("SET LOCAL ROLE guarded")
                assert transaction.insert_many(items, rows(100)) == 100
        finally:
            postgres_store.execute("DROP OWNED BY guarded")
            postgres_store.execute("DROP ROLE guarded")
