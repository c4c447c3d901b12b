"""Substring search: what each engine needs for it, and what is said where that is missing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import event

from datastore import Capability, Datastore, FullTextIndex, RowKey, Text, matching, operations
from datastore.backends import sqlite
from datastore.backends.sqlite.functions import PLACES
from datastore.errors import CapabilityError
from datastore.testing import postgres
from datastore.testing.postgres import PostgresServer


def declare(tokenizer: Any = "trigram") -> tuple[sa.Table, FullTextIndex]:
    table = sa.Table(
        "notes",
        sa.MetaData(),
        sa.Column("id", RowKey(), primary_key=True),
        sa.Column("body", Text()),
    )
    return table, FullTextIndex("note_index", table.c.body, tokenizer=tokenizer)


class TestOnPostgreSQL:
    @pytest.fixture
    def backend_name(self) -> str:
        return "postgresql"

    @pytest.mark.parametrize("schema", ["extensions", 'My "own" schema'])
    def test_the_extension_may_be_in_a_schema_that_is_not_searched(
        self, empty_store: Datastore, schema: str
    ) -> None:
        quoted = empty_store.engine.dialect.identifier_preparer.quote_identifier(schema)
        empty_store.execute(f"CREATE SCHEMA {quoted}")
        empty_store.execute(f"CREATE EXTENSION pg_trgm SCHEMA {quoted}")
        table, _ = declare()
        table.metadata.create_all(empty_store.engine)
        empty_store.execute(table.insert(), {"id": 1, "body": "全文検索"})
        assert len(empty_store.full_text_search(table, "body", "文検索")) == 1

    def test_the_index_can_answer(self, empty_store: Datastore) -> None:
        table, index = declare()
        table.metadata.create_all(empty_store.engine)
        empty_store.execute(table.insert(), {"id": 1, "body": "全文検索"})
        text = sa.select(matching(index, "文検索")).compile(
            empty_store.engine, compile_kwargs={"literal_binds": True}
        )
        with empty_store.engine.connect() as connection:
            # Few texts are read faster one by one, which is what the planner would do.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            plan = connection.exec_driver_sql(f"EXPLAIN ANALYZE {text}").scalars().all()
        (used,) = [line for line in plan if "Index Scan on note_index " in line]
        assert "rows=1" in used.partition("actual")[2]


@pytest.fixture(scope="module")
def bare_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that was installed without PostgreSQL's contrib modules."""
    folder = tmp_path_factory.mktemp("bare")
    installed = postgres._bundled_binaries().parent
    package = installed.parent
    for tree in (installed, package / ".dylibs", Path(f"{package}.libs")):
        if tree.is_dir():
            ignored = shutil.ignore_patterns("include", "pg_trgm*")
            target = folder / tree.relative_to(package.parent)
            shutil.copytree(tree, target, symlinks=True, ignore=ignored)
    with PostgresServer(folder / package.name / installed.name / "bin") as server:
        yield server.url()


class TestWithoutTheExtension:
    @pytest.fixture
    def bare(self, bare_url: str) -> Iterator[Datastore]:
        with Datastore.open(bare_url) as store:
            yield store

    def test_it_says_so(self, bare: Datastore) -> None:
        assert Capability.TRIGRAM not in bare.capabilities
        (finding,) = [f for f in bare.backend.report.findings if f.check == "substrings"]
        assert finding.ok
        assert "postgresql-contrib" in finding.remedy

    def test_creating_an_index_names_the_remedy(self, bare: Datastore) -> None:
        table, _ = declare()
        with pytest.raises(CapabilityError, match=r"pg_trgm.*postgresql-contrib") as caught:
            table.metadata.create_all(bare.engine)
        assert caught.value.feature == "substring search"
        assert caught.value.needed == "pg_trgm"
        assert bare.schema().tables == {}

    def test_a_migration_names_it_too(self, bare: Datastore) -> None:
        with bare.engine.connect() as connection, connection.begin() as transaction:
            connection.exec_driver_sql("CREATE TABLE notes (id BIGINT PRIMARY KEY, body TEXT)")
            with Operations.context(MigrationContext.configure(connection)):
                with pytest.raises(CapabilityError, match=r"postgresql-contrib"):
                    operations.create_full_text_index(
                        "note_index", "notes", ["body"], key="id", tokenizer="trigram"
                    )
            transaction.rollback()

    def test_a_transaction_in_which_it_failed_runs_nothing_more(self, bare: Datastore) -> None:
        with bare.transaction() as transaction:
            with (
                pytest.raises(CapabilityError, match="pg_trgm"),
                transaction.transaction() as inner,
            ):
                inner.execute("CREATE EXTENSION pg_trgm")
            assert transaction.query("SELECT 1 AS one") == [{"one": 1}]

    def test_words_are_searched_all_the_same(self, bare: Datastore) -> None:
        table, _ = declare("words")
        table.metadata.create_all(bare.engine)
        bare.execute(table.insert(), {"id": 1, "body": "apple"})
        assert len(bare.full_text_search(table, "body", "apple")) == 1
        table.metadata.drop_all(bare.engine)


class TestOnSQLite:
    @pytest.fixture
    def backend_name(self) -> str:
        return "sqlite"

    def test_a_tokenizer_that_is_missing_is_named(self, empty_store: Datastore) -> None:
        statement = "CREATE VIRTUAL TABLE t USING fts5(body, tokenize='nosuch')"
        with pytest.raises(CapabilityError, match=r"no such tokenizer: nosuch.*pysqlite3"):
            empty_store.execute(statement)
        with empty_store.engine.connect() as connection:
            with pytest.raises(CapabilityError, match="no such tokenizer"):
                connection.exec_driver_sql(statement)

    def test_an_old_release_has_no_substring_search(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite, "TRIGRAM_SINCE", (99, 0))
        with Datastore.open(f"sqlite:///{tmp_path / 'old.db'}") as store:
            assert Capability.TRIGRAM not in store.capabilities
            (finding,) = [f for f in store.backend.report.findings if f.check == "substrings"]
            assert "pysqlite3" in finding.remedy

    def test_short_substrings_alone_take_a_scan(self, empty_store: Datastore) -> None:
        table, _ = declare()
        table.metadata.create_all(empty_store.engine)
        empty_store.execute(table.insert(), [{"id": n, "body": "検索する"} for n in range(9)])
        looked_at: list[str] = []

        def places(text: str, term: str) -> int:
            looked_at.append(text)
            return 0

        @event.listens_for(empty_store.engine, "checkout")
        def checkout(connection: Any, *_: Any) -> None:
            connection.create_function(PLACES, 2, places)

        assert len(empty_store.full_text_search(table, "body", "検索す")) == 9
        assert looked_at == []
        empty_store.full_text_search(table, "body", "検索")
        assert len(looked_at) == 9
