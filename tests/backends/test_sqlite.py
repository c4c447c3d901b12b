"""What is SQLite's own: files, pragmas, drivers, and life without an extension."""

from __future__ import annotations

import gc
import importlib.util
import os
import random
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from datastore import (
    Capability,
    Datastore,
    FullTextIndex,
    RowKey,
    Settings,
    Text,
    Vector,
    VectorIndex,
    migrate,
)
from datastore.backends.sqlite import SQLiteBackend
from datastore.backends.sqlite.connection import WriterLock
from datastore.backends.sqlite.driver import CANDIDATES, REMEDY, can_load_extensions, pick_driver
from datastore.errors import (
    CapabilityError,
    ConfigurationError,
    ConnectionFailedError,
    DatabaseError,
    InvalidValueError,
    PermissionDeniedError,
    ReadOnlyError,
    TransientError,
)

METRICS = ("cosine", "l2", "inner_product")

metadata = sa.MetaData()
notes = sa.Table(
    "notes",
    metadata,
    sa.Column("id", RowKey(), primary_key=True),
    sa.Column("body", Text()),
    sa.Column("embedding", Vector(4)),
)
FullTextIndex("note_words", notes.c.body)
VectorIndex("note_vectors", notes.c.embedding)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[Datastore]:
    with Datastore.open(f"sqlite:///{path}") as store:
        with store.engine.begin() as connection:
            metadata.create_all(connection)
        yield Datastore(store.engine, metadata=metadata, settings=store.settings)


def pragma(store: Datastore, name: str) -> Any:
    (row,) = store.query(f"PRAGMA {name}")
    return next(iter(row.values()))


class TestConnections:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("journal_mode", "wal"),
            ("foreign_keys", 1),
            ("busy_timeout", 30_000),
            ("synchronous", 1),
            ("recursive_triggers", 1),
            ("temp_store", 2),
        ],
    )
    def test_pragmas_are_set(self, store: Datastore, name: str, value: Any) -> None:
        assert pragma(store, name) == value

    def test_settings_have_a_say(self, path: Path) -> None:
        settings = Settings.load(
            url=f"sqlite:///{path}", sqlite={"wal": False, "busy_timeout": 1.5}
        )
        with Datastore.open(settings) as store:
            assert (pragma(store, "journal_mode"), pragma(store, "busy_timeout")) == (
                "delete",
                1500,
            )

    def test_extensions_cannot_be_loaded_afterwards(self, store: Datastore) -> None:
        with pytest.raises(DatabaseError):
            store.query("SELECT load_extension('/tmp/nothing')")

    def test_writers_begin_immediately_and_readers_do_not(self, store: Datastore) -> None:
        seen: list[str] = []
        event.listen(
            store.engine, "before_cursor_execute", lambda *args: seen.append(args[2]), named=False
        )
        with store.transaction():
            pass
        with store.transaction(read_only=True):
            pass
        assert "BEGIN IMMEDIATE" in seen
        assert "BEGIN" in seen

    def test_a_transaction_begins_after_autocommit_was_used(self, store: Datastore) -> None:
        autocommit = store.engine.execution_options(isolation_level="AUTOCOMMIT")
        for _ in range(3):
            with autocommit.connect() as connection:
                connection.exec_driver_sql("VACUUM")
            with pytest.raises(KeyError), store.transaction() as transaction:
                transaction.execute("CREATE TABLE more (x INTEGER)")
                raise KeyError
        assert "more" not in store.schema().tables

    def test_a_raw_connection_may_write_after_a_snapshot(self, path: Path) -> None:
        engine = sa.create_engine(f"sqlite:///{path}", pool_size=1, max_overflow=0)
        with Datastore(engine).transaction(read_only=True) as transaction:
            transaction.query("SELECT 1")
        raw = engine.raw_connection()
        raw.cursor().execute("CREATE TABLE t (x INTEGER)")
        raw.close()
        engine.dispose()


def own_begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")


