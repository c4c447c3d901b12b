"""Errors: the same class for the same fault, and no value in any message."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from datastore import (
    Datastore,
    JSONDocument,
    RowKey,
    Settings,
    Text,
    TextArray,
    UTCDateTime,
    Vector,
    VectorIndex,
)
from datastore.errors import (
    CheckViolation,
    ConfigurationError,
    ConnectionFailedError,
    CorruptDatabaseError,
    DatabaseError,
    DatastoreError,
    ForeignKeyViolation,
    IntegrityError,
    InvalidValueError,
    NotNullViolation,
    ReadOnlyError,
    SchemaMissingError,
    TransientError,
    UniqueViolation,
    UnknownNameError,
)

CANARY = "canary-7b1c9f"

metadata = sa.MetaData()
parents = sa.Table(
    "parents",
    metadata,
    sa.Column("rid", RowKey(), primary_key=True),
    sa.Column("name", Text(), nullable=False, unique=True),
    sa.Column("amount", sa.BigInteger, sa.CheckConstraint("amount >= 0", name="positive")),
    sa.Column("at", UTCDateTime()),
    sa.Column("tags", TextArray()),
    sa.Column("data", JSONDocument()),
    sa.Column("embedding", Vector(2)),
)
VectorIndex("parent_vectors", parents.c.embedding)
children = sa.Table(
    "children",
    metadata,
    sa.Column("rid", RowKey(), primary_key=True),
    sa.Column("parent", sa.ForeignKey(parents.c.rid)),
)


@pytest.fixture
def store(empty_store: Datastore) -> Datastore:
    """A store over the tables above, with one parent that has one child."""
    with empty_store.engine.begin() as connection:
        metadata.create_all(connection)
    empty_store.execute(sa.insert(parents), {"rid": 1, "name": "first"})
    empty_store.execute(sa.insert(children), {"rid": 1, "parent": 1})
    return Datastore(empty_store.engine, metadata=metadata, settings=empty_store.settings)


class TestFaultsOfStatements:
    @pytest.mark.parametrize(
        ("statement", "params", "error"),
        [
            (sa.insert(parents), {"rid": 2, "name": "first"}, UniqueViolation),
            (sa.insert(parents), {"rid": 1, "name": "second"}, UniqueViolation),
            (sa.insert(parents), {"rid": 2, "name": None}, NotNullViolation),
            (sa.insert(parents), {"rid": 2}, NotNullViolation),
            (sa.insert(parents), {"rid": 2, "name": "x", "amount": -1}, CheckViolation),
            (sa.insert(children), {"rid": 2, "parent": 9}, ForeignKeyViolation),
            (sa.delete(parents), None, ForeignKeyViolation),
            (sa.update(parents).values(rid=5), None, ForeignKeyViolation),
            ("SELECT * FROM absent", None, UnknownNameError),
            ("INSERT INTO absent VALUES (1)", None, UnknownNameError),
            ("SELECT absent FROM parents", None, UnknownNameError),
            ("SELECT p.absent FROM parents AS p", None, UnknownNameError),
            ("UPDATE parents SET absent = 1", None, UnknownNameError),
            ("INSERT INTO parents (absent) VALUES (1)", None, UnknownNameError),
            ("SELECT absent(1)", None, UnknownNameError),
            ("SELEKT 1", None, DatabaseError),
            ("SELECT (", None, DatabaseError),
            ("SELECT :x", {}, InvalidValueError),
            ("SELECT :x", {"x": object()}, InvalidValueError),
            ("SELECT :x", {"x": {"a": 1}}, InvalidValueError),
            ("INSERT INTO parents (rid, name) VALUES (2, :x)", {"x": "\ud800"}, InvalidValueError),
            ("INSERT INTO parents (rid, name) VALUES (2, :x)", {"x": "a\x00"}, InvalidValueError),
            (sa.insert(parents), {"rid": 2, "name": "a\x00"}, InvalidValueError),
            (sa.insert(parents), {"rid": 2, "name": "\udc00"}, InvalidValueError),
            (sa.insert(parents), {"rid": 2, "name": 7}, InvalidValueError),
            (sa.insert(parents), {"rid": 2, "name": b"x"}, InvalidValueError),
            (sa.insert(parents), {"rid": 2**63, "name": "x"}, InvalidValueError),
            (sa.insert(parents), {"rid": -(2**63) - 1, "name": "x"}, InvalidValueError),
            (sa.insert(parents), {"rid": "x", "name": "x"}, InvalidValueError),
            (sa.insert(parents), {"rid": 2, "name": "x", "amount": 2**63}, InvalidValueError),
            (sa.insert(parents), {"rid": 2, "name": "x", "at": "yesterday"}, InvalidValueError),
            (sa.insert(parents), {"rid": 2, "name": "x", "tags": "abc"}, InvalidValueError),
            (sa.insert(parents), {"rid": 2, "name": "x", "data": object()}, InvalidValueError),
            (sa.insert(parents), {"rid": 2, "name": "x", "embedding": [1]}, InvalidValueError),
        ],
    )  # fmt: skip
    def test_each_has_its_class_and_changes_nothing(
        self, store: Datastore, statement: Any, params: Any, error: type[DatastoreError]
    ) -> None:
        with pytest.raises(error) as caught:
            store.execute(statement, params)
        assert str(caught.value)
        assert store.query("SELECT rid, name FROM parents") == [{"rid": 1, "name": "first"}]
        assert store.query("SELECT parent FROM children") == [{"parent": 1}]

    def test_a_constraint_is_named(self, store: Datastore) -> None:
        with pytest.raises(CheckViolation, match="positive") as caught:
            store.execute(sa.insert(parents), {"rid": 2, "name": "x", "amount": -1})
        assert caught.value.constraint == "positive"

    def test_the_cause_and_its_code_are_kept(self, store: Datastore) -> None:
        with pytest.raises(UniqueViolation) as caught:
            store.execute(sa.insert(parents), {"rid": 2, "name": "first"})
        assert caught.value.__cause__ is not None
        assert caught.value.code

    def test_the_kinds_of_violation_are_one_family(self) -> None:
        for kind in (UniqueViolation, ForeignKeyViolation, NotNullViolation, CheckViolation):
            assert issubclass(kind, IntegrityError)

    def test_a_missing_table_names_the_command(self, empty_store: Datastore) -> None:
        with pytest.raises(SchemaMissingError, match="datastore upgrade"):
            empty_store.query("SELECT * FROM chunks")

    def test_a_constraint_checked_at_the_commit_is_one_too(self, empty_store: Datastore) -> None:
        empty_store.execute("CREATE TABLE p (n INTEGER PRIMARY KEY)")
        empty_store.execute("CREATE TABLE c (n INTEGER REFERENCES p DEFERRABLE INITIALLY DEFERRED)")
        with pytest.raises(ForeignKeyViolation), empty_store.transaction() as transaction:
            transaction.execute("INSERT INTO c VALUES (1)")
        assert empty_store.query("SELECT * FROM c") == []
        with empty_store.transaction() as transaction:
            transaction.execute("INSERT INTO c VALUES (1)")
            transaction.execute("INSERT INTO p VALUES (1)")


class TestLocks:
    def impatient(self, url: str) -> Settings:
        return Settings.load(
            url=url, sqlite={"busy_timeout": 0.2}, postgresql={"lock_timeout": 0.2}
        )

    def test_a_lock_that_is_not_to_be_had_is_transient(
        self, store: Datastore, database_url: str
    ) -> None:
        change = sa.update(parents).values(amount=1)
        with Datastore.open(self.impatient(database_url)) as other:
            with store.transaction() as transaction:
                transaction.execute(change)
                started = time.monotonic()
                with pytest.raises(TransientError):
                    other.execute(change)
                assert time.monotonic() - started < 5
            other.execute(change)

    def test_an_exhausted_pool_is_transient(self, database_url: str) -> None:
        engine = sa.create_engine(database_url, pool_size=1, max_overflow=0, pool_timeout=0.1)
        store = Datastore(engine)
        with store.transaction(), pytest.raises(TransientError, match="pool"):
            store.query("SELECT 1")
        engine.dispose()


class TestConnecting:
    def test_a_missing_database_is_not_made_with_create_false(self, backend_name: str,
        request: pytest.FixtureRequest, tmp_path: Path) -> None:  # fmt: skip
        for url in missing_databases(backend_name, request, tmp_path):
            with pytest.raises(ConnectionFailedError):
                Datastore.open(url, create=False)
        assert not list(tmp_path.rglob("*.db*"))

    def test_a_newer_schema_is_another_matter(self, migrated_url: str) -> None:
        with Datastore.open(migrated_url, create=False) as store:
            assert store.query("SELECT count(*) AS n FROM chunks") == [{"n": 0}]

    @pytest.mark.parametrize(
        "content", [b"this is no database " * 400, b"SQLite format 3\x00" + b"\xff" * 5000]
    )
    def test_a_file_that_is_no_database_is_left_alone(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "notes.txt"
        path.write_bytes(content)
        with pytest.raises(CorruptDatabaseError):
            Datastore.open(f"sqlite:///{path}")
        assert path.read_bytes() == content

    def test_a_damaged_database_says_so(self, tmp_path: Path) -> None:
        path = tmp_path / "damaged.db"
        with Datastore.open(f"sqlite:///{path}") as store:
            store.execute("CREATE TABLE t (x TEXT)")
            store.execute("INSERT INTO t VALUES (:x)", [{"x": "y" * 900} for _ in range(100)])
            store.query("PRAGMA wal_checkpoint(TRUNCATE)")
        content = bytearray(path.read_bytes())
        content[4096:] = b"\x07" * (len(content) - 4096)
        path.write_bytes(content)
        with pytest.raises(CorruptDatabaseError), Datastore.open(f"sqlite:///{path}") as store:
            store.query("SELECT * FROM t")

    def test_a_wrong_password_is_refused_without_naming_it(self, postgres_server: str) -> None:
        url = sa.make_url(postgres_server).set(password=CANARY)
        check_refused(url.render_as_string(hide_password=False))

    def test_a_wrong_user_is_refused(self, postgres_server: str) -> None:
        url = sa.make_url(postgres_server).set(username="nobody_of_that_name")
        check_refused(url.render_as_string(hide_password=False))

    @pytest.mark.parametrize(
        "place", [{"port": 1}, {"host": "host.invalid"}, {"host": "127.0.0.1", "port": 9}]
    )
    def test_a_wrong_place_is_refused_in_time(
        self, postgres_server: str, place: dict[str, Any]
    ) -> None:
        url = sa.make_url(postgres_server).set(password=CANARY, **place)
        started = time.monotonic()
        check_refused(url.render_as_string(hide_password=False))
        assert time.monotonic() - started < 10

    def test_a_silent_host_is_given_up_within_the_timeout(self, deaf_port: int) -> None:
        started = time.monotonic()
        settings = Settings.load(
            url=f"postgresql://u:{CANARY}@127.0.0.1:{deaf_port}/d",
            postgresql={"connect_timeout": 2},
        )
        with pytest.raises(ConnectionFailedError):
            Datastore.open(settings)
        assert time.monotonic() - started < 8


def missing_databases(
    backend_name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[str]:
    if backend_name == "sqlite":
        yield f"sqlite:///{tmp_path / 'missing.db'}"
        yield f"sqlite:///{tmp_path / 'no' / 'folder' / 'missing.db'}"
    else:
        server = sa.make_url(request.getfixturevalue("postgres_server"))
        yield server.set(database="no_such_database").render_as_string(hide_password=False)


def check_refused(url: str) -> None:
    with pytest.raises(ConnectionFailedError) as caught:
        Datastore.open(url)
    assert CANARY not in everything_told(caught.value)


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port where connections are accepted and nothing is ever answered."""
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(5)
        yield server.getsockname()[1]


