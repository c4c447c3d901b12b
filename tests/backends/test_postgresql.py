"""What is PostgreSQL's own: the wire format of vectors, timeouts, pools and several hosts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import pq
from sqlalchemy import event

from datastore import Datastore, RowKey, Settings, Text, Vector, VectorIndex
from datastore.backends.postgresql import MIGRATION_LOCK, liveness
from datastore.errors import (
    CapabilityError,
    ConnectionFailedError,
    InvalidValueError,
    PermissionDeniedError,
    QueryTimeoutError,
    TransientError,
)

metadata = sa.MetaData()
notes = sa.Table(
    "notes",
    metadata,
    sa.Column("id", RowKey(), primary_key=True),
    sa.Column("body", Text()),
    sa.Column("mood", sa.Enum("glad", "sad", name="mood")),
    sa.Column("embedding", Vector(3)),
)
VectorIndex("note_vectors", notes.c.embedding)
pages = sa.Table("pages", metadata, sa.Column("id", RowKey(), primary_key=True))
apart = sa.Table(
    "page_vectors",
    metadata,
    sa.Column("page", sa.ForeignKey(pages.c.id), primary_key=True),
    sa.Column("embedding", Vector(2), nullable=False),
)
VectorIndex("pages_by_meaning", apart.c.embedding, of=pages)


@pytest.fixture
def backend_name() -> str:
    return "postgresql"


@pytest.fixture
def store(empty_store: Datastore) -> Datastore:
    with empty_store.engine.begin() as connection:
        metadata.create_all(connection)
    return Datastore(empty_store.engine, metadata=metadata, settings=empty_store.settings)


@pytest.fixture
def formats(store: Datastore) -> Iterator[list[Any]]:
    """The format in which each statement asked for its rows."""
    seen: list[Any] = []

    def note(_c: Any, cursor: Any, *_: Any) -> None:
        seen.append(cursor.format)

    event.listen(store.engine, "after_cursor_execute", note)
    yield seen
    event.remove(store.engine, "after_cursor_execute", note)


@pytest.fixture
def pings(store: Datastore, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The connections that were asked whether they are alive."""
    asked: list[Any] = []
    ping = store.engine.dialect.do_ping

    def note(connection: Any) -> bool:
        asked.append(connection)
        return ping(connection)

    monkeypatch.setattr(store.engine.dialect, "do_ping", note)
    return asked


class TestVectorsOnTheWire:
    def test_they_travel_in_binary(self, store: Datastore, formats: list[Any]) -> None:
        store.execute(sa.insert(notes), {"id": 1, "embedding": [1, 2, 3]})
        formats.clear()
        store.query(sa.select(notes.c.id, notes.c.body, notes.c.embedding))
        assert formats[-1] == pq.Format.BINARY

    def test_other_statements_travel_as_text(self, store: Datastore, formats: list[Any]) -> None:
        store.query(sa.select(notes.c.id))
        assert formats[-1] == pq.Format.TEXT

    def test_a_type_that_psycopg_does_not_know_still_reads(self, store: Datastore) -> None:
        store.execute(sa.insert(notes), {"id": 1, "mood": "glad", "embedding": [1, 2, 3]})
        (row,) = store.query(sa.select(notes))
        assert row["mood"] == "glad"
        assert row["embedding"].tolist() == [1, 2, 3]

    def test_sql_text_reads_them_too(self, store: Datastore) -> None:
        store.execute(sa.insert(notes), {"id": 1, "embedding": [0.1, 2, 3]})
        (typed,) = store.query(sa.select(notes.c.embedding))
        (text,) = store.query("SELECT embedding FROM notes")
        assert text["embedding"].tobytes() == typed["embedding"].tobytes()

    def test_a_connection_older_than_the_extension_learns_of_it(self, database_url: str) -> None:
        engine = sa.create_engine(database_url, pool_size=1, max_overflow=0)
        store = Datastore(engine, metadata=metadata)
        assert store.query("SELECT 1 AS one") == [{"one": 1}]
        store.execute("CREATE EXTENSION vector")
        with engine.begin() as connection:
            metadata.create_all(connection)
        store.execute(sa.insert(notes), {"id": 1, "embedding": [1, 2, 3]})
        (row,) = store.query(sa.select(notes.c.embedding))
        assert row["embedding"].tolist() == [1, 2, 3]
        engine.dispose()