class TestEnginesOfTheHost:
    @pytest.mark.parametrize("pool", [sa.pool.StaticPool, sa.pool.SingletonThreadPool])
    @pytest.mark.parametrize("in_memory", [True, False])
    def test_one_connection_for_all_is_refused(
        self, path: Path, pool: type[sa.Pool], in_memory: bool
    ) -> None:
        engine = sa.create_engine("sqlite://" if in_memory else f"sqlite:///{path}", poolclass=pool)
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=r"use a file, or Datastore\.open"):
                Datastore(engine)
        engine.dispose()

    def test_a_listener_that_begins_by_itself_is_no_obstacle(self, path: Path) -> None:
        engine = sa.create_engine(f"sqlite:///{path}")
        event.listen(engine, "begin", own_begin)
        store = Datastore(engine)
        store.execute("CREATE TABLE t (x INTEGER)")
        with pytest.raises(KeyError), store.transaction() as transaction:
            transaction.execute("INSERT INTO t VALUES (1)")
            raise KeyError
        with store.transaction(read_only=True) as transaction:
            assert transaction.query("SELECT * FROM t") == []
        with engine.begin() as connection:
            connection.exec_driver_sql("INSERT INTO t VALUES (2)")
        assert store.query("SELECT x FROM t") == [{"x": 2}]
        engine.dispose()

    def test_old_orphans_of_the_host_are_no_obstacle_to_migrating(self, path: Path) -> None:
        with Datastore.open(f"sqlite:///{path}") as store:
            store.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
            store.execute("CREATE TABLE child (id INTEGER REFERENCES parent)")
            raw = sqlite3.connect(path)
            raw.execute("INSERT INTO child VALUES (7)")
            raw.commit()
            raw.close()
            store.migrate()
            assert store.query("SELECT id FROM child") == [{"id": 7}]


