"""Random operations give one state on every engine, and the state of a model in plain Python."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from datastore import Datastore
from datastore.errors import (
    DatastoreError,
    ForeignKeyViolation,
    InvalidValueError,
    NotFoundError,
    UniqueViolation,
)
from repositories import Chunk, ChunkRepository, Entity, GraphRepository, Relationship
from repositories.upserting import MAX_STRENGTH

CHUNKS = ("c0", "c1", "c2")
START = datetime(2026, 1, 1, tzinfo=UTC)
Ends = tuple[str, str, str]


class Model:
    """What the graph is meant to do, with dictionaries."""

    def __init__(self) -> None:
        self.entities: dict[str, Entity] = {}
        self.names: dict[str, set[str]] = {}
        self.edges: dict[Ends, Relationship] = {}
        self.links: dict[str, set[str]] = {}

    def add_entity(self, entity: Entity) -> None:
        if entity.id in self.entities:
            raise UniqueViolation("")
        self.entities[entity.id] = entity
        self.names[entity.id] = {entity.name}
        self.links[entity.id] = set()

    def upsert_entity(self, entity: Entity) -> None:
        old = self.entities.get(entity.id)
        if old is None:
            self.add_entity(entity)
            return
        self.entities[entity.id] = replace(
            entity,
            description=old.description if entity.description is None else entity.description,
            mention_count=old.mention_count + entity.mention_count,
            first_seen=min(both(old.first_seen, entity.first_seen)),
            last_seen=max(both(old.last_seen, entity.last_seen)),
        )
        self.names[entity.id].add(entity.name)

    def add_names(self, id: str, names: list[str]) -> None:
        if not names:
            return
        if id not in self.entities:
            raise ForeignKeyViolation("")
        self.names[id].update(names)

    def add_relationship(self, edge: Relationship) -> None:
        if ends(edge) in self.edges:
            raise UniqueViolation("")
        if not {edge.source, edge.target} <= self.entities.keys():
            raise ForeignKeyViolation("")
        self.edges[ends(edge)] = edge

    def upsert_relationship(self, edge: Relationship) -> None:
        old = self.edges.get(ends(edge))
        if old is None:
            self.add_relationship(edge)
            return
        most = max(old.strength, edge.strength)
        self.edges[ends(edge)] = replace(
            old,
            description=old.description if edge.description is None else edge.description,
            keywords=united(old.keywords, edge.keywords),
            strength=max(most, min(most + 1, MAX_STRENGTH)),
        )

    def link(self, id: str, chunk_ids: list[str]) -> None:
        if not chunk_ids:
            return
        if id not in self.entities or not set(chunk_ids) <= set(CHUNKS):
            raise ForeignKeyViolation("")
        self.links[id].update(chunk_ids)

    def delete_entity(self, id: str) -> None:
        for held in (self.entities, self.names, self.links):
            held.pop(id, None)
        self.edges = {key: edge for key, edge in self.edges.items() if id not in key[:2]}

    def merge_entities(self, keep: str, drop: str) -> None:
        if keep == drop:
            raise InvalidValueError("")
        if not {keep, drop} <= self.entities.keys():
            raise NotFoundError("")
        one, other = self.entities[keep], self.entities[drop]
        self.entities[keep] = replace(
            one,
            description=joined(one.description, other.description),
            mention_count=one.mention_count + other.mention_count,
            first_seen=min(both(one.first_seen, other.first_seen)),
            last_seen=max(both(one.last_seen, other.last_seen)),
        )
        self.names[keep] |= self.names[drop]
        self.links[keep] |= self.links[drop]
        moving = sorted(key for key in self.edges if drop in key[:2])
        edges = {key: edge for key, edge in self.edges.items() if key not in moving}
        for key in moving:
            source, target = (keep if end == drop else end for end in key[:2])
            moved = replace(self.edges[key], source=source, target=target)
            old = edges.get(ends(moved))
            edges[ends(moved)] = (
                moved
                if old is None
                else replace(
                    old,
                    description=joined(old.description, moved.description),
                    keywords=united(old.keywords, moved.keywords),
                    strength=max(old.strength, moved.strength),
                )
            )
        self.edges = edges
        self.delete_entity(drop)

    def state(self) -> Any:
        return (
            sorted(self.entities.values(), key=lambda entity: entity.id),
            {id: sorted(names) for id, names in self.names.items()},
            [self.edges[key] for key in sorted(self.edges)],
            {id: sorted(chunks) for id, chunks in self.links.items()},
        )


def both(*instants: datetime | None) -> list[datetime]:
    return [instant for instant in instants if instant is not None]


def ends(edge: Relationship) -> Ends:
    return edge.source, edge.target, edge.type


def united(*lists: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for words in lists for word in words))


def joined(*descriptions: str | None) -> str | None:
    told = list(dict.fromkeys(text for text in descriptions if text is not None))
    return "\n".join(told) if told else None


def state_of(graph: GraphRepository) -> Any:
    entities = list(graph.entities())
    return (
        entities,
        {entity.id: graph.names_of(entity.id) for entity in entities},
        [replace(edge, id=None) for edge in graph.relationships()],
        {entity.id: graph.chunks_of([entity.id]) for entity in entities},
    )


ids = st.sampled_from(["a", "b", "c", "d"])
words = st.sampled_from(["ann", "bob", "Ann", "eve"])
sayings = st.none() | st.sampled_from(["one", "two"])
instants = st.integers(0, 9).map(lambda days: START + timedelta(days=days))
entities = st.builds(
    lambda id, name, type, told, count, seen: Entity(id, name, type, told, count, seen, seen),
    ids, words, st.sampled_from("st"), sayings, st.integers(0, 5), instants,
)  # fmt: skip
relationships = st.builds(
    lambda *fields: Relationship(*fields[:3], None, *fields[3:]),
    ids, ids, st.sampled_from("xy"), sayings,
    st.lists(words, max_size=3, unique=True).map(tuple), st.integers(-1, 12),
)  # fmt: skip
operations = st.one_of(
    st.tuples(st.just("add_entity"), entities),
    st.tuples(st.just("upsert_entity"), entities),
    st.tuples(st.just("add_names"), ids, st.lists(words, max_size=2)),
    st.tuples(st.just("add_relationship"), relationships),
    st.tuples(st.just("upsert_relationship"), relationships),
    st.tuples(st.just("upsert_relationship"), relationships),
    st.tuples(st.just("link"), ids, st.lists(st.sampled_from([*CHUNKS, "nothing"]), max_size=2)),
    st.tuples(st.just("merge_entities"), ids, ids),
    st.tuples(st.just("delete_entity"), ids),
)


def outcome(call: Callable[..., object], arguments: tuple[Any, ...]) -> type | None:
    try:
        call(*arguments)
    except DatastoreError as error:
        return type(error)
    return None


@settings(max_examples=30, phases=[Phase.generate])
@given(
    founders=st.sets(ids, min_size=2).flatmap(
        lambda found: st.tuples(
            *(entities.map(lambda e, i=i: replace(e, id=i)) for i in sorted(found))
        )
    ),
    steps=st.lists(operations, min_size=3, max_size=14),
)
def test_any_operations_one_after_another(
    migrated_stores: list[Datastore], founders: tuple[Entity, ...], steps: list[tuple[Any, ...]]
) -> None:
    model, space = Model(), uuid.uuid4().hex
    for entity in founders:
        model.add_entity(entity)
    expected = [outcome(getattr(model, name), arguments) for name, *arguments in steps]
    for store in migrated_stores:
        with store.transaction() as transaction:
            ChunkRepository(transaction, space).add_many(Chunk(c, "p", 1, 1, c) for c in CHUNKS)
            graph = GraphRepository(transaction, space)
            graph.add_entities(founders)
            assert [step(transaction, space, *rest) for rest in steps] == expected
            assert state_of(graph) == model.state()
            hits = graph.find_entities("ann")
            assert [hit.id for hit in hits if hit.score == 1.0] == [
                entity.id
                for entity in sorted(
                    model.entities.values(), key=lambda each: (-each.mention_count, each.id)
                )
                if "ann" in model.names[entity.id]
            ]


def step(transaction: Any, space: str, name: str, *arguments: Any) -> type | None:
    """Do one thing in a savepoint, which a failure leaves as it was."""

    def call(*given: Any) -> None:
        with transaction.transaction() as savepoint:
            getattr(GraphRepository(savepoint, space), name)(*given)

    return outcome(call, arguments)
