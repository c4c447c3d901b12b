"""Distances in numpy, registered as SQL functions where sqlite-vec has none or cannot be loaded."""

from __future__ import annotations

from typing import Any

import numpy as np

from datastore.types import FloatVector

#: The functions of sqlite-vec that the search uses, so that one statement serves both.
COSINE, L2 = "vec_distance_cosine", "vec_distance_l2"
#: sqlite-vec 0.1.9 has no inner product.
NEGATIVE_PRODUCT = "datastore_negative_product"


def _vectors(left: bytes, right: bytes) -> tuple[FloatVector, FloatVector]:
    a, b = np.frombuffer(left, dtype="<f4"), np.frombuffer(right, dtype="<f4")
    if a.size != b.size:
        raise ValueError("vectors of different lengths")
    return a, b


def cosine_distance(left: bytes | None, right: bytes | None) -> float | None:
    """Return 1 - cosine similarity."""
    if left is None or right is None:
        return None
    a, b = _vectors(left, right)
    return float(1.0 - np.dot(a, b) / (np.sqrt(np.dot(a, a)) * np.sqrt(np.dot(b, b))))


def l2_distance(left: bytes | None, right: bytes | None) -> float | None:
    """Return the Euclidean distance."""
    if left is None or right is None:
        return None
    a, b = _vectors(left, right)
    difference = a - b
    return float(np.sqrt(np.dot(difference, difference)))


def negative_product(left: bytes | None, right: bytes | None) -> float | None:
    """Return the negative inner product, so that smaller is nearer."""
    if left is None or right is None:
        return None
    return -float(np.dot(*_vectors(left, right)))


def register_distances(connection: Any, *, native: bool) -> None:
    """Add what this connection lacks; `native` says that sqlite-vec is loaded."""
    connection.create_function(NEGATIVE_PRODUCT, 2, negative_product, deterministic=True)
    if not native:
        connection.create_function(COSINE, 2, cosine_distance, deterministic=True)
        connection.create_function(L2, 2, l2_distance, deterministic=True)
