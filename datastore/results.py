"""What the verbs of a store give back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Generic, Literal, TypeAlias, TypeVar, overload

from datastore.definitions import IndexDefinition, Metric
from datastore.errors import InvalidValueError
from datastore.sql import RRF_K

Row = TypeVar("Row", covariant=True)
Method: TypeAlias = Literal["exact", "approximate", "fallback"]
#: Which search found a hit: by its words, by its vector, or over the graph of what is mentioned.


@dataclass(frozen=True)
class RunResult:
    """What one mutation did.

    `changes` counts the rows that it inserted, updated or deleted. `last_insert_id` is the integer
    primary key of the single row of a Core `insert()`; None otherwise, and after an `upsert()`,
    which may have inserted nothing.
    """

    changes: int
    last_insert_id: int | None = None


@dataclass(frozen=True)
class SearchHit(Generic[Row]):
    """One row that was found. `score` is in 0..1 and larger is better, for every kind of search.

    `distance` (smaller is nearer) is there after a vector search, `relevance` (BM25, larger is
    better) after a full-text search, `snippet` where marks for one were given. `reasons` names the
    ways in which it was found, where several were fused: each looked as deep as its candidates go.
    """

    id: Any
    score: float
    row: Row
    distance: float | None = None
    relevance: float | None = None
    snippet: str | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class SearchResult(Sequence[SearchHit[Row]]):
    """Hits, best first, and how they were found.

    `method` is "exact" where every candidate was measured, "approximate" where an index chose them,
    "fallback" where a native extension was missing; `notes` say what a reader should know of it.
    """

    hits: tuple[SearchHit[Row], ...]
    method: Method = "exact"
    indexes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @overload
    def __getitem__(self, index: int) -> SearchHit[Row]: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[SearchHit[Row], ...]: ...
    def __getitem__(self, index: int | slice) -> SearchHit[Row] | tuple[SearchHit[Row], ...]:
        return self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[SearchHit[Row]]:
        return iter(self.hits)


@dataclass(frozen=True)
class DatabaseSchema:
    """What is in a database: tables with their columns, search indexes, and the schema's revision.

    `indexes` maps each table to its ordinary indexes; what search indexes consist of is left out.
    """

    tables: Mapping[str, tuple[str, ...]]
    indexes: Mapping[str, tuple[str, ...]]
    search_indexes: tuple[IndexDefinition, ...]
    version: str | None
    metadata: Mapping[str, str] = field(default_factory=dict)


def checked_score(score: Any) -> float | None:
    """Return a score to compare with, or raise `InvalidValueError` for anything else."""
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, Real) or math.isnan(score):
        raise InvalidValueError("min_score: expected a number")
    return float(score)


def vector_score(distance: float, metric: Metric) -> float:
    """Map a distance to 0..1: cosine `1 - d/2`, L2 `1/(1+d)`, inner product the logistic of it."""
    if metric == "cosine":
        return min(1.0, max(0.0, 1.0 - distance / 2.0))
    if metric == "l2":
        return 1.0 / (1.0 + distance)
    return 1.0 / (1.0 + math.exp(min(distance, 700.0)))  # distance is the negative product


def text_score(relevance: float) -> float:
    """Map a BM25 relevance to 0..1."""
    return relevance / (1.0 + relevance)


def fused_score(votes: float, weights: Sequence[float]) -> float:
    """Divide a sum of reciprocal ranks by the most that it can be: first in every list."""
    return votes * (RRF_K + 1) / sum(weights)
