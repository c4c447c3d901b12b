"""The vector space that a store's embeddings live in, recorded and checked.

Two models mixed in one search give wrong answers without an error, so the store remembers which
model made its vectors, how long they are and by which metric they compare, and refuses the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import sqlalchemy as sa

from datastore import Settings
from datastore.errors import ConfigurationError, DimensionError, UniqueViolation
from datastore.types import FloatVector, as_vector
from repositories.base import Session, settings_of
from repositories.tables import embedding_models

#: How far the length of a vector may be from one to count as normalised: float32 rounding.
UNIT_TOLERANCE = 1e-3

_SPACES = sa.select(embedding_models).order_by(embedding_models.c.model)
_REGISTER = sa.insert(embedding_models)
_NOT_NORMALIZED = (
    sa.update(embedding_models)
    .where(embedding_models.c.model == sa.bindparam("named"))
    .values(normalized=False)
)


@dataclass(frozen=True)
class EmbeddingSpace:
    """One row of `embedding_models`; `normalized` says that every vector has length one."""

    model: str
    dimensions: int
    metric: str
    normalized: bool
    active: bool


def active_space(session: Session) -> EmbeddingSpace | None:
    """Return the space that the store's vectors are in, or None where it has none yet.

    Raises `ConfigurationError`, naming both sides, where the settings speak of another one.
    """
    recorded = [EmbeddingSpace(**row) for row in session.query(_SPACES)]
    space = next((space for space in recorded if space.active), None)
    if space is not None:
        _compare(space, settings_of(session))
    return space


def _compare(space: EmbeddingSpace, settings: Settings) -> None:
    wanted = settings.embedding
    sides = (
        ("model", space.model, wanted.model),
        ("dimensions", space.dimensions, wanted.dimensions or space.dimensions),
        ("metric", space.metric, wanted.metric),
    )
    for name, found, expected in sides:
        if found != expected:
            raise ConfigurationError(
                f"embedding.{name}: the vectors of this store are of {found!r}, the settings say "
                f"{expected!r}; set it back, or embed everything again into a new store"
            )


def check_query(session: Session, vector: object) -> FloatVector:
    """Return a vector to search for; raise `DimensionError` where it is of another space."""
    space = active_space(session)
    expected = settings_of(session).embedding.dimensions if space is None else space.dimensions
    return as_vector(vector, expected)


def check_vectors(session: Session, vectors: Sequence[object]) -> list[FloatVector]:
    """Return vectors to store; the first ones ever found the space. Raises as `check_query`."""
    checked = [as_vector(vector) for vector in vectors]
    if not checked:
        return checked
    space = active_space(session) or _register(session, checked)
    for vector in checked:
        if vector.size != space.dimensions:
            raise DimensionError(expected=space.dimensions, got=vector.size)
    if space.normalized and not _normalized(checked):
        session.execute(_NOT_NORMALIZED, {"named": space.model})
    return checked


def _register(session: Session, vectors: Sequence[FloatVector]) -> EmbeddingSpace:
    embedding = settings_of(session).embedding
    space = EmbeddingSpace(
        model=embedding.model,
        dimensions=embedding.dimensions or vectors[0].size,
        metric=embedding.metric,
        normalized=_normalized(vectors),
        active=True,
    )
    try:
        with session.transaction() as transaction:
            transaction.execute(_REGISTER, asdict(space))
    except UniqueViolation:  # another process was first
        return active_space(session) or space
    return space


def _normalized(vectors: Sequence[FloatVector]) -> bool:
    return all(abs(float(np.linalg.norm(vector)) - 1.0) <= UNIT_TOLERANCE for vector in vectors)
