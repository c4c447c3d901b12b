"""What is told again: mentions add up, relationships grow stronger, words are kept once.

Each statement inserts, or locks the row that is there and computes from what it finds in it, so
that several writers at once lose nothing. What SQL cannot say on both engines, the union of two
lists of keywords, follows in the same transaction, under the lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from datastore import Text, TextArray, Transaction, upsert
from datastore.bulk import batches
from datastore.sql import excluded
from datastore.types import INT64, check_text
from repositories.base import BATCH, now
from repositories.graph_rows import (
    EDGE_COLUMNS,
    ENTITY_COLUMNS,
    WITHIN,
    edge_row,
    entity_of,
    entity_row,
    name_row,
    record,
    records,
    relationship_of,
    texts,
)
from repositories.names import ADD_NAME
from repositories.records import Entity, Relationship
from repositories.tables import kg_entities, kg_relationships

#: How strong a relationship gets by being told again; one that was told stronger stays so.
MAX_STRENGTH = 10

_entity = kg_entities.c
_edge = kg_relationships.c
_new_entity = excluded(kg_entities)
_new_edge = excluded(kg_relationships)


def _greater(one: Any, other: Any) -> sa.ColumnElement[Any]:
    return sa.case((one > other, one), else_=other)


_PUT_ENTITY = upsert(
    kg_entities,
    key=[_entity.namespace, _entity.entity_id],
    update={
        _entity.name: _new_entity.name,
        _entity.type: _new_entity.type,
        _entity.description: sa.func.coalesce(_new_entity.description, _entity.description),
        # No further than the column reaches: one engine would raise, the other store a float.
        _entity.mention_count: sa.case(
            (_entity.mention_count > INT64[-1] - _new_entity.mention_count, INT64[-1]),
            else_=_entity.mention_count + _new_entity.mention_count,
        ),
        _entity.first_seen: sa.case(
            (_new_entity.first_seen < _entity.first_seen, _new_entity.first_seen),
            else_=_entity.first_seen,
        ),
        _entity.last_seen: _greater(_new_entity.last_seen, _entity.last_seen),
    },
)
_PUT_ENTITY_RETURNING = _PUT_ENTITY.returning(*ENTITY_COLUMNS)

_stronger = _greater(_edge.strength, _new_edge.strength)
_PUT_EDGE = upsert(
    kg_relationships,
    key=[_edge.namespace, _edge.source_entity_id, _edge.target_entity_id, _edge.type],
    update={
        _edge.description: sa.func.coalesce(_new_edge.description, _edge.description),
        _edge.strength: sa.case((_stronger < MAX_STRENGTH, _stronger + 1), else_=_stronger),
    },
).returning(*EDGE_COLUMNS)
_PUT_KEYWORDS = (
    sa.update(kg_relationships)
    .where(_edge.namespace == WITHIN, _edge.relationship_id == sa.bindparam("edge", type_=Text()))
    .values(keywords=sa.bindparam("words", type_=TextArray()))
)


def upsert_entity(transaction: Transaction, namespace: str, entity: Entity) -> Entity:
    """Insert an entity with its name, or add what is told to the one that is there."""
    moment = now()
    row = transaction.query(_PUT_ENTITY_RETURNING, entity_row(namespace, entity, moment))[0]
    transaction.execute(ADD_NAME, name_row(namespace, entity.id, entity.name, moment))
    return entity_of(row)


def upsert_entities(transaction: Transaction, namespace: str, entities: Iterable[Entity]) -> int:
    """Do so for several; return how many."""
    moment = now()
    rows = [entity_row(namespace, each, moment) for each in records("entities", entities)]
    # In one order, lest two writers wait for each other; it keeps that of the same id.
    rows.sort(key=lambda row: row["entity_id"])
    for batch in batches(rows, BATCH):
        transaction.execute(_PUT_ENTITY, batch)
    for batch in batches(rows, BATCH):
        names = [name_row(namespace, row["entity_id"], row["name"], moment) for row in batch]
        transaction.execute(ADD_NAME, names)
    return len(rows)


def upsert_relationship(
    transaction: Transaction, namespace: str, edge: Relationship
) -> Relationship:
    """Insert a relationship, or reinforce the one that is there."""
    record("relationship", edge, Relationship)
    row = edge_row(namespace, replace(edge, keywords=united(edge.keywords)))
    found = relationship_of(transaction.query(_PUT_EDGE, row)[0])
    words = united(found.keywords, edge.keywords)
    if words != found.keywords:
        bound = {"within": namespace, "edge": found.id, "words": words}
        transaction.execute(_PUT_KEYWORDS, bound)
    return replace(found, keywords=words)


def upsert_relationships(
    transaction: Transaction, namespace: str, edges: Iterable[Relationship]
) -> int:
    """Do so for several; return how many."""
    given = list(records("relationships", edges))
    for edge in given:
        edge_row(namespace, edge)  # none is written where one cannot be
    for edge in sorted(given, key=lambda each: (each.source, each.target, each.type)):
        upsert_relationship(transaction, namespace, edge)
    return len(given)


def united(*lists: Sequence[str]) -> tuple[str, ...]:
    """Return the words of the lists, each once, where it was first."""
    return tuple(dict.fromkeys(check_text(word) for words in lists for word in texts(words)))
