"""The knowledge graph, the same on every backend."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datastore import Datastore
from datastore.errors import (
    DimensionError,
    ForeignKeyViolation,
    InvalidValueError,
    NotFoundError,
    UniqueViolation,
)
from repositories import Chunk, ChunkRepository
from repositories.base import MOST_KEY, MOST_NAME, MOST_PATH
from repositories.graph import DIRECTIONS, Direction, GraphRepository
from repositories.names import FUZZY, LEAST_LIKENESS, MEANING, NORMALIZED, PREFIX, SHORT_PREFIX
from repositories.records import Entity, Neighborhood, Relationship
from repositories.tables import chunks, kg_entity_names

PAST = datetime(2020, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
FUTURE = datetime(2090, 1, 1, tzinfo=UTC)
ANN = Entity("ann", "Ann", "person", "a person", 3, PAST, PAST)
BOB = Entity("bob", "Bob", "person", None, 5, PAST, FUTURE)
CAT = Entity("cat", "Cat", "animal", None, 1, PAST, PAST)
KNOWS = Relationship("ann", "bob", "knows", "r1", "for years", ("friend", "work"), 9)
HAS = Relationship("bob", "cat", "has", "r2")


@pytest.fixture
def graph(store: Datastore) -> GraphRepository:
    return GraphRepository(store)


@pytest.fixture
def small(graph: GraphRepository) -> GraphRepository:
    graph.add_entities([ANN, BOB, CAT])
    graph.add_relationships([KNOWS, HAS])
    return graph


def ids(found: Neighborhood) -> list[tuple[str, int]]:
    return [(entity.id, depth) for entity, depth in found.entities]


def ends(relationships: Iterable[Relationship]) -> list[tuple[str, str, str]]:
    return [(edge.source, edge.target, edge.type) for edge in relationships]


def names(store: Datastore) -> list[tuple[Any, ...]]:
    columns = kg_entity_names.c
    rows = store.query(
        sa.select(columns.entity_id, columns.name, columns.normalized_name).order_by(
            columns.entity_id, columns.name
        )
    )
    return [tuple(row.values()) for row in rows]


def add_chunks(store: Datastore, *chunk_ids: str, namespace: str = "default") -> None:
    row = {"path": "p", "start_line": 1, "end_line": 1, "content": "x", "content_hash": "h"}
    row |= {"metadata": {}, "created_at": PAST, "namespace": namespace}
    store.execute(sa.insert(chunks), [{**row, "id": id_} for id_ in chunk_ids])


class TestEntities:
    def test_what_is_added_comes_back(self, small: GraphRepository) -> None:
        assert small.get_entity("ann") == ANN
        assert small.find_entity("bob") == BOB
        assert list(small.entities()) == [ANN, BOB, CAT]
        assert small.count_entities() == 3

    def test_instants_are_set_where_they_are_not_given(self, graph: GraphRepository) -> None:
        before = datetime.now(UTC)
        graph.add_entities([Entity("a", "A", "t"), Entity("b", "B", "t", last_seen=PAST)])
        entity = graph.get_entity("a")
        assert entity.first_seen is not None
        assert before <= entity.first_seen <= datetime.now(UTC)
        assert entity.last_seen == entity.first_seen
        assert graph.get_entity("b").first_seen == PAST

    def test_names_are_added_folded(self, store: Datastore, graph: GraphRepository) -> None:
        graph.add_entities([Entity("e", "Éric  O'Neil", "t")])
        assert names(store) == [("e", "Éric  O'Neil", "eric o neil")]

    def test_an_unknown_id(self, small: GraphRepository) -> None:
        assert small.find_entity("nobody") is None
        with pytest.raises(NotFoundError) as error:
            small.get_entity("nobody")
        assert "nobody" not in str(error.value)

    def test_any_iterable_is_streamed(self, graph: GraphRepository) -> None:
        stream = (Entity(f"e{n:05}", f"name {n}", "t") for n in range(1_234))
        assert graph.add_entities(stream) == 1_234
        assert [entity.id for entity in graph.entities()] == [f"e{n:05}" for n in range(1_234)]
        assert graph.add_entities([]) == 0

    def test_an_id_that_exists_undoes_all(self, small: GraphRepository) -> None:
        fresh = [Entity(f"e{n}", "n", "t") for n in range(600)]
        with pytest.raises(UniqueViolation):
            small.add_entities([*fresh, ANN])
        assert small.count_entities() == 3

    @pytest.mark.parametrize(
        "entity",
        [
            Entity("a\x00", "n", "t"),
            Entity("a", "n\ud800", "t"),
            Entity("a", "n", "t", "\x00"),
            Entity("a", "n", "t", mention_count=-1),
            Entity("a", "n", "t", mention_count=2**63),
            Entity("a", "n", "t", mention_count=True),
            Entity("a", "n", "t", mention_count=1.5),  # type: ignore[arg-type]
            Entity("a", None, "t"),  # type: ignore[arg-type]
            Entity("a", "n", "t", first_seen=datetime(2020, 1, 1)),
        ],
    )
    @pytest.mark.parametrize("verb", ["add", "upsert"])
    def test_what_cannot_be_stored(self, small: GraphRepository, entity: Entity, verb: str) -> None:
        with pytest.raises(InvalidValueError):
            small.add_entities([entity]) if verb == "add" else small.upsert_entity(entity)
        assert list(small.entities()) == [ANN, BOB, CAT]

    def test_delete_takes_all_that_hangs_on_it(
        self, store: Datastore, small: GraphRepository
    ) -> None:
        add_chunks(store, "c1")
        small.link("bob", ["c1"])
        assert small.delete_entity("bob") is True
        assert small.delete_entity("bob") is False
        assert small.count_entities() == 2
        assert small.count_relationships() == 0
        assert small.chunks_of(["bob"]) == []
        assert [name[0] for name in names(store)] == ["ann", "cat"]


class TestUpsert:
    def test_a_new_one_is_inserted(self, graph: GraphRepository) -> None:
        assert graph.upsert_entity(ANN) == ANN
        assert graph.get_entity("ann") == ANN

    def test_mentions_are_counted_and_instants_widened(self, small: GraphRepository) -> None:
        early, late = PAST - timedelta(days=1), PAST + timedelta(microseconds=1)
        got = small.upsert_entity(replace(ANN, mention_count=2, first_seen=early, last_seen=late))
        assert got == replace(ANN, mention_count=5, first_seen=early, last_seen=late)
        inner = replace(ANN, mention_count=1, first_seen=PAST, last_seen=PAST)
        assert small.upsert_entity(inner) == replace(got, mention_count=6)
        assert small.get_entity("ann") == replace(got, mention_count=6)

    def test_mentions_have_64_bits(self, store: Datastore, small: GraphRepository) -> None:
        assert small.upsert_entity(replace(ANN, mention_count=2**31)).mention_count == 2**31 + 3
        assert small.upsert_entity(replace(ANN, mention_count=2**62)).mention_count > 2**62
        most = replace(ANN, mention_count=2**63 - 1)
        assert small.upsert_entity(most).mention_count == 2**63 - 1
        assert small.get_entity("ann") == replace(most, last_seen=ANN.last_seen)
        small.add_entities([replace(most, id="dan")])
        assert ids(small.neighborhood("ann", 0)) == [("ann", 0)]
        assert small.find_entities("Ann")[0].row.mention_count == 2**63 - 1

    def test_now_is_when_it_was_seen(self, small: GraphRepository) -> None:
        got = small.upsert_entity(Entity("ann", "Ann", "person"))
        assert got.first_seen == PAST
        assert got.last_seen is not None
        assert got.last_seen > PAST

    def test_nothing_is_last_seen_before_it_was_first(self, graph: GraphRepository) -> None:
        graph.add_entity(Entity("later", "Later", "t", first_seen=FUTURE))
        later = graph.get_entity("later")
        assert (later.first_seen, later.last_seen) == (FUTURE, FUTURE)
        naive = PAST.replace(tzinfo=None)
        for first, last in ((FUTURE, PAST), (naive, PAST), ("2020", None), (naive, None)):
            with pytest.raises(InvalidValueError):
                graph.add_entity(Entity("x", "X", "t", None, 1, first, last))  # type: ignore[arg-type]

    def test_writers_in_any_order_wait_in_no_circle(self, store: Datastore) -> None:
        ids_ = [f"e{n:04}" for n in range(1_200)]
        entities = [Entity(id_, id_, "t") for id_ in ids_]
        edges = [Relationship(ids_[n], ids_[n + 1], "r") for n in range(100)]
        add_chunks(store, *ids_)

        def write(step: int) -> None:
            graph = GraphRepository(store)
            graph.upsert_entities(entities[::step])
            graph.upsert_relationships(edges[::step])
            graph.link("e0000", ids_[::step])
            graph.add_names("e0000", [f"name {id_}" for id_ in ids_[::step]])

        with ThreadPoolExecutor() as threads:
            list(threads.map(write, (1, -1)))
        graph = GraphRepository(store)
        assert {entity.mention_count for entity in graph.entities()} == {2}
        assert len(graph.names_of("e0000")) == 1_201

    def test_a_description_is_kept_unless_there_is_a_new_one(self, small: GraphRepository) -> None:
        assert small.upsert_entity(replace(ANN, description=None)).description == "a person"
        assert small.upsert_entity(replace(ANN, description="new")).description == "new"

    def test_new_names_join_the_old_ones(self, store: Datastore, small: GraphRepository) -> None:
        got = small.upsert_entity(replace(ANN, name="Anna", type="human"))
        assert (got.name, got.type) == ("Anna", "human")
        assert small.upsert_entity(ANN).name == "Ann"
        assert [name[1] for name in names(store) if name[0] == "ann"] == ["Ann", "Anna"]
        assert [entity.id for entity in small.find_entities("anna")] == ["ann"]


class TestNames:
    def test_case_accents_and_punctuation_make_no_difference(self, graph: GraphRepository) -> None:
        graph.add_entities(
            [
                Entity("b", "São Paulo", "city", mention_count=2),
                Entity("c", "sao-paulo!", "team", mention_count=2),
                Entity("a", "SAO PAULO", "state", mention_count=1),
            ]
        )
        found = graph.find_entities("são paulo")
        assert [(hit.id, hit.reasons) for hit in found] == [
            (id_, ("normalized",)) for id_ in ("b", "c", "a")
        ]
        assert {hit.score for hit in found} == {NORMALIZED}
        assert found[0].row == graph.get_entity("b")

    def test_the_very_name_comes_first(self, graph: GraphRepository) -> None:
        graph.add_entities([Entity("a", "US", "country"), Entity("b", "us", "word", None, 99)])
        found = graph.find_entities("US")
        assert [(hit.id, hit.score, hit.reasons) for hit in found] == [
            ("a", 1.0, ("exact",)),
            ("b", NORMALIZED, ("normalized",)),
        ]

    def test_a_name_that_begins_so_counts_by_how_much_was_given(
        self, graph: GraphRepository
    ) -> None:
        graph.add_entities(
            [Entity("a", "Barcelona Football Club", "t"), Entity("b", "Barcel", "t")]
        )
        found = graph.find_entities("barce")
        assert [(hit.id, hit.reasons) for hit in found] == [("b", ("prefix",)), ("a", ("prefix",))]
        assert SHORT_PREFIX < found[1].score < found[0].score < PREFIX

    @pytest.mark.parametrize("wrong", ["Jhon Smith", "Jon Smth", "Smith John", "Smithe, Jöhn"])
    def test_misspelt_names_are_found(self, graph: GraphRepository, wrong: str) -> None:
        graph.add_entities([Entity("a", "John Smith", "t"), Entity("b", "Jane Doe", "t")])
        (hit,) = graph.find_entities(wrong)
        assert (hit.id, hit.reasons) == ("a", ("fuzzy",))
        assert LEAST_LIKENESS * FUZZY <= hit.score <= FUZZY

    def test_a_misspelt_name_is_found_among_many(self, graph: GraphRepository) -> None:
        graph.add_entities(Entity(f"e{n:04}", f"station {n} north", "t") for n in range(400))
        graph.add_entities([Entity("x", "Tchaikovsky", "t")])
        assert [hit.id for hit in graph.find_entities("Chaikovski")] == ["x"]
        assert not graph.find_entities("xyzzy qwq")

    def test_misspelt_ones_fill_what_is_left(self, graph: GraphRepository) -> None:
        graph.add_entities([Entity("a", "Marta", "t"), Entity("b", "Martha", "t")])
        assert [hit.id for hit in graph.find_entities("marta", limit=1)] == ["a"]
        assert [hit.reasons[0] for hit in graph.find_entities("marta")] == ["normalized", "fuzzy"]

    def test_no_more_than_asked_for(self, graph: GraphRepository) -> None:
        graph.add_entities(Entity(f"e{n}", "same", "t", mention_count=n) for n in range(9))
        assert [hit.id for hit in graph.find_entities("same", limit=2)] == ["e8", "e7"]
        assert not graph.find_entities("same", limit=0)
        assert not graph.find_entities("SAME", min_score=0.99)
        with pytest.raises(InvalidValueError):
            graph.find_entities("same", limit=-1)

    def test_the_very_name_is_found_among_many_that_are_nearly_the_same(
        self, graph: GraphRepository
    ) -> None:
        graph.add_entities(Entity(f"u{n:03}", "ANN", "t", mention_count=5) for n in range(150))
        graph.add_entity(Entity("me", "Ann", "t"))
        assert (graph.find_entities("Ann")[0].id, len(graph.find_entities("ann", limit=151))) == (
            "me",
            151,
        )

    def test_as_many_as_are_asked_for(self, graph: GraphRepository) -> None:
        graph.add_entities(Entity(f"p{n:03}", f"Annabel {n:03}", "t") for n in range(300))
        assert [len(graph.find_entities("annabel", limit=n)) for n in (50, 150, 300)] == [
            50, 150, 300,
        ]  # fmt: skip

    def test_many_names_of_one_entity_hide_no_other(self, graph: GraphRepository) -> None:
        graph.add_entities([Entity("one", "foo", "t"), Entity("two", "foo that is longer", "t")])
        graph.add_names("one", [f"foo {n:03}" for n in range(150)])
        found = graph.find_entities("foo")
        assert [(hit.id, hit.reasons) for hit in found] == [
            ("one", ("exact",)),
            ("two", ("prefix",)),
        ]
        assert found.notes == ()

    def test_a_beginning_of_too_many_names_is_noted(
        self, graph: GraphRepository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("repositories.names.LONGEST_LIST", 100)
        graph.add_entities(Entity(f"e{n:03}", f"a{n:03}", "t") for n in range(201))
        assert graph.find_entities("a01").notes == ()
        assert len(graph.find_entities("a").notes) == 1
        assert graph.find_entities("a", limit=150).notes == ()

    @pytest.mark.parametrize("name", [None, 5, b"ann"])
    def test_a_name_is_a_text(self, small: GraphRepository, name: Any) -> None:
        with pytest.raises(InvalidValueError, match="name: expected a text"):
            small.find_entities(name)

    @pytest.mark.parametrize("score", ["x", float("nan"), True])
    def test_a_least_score_is_a_number(self, small: GraphRepository, score: Any) -> None:
        with pytest.raises(InvalidValueError, match="min_score"):
            small.find_entities("ann", min_score=score)

    def test_what_means_something_else_is_no_hit(self, small: GraphRepository) -> None:
        small.embed_names({"Cat": [1.0, 0.0], "Bob": [0.0, 1.0], "Ann": [-1.0, 0.0]})
        assert [hit.id for hit in small.find_entities("zz", embedding=[1.0, 0.0])] == ["cat"]

    def test_vectors_of_names_that_nobody_has_found_no_space(self, small: GraphRepository) -> None:
        assert small.embed_names({"nobody": [1.0, 2.0, 3.0]}) == 0
        assert small.embed_names({"Cat": [1.0, 0.0]}) == 1
        with pytest.raises(InvalidValueError, match="expected a mapping"):
            small.embed_names(None)  # type: ignore[arg-type]

    @pytest.mark.parametrize("letter", ["x", "é", "日"])
    def test_keys_have_one_longest_length(self, store: Datastore, letter: str) -> None:
        def longest(most: int) -> str:
            return letter * (most // len(letter.encode()))

        most_key, most_name = longest(MOST_KEY), longest(MOST_NAME)
        graph = GraphRepository(store, most_key)
        graph.add_entities([Entity(most_key, most_name, most_key), Entity("b", "B", "t")])
        graph.add_relationships([Relationship(most_key, most_key, most_key, most_key)])
        ChunkRepository(store, most_key).add(Chunk(most_key, longest(MOST_PATH), 1, 1, "text"))
        assert graph.link(most_key, [most_key]) == 1
        assert graph.find_entities(most_name)[0].id == most_key

    @pytest.mark.parametrize(
        ("field", "write"),
        [
            ("namespace", lambda g, x: GraphRepository(g.session, x)),
            ("entity id", lambda g, x: g.add_entity(Entity(x, "n", "t"))),
            ("name", lambda g, x: g.upsert_entity(Entity("n", x, "t"))),
            ("type", lambda g, x: g.upsert_entities([Entity("n", "n", x)])),
            ("name", lambda g, x: g.add_names("ann", ["a", x])),
            ("source", lambda g, x: g.add_relationship(Relationship(x, "bob", "t"))),
            ("target", lambda g, x: g.upsert_relationship(Relationship("ann", x, "t"))),
            ("type", lambda g, x: g.upsert_relationships([Relationship("ann", "bob", x)])),
            ("id", lambda g, x: g.add_relationship(Relationship("ann", "bob", "t", x))),
            ("chunk id", lambda g, x: g.link("ann", [x])),
            ("chunk id", lambda g, x: ChunkRepository(g.session).add(Chunk(x, "p", 1, 1, ""))),
            ("path", lambda g, x: ChunkRepository(g.session).add(Chunk("c", x, 1, 1, ""))),
            (
                "path",
                lambda g, x: ChunkRepository(g.session).replace_path(x, [Chunk("c", "", 1, 1, "")]),
            ),
        ],
    )
    def test_longer_keys_are_refused_by_name(
        self, small: GraphRepository, field: str, write: Callable[[GraphRepository, str], object]
    ) -> None:
        with pytest.raises(InvalidValueError, match=f"^{field}: expected at most"):
            write(small, "x" * 2_001)
        assert small.count_entities() == 3

    @pytest.mark.parametrize(
        "write",
        [
            lambda g: g.add_entity(None),
            lambda g: g.add_entities("ab"),
            lambda g: g.add_entities(None),
            lambda g: g.upsert_entity("ann"),
            lambda g: g.upsert_entities([Entity("z", "z", "t"), Entity(None, "n", "t")]),
            lambda g: g.upsert_entities(5),
            lambda g: g.add_relationships(None),
            lambda g: g.add_relationship("ann"),
            lambda g: g.upsert_relationship(None),
            lambda g: g.upsert_relationship(Relationship("ann", "bob", "t", keywords=None)),
            lambda g: g.upsert_relationships([KNOWS, Relationship(5, "bob", "t")]),
            lambda g: g.neighborhood("ann", types=5),
            lambda g: g.chunks_of(None),
            lambda g: g.entities_of([5]),
            lambda g: g.add_names("ann", [None]),
            lambda g: g.link("ann", None),
        ],
    )  # fmt: skip
    def test_what_is_no_record_is_refused(
        self, small: GraphRepository, write: Callable[[Any], object]
    ) -> None:
        with pytest.raises(InvalidValueError):
            write(small)
        assert (small.count_entities(), small.count_relationships()) == (3, 2)
        assert small.relationships_of("ann") == [KNOWS]

    def test_further_names(self, small: GraphRepository) -> None:
        assert small.add_names("ann", ["Nan", "Ann", "Nancy"]) == 2
        assert small.names_of("ann") == ["Ann", "Nan", "Nancy"]
        assert small.find_entities("nancy")[0].id == "ann"
        assert small.names_of("nobody") == []
        with pytest.raises(ForeignKeyViolation):
            small.add_names("nobody", ["x"])
        with pytest.raises(InvalidValueError):
            small.add_names("ann", "x")

    def test_names_that_mean_the_like_are_found_by_embedding(self, small: GraphRepository) -> None:
        assert small.unembedded_names() == ["Ann", "Bob", "Cat"]
        assert small.unembedded_names(1) == ["Ann"]
        assert small.embed_names({"Cat": [1.0, 0.0], "Bob": [0.0, 1.0], "nobody": [1.0, 1.0]}) == 2
        assert small.unembedded_names() == ["Ann"]
        found = small.find_entities("feline", embedding=[1.0, 0.1])
        assert [(hit.id, hit.reasons) for hit in found] == [
            ("cat", ("embedding",)),
            ("bob", ("embedding",)),
        ]
        assert found[0].score == pytest.approx(MEANING / 1.01**0.5, abs=1e-6)
        assert set(found.indexes) == {"kg_name_pieces", "kg_name_vectors"}
        both = small.find_entities("CAT", embedding=[1.0, 0.0])[0]
        assert (both.id, both.reasons) == ("cat", ("normalized", "embedding"))
        assert both.score == pytest.approx(1 - (1 - NORMALIZED) * (1 - MEANING), abs=1e-6)

    def test_an_embedding_of_another_length_is_refused(self, small: GraphRepository) -> None:
        small.embed_names({"Cat": [1.0, 0.0]})
        with pytest.raises(DimensionError):
            small.find_entities("cat", embedding=[1.0, 0.0, 0.0])
        with pytest.raises(DimensionError):
            small.embed_names({"Bob": [1.0]})

    def test_names_of_signs_only_are_told_apart(self, graph: GraphRepository) -> None:
        graph.add_entities([Entity("a", "🦊", "t"), Entity("b", "+", "t"), Entity("c", "", "t")])
        assert [hit.id for hit in graph.find_entities("🦊")] == ["a"]
        assert [hit.id for hit in graph.find_entities("")] == ["c"]
        for nothing in ("?", "\x00", "\ud800"):
            assert not graph.find_entities(nothing)


class TestRelationships:
    def test_what_is_added_comes_back(self, small: GraphRepository) -> None:
        assert small.relationships_of("bob") == [KNOWS, HAS]
        assert small.relationships_of("bob", "out") == [HAS]
        assert small.relationships_of("bob", "in") == [KNOWS]
        assert small.relationships_of("bob", types=["has", "likes"]) == [HAS]
        assert small.relationships_of("bob", types=[]) == []
        assert small.relationships_of("nobody") == []
        assert small.count_relationships() == 2

    def test_a_loop_stands_once(self, small: GraphRepository) -> None:
        small.add_relationships([Relationship("cat", "cat", "licks")])
        assert ends(small.relationships_of("cat")) == [
            ("bob", "cat", "has"),
            ("cat", "cat", "licks"),
        ]

    def test_ids_are_derived(self, small: GraphRepository) -> None:
        small.add_relationships(
            [Relationship("ann", "cat", "likes"), Relationship("cat", "ann", "likes")]
        )
        first, second = small.relationships_of("ann", types=["likes"])
        assert first.id
        assert second.id
        assert first.id != second.id
        other = GraphRepository(small.session, "other")
        other.add_entities([ANN, CAT])
        other.add_relationships([Relationship("ann", "cat", "likes")])
        assert other.relationships_of("ann")[0].id == first.id

    def test_a_missing_end_undoes_all(self, small: GraphRepository) -> None:
        good = Relationship("ann", "cat", "likes")
        for bad in (Relationship("ann", "nobody", "t"), Relationship("nobody", "ann", "t")):
            with pytest.raises(ForeignKeyViolation):
                small.add_relationships([good, bad])
        assert small.count_relationships() == 2

    @pytest.mark.parametrize(
        "twin", [replace(KNOWS, id="other"), replace(KNOWS, id=None), replace(KNOWS, type="t")]
    )
    def test_a_duplicate_undoes_all(self, small: GraphRepository, twin: Relationship) -> None:
        with pytest.raises(UniqueViolation):
            small.add_relationships([Relationship("ann", "cat", "likes"), twin])
        assert small.count_relationships() == 2

    @pytest.mark.parametrize(
        "edge",
        [
            Relationship("ann", "bob", "t\x00"),
            Relationship("ann", "bob", "t", keywords=["\x00"]),
            Relationship("ann", "bob", "t", keywords="word"),
            Relationship("ann", "bob", "t", strength=2**31),
            Relationship("ann", "bob", "t", strength="5"),  # type: ignore[arg-type]
            Relationship("ann", None, "t"),  # type: ignore[arg-type]
        ],
    )
    def test_what_cannot_be_stored(self, small: GraphRepository, edge: Relationship) -> None:
        with pytest.raises(InvalidValueError):
            small.add_relationships([edge])
        assert small.count_relationships() == 2


class TestNeighborhood:
    def test_depths_order_and_relationships(self, small: GraphRepository) -> None:
        small.add_entities([Entity("dog", "Dog", "animal", mention_count=1), Entity("z", "Z", "t")])
        small.add_relationships(
            [Relationship("ann", "cat", "likes"), Relationship("ann", "dog", "likes")]
        )
        found = small.neighborhood("ann")
        assert ids(found) == [("ann", 0), ("bob", 1), ("cat", 1), ("dog", 1)]
        assert found.entities[0] == (ANN, 0)
        assert ends(found.relationships) == [
            ("ann", "bob", "knows"),
            ("ann", "cat", "likes"),
            ("ann", "dog", "likes"),
            ("bob", "cat", "has"),
        ]
        assert found.relationships[0] == KNOWS
        assert found.truncated is False

    def test_directions(self, small: GraphRepository) -> None:
        assert ids(small.neighborhood("bob", direction="out")) == [("bob", 0), ("cat", 1)]
        assert ids(small.neighborhood("bob", direction="in")) == [("bob", 0), ("ann", 1)]
        assert ids(small.neighborhood("ann", direction="in")) == [("ann", 0)]

    def test_types_rule_steps_and_relationships(self, small: GraphRepository) -> None:
        small.add_relationships([Relationship("bob", "ann", "likes")])
        found = small.neighborhood("ann", 5, types=("knows",))
        assert ids(found) == [("ann", 0), ("bob", 1)]
        assert found.relationships == [KNOWS]
        assert ids(small.neighborhood("ann", types=[])) == [("ann", 0)]

    def test_no_hop_gives_the_start_with_its_loops(self, small: GraphRepository) -> None:
        small.add_relationships([Relationship("ann", "ann", "is")])
        found = small.neighborhood("ann", 0)
        assert ids(found) == [("ann", 0)]
        assert ends(found.relationships) == [("ann", "ann", "is")]
        assert found.truncated is False

    def test_a_full_house_is_not_a_cut(self, small: GraphRepository) -> None:
        assert small.neighborhood("ann", 9, max_nodes=3).truncated is False
        assert small.neighborhood("ann", 1, max_nodes=2).truncated is False
        cut = small.neighborhood("ann", 2, max_nodes=2)
        assert ids(cut) == [("ann", 0), ("bob", 1)]
        assert cut.relationships == [KNOWS]
        assert cut.truncated is True
        assert small.neighborhood("ann", max_nodes=1).truncated is True

    def test_limits_may_be_larger_than_any_integer(self, small: GraphRepository) -> None:
        assert len(small.neighborhood("ann", 10**30, max_nodes=10**30).entities) == 3
        assert len(small.neighborhood("ann", np.int64(9), max_nodes=np.int8(9)).entities) == 3

    def test_ids_are_ordered_by_code_point(self, graph: GraphRepository) -> None:
        others = ["B", "a", "Z", "ä", "_", "€", "𝒳", "\uffff"]
        graph.add_entities([Entity(id_, "n", "t") for id_ in ["start", *others]])
        graph.add_relationships([Relationship("start", id_, "t") for id_ in others])
        found = graph.neighborhood("start", max_nodes=6)
        assert [id_ for id_, _ in ids(found)] == ["start", *sorted(others)[:5]]
        assert [edge.target for edge in found.relationships] == sorted(others)[:5]

    @pytest.mark.parametrize(
        "arguments",
        [
            {"max_hops": -1},
            {"max_hops": True},
            {"max_hops": 1.5},
            {"max_nodes": 0},
            {"max_nodes": None},
            {"direction": "up"},
            {"direction": None},
            {"types": "knows"},
            {"types": ["\x00"]},
            {"types": [1]},
        ],
    )
    def test_arguments_that_mean_nothing(
        self, small: GraphRepository, arguments: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidValueError):
            small.neighborhood("ann", **arguments)

    def test_an_unknown_start(self, small: GraphRepository) -> None:
        with pytest.raises(NotFoundError):
            small.neighborhood("nobody")
        with pytest.raises(InvalidValueError):
            small.neighborhood("\x00")


class TestLinks:
    def test_links_are_idempotent(self, store: Datastore, small: GraphRepository) -> None:
        add_chunks(store, "c1", "c2", "c3")
        assert small.link("ann", ["c2", "c1"]) == 2
        assert small.link("ann", iter(["c1", "c3", "c3"])) == 1
        assert small.link("bob", ["c1"]) == 1
        assert small.link("cat", []) == 0
        assert small.chunks_of(["bob", "ann", "ann", "nobody"]) == ["c1", "c2", "c3"]
        assert small.chunks_of(["bob"]) == ["c1"]
        assert small.chunks_of([]) == []

    def test_unknown_ends_undo_all(self, store: Datastore, small: GraphRepository) -> None:
        add_chunks(store, "c1")
        with pytest.raises(ForeignKeyViolation):
            small.link("ann", ["c1", "nothing"])
        with pytest.raises(ForeignKeyViolation):
            small.link("nobody", ["c1"])
        assert small.chunks_of(["ann"]) == []

    def test_a_single_text_is_no_list(self, small: GraphRepository) -> None:
        with pytest.raises(InvalidValueError):
            small.link("ann", "c1")
        with pytest.raises(InvalidValueError):
            small.chunks_of("ann")


def test_namespaces_are_strangers(store: Datastore, small: GraphRepository) -> None:
    other = GraphRepository(store, "other")
    assert other.find_entity("ann") is None
    assert not other.find_entities("Ann")
    with pytest.raises(NotFoundError):
        other.neighborhood("ann")
    other.add_entities([replace(ANN, name="Other"), replace(CAT, mention_count=7)])
    other.add_relationships([Relationship("ann", "cat", "eats", "r1")])
    other.upsert_entity(replace(ANN, name="Other"))
    with pytest.raises(ForeignKeyViolation):
        other.add_relationships([Relationship("ann", "bob", "knows")])
    add_chunks(store, "c1", namespace="default")
    with pytest.raises(ForeignKeyViolation):
        other.link("ann", ["c1"])
    small.link("ann", ["c1"])
    assert other.chunks_of(["ann"]) == []
    assert ids(other.neighborhood("ann")) == [("ann", 0), ("cat", 1)]
    assert ends(other.relationships_of("ann")) == [("ann", "cat", "eats")]
    assert (other.count_entities(), other.count_relationships()) == (2, 1)
    assert [entity.name for entity in other.entities()] == ["Other", "Cat"]
    assert other.delete_entity("ann")
    assert list(small.entities()) == [ANN, BOB, CAT]
    assert small.neighborhood("ann").relationships == [KNOWS, HAS]


class TestTransactions:
    def test_rollback_undoes(self, store: Datastore) -> None:
        with store.transaction() as transaction:
            graph = GraphRepository(transaction)
            graph.add_entities([ANN, BOB])
            graph.upsert_entity(CAT)
            graph.add_relationships([KNOWS, HAS])
            assert ids(graph.neighborhood("ann")) == [("ann", 0), ("bob", 1), ("cat", 2)]
            transaction.rollback()
        assert GraphRepository(store).count_entities() == 0

    def test_a_failure_leaves_the_callers_transaction_usable(self, store: Datastore) -> None:
        with store.transaction() as transaction:
            graph = GraphRepository(transaction)
            graph.add_entities([ANN])
            with pytest.raises(UniqueViolation):
                graph.add_entities([BOB, ANN])
            assert [entity.id for entity in graph.entities()] == ["ann"]
        assert GraphRepository(store).count_entities() == 1

    def test_a_read_only_one_is_enough_to_read(
        self, store: Datastore, small: GraphRepository
    ) -> None:
        with store.transaction(read_only=True) as transaction:
            graph = GraphRepository(transaction)
            assert graph.neighborhood("ann") == small.neighborhood("ann")
            assert graph.get_entity("ann") == ANN


# Random graphs against a search in plain Python.

NODES = 8
edges_of_graphs = st.sets(
    st.tuples(st.integers(0, NODES - 1), st.integers(0, NODES - 1), st.sampled_from("xyz")),
    max_size=24,
)
Edges = set[tuple[int, int, str]]


def expected(
    mentions: list[int], edges: Edges, direction: Direction, types: set[str] | None, hops: int
) -> list[tuple[str, int]]:
    """All entities within so many hops, in order."""
    depth = {0: 0}
    for hop in range(1, hops + 1):
        for source, target, kind in edges:
            if types is not None and kind not in types:
                continue
            steps = {"out": [(source, target)], "in": [(target, source)]}
            steps["both"] = steps["out"] + steps["in"]
            for near, far in steps[direction]:
                if depth.get(near) == hop - 1:
                    depth.setdefault(far, hop)
    order = sorted(depth, key=lambda node: (depth[node], -mentions[node], node))
    return [(f"n{node}", depth[node]) for node in order]


@pytest.fixture
def new_graph(store: Datastore) -> Callable[[], GraphRepository]:
    """Every example has a namespace of its own, between the others."""
    return lambda: GraphRepository(store, uuid.uuid4().hex)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    mentions=st.lists(st.integers(0, 3), min_size=NODES, max_size=NODES),
    edges=edges_of_graphs,
    types=st.none() | st.sets(st.sampled_from("xyz")),
    hops=st.integers(0, 5),
    nodes=st.integers(1, NODES + 1),
)
def test_random_graphs(
    new_graph: Callable[[], GraphRepository],
    mentions: list[int],
    edges: Edges,
    types: set[str] | None,
    hops: int,
    nodes: int,
) -> None:
    graph = new_graph()
    graph.add_entities(Entity(f"n{n}", "n", "t", mention_count=m) for n, m in enumerate(mentions))
    graph.add_relationships(Relationship(f"n{a}", f"n{b}", kind) for a, b, kind in edges)
    for direction in DIRECTIONS:
        found = graph.neighborhood("n0", hops, direction=direction, types=types, max_nodes=nodes)
        whole = expected(mentions, edges, direction, types, hops)
        assert ids(found) == whole[:nodes]
        assert found.truncated is (len(whole) > nodes)
        inside = {id_ for id_, _ in whole[:nodes]}
        assert ends(found.relationships) == sorted(
            (f"n{a}", f"n{b}", kind)
            for a, b, kind in edges
            if {f"n{a}", f"n{b}"} <= inside and (types is None or kind in types)
        )
