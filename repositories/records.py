"""The records that repositories take and give: plain, frozen, without a database behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, overload

from repositories import networks, pages, pictures

if TYPE_CHECKING:
    from networkx import MultiDiGraph


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

    def to_networkx(self) -> MultiDiGraph:
        """Return a `networkx.MultiDiGraph` of ids, with the rest as attributes and `depth`.

        The keys of its edges are their types. Raises `CapabilityError` where networkx is missing.
        """
        depths = {entity.id: {"depth": depth} for entity, depth in self.entities}
        return networks.build((entity for entity, _ in self.entities), self.relationships, depths)

    def to_mermaid(self) -> str:
        """Return a flowchart in the language of Mermaid, every name and type escaped."""
        return pictures.mermaid(self)

    def to_dot(self) -> str:
        """Return a graph in the DOT language of Graphviz, every name and type escaped."""
        return pictures.dot(self)

    def to_html(self) -> str:
        """Return a page with a picture and two tables, which loads nothing and runs nothing."""
        return pages.page(self)


@dataclass(frozen=True)
class Path(Sequence[Entity]):
    """The entities from one to another, both included; `relationships` has one for each step."""

    entities: Sequence[Entity]
    relationships: Sequence[Relationship]

    @property
    def hops(self) -> int:
        """How many steps it has."""
        return len(self.relationships)

    @overload
    def __getitem__(self, index: int) -> Entity: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Entity]: ...
    def __getitem__(self, index: int | slice) -> Entity | Sequence[Entity]:
        return self.entities[index]

    def __len__(self) -> int:
        return len(self.entities)