class TestReadOnlyStores:
    def test_a_file_opened_for_reading_refuses_writes(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        with Datastore.open(f"sqlite:///{path}") as store:
            store.execute("CREATE TABLE t (x INTEGER)")
        with Datastore.open(f"sqlite:///{path}?mode=ro") as store:
            assert store.query("SELECT * FROM t") == []
            with pytest.raises(ReadOnlyError):
                store.execute("INSERT INTO t VALUES (1)")


def everything_told(error: BaseException) -> str:
    """All that an error and those behind it say of themselves."""
    told, pending, seen = [], [error], set()
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        told += [str(current), repr(current), repr(current.args)]
        told += getattr(current, "__notes__", [])
        pending += [e for e in (current.__cause__, current.__context__) if e is not None]
    told += traceback.format_exception(error)
    return "\n".join(told)


class TestNothingIsTold:
    """A canary goes through every fault; no message, repr, chain or log holds it."""

    FAULTS: tuple[Callable[[Datastore], Any], ...] = (
        lambda s: s.execute(sa.insert(parents), [{"rid": 2, "name": CANARY}, {"rid": 3, "name": CANARY}]),
        lambda s: s.execute("INSERT INTO parents (rid, name) VALUES (1, :n)", {"n": CANARY}),
        lambda s: s.execute(sa.insert(parents), {"rid": 2, "name": CANARY, "amount": -1}),
        lambda s: s.execute("INSERT INTO parents (rid, name, amount) VALUES (2, :n, -1)", {"n": CANARY}),
        lambda s: s.execute("INSERT INTO parents (rid, name) VALUES (:n, :n)", {"n": CANARY}),
        lambda s: s.execute(sa.insert(parents), {"rid": CANARY, "name": "x"}),
        lambda s: s.execute(sa.insert(parents), {"rid": 2, "name": CANARY + "\x00"}),
        lambda s: s.execute(sa.insert(parents), {"rid": 2, "name": CANARY + "\ud800"}),
        lambda s: s.execute("INSERT INTO parents (rid, name) VALUES (2, :n)", {"n": CANARY + "\ud800"}),
        lambda s: s.execute(sa.insert(parents), {"rid": 2, "name": "x", "at": CANARY}),
        lambda s: s.execute(sa.insert(parents), {"rid": 2, "name": "x", "tags": CANARY}),
        lambda s: s.execute(sa.insert(parents), {"rid": 2, "name": "x", "tags": [CANARY, 7]}),
        lambda s: s.execute(sa.insert(parents), {"rid": 2, "name": "x", "data": {CANARY: {1, 2}}}),
        lambda s: s.execute(sa.insert(parents), {"rid": 2, "name": "x", "data": {CANARY: float("nan")}}),
        lambda s: s.execute(sa.insert(parents), {"rid": 2, "name": "x", "embedding": CANARY}),
        lambda s: s.execute(sa.insert(parents), {"rid": 2, "name": "x", "embedding": [1, CANARY]}),
        lambda s: s.execute(sa.insert(parents), {"rid": 2, "name": None, "data": CANARY}),
        lambda s: s.query("SELECT :a, :b", {"a": CANARY}),
        lambda s: s.query("SELECT :a", {"a": {CANARY}}),
        lambda s: s.query("SELECT * FROM absent WHERE x = :a", {"a": CANARY}),
        lambda s: s.query("SELECT absent FROM parents WHERE name = :a", {"a": CANARY}),
        lambda s: s.query("SELECT FROM WHERE :a", {"a": CANARY}),
        lambda s: s.query(sa.select(sa.literal({"a": CANARY}, sa.JSON(), literal_execute=True))),
        lambda s: s.query(sa.select(sa.literal(object(), sa.Integer(), literal_execute=True), sa.literal(CANARY))),
        lambda s: s.query(sa.select(sa.cast(sa.literal(CANARY), sa.DateTime()), sa.column("absent"))),
        lambda s: s.vector_search("parents", "embedding", CANARY),
        lambda s: s.full_text_search("parents", ["name"], CANARY),
        lambda s: s.batch([(sa.insert(parents), {"rid": 1, "name": CANARY})]),
        lambda s: s.query("SELECT to_tsquery(:q)", {"q": f"{CANARY} &"}),
        lambda s: s.query("SELECT current_setting(:q)", {"q": CANARY}),
        lambda s: s.query("SELECT CAST(:q AS regclass)", {"q": CANARY}),
        lambda s: s.query("SELECT json_extract('{}', :q)", {"q": CANARY}),
        lambda s: s.query("SELECT * FROM words WHERE words MATCH :q", {"q": "canary : x"}),
        lambda s: s.query("SELECT * FROM words WHERE words MATCH :q", {"q": f'"{CANARY}'}),
        lambda s: s.query("SELECT * FROM words WHERE words MATCH :q", {"q": f"{CANARY} AND"}),
        lambda s: s.execute("DO $$ BEGIN RAISE EXCEPTION '%', 'canary' || '-7b1c9f'; END $$"),
    )  # fmt: skip

    @pytest.mark.parametrize("fault", FAULTS)
    @pytest.mark.parametrize("own_engine", [True, False])
    def test_no_value_is_told(
        self,
        store: Datastore,
        database_url: str,
        caplog: pytest.LogCaptureFixture,
        fault: Callable[[Datastore], Any],
        own_engine: bool,
    ) -> None:
        engine = store.engine if own_engine else sa.create_engine(database_url)
        with caplog.at_level(logging.DEBUG, logger="datastore"):
            try:
                fault(Datastore(engine, metadata=metadata, settings=store.settings))
            except DatastoreError as error:
                told = everything_told(error)
            else:
                told = ""
        if not own_engine:
            engine.dispose()
        # The lines of this file are in the traceback; the value is in them by its name alone.
        assert CANARY not in told
        assert CANARY not in caplog.text

    def test_no_password_is_told(
        self, postgres_server: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        password = sa.make_url(postgres_server).password
        assert password
        with caplog.at_level(logging.DEBUG), Datastore.open(postgres_server) as store:
            told = f"{store!r} {store.engine!r} {store.engine.url!r} {store.settings!r}"
            with pytest.raises(DatastoreError) as caught:
                store.query("SELECT * FROM absent")
        assert password not in told + everything_told(caught.value) + caplog.text


@pytest.mark.parametrize("asynchronous", [True, False])
def test_an_engine_on_another_driver_is_refused(
    backend_name: str, database_url: str, asynchronous: bool
) -> None:
    ours = {"sqlite": "pysqlite", "postgresql": "psycopg"}[backend_name]
    engine = sa.create_engine(database_url)
    engine.dialect.is_async = asynchronous
    if not asynchronous:
        engine.dialect.driver = "other"
    with pytest.raises(ConfigurationError, match=f"needs {backend_name}\\+{ours}"):
        Datastore(engine)
    engine.dispose()


class TestMisuse:
    """What is no error of the database is still one of ours, and changes nothing."""

    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO parents (rid, name) VALUES (2, 'x')",
            "  -- a note\n UPDATE parents SET name = 'x'",
            "/* a note */ DELETE FROM children",
            "WITH two AS (SELECT 2 AS n) INSERT INTO parents (rid, name) SELECT n, 'x' FROM two",
            "CREATE TABLE more (x INTEGER)",
            sa.insert(parents).values(rid=2, name="x"),
            sa.text("DELETE FROM children"),
            sa.schema.CreateTable(sa.Table("more", sa.MetaData(), sa.Column("x", sa.Integer))),
        ],
    )
    @pytest.mark.parametrize("verb", ["query", "query_one"])
    def test_a_query_without_rows_is_refused(
        self, store: Datastore, statement: Any, verb: str
    ) -> None:
        with pytest.raises(InvalidValueError, match="execute"):
            getattr(store, verb)(statement)
        with pytest.raises(DatabaseError, match="had failed"), store.transaction() as transaction:
            with pytest.raises(InvalidValueError, match="execute"):
                getattr(transaction, verb)(statement)
        assert store.query("SELECT rid, name FROM parents") == [{"rid": 1, "name": "first"}]
        assert store.query("SELECT parent FROM children") == [{"parent": 1}]
        assert "more" not in store.schema().tables

    def test_a_query_may_write_where_it_returns_rows(self, store: Datastore) -> None:
        statement = "INSERT INTO parents (rid, name) VALUES (2, 'x') RETURNING rid"
        assert store.query(statement) == [{"rid": 2}]
        changed = sa.update(parents).where(parents.c.rid == 2).values(name="y")
        assert store.query_one(changed.returning(parents.c.name)) == {"name": "y"}
        assert len(store.query("SELECT rid FROM parents")) == 2

    @pytest.mark.parametrize("statement", [123, None, object()])
    def test_what_is_no_statement_is_refused(self, store: Datastore, statement: Any) -> None:
        for verb in (store.query, store.execute):
            with pytest.raises(InvalidValueError):
                verb(statement)

    def test_text_is_no_binary(self, store: Datastore) -> None:
        table = sa.Table("files", sa.MetaData(), sa.Column("content", sa.LargeBinary))
        table.create(store.engine)
        with pytest.raises(InvalidValueError):
            store.execute(sa.insert(table), {"content": CANARY})

    def test_two_statements_are_not_one(self, store: Datastore) -> None:
        with pytest.raises(DatastoreError):
            store.execute("DELETE FROM children WHERE rid = :n; DELETE FROM parents", {"n": 9})
        assert store.query("SELECT parent FROM children") == [{"parent": 1}]
