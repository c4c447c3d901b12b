"""Loading rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg
import sqlalchemy as sa
from pgvector.sqlalchemy import VECTOR

from benchmarks.case import Case, Outcome, outcome_of_rates, outcome_of_times, rate, times
from benchmarks.data import rfc_chunks, synthetic_vectors
from benchmarks.measure import Contestant, measure
from benchmarks.workbench import WireVector, Workbench, drain
from datastore import Datastore, Text, Vector, VectorIndex
from repositories import Chunk, ChunkRepository
from repositories.chunks import content_hash

DIMENSIONS = 1536

_vectors = sa.MetaData()
items = sa.Table(
    "items",
    _vectors,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("embedding", Vector(DIMENSIONS), nullable=False),
)
VectorIndex("items_vectors", items.c.embedding)

_notes = sa.MetaData()
notes = sa.Table(
    "notes",
    _notes,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", Text(), nullable=False),
    sa.Column("path", Text(), nullable=False),
    sa.Column("line", sa.Integer, nullable=False),
    sa.Column("weight", sa.Double, nullable=False),
    sa.Column("body", Text(), nullable=False),
)

CHUNK_COLUMNS = (
    "namespace",
    "id",
    "path",
    "start_line",
    "end_line",
    "content",
    "content_hash",
    "metadata",
    "created_at",
)


def vectors_postgresql(bench: Workbench, method: str) -> Outcome:
    """Load vectors by `method`, beside two ways of bare COPY."""
    size = bench.size(3_000, 500)
    vectors = synthetic_vectors(size, DIMENSIONS).stored
    store = bench.kept("items", lambda: bench.postgresql(_vectors))
    raw = bench.raw_postgresql(store)
    raw.execute("DROP TABLE IF EXISTS bare")
    raw.execute("CREATE TABLE bare (id integer PRIMARY KEY, embedding vector(1536) NOT NULL)")
    rows = [{"id": number, "embedding": vector} for number, vector in enumerate(vectors)]
    ways: dict[str, Callable[[Any], object]] = {
        "insert_many": lambda _: store.insert_many(items, rows),
        "executemany": lambda _: store.execute(sa.insert(items), rows),
    }
    measured = measure(
        [
            Contestant(f"datastore, {method}", ways[method], drain(raw, "items")),
            Contestant("COPY BINARY, same table", lambda _: copy_vectors(raw, "items", vectors),
                       drain(raw, "items")),
            Contestant("COPY BINARY, table without a check of vectors",
                       lambda _: copy_vectors(raw, "bare", vectors), drain(raw, "bare")),
        ],
        rounds=bench.rounds,
    )  # fmt: skip
    return outcome_of_rates(measured, size, [f"{size:,} vectors of {DIMENSIONS}, synthetic"])


def copy_vectors(raw: psycopg.Connection[Any], table: str, vectors: np.ndarray) -> None:
    """Load vectors as a hand-written program would."""
    with raw.transaction(), raw.cursor() as cursor:
        statement = f"COPY {table} (id, embedding) FROM STDIN (FORMAT BINARY)"
        with cursor.copy(statement.encode()) as copy:
            copy.set_types(["int4", "vector"])
            for number, vector in enumerate(vectors):
                copy.write_row((number, WireVector(vector)))


def vectors_beside_pgvector_sqlalchemy(bench: Workbench) -> Outcome:
    """Load vectors beside the SQLAlchemy type of pgvector."""
    size = bench.size(1_000, 200)
    vectors = synthetic_vectors(size, DIMENSIONS).stored
    store = bench.kept("items", lambda: bench.postgresql(_vectors))
    raw = bench.raw_postgresql(store)
    peer = sa.Table(
        "items",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("embedding", VECTOR(DIMENSIONS)),
    )
    engine = sa.create_engine(store.engine.url)
    rows = [{"id": number, "embedding": vector} for number, vector in enumerate(vectors)]

    def load(_: object) -> None:
        with engine.begin() as connection:
            connection.execute(sa.insert(peer), rows)

    measured = measure(
        [
            Contestant("datastore, insert_many", lambda _: store.insert_many(items, rows),
                       drain(raw, "items")),
            Contestant("pgvector.sqlalchemy, executemany", load, drain(raw, "items")),
        ],
        rounds=bench.rounds,
    )  # fmt: skip
    engine.dispose()
    return outcome_of_rates(measured, size, [f"{size:,} vectors of {DIMENSIONS}, synthetic"])


def chunks_of(texts: Sequence[str]) -> list[Chunk]:
    """Make chunks of texts."""
    return [
        Chunk(f"chunk-{number}", f"texts/{number // 20}.md", 1, 2, text)
        for number, text in enumerate(texts)
    ]


def chunk_rows(chunks: Sequence[Chunk], moment: Any) -> list[tuple[Any, ...]]:
    """Return the rows of chunks in the order of `CHUNK_COLUMNS`, ready to be sent."""
    return [
        ("default", c.id, c.path, 1, 2, c.content, content_hash(c.content), "{}", moment)
        for c in chunks
    ]


def chunks_postgresql(bench: Workbench) -> Outcome:
    """Load chunks with text into the table that the migrations make."""
    chunks = chunks_of(rfc_chunks()[: bench.size(5_000, 500)])
    store = bench.postgresql()
    raw = bench.raw_postgresql(store)
    repository = ChunkRepository(store)
    rows = chunk_rows(chunks, datetime.now(UTC))

    def copy(_: object) -> None:
        statement = f"COPY chunks ({', '.join(CHUNK_COLUMNS)}) FROM STDIN"
        with raw.transaction(), raw.cursor() as cursor, cursor.copy(statement.encode()) as out:
            for row in rows:
                out.write_row(row)

    measured = measure(
        [
            Contestant("datastore, add_many", lambda _: repository.add_many(chunks),
                       drain(raw, "chunks")),
            Contestant("COPY, same table", copy, drain(raw, "chunks")),
        ],
        rounds=bench.rounds,
    )  # fmt: skip
    return outcome_of_rates(measured, len(chunks), [f"{len(chunks):,} chunks of the Rust RFCs"])


def rows_sqlite(bench: Workbench) -> Outcome:
    """Load rows without a search index."""
    size = 20_000
    store = bench.sqlite(_notes)
    raw = bench.raw_sqlite(store)
    names = [column.name for column in notes.columns]
    values = [
        (number, f"note-{number}", f"notes/{number // 20}.md", number, 0.5, f"{number} " * 50)
        for number in range(size)
    ]
    rows = [dict(zip(names, row, strict=True)) for row in values]
    statement = f"INSERT INTO notes VALUES ({', '.join('?' * len(names))})"

    def empty() -> None:
        clear(raw, "notes")

    measured = measure(
        [
            Contestant("datastore, insert_many", lambda _: store.insert_many(notes, rows), empty),
            Contestant("sqlite3, executemany", lambda _: load(raw, statement, values), empty),
            Contestant("datastore, executemany",
                       lambda _: store.execute(sa.insert(notes), rows), empty),
        ],
        rounds=bench.rounds,
    )  # fmt: skip
    return outcome_of_times(measured, notes=[f"{size:,} rows of 6 columns, about 300 bytes"])


def load(raw: Any, statement: str, values: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows in one transaction of a bare connection."""
    raw.execute("BEGIN IMMEDIATE")
    raw.executemany(statement, values)
    raw.execute("COMMIT")


