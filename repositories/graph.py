"""A knowledge graph: entities, their relationships, and the chunks that mention them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, Literal, TypeAlias, get_args

import sqlalchemy as sa

from datastore import Text, TextArray, Transaction, each, upsert
from datastore.bulk import batches
from datastore.errors import InvalidValueError, NotFoundError
from datastore.folding import fold
from datastore.sql import excluded
from datastore.types import INT64, check_text
from repositories.base import BATCH, INT32, Repository, Session, is_text, now, whole
from repositories.records import Entity, Neighborhood, Relationship
from repositories.tables import kg_entities, kg_entity_names, kg_mentions, kg_relationships

Direction: TypeAlias = Literal["out", "in", "both"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)

_entity = kg_entities.c
_edge = kg_relationships.c
_name = kg_entity_names.c

_NAMESPACE = sa.bindparam("namespace", type_=Text())
_ID = sa.bindparam("id", type_=Text())
_LIMIT = sa.bindparam("limit", type_=sa.Integer())
_BY_WEIGHT = (_entity.mention_count.desc(), _entity.entity_id)


def _listed(parameter: str) -> sa.Select[Any]:
    """Select the texts of a bound list."""
    return sa.select(each(sa.bindparam(parameter, type_=TextArray())).c.value)


_ENTITY_COLUMNS = (
    _entity.entity_id.label("id"),
    _entity.name,
    _entity.type,
    _entity.description,
    _entity.mention_count,
    _entity.first_seen,
    _entity.last_seen,
)
_EDGE_COLUMNS = (
    _edge.source_entity_id.label("source"),
    _edge.target_entity_id.label("target"),
    _edge.type,
    _edge.relationship_id.label("id"),
    _edge.description,
    _edge.keywords,
    _edge.strength,
)
_ENTITIES = sa.select(*_ENTITY_COLUMNS).where(_entity.namespace == _NAMESPACE)
_ENTITY = _ENTITIES.where(_entity.entity_id == _ID)
_FIRST_PAGE = _ENTITIES.order_by(_entity.entity_id).limit(_LIMIT)
_NEXT_PAGE = _FIRST_PAGE.where(_entity.entity_id > _ID)
# Names without a letter or a digit all fold to nothing: of those, only the very same one is meant.
_NAMED = _ENTITIES.where(
    _entity.entity_id.in_(
        sa.select(_name.entity_id).where(
            _name.namespace == _NAMESPACE,
            _name.normalized_name == sa.bindparam("folded", type_=Text()),
            (_name.normalized_name != "") | (_name.name == sa.bindparam("name", type_=Text())),
        )
    )
).order_by(*_BY_WEIGHT)
_CHUNKS = (
    sa.select(kg_mentions.c.chunk_id)
    .distinct()
    .where(kg_mentions.c.namespace == _NAMESPACE, kg_mentions.c.entity_id.in_(_listed("entities")))
    .order_by(kg_mentions.c.chunk_id)
)
_DELETE = sa.delete(kg_entities).where(_entity.namespace == _NAMESPACE, _entity.entity_id == _ID)

_fresh = excluded(kg_entities)
_UPSERT = upsert(
    kg_entities,
    key=[_entity.namespace, _entity.entity_id],
    update={
        _entity.name: _fresh.name,
        _entity.type: _fresh.type,
        _entity.description: sa.func.coalesce(_fresh.description, _entity.description),
        # No further than the column reaches: one engine would raise, the other store a float.
        _entity.mention_count: sa.case(
            (_entity.mention_count > INT64[-1] - _fresh.mention_count, INT64[-1]),
            else_=_entity.mention_count + _fresh.mention_count,
        ),
        _entity.first_seen: sa.case(
            (_fresh.first_seen < _entity.first_seen, _fresh.first_seen), else_=_entity.first_seen
        ),
        _entity.last_seen: sa.case(
            (_fresh.last_seen > _entity.last_seen, _fresh.last_seen), else_=_entity.last_seen
        ),
    },
).returning(*_ENTITY_COLUMNS)
_ADD_NAME = upsert(kg_entity_names, key=[_name.namespace, _name.entity_id, _name.name])
_LINK = upsert(kg_mentions)


class GraphRepository(Repository):
    """Entities and relationships of one namespace.

    `direction` says which arrows are followed: "out" along them, "in" against them, "both" either
    way. `types` are the types of relationships that count; all of them unless given.
    """

    def add_entities(self, entities: Iterable[Entity]) -> int:
        """Insert them all, or none: an id that exists raises `UniqueViolation`. Return how many."""
        with self.session.transaction() as transaction:
            return sum(self._add_entities(transaction, batch) for batch in batches(entities, BATCH))

    def _add_entities(self, transaction: Transaction, batch: Sequence[Entity]) -> int:
        moment = now()
        transaction.insert_many(kg_entities, [self._entity_row(entity, moment) for entity in batch])
        transaction.insert_many(
            kg_entity_names, [self._name_row(entity, moment) for entity in batch]
        )
        return len(batch)

    def upsert_entity(self, entity: Entity) -> Entity:
        """Insert it, or count its mentions to those of the entity that is there; return the result.

        The entity takes the new name (the old one still finds it), type and, if there is one,
        description; `first_seen` and `last_seen` widen.
        """
        moment = now()
        with self.session.transaction() as transaction:
            row = transaction.query(_UPSERT, self._entity_row(entity, moment))[0]
            transaction.execute(_ADD_NAME, self._name_row(entity, moment))
        return Entity(**row)

    def get_entity(self, id: str) -> Entity:
        """Return an entity, or raise `NotFoundError`."""
        return _found(self.find_entity(id))

    def find_entity(self, id: str) -> Entity | None:
        """Return an entity, or None."""
        row = self.session.query_one(_ENTITY, self._parameters(id=id))
        return Entity(**row) if row else None

    def find_entities(self, name: str) -> list[Entity]:
        """Return the entities that go, or went, by a name, the most mentioned first.

        Case, accents and punctuation make no difference.
        """
        if not is_text(name):  # and so no name either
            return []
        params = self._parameters(name=name, folded=fold(name))
        return [Entity(**row) for row in self.session.query(_NAMED, params)]

    def entities(self) -> Iterator[Entity]:
        """Iterate over all entities by id, reading pages: what changes meanwhile may be missed."""
        rows = self.session.query(_FIRST_PAGE, self._parameters(limit=BATCH))
        while rows:
            yield from (Entity(**row) for row in rows)
            rows = self.session.query(_NEXT_PAGE, self._parameters(limit=BATCH, id=rows[-1]["id"]))

    def delete_entity(self, id: str) -> bool:
        """Delete an entity with its names, relationships and links; False where there is none."""
        return self.session.execute(_DELETE, self._parameters(id=id)).changes > 0

    def count_entities(self) -> int:
        """Count the entities."""
        return self._count(kg_entities)

    def add_relationships(self, relationships: Iterable[Relationship]) -> int:
        """Insert them all, or none; return how many.

        Raises `ForeignKeyViolation` where an end is missing, `UniqueViolation` for a second
        relationship of one type from one entity to another.
        """
        with self.session.transaction() as transaction:
            return transaction.insert_many(kg_relationships, map(self._edge_row, relationships))

    def relationships_of(
        self, entity_id: str, direction: Direction = "both", types: Iterable[str] | None = None
    ) -> list[Relationship]:
        """Return what leaves or reaches an entity, ordered by source, target and type."""
        statement = _relationships_of(_checked(direction), types is not None)
        return _read_relationships(
            self.session, statement, self._parameters(**_typed(types), id=entity_id)
        )

    def count_relationships(self) -> int:
        """Count the relationships."""
        return self._count(kg_relationships)

    def neighborhood(
        self,
        entity_id: str,
        max_hops: int = 2,
        *,
        direction: Direction = "both",
        types: Iterable[str] | None = None,
        max_nodes: int = 1000,
    ) -> Neighborhood:
        """Return the entities within `max_hops` of one, the start included, at most `max_nodes`.

        Those left out come last by depth, mention count and id. The relationships are all those
        of `types` among the entities, whatever `direction` led to them. Raises `NotFoundError`
        where the start is unknown.
        """
        hops, nodes = whole("max_hops", max_hops, 0), whole("max_nodes", max_nodes, 1)
        step, params = (
            _step(_checked(direction), types is not None),
            self._parameters(**_typed(types)),
        )
        with self._snapshot() as transaction:
            start = GraphRepository(transaction, self.namespace).get_entity(entity_id)
            found, cut = _walk(transaction, step, params, start, hops, nodes)
            among = {**params, "ids": [entity.id for entity, _ in found]}
            relationships = _read_relationships(transaction, _among(types is not None), among)
        return Neighborhood(found, relationships, cut)

    def link(self, entity_id: str, chunk_ids: Iterable[str]) -> int:
        """Note that chunks mention an entity; return how many did not before.

        Raises `ForeignKeyViolation` where the entity or a chunk is unknown.
        """
        shared = self._parameters(entity_id=entity_id)
        with self.session.transaction() as transaction:
            return sum(
                transaction.execute(_LINK, [{**shared, "chunk_id": id_} for id_ in batch]).changes
                for batch in batches(_texts(chunk_ids), BATCH)
            )

    def chunks_of(self, entity_ids: Iterable[str]) -> list[str]:
        """Return the ids, in their order, of the chunks that mention any of these entities."""
        rows = self.session.query(_CHUNKS, self._parameters(entities=_texts(entity_ids)))
        return [row["chunk_id"] for row in rows]

    def _entity_row(self, entity: Entity, moment: datetime) -> dict[str, Any]:
        return self._parameters(
            entity_id=entity.id,
            name=check_text(entity.name),
            type=entity.type,
            description=entity.description,
            mention_count=whole("mention_count", entity.mention_count, 0, INT64[-1]),
            first_seen=entity.first_seen or entity.last_seen or moment,
            last_seen=entity.last_seen or moment,
        )

    def _name_row(self, entity: Entity, moment: datetime) -> dict[str, Any]:
        return self._parameters(
            entity_id=entity.id,
            name=entity.name,
            normalized_name=fold(entity.name),
            updated_at=moment,
        )

    def _edge_row(self, edge: Relationship) -> dict[str, Any]:
        return self._parameters(
            relationship_id=_derived_id(edge) if edge.id is None else edge.id,
            source_entity_id=edge.source,
            target_entity_id=edge.target,
            type=edge.type,
            description=edge.description,
            keywords=edge.keywords,
            strength=whole("strength", edge.strength, INT32[0], INT32[-1]),
        )


@lru_cache
def _step(direction: Direction, typed: bool) -> sa.Executable:
    """Select the entities one hop from the `frontier` and not yet `seen`, heaviest first."""
    source, target = _edge.source_entity_id, _edge.target_entity_id
    ways = {"out": [(source, target)], "in": [(target, source)]}
    steps = [
        sa.select(far)
        .where(_edge.namespace == _NAMESPACE, near.in_(_listed("frontier")))
        .where(_of_types(typed))
        for near, far in ways.get(direction, ways["out"] + ways["in"])
    ]
    # UNION would sort, and SQLite then walks the whole index to have the order for nothing.
    top = (
        sa.select(_entity.entity_id)
        .where(_entity.namespace == _NAMESPACE, _entity.entity_id.in_(sa.union_all(*steps)))
        .where(_entity.entity_id.not_in(_listed("seen")))
        .order_by(*_BY_WEIGHT)
        .limit(_LIMIT)
        .subquery("top")
    )
    # The rest of a row is read only for those that stay.
    return _ENTITIES.join(top, top.c.entity_id == _entity.entity_id).order_by(*_BY_WEIGHT)


@lru_cache
def _among(typed: bool) -> sa.Executable:
    """Select the relationships with both ends among `ids`."""
    # Keys come from the index alone, then rows for those: an outer join keeps every planner to that
    # order, and an expression keeps it from looking up each pair of ids.
    end = _edge.target_entity_id.concat("")
    keys = (
        sa.select(_edge.source_entity_id, _edge.target_entity_id, _edge.type)
        .where(_edge.namespace == _NAMESPACE, _edge.source_entity_id.in_(_listed("ids")))
        .where(end.in_(_listed("ids")), _of_types(typed))
        .subquery("keys")
    )
    same = sa.and_(_edge.namespace == _NAMESPACE, *(_edge[c.name] == c for c in keys.c))
    return (
        sa.select(*_EDGE_COLUMNS)
        .select_from(keys.outerjoin(kg_relationships, same))
        .order_by(keys.c.source_entity_id, keys.c.target_entity_id, keys.c.type)
    )


@lru_cache
def _relationships_of(direction: Direction, typed: bool) -> sa.Executable:
    ends = {"out": _edge.source_entity_id == _ID, "in": _edge.target_entity_id == _ID}
    return (
        sa.select(*_EDGE_COLUMNS)
        .where(_edge.namespace == _NAMESPACE, ends.get(direction, sa.or_(*ends.values())))
        .where(_of_types(typed))
        .order_by(_edge.source_entity_id, _edge.target_entity_id, _edge.type)
    )


def _of_types(typed: bool) -> sa.ColumnElement[bool]:
    return _edge.type.in_(_listed("types")) if typed else sa.true()


def _walk(
    transaction: Transaction,
    step: sa.Executable,
    params: dict[str, Any],
    start: Entity,
    hops: int,
    nodes: int,
) -> tuple[list[tuple[Entity, int]], bool]:
    """Return entities with their depth, and whether some were cut; one statement per hop.

    A hop asks for one entity more than there is room for, which tells a full house from a cut one.
    """
    found, frontier, cut = [(start, 0)], [start.id], False
    for depth in range(1, hops + 1):
        room = nodes - len(found)
        seen = [entity.id for entity, _ in found]
        bound = {"frontier": frontier, "seen": seen, "limit": min(room + 1, INT32[-1])}
        reached = [Entity(**row) for row in transaction.query(step, {**params, **bound})]
        cut = len(reached) > room
        found += [(entity, depth) for entity in reached[:room]]
        frontier = [entity.id for entity in reached[:room]]
        if cut or not frontier:
            break
    return found, cut


def _read_relationships(
    session: Session, statement: sa.Executable, params: dict[str, Any]
) -> list[Relationship]:
    rows = session.query(statement, params)
    return [Relationship(**{**row, "keywords": tuple(row["keywords"])}) for row in rows]


def _found(entity: Entity | None) -> Entity:
    if entity is None:
        raise NotFoundError("there is no entity of that id in this namespace")
    return entity


def _derived_id(edge: Relationship) -> str:
    # No text holds a NUL, so no two relationships are written alike.
    key = "\0".join(map(check_text, (edge.source, edge.target, edge.type)))
    return sha256(key.encode()).hexdigest()[:32]


def _typed(types: Iterable[str] | None) -> dict[str, Sequence[str]]:
    return {} if types is None else {"types": _texts(types)}


def _texts(values: Iterable[str]) -> Sequence[str]:
    """Return a list; a single text stays one, which is then refused as no list."""
    if isinstance(values, str):
        raise InvalidValueError("expected a list of texts, got a single one")
    return list(values)


def _checked(direction: Direction) -> Direction:
    if direction not in DIRECTIONS:
        raise InvalidValueError(f"direction: expected one of {', '.join(DIRECTIONS)}")
    return direction
