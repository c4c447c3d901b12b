"""The embedding cache: a text that was embedded lately is not embedded again.

It is keyed by model and content, whoever asked and wherever the text stands, so that equal texts,
files that come back and runs that were broken off cost nothing. It keeps the latest vectors alone:
beside the embeddings themselves it is a copy, and would otherwise double the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import sqlalchemy as sa

from datastore import Datastore, Text, Transaction, each, upsert
from datastore.bulk import batches
from datastore.types import FloatVector
from repositories.base import now
from repositories.chunks import content_hash
from repositories.embedders import EMBED_BATCH, Embedder, embed
from repositories.embedding import embed_for, recorded_dimensions
from repositories.tables import embedding_cache

#: How many vectors are kept: 120 MB of 1,536 dimensions, 30 MB of 384.
MOST = 20_000
#: How a vector is kept.
FLOATS = np.dtype("<f4")

_cache = embedding_cache.c
_MODEL = sa.bindparam("of_model", type_=Text())
_HASHES = sa.select(each(sa.bindparam("hashes")).c.value)
_THESE = sa.and_(_cache.model == _MODEL, _cache.content_hash.in_(_HASHES))
_FIND = sa.select(_cache.content_hash, _cache.embedding).where(_THESE)
_PUT = upsert(embedding_cache, update=[_cache.embedding, _cache.created_at])
# Those that came together go together, so that a little less than the most may be left.
_TRIM = sa.delete(embedding_cache).where(
    _cache.created_at
    <= sa.select(_cache.created_at)
    .order_by(_cache.created_at.desc())
    .limit(1)
    .offset(sa.bindparam("most"))
    .scalar_subquery()
)
_FORGET = sa.delete(embedding_cache).where(_cache.content_hash.in_(_HASHES))
_DROP = sa.delete(embedding_cache).where(_cache.model == _MODEL)


class EmbeddingCache:
    """Embeds through a table of the store. An embedder without a model goes past it."""

    def __init__(self, store: Datastore, most: int = MOST) -> None:
        self._store = store
        self._most = most

    def embed(self, embedder: Embedder, texts: Sequence[str]) -> list[FloatVector]:
        """Return the vectors of texts in their order; ask for those that are not known, once each.

        Raises as `repositories.embedders.embed`.
        """
        if embedder.model is None:
            return embed_for(self._store, embedder, texts)
        hashes = [content_hash(text) for text in texts]
        recorded = recorded_dimensions(self._store, embedder.model)
        known = self._known(embedder, recorded, hashes)
        wanted = {key: text for key, text in zip(hashes, texts, strict=True) if key not in known}
        for batch in batches(wanted.items(), EMBED_BATCH):
            vectors = embed(embedder, [text for _, text in batch], recorded)
            recorded = vectors[0].size
            fresh = {key: vector for (key, _), vector in zip(batch, vectors, strict=True)}
            self._store.run(self._put, embedder.model, fresh)
            known |= fresh
        return [known[key] for key in hashes]

    def _known(
        self, embedder: Embedder, recorded: int | None, hashes: Sequence[str]
    ) -> dict[str, FloatVector]:
        """Return vectors by hash; none where nothing tells how long they have to be."""
        lengths = {each for each in (embedder.dimensions, recorded) if each is not None}
        if not lengths:
            return {}
        rows = self._store.query(_FIND, {"of_model": embedder.model, "hashes": hashes})
        found = {row["content_hash"]: np.frombuffer(row["embedding"], FLOATS) for row in rows}
        return {key: vector for key, vector in found.items() if lengths == {vector.size}}

    def _put(self, transaction: Transaction, model: str, fresh: dict[str, FloatVector]) -> None:
        shared = {"model": model, "created_at": now()}
        rows = [
            {**shared, "content_hash": key, "embedding": vector.astype(FLOATS).tobytes()}
            for key, vector in sorted(fresh.items())  # so that nobody waits in a circle
        ]
        transaction.execute(_PUT, rows)
        transaction.execute(_TRIM, {"most": self._most})


def forget_texts(transaction: Transaction, hashes: Iterable[str]) -> None:
    """Remove what is cached of these texts, of every model."""
    transaction.execute(_FORGET, {"hashes": list(hashes)})


def drop_model(transaction: Transaction, model: str) -> None:
    """Remove what is cached of a model."""
    transaction.execute(_DROP, {"of_model": model})
