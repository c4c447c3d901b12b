"""Search by text and vector together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from benchmarks import collection
from benchmarks.case import Case, Condition, Outcome, Target, outcome_of_times, times
from benchmarks.collection import LIMIT, fill, texts
from benchmarks.data import cranfield
from benchmarks.measure import Contestant, measure
from benchmarks.vectors import real
from benchmarks.workbench import Workbench
from datastore import Datastore, FullTextIndex, VectorIndex, hybrid, matching, nearest
from datastore.schema import search_indexes
from datastore.sql import CANDIDATE_POOL, RRF_K

WORDS, VECTORS = search_indexes(collection.metadata)
TEXT: sa.BindParameter[str] = sa.bindparam("text")
VECTOR = sa.bindparam("vector", type_=VECTORS.columns[0].type)


def select_keys(hits: Any) -> sa.Select[Any]:
    """Select the keys of hits in their order."""
    return sa.select(hits.c.id).order_by(hits.c.rank)


def statements() -> tuple[sa.Select[Any], sa.Select[Any], sa.Select[Any]]:
    """Return the fused search, and the two that a program could fuse itself."""
    assert isinstance(WORDS, FullTextIndex)
    assert isinstance(VECTORS, VectorIndex)
    return (
        select_keys(hybrid(WORDS, VECTORS, text=TEXT, vector=VECTOR, k=LIMIT)),
        select_keys(matching(WORDS, TEXT, CANDIDATE_POOL)),
        select_keys(nearest(VECTORS, VECTOR, CANDIDATE_POOL)),
    )


def one_statement(store: Datastore) -> Callable[[Any], list[int]]:
    """Fuse in the database."""
    fused, _, _ = statements()
    return lambda query: [row["id"] for row in store.query(fused, query)]


def two_round_trips(store: Datastore) -> Callable[[Any], list[int]]:
    """Fetch both lists of keys, and fuse them in Python."""
    _, by_words, by_vector = statements()

    def search(query: Any) -> list[int]:
        votes: dict[int, float] = defaultdict(float)
        for statement, name in ((by_words, "text"), (by_vector, "vector")):
            for rank, row in enumerate(store.query(statement, {name: query[name]}), 1):
                votes[row["id"]] += 1 / (RRF_K + rank)
        return sorted(votes, key=lambda key: (-votes[key], key))[:LIMIT]

    return search


def compare(bench: Workbench, engine: str) -> Outcome:
    """Time both, and compare the orders: with each other and with the other engine's."""
    stores = {
        "sqlite": bench.kept("sqlite", lambda: _filled(bench, bench.sqlite)),
        "postgresql": bench.kept("postgresql", lambda: _filled(bench, bench.postgresql)),
    }
    store = stores[engine]
    found = cranfield()
    queries = [
        {"text": text, "vector": vector}
        for text, vector in zip(found.queries, found.query_embeddings, strict=True)
    ][: bench.size(50, 15)]
    fused, apart = one_statement(store), two_round_trips(store)
    measured = measure(
        [
            Contestant("datastore, one statement", fused),
            Contestant("two statements, fused in Python", apart),
            Contestant("datastore, hybrid_search with rows",
                       lambda query: store.hybrid_search(texts, **query)),
        ],
        queries,
        bench.rounds,
    )  # fmt: skip
    orders = [fused(query) for query in queries]
    other = one_statement(stores["sqlite" if engine == "postgresql" else "postgresql"])
    return outcome_of_times(
        measured,
        [
            Condition("same order as of two statements",
                      _same(orders, list(map(apart, queries))), Target("≥", 1.0)),
        ],
        [f"{len(queries)} queries of Cranfield among {len(real().stored):,} real texts",
         f"lists {CANDIDATE_POOL} deep",
         f"the order of the other engine for {_same(orders, list(map(other, queries))):.1%}"],
    )  # fmt: skip


def _filled(bench: Workbench, make: Callable[[sa.MetaData], Datastore]) -> Datastore:
    data = real()
    return fill(bench, make(collection.metadata), data.stored, data.texts)


def _same(some: list[list[int]], others: list[list[int]]) -> float:
    return sum(one == other for one, other in zip(some, others, strict=True)) / len(some)


SEARCHES = (
    "both do the same two searches, which take nearly all of the time, on PostgreSQL 42 ms of the "
    "server's; a round trip to the same machine and its rows take 1 ms, and SQLite has none: one "
    "statement gains one snapshot"
)

CASES = [
    Case("hybrid-postgresql", "One statement, PostgreSQL", "two statements, fused in Python",
         times(0.9), lambda bench: compare(bench, "postgresql"), SEARCHES),
    Case("hybrid-sqlite", "One statement, SQLite", "two statements, fused in Python",
         times(0.9), lambda bench: compare(bench, "sqlite"), SEARCHES),
]  # fmt: skip
