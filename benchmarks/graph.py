"""Walks over a graph of a million relationships, beside graphs that are held in memory."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import igraph
import networkx

from benchmarks.case import Bar, Case, Condition, Outcome, Target
from benchmarks.data import SEED
from benchmarks.measure import Contestant, Measured, measure
from benchmarks.workbench import Workbench, settle
from datastore import Datastore
from repositories import Entity, GraphRepository, Relationship

HOPS, NODES = 3, 1000
#: Relationships that each entity of the graph begins with.
DEGREE = 10
HUBS = 5


@dataclass(frozen=True)
class ScaleFree:
    """A graph that grew by preferential attachment (Barabási and Albert, 1999)."""

    edges: Sequence[tuple[int, int]]
    mentions: Sequence[int]

    @classmethod
    def grown(cls, size: int) -> ScaleFree:
        """Let every entity after the first point to ten others, those with many likelier."""
        choose = random.Random(SEED)
        ends, edges = list(range(DEGREE)), []
        for entity in range(DEGREE, size):
            chosen: set[int] = set()
            while len(chosen) < DEGREE:
                chosen.add(choose.choice(ends))
            edges += [(entity, other) for other in sorted(chosen)]
            ends += [*chosen, *[entity] * DEGREE]
        return cls(edges, [choose.randint(1, 1_000) for _ in range(size)])

    @cached_property
    def hubs(self) -> list[int]:
        """The entities with the most relationships."""
        degrees = self.igraph.degree()
        return sorted(range(len(degrees)), key=lambda entity: -degrees[entity])[:HUBS]

    @cached_property
    def igraph(self) -> Any:
        """The graph in igraph's memory."""
        return igraph.Graph(len(self.mentions), self.edges)

    @cached_property
    def networkx(self) -> Any:
        """The graph in networkx' memory."""
        return networkx.Graph(self.edges)

    def some(self, count: int, seed: int) -> list[int]:
        """Return entities at random."""
        return random.Random(seed).sample(range(len(self.mentions)), count)

    def nearest(self, depths: Sequence[tuple[int, int]]) -> list[int]:
        """Cut pairs of entity and depth to the number that a neighbourhood has."""
        order = sorted(depths, key=lambda pair: (pair[1], -self.mentions[pair[0]], pair[0]))
        return [entity for entity, _ in order[:NODES]]

    def by_igraph(self, start: int) -> list[int]:
        """Return a neighbourhood, having looked at the relationships among its entities."""
        found: list[tuple[int, int]] = [(start, 0)]
        for depth in range(1, HOPS + 1):
            ring = self.igraph.neighborhood(start, order=depth, mindist=depth)
            found += [(entity, depth) for entity in ring]
            if len(found) > NODES:
                break
        nearest = self.nearest(found)
        self.igraph.induced_subgraph(nearest).get_edgelist()
        return nearest

    def by_networkx(self, start: int) -> list[int]:
        """Do the same by networkx."""
        depths = networkx.single_source_shortest_path_length(self.networkx, start, cutoff=HOPS)
        nearest = self.nearest(list(depths.items()))
        list(self.networkx.subgraph(nearest).edges)
        return nearest


def id_of(entity: int) -> str:
    """Return an id that is ordered as the number is."""
    return f"entity-{entity:07}"


def filled(bench: Workbench, engine: str) -> tuple[ScaleFree, GraphRepository]:
    """Return the graph, in memory and in a database."""
    graph = bench.kept("graph", lambda: ScaleFree.grown(bench.size(100_000, 10_000)))
    store = bench.kept(engine, lambda: _filled(bench, getattr(bench, engine)(), graph))
    return graph, GraphRepository(store)


def _filled(bench: Workbench, store: Datastore, graph: ScaleFree) -> Datastore:
    repository = GraphRepository(store)
    repository.add_entities(
        Entity(id_of(number), f"name {number}", "thing", mention_count=count)
        for number, count in enumerate(graph.mentions)
    )
    repository.add_relationships(
        Relationship(id_of(source), id_of(target), "relates to") for source, target in graph.edges
    )
    return settle(bench, store)


