"""Sign-bit codes: a bit for each number of a vector, by which candidates are found in memory.

Two vectors that point the same way have the same signs, so that the number of bits in which their
codes differ tells roughly how far they are apart, at a thirty-second of the memory. Of those with
the fewest, the codes are then compared with the numbers of the query rather than their signs, which
tells several times more, and one number is kept of each vector that signs know nothing of: how far
it lies from the center. Both together estimate the distance, as in RaBitQ (Gao and Long: "RaBitQ:
Quantizing High-Dimensional Vectors with a Theoretical Error Bound for Approximate Nearest Neighbor
Search", SIGMOD 2024). That is enough to choose candidates, whose distances are then computed. How
many it takes is measured on the vectors themselves, and vectors that signs tell too little of are
found out by it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datastore.types import FloatVector

Keys: TypeAlias = NDArray[np.int64]
#: Rows by dimensions.
Matrix: TypeAlias = NDArray[np.float32]

#: Calibration measures how many candidates these numbers of hits take; fewer hits take as many as
#: the first, and numbers between and beyond what the line through both says, on a scale of powers.
HITS = (10, 100)
#: The least candidates for them, which real embeddings need for a recall of 0.99, and the most:
#: beyond it, computing every distance is about as fast.
FEWEST, MOST = (128, 512), (1280, 12800)
#: So many codes for each candidate are compared with the numbers of the query.
POOL = 8
#: The recall that calibration wants, and the least that it settles for.
WANTED_RECALL, LEAST_RECALL = 0.99, 0.95
#: How many vectors stand for the queries.
QUERIES = 32
#: A query is made of two vectors, which are its first neighbours and easy to find.
PARENTS = 2
#: How far the length of a vector may be from one to count as one: float32 rounding.
UNIT_TOLERANCE = 1e-3
#: Codes that are compared at a time, so that what is computed stays in the processor's cache.
BLOCK = 16_384
#: The bits of each value of an octet, as 1 and -1.
_SIGNS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, np.newaxis], axis=1) * np.float32(2) - 1


@dataclass(frozen=True)
class SignCodes:
    """The codes of one vector space; immutable, so that threads may share it.

    `words` holds 64 bits of every vector in each of its rows. `center` is taken from each vector
    before its signs are: numbers that are all positive have a sign all the same. `offsets` holds
    how far from it each vector lies, `likeness` the usual product of a direction with its own
    signs. `is_unit` says that every vector has length one. `needed` is how many candidates each
    number of `HITS` takes, None where no number will do.
    """

    keys: Keys
    words: NDArray[np.uint64]
    offsets: FloatVector
    center: FloatVector
    likeness: float
    is_unit: bool
    needed: tuple[int, int] | None

    @property
    def size(self) -> int:
        """The bytes that it takes in memory."""
        arrays = self.keys, self.words, self.offsets, self.center
        return sum(array.nbytes for array in arrays)

    def wanted(self, limit: int, oversample: int | None = None) -> int:
        """Return how many candidates `limit` hits take."""
        if oversample is not None:
            return oversample * max(limit, HITS[0])
        few, many = self.needed or MOST
        exponent = math.log(many / few) / math.log(HITS[1] / HITS[0])
        return max(limit, int(few * (max(limit, HITS[0]) / HITS[0]) ** exponent))

    def nearest(
        self, query: FloatVector, count: int, among: Keys | None = None, pool: int = 0
    ) -> Keys:
        """Return the keys of the `count` codes nearest to `query`, nearest first.

        They are taken from the `pool` (`POOL * count` unless given) with the fewest bits apart.
        """
        keys, words = self.keys, self.words
        chosen = None if among is None else np.flatnonzero(np.isin(keys, among))
        if chosen is not None:
            words = words[:, chosen]
        centered = unit(query[np.newaxis]) - self.center
        fewest = first(bits_apart(words, pack(centered)), max(pool or POOL * count, count))
        places = fewest if chosen is None else chosen[fewest]
        far = self._far(code_products(words[:, fewest], centered[0]), places)
        best = first(far, count)
        return keys[places[best[np.argsort(far[best], kind="stable")]]]

    def _far(self, products: NDArray[np.float32], places: NDArray[np.intp]) -> FloatVector:
        """Estimate distances from the products of a query with the codes at `places`.

        They are half the squares, less what is the same for all: |q-c|² / 2.
        """
        offsets = self.offsets[places]
        far = offsets * (offsets / 2 - products / np.float32(self.likeness))
        return far.astype(np.float32, copy=False)

    def changed(self, gone: Keys, keys: Keys, vectors: Matrix) -> SignCodes:
        """Return the codes without those of `gone`, and with those of new vectors."""
        kept = ~np.isin(self.keys, gone)
        fresh = unit(vectors) - self.center
        return replace(
            self,
            keys=np.concatenate([self.keys[kept], keys]),
            words=np.concatenate([self.words[:, kept], pack(fresh)], axis=1),
            offsets=np.concatenate([self.offsets[kept], lengths(fresh)]),
            is_unit=self.is_unit and all_unit(vectors),
        )


def build(blocks: Iterable[tuple[Keys, Matrix]], sample: Matrix) -> SignCodes:
    """Make the codes of all vectors; `sample` holds some of them, drawn at random."""
    drawn = unit(sample)
    center = drawn.mean(axis=0)
    truth = Neighbours(likely_queries(drawn))
    keys, words, offsets, is_unit = [], [], [], True
    for block_keys, vectors in blocks:
        is_unit = is_unit and all_unit(vectors)
        directions = unit(vectors)
        truth.see(block_keys, directions)
        keys.append(block_keys)
        words.append(pack(directions - center))
        offsets.append(lengths(directions - center))
    codes = SignCodes(
        np.concatenate(keys),
        np.concatenate(words, axis=1),
        np.concatenate(offsets),
        center,
        sign_likeness(drawn - center),
        is_unit,
        needed=None,
    )
    return replace(codes, needed=truth.needed(codes))


def sign_likeness(vectors: Matrix) -> float:
    """Return the mean product of the vectors' directions with their own signs."""
    return float(np.abs(unit(vectors)).sum(axis=1).mean()) or 1.0  # all may lie in the center