class TestSessions:
    def test_timeouts_are_set(self, database_url: str) -> None:
        settings = Settings.load(
            url=database_url,
            postgresql={
                "statement_timeout": 7, "lock_timeout": 1.5, "idle_in_transaction_timeout": 9,
            },
        )  # fmt: skip
        with Datastore.open(settings) as store:
            found = {
                name: store.query("SELECT current_setting(:name) AS value", {"name": name})[0]["value"]
                for name in (
                    "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout",
                    "timezone", "application_name",
                )
            }  # fmt: skip
        assert found == {
            "statement_timeout": "7s",
            "lock_timeout": "1500ms",
            "idle_in_transaction_session_timeout": "9s",
            "timezone": "UTC",
            "application_name": "datastore",
        }

    def test_a_statement_that_runs_too_long_is_ended(self, database_url: str) -> None:
        settings = Settings.load(url=database_url, postgresql={"statement_timeout": 0.2})
        with Datastore.open(settings) as store:
            with pytest.raises(QueryTimeoutError):
                store.query("SELECT pg_sleep(20)")
            assert store.query("SELECT 1 AS one") == [{"one": 1}]

    def test_migrations_know_no_timeout_and_leave_none_behind(self, database_url: str) -> None:
        settings = Settings.load(url=database_url, postgresql={"statement_timeout": 30})
        with Datastore.open(settings) as store:
            store.migrate()
            assert store.query("SHOW statement_timeout") == [{"statement_timeout": "30s"}]

    def test_a_migration_does_not_wait_for_a_table_without_end(self, database_url: str) -> None:
        settings = Settings.load(url=database_url, postgresql={"lock_timeout": 0.3})
        with Datastore.open(settings) as store, Datastore.open(settings) as other:
            store.migrate()
            with other.transaction(read_only=True) as reader:
                reader.query("SELECT * FROM chunks")
                with pytest.raises(TransientError):
                    store.downgrade("base")
            assert store.query("SELECT * FROM chunks") == []

    def test_an_error_while_waiting_to_migrate_is_ours(
        self, store: Datastore, database_url: str
    ) -> None:
        killer = (
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE wait_event_type = 'Lock' AND query LIKE '%pg_advisory_lock%'"
        )
        caught: list[BaseException] = []

        def migrate() -> None:
            try:
                store.migrate()
            except BaseException as error:
                caught.append(error)

        with Datastore.open(database_url) as other, other.engine.connect() as holder:
            holder.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
            thread = threading.Thread(target=migrate)
            thread.start()
            while thread.is_alive():
                other.query(killer)
                thread.join(0.1)
            holder.invalidate()
        assert [type(error) for error in caught] == [TransientError]

    def test_options_of_the_url_leave_ours_in_force(self, database_url: str) -> None:
        url = sa.make_url(database_url).update_query_dict({"options": "-csearch_path=x"})
        with Datastore.open(url) as store:
            (row,) = store.query(
                "SELECT current_setting('search_path') AS path, current_setting('timezone') AS zone, "
                "current_setting('lock_timeout') AS patience"
            )
        assert (row["path"], row["zone"]) == ("x", "UTC")
        assert row["patience"] != "0"

    def test_a_connection_that_was_cut_is_replaced(self, store: Datastore) -> None:
        pid = "SELECT pg_backend_pid() AS pid"
        before = store.query(pid)[0]["pid"]
        with Datastore.open(store.engine.url) as other:
            other.query("SELECT pg_terminate_backend(:pid, 5000)", {"pid": before})
        assert store.query(pid)[0]["pid"] != before

    def test_so_are_all_others_of_the_pool(self, store: Datastore) -> None:
        with Datastore.open(store.engine.url) as other, store.transaction() as transaction:
            transaction.query("SELECT 1")
            store.query("SELECT 1")
            pids = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            mine = f"{pids} AND pid <> pg_backend_pid()"
            transaction.rollback()
            other.query(f"SELECT pg_terminate_backend(pid, 5000) FROM ({mine}) AS p")
        for _ in range(3):
            assert store.query("SELECT 1 AS one") == [{"one": 1}]

    def test_a_connection_in_use_is_not_asked_whether_it_lives(
        self, store: Datastore, pings: list[Any]
    ) -> None:
        for _ in range(3):
            store.query("SELECT 1")
        assert pings == []

    def test_one_that_was_idle_for_long_is_asked(
        self, store: Datastore, pings: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.query("SELECT 1")
        monkeypatch.setattr(liveness, "TRUSTED", 0)
        store.query("SELECT 1")
        assert len(pings) == 1

    def test_one_that_does_not_answer_is_replaced(
        self, store: Datastore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def ping(_: Any) -> bool:
            raise psycopg.OperationalError("the connection is lost")

        pid = "SELECT pg_backend_pid() AS pid"
        before = store.query(pid)[0]["pid"]
        monkeypatch.setattr(liveness, "TRUSTED", 0)
        monkeypatch.setattr(store.engine.dialect, "do_ping", ping)
        assert store.query(pid)[0]["pid"] != before

    def test_the_first_host_that_answers_will_do(self, database_url: str) -> None:
        url = sa.make_url(database_url)
        settings = Settings.load(
            type="postgresql",
            postgresql={
                "host": f"127.0.0.1:1,{url.host}:{url.port}",
                "database": url.database,
                "user": url.username,
                "password": url.password,
            },
        )
        with Datastore.open(settings) as store:
            assert store.query("SELECT 1 AS one") == [{"one": 1}]

    def test_a_role_without_privileges_is_told_so(self, store: Datastore) -> None:
        with store.transaction() as transaction:
            transaction.execute("CREATE ROLE datastore_nobody")
            transaction.execute("GRANT USAGE ON SCHEMA public TO datastore_nobody")
            with pytest.raises(PermissionDeniedError), transaction.transaction() as inner:
                inner.execute("SET LOCAL ROLE datastore_nobody")
                inner.query("SELECT * FROM notes")
            transaction.rollback()

    def test_a_role_that_may_not_create_the_extension_is_told_so(self, database_url: str) -> None:
        with Datastore.open(database_url) as store:
            with store.transaction() as transaction:
                transaction.execute("CREATE ROLE datastore_nobody")
                transaction.execute("GRANT ALL ON SCHEMA public TO datastore_nobody")
                with pytest.raises(CapabilityError, match="pgvector"):
                    with transaction.transaction() as inner:
                        inner.execute("SET LOCAL ROLE datastore_nobody")
                        inner.execute("CREATE EXTENSION IF NOT EXISTS vector")
                transaction.rollback()
            with pytest.raises(CapabilityError, match="found extension"):
                store.execute("CREATE EXTENSION vector_of_another_kind")

    def test_a_text_beyond_the_limits_is_no_valid_value(self, store: Datastore) -> None:
        words = " ".join(f"word{n}" for n in range(200_000))
        with pytest.raises(InvalidValueError):
            store.query("SELECT to_tsvector(:words)", {"words": words})

    def test_a_missing_database_is_named_as_such(self, database_url: str) -> None:
        url = sa.make_url(database_url).set(database="no_such_database")
        with pytest.raises(ConnectionFailedError, match="no such database"):
            Datastore.open(url)


class TestRowsThatAreHidden:
    """A policy may hide rows whose vectors are seen; they cost no hits."""

    @pytest.fixture
    def guarded(self, store: Datastore) -> Iterator[Datastore]:
        store.execute(sa.insert(pages), [{"id": n} for n in range(1, 61)])
        store.execute(
            sa.insert(apart), [{"page": n, "embedding": [1, n / 100]} for n in range(1, 61)]
        )
        for statement in (
            "CREATE ROLE guarded",
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO guarded",
            "GRANT USAGE ON SCHEMA public TO guarded",
            "ALTER TABLE pages ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY late ON pages USING (id > 55)",
        ):
            store.execute(statement)
        yield store
        store.execute("DROP OWNED BY guarded")
        store.execute("DROP ROLE guarded")

    @pytest.mark.parametrize("exact", [False, True])
    def test_a_search_finds_the_nearest_of_the_others(
        self, guarded: Datastore, exact: bool
    ) -> None:
        with guarded.transaction() as transaction:
            transaction.execute("SET LOCAL ROLE guarded")
            found = transaction.vector_search("pages", "embedding", [1, 0], 3, exact=exact)
        assert [hit.id for hit in found] == [56, 57, 58]
