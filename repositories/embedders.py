"""Embedders: what turns texts into vectors, and how its answers and failures are taken.

An `Embedder` names its model, so that its vectors are never mixed with those of another. A plain
callable is one too, of the model that the settings name. Adapters for servers and libraries stand
in files of their own: `http_embedder.py`, `sentence_transformer.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np

from datastore.bulk import batches
from datastore.errors import (
    DatastoreError,
    DimensionError,
    EmbeddingError,
    InvalidValueError,
)
from datastore.types import FloatVector, as_vector

#: Texts per call of an embedder.
EMBED_BATCH = 64


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors of one model."""

    @property
    def model(self) -> str | None:
        """The name by which its vectors are known; None: the model that the settings name."""

    @property
    def dimensions(self) -> int | None:
        """The length of its vectors; None where only an answer tells."""

    def embed(self, texts: list[str], /) -> Any:
        """Return an array of shape (texts, dimensions), in the order of the texts.

        It may raise anything: searches then go on by text alone.
        """


#: What is taken for an embedder; a callable may have the attributes `model` and `dimensions`.
AnyEmbedder: TypeAlias = Embedder | Callable[[list[str]], Any]


class CallableEmbedder:
    """Makes an embedder of a function from a list of texts to an array."""

    def __init__(
        self,
        function: Callable[[list[str]], Any],
        model: str | None = None,
        dimensions: int | None = None,
    ) -> None:
        self._function = function
        self.model: str | None = model or getattr(function, "model", None)
        self.dimensions: int | None = dimensions or getattr(function, "dimensions", None)

    def embed(self, texts: list[str], /) -> Any:
        """Call the function."""
        return self._function(texts)


def as_embedder(given: AnyEmbedder) -> Embedder:
    """Return an embedder as it is, a callable as one; raise `InvalidValueError` for all else."""
    if isinstance(given, Embedder):
        return given
    if callable(given):
        return CallableEmbedder(given)
    raise InvalidValueError(f"embedder: expected an Embedder, got {type(given).__name__}")


def embed(embedder: Embedder, texts: Sequence[str]) -> list[FloatVector]:
    """Embed texts in batches; check that every answer is what it should be.

    Raises `EmbeddingError` where the embedder raises, its own exception as the cause;
    `InvalidValueError` or `DimensionError` for what is no array of such vectors.
    """
    vectors: list[FloatVector] = []
    for batch in batches(texts, EMBED_BATCH):
        vectors.extend(_checked(embedder, _answer(embedder, batch), len(batch)))
    return vectors


def _answer(embedder: Embedder, batch: list[str]) -> Any:
    try:
        return embedder.embed(batch)
    except DatastoreError:
        raise
    except Exception as error:  # whatever somebody's model may raise; its text may quote ours
        raise EmbeddingError(f"{_named(embedder)} raised {type(error).__name__}") from error


def _checked(embedder: Embedder, answer: Any, count: int) -> list[FloatVector]:
    try:
        with np.errstate(over="ignore"):  # infinity is refused below
            array = np.asarray(answer, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidValueError(f"{_named(embedder)} gave no array of numbers") from error
    if array.ndim != 2 or len(array) != count:
        raise InvalidValueError(
            f"{_named(embedder)}: expected an array of shape ({count}, dimensions), "
            f"got {array.shape}"
        )
    expected = embedder.dimensions
    if expected is not None and array.shape[1] != expected:
        raise DimensionError(expected=expected, got=array.shape[1], what=_named(embedder))
    return [as_vector(row) for row in cast("np.ndarray[Any, Any]", array)]


def _named(embedder: Embedder) -> str:
    return "embedder" if embedder.model is None else f"embedder {embedder.model}"