class TestFiles:
    def modes(self, path: Path) -> dict[str, int]:
        return {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.glob("store.db*")}

    def test_they_are_for_their_owner_alone(self, path: Path) -> None:
        mask = os.umask(0)
        try:
            with Datastore.open(f"sqlite:///{path}") as store:
                store.execute("CREATE TABLE t (x INTEGER)")
                found = self.modes(path)
        finally:
            os.umask(mask)
        assert found == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}

    def test_folders_are_made(self, tmp_path: Path) -> None:
        path = tmp_path / "a" / "b" / "store.db"
        with Datastore.open(f"sqlite:///{path}"):
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    @pytest.mark.parametrize(
        "name", ["with space.db", "per%cent.db", "ques?tion.db", "ha#sh.db", "ü.db"]
    )
    def test_any_name_will_do(self, tmp_path: Path, name: str) -> None:
        url = sa.URL.create("sqlite", database=str(tmp_path / name))
        with Datastore.open(Settings.load(sqlite={"path": str(tmp_path / name)})) as store:
            store.execute("CREATE TABLE t (x INTEGER)")
            assert store.engine.url.database == url.database
        assert [p.name for p in tmp_path.iterdir()] == [name]

    def test_a_folder_is_no_database(self, tmp_path: Path) -> None:
        with pytest.raises(ConnectionFailedError):
            Datastore.open(f"sqlite:///{tmp_path}")

    def test_a_place_below_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ConnectionFailedError):
            Datastore.open(f"sqlite:///{tmp_path / 'file' / 'store.db'}")

    @pytest.mark.parametrize("mode", ["ro", "rw"])
    def test_a_mode_that_makes_no_file_makes_none(self, path: Path, mode: str) -> None:
        with pytest.raises(ConnectionFailedError, match="there is no database file"):
            Datastore.open(f"sqlite:///{path}?mode={mode}")
        assert not path.exists()

    def test_the_mode_that_makes_the_file_makes_it(self, path: Path) -> None:
        with Datastore.open(f"sqlite:///{path}?mode=rwc") as store:
            store.execute("CREATE TABLE t (x INTEGER)")
        with Datastore.open(f"sqlite:///{path}?mode=rw") as store:
            store.execute("INSERT INTO t VALUES (1)")

    @pytest.mark.parametrize(
        ("rest", "named"),
        [
            ("file:real.db?uri=true", "file:"),
            ("file:real.db?mode=ro", "file:"),
            ("real.db?timeout=3", "timeout"),
            ("real.db?mode=memory", "mode"),
            ("real.db?mode=ro&cache=shared", "cache"),
            (":memory:?cache=shared", "cache"),
        ],
    )
    def test_what_would_be_ignored_is_refused(self, tmp_path: Path, rest: str, named: str) -> None:
        before = set(Path().iterdir())
        with pytest.raises(ConfigurationError, match=named):
            Datastore.open(f"sqlite:///{rest}")
        assert set(Path().iterdir()) == before

    def test_reading_that_needs_to_write_names_the_reason(self) -> None:
        error = sqlite3.OperationalError("attempt to write a readonly database")
        error.sqlite_errorcode, error.sqlite_errorname = 8, "SQLITE_READONLY"
        found = SQLiteBackend().translate(error)
        assert isinstance(found, ReadOnlyError)
        assert "beside the file" in str(found)
        assert "make the folder writable" in found.remedy

    @pytest.mark.optional
    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_folder_without_permission_is_refused(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(PermissionDeniedError):
            Datastore.open(f"sqlite:///{tmp_path / 'store.db'}")


class TestInMemory:
    def test_all_threads_see_one_database(self) -> None:
        with Datastore.open("sqlite:///:memory:") as store:
            store.execute("CREATE TABLE t (x INTEGER)")
            threads = [
                threading.Thread(target=store.execute, args=("INSERT INTO t VALUES (1)",))
                for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert store.query("SELECT count(*) AS n FROM t") == [{"n": 8}]

    def test_two_stores_have_one_each(self) -> None:
        with Datastore.open("sqlite://") as one, Datastore.open("sqlite://") as other:
            one.execute("CREATE TABLE t (x INTEGER)")
            assert other.schema().tables == {}

    def test_a_reader_does_not_wait_for_a_writer(self) -> None:
        with Datastore.open("sqlite:///:memory:") as store:
            store.execute("CREATE TABLE t (x INTEGER)")
            started = time.monotonic()
            with store.transaction() as transaction:
                transaction.execute("INSERT INTO t VALUES (1)")
                assert store.query("SELECT * FROM t") == []
            with store.transaction(read_only=True) as snapshot:
                assert snapshot.query("SELECT * FROM t") == [{"x": 1}]
                store.execute("DELETE FROM t")
                assert snapshot.query("SELECT * FROM t") == [{"x": 1}]
            assert time.monotonic() - started < 5

    @pytest.fixture
    def places(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        return tmp_path

    def test_nothing_is_left_of_it(self, places: Path) -> None:
        with Datastore.open("sqlite:///:memory:") as store:
            store.execute("CREATE TABLE t (x INTEGER)")
            (place,) = places.iterdir()
            assert stat.S_IMODE(place.stat().st_mode) == 0o700
            assert store.engine.url.database == ":memory:"
        assert list(places.iterdir()) == []

    def test_nothing_is_left_of_one_that_was_not_closed(self, places: Path) -> None:
        store = Datastore.open("sqlite:///:memory:")
        store.execute("CREATE TABLE t (x INTEGER)")
        assert len(list(places.iterdir())) == 1
        store.engine.dispose()
        del store
        gc.collect()
        assert list(places.iterdir()) == []

    def test_it_can_be_migrated(self) -> None:
        with Datastore.open("sqlite:///:memory:") as store:
            store.migrate()
            assert store.schema().version == migrate.head()


def test_a_backup_that_fails_is_our_error_and_leaves_nothing(
    store: Datastore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise store.engine.dialect.loaded_dbapi.OperationalError("disk I/O error")

    monkeypatch.setattr(store.engine.dialect.loaded_dbapi, "connect", refuse)
    with pytest.raises(DatabaseError):
        store.backup(tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


class TestDrivers:
    def test_none_of_greater_merit_is_passed_over(self) -> None:
        present = [name for name in CANDIDATES if importlib.util.find_spec(name.partition(".")[0])]
        assert pick_driver().merit == max(pick_driver((name,)).merit for name in present)

    def test_what_is_not_installed_is_passed_over(self) -> None:
        assert pick_driver(("nosuch.driver", "sqlite3")).module is sqlite3

    def test_without_any_the_error_names_the_remedy(self) -> None:
        with pytest.raises(CapabilityError, match="pip install"):
            pick_driver(("nosuch.driver",))

    def test_doctor_learns_how_to_get_the_extension(self, bare: Datastore) -> None:
        (finding,) = [f for f in bare.backend.report.findings if f.check == "vectors"]
        assert not finding.ok
        assert finding.remedy == REMEDY


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Datastore]:
    """A store on a driver that cannot load extensions, for real where this Python's cannot."""

    class Connection(sqlite3.Connection):
        """Has no `enable_load_extension`, whatever this Python was built with."""

        def __getattribute__(self, name: str) -> Any:
            if name == "enable_load_extension":
                raise AttributeError(name)
            return super().__getattribute__(name)

    engine = sa.create_engine(
        f"sqlite:///{tmp_path / 'bare.db'}", module=sqlite3, connect_args={"factory": Connection}
    )
    with engine.connect() as connection:
        assert not can_load_extensions(connection.connection.dbapi_connection)
    with engine.begin() as connection:
        pass
    store = Datastore(engine, metadata=metadata)
    with engine.begin() as connection:
        metadata.create_all(connection)
    yield store
    engine.dispose()


def fill(store: Datastore) -> None:
    generator = random.Random(3)
    rows = [
        {
            "id": n,
            "body": f"apple {'bolt ' * (n % 5)}",
            "embedding": [generator.gauss(0, 1) for _ in range(4)],
        }
        for n in range(1, 61)
    ]
    store.execute(sa.insert(notes), rows)


class TestWithoutTheExtension:
    def test_it_says_so(self, bare: Datastore) -> None:
        fill(bare)
        assert Capability.VECTOR_FUNCTIONS not in bare.capabilities
        found = bare.vector_search("notes", "embedding", [1, 0, 0, 0])
        assert found.method == "fallback"
        assert any(REMEDY in note for note in found.notes)
        assert bare.full_text_search("notes", "body", "bolt").method == "exact"

    @pytest.mark.parametrize("metric", METRICS)
    def test_it_finds_the_same(self, bare: Datastore, store: Datastore, metric: Any) -> None:
        for each_store in (bare, store):
            fill(each_store)
        for query in ([1, 0, 0, 0], [0.3, -2, 1, 5]):
            one, other = (
                s.vector_search("notes", "embedding", query, 20, metric=metric)
                for s in (bare, store)
            )
            assert [hit.id for hit in one] == [hit.id for hit in other]
            assert [h.distance for h in one] == pytest.approx([h.distance for h in other], abs=1e-5)
        hybrids = [
            s.hybrid_search("notes", text="bolt", vector=[1, 0, 0, 0]) for s in (bare, store)
        ]
        assert [hit.id for hit in hybrids[0]] == [hit.id for hit in hybrids[1]]

    def test_vectors_of_two_lengths_are_refused_alike(
        self, bare: Datastore, store: Datastore
    ) -> None:
        for each_store in (bare, store):
            for metric in ("vec_distance_cosine", "vec_distance_l2", "datastore_negative_product"):
                with pytest.raises(InvalidValueError):
                    each_store.query(f"SELECT {metric}(zeroblob(8), zeroblob(12)) AS d")


class TestWriterLock:
    def test_it_gives_up_after_the_timeout(self) -> None:
        lock = WriterLock(0.05)
        caught: list[BaseException] = []

        def other() -> None:
            try:
                with lock.held():
                    pass
            except TransientError as error:
                caught.append(error)

        with lock.held():
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
        assert len(caught) == 1
        other()
        assert len(caught) == 1

    def test_one_thread_takes_it_once(self) -> None:
        lock = WriterLock()
        with lock.held(), pytest.raises(DatabaseError, match="use that transaction"), lock.held():
            pass
        with lock.held():
            pass
