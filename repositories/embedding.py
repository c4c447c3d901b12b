"""Embedding for a store: vectors of the length that it has recorded, and texts that are refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from datastore.errors import EmbeddingRefusedError
from datastore.types import FloatVector
from repositories.base import Session, settings_of
from repositories.embedders import Embedder, embed
from repositories.spaces import recorded_spaces

#: Returns the vectors of texts in their order, or raises as `repositories.embedders.embed`.
Embed: TypeAlias = Callable[[Sequence[str]], list[FloatVector]]

#: So many texts refused in a row, each by itself, and it is not the texts.
MOST_REFUSALS = 3


def recorded_dimensions(session: Session, model: str | None) -> int | None:
    """Return the length of the vectors that the store has of a model, None where it has none.

    The model None is that of the settings.
    """
    name = settings_of(session).embedding.model if model is None else model
    spaces = recorded_spaces(session)
    return next((space.dimensions for space in spaces if space.model == name), None)


def embed_for(session: Session, embedder: Embedder, texts: Sequence[str]) -> list[FloatVector]:
    """Embed texts as vectors that fit those that the store has of this model.

    Raises `EmbeddingError` as `repositories.embedders.embed`.
    """
    return embed(embedder, texts, recorded_dimensions(session, embedder.model))


class Refusals:
    """Sets the texts aside that an embedder refuses, so that the others get their vectors."""

    def __init__(self) -> None:
        self.texts: set[str] = set()
        self.last: EmbeddingRefusedError | None = None
        self._in_a_row = 0

    def embed(self, embed: Embed, texts: Sequence[str]) -> dict[str, FloatVector]:
        """Return vectors by text; those that are refused, now or before, are left out.

        Raises `EmbeddingError` where the embedder fails, or refuses several texts in a row.
        """
        wanted = [text for text in dict.fromkeys(texts) if text not in self.texts]
        return self._embed(embed, wanted) if wanted else {}

    def _embed(self, embed: Embed, texts: list[str]) -> dict[str, FloatVector]:
        try:
            found = dict(zip(texts, embed(texts), strict=True))
        except EmbeddingRefusedError as error:
            if len(texts) == 1:
                return self._refused(texts[0], error)
        else:
            self._in_a_row = 0
            return found
        half = len(texts) // 2
        return self._embed(embed, texts[:half]) | self._embed(embed, texts[half:])

    def _refused(self, text: str, error: EmbeddingRefusedError) -> dict[str, FloatVector]:
        self.texts.add(text)
        self.last = error
        self._in_a_row += 1
        if self._in_a_row >= MOST_REFUSALS:
            raise error
        return {}