def likely_queries(directions: Matrix) -> Matrix:
    """Return vectors half-way between two others.

    Real queries are farther from what they find than vectors are from one another, and taking the
    vectors for queries promises too much.
    """
    half = min(QUERIES, len(directions) // 2)
    return unit(directions[:half] + directions[half : 2 * half])


class Neighbours:
    """The nearest neighbours of some queries among vectors that are seen a block at a time."""

    def __init__(self, queries: Matrix) -> None:
        self.queries = queries
        self._keys = np.zeros((0, len(queries)), dtype=np.int64)
        self._products = np.zeros((0, len(queries)), dtype=np.float32)

    def see(self, keys: Keys, directions: Matrix) -> None:
        """Keep the nearest of those seen so far; `directions` have length one."""
        products = np.concatenate([self._products, directions @ self.queries.T])
        every = np.concatenate([self._keys, np.repeat(keys[:, np.newaxis], len(self.queries), 1)])
        count = min(HITS[1] + PARENTS, len(products))
        best = np.argpartition(-products, count - 1, axis=0)[:count]
        self._products = np.take_along_axis(products, best, axis=0)
        self._keys = np.take_along_axis(every, best, axis=0)

    def needed(self, codes: SignCodes) -> tuple[int, int] | None:
        """Return how many candidates hold enough of the neighbours, None where too many do."""
        ranks = [
            self._ranks(codes, query, keys)
            for query, keys in zip(self.queries, self._nearest_first().T, strict=True)
        ]
        if not ranks or not ranks[0].size:
            return None
        of_few, of_many = (np.concatenate([r[:hits] for r in ranks]) for hits in HITS)
        if np.quantile(of_few, LEAST_RECALL) >= MOST[0]:
            return None
        few, many = (
            int(np.clip(np.quantile(found, WANTED_RECALL) + 1, fewest, most))
            for found, fewest, most in zip((of_few, of_many), FEWEST, MOST, strict=True)
        )
        return few, max(few, many)

    def _nearest_first(self) -> Keys:
        order = np.argsort(-self._products, axis=0, kind="stable")[PARENTS:]
        return np.take_along_axis(self._keys, order, axis=0)

    @staticmethod
    def _ranks(codes: SignCodes, query: FloatVector, keys: Keys) -> NDArray[np.int64]:
        """Return how many codes are nearer than that of each of `keys`; all, for one not chosen."""
        found = codes.nearest(query, POOL * MOST[0], pool=POOL * MOST[0])
        order = np.argsort(found, kind="stable")
        places = np.minimum(np.searchsorted(found, keys, sorter=order), found.size - 1)
        return np.where(found[order[places]] == keys, order[places], codes.keys.size)


def first(measure: NDArray[Any], count: int) -> NDArray[np.intp]:
    """Return where the `count` smallest are, in no order."""
    if count >= measure.size:
        return np.arange(measure.size)
    # To part the values and look for them again takes a fifth of the time of `argpartition`.
    limit = np.partition(measure, count)[count]
    below = np.flatnonzero(measure < limit)
    return np.concatenate([below, np.flatnonzero(measure == limit)[: count - below.size]])


def bits_apart(words: NDArray[np.uint64], code: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """Return in how many bits each column of `words` differs from the one of `code`."""
    apart = np.zeros(words.shape[1], dtype=np.uint16)
    for start in range(0, apart.size, BLOCK):
        block = slice(start, start + BLOCK)
        for word, bits in zip(words, code[:, 0], strict=True):
            apart[block] += np.bitwise_count(word[block] ^ bits)
    return apart


def code_products(words: NDArray[np.uint64], query: FloatVector) -> NDArray[np.float32]:
    """Return the inner product of `query` with each code, its bits standing for 1 and -1."""
    octets = np.ascontiguousarray(words.T).view(np.uint8)
    padded = np.zeros(octets.shape[1] * 8, dtype=np.float32)
    padded[: query.size] = query
    # What each value of each octet adds, looked up instead of computed anew for every code.
    added = np.asarray(padded.reshape(-1, 8) @ _SIGNS.T, dtype=np.float32).ravel()
    places = octets + np.arange(0, added.size, 256)
    return np.asarray(added.take(places) @ np.ones(octets.shape[1], dtype=np.float32))


def unit(vectors: Matrix) -> Matrix:
    """Return vectors of length one that point the same way."""
    divisors = lengths(vectors)
    divisors[divisors == 0] = 1  # two opposite vectors have nothing between them
    return np.asarray(vectors / divisors[:, np.newaxis], dtype=np.float32)


def lengths(vectors: Matrix) -> FloatVector:
    """Return the length of each vector."""
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    return np.asarray(np.sqrt(squares), dtype=np.float32)


def all_unit(vectors: Matrix) -> bool:
    """Tell whether all vectors have length one."""
    return bool(np.all(np.abs(lengths(vectors) - 1) <= UNIT_TOLERANCE))


def pack(vectors: Matrix) -> NDArray[np.uint64]:
    """Return the signs as bits, 64 in a word, one column for each vector."""
    bits = np.packbits(vectors > 0, axis=1)
    words = np.zeros((len(bits), -(-bits.shape[1] // 8)), dtype=np.uint64)
    words.view(np.uint8)[:, : bits.shape[1]] = bits
    return np.ascontiguousarray(words.T)
