"""The verbs of a store: what they return, on every engine alike."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from host_tables import Notes

from datastore import (
    Capability,
    Datastore,
    RowKey,
    Settings,
    Text,
    Transaction,
    migrate,
    upsert,
)
from datastore.backends import backend_class
from datastore.errors import (
    CapabilityError,
    ConfigurationError,
    DatastoreError,
    InvalidValueError,
    TransientError,
    UniqueViolation,
    UnknownNameError,
)

metadata = sa.MetaData()
things = sa.Table(
    "things",
    metadata,
    sa.Column("rid", RowKey(), sa.Identity(), primary_key=True),
    sa.Column("name", Text(), unique=True),
    sa.Column("amount", sa.Integer, nullable=False, server_default="0"),
)
pairs = sa.Table(
    "pairs",
    metadata,
    sa.Column("a", Text(), primary_key=True),
    sa.Column("b", sa.Integer, primary_key=True, autoincrement=False),
)


@pytest.fixture
def store(empty_store: Datastore) -> Datastore:
    """A store over the tables above."""
    with empty_store.engine.begin() as connection:
        metadata.create_all(connection)
    return Datastore(empty_store.engine, metadata=metadata, settings=empty_store.settings)


def names(store: Datastore | Transaction) -> list[Any]:
    return [row.name for row in store.query(sa.select(things.c.name).order_by(things.c.rid))]


class TestQuery:
    def test_rows_are_mappings_by_name(self, store: Datastore) -> None:
        (row,) = store.query("SELECT 1 AS one, 'x' AS letter")
        assert isinstance(row, Mapping)
        assert dict(row) == {"one": 1, "letter": "x"}

    def test_text_takes_named_parameters(self, store: Datastore) -> None:
        store.execute(sa.insert(things), [{"name": name} for name in "abc"])
        rows = store.query("SELECT name FROM things WHERE name >= :n ORDER BY name", {"n": "b"})
        assert [row["name"] for row in rows] == ["b", "c"]

    def test_a_core_statement_converts_its_types(self, store: Datastore) -> None:
        assert store.query(sa.select(sa.literal(True).label("yes"))) == [{"yes": True}]

    def test_no_row_is_an_empty_list(self, store: Datastore) -> None:
        assert store.query("SELECT name FROM things") == []

    def test_percent_signs_and_escaped_colons_are_text(self, store: Datastore) -> None:
        assert store.query(r"SELECT '100 % %s \:x' AS text") == [{"text": "100 % %s :x"}]

    def test_a_missing_parameter_is_named(self, store: Datastore) -> None:
        with pytest.raises(InvalidValueError, match="'n'"):
            store.query("SELECT * FROM things WHERE name = :n")

    def test_it_may_write_and_return(self, store: Datastore) -> None:
        rows = store.query(sa.insert(things).returning(things.c.name), {"name": "a"})
        assert rows == [{"name": "a"}]
        assert names(store) == ["a"]


class TestQueryOne:
    def test_it_is_the_first_row(self, store: Datastore) -> None:
        store.execute(sa.insert(things), [{"name": name} for name in "ba"])
        assert store.query_one("SELECT name FROM things ORDER BY name") == {"name": "a"}

    def test_it_is_none_without_rows(self, store: Datastore) -> None:
        assert store.query_one("SELECT name FROM things") is None


class TestExecute:
    @pytest.mark.parametrize(
        ("statement", "params", "changes"),
        [
            ("INSERT INTO things (name) VALUES ('x')", None, 1),
            ("INSERT INTO things (name) VALUES (:n)", {"n": "x"}, 1),
            ("INSERT INTO things (name) VALUES (:n)", [{"n": "x"}, {"n": "y"}], 2),
            ("INSERT INTO things (name) VALUES (:n)", [], 0),
            ("INSERT INTO things (name) VALUES ('x') RETURNING name", None, 1),
            ("INSERT INTO things (name) SELECT name || '2' FROM things", None, 3),
            ("UPDATE things SET amount = 1", None, 3),
            ("UPDATE things SET amount = 1 WHERE name = 'nobody'", None, 0),
            ("UPDATE things SET amount = 1 WHERE name = :n", [{"n": "a"}, {"n": "b"}], 2),
            ("DELETE FROM things WHERE name < 'c'", None, 2),
            ("DELETE FROM things WHERE name < 'c' RETURNING name", None, 2),
            ("SELECT * FROM things", None, 0),
            (sa.text("SELECT * FROM things"), None, 0),
            ("WITH t AS (SELECT * FROM things) SELECT * FROM t", None, 0),
            ("CREATE TABLE more (x INTEGER)", None, 0),
            (sa.update(things).values(amount=7), None, 3),
            (sa.delete(things).where(things.c.name == "a"), None, 1),
            (sa.insert(things).values([{"name": "x"}, {"name": "y"}]), None, 2),
            (sa.insert(things), [{"name": "x"}, {"name": "y"}], 2),
            (sa.insert(things), [], 0),
            (
                sa.insert(things).from_select(["name"], sa.select(things.c.name + "2")),
                None,
                3,
            ),
            (upsert(things, key=[things.c.name]), {"name": "a"}, 0),
            (upsert(things, key=[things.c.name], update=[things.c.amount]), {"name": "a", "amount": 1}, 1),
            (
                upsert(things, key=[things.c.name]),
                [{"name": "a"}, {"name": "x"}, {"name": "b"}],
                1,
            ),
        ],
    )  # fmt: skip
    def test_changes_count_the_rows(
        self, store: Datastore, statement: Any, params: Any, changes: int
    ) -> None:
        store.execute(sa.insert(things), [{"name": name} for name in "abc"])
        assert store.execute(statement, params).changes == changes

    @pytest.mark.parametrize(
        ("statement", "params", "last"),
        [
            (sa.insert(things), {"name": "x"}, 4),
            (sa.insert(things).values(name="x"), None, 4),
            (sa.insert(things), {"rid": 77, "name": "x"}, 77),
            (sa.insert(things), [{"name": "x"}], 4),
            (sa.insert(things), [{"name": "x"}, {"name": "y"}], None),
            (sa.insert(things).values([{"name": "x"}, {"name": "y"}]), None, None),
            (sa.insert(things).from_select(["name"], sa.select(things.c.name + "2")), None, None),
            (sa.insert(pairs), {"a": "x", "b": 5}, None),
            (sa.update(things).values(amount=2), None, None),
            (sa.delete(things), None, None),
            ("INSERT INTO things (name) VALUES ('x')", None, None),
            (upsert(things, key=[things.c.name]), {"name": "x"}, None),
            (upsert(things, key=[things.c.name]), {"name": "a"}, None),
        ],
    )
    def test_last_insert_id_is_the_key_that_the_database_gave(
        self, store: Datastore, statement: Any, params: Any, last: int | None
    ) -> None:
        for name in "abc":
            store.execute(sa.insert(things).values(name=name))
        assert store.execute(statement, params).last_insert_id == last

    def test_many_are_all_or_none(self, store: Datastore) -> None:
        with pytest.raises(UniqueViolation):
            store.execute(sa.insert(things), [{"name": name} for name in ("a", "b", "a")])
        assert names(store) == []

    def test_an_unknown_column_among_the_values_is_named(self, store: Datastore) -> None:
        with pytest.raises(UnknownNameError, match="nothing"):
            store.execute(sa.insert(things).values(name="a", nothing=1))


class TestBatch:
    def test_results_come_in_the_order_of_the_statements(self, store: Datastore) -> None:
        results = store.batch(
            [
                (sa.insert(things), {"name": "a"}),
                (sa.insert(things), [{"name": "b"}, {"name": "c"}]),
                "UPDATE things SET amount = 1",
                (sa.delete(things).where(things.c.name == "a"), None),
            ]
        )
        assert [result.changes for result in results] == [1, 2, 3, 1]

    def test_all_of_them_or_none(self, store: Datastore) -> None:
        with pytest.raises(UniqueViolation):
            store.batch([(sa.insert(things), {"name": "a"}), (sa.insert(things), {"name": "a"})])
        assert names(store) == []

    def test_a_generator_that_raises_leaves_nothing(self, store: Datastore) -> None:
        def statements() -> Iterator[Any]:
            yield sa.insert(things), {"name": "a"}
            raise KeyError

        with pytest.raises(KeyError):
            store.batch(statements())
        assert names(store) == []

    def test_none_is_fine(self, store: Datastore) -> None:
        assert store.batch([]) == []


class TestRun:
    def test_it_commits_and_returns_what_the_function_returns(self, store: Datastore) -> None:
        def add(transaction: Transaction, name: str, *, amount: int) -> str:
            transaction.execute(sa.insert(things), {"name": name, "amount": amount})
            return name.upper()

        assert store.run(add, "a", amount=3) == "A"
        assert names(store) == ["a"]

    def test_it_tries_again_after_a_transient_failure(self, store: Datastore) -> None:
        seen = []

        def add(transaction: Transaction) -> None:
            seen.append(names(transaction))
            transaction.execute(sa.insert(things), {"name": f"try {len(seen)}"})
            if len(seen) < 3:
                raise TransientError("again")

        store.run(add)
        assert seen == [[], [], []]
        assert names(store) == ["try 3"]

    def test_it_gives_up_in_the_end(self, store: Datastore) -> None:
        tries = []

        def fail(transaction: Transaction) -> None:
            tries.append(1)
            raise TransientError("always")

        with pytest.raises(TransientError):
            store.run(fail)
        assert len(tries) == 6

    def test_other_failures_are_not_tried_again(self, store: Datastore) -> None:
        tries = []

        def fail(transaction: Transaction) -> None:
            tries.append(1)
            raise KeyError

        with pytest.raises(KeyError):
            store.run(fail)
        assert tries == [1]


class TestIdentity:
    def test_a_store_says_what_it_is(self, empty_store: Datastore, backend_name: str) -> None:
        backend = backend_class(backend_name)
        assert empty_store.dialect == backend_name == backend.name
        assert empty_store.display_name == backend.display_name
        assert empty_store.capabilities <= backend.declared
        assert Capability.FULL_TEXT in empty_store.capabilities
        assert Capability.VECTOR_FUNCTIONS in empty_store.capabilities

    def test_its_repr_shows_no_password(self, empty_store: Datastore) -> None:
        password = sa.make_url(str(empty_store.engine.url)).password
        full = empty_store.engine.url.password
        assert password in (None, "***")
        assert full is None or full not in repr(empty_store)

    def test_it_opens_settings_and_urls_alike(self, database_url: str) -> None:
        for source in (database_url, sa.make_url(database_url), Settings.load(url=database_url)):
            with Datastore.open(source) as store:
                assert store.query("SELECT 1 AS one") == [{"one": 1}]

    def test_a_closed_store_lets_go_of_its_connections(self, database_url: str) -> None:
        with Datastore.open(database_url) as store:
            store.query("SELECT 1")
        assert store.engine.pool.checkedin() == 0  # type: ignore[attr-defined]


class TestEngineOfTheHost:
    @pytest.fixture
    def engine(self, database_url: str) -> Iterator[sa.Engine]:
        engine = sa.create_engine(database_url)
        yield engine
        engine.dispose()

    def test_the_verbs_work_over_it(self, engine: sa.Engine) -> None:
        notes = Notes()
        store = notes.over(Datastore(engine))
        notes.fill(store, [{"body": "apple", "embedding": [1, 2, 3, 4]}])
        assert store.full_text_search("notes", ["title", "body"], "apple")[0].id == "n1"
        hit = store.vector_search("notes", "embedding", [1, 2, 3, 4])[0]
        assert hit.row["embedding"].tolist() == [1, 2, 3, 4]

    def test_connections_that_its_pool_holds_already_work(self, engine: sa.Engine) -> None:
        connections = [engine.connect() for _ in range(4)]
        for connection in connections:
            connection.execute(sa.text("SELECT 1"))
            connection.close()
        notes = Notes()
        store = notes.over(Datastore(engine))
        notes.fill(store, [{"body": "apple", "embedding": [1, 2, 3, 4]}])
        opened = [engine.connect() for _ in range(4)]
        for connection in opened:
            row = connection.execute(sa.select(notes.table.c.embedding)).one()
            assert row.embedding.tolist() == [1, 2, 3, 4]
        for connection in opened:
            connection.close()

    def test_its_own_transactions_still_roll_back(self, engine: sa.Engine) -> None:
        store = Datastore(engine)
        store.execute("CREATE TABLE numbers (n INTEGER)")
        with engine.connect() as connection:
            connection.execute(sa.text("INSERT INTO numbers VALUES (1)"))
            with connection.begin_nested() as savepoint:
                connection.execute(sa.text("INSERT INTO numbers VALUES (2)"))
                savepoint.rollback()
            connection.rollback()
        assert store.query("SELECT * FROM numbers") == []

    def test_two_stores_over_it_share_one_backend(self, engine: sa.Engine) -> None:
        assert Datastore(engine).backend is Datastore(engine).backend

    def test_close_leaves_it_open(self, engine: sa.Engine) -> None:
        Datastore(engine).close()
        with engine.connect() as connection:
            assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1

    def test_the_metadata_of_the_host_may_be_named_by_settings(self, database_url: str) -> None:
        settings = Settings.load(url=database_url, metadata="test_verbs:metadata")
        with Datastore.open(settings) as store:
            assert store.metadata is metadata

    @pytest.mark.parametrize("name", ["nowhere:metadata", "test_verbs:nothing", "test_verbs:names"])
    def test_metadata_that_cannot_be_had_is_named(self, database_url: str, name: str) -> None:
        with (
            Datastore.open(Settings.load(url=database_url, metadata=name)) as store,
            pytest.raises(ConfigurationError, match=name),
        ):
            _ = store.metadata


class TestSchema:
    def test_it_hides_what_search_indexes_consist_of(self, empty_store: Datastore) -> None:
        notes = Notes()
        schema = notes.over(empty_store).schema()
        assert schema.tables == {"notes": ("rid", "id", "title", "body", "kind", "embedding")}
        assert "note_words" not in schema.indexes["notes"]
        assert set(schema.search_indexes) == {notes.vectors.definition, notes.words.definition}
        assert schema.version is None

    def test_it_tells_the_revision(self, migrated_url: str) -> None:
        with Datastore.open(migrated_url) as store:
            schema = store.schema()
        assert schema.version == migrate.head()
        assert "chunks" in schema.tables
        assert {index.name for index in schema.search_indexes} == {
            "chunk_text",
            "chunk_vectors",
            "kg_name_vectors",
        }

    def test_an_empty_database_has_nothing(self, empty_store: Datastore) -> None:
        schema = empty_store.schema()
        assert (schema.tables, schema.indexes, schema.search_indexes) == ({}, {}, ())

    def test_it_names_ordinary_indexes(self, store: Datastore) -> None:
        store.execute("CREATE INDEX by_amount ON things (amount)")
        assert "by_amount" in store.schema().indexes["things"]


class TestOptimize:
    def test_it_leaves_rows_and_hits_as_they_are(self, empty_store: Datastore) -> None:
        notes = Notes()
        store = notes.over(empty_store)
        notes.fill(store, [{"body": f"apple {n}", "embedding": [1, 2, 3, n]} for n in range(30)])
        search = ("notes", ["title", "body"], "apple 7")
        before = [(hit.id, hit.relevance) for hit in store.full_text_search(*search)]
        store.optimize()
        after = [(hit.id, hit.relevance) for hit in store.full_text_search(*search)]
        assert after == before
        store.optimize()


class TestBackup:
    @pytest.fixture
    def able(self, store: Datastore) -> Datastore:
        if Capability.BACKUP not in store.capabilities:
            with pytest.raises(CapabilityError, match="server's own tools"):
                store.backup("anywhere")
            pytest.skip("backups are the server's own")  # pragma: no cover
        return store

    @pytest.mark.optional
    def test_it_is_a_store_of_its_own(self, able: Datastore, tmp_path: Path) -> None:
        able.execute(sa.insert(things), [{"name": "a"}])
        target = tmp_path / "copy.db"
        able.backup(str(target))
        able.execute(sa.insert(things), [{"name": "b"}])
        with Datastore.open(f"{able.dialect}:///{target}") as copy:
            assert names(copy) == ["a"]
        assert target.stat().st_mode & 0o777 == 0o600

    @pytest.mark.optional
    def test_it_is_consistent_while_the_store_is_written(
        self, able: Datastore, tmp_path: Path
    ) -> None:
        done = threading.Event()

        def write() -> None:
            n = 0
            while not done.is_set():
                with able.transaction() as transaction:
                    transaction.execute(
                        sa.insert(things), [{"name": f"{n}-{i}"} for i in range(10)]
                    )
                n += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for number in range(5):
                target = tmp_path / f"copy{number}.db"
                able.backup(str(target))
                with Datastore.open(f"{able.dialect}:///{target}") as copy:
                    assert len(names(copy)) % 10 == 0
        finally:
            done.set()
            writer.join()

    @pytest.mark.optional
    @pytest.mark.parametrize("name", ["there.db", "missing/copy.db", "."])
    def test_a_target_that_cannot_be_made_is_an_error_of_ours(
        self, able: Datastore, tmp_path: Path, name: str
    ) -> None:
        there = tmp_path / "there.db"
        there.write_bytes(b"precious")
        with pytest.raises(DatastoreError):
            able.backup(str(tmp_path / name))
        assert there.read_bytes() == b"precious"
