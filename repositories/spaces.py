"""The vector space that a store's embeddings live in, recorded and checked.

Two models mixed in one search give wrong answers without an error, so the store remembers which
model made its vectors, how long they are, by which metric they compare and whether all have length
one, and refuses the rest. What is recorded rules; who brings vectors makes a claim about them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import sqlalchemy as sa

from datastore import Settings, Text, Transaction
from datastore.definitions import Metric
from datastore.errors import (
    ConfigurationError,
    DimensionError,
    EmbeddingMismatchError,
    InvalidValueError,
    UniqueViolation,
)
from datastore.settings import EmbeddingSettings
from datastore.types import FloatVector, as_vector
from repositories.base import DEFAULT_NAMESPACE, Repository, Session, settings_of
from repositories.tables import embedding_models

#: How far the length of a vector may be from one to count as normalised: float32 rounding.
UNIT_TOLERANCE = 1e-3
#: The model of settings that name none.
UNNAMED = EmbeddingSettings().model
#: Who makes a claim where nobody else does.
SETTINGS = "the settings say"
#: The metric where nobody claims one.
DEFAULT_METRIC: Metric = EmbeddingSettings().metric

_model = embedding_models.c.model
#: The model that searches use, within a statement.
ACTIVE_MODEL = sa.select(_model).where(embedding_models.c.active).scalar_subquery()

_NAMED = sa.bindparam("named", type_=Text())
_SPACES = sa.select(embedding_models).order_by(_model)
# Where statements of others run at the same time, writers of vectors share a lock on the rows, and
# who makes another space the active one waits for them, and they for him. Elsewhere a transaction
# that writes is alone anyway.
_SHARED = _SPACES.with_for_update(read=True)
_LOCKED = _SPACES.with_for_update()
_REGISTER = sa.insert(embedding_models)
_NOT_NORMALIZED = sa.update(embedding_models).where(_model == _NAMED).values(normalized=False)
_RETIRE = sa.update(embedding_models).where(embedding_models.c.active).values(active=False)
_ACTIVATE = sa.update(embedding_models).where(_model == _NAMED).values(active=True)
_REMOVE = sa.delete(embedding_models).where(_model == _NAMED)


@dataclass(frozen=True)
class EmbeddingSpace:
    """One row of `embedding_models`; `normalized` says that every vector has length one."""

    model: str
    dimensions: int
    metric: Metric
    normalized: bool
    active: bool


@dataclass(frozen=True)
class Claim:
    """What is said of vectors before they are looked at; None where nothing is said.

    `claimant` begins the second half of an error. `configured` is the model that the settings
    name, where it is another one: that may be an old one, but not while the store has no vectors.
    """

    model: str
    dimensions: int | None = None
    metric: Metric | None = None
    normalized: bool | None = None
    claimant: str = SETTINGS
    configured: str | None = None


def claim_of(settings: Settings, model: str | None = None) -> Claim:
    """Return the claim of the settings, or of a model that is named beside them.

    A model that the settings name as well has the dimensions that they name.
    """
    said = settings.embedding
    # A metric that nobody chose is no claim: the one that is recorded will do.
    metric = said.metric if "metric" in said.model_fields_set else None
    claim = Claim(said.model, said.dimensions, metric, said.normalized)
    if model is None or model == said.model:
        return claim
    if said.model == UNNAMED:
        return replace(claim, model=model, claimant="the model given is")
    return Claim(model, metric=metric, claimant="the model given is", configured=said.model)


class EmbeddingRepository(Repository):
    """Base of the repositories that keep embeddings: of `model`, or that of the settings."""

    def __init__(
        self,
        session: Session,
        namespace: str = DEFAULT_NAMESPACE,
        *,
        model: str | None = None,
    ) -> None:
        super().__init__(session, namespace)
        self.model = model

    def _claim(self) -> Claim:
        return claim_of(settings_of(self.session), self.model)


def recorded_spaces(session: Session) -> list[EmbeddingSpace]:
    """Return the spaces that the store has vectors of, by the names of their models."""
    return [EmbeddingSpace(**row) for row in session.query(_SPACES)]


def active_space(session: Session) -> EmbeddingSpace | None:
    """Return the space that searches use; None where the store has no vectors yet."""
    return _active(recorded_spaces(session))


def checked_space(session: Session, claim: Claim) -> EmbeddingSpace | None:
    """Return the active space; raise `EmbeddingMismatchError` where it is not the one claimed."""
    return compare(active_space(session), claim)


@dataclass(frozen=True)
class VectorQuery:
    """A vector to search for, with the model and the metric of the space that it is of."""

    vector: FloatVector
    model: str
    metric: Metric


def checked_query(session: Session, vector: object, claim: Claim) -> VectorQuery:
    """Return what to search for in the active space.

    Raises `EmbeddingMismatchError` for a claim of another space than the active one,
    `DimensionError` for a vector of another length.
    """
    space = checked_space(session, claim)
    metric = (claim.metric or DEFAULT_METRIC) if space is None else space.metric
    return VectorQuery(fitting(space, vector, claim), claim.model, metric)


def fitting(space: EmbeddingSpace | None, vector: object, claim: Claim) -> FloatVector:
    """Return a vector of the space that was checked, or else of the claim; raises the same."""
    checked = as_vector(vector, claim.dimensions if space is None else space.dimensions)
    _check_lengths([checked], claim)
    return checked


def check_vectors(
    transaction: Transaction, vectors: Sequence[object], claim: Claim | None = None
) -> list[FloatVector]:
    """Return vectors to store; the first ones ever found the space. Raises as `checked_query`.

    Until the end of the transaction no other space becomes the active one.
    """
    said = claim or claim_of(settings_of(transaction))
    checked = [as_vector(vector) for vector in vectors]
    if not checked:
        return checked
    space = compare(_active(_shared(transaction)), said) or _found(transaction, said, checked)
    _check_fit(transaction, space, checked, said)
    return checked


def check_beside(
    transaction: Transaction, vectors: Sequence[FloatVector], claim: Claim
) -> EmbeddingSpace:
    """Return the space of a model that may stand beside the active one, recorded if it is new.

    It is the active one where there is none yet, and has the metric of the active one otherwise.
    """
    spaces = _shared(transaction)
    space = next((space for space in spaces if space.model == claim.model), None)
    active = _active(spaces)
    if space is not None:
        compare(space, replace(claim, metric=None))
    elif active is None:
        space = _found(transaction, claim, vectors)
    else:
        space = _beside(transaction, replace(claim, metric=active.metric), vectors)
    _check_fit(transaction, space, vectors, claim)
    return space


def lock_spaces(transaction: Transaction) -> list[EmbeddingSpace]:
    """Return the spaces once nobody is writing vectors, and hold writers off until the end."""
    return [EmbeddingSpace(**row) for row in transaction.query(_LOCKED)]


def is_in_use(transaction: Transaction, model: str) -> bool:
    """Tell whether searches use a model, which until the end of the transaction stays so."""
    active = _active(_shared(transaction))
    return active is not None and active.model == model


def activate(transaction: Transaction, model: str) -> None:
    """Make a recorded space the one that searches use; call it under `lock_spaces`."""
    transaction.execute(_RETIRE)
    transaction.execute(_ACTIVATE, {"named": model})


def remove_space(transaction: Transaction, model: str) -> None:
    """Forget that there were vectors of a model."""
    transaction.execute(_REMOVE, {"named": model})


def _shared(transaction: Transaction) -> list[EmbeddingSpace]:
    return [EmbeddingSpace(**row) for row in transaction.query(_SHARED)]


def _active(spaces: Sequence[EmbeddingSpace]) -> EmbeddingSpace | None:
    return next((space for space in spaces if space.active), None)


def compare(space: EmbeddingSpace | None, claim: Claim) -> EmbeddingSpace | None:
    """Return a recorded space; raise `EmbeddingMismatchError` where the claim contradicts it."""
    if space is None:
        return None
    sides = (
        ("model", space.model, claim.model),
        ("dimensions", space.dimensions, claim.dimensions),
        ("metric", space.metric, claim.metric),
        ("normalized", space.normalized, claim.normalized or None),  # False promises nothing
    )
    for aspect, found, expected in sides:
        if expected is not None and found != expected:
            claimant = _claimant(space, claim) if aspect == "model" else claim.claimant
            raise EmbeddingMismatchError(aspect, found=found, expected=expected, claimant=claimant)
    return space


def _claimant(space: EmbeddingSpace, claim: Claim) -> str:
    if claim.model != UNNAMED or claim.claimant != SETTINGS:
        return claim.claimant
    return (
        f"nothing names a model here (`--embedder MODULE:NAME#{space.model}` does, "
        "and so does the setting embedding.model), which stands for"
    )


def _found(
    transaction: Transaction, claim: Claim, vectors: Sequence[FloatVector]
) -> EmbeddingSpace:
    """Record the first space of a store, unless another process is first."""
    if claim.configured is not None:
        raise ConfigurationError(
            f"embedding.model: the settings say {claim.configured!r}, {claim.claimant} "
            f"{claim.model!r}; they must agree on the first vectors of a store"
        )
    space = _described(claim, vectors, active=True)
    try:
        _register(transaction, space)
    except UniqueViolation:
        return compare(_active(_shared(transaction)), claim) or space
    return space


def _beside(
    transaction: Transaction, claim: Claim, vectors: Sequence[FloatVector]
) -> EmbeddingSpace:
    """Record a further space, unless another process is first."""
    space = _described(claim, vectors, active=False)
    try:
        _register(transaction, space)
    except UniqueViolation:
        known = (each for each in _shared(transaction) if each.model == claim.model)
        return compare(next(known, None), claim) or space
    return space


def _described(claim: Claim, vectors: Sequence[FloatVector], *, active: bool) -> EmbeddingSpace:
    return EmbeddingSpace(
        model=claim.model,
        dimensions=claim.dimensions or vectors[0].size,
        metric=claim.metric or DEFAULT_METRIC,
        normalized=_normalized(vectors) if claim.normalized is None else claim.normalized,
        active=active,
    )


def _register(transaction: Transaction, space: EmbeddingSpace) -> None:
    with transaction.transaction() as savepoint:
        savepoint.execute(_REGISTER, asdict(space))


def _check_fit(
    transaction: Transaction,
    space: EmbeddingSpace,
    vectors: Sequence[FloatVector],
    claim: Claim,
) -> None:
    for vector in vectors:
        if vector.size != space.dimensions:
            raise DimensionError(expected=space.dimensions, got=vector.size)
    _check_lengths(vectors, claim)
    if space.normalized and not _normalized(vectors):
        transaction.execute(_NOT_NORMALIZED, {"named": space.model})


def _check_lengths(vectors: Sequence[FloatVector], claim: Claim) -> None:
    if claim.normalized and not _normalized(vectors):
        raise InvalidValueError(
            "embedding.normalized: found a vector of another length, "
            f"{claim.claimant} that all have length one"
        )


def _normalized(vectors: Sequence[FloatVector]) -> bool:
    return all(abs(float(np.linalg.norm(vector)) - 1.0) <= UNIT_TOLERANCE for vector in vectors)
