"""Entities and relationships as rows, and rows as records: what the graph's modules share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from datastore import Text, TextArray, each
from datastore.errors import InvalidValueError, NotFoundError
from datastore.folding import fold
from datastore.types import INT64, check_text
from repositories.base import INT32, MOST_NAME, Session, key, whole
from repositories.grams import grams
from repositories.records import Entity, Relationship
from repositories.tables import kg_entities, kg_relationships

_entity = kg_entities.c
_edge = kg_relationships.c

NAMESPACE = sa.bindparam("namespace", type_=Text())
#: The same in an UPDATE, where the name of a column stands for what it is set to.
WITHIN = sa.bindparam("within", type_=Text())
ID = sa.bindparam("id", type_=Text())
LIMIT = sa.bindparam("limit", type_=sa.Integer())
BY_WEIGHT = (_entity.mention_count.desc(), _entity.entity_id)

# In the order of the records' fields, which are then filled without a look at their names.
ENTITY_COLUMNS = (
    _entity.entity_id.label("id"),
    _entity.name,
    _entity.type,
    _entity.description,
    _entity.mention_count,
    _entity.first_seen,
    _entity.last_seen,
)
EDGE_COLUMNS = (
    _edge.source_entity_id.label("source"),
    _edge.target_entity_id.label("target"),
    _edge.type,
    _edge.relationship_id.label("id"),
    _edge.description,
    _edge.keywords,
    _edge.strength,
)
#: Source, target and type: what there is one relationship of.
ENDS = (_edge.source_entity_id, _edge.target_entity_id, _edge.type)
ENTITIES = sa.select(*ENTITY_COLUMNS).where(_entity.namespace == NAMESPACE)
ENTITY = ENTITIES.where(_entity.entity_id == ID)


def listed(parameter: str) -> sa.Select[Any]:
    """Select the texts of a bound list."""
    return sa.select(each(sa.bindparam(parameter, type_=TextArray())).c.value)


ENTITIES_BY_ID = ENTITIES.where(_entity.entity_id.in_(listed("ids")))


def read_entity(session: Session, namespace: str, id: str) -> Entity:
    """Return an entity, or raise `NotFoundError`."""
    row = session.query_one(ENTITY, {"namespace": namespace, "id": id})
    if row is None:
        raise _unknown()
    return entity_of(row)


def _unknown() -> NotFoundError:
    return NotFoundError("there is no entity of that id in this namespace")


def read_entities(session: Session, namespace: str, ids: Iterable[str]) -> dict[str, Entity]:
    """Return the entities that are there, by id."""
    params = {"namespace": namespace, "ids": list(ids)}
    return {row["id"]: entity_of(row) for row in session.query(ENTITIES_BY_ID, params)}


def require_entities(session: Session, namespace: str, ids: Sequence[str]) -> None:
    """Raise `NotFoundError` where one is unknown."""
    if not read_entities(session, namespace, ids).keys() >= set(ids):
        raise _unknown()


def read_relationships(
    session: Session, statement: sa.Executable, params: Mapping[str, Any]
) -> list[Relationship]:
    """Run a statement that selects `EDGE_COLUMNS`."""
    return [relationship_of(row) for row in session.query(statement, params)]


def relationship_of(row: Mapping[Any, Any]) -> Relationship:
    """Return the record of a row of `EDGE_COLUMNS`."""
    source, target, type_, id_, description, keywords, strength = row.values()
    return Relationship(source, target, type_, id_, description, tuple(keywords), strength)


def entity_of(row: Mapping[Any, Any]) -> Entity:
    """Return the record of a row of `ENTITY_COLUMNS`."""
    return Entity(*row.values())


def entity_row(namespace: str, entity: Entity, moment: datetime) -> dict[str, Any]:
    """Return the row of an entity that is seen at `moment`, unless it says when."""
    record("entity", entity, Entity)
    return {
        "namespace": namespace,
        "entity_id": key("entity id", entity.id),
        "name": key("name", entity.name, MOST_NAME),
        "type": key("type", entity.type),
        "description": entity.description,
        "mention_count": whole("mention_count", entity.mention_count, 0, INT64[-1]),
        **_seen(entity, moment),
    }


def _seen(entity: Entity, moment: datetime) -> dict[str, datetime]:
    first = entity.first_seen or entity.last_seen or moment
    try:
        last = entity.last_seen or max(first, moment)
        is_reversed = last < first
    except TypeError:
        raise InvalidValueError(
            "first_seen, last_seen: expected moments with a time zone"
        ) from None
    if is_reversed:
        raise InvalidValueError("last_seen: expected no moment before first_seen")
    return {"first_seen": first, "last_seen": last}


def record(what: str, value: object, kind: type[Any]) -> None:
    """Raise `InvalidValueError` for what is no record of a kind."""
    if not isinstance(value, kind):
        raise InvalidValueError(f"{what}: expected {kind.__name__}, got {type(value).__name__}")


def name_row(namespace: str, entity_id: str, name: str, moment: datetime) -> dict[str, Any]:
    """Return the row of a name that an entity goes by."""
    normalized = fold(key("name", name, MOST_NAME))
    return {
        "namespace": namespace,
        "entity_id": key("entity id", entity_id),
        "name": name,
        "normalized_name": normalized,
        "grams": grams(normalized),
        "updated_at": moment,
    }


def edge_row(namespace: str, edge: Relationship) -> dict[str, Any]:
    """Return the row of a relationship."""
    record("relationship", edge, Relationship)
    return {
        "namespace": namespace,
        "relationship_id": derived_id(edge) if edge.id is None else key("id", edge.id),
        "source_entity_id": key("source", edge.source),
        "target_entity_id": key("target", edge.target),
        "type": key("type", edge.type),
        "description": edge.description,
        "keywords": texts(edge.keywords),
        "strength": whole("strength", edge.strength, INT32[0], INT32[-1]),
    }


def derived_id(edge: Relationship) -> str:
    """Return the id of a relationship that was given none."""
    # No text holds a NUL, so no two relationships are written alike.
    ends = "\0".join(map(check_text, (edge.source, edge.target, edge.type)))
    return sha256(ends.encode()).hexdigest()[:32]


def records(what: str, values: Iterable[Any]) -> Iterable[Any]:
    """Return what was given; raise `InvalidValueError` for what cannot be iterated over."""
    if isinstance(values, Iterable):
        return values
    raise InvalidValueError(f"{what}: expected several, got {type(values).__name__}")


def texts(values: Iterable[str]) -> Sequence[str]:
    """Return a list; raise `InvalidValueError` for a single text, or what is no list of them."""
    if isinstance(values, str):
        raise InvalidValueError("expected a list of texts, got a single one")
    if not isinstance(values, Iterable):
        raise InvalidValueError(f"expected a list of texts, got {type(values).__name__}")
    return [check_text(value) for value in values]
