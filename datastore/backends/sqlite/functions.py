"""What SQLite cannot do by itself, registered as SQL functions.

Distances in numpy, where sqlite-vec has none or cannot be loaded; and for substrings that FTS5
cannot match, how often they stand in a text, and the logarithm, which some builds of SQLite lack.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from datastore.textquery import fold_case
from datastore.types import FloatVector

#: The functions of sqlite-vec that the search uses, so that one statement serves both.
COSINE, L2 = "vec_distance_cosine", "vec_distance_l2"
#: sqlite-vec 0.1.9 has no inner product.
NEGATIVE_PRODUCT = "datastore_negative_product"
PLACES, LN = "datastore_places", "datastore_ln"


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


def places(text: str | None, term: str) -> int:
    """Count the places of `term` in `text`, both folded by case, overlapping ones too."""
    folded, wanted = _folded(text or ""), fold_case(term)
    count, at = 0, folded.find(wanted)
    while at >= 0:
        count, at = count + 1, folded.find(wanted, at + 1)
    return count


# Each text is asked for twice: whether a term is in it at all, and how often.
_folded = lru_cache(maxsize=8)(fold_case)


def register_substrings(connection: Any) -> None:
    """Add the functions of a search for substrings."""
    connection.create_function(PLACES, 2, places, deterministic=True)
    connection.create_function(LN, 1, math.log, deterministic=True)
