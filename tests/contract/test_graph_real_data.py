"""Real graphs, against the hop counts that come with them (the README of the data)."""

from __future__ import annotations

import random
from typing import Any

import pytest

from datastore import Datastore
from repositories.graph import Direction, GraphRepository
from repositories.records import Entity, Relationship
from tests.real_data import needs_real_data, records

networkx = pytest.importorskip("networkx")

pytestmark = [needs_real_data, pytest.mark.optional]

#: Entities within 1, 2, ... hops without the start: along the arrows, against them, either way.
COUNTS = {
    "wn18rr": {
        "02084071": ((3, 7, 17, 40), (12, 21, 35, 45), (15, 38, 443, 1160)),
        "08524735": ((7, 12, 21, 40), (514, 770, 878, 932), (520, 801, 1825, 3492)),
    },
    "umls": {
        "disease_or_syndrome": ((65, 123, 131, 131), (87, 123, 124, 124), (108, 134, 134, 134)),
        "age_group": ((29, 92, 130, 131), (20, 118, 123, 124), (45, 134, 134, 134)),
    },
}
SIZES = {"wn18rr": (40_943, 93_003), "umls": (135, 6_529)}
ORDER: tuple[Direction, ...] = ("out", "in", "both")


def load(graph: GraphRepository, name: str) -> tuple[int, int]:
    entities = graph.add_entities(
        Entity(row["id"], row["name"], row["type"], row["description"])
        for row in records(f"{name}/entities.jsonl.gz")
    )
    relationships = graph.add_relationships(
        Relationship(row["source"], row["target"], row["type"])
        for row in records(f"{name}/relationships.jsonl.gz")
    )
    return entities, relationships


@pytest.mark.parametrize("name", COUNTS)
def test_as_many_entities_lie_within_each_number_of_hops_as_the_data_say(
    store: Datastore, name: str
) -> None:
    graph = GraphRepository(store, name)
    assert load(graph, name) == SIZES[name]
    assert (graph.count_entities(), graph.count_relationships()) == SIZES[name]
    for start, by_direction in COUNTS[name].items():
        for direction, counts in zip(ORDER, by_direction, strict=True):
            found = graph.neighborhood(start, 4, direction=direction, max_nodes=50_000)
            depths = [depth for _, depth in found.entities]
            assert tuple(sum(1 <= d <= hops for d in depths) for hops in range(1, 5)) == counts
            assert depths == sorted(depths)
            assert not found.truncated
    compare_with_networkx(graph)
    if name == "wn18rr":
        assert graph.degree("08524735") == 521
        assert graph.top_entities(1, by="degree")[0].id == "08524735"
        assert graph.component_size("08524735") == 40_917
        assert graph.find_entities("BREAK")[0].row.name == "break"
        assert graph.find_entities("hippopotamos")[0].row.name == "hippopotamus"


def compare_with_networkx(graph: GraphRepository) -> None:
    """Neighbourhoods of a hundred entities, fewer of a dense graph, and the lengths of paths."""
    arrows = graph.to_networkx()
    views = {"out": arrows, "in": arrows.reverse(), "both": networkx.Graph(arrows)}
    choose = random.Random(7)
    starts = choose.sample(sorted(arrows), 100 if len(arrows) > 1_000 else 12)
    for number, start in enumerate(starts):
        direction = ORDER[number % len(ORDER)]
        depths = networkx.single_source_shortest_path_length(views[direction], start, cutoff=2)
        order = sorted(depths, key=lambda id_: (depths[id_], id_))
        found = graph.neighborhood(start, direction=direction, max_nodes=200)
        assert [(e.id, depth) for e, depth in found.entities] == [
            (id_, depths[id_]) for id_ in order[:200]
        ]
        assert found.truncated is (len(order) > 200)
        inside = arrows.subgraph(order[:200]).edges(keys=True)
        assert [(e.source, e.target, e.type) for e in found.relationships] == sorted(inside)
        if number % 4 == 0:
            goal = starts[number - 1]
            path = graph.shortest_path(start, goal, direction=direction)
            hops = None if path is None else path.hops
            assert hops == hops_between(views[direction], start, goal)


def hops_between(view: Any, start: str, goal: str) -> int | None:
    try:
        return int(networkx.shortest_path_length(view, start, goal))
    except networkx.NetworkXNoPath:
        return None
