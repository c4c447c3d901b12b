"""The records that repositories take and give: plain, frozen, without a database behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Chunk:
    """A piece of a file: lines `start_line` to `end_line`, counted from 1, both included.

    `embedding` is any sequence of numbers on the way in, a float32 array or None on the way out.
    `created_at` is set when the chunk is added, unless given.
    """

    id: str
    path: str
    start_line: int
    end_line: int
    content: str
    embedding: Any = field(default=None, compare=False, repr=False)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None


@dataclass(frozen=True)
class Entity:
    """A thing that texts speak of; `first_seen` and `last_seen` are set on adding, unless given."""

    id: str
    name: str
    type: str
    description: str | None = None
    mention_count: int = 1
    first_seen: datetime | None = None
    last_seen: datetime | None = None


@dataclass(frozen=True)
class Relationship:
    """An arrow from one entity to another; `id` is derived from its ends and type, unless given."""

    source: str
    target: str
    type: str
    id: str | None = None
    description: str | None = None
    keywords: Sequence[str] = ()
    strength: int = 5


@dataclass(frozen=True)
class Neighborhood:
    """Entities with their least number of hops from the start, which stands first at depth 0.

    They are ordered by depth, mention count (descending) and id. `relationships` are those among
    them. `truncated` says that the limit of nodes left some out.
    """

    entities: Sequence[tuple[Entity, int]]
    relationships: Sequence[Relationship]
    truncated: bool
