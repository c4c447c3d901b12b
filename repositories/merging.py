"""Two entities that are one: what hangs on the second moves to the first.

Both rows are locked first, which holds back whoever would hang something on either of them, so that
nothing comes in between and is lost with the second.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from datastore import Text, Transaction
from datastore.errors import InvalidValueError, NotFoundError
from datastore.types import INT64
from repositories.graph_rows import (
    EDGE_COLUMNS,
    ENDS,
    ENTITIES_BY_ID,
    WITHIN,
    derived_id,
    edge_row,
    entity_of,
    read_relationships,
)
from repositories.records import Entity, Relationship
from repositories.tables import (
    kg_entities,
    kg_entity_names,
    kg_mentions,
    kg_name_embeddings,
    kg_relationships,
)
from repositories.upserting import united

_entity = kg_entities.c
_edge = kg_relationships.c
_KEEP = sa.bindparam("keep", type_=Text())
_DROP = sa.bindparam("drop", type_=Text())

_LOCK = ENTITIES_BY_ID.order_by(_entity.entity_id).with_for_update()
_EDGES = (
    sa.select(*EDGE_COLUMNS)
    .where(_edge.namespace == WITHIN)
    .where(_edge.source_entity_id.in_([_KEEP, _DROP]) | _edge.target_entity_id.in_([_KEEP, _DROP]))
    .order_by(*ENDS)
    # Who reinforces one touches no entity, and so waits for none.
    .with_for_update()
)
_DELETE_EDGES = sa.delete(kg_relationships).where(
    _edge.namespace == WITHIN,
    (_edge.source_entity_id == _DROP) | (_edge.target_entity_id == _DROP),
)
_PUT_EDGE = (
    sa.update(kg_relationships)
    .where(_edge.namespace == WITHIN, _edge.relationship_id == sa.bindparam("edge", type_=Text()))
    .values(
        description=sa.bindparam("told"),
        keywords=sa.bindparam("words"),
        strength=sa.bindparam("strong"),
    )
)


def _moved(table: sa.Table, what: sa.Column[Any]) -> sa.Update:
    """Give the rows of one entity to the other, but for those that it has already."""
    column, known = table.c.entity_id, table.alias("known")
    has = sa.exists().where(
        known.c.namespace == WITHIN, known.c.entity_id == _KEEP, known.c[what.name] == what
    )
    mine = sa.and_(table.c.namespace == WITHIN, column == _DROP)
    return sa.update(table).where(mine, ~has).values({column: _KEEP})


_MOVE_MENTIONS = _moved(kg_mentions, kg_mentions.c.chunk_id)
_MOVE_NAMES = _moved(kg_entity_names, kg_entity_names.c.name)


def _twins() -> sa.Executable:
    """Select the embeddings of names that both have, where the first has none of that model."""
    ours, theirs = kg_entity_names.alias("ours"), kg_entity_names.alias("theirs")
    vector, known = kg_name_embeddings.alias("vector"), kg_name_embeddings.alias("known")
    return (
        sa.select(ours.c.rid.label("to_name"), theirs.c.rid.label("from_name"), vector.c.model)
        .join_from(
            ours,
            theirs,
            sa.and_(theirs.c.namespace == ours.c.namespace, theirs.c.name == ours.c.name),
        )
        .join(vector, vector.c.name == theirs.c.rid)
        .outerjoin(known, sa.and_(known.c.name == ours.c.rid, known.c.model == vector.c.model))
        .where(ours.c.namespace == WITHIN, ours.c.entity_id == _KEEP)
        .where(theirs.c.entity_id == _DROP, known.c.name.is_(None))
    )


_TWINS = _twins()
_MOVE_EMBEDDING = (
    sa.update(kg_name_embeddings)
    .where(
        kg_name_embeddings.c.name == sa.bindparam("from_name"),
        kg_name_embeddings.c.model == sa.bindparam("of_model"),
    )
    .values(name=sa.bindparam("to_name"))
)
_PUT_ENTITY = (
    sa.update(kg_entities)
    .where(_entity.namespace == WITHIN, _entity.entity_id == _KEEP)
    .values(
        description=sa.bindparam("told"),
        mention_count=sa.bindparam("mentions"),
        first_seen=sa.bindparam("first"),
        last_seen=sa.bindparam("last"),
    )
)
_DELETE = sa.delete(kg_entities).where(_entity.namespace == WITHIN, _entity.entity_id == _DROP)


def merge(transaction: Transaction, namespace: str, keep: str, drop: str) -> Entity:
    """Make two entities one, and return it."""
    both = {"within": namespace, "keep": keep, "drop": drop}
    first, second = _locked(transaction, namespace, keep, drop)
    _merge_relationships(transaction, both)
    transaction.execute(_MOVE_MENTIONS, both)
    for twin in transaction.query(_TWINS, both):
        ends = {"from_name": twin["from_name"], "to_name": twin["to_name"]}
        transaction.execute(_MOVE_EMBEDDING, {**ends, "of_model": twin["model"]})
    transaction.execute(_MOVE_NAMES, both)
    entity = _one(first, second)
    transaction.execute(_PUT_ENTITY, {**both, **_told(entity)})
    transaction.execute(_DELETE, both)
    return entity


def _locked(
    transaction: Transaction, namespace: str, keep: str, drop: str
) -> tuple[Entity, Entity]:
    if keep == drop:
        raise InvalidValueError("merge_entities: expected two entities, got one twice")
    rows = transaction.query(_LOCK, {"namespace": namespace, "ids": [keep, drop]})
    found = {row["id"]: entity_of(row) for row in rows}
    if len(found) < 2:
        raise NotFoundError("there is no entity of one of these ids in this namespace")
    return found[keep], found[drop]


def _merge_relationships(transaction: Transaction, both: dict[str, str]) -> None:
    edges = read_relationships(transaction, _EDGES, both)
    keep, drop, namespace = both["keep"], both["drop"], both["within"]
    moving = [edge for edge in edges if drop in (edge.source, edge.target)]
    staying = {_ends(edge): edge for edge in edges if drop not in (edge.source, edge.target)}
    merged = dict(staying)
    for edge in moving:
        there = _renamed(edge, keep, drop)
        known = merged.get(_ends(there))
        merged[_ends(there)] = there if known is None else _stronger(known, there)
    # First those go, since what moves keeps its id.
    transaction.execute(_DELETE_EDGES, both)
    fresh = [edge for ends, edge in merged.items() if ends not in staying]
    transaction.insert_many(kg_relationships, [edge_row(namespace, edge) for edge in fresh])
    changed = [edge for ends, edge in staying.items() if merged[ends] != edge]
    transaction.execute(
        _PUT_EDGE,
        [
            {
                "within": namespace,
                "edge": edge.id,
                "told": edge.description,
                "words": edge.keywords,
                "strong": edge.strength,
            }
            for edge in (merged[_ends(each)] for each in changed)
        ],
    )


def _ends(edge: Relationship) -> tuple[str, str, str]:
    return edge.source, edge.target, edge.type


def _renamed(edge: Relationship, keep: str, drop: str) -> Relationship:
    """Return a relationship with its new ends; an id that came of the old ones comes of these."""
    source, target = (keep if end == drop else end for end in (edge.source, edge.target))
    there = replace(edge, source=source, target=target)
    return replace(there, id=derived_id(there)) if edge.id == derived_id(edge) else there


def _stronger(one: Relationship, other: Relationship) -> Relationship:
    return replace(
        one,
        description=_joined(one.description, other.description),
        keywords=united(one.keywords, other.keywords),
        strength=max(one.strength, other.strength),
    )


def _one(first: Entity, second: Entity) -> Entity:
    instants = [(each.first_seen, each.last_seen) for each in (first, second)]
    return replace(
        first,
        description=_joined(first.description, second.description),
        mention_count=min(first.mention_count + second.mention_count, INT64[-1]),
        first_seen=min(begin for begin, _ in instants if begin is not None),
        last_seen=max(end for _, end in instants if end is not None),
    )


def _joined(*descriptions: str | None) -> str | None:
    """Return both descriptions, one below the other, unless one says what the other says."""
    told = dict.fromkeys(each for each in descriptions if each is not None)
    return "\n".join(told) if told else None


def _told(entity: Entity) -> dict[str, Any]:
    return {
        "told": entity.description,
        "mentions": entity.mention_count,
        "first": entity.first_seen,
        "last": entity.last_seen,
    }