def clear(raw: Any, table: str, full_text: str = "") -> None:
    """Empty a table, its full text (which else keeps a mark for each row deleted) and the WAL."""
    raw.execute(f"DELETE FROM {table}")
    if full_text:
        raw.execute(f"INSERT INTO {full_text}({full_text}) VALUES ('rebuild')")
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def chunks_sqlite(bench: Workbench) -> Outcome:
    """Load chunks with their full text, beside the same rows without."""
    chunks = chunks_of(rfc_chunks()[: bench.size(5_000, 500)])
    store = bench.sqlite()
    raw, bare, afterwards = bench.raw_sqlite(store), bench.raw_sqlite(), bench.raw_sqlite()
    for connection in (bare, afterwards):
        _without_full_text(store, connection)
    (create,) = raw.execute("SELECT sql FROM sqlite_master WHERE name = 'chunk_text'").fetchone()
    afterwards.execute(create)
    repository, rows = ChunkRepository(store), chunk_rows(chunks, 0)
    marks = ", ".join("?" * len(CHUNK_COLUMNS))
    statement = f"INSERT INTO chunks ({', '.join(CHUNK_COLUMNS)}) VALUES ({marks})"

    def load_and_build(_: object) -> None:
        load(afterwards, statement, rows)
        afterwards.execute("INSERT INTO chunk_text(chunk_text) VALUES ('rebuild')")

    measured = measure(
        [
            Contestant("datastore, add_many", lambda _: repository.add_many(chunks),
                       lambda: clear(raw, "chunks", "chunk_text")),
            Contestant("sqlite3, executemany, no full text",
                       lambda _: load(bare, statement, rows),
                       lambda: clear(bare, "chunks")),
            Contestant("sqlite3, executemany, same table with FTS5",
                       lambda _: load(raw, statement, rows),
                       lambda: clear(raw, "chunks", "chunk_text")),
            Contestant("sqlite3, executemany, FTS5 built afterwards", load_and_build,
                       lambda: clear(afterwards, "chunks", "chunk_text")),
        ],
        rounds=bench.rounds,
    )  # fmt: skip
    return outcome_of_times(measured, notes=[f"{len(chunks):,} chunks of the Rust RFCs"])


def _without_full_text(store: Datastore, bare: Any) -> None:
    """Make the table of chunks and its ordinary indexes, as they are in `store`."""
    for row in store.query(
        "SELECT sql FROM sqlite_master WHERE tbl_name = 'chunks' AND sql IS NOT NULL "
        "AND type IN ('table', 'index') ORDER BY type DESC"
    ):
        bare.execute(row["sql"])


CASES = [
    Case("vectors-copy", "Bulk load of vectors, PostgreSQL", "psycopg, COPY BINARY",
         rate(0.9), lambda bench: vectors_postgresql(bench, "insert_many")),
    Case("vectors-executemany", "Vectors by executemany, PostgreSQL", "psycopg, COPY BINARY",
         rate(0.6), lambda bench: vectors_postgresql(bench, "executemany"),
         "1,000 rows take client and server together 50 ms of processor time, by COPY 30: without "
         "the wait for the disk, which both share, the rate is just below the target"),
    Case("vectors-pgvector", "Bulk load of vectors, PostgreSQL", "pgvector.sqlalchemy",
         rate(10), vectors_beside_pgvector_sqlalchemy),
    Case("chunks-postgresql", "Chunks with full text, PostgreSQL", "psycopg, COPY",
         rate(0.8), chunks_postgresql),
    Case("rows-sqlite", "Bulk load of rows, SQLite", "sqlite3, executemany",
         times(1.5), rows_sqlite),
    Case("chunks-sqlite", "Chunks with full text, SQLite", "sqlite3, executemany, no full text",
         times(7), chunks_sqlite),
]  # fmt: skip
