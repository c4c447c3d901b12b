"""Names: who goes by one, or by one like it, or by one that means the same.

Whatever names say is compared folded (see `datastore.folding`): case, accents and punctuation make
no difference but for the first place. Misspelt ones are looked for where those that begin so do not
fill the answer. The evidence of spelling and that of meaning is fused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa

from datastore import SearchHit, SearchResult, Text, Transaction, upsert
from datastore.errors import InvalidValueError
from datastore.folding import fold
from datastore.sql import CANDIDATE_POOL, matching
from repositories.base import INT32, Session, is_text, now
from repositories.grams import grams, likeness
from repositories.graph_rows import BY_WEIGHT, NAMESPACE, listed, name_row, read_entities
from repositories.records import Entity
from repositories.spaces import Claim, VectorQuery, check_vectors, checked_query
from repositories.tables import (
    kg_entities,
    kg_entity_names,
    kg_name_embeddings,
    kg_name_pieces,
)

#: Why an entity was found: it goes by this very name; by the same but for case, accents and
#: punctuation; by one that begins so; by one that is spelt, or that means, much the same.
Reason: TypeAlias = Literal["exact", "normalized", "prefix", "fuzzy", "embedding"]

#: What evidence counts at most, from 0 to 1. A name that begins so counts the more, the more of it
#: was given; one that is spelt or means the like, by its likeness.
NORMALIZED, PREFIX, FUZZY, MEANING = 0.95, 0.9, 0.85, 0.85
#: What the beginning of an endless name would count.
SHORT_PREFIX = 0.5
#: Names that are less like are none that were meant: of half the letters, half may be by chance.
LEAST_LIKENESS = 0.5

#: So many names that begin as the given one are looked at; the beginning of more is too short.
LONGEST_LIST = 1_000
#: Entities that are looked at for each one that is asked for.
PER_HIT = 2

_entity = kg_entities.c
_name = kg_entity_names.c
_embedding = kg_name_embeddings.c
_MINE = _name.namespace == NAMESPACE
_FOLDED = sa.bindparam("folded", type_=Text())
_SPELLING = (_name.entity_id, _name.name, _name.normalized_name)
_OWNER = sa.and_(_entity.namespace == NAMESPACE, _entity.entity_id == _name.entity_id)
_POOL = sa.bindparam("pool", type_=sa.Integer())
_TOO_SHORT = "more names begin so than were looked at; a longer beginning finds the others"
#: Behind every text that begins with another one.
_END = "\U0010ffff"

# By its folded form, which is what the index holds; no entity has a name twice.
_SAME = (
    sa.select(*_SPELLING)
    .join(kg_entities, _OWNER)
    .where(_MINE, _name.normalized_name == _FOLDED)
    .where(_name.name == sa.bindparam("name", type_=Text()))
    .order_by(*BY_WEIGHT)
    .limit(_POOL)
)


def _beginning() -> sa.Select[Any]:
    """Select the shortest name of each entity that has names that begin so, the best entities."""
    # Those that are the same come first in the order of the index.
    begun = (
        sa.select(_name.rid, *_SPELLING)
        .where(_MINE, _name.normalized_name.between(_FOLDED, sa.bindparam("end", type_=Text())))
        .order_by(_name.normalized_name, _name.rid)
        .limit(sa.bindparam("longest", type_=sa.Integer()))
        .subquery("begun")
    )
    length = sa.func.length(begun.c.normalized_name)
    place = sa.func.row_number().over(
        partition_by=begun.c.entity_id, order_by=(length, begun.c.rid)
    )
    listed = sa.func.count().over()
    ranked = sa.select(begun, place.label("place"), listed.label("listed")).subquery("ranked")
    return (
        sa.select(*(ranked.c[column.name] for column in _SPELLING), ranked.c.listed)
        .join(kg_entities, _entity.entity_id == ranked.c.entity_id)
        .where(_entity.namespace == NAMESPACE, ranked.c.place == 1)
        .order_by(sa.func.length(ranked.c.normalized_name), *BY_WEIGHT)
        .limit(_POOL)
    )


_BEGINNING = _beginning()
_pieces = matching(kg_name_pieces, sa.bindparam("grams"), _POOL, filter=_MINE)
_LIKE = sa.select(*_SPELLING).join(_pieces, _pieces.c.rid == _name.rid).order_by(_pieces.c.rank)

ADD_NAME = upsert(kg_entity_names, key=[_name.namespace, _name.entity_id, _name.name])
_NAMES_OF = (
    sa.select(_name.name)
    .where(_MINE, _name.entity_id == sa.bindparam("id", type_=Text()))
    .order_by(_name.name)
)
_UNEMBEDDED = (
    sa.select(_name.name)
    .distinct()
    .outerjoin(
        kg_name_embeddings,
        sa.and_(_embedding.name == _name.rid, _embedding.model == sa.bindparam("model")),
    )
    .where(_MINE, _name.name != "", _embedding.name.is_(None))
    .order_by(_name.name)
    .limit(sa.bindparam("limit", type_=sa.Integer()))
)
_NAMED = (
    sa.select(_name.rid, _name.name)
    .where(_MINE, _name.name.in_(listed("names")))
    .order_by(_name.rid)
)
_PUT_EMBEDDING = upsert(kg_name_embeddings, update=[_embedding.embedding])


@dataclass(frozen=True)
class _Evidence:
    """That an entity is meant, from 0 to 1."""

    entity_id: str
    reason: Reason
    weight: float


def find_entities(
    session: Session,
    namespace: str,
    name: str,
    embedding: Any,
    claim: Claim,
    limit: int,
    min_score: float,
) -> SearchResult[Entity]:
    """Rank the entities that a name may mean; a snapshot makes one answer of the statements."""
    evidence, notes = _by_spelling(session, namespace, name, limit)
    how = SearchResult[Any]((), "exact", (kg_name_pieces.name,), notes)
    if embedding is not None:
        query = checked_query(session, embedding, claim)
        near = _by_meaning(session, namespace, query, limit)
        evidence += _meant(near, query.metric)
        how = replace(near, indexes=how.indexes + near.indexes, notes=notes + near.notes)
    scores, reasons = _fused(evidence)
    entities = read_entities(session, namespace, scores)
    hits = [
        SearchHit(id_, scores[id_], entity, reasons=reasons[id_])
        for id_, entity in entities.items()
        if scores[id_] >= min_score
    ]
    hits.sort(key=lambda hit: (-hit.score, -hit.row.mention_count, hit.id))
    return SearchResult(tuple(hits[:limit]), how.method, how.indexes, how.notes)


def _by_spelling(
    session: Session, namespace: str, name: str, limit: int
) -> tuple[list[_Evidence], tuple[str, ...]]:
    """Return what names say, and what is to be known of those that were not looked at."""
    if not is_text(name):
        return [], ()
    folded, pool = fold(name), _pool(limit)
    params = {"namespace": namespace, "name": name, "folded": folded, "pool": pool}
    found = _spelling(session.query(_SAME, params), name, folded)
    if not folded:  # all names without a letter or a digit fold to that: the very same is meant
        return found, ()
    longest = max(LONGEST_LIST, pool) + 1
    begun = session.query(_BEGINNING, {**params, "end": folded + _END, "longest": longest})
    notes = (_TOO_SHORT,) if begun and begun[0]["listed"] == longest else ()
    found += _spelling(begun, name, folded)
    if len({evidence.entity_id for evidence in found}) < limit:
        found += _spelling(session.query(_LIKE, {**params, "grams": grams(folded)}), name, folded)
    return found, notes


def _pool(limit: int) -> int:
    """Return how many entities, or names, are looked at for so many hits."""
    return min(max(CANDIDATE_POOL, PER_HIT * limit), INT32[-1] - 1)


def _spelling(rows: Iterable[Mapping[Any, Any]], name: str, folded: str) -> list[_Evidence]:
    return [evidence for row in rows if (evidence := _spelt(row, name, folded))]


def _spelt(row: Mapping[Any, Any], name: str, folded: str) -> _Evidence | None:
    """Return what the spelling of one name says for the other."""
    id_, its = row["entity_id"], row["normalized_name"]
    if row["name"] == name:
        return _Evidence(id_, "exact", 1.0)
    if its == folded:
        return _Evidence(id_, "normalized", NORMALIZED)
    like = likeness(folded, its)
    fuzzy = FUZZY * like if like >= LEAST_LIKENESS else 0.0
    share = len(folded) / len(its)
    begins = SHORT_PREFIX + (PREFIX - SHORT_PREFIX) * share if its.startswith(folded) else 0.0
    if max(fuzzy, begins) == 0:
        return None
    return _Evidence(id_, "prefix", begins) if begins >= fuzzy else _Evidence(id_, "fuzzy", fuzzy)


def _by_meaning(
    session: Session, namespace: str, query: VectorQuery, limit: int
) -> SearchResult[Mapping[str, Any]]:
    return session.vector_search(
        kg_entity_names,
        "embedding",
        query.vector,
        limit=_pool(limit),  # several names of one entity may be near
        filter=_MINE,
        params={"namespace": namespace},
        model=query.model,
        metric=query.metric,
    )


def _meant(near: Iterable[SearchHit[Mapping[str, Any]]], metric: str) -> list[_Evidence]:
    weighed = ((hit.row["entity_id"], MEANING * _nearness(hit, metric)) for hit in near)
    return [_Evidence(id_, "embedding", weight) for id_, weight in weighed if weight > 0]


def _nearness(hit: SearchHit[Any], metric: str) -> float:
    # By the scores of the other metrics, what has nothing to do with the name stands at a half.
    return hit.score if metric == "l2" else 2 * hit.score - 1


def _fused(evidence: Sequence[_Evidence]) -> tuple[dict[str, float], dict[str, tuple[str, ...]]]:
    """Return score and reasons of each entity, the strongest first.

    The best of its names counts, once for spelling and once for meaning, as independent evidence
    does: the score falls short of 1 by the product of what each falls short.
    """
    best: dict[tuple[str, bool], _Evidence] = {}
    for one in evidence:
        key = one.entity_id, one.reason == "embedding"
        if key not in best or one.weight > best[key].weight:
            best[key] = one
    doubts: dict[str, float] = {}
    reasons: dict[str, tuple[str, ...]] = {}
    for (id_, _), one in sorted(best.items(), key=lambda item: -item[1].weight):
        doubts[id_] = doubts.get(id_, 1.0) * (1.0 - one.weight)
        reasons[id_] = (*reasons.get(id_, ()), one.reason)
    return {id_: 1.0 - doubt for id_, doubt in doubts.items()}, reasons


def add_names(session: Session, namespace: str, entity_id: str, names: Sequence[str]) -> int:
    """Add names that an entity goes by as well; return how many it had not."""
    moment = now()
    # In one order, lest two writers wait for each other.
    rows = [name_row(namespace, entity_id, name, moment) for name in sorted(names)]
    return session.execute(ADD_NAME, rows).changes


def names_of(session: Session, namespace: str, entity_id: str) -> list[str]:
    """Return the names of an entity, in their order."""
    rows = session.query(_NAMES_OF, {"namespace": namespace, "id": entity_id})
    return [row["name"] for row in rows]


def unembedded_names(session: Session, namespace: str, model: str, limit: int) -> list[str]:
    """Return names without an embedding of a model, in their order."""
    params = {"namespace": namespace, "model": model}
    return [row["name"] for row in session.query(_UNEMBEDDED, {**params, "limit": limit})]


def embed_names(
    session: Transaction, namespace: str, embeddings: Mapping[str, Any], claim: Claim
) -> int:
    """Store the embeddings of names, whoever goes by them; return of how many rows."""
    if not isinstance(embeddings, Mapping):
        raise InvalidValueError(f"embeddings: expected a mapping, got {type(embeddings).__name__}")
    names = list(embeddings)
    found = session.query(_NAMED, {"namespace": namespace, "names": names})
    if not found:  # vectors of names that nobody has are none of the store's
        return 0
    checked = check_vectors(session, list(embeddings.values()), claim)
    vectors = dict(zip(names, checked, strict=True))
    rows = [
        {"name": row["rid"], "model": claim.model, "embedding": vectors[row["name"]]}
        for row in found
    ]
    return session.execute(_PUT_EMBEDDING, rows).changes
