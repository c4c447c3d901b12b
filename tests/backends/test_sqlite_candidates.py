"""The images of vectors that a process keeps, beside any client that writes the file."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from datastore import Datastore, Settings, Vector, VectorIndex
from datastore.backends.sqlite import SQLiteBackend, indexes
from datastore.backends.sqlite.candidates import LATE, TAIL, Candidates
from datastore.types import FloatVector

ROWS, DIMENSIONS = 2000, 64
metadata = sa.MetaData()
notes = sa.Table(
    "notes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Integer, nullable=False),
    sa.Column("embedding", Vector(DIMENSIONS), nullable=False),
)
by_meaning = VectorIndex("notes_by_meaning", notes.c.embedding)
LOG = "notes_by_meaning_log"


def vectors(count: int, seed: int) -> list[FloatVector]:
    """Vectors around twenty directions; no two are alike."""
    generator = np.random.default_rng(seed)
    centers = np.random.default_rng(0).standard_normal((20, DIMENSIONS))
    noise = 0.3 * generator.standard_normal((count, DIMENSIONS))
    return list((centers[generator.integers(0, 20, count)] + noise).astype("<f4"))


def opened(path: Path, **search: Any) -> Datastore:
    settings = Settings.load(url=f"sqlite:///{path}", search={"exact_floats": 1000, **search})
    return Datastore.open(settings)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "notes.db"
    with opened(path) as store:
        metadata.create_all(store.engine)
        rows = [
            {"id": number, "kind": number % 7, "embedding": vector}
            for number, vector in enumerate(vectors(ROWS, 1), 1)
        ]
        store.execute(notes.insert(), rows)
    return path


@pytest.fixture
def store(path: Path) -> Iterator[Datastore]:
    with opened(path) as store:
        yield store


def candidates(store: Datastore) -> Candidates:
    assert isinstance(store.backend, SQLiteBackend)
    return store.backend._candidates


def first(session: Any, vector: FloatVector, **options: Any) -> tuple[int, str]:
    found = session.vector_search(notes, "embedding", vector, 4, **options)
    return found[0].id, found.method


def add(session: Any, number: int, vector: FloatVector) -> None:
    session.execute(notes.insert(), {"id": number, "kind": 0, "embedding": vector})


def test_the_first_search_makes_the_image(store: Datastore) -> None:
    assert candidates(store).used() == 0
    assert first(store, vectors(ROWS, 1)[41]) == (42, "approximate")
    assert candidates(store).used() > 0


def test_few_changes_are_searched_without_a_new_image(store: Datastore) -> None:
    store.optimize()
    before = candidates(store)._images.copy()
    for number, vector in enumerate(vectors(5, 2), 10_000):
        add(store, number, vector)
        assert first(store, vector) == (number, "approximate")
    assert candidates(store)._images == before


def test_many_changes_are_taken_into_the_image(store: Datastore) -> None:
    store.optimize()
    (before,) = candidates(store)._images.values()
    fresh = vectors(TAIL + 1, 2)
    rows = [{"id": 10_000 + n, "kind": 0, "embedding": v} for n, v in enumerate(fresh)]
    store.execute(notes.insert(), rows)
    assert first(store, fresh[-1]) == (10_000 + TAIL, "approximate")
    (after,) = candidates(store)._images.values()
    assert after.seq > before.seq
    assert after.codes is not None
    assert after.codes.keys.size == ROWS + TAIL + 1


def test_deleted_and_changed_rows_are_gone_at_once(store: Datastore) -> None:
    store.optimize()
    old = vectors(ROWS, 1)
    store.execute(notes.delete().where(notes.c.id == 42))
    assert first(store, old[41])[0] != 42
    store.execute(notes.update().where(notes.c.id == 43).values(embedding=vectors(1, 3)[0]))
    assert first(store, old[42])[0] != 43
    assert first(store, vectors(1, 3)[0])[0] == 43


def test_a_key_that_changes_takes_its_vector_along(store: Datastore) -> None:
    store.optimize()
    store.execute(notes.update().where(notes.c.id == 42).values(id=77_777))
    assert first(store, vectors(ROWS, 1)[41]) == (77_777, "approximate")


def test_a_transaction_finds_what_it_wrote_and_nobody_else_does(store: Datastore) -> None:
    store.optimize()
    vector = vectors(1, 2)[0]
    with store.transaction() as transaction:
        add(transaction, 10_000, vector)
        assert first(transaction, vector) == (10_000, "approximate")
        assert first(store, vector)[0] != 10_000
        transaction.rollback()
    assert first(store, vector)[0] != 10_000


def test_a_number_that_a_rollback_gave_back_is_read_again(store: Datastore) -> None:
    store.optimize()
    undone, kept = vectors(2, 2)
    with store.transaction() as transaction:
        add(transaction, 10_000, undone)
        first(transaction, undone)
        transaction.rollback()
    add(store, 20_000, kept)
    assert first(store, kept) == (20_000, "approximate")


def test_an_older_snapshot_finds_what_it_has(store: Datastore) -> None:
    store.optimize()
    old, fresh = vectors(ROWS, 1)[41], vectors(TAIL + 1, 2)
    with store.transaction(read_only=True) as snapshot:
        assert first(snapshot, old)[0] == 42
        store.execute(notes.delete().where(notes.c.id == 42))
        rows = [{"id": 10_000 + n, "kind": 0, "embedding": v} for n, v in enumerate(fresh)]
        store.execute(notes.insert(), rows)
        assert first(store, fresh[0])[0] == 10_000  # and takes all that into the image
        assert first(snapshot, old) == (42, "approximate")
        assert first(snapshot, old, filter=notes.c.kind >= 0) == (42, "approximate")
        assert first(snapshot, fresh[0])[0] < 10_000


def test_a_snapshot_older_than_what_is_remembered_is_searched_exactly(store: Datastore) -> None:
    store.optimize()
    old = vectors(ROWS, 1)[41]
    with store.transaction(read_only=True) as snapshot:
        assert first(snapshot, old)[0] == 42
        for _ in range(2):
            store.execute("UPDATE notes SET embedding = embedding")
            first(store, old)
        store.execute(
            "INSERT INTO notes_by_meaning_log(key) SELECT NULL FROM notes AS a, notes AS b LIMIT :n",
            {"n": LATE + 1},
        )
        store.execute("UPDATE notes SET embedding = embedding")
        store.execute("DELETE FROM notes WHERE id = 42")
        first(store, old)
        assert first(snapshot, old)[0] == 42


def test_a_log_that_does_not_reach_back_means_that_every_row_is_measured(store: Datastore) -> None:
    store.optimize()
    vector = vectors(1, 2)[0]
    with store.transaction() as transaction:
        add(transaction, 10_000, vector)
        newest = transaction.query_one(f"SELECT max(seq) AS n FROM {LOG}")
        assert newest is not None
        transaction.execute(f"INSERT INTO {LOG}(seq) VALUES (:n)", {"n": newest["n"] + 1})
        transaction.execute(f"DELETE FROM {LOG} WHERE seq <= :n", {"n": newest["n"]})
        assert first(transaction, vector) == (10_000, "exact")


def test_the_log_keeps_a_bounded_number_of_changes(
    store: Datastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = indexes.LOG_LENGTH + 2 * indexes.LOG_TRIMMED_EVERY
    for _ in range(changes // ROWS + 1):
        store.execute("UPDATE notes SET embedding = embedding")
    row = store.query_one(f"SELECT count(*) AS n FROM {LOG}")
    assert row is not None
    assert indexes.LOG_LENGTH <= row["n"] <= indexes.LOG_LENGTH + indexes.LOG_TRIMMED_EVERY
    assert first(store, vectors(ROWS, 1)[41]) == (42, "approximate")


def test_a_log_made_anew_is_not_taken_for_the_old_one(store: Datastore, path: Path) -> None:
    store.optimize()
    vector = vectors(1, 2)[0]
    with opened(path) as other, other.engine.begin() as connection:
        by_meaning.drop(connection)
        connection.execute(notes.delete())
        connection.execute(notes.insert(), {"id": 1, "kind": 0, "embedding": vector})
        by_meaning.create(connection)
    found = store.vector_search(notes, "embedding", vector, 4)
    assert [hit.id for hit in found] == [1]


def test_any_client_of_sqlite_keeps_the_log(store: Datastore, path: Path) -> None:
    store.optimize()
    vector = vectors(1, 2)[0]
    with sqlite3.connect(path) as plain:
        plain.execute("INSERT INTO notes VALUES (10000, 0, ?)", (vector.tobytes(),))
        plain.execute("DELETE FROM notes WHERE id = 42")
    plain.close()
    assert first(store, vector) == (10_000, "approximate")
    assert first(store, vectors(ROWS, 1)[41])[0] != 42


def test_images_beyond_the_memory_allowed_are_not_made(path: Path) -> None:
    with opened(path, memory=1) as store:
        store.backend.search_settings = None
        limit = type(store.backend).memory_limit
        try:
            type(store.backend).memory_limit = property(lambda _: 1000)  # type: ignore[assignment, method-assign]
            assert first(store, vectors(ROWS, 1)[41]) == (42, "exact")
        finally:
            type(store.backend).memory_limit = limit  # type: ignore[method-assign]
        assert candidates(store).used() == 0


def test_few_vectors_are_all_measured(path: Path) -> None:
    with opened(path, exact_floats=ROWS * DIMENSIONS) as store:
        store.optimize()
        assert first(store, vectors(ROWS, 1)[41]) == (42, "exact")


def test_vectors_of_other_lengths_than_one_are_measured_by_other_metrics(store: Datastore) -> None:
    """Signs know nothing of lengths."""
    store.optimize()
    vector = vectors(ROWS, 1)[41]
    assert first(store, vector, metric="l2") == (42, "exact")
    unit = [v / np.linalg.norm(v) for v in vectors(ROWS, 1)]
    for number, direction in enumerate(unit, 1):
        store.execute(notes.update().where(notes.c.id == number).values(embedding=direction))
    store.optimize()
    assert first(store, unit[41], metric="l2") == (42, "approximate")


def test_threads_search_while_one_writes(store: Datastore) -> None:
    store.optimize()
    known, failures = vectors(ROWS, 1), []
    stop = threading.Event()

    def search(seed: int) -> None:
        chance = random.Random(seed)
        while not stop.is_set():
            number = chance.randrange(1000, ROWS)
            if first(store, known[number - 1])[0] != number:
                failures.append(number)

    threads = [threading.Thread(target=search, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for vector_seed in range(20):
        fresh = vectors(100, 100 + vector_seed)
        rows = [
            {"id": 10_000 + 100 * vector_seed + n, "kind": 0, "embedding": v}
            for n, v in enumerate(fresh)
        ]
        store.execute(notes.insert(), rows)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a forked child needs fork()")
def test_a_forked_child_reads_by_a_connection_of_its_own(store: Datastore) -> None:
    store.optimize()
    child = os.fork()
    if child == 0:
        try:
            rows = [
                {"id": 10_000 + n, "kind": 0, "embedding": v}
                for n, v in enumerate(vectors(TAIL + 1, 2))
            ]
            store.execute(notes.insert(), rows)
            found = first(store, vectors(TAIL + 1, 2)[7])
            os._exit(0 if found == (10_007, "approximate") else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert first(store, vectors(TAIL + 1, 2)[9])[0] == 10_009


# Writes with nothing but the standard library, so without any function or setting of ours.
WRITER = """
import random, sqlite3, struct, sys, time
path, seed, until = sys.argv[1], int(sys.argv[2]), time.time() + float(sys.argv[3])
chance = random.Random(seed)
connection = sqlite3.connect(path, timeout=30, isolation_level=None)
def vector():
    return struct.pack("<64f", *(chance.gauss(0, 1) for _ in range(64)))
