"""Embeddings of a model that runs in this process, by the package sentence-transformers."""

from __future__ import annotations

import importlib
from typing import Any

from datastore.errors import CapabilityError


class SentenceTransformerEmbedder:
    """A model of the hub or of a folder; raises `CapabilityError` without the package.

    `options` are those of `sentence_transformers.SentenceTransformer`, such as `device`.
    """

    def __init__(self, model: str, **options: Any) -> None:
        try:
            package = importlib.import_module("sentence_transformers")
        except ImportError as error:
            raise CapabilityError(
                "embeddings in this process",
                found="no package sentence-transformers",
                needed="it",
                remedy="pip install sentence-transformers",
            ) from error
        self._transformer = package.SentenceTransformer(model, **options)
        self.model: str | None = model
        # Asked of the model itself: the method that tells has had several names.
        self.dimensions: int | None = len(self.embed(["dimensions"])[0])

    def embed(self, texts: list[str], /) -> Any:
        """Return a float32 array of shape (texts, dimensions)."""
        return self._transformer.encode(texts, convert_to_numpy=True, show_progress_bar=False)
