"""Scores and results."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import SearchHit, SearchResult
from datastore.definitions import METRICS
from datastore.results import fused_score, text_score, vector_score
from datastore.sql import RRF_K

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(finite, finite, st.sampled_from(METRICS))
def test_what_is_nearer_scores_no_less_and_all_is_in_0_to_1(
    a: float, b: float, metric: str
) -> None:
    if metric != "inner_product":
        a, b = abs(a), abs(b)
    near, far = (vector_score(d, metric) for d in (min(a, b), max(a, b)))  # type: ignore[arg-type]
    assert 0 <= far <= near <= 1


@pytest.mark.parametrize(
    ("metric", "distance", "score"),
    [
        ("cosine", 0.0, 1.0), ("cosine", -1e-8, 1.0), ("cosine", 1.0, 0.5), ("cosine", 2.0, 0.0),
        ("cosine", 2.0000002, 0.0), ("l2", 0.0, 1.0), ("l2", 1.0, 0.5), ("l2", math.inf, 0.0),
        ("inner_product", 0.0, 0.5), ("inner_product", -1e300, 1.0), ("inner_product", 1e300, 0.0),
    ],
)  # fmt: skip
def test_scores_of_vectors(metric: str, distance: float, score: float) -> None:
    assert vector_score(distance, metric) == pytest.approx(score)  # type: ignore[arg-type]


def test_scores_of_texts_and_of_fusions() -> None:
    assert text_score(0.0) == 0.0
    assert text_score(1.0) == 0.5
    assert fused_score(3 / (RRF_K + 1), (1, 2)) == pytest.approx(1.0)
    assert fused_score(1 / (RRF_K + 1), (1, 1)) == pytest.approx(0.5)


def test_a_result_is_a_sequence_of_hits() -> None:
    hits = tuple(SearchHit(n, 1.0 / n, {}) for n in (1, 2, 3))
    result = SearchResult(hits)
    assert (len(result), list(result), result[0], result[1:]) == (3, list(hits), hits[0], hits[1:])
    assert hits[1] in result
    assert not SearchResult(())