def change():
    kind = chance.randrange(5)
    number = chance.randrange(1, 4000)
    if kind == 0:
        connection.execute("DELETE FROM notes WHERE id = ?", (number,))
    elif kind == 1:
        connection.execute("UPDATE notes SET embedding = ? WHERE id = ?", (vector(), number))
    elif kind == 2:
        connection.execute("UPDATE OR IGNORE notes SET id = ? WHERE id = ?",
                           (chance.randrange(1, 4000), number))
    elif kind == 3:
        connection.execute("INSERT OR REPLACE INTO notes VALUES (?, 0, ?)", (number, vector()))
    else:
        connection.execute("INSERT INTO notes VALUES (?, 0, ?) ON CONFLICT (id) DO UPDATE "
                           "SET embedding = excluded.embedding", (number, vector()))
while time.time() < until:
    connection.execute("BEGIN IMMEDIATE")
    for _ in range(chance.choice([1, 3, 40, 400])):
        if chance.random() < 0.1:
            connection.execute("SAVEPOINT s")
            change()
            connection.execute("ROLLBACK TO s" if chance.random() < 0.5 else "RELEASE s")
        else:
            change()
    if chance.random() < 0.05:
        connection.execute("DELETE FROM notes_by_meaning_log WHERE seq < "
                           "(SELECT max(seq) - 300 FROM notes_by_meaning_log)")
    connection.execute("ROLLBACK" if chance.random() < 0.4 else "COMMIT")
    time.sleep(chance.random() / 50)
