"""Distances in numpy, registered as SQL functions where sqlite-vec has none or cannot be loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from datastore.types import FloatVector

#: The functions of sqlite-vec that the search uses, so that one statement serves both.
COSINE, L2 = "vec_distance_cosine", "vec_distance_l2"
#: sqlite-vec 0.1.9 has no inner product.
NEGATIVE_PRODUCT = "datastore_negative_product"


Blob: TypeAlias = bytes | None


def _distance(measure: Callable[[FloatVector, FloatVector], Any]) -> Callable[[Blob, Blob], Any]:
    """Make an SQL function of a distance: NULL for NULL, an error for two lengths."""

    def function(left: Blob, right: Blob) -> float | None:
        if left is None or right is None:
            return None
        return float(measure(np.frombuffer(left, dtype="<f4"), np.frombuffer(right, dtype="<f4")))

    return function


@_distance
def cosine_distance(a: FloatVector, b: FloatVector) -> Any:
    """Return 1 - cosine similarity."""
    return 1.0 - np.dot(a, b) / (np.sqrt(np.dot(a, a)) * np.sqrt(np.dot(b, b)))


@_distance
def l2_distance(a: FloatVector, b: FloatVector) -> Any:
    """Return the Euclidean distance."""
    return np.sqrt(np.dot(a - b, a - b))


@_distance
def negative_product(a: FloatVector, b: FloatVector) -> Any:
    """Return the negative inner product, so that smaller is nearer."""
    return -np.dot(a, b)


def register_distances(connection: Any, *, native: bool) -> None:
    """Add what this connection lacks; `native` says that sqlite-vec is loaded."""
    connection.create_function(NEGATIVE_PRODUCT, 2, negative_product, deterministic=True)
    if not native:
        connection.create_function(COSINE, 2, cosine_distance, deterministic=True)
        connection.create_function(L2, 2, l2_distance, deterministic=True)
