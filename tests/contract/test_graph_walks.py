"""Paths, degrees, components and strengths, beside networkx where it has the same idea."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import Datastore
from datastore.errors import InvalidValueError, NotFoundError
from repositories import Entity, GraphRepository, Path, Relationship
from repositories.graph import DIRECTIONS, Direction

networkx = pytest.importorskip("networkx")


@pytest.fixture
def graph(store: Datastore) -> GraphRepository:
    r"""Two ways from a to d, a shortcut that is weak, and an island.

    a -> b -> c -> d, a -> x -> d, a ~> d, i -> j
    """
    graph = GraphRepository(store)
    graph.add_entities(Entity(name, name.upper(), "t", mention_count=1) for name in "abcdxij")
    graph.add_relationships(
        [
            *(Relationship(*pair, "next", strength=5) for pair in ("ab", "bc", "cd", "ij")),
            *(Relationship(*pair, "skip", strength=8) for pair in ("ax", "xd")),
            Relationship("a", "d", "hint", strength=1),
        ]
    )
    return graph


def ids(path: Path | None) -> str | None:
    return None if path is None else "".join(entity.id for entity in path)


def steps(path: Path | None) -> list[tuple[str, str, str]]:
    assert path is not None
    return [(edge.source, edge.target, edge.type) for edge in path.relationships]


class TestShortestPath:
    def test_the_fewest_hops(self, graph: GraphRepository) -> None:
        path = graph.shortest_path("a", "d")
        assert path is not None
        assert (ids(path), path.hops, len(path)) == ("ad", 1, 2)
        assert path[0] == graph.get_entity("a")
        assert steps(path) == [("a", "d", "hint")]

    def test_some_types_and_strengths_alone(self, graph: GraphRepository) -> None:
        assert ids(graph.shortest_path("a", "d", types=["next"])) == "abcd"
        assert ids(graph.shortest_path("a", "d", min_strength=5)) == "axd"
        assert graph.shortest_path("a", "d", types=[]) is None
        assert graph.shortest_path("a", "d", min_strength=9) is None

    def test_directions(self, graph: GraphRepository) -> None:
        assert ids(graph.shortest_path("d", "a", direction="out")) is None
        assert ids(graph.shortest_path("d", "a", direction="in")) == "da"
        assert ids(graph.shortest_path("d", "b", direction="both", types=["next"])) == "dcb"
        assert steps(graph.shortest_path("d", "a", direction="in")) == [("a", "d", "hint")]

    def test_no_further_than_asked_for(self, graph: GraphRepository) -> None:
        assert graph.shortest_path("a", "d", types=["next"], max_hops=2) is None
        assert ids(graph.shortest_path("a", "d", types=["next"], max_hops=3)) == "abcd"
        assert ids(graph.shortest_path("a", "a", max_hops=0)) == "a"
        with pytest.raises(InvalidValueError):
            graph.shortest_path("a", "d", max_hops=-1)

    def test_islands_are_not_connected(self, graph: GraphRepository) -> None:
        assert graph.shortest_path("a", "i") is None

    def test_of_several_the_first_by_its_middle_and_what_leads_there(
        self, store: Datastore
    ) -> None:
        graph = GraphRepository(store)
        graph.add_entities(Entity(name, "n", "t") for name in ["", *"abpqyst"])
        pairs = ["sa", "sb", "aq", "bp", "py", "qy", "yt"]
        graph.add_relationships(Relationship(*pair, "next") for pair in pairs)
        graph.add_relationships(Relationship(*ends, "next") for ends in (("p", ""), ("q", "")))
        assert ids(graph.shortest_path("s", "t")) == "sbpyt"
        graph.add_relationship(Relationship("", "t", "next"))
        for direction in DIRECTIONS[::2]:
            path = graph.shortest_path("s", "t", direction=direction)
            assert path is not None
            assert [entity.id for entity in path] == ["s", "b", "p", "", "t"]
        assert graph.shortest_path("s", "t", max_hops=3) is None
        assert graph.shortest_path("s", "t", direction="in") is None

    def test_each_step_has_its_strongest_relationship(self, graph: GraphRepository) -> None:
        graph.add_relationships(
            [Relationship("b", "a", "back", strength=9), Relationship("a", "b", "also", strength=9)]
        )
        assert steps(graph.shortest_path("a", "b")) == [("a", "b", "also")]
        assert steps(graph.shortest_path("a", "b", direction="in")) == [("b", "a", "back")]
        assert steps(graph.shortest_path("a", "b", min_strength=1, types=["next"])) == [
            ("a", "b", "next")
        ]

    def test_an_unknown_end(self, graph: GraphRepository) -> None:
        for pair in (("a", "nobody"), ("nobody", "a"), ("nobody", "nobody")):
            with pytest.raises(NotFoundError):
                graph.shortest_path(*pair)


class TestDegree:
    def test_what_leaves_and_reaches(self, graph: GraphRepository) -> None:
        degrees = [graph.degree("d", direction) for direction in DIRECTIONS]
        assert degrees == [0, 3, 3]
        assert graph.degree("d", types=["next", "hint"]) == 2
        assert graph.degree("d", min_strength=5) == 2

    def test_a_loop_leaves_and_reaches(self, graph: GraphRepository) -> None:
        graph.add_relationship(Relationship("j", "j", "is"))
        assert [graph.degree("j", direction) for direction in DIRECTIONS] == [1, 2, 3]

    def test_an_unknown_entity(self, graph: GraphRepository) -> None:
        with pytest.raises(NotFoundError):
            graph.degree("nobody")

    def test_top_entities(self, graph: GraphRepository) -> None:
        graph.add_entity(Entity("z", "Z", "t", mention_count=7))
        assert [entity.id for entity in graph.top_entities(3)] == ["z", "a", "b"]
        assert [entity.id for entity in graph.top_entities(3, by="degree")] == ["a", "d", "b"]
        assert [entity.id for entity in graph.top_entities(by="degree")][-1] == "z"
        assert graph.top_entities(0) == []
        with pytest.raises(InvalidValueError):
            graph.top_entities(by="age")  # type: ignore[arg-type]


class TestComponents:
    def test_sizes(self, graph: GraphRepository) -> None:
        graph.add_entity(Entity("z", "Z", "t"))
        assert [graph.component_size(start) for start in "adijz"] == [5, 5, 2, 2, 1]
        assert graph.component_size("a", types=["skip"]) == 3
        assert graph.component_size("x", min_strength=9) == 1

    def test_an_unknown_entity(self, graph: GraphRepository) -> None:
        with pytest.raises(NotFoundError):
            graph.component_size("nobody")


class TestStrength:
    def test_weak_relationships_are_neither_followed_nor_told(self, graph: GraphRepository) -> None:
        found = graph.neighborhood("a", 1, min_strength=2)
        assert [(entity.id, depth) for entity, depth in found.entities] == [
            ("a", 0),
            ("b", 1),
            ("x", 1),
        ]
        assert {edge.type for edge in found.relationships} == {"next", "skip"}
        assert [edge.type for edge in graph.relationships_of("d", min_strength=8)] == ["skip"]

    def test_what_is_no_strength(self, graph: GraphRepository) -> None:
        for strength in (1.5, "5", True, 2**40):
            with pytest.raises(InvalidValueError):
                graph.neighborhood("a", min_strength=strength)  # type: ignore[arg-type]


class TestNetworkx:
    def test_all_of_it(self, graph: GraphRepository) -> None:
        found = graph.to_networkx()
        assert set(found) == set("abcdxij")
        assert found.nodes["a"]["name"] == "A"
        assert found.edges["a", "d", "hint"]["strength"] == 1
        assert found.number_of_edges() == graph.count_relationships() == 7

    def test_a_neighborhood(self, graph: GraphRepository) -> None:
        found = graph.neighborhood("i").to_networkx()
        assert dict(found.nodes(data="depth")) == {"i": 0, "j": 1}
        assert list(found.edges(keys=True)) == [("i", "j", "next")]


def test_pages_of_relationships_come_in_order(store: Datastore) -> None:
    graph = GraphRepository(store)
    graph.add_entities(Entity(name, name, "t") for name in "ab")
    made = [Relationship(*ends, f"t{n:03}") for ends in ("ab", "ba") for n in range(400)]
    graph.add_relationships(reversed(made))
    assert [replace(edge, id=None) for edge in graph.relationships()] == made


def test_a_relationship_can_be_deleted(graph: GraphRepository) -> None:
    (edge,) = graph.relationships_of("i")
    assert edge.id is not None
    assert graph.delete_relationship(edge.id) is True
    assert graph.delete_relationship(edge.id) is False
    assert graph.relationships_of("i") == []


NODES = 9
Edges = set[tuple[int, int, str]]


@given(
    edges=st.sets(
        st.tuples(st.integers(0, NODES - 1), st.integers(0, NODES - 1), st.sampled_from("xy")),
        max_size=16,
    ),
    types=st.none() | st.just({"x"}),
)
def test_random_graphs_as_in_networkx_and_on_both_engines(
    migrated_stores: list[Datastore], edges: Edges, types: set[str] | None
) -> None:
    answers = []
    kept = [(a, b) for a, b, kind in edges if types is None or kind in types]
    arrows = networkx.MultiDiGraph(kept)
    arrows.add_nodes_from(range(NODES))
    for store in migrated_stores:
        graph = GraphRepository(store, uuid.uuid4().hex)
        graph.add_entities(Entity(f"n{n}", "n", "t") for n in range(NODES))
        graph.add_relationships(Relationship(f"n{a}", f"n{b}", kind) for a, b, kind in edges)
        with store.transaction(read_only=True) as transaction:
            answers.append(answers_of(GraphRepository(transaction, graph.namespace), types))
    assert answers[0] == answers[1]
    for direction in DIRECTIONS:
        assert answers[0]["hops", direction] == hops_in(arrows, direction)
    assert answers[0]["component"] == len(networkx.node_connected_component(either_way(arrows), 0))
    assert answers[0]["degree"] == arrows.degree(0)


def answers_of(graph: GraphRepository, types: set[str] | None) -> dict[Any, Any]:
    paths = {
        (direction, target): graph.shortest_path(
            "n0", f"n{target}", direction=direction, types=types
        )
        for direction in DIRECTIONS
        for target in range(0, NODES, 2)
    }
    found: dict[Any, Any] = {(*key, "path"): (ids(path)) for key, path in paths.items()}
    for direction in DIRECTIONS:
        lengths = {t: p.hops for (d, t), p in paths.items() if d == direction and p is not None}
        found["hops", direction] = lengths
    found["component"] = graph.component_size("n0", types=types)
    found["degree"] = graph.degree("n0", types=types)
    return found


def either_way(arrows: Any) -> Any:
    return networkx.Graph(arrows)


def hops_in(arrows: Any, direction: Direction) -> dict[int, int]:
    views = {"out": arrows, "in": arrows.reverse(), "both": either_way(arrows)}
    lengths = networkx.single_source_shortest_path_length(views[direction], 0)
    return {node: hops for node, hops in lengths.items() if node % 2 == 0}