"""


def test_no_row_is_missed_while_other_processes_write_and_roll_back(path: Path) -> None:
    """A probe takes any row of a snapshot, and must find it by its own vector."""
    seconds = 8.0
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(seed), str(seconds)])
        for seed in range(2)
    ]
    chance, methods, until = random.Random(5), set(), time.monotonic() + seconds - 1
    with opened(path) as store:
        while time.monotonic() < until:
            with store.transaction(read_only=True) as snapshot:
                count = snapshot.query_one("SELECT count(*) AS n FROM notes")
                assert count is not None
                for _ in range(chance.choice([1, 20])):
                    methods.add(probe(snapshot, chance, count["n"]))
    assert [writer.wait() for writer in writers] == [0, 0]
    assert "approximate" in methods


def probe(snapshot: Any, chance: random.Random, count: int) -> str:
    row = snapshot.query_one(
        sa.select(notes).order_by(notes.c.id).limit(1).offset(chance.randrange(count))
    )
    filter = None if chance.random() < 0.7 else notes.c.kind == row["kind"]
    found = snapshot.vector_search(notes, "embedding", row["embedding"], 4, filter=filter)
    assert row["id"] in [hit.id for hit in found], (row["id"], found.method)
    held = snapshot.query(sa.select(notes.c.id).where(notes.c.id.in_([hit.id for hit in found])))
    assert len(held) == len(found) == 4
    return str(found.method)
