"""Sign-bit codes: what they find, what they take, and which vectors they are no good for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.backends.sqlite.codes import (
    FEWEST,
    HITS,
    MOST,
    Keys,
    Matrix,
    SignCodes,
    all_unit,
    build,
    code_products,
    pack,
    unit,
)


def clustered(rows: int, dimensions: int = 128, seed: int = 0) -> Matrix:
    """Vectors around some forty directions: what embeddings of texts are like, and synthetic."""
    random = np.random.default_rng(seed)
    centers = np.random.default_rng(99).standard_normal((40, dimensions))
    noise = 0.7 * random.standard_normal((rows, dimensions))
    return unit((centers[random.integers(0, 40, rows)] + noise).astype(np.float32))


def codes_of(vectors: Matrix, size: int = 1000) -> SignCodes:
    keys = np.arange(len(vectors), dtype=np.int64)
    blocks = [
        (keys[start : start + size], vectors[start : start + size])
        for start in range(0, len(vectors), size)
    ]
    return build(blocks, vectors[:512])


def nearest(vectors: Matrix, query: Matrix, count: int) -> Keys:
    return np.argsort(-(unit(vectors) @ query), kind="stable")[:count]


@given(st.integers(1, 200), st.integers(1, 20))
def test_a_code_has_a_bit_for_each_positive_number(dimensions: int, rows: int) -> None:
    vectors = np.random.default_rng(dimensions).standard_normal((rows, dimensions))
    words = pack(vectors.astype(np.float32))
    assert words.shape == (-(-dimensions // 64), rows)
    assert np.bitwise_count(words).sum(axis=0).tolist() == (vectors > 0).sum(axis=1).tolist()


@given(st.integers(1, 200), st.integers(1, 20))
def test_the_product_with_a_code_is_that_with_its_signs(dimensions: int, rows: int) -> None:
    random = np.random.default_rng(dimensions)
    vectors = random.standard_normal((rows, dimensions)).astype(np.float32)
    query = random.standard_normal(dimensions).astype(np.float32)
    expected = np.sign(vectors) @ query
    assert code_products(pack(vectors), query) == pytest.approx(expected, abs=1e-3)


def test_candidates_hold_the_nearest_vectors() -> None:
    vectors = clustered(20_000)
    codes = codes_of(vectors)
    queries = clustered(50, seed=1)
    found = [
        len(set(nearest(vectors, query, 10)) & set(codes.nearest(query, codes.wanted(10)))) / 10
        for query in queries
    ]
    assert np.mean(found) >= 0.95


def test_candidates_begin_with_an_equal_vector() -> None:
    vectors = clustered(3000)
    codes = codes_of(vectors)
    assert [codes.nearest(vectors[key], 50)[0] for key in (0, 1234, 2999)] == [0, 1234, 2999]


def test_candidates_come_in_the_order_of_estimates_that_are_near_the_distances() -> None:
    vectors = clustered(3000)
    codes = codes_of(vectors)
    query = clustered(1, seed=2)
    found = codes.nearest(query[0], 3000)
    centered = query - codes.center
    # |q-o|² = |q-c|² + r² - 2r⟨q-c, u⟩, where u points from the center to the vector.
    along = code_products(codes.words, centered[0]) / codes.likeness
    estimates = (centered**2).sum() + codes.offsets**2 - 2 * codes.offsets * along
    assert (np.diff(estimates[found]) >= -1e-5).all()
    assert np.sqrt(((estimates - ((vectors - query) ** 2).sum(axis=1)) ** 2).mean()) < 0.15


def test_of_equal_signs_the_nearer_vector_comes_first() -> None:
    """Signs alone would not tell them apart."""
    around = clustered(3000)
    center = unit(around[:512]).mean(axis=0)
    outward = unit(around[:1] - center)[0] * 0.5
    pair = unit(np.stack([center + outward, center + 4 * outward]))
    codes = codes_of(np.concatenate([around, pair]))
    assert [codes.nearest(vector, 3002)[0] for vector in pair] == [3000, 3001]


def test_candidates_are_chosen_among_the_keys_asked_for() -> None:
    codes = codes_of(clustered(3000))
    among = np.array([7, 2000, 5, 999_999], dtype=np.int64)
    assert set(codes.nearest(clustered(1, seed=2)[0], 10, among)) == {5, 7, 2000}


def test_vectors_without_negative_numbers_are_told_apart() -> None:
    """Their signs alone would all be the same."""
    vectors = unit(clustered(5000) + 0.3)
    codes = codes_of(vectors)
    query = vectors[17]
    candidates = set(codes.nearest(query, codes.wanted(10)))
    assert len(candidates & set(nearest(vectors, query, 10))) >= 9


def test_vectors_whose_signs_tell_too_little_are_found_out() -> None:
    noise = np.random.default_rng(3).standard_normal((20_000, 4)).astype(np.float32)
    assert codes_of(noise).needed is None
    assert codes_of(clustered(20_000, 256)).needed is not None


def test_calibration_takes_more_candidates_for_vectors_that_need_more() -> None:
    easy, hard = codes_of(clustered(5000, 1024)), codes_of(clustered(5000, 96))
    assert easy.needed is not None
    assert easy.wanted(10) <= hard.wanted(10)
    assert easy.wanted(10) >= FEWEST[0]


@pytest.mark.parametrize("limit", [0, 1, 10, 11, 100, 1000, 2**31 - 1])
def test_more_hits_take_more_candidates(limit: int) -> None:
    codes = codes_of(clustered(3000))
    assert codes.wanted(limit) >= max(limit, codes.wanted(HITS[0]))
    assert codes.wanted(limit, oversample=5) == 5 * max(limit, HITS[0])


def test_changed_rows_are_found_by_what_they_are_now() -> None:
    vectors = clustered(3000)
    fresh = clustered(3, seed=4)
    codes = codes_of(vectors).changed(
        np.array([10, 11]), np.array([11, 5000, 5001], dtype=np.int64), fresh
    )
    assert codes.keys.size == 3001
    assert codes.nearest(fresh[0], 1)[0] == 11
    assert codes.nearest(fresh[2], 1)[0] == 5001
    assert 10 not in codes.nearest(vectors[10], 3001)


def test_lengths_other_than_one_are_noticed() -> None:
    vectors = clustered(3000)
    assert codes_of(vectors).is_unit
    vectors[2500] *= 1.1
    codes = codes_of(vectors)
    assert not codes.is_unit
    assert not all_unit(vectors)
    assert codes_of(clustered(3000)).changed(
        np.array([1]), np.array([1], dtype=np.int64), vectors[2500:2501]
    ).is_unit is False  # fmt: skip


def test_a_code_takes_an_eighth_of_a_byte_for_each_number() -> None:
    codes = codes_of(clustered(4000, 128))
    assert codes.size == 4000 * (128 // 8 + 8 + 4) + 128 * 4


@pytest.mark.parametrize("rows", [1, 2, 5, 99])
def test_few_vectors_have_codes_too(rows: int) -> None:
    vectors = clustered(rows)
    codes = codes_of(vectors)
    assert set(codes.nearest(vectors[0], 1000)) == set(range(rows))


def test_the_most_that_calibration_takes_is_bounded() -> None:
    codes = codes_of(clustered(20_000, 64))
    assert codes.needed is None or all(
        n <= most for n, most in zip(codes.needed, MOST, strict=True)
    )
