"""How much of what an exact search finds an approximate one finds: a store examines itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from datastore.definitions import Metric
from datastore.results import Method, SearchResult
from datastore.schema import VectorIndex
from datastore.store import Datastore
from datastore.types import FloatVector

#: How many searches are compared, and how deep: recall@10 is what is reported most.
QUERIES, DEPTH = 20, 10
#: Below it a search is worth looking after.
LEAST_RECALL = 0.95


@dataclass(frozen=True)
class Recall:
    """The share of the exact hits that were found, over so many searches made by `method`."""

    index: str
    method: Method
    queries: int
    share: float

    @property
    def is_good(self) -> bool:
        """Whether nothing needs to be done."""
        return self.share >= LEAST_RECALL


def measure_recall(store: Datastore, index: VectorIndex, queries: int = QUERIES) -> Recall | None:
    """Search for vectors half-way between two stored ones, both ways, and compare.

    The vectors are drawn at random, those of the store's model where the index keeps several. None
    where there are too few for one query.
    """
    model, metric = store.search_space(index)
    drawn = _drawn(store, index, model, 2 * queries)
    pairs = [(a, b) for a, b in zip(drawn[::2], drawn[1::2], strict=False) if a.size == b.size]
    results = [_both_ways(store, index, model, metric, query) for query in map(_between, pairs)]
    if not results:
        return None
    shares = [_share(found, exact) for found, exact in results]
    methods = {found.method for found, _ in results}
    method: Method = "approximate" if "approximate" in methods else results[0][0].method
    return Recall(index.name, method, len(shares), float(np.mean(shares)))


def _drawn(
    store: Datastore, index: VectorIndex, model: str | None, count: int
) -> list[FloatVector]:
    vectors = sa.select(index.column.label("vector")).where(index.column.is_not(None))
    if index.model is not None:
        vectors = vectors.where(index.model == model)
    rows = store.query(vectors.order_by(sa.func.random()).limit(count))
    return [row["vector"] for row in rows]


def _between(pair: tuple[FloatVector, FloatVector]) -> FloatVector:
    first, second = (vector / np.linalg.norm(vector) for vector in pair)
    middle: FloatVector = np.asarray(first + second, dtype=np.float32)
    return middle if middle.any() else pair[0]


def _both_ways(
    store: Datastore, index: VectorIndex, model: str | None, metric: Metric, query: FloatVector
) -> tuple[SearchResult[Any], SearchResult[Any]]:
    def search(exact: bool) -> SearchResult[Any]:
        return store.vector_search(
            index.target, index.column.name, query, DEPTH, model=model, metric=metric, exact=exact
        )

    return search(False), search(True)


def _share(found: SearchResult[Any], exact: SearchResult[Any]) -> float:
    expected = {hit.id for hit in exact}
    return len(expected & {hit.id for hit in found}) / max(len(expected), 1)
