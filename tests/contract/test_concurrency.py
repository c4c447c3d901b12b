"""Many threads at once."""

from __future__ import annotations

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
