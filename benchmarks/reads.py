"""Single rows, vectors in bulk, and writers that meet."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median
from typing import Any

import psycopg
import sqlalchemy as sa

from benchmarks.case import (
    Bar,
    Case,
    Condition,
    Outcome,
    Target,
    outcome_of_rates,
    outcome_of_times,
    rate,
    times,
)
from benchmarks.data import synthetic_vectors
from benchmarks.ingest import DIMENSIONS, copy_vectors, items
from benchmarks.measure import Contestant, measure
from benchmarks.workbench import Workbench, settle
from datastore import Datastore, Text

_notes = sa.MetaData()
notes = sa.Table(
    "notes",
    _notes,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", Text(), nullable=False, unique=True),
    sa.Column("line", sa.Integer, nullable=False),
    sa.Column("weight", sa.Double, nullable=False),
    sa.Column("body", Text(), nullable=False),
)
counters = sa.Table("counters", _notes, sa.Column("value", sa.Integer, nullable=False))
ROWS = 10_000
BY_KEY = sa.select(notes).where(notes.c.key == sa.bindparam("key"))
INSERT = sa.insert(notes)
WRITERS = 8


def note(number: int) -> dict[str, Any]:
    """Return a row."""
    return {"id": number, "key": f"note-{number}", "line": 1, "weight": 0.5, "body": "text " * 40}


def with_notes(bench: Workbench, store: Datastore) -> Datastore:
    """Fill the table that single rows are read from."""
    store.execute(INSERT, [note(number) for number in range(ROWS)])
    return settle(bench, store)


def vector_read(bench: Workbench) -> Outcome:
    """Read all vectors of a table."""
    size = bench.size(3_000, 500)
    store = bench.postgresql(items.metadata)
    raw = bench.raw_postgresql(store)
    copy_vectors(raw, "items", synthetic_vectors(size, DIMENSIONS).stored)
    statement = sa.select(items.c.id, items.c.embedding)

    def read(_: object) -> Any:
        with raw.cursor(binary=True) as cursor:
            return cursor.execute("SELECT id, embedding FROM items").fetchall()

    measured = measure(
        [
            Contestant("datastore, query", lambda _: store.query(statement)),
            Contestant("psycopg, binary", read),
        ],
        rounds=bench.rounds * 2,
    )
    return outcome_of_rates(measured, size, [f"{size:,} vectors of {DIMENSIONS}"])


def single_row(bench: Workbench, engine: str, *, within: bool) -> Outcome:
    """Read one row by its key, `within` a transaction or by itself."""
    if engine == "sqlite":
        store = bench.kept("sqlite", lambda: with_notes(bench, bench.sqlite(_notes)))
        raw: Any = bench.raw_sqlite(store)
        peer = _raw_row(raw, "SELECT * FROM notes WHERE key = ?")
    else:
        store = bench.kept("postgresql", lambda: with_notes(bench, bench.postgresql(_notes)))
        raw = bench.raw_postgresql(store)
        peer = _raw_row(raw, "SELECT * FROM notes WHERE key = %s")
    with ExitStack() as stack:
        session: Any = store
        if within:
            session = stack.enter_context(store.transaction(read_only=True))
            raw.execute("BEGIN")
            stack.callback(raw.execute, "ROLLBACK")
        keys = [f"note-{number}" for number in range(0, ROWS, ROWS // bench.size(1_000, 200))]
        measured = measure(
            [
                Contestant("datastore", lambda key: session.query_one(BY_KEY, {"key": key})),
                Contestant("sqlite3" if engine == "sqlite" else "psycopg", peer),
                Contestant("SQLAlchemy Core alone", _core_row(store, stack, within=within)),
            ],
            keys,
            bench.rounds,
        )
    return outcome_of_times(
        measured, notes=["a unique text of 5 columns, the statement prepared on both sides"]
    )


def _core_row(store: Datastore, stack: ExitStack, *, within: bool) -> Callable[[str], Any]:
    """Read by an engine of SQLAlchemy without the library, in autocommit where by itself."""
    level = {} if within else {"isolation_level": "AUTOCOMMIT"}
    engine = sa.create_engine(store.engine.url, module=store.engine.dialect.dbapi, **level)
    stack.callback(engine.dispose)
    if within:
        connection = stack.enter_context(engine.connect())
        return lambda key: connection.execute(BY_KEY, {"key": key}).mappings().first()

    def read(key: str) -> Any:
        with engine.connect() as connection:
            return connection.execute(BY_KEY, {"key": key}).mappings().first()

    return read


def _raw_row(raw: Any, statement: str) -> Callable[[str], Any]:
    if isinstance(raw, psycopg.Connection):
        return lambda key: raw.execute(statement, (key,), prepare=True).fetchone()
    return lambda key: raw.execute(statement, (key,)).fetchone()


def write_transaction(bench: Workbench) -> Outcome:
    """Insert one row in a transaction of its own."""
    store = bench.kept("sqlite", lambda: with_notes(bench, bench.sqlite(_notes)))
    raw = bench.raw_sqlite(store)
    statement = "INSERT INTO notes VALUES (:id, :key, :line, :weight, :body)"

    def clear() -> None:
        raw.execute(f"DELETE FROM notes WHERE id >= {ROWS}")

    def ours(row: dict[str, Any]) -> None:
        with store.transaction() as transaction:
            transaction.execute(INSERT, row)

    def bare(row: dict[str, Any]) -> None:
        raw.execute("BEGIN IMMEDIATE")
        raw.execute(statement, row)
        raw.execute("COMMIT")

    measured = measure(
        [
            Contestant("datastore, transaction()", ours, clear),
            Contestant("sqlite3", bare, clear),
            Contestant("datastore, execute()", lambda row: store.execute(INSERT, row), clear),
        ],
        [note(ROWS + number) for number in range(bench.size(1_000, 200))],
        bench.rounds,
    )
    return outcome_of_times(measured, notes=["WAL, synchronous=NORMAL on both sides"])


def writers(bench: Workbench) -> Outcome:
    """Let threads read a counter, insert a row and set the counter, each in transactions."""
    transactions = bench.size(150, 50)
    pairs = [
        (_ours_at_once(bench, transactions), _bare_at_once(bench, transactions))
        for _ in range(bench.rounds)
    ]
    ours, bare = zip(*pairs, strict=True)
    longest = [figures["longest"] * 1e3 for figures in ours]
    speed = [median(figures["rate"] for figures in side) for side in (ours, bare)]
    lost = [WRITERS * transactions - figures["counted"] for figures in ours]
    return Outcome(
        median(longest),
        [
            Bar("datastore", median(longest)),
            Bar("sqlite3, in its busy loop", median(figures["longest"] * 1e3 for figures in bare)),
        ],
        "ms",
        (min(longest), max(longest)),
        [
            Condition("errors", sum(figures["errors"] for figures in ours), Target("≤", 0)),
            Condition("lost updates", sum(lost), Target("≤", 0)),
        ],
        [
            f"{WRITERS} threads, {transactions} transactions each, to read, insert and update; "
            f"per second {speed[0]:,.0f} beside {speed[1]:,.0f}"
        ],
    )


def _ours_at_once(bench: Workbench, transactions: int) -> dict[str, float]:
    store = bench.sqlite(_notes)
    store.execute(sa.insert(counters), {"value": 0})
    read, write = sa.select(counters.c.value), sa.update(counters).values(value=sa.bindparam("to"))

    def once(number: int) -> float:
        start = time.perf_counter()
        with store.transaction() as transaction:
            waited = time.perf_counter() - start
            found = transaction.query(read)[0]["value"]
            transaction.execute(INSERT, note(number))
            transaction.execute(write, {"to": found + 1})
        return waited

    figures = _at_once(transactions, lambda: once)
    return figures | {"counted": store.query(read)[0]["value"]}


def _bare_at_once(bench: Workbench, transactions: int) -> dict[str, float]:
    store = bench.sqlite(_notes)
    store.execute(sa.insert(counters), {"value": 0})

    def writer() -> Callable[[int], float]:
        raw = bench.raw_sqlite(store)

        def once(number: int) -> float:
            start = time.perf_counter()
            raw.execute("BEGIN IMMEDIATE")
            waited = time.perf_counter() - start
            (found,) = raw.execute("SELECT value FROM counters").fetchone()
            row = note(number)
            raw.execute("INSERT INTO notes VALUES (:id, :key, :line, :weight, :body)", row)
            raw.execute("UPDATE counters SET value = ?", (found + 1,))
            raw.execute("COMMIT")
            return waited

        return once

    return _at_once(transactions, writer)


def _at_once(transactions: int, writer: Callable[[], Callable[[int], float]]) -> dict[str, float]:
    """Run the transactions of all threads; return longest wait, errors and rate."""
    waits: list[float] = []
    errors: list[Exception] = []
    gate = threading.Barrier(WRITERS + 1)

    def work(place: int, once: Callable[[int], float]) -> None:
        gate.wait()
        for number in range(transactions):
            try:
                waits.append(once(place * transactions + number))
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=work, args=(n, writer())) for n in range(WRITERS)]
    for thread in threads:
        thread.start()
    gate.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    return {
        "longest": max(waits),
        "errors": len(errors),
        "rate": WRITERS * transactions / seconds,
    }


CORE = (
    "SQLite answers in a few microseconds, and SQLAlchemy Core alone takes about all that the "
    "target allows, or more"
)

CASES = [
    Case("vector-read", "Read of vectors, PostgreSQL", "psycopg, binary", rate(0.8), vector_read,
         "each row becomes one of SQLAlchemy's, which takes 2 µs beside the 6 of psycopg"),
    Case("row-postgresql", "One row by key, PostgreSQL", "psycopg", times(3.5),
         lambda bench: single_row(bench, "postgresql", within=False),
         "where psycopg takes 40 µs, SQLAlchemy Core with its pool alone takes 3.4 times as long; "
         "the rest is the switch to autocommit and back, and the translation of errors"),
    Case("row-within-postgresql", "One row by key in a transaction, PostgreSQL", "psycopg",
         times(3.5), lambda bench: single_row(bench, "postgresql", within=True)),
    Case("row-sqlite", "One row by key, SQLite", "sqlite3", times(5),
         lambda bench: single_row(bench, "sqlite", within=False), CORE),
    Case("row-within-sqlite", "One row by key in a transaction, SQLite", "sqlite3",
         times(5), lambda bench: single_row(bench, "sqlite", within=True), CORE),
    Case("write-sqlite", "One-row write transaction, SQLite", "sqlite3", times(6),
         write_transaction,
         "a connection, a transaction and a statement have a fixed cost in Python, several times "
         "what SQLite itself takes"),
    Case("writers-sqlite", "Longest wait of eight writers, SQLite", "sqlite3",
         Target("≤", 50, "ms"), writers,
         "the lock between threads keeps no order, and they share the interpreter: a busy machine "
         "makes one of them wait"),
]  # fmt: skip
