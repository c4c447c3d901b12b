"""Tables of an imagined host application, which knows nothing of ours."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from datastore import Datastore, FullTextIndex, RowKey, Text, Vector, VectorIndex
from datastore.textquery import Tokenizer

DIMENSIONS = 4


class Notes:
    """A table with one index of each kind, and a store over it."""

    def __init__(
        self,
        *,
        metric: str = "cosine",
        dimensions: int | None = DIMENSIONS,
        weights: Mapping[str, float] | None = None,
        language: str | None = None,
        tokenizer: Tokenizer = "words",
    ) -> None:
        self.metadata = sa.MetaData()
        self.table = sa.Table(
            "notes",
            self.metadata,
            sa.Column("rid", RowKey(), primary_key=True),
            sa.Column("id", Text(), nullable=False, unique=True),
            sa.Column("title", Text()),
            sa.Column("body", Text()),
            sa.Column("kind", Text()),
            sa.Column("embedding", Vector(dimensions)),
        )
        self.vectors = VectorIndex("note_vectors", self.table.c.embedding, metric=metric)  # type: ignore[arg-type]
        self.words = FullTextIndex(
            "note_words",
            self.table.c.title,
            self.table.c.body,
            weights=weights,
            language=language,
            tokenizer=tokenizer,
        )

    def over(self, store: Datastore) -> Datastore:
        """Create the tables, and return a store that may search them by name."""
        with store.engine.begin() as connection:
            self.metadata.create_all(connection)
        return Datastore(store.engine, metadata=self.metadata, settings=store.settings)

    def fill(self, store: Datastore, rows: Sequence[Mapping[str, Any]]) -> None:
        empty = {"title": None, "body": None, "kind": None, "embedding": None}
        store.execute(
            sa.insert(self.table),
            [{"rid": n, "id": f"n{n}", **empty, **row} for n, row in enumerate(rows, 1)],
        )


def tokens(text: str) -> list[str]:
    """Words of plain ASCII text that Porter's algorithm leaves as they are."""
    return re.findall("[a-z0-9]+", text.lower())


def bm25(
    texts: Mapping[Any, Sequence[str]], query: Sequence[str], weights: Sequence[float]
) -> dict[Any, float]:
    """FTS5's bm25() with its sign turned (SQLite manual, FTS5, 5.1.1): key -> relevance.

    `texts` has one text per column; a word of the query that is repeated counts as often.
    """
    k1, b = 1.2, 0.75
    columns = {key: [Counter(tokens(text)) for text in row] for key, row in texts.items()}
    lengths = {key: sum(sum(c.values()) for c in row) for key, row in columns.items()}
    mean = sum(lengths.values()) / len(lengths) if lengths else 0.0
    scores: dict[Any, float] = {}
    for word in query:
        holders = [key for key, row in columns.items() if any(word in c for c in row)]
        idf = math.log((len(columns) - len(holders) + 0.5) / (len(holders) + 0.5))
        for key in holders:
            frequency = sum(w * c[word] for w, c in zip(weights, columns[key], strict=True))
            norm = k1 * (1 - b + b * lengths[key] / mean)
            part = max(idf, 1e-6) * frequency * (k1 + 1) / (frequency + norm)
            scores[key] = scores.get(key, 0.0) + part
    return scores
