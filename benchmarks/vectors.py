"""Vector search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import psycopg
import sqlalchemy as sa

from benchmarks.case import Bar, Case, Condition, Outcome, Target, outcome_of_times, times
from benchmarks.collection import (
    LIMIT,
    fill,
    half_of,
    metadata,
    nearest_exactly,
    part_of,
    recall,
    texts,
)
from benchmarks.data import Vectors, enlarged_vectors, real_vectors
from benchmarks.measure import Contestant, Measured, Skipped, measure
from benchmarks.workbench import WireVector, Workbench
from datastore import Datastore, SearchResult, Vector, VectorIndex

Search = Callable[[np.ndarray], list[int]]

#: Of graphs: as pgvector builds one by default, and how many candidates a search looks at.
GRAPH_LINKS, GRAPH_EFFORT, SEARCH_EFFORT = 16, 64, 64


_alone = sa.MetaData()
alone = sa.Table(
    "alone",
    _alone,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("embedding", Vector(384), nullable=False),
)
VectorIndex("alone_vectors", alone.c.embedding)


def real() -> Vectors:
    """Return the real embeddings of a run: as many in a quick one, since their number decides."""
    return real_vectors(20_000)


def large() -> Vectors:
    """Return more vectors than there are real ones."""
    return enlarged_vectors(100_000)


def queries(bench: Workbench, data: Vectors) -> np.ndarray:
    """Return the vectors to search for."""
    return data.queries[: bench.size(100, 20)]


def compare(
    bench: Workbench,
    data: Vectors,
    searches: dict[str, Search],
    *,
    least_recall: float,
    rows: np.ndarray | None = None,
    notes: Sequence[str] = (),
) -> Outcome:
    """Time searches, and count what each found of the ten nearest among `rows`."""
    asked = queries(bench, data)
    # Scans of many rows take their time.
    timed = asked[: bench.size(2_000_000, 600_000) // len(data.stored)]
    measured = measure(
        [Contestant(name, search) for name, search in searches.items()], list(timed), bench.rounds
    )
    expected = nearest_exactly(data, len(asked), rows)
    recalls = {
        name: recall([search(query) for query in asked], expected)
        for name, search in searches.items()
    }
    ours = measured.names[0]
    told = ", ".join(f"{name} {value:.3f}" for name, value in recalls.items())
    described = f"{len(data.stored):,} x {data.stored.shape[1]}, {data.label}"
    return outcome_of_times(
        measured,
        [Condition("recall@10", recalls[ours], Target("≥", least_recall))],
        [described, f"recall@10: {told}", *notes],
    )


def verb(store: Datastore, **options: Any) -> Search:
    """Search by the verb of the store."""
    return lambda query: [hit.row["id"] for hit in _found(store, query, **options)]


def _found(store: Datastore, query: np.ndarray, **options: Any) -> SearchResult[Any]:
    return store.vector_search(texts, "embedding", query, LIMIT, **options)


def method(store: Datastore, query: np.ndarray, **options: Any) -> str:
    """Say how the library searched."""
    return f"method: {_found(store, query, **options).method}"


def in_memory(stored: np.ndarray) -> Search:
    """Search all rows by a product with numpy."""

    def search(query: np.ndarray) -> list[int]:
        likeness = stored @ query
        best = np.argpartition(-likeness, LIMIT)[:LIMIT]
        found: list[int] = best[np.argsort(-likeness[best])].tolist()
        return found

    return search


def plain_vec0(bench: Workbench, stored: np.ndarray, condition: str = "") -> Search:
    """Search a table of vec0 and fetch the rows, as a hand-written program would."""
    raw = bench.kept(("vec0", len(stored)), lambda: _vec0_tables(bench, stored))
    statement = (
        "SELECT t.*, found.distance FROM (SELECT id, distance FROM indexed "
        f"WHERE embedding MATCH ? AND k = {LIMIT} {condition}) AS found "
        "JOIN texts AS t ON t.id = found.id ORDER BY found.distance"
    )
    return lambda query: [row[0] for row in raw.execute(statement, (query.tobytes(),)).fetchall()]


def _vec0_tables(bench: Workbench, stored: np.ndarray) -> Any:
    raw = bench.raw_sqlite()
    raw.execute("CREATE TABLE texts (id INTEGER PRIMARY KEY, part, half, body TEXT)")
    raw.execute(
        "CREATE VIRTUAL TABLE indexed USING vec0(id INTEGER PRIMARY KEY, part INTEGER, "
        f"half INTEGER, embedding float[{stored.shape[1]}] distance_metric=cosine)"
    )
    rows = [(n, part_of(n), half_of(n)) for n in range(len(stored))]
    raw.execute("BEGIN")
    raw.executemany("INSERT INTO texts VALUES (?, ?, ?, 'text ' || ?1)", rows)
    raw.executemany(
        "INSERT INTO indexed VALUES (?, ?, ?, ?)",
        ((*row, vector.tobytes()) for row, vector in zip(rows, stored, strict=True)),
    )
    raw.execute("COMMIT")
    return raw


def graph_in_memory(stored: np.ndarray) -> Search:
    """Search with hnswlib."""
    try:
        import hnswlib
    except ImportError:
        raise Skipped("the package hnswlib is not installed") from None
    graph = hnswlib.Index(space="cosine", dim=stored.shape[1])
    graph.init_index(len(stored), M=GRAPH_LINKS, ef_construction=GRAPH_EFFORT)
    graph.add_items(stored)
    graph.set_ef(SEARCH_EFFORT)
    return lambda query: graph.knn_query(query, LIMIT)[0][0].tolist()


def sqlite_store(bench: Workbench, data: Vectors) -> Datastore:
    """Return a store with these vectors."""
    key = ("sqlite", len(data.stored))
    return bench.kept(key, lambda: fill(bench, bench.sqlite(metadata), data.stored))


def postgresql_store(bench: Workbench, data: Vectors) -> Datastore:
    """Return a store with these vectors."""
    key = ("postgresql", len(data.stored))
    return bench.kept(key, lambda: fill(bench, bench.postgresql(metadata), data.stored))


def sqlite_real(bench: Workbench) -> Outcome:
    """Search real embeddings, without a filter."""
    data = real()
    store = sqlite_store(bench, data)
    searches = {
        "datastore": verb(store),
        "vec0": plain_vec0(bench, data.stored),
        "datastore, exact": verb(store, exact=True),
        "hnswlib, in memory": graph_in_memory(data.stored),
        "numpy, in memory": in_memory(data.stored),
    }
    notes = [method(store, data.queries[0])]
    return compare(bench, data, searches, least_recall=0.99, notes=notes)


def sqlite_filtered_half(bench: Workbench) -> Outcome:
    """Search real embeddings among half of the rows."""
    data = real()
    store, kept = sqlite_store(bench, data), {"half": 1}
    searches = {
        "datastore": verb(store, filter=kept),
        "vec0, metadata column": plain_vec0(bench, data.stored, "AND half = 1"),
        "datastore, exact": verb(store, filter=kept, exact=True),
    }
    rows = np.array([n for n in range(len(data.stored)) if half_of(n)])
    notes = [method(store, data.queries[0], filter=kept), f"{len(rows):,} rows fulfil the filter"]
    return compare(bench, data, searches, least_recall=0.99, rows=rows, notes=notes)


def sqlite_large(bench: Workbench) -> Outcome:
    """Search many vectors beside a product in memory."""
    data = large()
    store = sqlite_store(bench, data)
    searches = {
        "datastore": verb(store),
        "numpy, in memory": in_memory(data.stored),
        "vec0": plain_vec0(bench, data.stored),
    }
    notes = [method(store, data.queries[0])]
    return compare(bench, data, searches, least_recall=0.98, notes=notes)


def postgresql_exact(bench: Workbench) -> Outcome:
    """Compare every vector of many."""
    data = large()
    store = fill(bench, bench.postgresql(metadata), data.stored)
    searches = {
        "datastore, exact": verb(store, exact=True),
        "numpy, in memory": in_memory(data.stored),
        "pgvector by hand, exact": by_hand(bench.raw_postgresql(store), "vectors", indexed=False),
    }
    return compare(bench, data, searches, least_recall=0.999)


def by_hand(
    raw: psycopg.Connection[Any], table: str, *, indexed: bool = True, condition: str = ""
) -> Search:
    """Search as a hand-written program would, with or without an index, and fetch the rows."""
    raw.execute(f"SET hnsw.ef_search = {SEARCH_EFFORT}")
    # The sum keeps the planner from an index over the distance.
    distance = "embedding <=> %b" if indexed else "(embedding <=> %b) + 0.0"
    statement = f"""\
        WITH found AS MATERIALIZED (
          SELECT text, {distance} AS distance FROM {table} {condition}
          ORDER BY distance LIMIT {LIMIT})
        SELECT t.*, distance FROM found JOIN texts AS t ON t.id = found.text ORDER BY distance"""

    def search(query: np.ndarray) -> list[int]:
        found = raw.execute(statement.encode(), (WireVector(query),), prepare=True)
        return [row[0] for row in found.fetchall()]

    return search


def postgresql_graph(bench: Workbench) -> Outcome:
    """Search real embeddings beside a hand-written query with an HNSW index."""
    data = real()
    store = postgresql_store(bench, data)
    raw = bench.raw_postgresql(store)
    raw.execute("CREATE TABLE by_hand AS SELECT * FROM vectors")
    raw.execute(
        "CREATE INDEX ON by_hand USING hnsw (embedding vector_cosine_ops) "
        f"WITH (m = {GRAPH_LINKS}, ef_construction = {GRAPH_EFFORT})"
    )
    raw.execute("ANALYZE by_hand")
    searches = {
        "datastore": verb(store),
        "pgvector by hand, HNSW": by_hand(raw, "by_hand"),
        "datastore, exact": verb(store, exact=True),
        "hnswlib, in memory": graph_in_memory(data.stored),
    }
    notes = [method(store, data.queries[0]), f"by hand: ef_search {SEARCH_EFFORT}"]
    return compare(bench, data, searches, least_recall=0.95, notes=notes)


def filtered(bench: Workbench, engine: str) -> Outcome:
    """Search among 1 % of the rows: every hit must be there, and the nearest."""
    data = real()
    asked, kept = queries(bench, data), {"part": 7}
    rows = np.array([n for n in range(len(data.stored)) if part_of(n) == 7])
    if engine == "sqlite":
        store = sqlite_store(bench, data)
        peer, by = plain_vec0(bench, data.stored, "AND part = 7"), "vec0, metadata column"
    else:
        store = postgresql_store(bench, data)
        condition = "JOIN texts AS u ON u.id = text WHERE u.part = 7"
        peer = by_hand(bench.raw_postgresql(store), "vectors", indexed=False, condition=condition)
        by = "pgvector by hand, exact"
    search = verb(store, filter=kept)
    measured: Measured = measure(
        [Contestant("datastore", search), Contestant(by, peer)], list(asked), bench.rounds
    )
    found = [search(query) for query in asked]
    hits = min(map(len, found))
    return Outcome(
        recall(found, nearest_exactly(data, len(asked), rows)),
        [Bar(name, measured.seconds(name) * 1e3) for name in measured.names],
        "ms",
        conditions=[Condition("hits of ten", hits, Target("≥", LIMIT))],
        notes=[
            f"{len(rows):,} of {len(data.stored):,} rows fulfil the filter, {data.label}",
            method(store, asked[0], filter=kept),
            f"{measured.ratio('datastore', by).middle:.2f} × the time of the peer",
        ],
    )


def storage(bench: Workbench) -> Outcome:
    """Measure a file that holds nothing but vectors, with whatever the index keeps."""
    data = real()
    store = bench.sqlite(_alone)
    rows = ({"id": number, "embedding": vector} for number, vector in enumerate(data.stored))
    store.insert_many(alone, rows)
    store.optimize()
    vec0 = bench.raw_sqlite()
    vec0.execute(
        "CREATE VIRTUAL TABLE alone USING "
        f"vec0(id INTEGER PRIMARY KEY, embedding float[{data.stored.shape[1]}])"
    )
    blobs = ((number, vector.tobytes()) for number, vector in enumerate(data.stored))
    vec0.executemany("INSERT INTO alone VALUES (?, ?)", blobs)
    sizes = {
        "datastore": _file_size(bench.raw_sqlite(store)),
        "raw float32": data.stored.nbytes,
        "vec0": _file_size(vec0),
    }
    bars = [Bar(name, size / 1e6) for name, size in sizes.items()]
    notes = [f"{len(data.stored):,} x {data.stored.shape[1]}"]
    return Outcome(sizes["datastore"] / sizes["raw float32"], bars, "MB", notes=notes)


def _file_size(raw: Any) -> int:
    (pages,), (size,) = (
        raw.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size")
    )
    return int(pages * size)


CANDIDATES = (
    "among 20,000, choosing candidates takes a quarter of the time, fetching and measuring some "
    "thirteen vectors per hit a third, and the rest is what a statement costs in Python; with a "
    "filter, up to three times as many rows are looked at"
)

CASES = [
    Case("sqlite-real", "Vector search, SQLite", "vec0",
         times(0.1), sqlite_real, CANDIDATES),
    Case("sqlite-half", "Vector search with a filter that keeps half, SQLite",
         "vec0, metadata column", times(0.1), sqlite_filtered_half, CANDIDATES),
    Case("sqlite-large", "Vector search among many, SQLite", "numpy, in memory",
         times(0.3), sqlite_large, CANDIDATES),
    Case("sqlite-storage", "Storage of vectors with their index, SQLite", "raw float32",
         Target("≤", 1.4, "× the bytes"), storage),
    Case("sqlite-filtered", "Recall among 1 % of the rows, SQLite", "vec0, metadata column",
         Target("≥", 1.0), lambda bench: filtered(bench, "sqlite")),
    Case("postgresql-exact", "Exact vector search among many, PostgreSQL", "numpy, in memory",
         times(3), postgresql_exact,
         "pgvector by hand takes nearly as long; half of it is reading rows, before any distance"),
    Case("postgresql-graph", "Vector search, PostgreSQL",
         "pgvector by hand, HNSW", None, postgresql_graph),
    Case("postgresql-filtered", "Recall among 1 % of the rows, PostgreSQL",
         "pgvector by hand, exact", Target("≥", 1.0), lambda bench: filtered(bench, "postgresql")),
]  # fmt: skip