def neighborhoods(bench: Workbench, engine: str, *, from_hubs: bool) -> Outcome:
    """Walk three hops from entities at random, or from those with the most relationships."""
    graph, repository = filled(bench, engine)
    starts = graph.hubs if from_hubs else graph.some(bench.size(25, 8), SEED)

    def ours(start: int) -> list[str]:
        found = repository.neighborhood(id_of(start), HOPS, max_nodes=NODES)
        return [entity.id for entity, _ in found.entities]

    measured = measure(
        [
            Contestant("datastore", ours),
            Contestant("igraph, in memory", graph.by_igraph),
            Contestant("networkx, in memory", graph.by_networkx),
        ],
        starts,
        bench.rounds,
    )
    same = [ours(start) == [id_of(each) for each in graph.by_igraph(start)] for start in starts]
    return outcome(
        measured,
        [Condition("the same entities in the same order", sum(same) / len(same), Target("≥", 1))],
        [_size(graph), f"{HOPS} hops, {NODES:,} entities at most, with their relationships"],
    )


def paths(bench: Workbench, engine: str) -> Outcome:
    """Find a path with the fewest hops between entities at random."""
    graph, repository = filled(bench, engine)
    count = bench.size(50, 15)
    pairs = list(zip(graph.some(count, 2), graph.some(count, 3), strict=True))

    def ours(pair: tuple[int, int]) -> int:
        path = repository.shortest_path(*map(id_of, pair))
        return -1 if path is None else path.hops

    def by_igraph(pair: tuple[int, int]) -> int:
        return len(graph.igraph.get_shortest_path(*pair)) - 1

    measured = measure(
        [
            Contestant("datastore", ours),
            Contestant("igraph, in memory", by_igraph),
            Contestant(
                "networkx, in memory",
                lambda pair: networkx.bidirectional_shortest_path(graph.networkx, *pair),
            ),
        ],
        pairs,
        bench.rounds,
    )
    same = [ours(pair) == by_igraph(pair) for pair in pairs]
    share = sum(same) / len(same)
    return outcome(measured, [Condition("the same length", share, Target("≥", 1))], [_size(graph)])


def outcome(measured: Measured, conditions: Sequence[Condition], notes: Sequence[str]) -> Outcome:
    """Tell our own time, which the target speaks of, with those of the peers beside it."""
    ours, *_ = measured.names
    bars = [Bar(name, measured.seconds(name) * 1e3) for name in measured.names]
    rounds = [seconds * 1e3 for seconds in measured.rounds[ours]]
    spread = (min(rounds), max(rounds))
    return Outcome(bars[0].value, bars, "ms", spread, conditions, notes)


def _size(graph: ScaleFree) -> str:
    return f"{len(graph.mentions):,} entities, {len(graph.edges):,} relationships, scale-free"


def _case(name: str, what: str, most: float, function: Callable[[Workbench], Outcome]) -> Case:
    return Case(name, what, "igraph, in memory", Target("≤", most, "ms"), function, IF_MISSED)


IF_MISSED = (
    "the last hop reaches some ten thousand entities, each of which is looked up for its mention "
    "count, so that the first ones can be told"
)

CASES = [
    _case("neighborhood-sqlite", "Three hops, SQLite", 80,
          lambda bench: neighborhoods(bench, "sqlite", from_hubs=False)),
    _case("neighborhood-postgresql", "Three hops, PostgreSQL", 80,
          lambda bench: neighborhoods(bench, "postgresql", from_hubs=False)),
    _case("hub-sqlite", "Three hops from hubs, SQLite", 250,
          lambda bench: neighborhoods(bench, "sqlite", from_hubs=True)),
    _case("hub-postgresql", "Three hops from hubs, PostgreSQL", 250,
          lambda bench: neighborhoods(bench, "postgresql", from_hubs=True)),
    _case("path-sqlite", "Shortest path, SQLite", 5, lambda bench: paths(bench, "sqlite")),
    _case("path-postgresql", "Shortest path, PostgreSQL", 15,
          lambda bench: paths(bench, "postgresql")),
]  # fmt: skip
