"""Graphs in memory, for whole-graph questions: as networkx, if it is installed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from datastore.errors import CapabilityError

if TYPE_CHECKING:
    from networkx import MultiDiGraph

    from repositories.records import Entity, Relationship


def build(
    entities: Iterable[Entity],
    relationships: Iterable[Relationship],
    more: Mapping[str, Mapping[str, Any]] | None = None,
) -> MultiDiGraph:
    """Return a graph of ids, the fields of the records as attributes, `more` of those by id.

    The key of an edge is its type. Raises `CapabilityError` where networkx is missing.
    """
    try:
        from networkx import MultiDiGraph
    except ImportError as error:
        raise CapabilityError(
            "to_networkx",
            found="no package networkx",
            needed="networkx",
            remedy="pip install networkx, or this package with its extra `graph`",
        ) from error
    graph: MultiDiGraph = MultiDiGraph()
    for entity in entities:
        fields = asdict(entity)
        graph.add_node(fields.pop("id"), **fields, **(more or {}).get(entity.id, {}))
    for edge in relationships:
        fields = asdict(edge)
        ends = (fields.pop("source"), fields.pop("target"), fields.pop("type"))
        graph.add_edge(*ends, **fields)
    return graph
