"""Texts with vectors in a store: the tables that the cases of searching share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from benchmarks.data import Vectors
from benchmarks.metrics import overlap
from benchmarks.workbench import Workbench, settle
from datastore import Datastore, FullTextIndex, Text, Vector, VectorIndex

#: One row in so many is of one group: a filter by group keeps 1 % of the rows.
GROUPS = 100
LIMIT = 10

#: Vectors stand in a narrow table of their own, as those of the repositories do.
metadata = sa.MetaData()
texts = sa.Table(
    "texts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("part", sa.Integer, nullable=False),
    sa.Column("half", sa.Integer, nullable=False),
    sa.Column("body", Text(), nullable=False),
)
sa.Index("ix_texts_part", texts.c.part)
sa.Index("ix_texts_half", texts.c.half)
FullTextIndex("texts_words", texts.c.body)
vectors = sa.Table(
    "vectors",
    metadata,
    sa.Column("text", sa.ForeignKey(texts.c.id), primary_key=True, autoincrement=False),
    sa.Column("embedding", Vector(384), nullable=False),
)
VectorIndex("texts_vectors", vectors.c.embedding, of=texts)


def part_of(number: int) -> int:
    """Return the group of a row, spread over the table without a pattern."""
    return number * 7_919 % GROUPS


def half_of(number: int) -> int:
    """Return 0 or 1, likewise."""
    return number * 7_919 // GROUPS % 2


def fill(
    bench: Workbench, store: Datastore, stored: np.ndarray, bodies: Sequence[str] = ()
) -> Datastore:
    """Load vectors with their texts, or with a short text each, and make the store ready."""
    store.insert_many(texts, _text_rows(len(stored), bodies))
    store.insert_many(
        vectors, ({"text": n, "embedding": vector} for n, vector in enumerate(stored))
    )
    return settle(bench, store)


def _text_rows(size: int, bodies: Sequence[str]) -> Iterator[dict[str, Any]]:
    for number in range(size):
        body = bodies[number] if bodies else f"text {number}"
        yield {"id": number, "part": part_of(number), "half": half_of(number), "body": body}


def nearest_exactly(data: Vectors, count: int, rows: np.ndarray | None = None) -> list[list[int]]:
    """Return the numbers of the ten nearest rows, of all or of `rows`, for `count` queries."""
    numbers = np.arange(len(data.stored)) if rows is None else rows
    likeness = data.queries[:count] @ data.stored[numbers].T
    found: list[list[int]] = numbers[np.argsort(-likeness, axis=1)[:, :LIMIT]].tolist()
    return found


def recall(found: Sequence[Sequence[int]], expected: Sequence[Sequence[int]]) -> float:
    """Return which share of the expected rows was found."""
    return float(np.mean([overlap(mine, its) for mine, its in zip(found, expected, strict=True)]))
