"""What is told again, and two entities that are one: nothing lost, nothing twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from datastore import Datastore
from datastore.errors import (
    ForeignKeyViolation,
    InvalidValueError,
    NotFoundError,
    UniqueViolation,
)
from repositories import Chunk, ChunkRepository, Entity, GraphRepository, Relationship
from repositories.tables import kg_entity_names, kg_name_embeddings
from repositories.upserting import MAX_STRENGTH

EARLY, LATE = datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
ANN = Entity("ann", "Ann", "person", "a person", 3, EARLY, EARLY)
ANNA = Entity("anna", "Anna", "human", "with a dog", 4, LATE, LATE)
KNOWS = Relationship("ann", "bob", "knows", None, "for years", ("work",), 5)


@pytest.fixture
def graph(store: Datastore) -> GraphRepository:
    graph = GraphRepository(store)
    graph.add_entities([ANN, ANNA, Entity("bob", "Bob", "person"), Entity("dog", "Dog", "animal")])
    return graph


def told(graph: GraphRepository) -> dict[tuple[str, str, str], Relationship]:
    return {(e.source, e.target, e.type): e for e in graph.relationships()}


def at_once(work: Callable[[int], object], threads: int = 6) -> list[BaseException]:
    """Run `work` in several threads, and return what they raised."""
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    started = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(60)
        assert not thread.is_alive()
    return errors


class TestReinforcing:
    def test_a_new_one_is_inserted(self, graph: GraphRepository) -> None:
        made = graph.upsert_relationship(replace(KNOWS, keywords=["work", "work", "chess"]))
        assert made.id
        assert replace(made, id=None) == replace(KNOWS, keywords=("work", "chess"))
        assert graph.relationships_of("ann") == [made]

    def test_strength_grows_up_to_a_bound(self, graph: GraphRepository) -> None:
        strengths = [graph.upsert_relationship(KNOWS).strength for _ in range(8)]
        assert strengths == [5, 6, 7, 8, 9, MAX_STRENGTH, MAX_STRENGTH, MAX_STRENGTH]
        assert graph.upsert_relationship(replace(KNOWS, strength=50)).strength == 50
        assert graph.upsert_relationship(KNOWS).strength == 50
        assert graph.relationships_of("ann")[0].strength == 50

    def test_the_stronger_one_grows(self, graph: GraphRepository) -> None:
        graph.upsert_relationship(replace(KNOWS, strength=2))
        assert graph.upsert_relationship(replace(KNOWS, strength=7)).strength == 8

    def test_keywords_join_and_the_rest_is_kept_unless_told(self, graph: GraphRepository) -> None:
        first = graph.upsert_relationship(KNOWS)
        again = replace(KNOWS, description=None, keywords=("chess", "work", "chess"))
        got = graph.upsert_relationship(again)
        assert got == replace(first, keywords=("work", "chess"), strength=6)
        assert graph.relationships_of("ann") == [got]
        assert graph.upsert_relationship(replace(KNOWS, description="new")).description == "new"
        assert graph.upsert_relationship(replace(KNOWS, id="mine")).id == first.id

    def test_many_in_one_transaction(self, graph: GraphRepository) -> None:
        assert graph.upsert_relationships([KNOWS, replace(KNOWS, type="likes"), KNOWS]) == 3
        assert [edge.strength for edge in graph.relationships_of("ann")] == [6, 5]
        with pytest.raises(ForeignKeyViolation):
            graph.upsert_relationships([KNOWS, replace(KNOWS, target="nobody")])
        assert [edge.strength for edge in graph.relationships_of("ann")] == [6, 5]

    def test_an_id_that_another_one_has(self, graph: GraphRepository) -> None:
        graph.add_relationship(replace(KNOWS, id="r"))
        with pytest.raises(UniqueViolation):
            graph.upsert_relationship(Relationship("bob", "ann", "knows", "r"))

    @pytest.mark.parametrize("words", ["work", ["\0"], [1]])
    def test_what_is_no_list_of_keywords(self, graph: GraphRepository, words: Any) -> None:
        with pytest.raises(InvalidValueError):
            graph.upsert_relationship(replace(KNOWS, keywords=words))
        assert graph.count_relationships() == 0

    def test_writers_at_once_lose_nothing(self, graph: GraphRepository) -> None:
        rounds = 5

        def work(number: int) -> None:
            for turn in range(rounds):
                words = (f"{number}-{turn}", "all")
                graph.upsert_relationship(replace(KNOWS, strength=-50, keywords=words))
                graph.upsert_entity(replace(ANN, mention_count=1))

        assert at_once(work) == []
        (edge,) = graph.relationships_of("ann")
        assert edge.strength == -50 + 6 * rounds - 1
        assert sorted(edge.keywords) == sorted(
            ["all", *(f"{number}-{turn}" for number in range(6) for turn in range(rounds))]
        )
        assert graph.get_entity("ann").mention_count == 3 + 6 * rounds


class TestUpsertEntities:
    def test_mentions_of_one_batch_add_up(self, graph: GraphRepository) -> None:
        more = [replace(ANN, mention_count=2, name="A."), Entity("new", "New", "t"), ANN]
        assert graph.upsert_entities(iter(more)) == 3
        assert graph.get_entity("ann") == replace(ANN, mention_count=8)
        assert graph.names_of("ann") == ["A.", "Ann"]
        assert graph.find_entity("new") is not None

    def test_all_or_none(self, graph: GraphRepository) -> None:
        with pytest.raises(InvalidValueError):
            graph.upsert_entities([ANN, Entity("x", "x\0", "t")])
        assert graph.get_entity("ann") == ANN


class TestMerging:
    def test_the_entity(self, graph: GraphRepository) -> None:
        got = graph.merge_entities("ann", "anna")
        assert got == Entity("ann", "Ann", "person", "a person\nwith a dog", 7, EARLY, LATE)
        assert graph.get_entity("ann") == got
        assert graph.find_entity("anna") is None
        assert graph.names_of("ann") == ["Ann", "Anna"]
        assert graph.find_entities("anna")[0].id == "ann"

    def test_mentions_have_64_bits(self, graph: GraphRepository) -> None:
        graph.upsert_entity(replace(ANNA, mention_count=2**63 - 5))
        assert graph.merge_entities("ann", "anna").mention_count == 2**63 - 1

    def test_relationships_move_and_meet(self, graph: GraphRepository) -> None:
        graph.add_relationships(
            [
                KNOWS,
                Relationship("anna", "bob", "knows", None, "well", ("chess", "work"), 9),
                Relationship("anna", "dog", "has", "mine", None, ("big",), 3),
                Relationship("dog", "anna", "loves"),
                Relationship("bob", "dog", "fears"),
            ]
        )
        graph.merge_entities("ann", "anna")
        found = told(graph)
        assert list(found) == [
            ("ann", "bob", "knows"),
            ("ann", "dog", "has"),
            ("bob", "dog", "fears"),
            ("dog", "ann", "loves"),
        ]
        met = found["ann", "bob", "knows"]
        assert (met.description, met.keywords, met.strength) == (
            "for years\nwell",
            ("work", "chess"),
            9,
        )
        assert found["ann", "dog", "has"] == Relationship(
            "ann", "dog", "has", "mine", None, ("big",), 3
        )

    def test_those_between_the_two_become_loops(self, graph: GraphRepository) -> None:
        graph.add_relationships(
            [
                Relationship("ann", "anna", "is", None, None, ("a",)),
                Relationship("anna", "ann", "is", None, None, ("b",)),
                Relationship("anna", "anna", "is", None, None, ("c",), 8),
            ]
        )
        graph.merge_entities("ann", "anna")
        (loop,) = graph.relationships()
        assert (loop.source, loop.target) == ("ann", "ann")
        assert (set(loop.keywords), loop.strength) == ({"a", "b", "c"}, 8)

    def test_what_has_gone_can_be_told_anew(self, graph: GraphRepository) -> None:
        graph.add_relationship(Relationship("anna", "bob", "knows"))
        graph.merge_entities("ann", "anna")
        graph.add_entity(ANNA)
        graph.add_relationship(Relationship("anna", "bob", "knows"))
        assert len(told(graph)) == 2

    def test_mentions_move_once(self, store: Datastore, graph: GraphRepository) -> None:
        ChunkRepository(store).add_many(Chunk(id_, "p", 1, 1, id_) for id_ in ("c1", "c2", "c3"))
        graph.link("ann", ["c1", "c2"])
        graph.link("anna", ["c2", "c3"])
        graph.merge_entities("ann", "anna")
        assert graph.chunks_of(["ann"]) == ["c1", "c2", "c3"]
        assert graph.entities_of(["c1", "c2", "c3"]) == ["ann"]

    def test_names_bring_their_embeddings(self, store: Datastore, graph: GraphRepository) -> None:
        graph.add_names("anna", ["Ann"])
        names = kg_entity_names.c
        vectors = {("anna", "Ann"): [1.0, 2.0], ("anna", "Anna"): [3.0, 4.0]}
        graph.embed_names({"Anna": vectors["anna", "Anna"], "Ann": vectors["anna", "Ann"]})
        ours = sa.select(names.rid).where(names.entity_id == "ann", names.name == "Ann")
        forget = sa.delete(kg_name_embeddings)
        store.execute(forget.where(kg_name_embeddings.c.name == ours.scalar_subquery()))
        graph.merge_entities("ann", "anna")
        rows = store.query(
            sa.select(names.entity_id, names.name, kg_name_embeddings.c.embedding)
            .join(kg_name_embeddings, kg_name_embeddings.c.name == names.rid)
            .order_by(names.name)
        )
        assert [(row["entity_id"], row["name"]) for row in rows] == [
            ("ann", "Ann"),
            ("ann", "Anna"),
        ]
        np.testing.assert_array_equal([row["embedding"] for row in rows], list(vectors.values()))
        hit = graph.find_entities("zzz", embedding=[1.0, 2.0])[0]
        assert (hit.id, hit.reasons) == ("ann", ("embedding",))

    def test_what_cannot_be_merged(self, graph: GraphRepository) -> None:
        with pytest.raises(InvalidValueError):
            graph.merge_entities("ann", "ann")
        for pair in (("ann", "nobody"), ("nobody", "ann")):
            with pytest.raises(NotFoundError):
                graph.merge_entities(*pair)
        assert graph.get_entity("ann") == ANN

    def test_a_transaction_that_is_rolled_back_merged_nothing(
        self, store: Datastore, graph: GraphRepository
    ) -> None:
        graph.add_relationships([KNOWS, Relationship("anna", "dog", "has")])
        before = (list(graph.entities()), told(graph), graph.names_of("anna"))
        with store.transaction() as transaction:
            GraphRepository(transaction).merge_entities("ann", "anna")
            transaction.rollback()
        assert (list(graph.entities()), told(graph), graph.names_of("anna")) == before

    def test_what_is_told_meanwhile_is_not_lost(
        self, store: Datastore, graph: GraphRepository
    ) -> None:
        graph.add_relationship(replace(KNOWS, strength=-90))
        fresh = [f"w{n}" for n in range(12)]
        graph.add_entities(Entity(f"e{n}", "E", "t") for n in range(12))
        ChunkRepository(store).add_many(Chunk(word, "p", 1, 1, word) for word in fresh)

        def work(number: int) -> None:
            if number == 0:
                for n in range(12):
                    store.run(lambda tx, n=n: GraphRepository(tx).merge_entities("ann", f"e{n}"))
            for word in fresh[number - 1 :: 3] if number else ():
                store.run(lambda tx, word=word: tell(GraphRepository(tx), word))

        def tell(mine: GraphRepository, word: str) -> None:
            mine.upsert_relationship(replace(KNOWS, strength=-90, keywords=(word,)))
            mine.link("ann", [word])
            mine.upsert_relationship(Relationship("dog", "ann", word))

        assert at_once(work, 4) == []
        found = told(graph)
        assert found["ann", "bob", "knows"].strength == -90 + 12
        assert set(found["ann", "bob", "knows"].keywords) == {"work", *fresh}
        assert graph.chunks_of(["ann"]) == sorted(fresh)
        assert {kind for source, _, kind in found if source == "dog"} == set(fresh)
        assert graph.get_entity("ann").mention_count == 3 + 12
