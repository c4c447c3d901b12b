"""Approximate vector search: when it is used, what it may cost, and that a filter costs no hits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from datastore import Datastore, Settings, Vector, VectorIndex, nearest
from datastore.types import FloatVector
from repositories import Chunk, ChunkRepository
from tests.real_data import DATA, needs_real_data

ROWS, DIMENSIONS = 4000, 64
LIMIT = 10
metadata = sa.MetaData()
notes = sa.Table(
    "notes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Integer, nullable=False, index=True),
    sa.Column("embedding", Vector(DIMENSIONS)),
)
by_meaning = VectorIndex("notes_by_meaning", notes.c.embedding)
vectors_of = sa.Table(
    "vectors_of",
    metadata,
    sa.Column("note", sa.ForeignKey(notes.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("vector", Vector(), nullable=False),
)
by_model = VectorIndex("notes_by_model", vectors_of.c.vector, of=notes, model=vectors_of.c.model)


def vectors(count: int, seed: int, dimensions: int = DIMENSIONS) -> FloatVector:
    """Vectors of length one around thirty directions."""
    random = np.random.default_rng(seed)
    centers = np.random.default_rng(0).standard_normal((30, dimensions))
    drawn = centers[random.integers(0, 30, count)] + 0.5 * random.standard_normal(
        (count, dimensions)
    )
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn.astype(np.float32)


STORED, QUERIES = vectors(ROWS, 1), vectors(20, 2)


@contextmanager
def filled(url: str) -> Iterator[Datastore]:
    """Four thousand vectors, and a limit for exact search that some hundred rows are above."""
    settings = Settings.load(url=url, search={"exact_floats": 100 * DIMENSIONS})
    with (
        Datastore.open(settings) as opened,
        Datastore(opened.engine, metadata=metadata, settings=settings) as store,
    ):
        metadata.create_all(store.engine)
        store.insert_many(
            notes,
            [
                {"id": number, "kind": kind_of(vector), "embedding": vector}
                for number, vector in enumerate(STORED, 1)
            ],
        )
        store.optimize()
        yield store


@pytest.fixture(scope="module")
def filled_stores(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Datastore]]:
    """A store on each backend, filled when it is asked for and then kept."""
    with ExitStack() as stack:

        @cache
        def filled_store(backend_name: str) -> Datastore:
            url = f"sqlite:///{tmp_path_factory.mktemp('filled') / 'store.db'}"
            if backend_name == "postgresql":
                databases = request.getfixturevalue("postgres_databases")
                name = databases.create()
                stack.callback(databases.drop, name)
                url = databases.url(name)
            return stack.enter_context(filled(url))

        yield filled_store


@pytest.fixture
def store(filled_stores: Callable[[str], Datastore], backend_name: str) -> Datastore:
    """A store that others read too."""
    return filled_stores(backend_name)


@pytest.fixture
def own_store(database_url: str) -> Iterator[Datastore]:
    """A store to be written to."""
    with filled(database_url) as store:
        yield store


def kind_of(vector: FloatVector) -> int:
    """0 for one row in a hundred, 1 for a tenth, 2 for the rest."""
    number = int(abs(vector[0]) * 1e6) % 100
    return 0 if number == 0 else 1 if number < 10 else 2


def exactly(query: FloatVector, allowed: Any = slice(None), limit: int = LIMIT) -> list[int]:
    keys = np.arange(1, ROWS + 1)[allowed]
    return [
        int(key) for key in keys[np.argsort(1 - STORED[allowed] @ query, kind="stable")][:limit]
    ]


def found(store: Any, query: FloatVector, limit: int = LIMIT, **options: Any) -> list[int]:
    return [hit.id for hit in store.vector_search(notes, "embedding", query, limit, **options)]


def recall(store: Datastore, allowed: Any = slice(None), **options: Any) -> float:
    shares = [
        len(set(exactly(query, allowed)) & set(found(store, query, **options))) / LIMIT
        for query in QUERIES
    ]
    return float(np.mean(shares))


def method(store: Any, query: FloatVector = QUERIES[0], **options: Any) -> str:
    return str(store.vector_search(notes, "embedding", query, LIMIT, **options).method)


def test_many_vectors_are_searched_approximately_and_well(store: Datastore) -> None:
    assert method(store) == "approximate"
    assert recall(store) >= 0.95


def test_exact_is_exact(store: Datastore) -> None:
    assert method(store, exact=True) == "exact"
    for query in QUERIES[:5]:
        assert found(store, query, exact=True) == exactly(query)


def test_below_the_limit_every_distance_is_computed(own_store: Datastore) -> None:
    own_store.execute(notes.delete().where(notes.c.id > 100))
    own_store.optimize()
    assert method(own_store) == "exact"
    assert found(own_store, QUERIES[0]) == exactly(QUERIES[0], slice(0, 100))


def test_distances_are_those_of_the_stored_vectors(store: Datastore) -> None:
    hits = store.vector_search(notes, "embedding", QUERIES[0], LIMIT)
    for hit in hits:
        expected = 1 - float(STORED[hit.id - 1] @ QUERIES[0])
        assert hit.distance == pytest.approx(expected, abs=1e-5)
    assert [hit.distance for hit in hits] == sorted(hit.distance or 0 for hit in hits)


@pytest.mark.parametrize(("kind", "least"), [(0, 1.0), (1, 0.95), (2, 0.95)])
def test_a_filter_costs_no_hits(store: Datastore, kind: int, least: float) -> None:
    allowed = np.array([kind_of(vector) == kind for vector in STORED])
    for query in QUERIES[:5]:
        hits = found(store, query, filter={"kind": kind})
        assert len(hits) == min(LIMIT, int(allowed.sum()))
        assert all(allowed[key - 1] for key in hits)
    assert recall(store, allowed, filter={"kind": kind}) >= least


def test_a_filter_that_keeps_only_what_is_far_costs_no_hits(store: Datastore) -> None:
    query = QUERIES[0]
    far = exactly(query, limit=ROWS)[-500:]
    hits = found(store, query, filter=notes.c.id.in_(far))
    assert len(hits) == LIMIT
    assert set(hits) <= set(far)


@pytest.mark.parametrize("limit", [0, 1, 99, 3999, 4000, 5000, 2**31 - 1, 2**40])
def test_any_limit_is_kept(store: Datastore, limit: int) -> None:
    hits = found(store, QUERIES[0], limit)
    assert len(hits) == len(set(hits)) == min(limit, ROWS)
    assert len(found(store, QUERIES[0], limit, filter=notes.c.kind >= 0)) == min(limit, ROWS)


def test_looking_harder_finds_no_less(store: Datastore) -> None:
    harder = recall(store, oversample=100, ef_search=400)
    assert harder >= max(0.99, recall(store, oversample=1, ef_search=10))


@pytest.mark.parametrize("metric", ["l2", "inner_product"])
def test_other_metrics_are_right(store: Datastore, metric: str) -> None:
    """Of vectors of length one the order is the same."""
    assert recall(store, metric=metric) >= 0.95


def test_changes_are_found_at_once(own_store: Datastore) -> None:
    fresh = vectors(3, 7)
    own_store.execute(notes.insert(), {"id": 9001, "kind": 2, "embedding": fresh[0]})
    assert found(own_store, fresh[0])[0] == 9001
    own_store.execute(notes.update().where(notes.c.id == 9001).values(embedding=fresh[1]))
    assert found(own_store, fresh[1])[0] == 9001
    own_store.execute(notes.delete().where(notes.c.id == 9001))
    assert 9001 not in found(own_store, fresh[1])


def test_a_transaction_sees_its_own_changes_and_nobody_elses(own_store: Datastore) -> None:
    (vector,) = vectors(1, 7)
    with own_store.transaction() as transaction:
        transaction.execute(notes.insert(), {"id": 9001, "kind": 2, "embedding": vector})
        assert found(transaction, vector)[0] == 9001
        assert 9001 not in found(own_store, vector)
        transaction.rollback()
    assert 9001 not in found(own_store, vector)


def test_rows_without_a_vector_are_no_hits(own_store: Datastore) -> None:
    own_store.execute(notes.insert(), {"id": 9001, "kind": 2, "embedding": None})
    own_store.execute(notes.update().where(notes.c.id == 1).values(embedding=None))
    own_store.optimize()
    hits = found(own_store, STORED[0], ROWS)
    assert len(hits) == ROWS - 1
    assert not {1, 9001} & set(hits)


def test_nearest_says_in_a_column_whether_an_index_chose(store: Datastore) -> None:
    near = nearest(by_meaning, QUERIES[0], 5).alias("near")
    far = nearest(by_meaning, -QUERIES[0], 5, exact=True).alias("far")
    rows = store.query(
        sa.select(
            near.c.id, far.c.id.label("other"), near.c.approximate, far.c.approximate.label("a")
        )
        .select_from(near)
        .join(far, near.c.rank == far.c.rank)
        .order_by(near.c.rank)
    )
    assert len(rows) == 5
    assert {(row["approximate"], row["a"]) for row in rows} == {(True, False)}
    assert [row["other"] for row in rows] == exactly(-QUERIES[0], limit=5)


def test_models_stand_side_by_side(own_store: Datastore) -> None:
    """Of the same rows, of other lengths, each searched through an index of its own."""
    others = vectors(ROWS, 3, 96)
    for model, stored in (("a'b", STORED), ("other", others)):
        own_store.insert_many(
            vectors_of,
            [{"note": n, "model": model, "vector": v} for n, v in enumerate(stored, 1)],
        )
    own_store.optimize()
    for model, stored in (("a'b", STORED), ("other", others)):
        hits = nearest(by_model, stored[41], LIMIT, model=model, filter=notes.c.kind >= 0)
        rows = own_store.query(sa.select(hits).order_by(hits.c.rank))
        assert rows[0]["id"] == 42
        assert rows[0]["approximate"]
        assert rows[0]["distance"] == pytest.approx(0, abs=1e-6)


def test_many_searches_of_one_statement_stay_right(store: Datastore) -> None:
    """A statement is prepared after some runs, and may then be planned once for all."""
    for _ in range(2):
        for query in QUERIES:
            assert len(set(exactly(query)) & set(found(store, query))) >= 8
    assert method(store) == "approximate"


@needs_real_data
def test_real_embeddings_are_found(migrated_url: str) -> None:
    documents = np.load(DATA / "cranfield" / "doc_embeddings.f32.npy")
    queries = np.load(DATA / "cranfield" / "query_embeddings.f32.npy")[:50]
    settings = Settings.load(url=migrated_url, search={"exact_floats": 1000})
    with Datastore.open(settings) as store:
        chunks = ChunkRepository(store)
        chunks.add_many(
            Chunk(f"{n}", "a.md", n + 1, n + 1, "text", embedding=vector)
            for n, vector in enumerate(documents)
        )
        store.optimize()
        shares = []
        for query in queries:
            hits = chunks.search(embedding=query)
            best = np.argsort(-(documents @ query), kind="stable")[:LIMIT]
            assert hits.method == "approximate"
            shares.append(len({hit.id for hit in hits} & {str(n) for n in best}) / LIMIT)
    assert np.mean(shares) >= 0.98


def test_a_filter_may_speak_of_any_other_table(own_store: Datastore) -> None:
    """No part of the statement hides a table of the host's."""
    others = sa.MetaData()
    for name in ("given", "graph", "candidates", "chosen", "few", "found", "measured", "top"):
        other = sa.Table(name, others, sa.Column("key", sa.Integer, primary_key=True))
        other.create(own_store.engine)
        own_store.execute(other.insert(), [{"key": key} for key in range(1, 2001)])
        filter = notes.c.id.in_(sa.select(other.c.key))
        assert max(found(own_store, QUERIES[0], 20, filter=filter)) <= 2000
