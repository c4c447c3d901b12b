"""Which of a memory's embedders is asked: the one of the model that the store uses.

A program that is given those of the old and of the new model goes on while the model is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

from datastore import Datastore
from datastore.errors import EmbeddingMismatchError
from datastore.types import FloatVector
from repositories.embedders import AnyEmbedder, Embedder, as_embedder, hurried
from repositories.embedding import embed_for
from repositories.embedding_cache import EmbeddingCache
from repositories.spaces import active_space

T = TypeVar("T")
#: Queries whose vectors a process remembers.
QUERIES = 256


class EmbedderChoice:
    """None, one or several embedders over one store, with its cache or past it."""

    def __init__(
        self,
        store: Datastore,
        given: AnyEmbedder | Sequence[AnyEmbedder] | None,
        *,
        cache: bool = True,
    ) -> None:
        several = given if isinstance(given, Sequence) else [] if given is None else [given]
        self.embedders: tuple[Embedder, ...] = tuple(map(as_embedder, several))
        self._store = store
        self._cache = EmbeddingCache(store) if cache else None
        self._remembered = lru_cache(QUERIES)(self._embed_query)

    @property
    def first(self) -> Embedder | None:
        """The one that a store without vectors begins with."""
        return self.embedders[0] if self.embedders else None

    def current(self) -> Embedder | None:
        """Return the one of the model in use, or else the first, whose claim will be refused."""
        if len(self.embedders) < 2:
            return self.first
        space = active_space(self._store)
        unnamed = self._store.settings.embedding.model
        fitting = (
            each for each in self.embedders if space and (each.model or unnamed) == space.model
        )
        return next(fitting, self.first)

    def using(self, action: Callable[[Embedder | None], T]) -> T:
        """Call with the current one; again, with another, where the model was changed meanwhile."""
        chosen = self.current()
        try:
            return action(chosen)
        except EmbeddingMismatchError:
            another = self.current()
            if another is chosen:
                raise
        return action(another)

    def embed(self, embedder: Embedder, texts: Sequence[str]) -> list[FloatVector]:
        """Embed texts; raises as `repositories.embedders.embed`."""
        if self._cache is None:
            return embed_for(self._store, embedder, texts)
        return self._cache.embed(embedder, texts)

    def embed_query(self, embedder: Embedder, query: str) -> FloatVector:
        """Embed a query, or remember it from before: a search writes nothing, so no table is used.

        Raises as `embed`; a failure is not remembered.
        """
        position = next(i for i, each in enumerate(self.embedders) if each is embedder)
        return self._remembered(position, query)

    def _embed_query(self, position: int, query: str) -> FloatVector:
        return embed_for(self._store, hurried(self.embedders[position]), [query])[0]
