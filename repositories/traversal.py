"""Walks over the graph: what lies around an entity, and how two of them are connected.

Each walk goes hop by hop, with one statement per hop over the entities that the last one reached,
so that it costs what its entities cost. A recursive statement costs its paths, which hubs and
cycles multiply.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from repositories import following
from repositories.base import INT32, Session
from repositories.following import Direction, Followed
from repositories.graph_rows import (
    entity_of,
    read_entities,
    read_entity,
    read_relationships,
    require_entities,
)
from repositories.records import Entity, Neighborhood, Path, Relationship


def neighborhood(
    session: Session, namespace: str, start: str, hops: int, nodes: int, followed: Followed
) -> Neighborhood:
    """Return what lies within `hops` of an entity, `nodes` entities at most."""
    params = {"namespace": namespace, **followed.params}
    first = read_entity(session, namespace, start)
    found, cut = _walk(session, following.next_hop(*followed.shape), params, first, hops, nodes)
    params |= {"ids": [entity.id for entity, _ in found]}
    relationships = read_relationships(session, following.among(*followed.shape[1:]), params)
    return Neighborhood(found, relationships, cut)


def _walk(
    session: Session,
    step: sa.Executable,
    params: Mapping[str, Any],
    start: Entity,
    hops: int,
    nodes: int,
) -> tuple[list[tuple[Entity, int]], bool]:
    """Return entities with their depth, and whether some were cut.

    A hop asks for one entity more than there is room for, which tells a full house from a cut one.
    """
    found, frontier, cut = [(start, 0)], [start.id], False
    for depth in range(1, hops + 1):
        room = nodes - len(found)
        seen = [entity.id for entity, _ in found]
        bound = {"frontier": frontier, "seen": seen, "limit": min(room + 1, INT32[-1])}
        reached = [entity_of(row) for row in session.query(step, {**params, **bound})]
        cut = len(reached) > room
        found += [(entity, depth) for entity in reached[:room]]
        frontier = [entity.id for entity in reached[:room]]
        if cut or not frontier:
            break
    return found, cut


# --- paths ----------------------------------------------------------------------------------------


@dataclass
class _Side:
    """One end of a search for a path: whence each entity was reached, and those reached last."""

    followed: Followed
    frontier: list[str]
    whence: dict[str, str | None] = field(init=False)

    def __post_init__(self) -> None:
        self.whence = dict.fromkeys(self.frontier)

    def advance(self, session: Session, params: Mapping[str, Any], other: _Side) -> str | None:
        """Go one hop further, and return where that meets the other side, the first place by id.

        From several entities, the place is asked for before all that they lead to is read, which
        for the last hop takes longer than everything before it.
        """
        params = {**params, "frontier": sorted(self.frontier)}
        place = self._meet(session, params, other) if len(self.frontier) > 1 else None
        if place is None:
            self._expand(session, params)
            place = min((id_ for id_ in self.frontier if id_ in other.whence), default=None)
        return place

    def _meet(self, session: Session, params: Mapping[str, Any], other: _Side) -> str | None:
        """Reach one entity alone: the one where the sides meet, if they do."""
        bound = {**params, "goals": other.frontier}
        row = session.query_one(following.meeting(*self.followed.shape), bound)
        if row is None:
            return None
        self.whence[row["far"]] = row["near"]
        return str(row["far"])

    def _expand(self, session: Session, params: Mapping[str, Any]) -> None:
        """Reach all there is, each entity from the first by id of those that lead to it."""
        reached: dict[str, str] = {}
        for row in session.query(following.steps(*self.followed.shape), params):
            near, far = row["near"], row["far"]
            if far not in self.whence and (far not in reached or near < reached[far]):
                reached[far] = near
        self.frontier = list(reached)
        self.whence |= reached

    def path_to(self, id: str) -> list[str]:
        """Return the ids from an entity back to the end."""
        path = [id]
        while (before := self.whence[path[-1]]) is not None:
            path.append(before)
        return path


def shortest_path(
    session: Session,
    namespace: str,
    source: str,
    target: str,
    followed: Followed,
    max_hops: int | None,
) -> Path | None:
    """Return a path with the fewest relationships, or None where there is none."""
    require_entities(session, namespace, (source, target))
    params = {"namespace": namespace, **followed.params}
    start, goal = _Side(followed, [source]), _Side(followed.backwards, [target])
    ids = _connect(session, params, start, goal, max_hops)
    if ids is None:
        return None
    entities = read_entities(session, namespace, ids)
    among = following.among(*followed.shape[1:])
    edges = read_relationships(session, among, {**params, "ids": ids})
    return Path([entities[id_] for id_ in ids], _along(ids, edges, followed.direction))


def _connect(
    session: Session,
    params: Mapping[str, Any],
    start: _Side,
    goal: _Side,
    max_hops: int | None,
) -> list[str] | None:
    """Let both sides grow, the smaller first, until they meet; of the places the first by id."""
    hops = 0
    place = min(goal.whence.keys() & start.whence.keys(), default=None)
    while place is None:
        if not (start.frontier and goal.frontier) or hops == max_hops:
            return None
        fewer = start if len(start.frontier) <= len(goal.frontier) else goal
        place = fewer.advance(session, params, goal if fewer is start else start)
        hops += 1
    return start.path_to(place)[::-1] + goal.path_to(place)[1:]


def _along(
    ids: list[str], edges: Iterable[Relationship], direction: Direction
) -> list[Relationship]:
    """Return the relationship of each step: the strongest, of several the first."""
    best: dict[tuple[str, str], Relationship] = {}
    for edge in edges:
        ways = {"out": [(edge.source, edge.target)], "in": [(edge.target, edge.source)]}
        for way in ways.get(direction, ways["out"] + ways["in"]):
            if way not in best or edge.strength > best[way].strength:
                best[way] = edge
    return [best[step] for step in pairwise(ids)]


# --- components -----------------------------------------------------------------------------------


def component_size(session: Session, namespace: str, start: str, followed: Followed) -> int:
    """Count the entities that are connected to one over any number of hops, itself included."""
    seen = {read_entity(session, namespace, start).id}
    frontier = list(seen)
    params = {"namespace": namespace, **followed.params}
    while frontier:
        rows = session.query(following.reached(*followed.shape), {**params, "frontier": frontier})
        frontier = [row["far"] for row in rows if row["far"] not in seen]
        seen.update(frontier)
    return len(seen)
