"""Measures of retrieval quality."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

Id = TypeVar("Id", bound=Hashable)


def ndcg(ranking: Sequence[Id], grades: Mapping[Id, int], depth: int = 10) -> float:
    """Return nDCG as trec_eval's `ndcg_cut` computes it: gain by grade, ideal of all judged."""
    ideal = _gain(sorted(grades.values(), reverse=True)[:depth])
    return _gain([grades.get(id, 0) for id in ranking[:depth]]) / ideal if ideal else 0.0


def _gain(grades: Sequence[int]) -> float:
    return sum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades, 1))


def recall(ranking: Sequence[Id], grades: Mapping[Id, int], depth: int = 100) -> float:
    """Return the share of the relevant documents (grade above 0) among the first `depth`."""
    relevant = {id for id, grade in grades.items() if grade > 0}
    return overlap(ranking[:depth], relevant)


def reciprocal_rank(ranking: Sequence[Id], grades: Mapping[Id, int], depth: int = 10) -> float:
    """Return 1 / rank of the first relevant document, 0 where none is among the first `depth`."""
    ranks = (rank for rank, id in enumerate(ranking[:depth], 1) if grades.get(id, 0) > 0)
    return 1 / next(ranks, math.inf)


def overlap(found: Iterable[Id], expected: Iterable[Id]) -> float:
    """Return which share of what was expected was found."""
    wanted = set(expected)
    return len(wanted & set(found)) / len(wanted) if wanted else 0.0


def jaccard(one: Iterable[Id], other: Iterable[Id]) -> float:
    """Return the common share of two sets; two empty ones agree."""
    left, right = set(one), set(other)
    return len(left & right) / len(left | right) if left or right else 1.0
