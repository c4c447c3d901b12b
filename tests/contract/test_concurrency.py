"""Many threads at once."""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from datastore import Datastore, Transaction
from datastore.errors import DatabaseError

THREADS, ROUNDS = 8, 15


@pytest.fixture
def store(empty_store: Datastore) -> Datastore:
    """A store with one counter."""
    empty_store.execute("CREATE TABLE counter (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)")
    empty_store.execute("INSERT INTO counter VALUES (1, 0)")
    return empty_store


def at_once(work: Callable[[], None], threads: int = THREADS) -> list[BaseException]:
    """Run `work` in several threads, and return what they raised."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    started = [threading.Thread(target=run) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(60)
        assert not thread.is_alive()
    return errors


def count(store: Datastore) -> int:
    return int(store.query("SELECT n FROM counter")[0]["n"])


counter = sa.table("counter", sa.column("id"), sa.column("n"))


def increment(transaction: Transaction) -> None:
    """Read, think and write, holding the row where the engine would let others in."""
    (row,) = transaction.query(sa.select(counter.c.n).with_for_update())
    transaction.execute("UPDATE counter SET n = :n", {"n": row["n"] + 1})


def test_read_modify_write_loses_no_update(store: Datastore) -> None:
    def work() -> None:
        for _ in range(ROUNDS):
            store.run(increment)

    assert at_once(work) == []
    assert count(store) == THREADS * ROUNDS


def test_single_statements_lose_no_update(store: Datastore) -> None:
    def work() -> None:
        for _ in range(ROUNDS):
            store.execute("UPDATE counter SET n = n + 1")

    assert at_once(work) == []
    assert count(store) == THREADS * ROUNDS


def test_readers_are_not_held_up_by_writers(store: Datastore) -> None:
    def work() -> None:
        for _ in range(ROUNDS):
            store.run(increment)
            with store.transaction(read_only=True) as transaction:
                first = transaction.query("SELECT n FROM counter")
                assert transaction.query("SELECT n FROM counter") == first

    assert at_once(work) == []


def test_two_stores_over_one_database_lose_no_update(store: Datastore, database_url: str) -> None:
    with Datastore.open(database_url) as other:
        stores = [store, other] * (THREADS // 2)

        def work() -> None:
            mine = stores.pop()
            for _ in range(ROUNDS):
                mine.run(increment)

        assert at_once(work) == []
    assert count(store) == THREADS * ROUNDS


def test_a_second_write_transaction_in_one_thread_never_hangs(store: Datastore) -> None:
    """An engine with one writer says at once what to do; another one just runs both."""
    started = time.monotonic()
    try:
        with store.transaction() as outer:
            outer.query("SELECT n FROM counter")
            with store.transaction() as second:
                second.execute("UPDATE counter SET n = 7")
    except DatabaseError as error:
        assert "use that transaction" in str(error)  # noqa: PT017
        assert count(store) == 0
    else:
        assert count(store) == 7
    assert time.monotonic() - started < 5
    store.execute("UPDATE counter SET n = 8")
    assert count(store) == 8


class TestAttaching:
    def test_all_threads_get_one_backend(self, store: Datastore, database_url: str) -> None:
        engine = sa.create_engine(database_url)
        found: list[Datastore] = []
        together = threading.Barrier(THREADS)

        def work() -> None:
            together.wait()
            found.append(Datastore(engine, settings=store.settings))

        assert at_once(work) == []
        assert len({id(one.backend) for one in found}) == 1
        engine.dispose()

    @pytest.mark.parametrize("first", [0, 1])
    def test_a_view_of_an_engine_is_that_engine(
        self, store: Datastore, database_url: str, first: int
    ) -> None:
        engine = sa.create_engine(database_url)
        view = engine.execution_options(logging_token="view").execution_options(max_row_buffer=9)
        pair = (engine, view)
        one = Datastore(pair[first], settings=store.settings)
        other = Datastore(pair[1 - first], settings=store.settings)
        assert one.backend is other.backend
        for each_store in (one, other):
            each_store.run(increment)
            with each_store.transaction(read_only=True) as transaction:
                transaction.query("SELECT n FROM counter")
        with view.begin() as connection:
            connection.execute(sa.text("UPDATE counter SET n = n + 1"))
        assert count(store) == 3
        engine.dispose()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
class TestForking:
    def in_child(self, work: Callable[[], None]) -> multiprocessing.process.BaseProcess:
        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        return child

    def test_parent_and_child_both_go_on(self, store: Datastore) -> None:
        def work() -> None:
            for _ in range(ROUNDS):
                store.run(increment)
                count(store)

        count(store)
        children = [self.in_child(work) for _ in range(2)]
        work()
        for child in children:
            child.join(60)
        assert [child.exitcode for child in children] == [0, 0]
        assert count(store) == 3 * ROUNDS

    def test_a_lock_that_a_thread_holds_is_not_inherited(self, store: Datastore) -> None:
        holding, done = threading.Event(), threading.Event()

        def hold() -> None:
            with store.transaction() as transaction:
                transaction.query("SELECT n FROM counter")
                holding.set()
                done.wait(60)

        thread = threading.Thread(target=hold)
        thread.start()
        holding.wait(60)

        def work() -> None:
            with store.backend.writing():
                count(store)

        child = self.in_child(work)
        child.join(20)
        done.set()
        thread.join(60)
        assert child.exitcode == 0
        store.run(increment)
        assert count(store) == 1

    def test_a_child_can_migrate(self, store: Datastore) -> None:
        child = self.in_child(store.migrate)
        child.join(60)
        assert child.exitcode == 0
        store.migrate()
