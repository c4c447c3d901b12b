"""Ready repositories on top of `datastore`: memory chunks and a knowledge graph.

A repository takes a `Datastore`, where each call is a transaction of its own, or a `Transaction`,
which it joins. `get` raises `NotFoundError`, `find` returns None or a list, `search` ranks.
"""

from repositories.chunks import ChunkRepository
from repositories.graph import GraphRepository
from repositories.memory import MemoryManager
from repositories.records import Chunk, Entity, Neighborhood, Path, Relationship

__all__ = [
    "Chunk",
    "ChunkRepository",
    "Entity",
    "GraphRepository",
    "MemoryManager",
    "Neighborhood",
    "Path",
    "Relationship",
]
