"""Embedders: what turns texts into vectors, and how its answers and failures are taken.

An `Embedder` names its model, so that its vectors are never mixed with those of another. A plain
callable is one too, of the model that the settings name. Adapters for servers and libraries stand
in files of their own: `http_embedder.py`, `sentence_transformer.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol, TypeAlias, runtime_checkable

import numpy as np

from datastore.bulk import batches
from datastore.errors import EmbeddingError, EmbeddingRefusedError, InvalidValueError
from datastore.types import FloatVector, as_vector

logger = logging.getLogger("datastore")

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


@runtime_checkable
class QueryEmbedder(Embedder, Protocol):
    """An embedder that hurries for a query: somebody waits for it."""

    def embed_queries(self, texts: list[str], /) -> Any:
        """Return what `embed` does, or raise the sooner."""


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
    if isinstance(given, type):
        raise InvalidValueError(f"embedder: expected an Embedder, got the class {given.__name__}")
    if isinstance(given, Embedder):
        return given
    if callable(given):
        return CallableEmbedder(given)
    raise InvalidValueError(f"embedder: expected an Embedder, got {type(given).__name__}")


def hurried(embedder: Embedder) -> Embedder:
    """Return the embedder to ask for queries."""
    if isinstance(embedder, QueryEmbedder):
        return CallableEmbedder(embedder.embed_queries, embedder.model, embedder.dimensions)
    return embedder


def embed(
    embedder: Embedder, texts: Sequence[str], dimensions: int | None = None
) -> list[FloatVector]:
    """Embed texts in batches; check that every answer is what it should be.

    `dimensions` is the length that the vectors must have beside what the embedder promises. Raises
    `EmbeddingError` where the embedder cannot be reached, its own exception as the cause, and
    `EmbeddingRefusedError` where it raises another one, or gives no array of such vectors.
    """
    vectors: list[FloatVector] = []
    for batch in batches(texts, EMBED_BATCH):
        expected = dimensions or (vectors[0].size if vectors else None)
        vectors.extend(_checked(embedder, _answer(embedder, batch), (len(batch), expected)))
    return vectors


def _answer(embedder: Embedder, batch: list[str]) -> Any:
    try:
        return embedder.embed(batch)
    except EmbeddingError:
        raise
    except OSError as error:  # a connection, a timeout
        _fail(embedder, error, EmbeddingError)
    except Exception as error:  # whatever somebody's model may raise
        _fail(embedder, error, EmbeddingRefusedError)


def _fail(embedder: Embedder, error: Exception, error_class: type[EmbeddingError]) -> NoReturn:
    """Raise without the message of `error`, which may quote texts or keys: the log has it."""
    what = f"{_named(embedder)} raised {type(error).__name__}"
    logger.debug("%s: %s", what, error)
    raise error_class(f"{what} (--verbose tells why)") from error


def _checked(embedder: Embedder, answer: Any, shape: tuple[int, int | None]) -> list[FloatVector]:
    array = numbers(answer)
    if array is None:
        raise EmbeddingRefusedError(f"{_named(embedder)} gave no array of numbers")
    count, recorded = shape
    if array.ndim != 2 or len(array) != count:
        raise EmbeddingRefusedError(
            f"{_named(embedder)}: expected an array of shape ({count}, dimensions), "
            f"got {array.shape}"
        )
    try:
        return [_fitting(row, embedder.dimensions, recorded) for row in array]
    except InvalidValueError as error:
        raise EmbeddingRefusedError(f"{_named(embedder)}: {error}") from error


def _fitting(row: Any, *dimensions: int | None) -> FloatVector:
    for expected in dimensions:
        as_vector(row, expected)
    return as_vector(row)


def numbers(answer: Any) -> np.ndarray[Any, Any] | None:
    """Return an answer as an array; None for one that is none of numbers, such as texts of them."""
    try:
        array: np.ndarray[Any, Any] = np.asarray(answer)
    except Exception:  # nested unevenly, or whatever an object raises that is made an array
        return None
    return array if array.dtype.kind in "fiu" else None


def _named(embedder: Embedder) -> str:
    return "the embedder" if embedder.model is None else f"the embedder {embedder.model!r}"
