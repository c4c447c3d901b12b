"""Which relationships are followed, and the statements that do: one hop each.

Statements are built once for each direction and for whether types and a least strength are given,
which are bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, TypeAlias, get_args

import sqlalchemy as sa

from datastore import one_of
from datastore.errors import InvalidValueError
from repositories.base import INT32, whole
from repositories.graph_rows import (
    BY_WEIGHT,
    EDGE_COLUMNS,
    ENDS,
    ENTITIES,
    ID,
    LIMIT,
    NAMESPACE,
    listed,
    texts,
)
from repositories.tables import kg_entities, kg_relationships

Direction: TypeAlias = Literal["out", "in", "both"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
AGAINST: Mapping[Direction, Direction] = {"out": "in", "in": "out", "both": "both"}

_entity = kg_entities.c
_edge = kg_relationships.c
_ONE: sa.ColumnElement[int] = sa.literal_column("1")


@dataclass(frozen=True)
class Followed:
    """Which relationships a walk follows, and which way."""

    direction: Direction
    types: tuple[str, ...] | None = None
    min_strength: int | None = None

    @classmethod
    def checked(
        cls,
        direction: Direction,
        types: Iterable[str] | None = None,
        min_strength: int | None = None,
    ) -> Followed:
        """Raise `InvalidValueError` for what means nothing."""
        if direction not in DIRECTIONS:
            raise InvalidValueError(f"direction: expected one of {', '.join(DIRECTIONS)}")
        if min_strength is not None:
            min_strength = whole("min_strength", min_strength, INT32[0], INT32[-1])
        return cls(direction, None if types is None else tuple(texts(types)), min_strength)

    @property
    def backwards(self) -> Followed:
        """The same, the other way."""
        return replace(self, direction=AGAINST[self.direction])

    @property
    def shape(self) -> tuple[Direction, bool, bool]:
        """What the text of a statement depends on."""
        return self.direction, self.types is not None, self.min_strength is not None

    @property
    def params(self) -> dict[str, Any]:
        """What is bound."""
        given = {"types": self.types, "min_strength": self.min_strength}
        return {name: value for name, value in given.items() if value is not None}


def _kept(typed: bool, strong: bool) -> sa.ColumnElement[bool]:
    """Return the condition on a relationship that is followed."""
    conditions: list[sa.ColumnElement[bool]] = [sa.true()]
    if typed:
        conditions.append(_edge.type.in_(listed("types")))
    if strong:
        conditions.append(_edge.strength >= sa.bindparam("min_strength", type_=sa.Integer()))
    return sa.and_(*conditions)


def _ways(direction: Direction) -> list[tuple[Any, Any]]:
    """Return the columns of the near and the far end, for each way that is followed."""
    ways = {
        "out": [(_edge.source_entity_id, _edge.target_entity_id)],
        "in": [(_edge.target_entity_id, _edge.source_entity_id)],
    }
    return ways.get(direction, ways["out"] + ways["in"])


def _steps(
    direction: Direction, typed: bool, strong: bool, *, near_too: bool = False
) -> sa.CompoundSelect[*tuple[Any, ...]]:
    """Select one hop from the `frontier`, the same entity once for each relationship."""
    # UNION would sort, and SQLite then walks the whole index to have the order for nothing.
    return sa.union_all(
        *(
            sa.select(*([near.label("near")] if near_too else []), far.label("far"))
            .where(_edge.namespace == NAMESPACE, one_of(near, listed("frontier")))
            .where(_kept(typed, strong))
            for near, far in _ways(direction)
        )
    )


@lru_cache
def next_hop(direction: Direction, typed: bool, strong: bool) -> sa.Executable:
    """Select the entities one hop from the `frontier` and not yet `seen`, heaviest first."""
    top = (
        sa.select(_entity.entity_id)
        .where(_entity.namespace == NAMESPACE)
        .where(one_of(_entity.entity_id, _steps(direction, typed, strong)))
        .where(_entity.entity_id.not_in(listed("seen")))
        .order_by(*BY_WEIGHT)
        .limit(LIMIT)
        .subquery("top")
    )
    # The rest of a row is read only for those that stay.
    return ENTITIES.join(top, top.c.entity_id == _entity.entity_id).order_by(*BY_WEIGHT)


@lru_cache
def steps(direction: Direction, typed: bool, strong: bool) -> sa.Executable:
    """Select what lies one hop from the `frontier`, with whence: columns `near` and `far`."""
    return _steps(direction, typed, strong, near_too=True)


@lru_cache
def meeting(direction: Direction, typed: bool, strong: bool) -> sa.Executable:
    """Select the first of `steps` to one of `goals`, by `far` and then `near`."""
    step = _steps(direction, typed, strong, near_too=True).subquery("step")
    # An expression keeps planners from looking up each pair of ids.
    met = step.c.far.concat("").in_(listed("goals"))
    # The number is the same each time, and SQLite plans anew for a bound one.
    return sa.select(step).where(met).order_by(step.c.far, step.c.near).limit(_ONE)


@lru_cache
def reached(direction: Direction, typed: bool, strong: bool) -> sa.Executable:
    """Select the ids one hop from the `frontier`: column `far`."""
    far = _steps(direction, typed, strong).subquery("far")
    return sa.select(far.c.far).distinct()


@lru_cache
def among(typed: bool, strong: bool) -> sa.Executable:
    """Select the relationships with both ends among `ids`."""
    # Keys come from the index alone, then rows for those: an outer join keeps every planner to that
    # order, and an expression keeps it from looking up each pair of ids.
    end = _edge.target_entity_id.concat("")
    keys = (
        sa.select(*ENDS)
        .where(_edge.namespace == NAMESPACE, _edge.source_entity_id.in_(listed("ids")))
        .where(end.in_(listed("ids")), _kept(typed, strong))
        .subquery("keys")
    )
    same = sa.and_(_edge.namespace == NAMESPACE, *(_edge[c.name] == c for c in keys.c))
    return (
        sa.select(*EDGE_COLUMNS)
        .select_from(keys.outerjoin(kg_relationships, same))
        .order_by(*keys.c)
    )


@lru_cache
def relationships_of(direction: Direction, typed: bool, strong: bool) -> sa.Executable:
    """Select what leaves or reaches an entity, ordered by source, target and type."""
    return (
        sa.select(*EDGE_COLUMNS)
        .where(_edge.namespace == NAMESPACE)
        .where(sa.or_(*(near == ID for near, _ in _ways(direction))))
        .where(_kept(typed, strong))
        .order_by(*ENDS)
    )


@lru_cache
def degree(direction: Direction, typed: bool, strong: bool) -> sa.Executable:
    """Count what leaves and what reaches an entity, and add the two."""
    counts = [
        sa.select(sa.func.count())
        .select_from(kg_relationships)
        .where(_edge.namespace == NAMESPACE, near == ID, _kept(typed, strong))
        .scalar_subquery()
        for near, _ in _ways(direction)
    ]
    return sa.select(sum(counts[1:], counts[0]).label("degree"))
