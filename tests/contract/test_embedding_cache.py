"""The embedding cache on every backend: what was embedded lately is not embedded again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from datastore import Datastore
from datastore.errors import EmbeddingError, EmbeddingRefusedError
from repositories import Chunk, ChunkRepository
from repositories.embedding_cache import EmbeddingCache
from tests.contract.word_embedder import WordEmbedder


def cached(store: Datastore, model: str = "words") -> int:
    rows = store.query("SELECT count(*) AS n FROM embedding_cache WHERE model = :m", {"m": model})
    return int(rows[0]["n"])


def test_a_text_is_embedded_once_and_vectors_come_in_order(store: Datastore) -> None:
    embedder = WordEmbedder()
    cache = EmbeddingCache(store)
    first = cache.embed(embedder, ["red", "green", "red"])
    assert embedder.texts == ["red", "green"]
    again = EmbeddingCache(store).embed(embedder, ["green", "blue", "red"])
    assert embedder.texts == ["red", "green", "blue"]
    np.testing.assert_array_equal(first[0], again[2])
    np.testing.assert_array_equal(first[1], again[0])
    assert cache.embed(embedder, []) == []


def test_models_are_apart(store: Datastore) -> None:
    one, two = WordEmbedder("one"), WordEmbedder("two", 8)
    for embedder in (one, two):
        EmbeddingCache(store).embed(embedder, ["red"])
        assert embedder.texts == ["red"]


def test_vectors_of_another_length_are_made_anew_and_replaced(store: Datastore) -> None:
    cache = EmbeddingCache(store)
    cache.embed(WordEmbedder(dimensions=8), ["red"])
    for _ in range(2):
        longer = WordEmbedder(dimensions=16)
        assert cache.embed(longer, ["red"])[0].size == 16
    assert longer.texts == []


def test_vectors_that_do_not_fit_those_of_the_store_are_neither_kept_nor_used(
    store: Datastore,
) -> None:
    cache = EmbeddingCache(store)
    cache.embed(WordEmbedder(dimensions=8), ["old"])
    ChunkRepository(store, model="words").add(Chunk("a", "a", 1, 1, "text", [1.0] * 16))
    silent = WordEmbedder(dimensions=None)
    assert cache.embed(silent, ["old"])[0].size == 16
    with pytest.raises(EmbeddingRefusedError, match="expected 16 dimensions, got 8"):
        cache.embed(WordEmbedder(dimensions=8), ["new"])
    assert cached(store) == 1


def test_an_embedder_without_a_model_goes_past_it(store: Datastore) -> None:
    embedder = WordEmbedder(model=None)
    for _ in range(2):
        EmbeddingCache(store).embed(embedder, ["red"])
    assert embedder.texts == ["red", "red"]
    assert store.query("SELECT * FROM embedding_cache") == []


def test_what_was_made_before_a_failure_stays(store: Datastore) -> None:
    class Failing(WordEmbedder):
        def embed(self, texts: Sequence[str], /) -> np.ndarray:
            if "99" in texts:
                raise ConnectionError
            return super().embed(texts)

    with pytest.raises(EmbeddingError):
        EmbeddingCache(store).embed(Failing(), [str(n) for n in range(100)])
    assert cached(store) == 64


def test_the_oldest_are_given_up_beyond_a_number(store: Datastore) -> None:
    cache, embedder = EmbeddingCache(store, most=3), WordEmbedder()
    for word in ("one", "two", "three", "four", "five"):
        cache.embed(embedder, [word])
    assert cached(store) == 3
    cache.embed(embedder, ["five", "one"])
    assert embedder.texts == ["one", "two", "three", "four", "five", "one"]
