"""A knowledge graph: entities, their relationships, and the chunks that mention them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import sqlalchemy as sa

from datastore import SearchResult, Text, Transaction, upsert
from datastore.bulk import batches
from datastore.errors import InvalidValueError
from datastore.results import checked_score
from repositories import following, merging, names, networks, traversal, upserting
from repositories.base import BATCH, INT32, key, now, text, whole
from repositories.following import DIRECTIONS, Direction, Followed
from repositories.graph_rows import (
    BY_WEIGHT,
    EDGE_COLUMNS,
    ENDS,
    ENTITIES,
    ENTITY,
    ID,
    LIMIT,
    NAMESPACE,
    edge_row,
    entity_of,
    entity_row,
    listed,
    name_row,
    read_entity,
    read_relationships,
    records,
    texts,
)
from repositories.records import Entity, Neighborhood, Path, Relationship
from repositories.spaces import EmbeddingRepository
from repositories.tables import kg_entities, kg_entity_names, kg_mentions, kg_relationships

if TYPE_CHECKING:
    from networkx import MultiDiGraph

__all__ = ["DIRECTIONS", "Direction", "GraphRepository", "Weight"]

#: What makes an entity a top one.
Weight: TypeAlias = Literal["mentions", "degree"]
WEIGHTS: tuple[Weight, ...] = get_args(Weight)

_entity = kg_entities.c
_edge = kg_relationships.c

_FIRST_PAGE = ENTITIES.order_by(_entity.entity_id).limit(LIMIT)
_NEXT_PAGE = _FIRST_PAGE.where(_entity.entity_id > ID)
_FIRST_EDGES = (
    sa.select(*EDGE_COLUMNS).where(_edge.namespace == NAMESPACE).order_by(*ENDS).limit(LIMIT)
)
_NEXT_EDGES = _FIRST_EDGES.where(
    sa.tuple_(*ENDS)
    > sa.tuple_(*(sa.bindparam(name, type_=Text()) for name in ("source", "target", "of_type")))
)
_DELETE = sa.delete(kg_entities).where(_entity.namespace == NAMESPACE, _entity.entity_id == ID)
_DELETE_EDGE = sa.delete(kg_relationships).where(
    _edge.namespace == NAMESPACE, _edge.relationship_id == ID
)
_TYPES = sa.select(_edge.type).where(_edge.namespace == NAMESPACE).distinct().order_by(_edge.type)
_BY_MENTIONS = ENTITIES.order_by(*BY_WEIGHT).limit(LIMIT)


def _by_degree() -> sa.Executable:
    ends = sa.union_all(
        *(sa.select(end.label("id")).where(_edge.namespace == NAMESPACE) for end in ENDS[:2])
    ).subquery("ends")
    counted = sa.select(ends.c.id, sa.func.count().label("n")).group_by(ends.c.id)
    degrees = counted.subquery("degrees")
    return (
        ENTITIES.outerjoin(degrees, degrees.c.id == _entity.entity_id)
        .order_by(sa.func.coalesce(degrees.c.n, 0).desc(), *BY_WEIGHT)
        .limit(LIMIT)
    )


_TOP: Mapping[Weight, sa.Executable] = {"mentions": _BY_MENTIONS, "degree": _by_degree()}
_LINK = upsert(kg_mentions)


def _linked(wanted: sa.Column[str], given: sa.Column[str]) -> sa.Select[Any]:
    """Select one end of the mentions whose other end is listed."""
    mine = kg_mentions.c.namespace == NAMESPACE
    found = sa.select(wanted.label("id")).distinct().where(mine, given.in_(listed("ids")))
    return found.order_by(wanted)


_CHUNKS = _linked(kg_mentions.c.chunk_id, kg_mentions.c.entity_id)
_MENTIONED = _linked(kg_mentions.c.entity_id, kg_mentions.c.chunk_id)


class GraphRepository(EmbeddingRepository):
    """Entities and relationships of one namespace.

    `direction` says which arrows are followed: "out" along them, "in" against them, "both" either
    way. `types` are the types of relationships that count, `min_strength` how strong they are at
    least; all of them unless given. `model` is the one that embeddings of names are of: that of the
    settings unless named, as for `ChunkRepository`.
    """

    # --- entities

    def add_entity(self, entity: Entity) -> None:
        """Insert one; an id that exists raises `UniqueViolation`."""
        self.add_entities([entity])

    def add_entities(self, entities: Iterable[Entity]) -> int:
        """Insert them all, or none: an id that exists raises `UniqueViolation`. Return how many."""
        with self.session.transaction() as transaction:
            return sum(
                self._add_entities(transaction, batch)
                for batch in batches(records("entities", entities), BATCH)
            )

    def _add_entities(self, transaction: Transaction, batch: Sequence[Entity]) -> int:
        space, moment = self.namespace, now()
        transaction.insert_many(kg_entities, [entity_row(space, each, moment) for each in batch])
        transaction.insert_many(
            kg_entity_names, [name_row(space, each.id, each.name, moment) for each in batch]
        )
        return len(batch)

    def upsert_entity(self, entity: Entity) -> Entity:
        """Insert it, or count its mentions to those of the entity that is there; return the result.

        The entity takes the new name (the old one still finds it), type and, if there is one,
        description; `first_seen` and `last_seen` widen.
        """
        with self.session.transaction() as transaction:
            return upserting.upsert_entity(transaction, self.namespace, entity)

    def upsert_entities(self, entities: Iterable[Entity]) -> int:
        """Do so for all of them, or none, in the order of their ids; return how many were given."""
        with self.session.transaction() as transaction:
            return upserting.upsert_entities(transaction, self.namespace, entities)

    def get_entity(self, id: str) -> Entity:
        """Return an entity, or raise `NotFoundError`."""
        return read_entity(self.session, self.namespace, id)

    def find_entity(self, id: str) -> Entity | None:
        """Return an entity, or None."""
        row = self.session.query_one(ENTITY, self._parameters(id=id))
        return entity_of(row) if row else None

    def find_entities(
        self, name: str, *, embedding: Any = None, limit: int = 10, min_score: float = 0.0
    ) -> SearchResult[Entity]:
        """Rank the entities that a name may mean, any that they go or went by.

        `reasons` of a hit say how it was found: by this very name ("exact"), the same but for case,
        accents and punctuation ("normalized"), one that begins so ("prefix") or is spelt much like
        it ("fuzzy", looked for where those do not fill the answer), and one that means the like
        ("embedding"), where the embedding of the name is given and `embed_names` stored theirs.
        Equal scores are ordered by mention count and id. `notes` say where so many names begin so
        that not all were looked at. Raises `DimensionError` for an embedding of another length.
        """
        most, least = whole("limit", limit, 0), checked_score(min_score) or 0.0
        given = text("name", name)
        with self._snapshot() as transaction:
            return names.find_entities(
                transaction, self.namespace, given, embedding, self._claim(), most, least
            )

    def entities(self) -> Iterator[Entity]:
        """Iterate over all entities by id, reading pages: what changes meanwhile may be missed."""
        rows = self.session.query(_FIRST_PAGE, self._parameters(limit=BATCH))
        while rows:
            yield from (entity_of(row) for row in rows)
            rows = self.session.query(_NEXT_PAGE, self._parameters(limit=BATCH, id=rows[-1]["id"]))

    def top_entities(self, limit: int = 10, *, by: Weight = "mentions") -> list[Entity]:
        """Return the entities with the most mentions, or of the highest degree."""
        if by not in WEIGHTS:
            raise InvalidValueError(f"by: expected one of {', '.join(WEIGHTS)}")
        most = min(whole("limit", limit, 0), INT32[-1])
        rows = self.session.query(_TOP[by], self._parameters(limit=most))
        return [entity_of(row) for row in rows]

    def delete_entity(self, id: str) -> bool:
        """Delete an entity with its names, relationships and links; False where there is none."""
        return self.session.execute(_DELETE, self._parameters(id=id)).changes > 0

    def merge_entities(self, keep: str, drop: str) -> Entity:
        """Make two entities one, in one transaction: what hangs on `drop` moves to `keep`.

        The one that stays keeps its id, name and type, and goes by all names of both; mentions add
        up, first and last seen widen, descriptions stand below each other. Of two relationships
        that are one now, the stronger strength and the keywords of both remain; those between the
        two become relationships of the entity with itself. Raises `NotFoundError` where one is
        unknown, `InvalidValueError` where both are the same.
        """
        with self.session.transaction() as transaction:
            return merging.merge(transaction, self.namespace, keep, drop)

    def count_entities(self) -> int:
        """Count the entities."""
        return self._count(kg_entities)

    # --- names

    def add_names(self, entity_id: str, further: Iterable[str]) -> int:
        """Let an entity go by further names; return how many it had not.

        Raises `ForeignKeyViolation` where the entity is unknown.
        """
        return names.add_names(self.session, self.namespace, entity_id, texts(further))

    def names_of(self, entity_id: str) -> list[str]:
        """Return the names that an entity goes by, in their order."""
        return names.names_of(self.session, self.namespace, entity_id)

    def unembedded_names(self, limit: int = BATCH) -> list[str]:
        """Return names, but no empty one, that have no embedding of the present model yet."""
        most = min(whole("limit", limit, 0), INT32[-1])
        return names.unembedded_names(self.session, self.namespace, self._claim().model, most)

    def embed_names(self, embeddings: Mapping[str, Any]) -> int:
        """Store embeddings by name, for all entities that go by it; return how many were stored.

        Raises `DimensionError` for one of another length than the store's.
        """
        with self.session.transaction() as transaction:
            return names.embed_names(transaction, self.namespace, embeddings, self._claim())

    # --- relationships

    def add_relationship(self, relationship: Relationship) -> None:
        """Insert one; raises as `add_relationships`."""
        self.add_relationships([relationship])

    def add_relationships(self, relationships: Iterable[Relationship]) -> int:
        """Insert them all, or none; return how many.

        Raises `ForeignKeyViolation` where an end is missing, `UniqueViolation` for a second
        relationship of one type from one entity to another.
        """
        given = records("relationships", relationships)
        rows = (edge_row(self.namespace, edge) for edge in given)
        with self.session.transaction() as transaction:
            return transaction.insert_many(kg_relationships, rows)

    def upsert_relationship(self, relationship: Relationship) -> Relationship:
        """Insert it, or reinforce the one of its type between its ends; return the result.

        The stronger of the two strengths grows by one, up to `upserting.MAX_STRENGTH`; new keywords
        join the old ones, a new description replaces the old one, the id stays.
        """
        with self.session.transaction() as transaction:
            return upserting.upsert_relationship(transaction, self.namespace, relationship)

    def upsert_relationships(self, relationships: Iterable[Relationship]) -> int:
        """Do so for all of them, or none; return how many were given."""
        with self.session.transaction() as transaction:
            return upserting.upsert_relationships(transaction, self.namespace, relationships)

    def relationships(self) -> Iterator[Relationship]:
        """Iterate over all by source, target and type, as `entities` does over those."""
        found = read_relationships(self.session, _FIRST_EDGES, self._parameters(limit=BATCH))
        while found:
            yield from found
            last = found[-1]
            after = {"source": last.source, "target": last.target, "of_type": last.type}
            page = self._parameters(limit=BATCH, **after)
            found = read_relationships(self.session, _NEXT_EDGES, page)

    def relationships_of(
        self,
        entity_id: str,
        direction: Direction = "both",
        types: Iterable[str] | None = None,
        *,
        min_strength: int | None = None,
    ) -> list[Relationship]:
        """Return what leaves or reaches an entity, ordered by source, target and type."""
        followed = Followed.checked(direction, types, min_strength)
        params = self._parameters(**followed.params, id=entity_id)
        statement = following.relationships_of(*followed.shape)
        return read_relationships(self.session, statement, params)

    def delete_relationship(self, id: str) -> bool:
        """Delete a relationship; False where there is none."""
        return self.session.execute(_DELETE_EDGE, self._parameters(id=id)).changes > 0

    def count_relationships(self) -> int:
        """Count the relationships."""
        return self._count(kg_relationships)

    def relationship_types(self) -> list[str]:
        """Return the types that relationships have, in their order."""
        return [row["type"] for row in self.session.query(_TYPES, self._parameters())]

    def degree(
        self,
        entity_id: str,
        direction: Direction = "both",
        types: Iterable[str] | None = None,
        *,
        min_strength: int | None = None,
    ) -> int:
        """Count the relationships that leave or reach an entity; a loop does both.

        Raises `NotFoundError` where it is unknown.
        """
        followed = Followed.checked(direction, types, min_strength)
        params = self._parameters(**followed.params, id=entity_id)
        with self._snapshot() as transaction:
            read_entity(transaction, self.namespace, entity_id)
            (row,) = transaction.query(following.degree(*followed.shape), params)
        return int(row["degree"])

    # --- walks

    def neighborhood(
        self,
        entity_id: str,
        max_hops: int = 2,
        *,
        direction: Direction = "both",
        types: Iterable[str] | None = None,
        max_nodes: int = 1000,
        min_strength: int | None = None,
    ) -> Neighborhood:
        """Return the entities within `max_hops` of one, the start included, at most `max_nodes`.

        Those left out come last by depth, mention count and id. The relationships are all those
        of `types` and `min_strength` among the entities, whatever `direction` led to them. Raises
        `NotFoundError` where the start is unknown.
        """
        hops, nodes = whole("max_hops", max_hops, 0), whole("max_nodes", max_nodes, 1)
        followed = Followed.checked(direction, types, min_strength)
        with self._snapshot() as transaction:
            return traversal.neighborhood(
                transaction, self.namespace, entity_id, hops, nodes, followed
            )

    def shortest_path(
        self,
        source: str,
        target: str,
        *,
        direction: Direction = "both",
        types: Iterable[str] | None = None,
        min_strength: int | None = None,
        max_hops: int | None = None,
    ) -> Path | None:
        """Return a path of the fewest hops, or None where there is none within `max_hops`.

        Of several it is the same one on every engine. Each step has the strongest relationship that
        it may take. Raises `NotFoundError` where an end is unknown.
        """
        most = None if max_hops is None else whole("max_hops", max_hops, 0)
        followed = Followed.checked(direction, types, min_strength)
        with self._snapshot() as transaction:
            return traversal.shortest_path(
                transaction, self.namespace, source, target, followed, most
            )

    def component_size(
        self,
        entity_id: str,
        *,
        types: Iterable[str] | None = None,
        min_strength: int | None = None,
    ) -> int:
        """Count the entities that are connected to one, over any number of hops, and itself.

        Raises `NotFoundError` where it is unknown.
        """
        followed = Followed.checked("both", types, min_strength)
        with self._snapshot() as transaction:
            return traversal.component_size(transaction, self.namespace, entity_id, followed)

    def to_networkx(self) -> MultiDiGraph:
        """Return all of it as a `networkx.MultiDiGraph`; see `Neighborhood.to_networkx`."""
        with self._snapshot() as transaction:
            graph = GraphRepository(transaction, self.namespace)
            return networks.build(graph.entities(), graph.relationships())

    # --- mentions

    def link(self, entity_id: str, chunk_ids: Iterable[str]) -> int:
        """Note that chunks mention an entity; return how many did not before.

        Raises `ForeignKeyViolation` where the entity or a chunk is unknown.
        """
        shared = self._parameters(entity_id=key("entity id", entity_id))
        # In one order, lest two writers wait for each other.
        ids = sorted(key("chunk id", id_) for id_ in texts(chunk_ids))
        with self.session.transaction() as transaction:
            return sum(
                transaction.execute(_LINK, [{**shared, "chunk_id": id_} for id_ in batch]).changes
                for batch in batches(ids, BATCH)
            )

    def chunks_of(self, entity_ids: Iterable[str]) -> list[str]:
        """Return the ids, in their order, of the chunks that mention any of these entities."""
        rows = self.session.query(_CHUNKS, self._parameters(ids=texts(entity_ids)))
        return [row["id"] for row in rows]

    def entities_of(self, chunk_ids: Iterable[str]) -> list[str]:
        """Return the ids, in their order, of the entities that any of these chunks mention."""
        rows = self.session.query(_MENTIONED, self._parameters(ids=texts(chunk_ids)))
        return [row["id"] for row in rows]
