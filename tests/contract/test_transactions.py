"""Transactions, savepoints and snapshots."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from datastore import Datastore, Transaction
from datastore.errors import DatabaseError, DatastoreError, ReadOnlyError, UniqueViolation

INSERT = "INSERT INTO numbers (n) VALUES (:n)"


class Abort(Exception):  # noqa: N818 - not an error
    """Raised by the tests themselves."""


@pytest.fixture
def store(empty_store: Datastore) -> Datastore:
    """A store with one empty table of numbers."""
    empty_store.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY)")
    return empty_store


def numbers(store: Datastore | Transaction) -> list[int]:
    return [row["n"] for row in store.query("SELECT n FROM numbers ORDER BY n")]


def insert(target: Datastore | Transaction, *values: int) -> None:
    for value in values:
        target.execute(INSERT, {"n": value})


class TestCommitAndRollback:
    def test_the_end_of_the_block_commits(self, store: Datastore) -> None:
        with store.transaction() as transaction:
            insert(transaction, 1, 2)
        assert numbers(store) == [1, 2]

    def test_an_exception_rolls_back_and_goes_on(self, store: Datastore) -> None:
        with pytest.raises(Abort), store.transaction() as transaction:
            insert(transaction, 1)
            raise Abort
        assert numbers(store) == []

    def test_an_exception_outlives_a_rollback_that_fails(self, store: Datastore) -> None:
        with pytest.raises(Abort), store.transaction() as transaction:
            insert(transaction, 1)
            assert transaction._connected is not None
            transaction._connected.connection.dbapi_connection.close()  # type: ignore[union-attr]
            raise Abort
        assert numbers(store) == []
        insert(store, 1)

    def test_an_explicit_commit_lasts_whatever_follows(self, store: Datastore) -> None:
        with pytest.raises(Abort), store.transaction() as transaction:
            insert(transaction, 1)
            transaction.commit()
            raise Abort
        assert numbers(store) == [1]

    def test_an_explicit_rollback_undoes_everything(self, store: Datastore) -> None:
        with store.transaction() as transaction:
            insert(transaction, 1)
            transaction.rollback()
        assert numbers(store) == []

    def test_changes_are_seen_inside_and_not_outside(self, store: Datastore) -> None:
        with store.transaction() as transaction:
            insert(transaction, 1)
            assert numbers(transaction) == [1]
            assert numbers(store) == []

    def test_nothing_done_is_fine(self, store: Datastore) -> None:
        with store.transaction():
            pass
        with store.transaction(read_only=True):
            pass

    def test_schema_changes_are_rolled_back(self, store: Datastore) -> None:
        with pytest.raises(Abort), store.transaction() as transaction:
            transaction.execute("CREATE TABLE other (x INTEGER)")
            transaction.execute("ALTER TABLE numbers ADD COLUMN more INTEGER")
            raise Abort
        assert store.schema().tables == {"numbers": ("n",)}

    def test_connections_go_back_to_the_pool(self, store: Datastore) -> None:
        for _ in range(40):
            with pytest.raises(Abort), store.transaction() as transaction:
                insert(transaction, 1)
                raise Abort
        assert store.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def autocommit_by_default(url: str) -> sa.Engine:
    return sa.create_engine(url, isolation_level="AUTOCOMMIT")


def autocommit_by_option(url: str) -> sa.Engine:
    return sa.create_engine(url).execution_options(isolation_level="AUTOCOMMIT")


@pytest.mark.parametrize("make_engine", [autocommit_by_default, autocommit_by_option])
class TestOnAnEngineThatCommitsByItself:
    def test_transactions_are_transactions(
        self, store: Datastore, database_url: str, make_engine: Callable[[str], sa.Engine]
    ) -> None:
        engine = make_engine(database_url)
        other = Datastore(engine)
        with pytest.raises(Abort), other.transaction() as transaction:
            insert(transaction, 1)
            raise Abort
        with pytest.raises(UniqueViolation):
            other.batch([(INSERT, {"n": 1}), (INSERT, {"n": 1})])
        with other.transaction(read_only=True) as snapshot:
            assert numbers(snapshot) == []
            insert(store, 2)
            assert numbers(snapshot) == []
        engine.dispose()

    def test_the_host_keeps_what_it_asked_for(
        self, store: Datastore, database_url: str, make_engine: Callable[[str], sa.Engine]
    ) -> None:
        engine = make_engine(database_url)
        insert(Datastore(engine), 1)
        with engine.connect() as connection:
            connection.execute(sa.text(INSERT), {"n": 2})
        assert numbers(store) == [1, 2]
        engine.dispose()


class TestAfterTheEnd:
    @pytest.mark.parametrize("end", ["commit", "rollback"])
    @pytest.mark.parametrize(
        "verb",
        [
            lambda transaction: transaction.query("SELECT 1"),
            lambda transaction: transaction.query_one("SELECT 1"),
            lambda transaction: transaction.execute(INSERT, {"n": 1}),
            lambda transaction: transaction.batch([(INSERT, {"n": 1})]),
            lambda transaction: transaction.commit(),
            lambda transaction: transaction.rollback(),
            lambda transaction: transaction.transaction().__enter__(),
        ],
    )
    def test_no_verb_works(
        self, store: Datastore, end: str, verb: Callable[[Transaction], Any]
    ) -> None:
        with store.transaction() as transaction:
            getattr(transaction, end)()
            with pytest.raises(DatabaseError, match="over"):
                verb(transaction)
        with pytest.raises(DatabaseError, match="over"):
            verb(transaction)
        assert numbers(store) == []

    def test_a_transaction_that_was_not_entered_does_nothing(self, store: Datastore) -> None:
        with pytest.raises(DatabaseError, match="not entered"):
            store.transaction().execute(INSERT, {"n": 1})

    def test_a_transaction_is_entered_once(self, store: Datastore) -> None:
        with store.transaction() as transaction:
            pass
        with pytest.raises(DatabaseError, match="entered once"), transaction:
            pass

    @pytest.mark.parametrize("end", ["commit", "rollback"])
    def test_a_savepoint_ends_with_the_transaction_around_it(
        self, store: Datastore, end: str
    ) -> None:
        with pytest.raises(DatabaseError, match="over"), store.transaction() as outer:
            with outer.transaction() as inner:
                getattr(outer, end)()
                insert(inner, 1)
        assert numbers(store) == []

    def test_the_end_of_a_savepoint_that_is_gone_is_an_error_of_ours(
        self, store: Datastore
    ) -> None:
        with pytest.raises(DatabaseError, match="over"):
            with store.transaction() as outer, outer.transaction() as inner:
                insert(inner, 1)
                outer.rollback()
        assert numbers(store) == []
        insert(store, 2)
        assert numbers(store) == [2]


class TestSavepoints:
    def test_an_inner_failure_leaves_the_outer_changes(self, store: Datastore) -> None:
        with store.transaction() as outer:
            insert(outer, 1)
            with pytest.raises(Abort), outer.transaction() as inner:
                insert(inner, 2)
                raise Abort
            insert(outer, 3)
        assert numbers(store) == [1, 3]

    def test_an_outer_failure_undoes_the_inner_commit(self, store: Datastore) -> None:
        with pytest.raises(Abort), store.transaction() as outer:
            with outer.transaction() as inner:
                insert(inner, 1)
            raise Abort
        assert numbers(store) == []

    def test_the_first_statement_may_be_a_savepoint(self, store: Datastore) -> None:
        with pytest.raises(Abort), store.transaction() as outer, outer.transaction() as inner:
            insert(inner, 1)
            inner.commit()
            raise Abort
        assert numbers(store) == []

    def test_a_rolled_back_savepoint_takes_its_own_with_it(self, store: Datastore) -> None:
        with store.transaction() as outer:
            with outer.transaction() as middle:
                insert(middle, 1)
                with middle.transaction() as inner:
                    insert(inner, 2)
                middle.rollback()
            insert(outer, 3)
        assert numbers(store) == [3]

    def test_they_nest_deeply(self, store: Datastore) -> None:
        def nest(transaction: Transaction, depth: int) -> None:
            insert(transaction, depth)
            if depth < 20:
                with transaction.transaction() as inner:
                    nest(inner, depth + 1)

        with store.transaction() as transaction:
            nest(transaction, 1)
        assert numbers(store) == list(range(1, 21))

    def test_a_constraint_may_fail_in_one(self, store: Datastore) -> None:
        with store.transaction() as outer:
            insert(outer, 1)
            with pytest.raises(UniqueViolation), outer.transaction() as inner:
                insert(inner, 1)
            insert(outer, 2)
        assert numbers(store) == [1, 2]

    def test_a_batch_that_fails_in_one_leaves_nothing(self, store: Datastore) -> None:
        with store.transaction() as outer:
            insert(outer, 1)
            with pytest.raises(UniqueViolation), outer.transaction() as inner:
                inner.batch([(INSERT, {"n": 5}), (INSERT, {"n": 1})])
            assert numbers(outer) == [1]


class TestAfterAFailedStatement:
    def test_nothing_runs_until_the_rollback(self, store: Datastore) -> None:
        with pytest.raises(DatabaseError, match="had failed"), store.transaction() as transaction:
            insert(transaction, 1)
            with pytest.raises(UniqueViolation):
                insert(transaction, 1)
            for verb in (
                lambda: numbers(transaction),
                lambda: insert(transaction, 2),
                lambda: transaction.transaction().__enter__(),
                transaction.commit,
            ):
                with pytest.raises(DatabaseError, match="roll it back"):
                    verb()
        assert numbers(store) == []

    def test_a_rollback_ends_it_in_peace(self, store: Datastore) -> None:
        with store.transaction() as transaction:
            insert(transaction, 1)
            with pytest.raises(UniqueViolation):
                insert(transaction, 1)
            transaction.rollback()
        assert numbers(store) == []

    def test_a_batch_is_all_or_nothing_within_a_transaction_too(self, store: Datastore) -> None:
        with store.transaction() as transaction:
            with pytest.raises(UniqueViolation):
                transaction.batch([(INSERT, {"n": 1}), (INSERT, {"n": 1})])
            insert(transaction, 2)
        assert numbers(store) == [2]

    def test_a_failure_in_a_savepoint_holds_the_outer_back_too(self, store: Datastore) -> None:
        with store.transaction() as outer:
            with outer.transaction() as inner:
                with pytest.raises(UniqueViolation):
                    inner.execute(INSERT, [{"n": 1}, {"n": 1}])
                with pytest.raises(DatabaseError, match="roll it back"):
                    insert(outer, 2)
                inner.rollback()
            insert(outer, 3)
        assert numbers(store) == [3]

    @pytest.mark.parametrize(
        ("statement", "params"),
        [
            ("SELECT FROM WHERE", None),
            ("SELECT * FROM absent", None),
            ("SELECT absent FROM numbers", None),
            (INSERT, {"n": 2**70}),
        ],
    )
    def test_every_failure_of_the_database_counts(
        self, store: Datastore, statement: str, params: Any
    ) -> None:
        with store.transaction() as transaction:
            insert(transaction, 1)
            with pytest.raises(DatastoreError):
                transaction.execute(statement, params)
            with pytest.raises(DatabaseError, match="roll it back"):
                insert(transaction, 2)
            transaction.rollback()


class TestReadOnly:
    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO numbers (n) VALUES (9)",
            "UPDATE numbers SET n = 9",
            "DELETE FROM numbers",
            "CREATE TABLE other (x INTEGER)",
            "DROP TABLE numbers",
        ],
    )
    def test_writes_are_refused(self, store: Datastore, statement: str) -> None:
        insert(store, 1)
        with store.transaction(read_only=True) as transaction:
            with pytest.raises(ReadOnlyError):
                transaction.execute(statement)
            transaction.rollback()
        assert numbers(store) == [1]
        insert(store, 2)

    def test_a_savepoint_in_it_refuses_writes_too(self, store: Datastore) -> None:
        with store.transaction(read_only=True) as outer:
            with pytest.raises(ReadOnlyError), outer.transaction() as inner:
                insert(inner, 1)
            assert numbers(outer) == []

    def test_it_sees_one_snapshot_while_others_write(self, store: Datastore) -> None:
        insert(store, 1)
        with store.transaction(read_only=True) as transaction:
            assert numbers(transaction) == [1]
            insert(store, 2)
            with store.transaction() as writer:
                insert(writer, 3)
            assert numbers(transaction) == [1]
        assert numbers(store) == [1, 2, 3]

    def test_it_never_waits_for_a_writer(self, store: Datastore) -> None:
        insert(store, 1)
        seen: list[list[int]] = []

        def read() -> None:
            with store.transaction(read_only=True) as transaction:
                seen.append(numbers(transaction))

        with store.transaction() as writer:
            writer.execute("UPDATE numbers SET n = n + 1")
            reader = threading.Thread(target=read)
            reader.start()
            reader.join(10)
            assert not reader.is_alive()
        assert seen == [[1]]

    def test_the_connections_write_again_afterwards(self, store: Datastore) -> None:
        for n in range(12):
            with store.transaction(read_only=True) as transaction:
                numbers(transaction)
            insert(store, n)
            with store.engine.begin() as connection:
                connection.execute(sa.text(INSERT), {"n": 100 + n})
        assert len(numbers(store)) == 24
