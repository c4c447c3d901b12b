"""Ready repositories on top of `datastore`: memory chunks and a knowledge graph.

A repository takes a `Datastore`, where each call is a transaction of its own, or a `Transaction`,
which it joins. `get` raises `NotFoundError`, `find` returns None or a list, `search` ranks.
"""

from repositories.chunks import ChunkRepository
from repositories.embedders import Embedder
from repositories.graph import GraphRepository
from repositories.http_embedder import HTTPEmbedder
from repositories.memory import MemoryManager
from repositories.records import Chunk, Entity, Neighborhood, Path, Relationship
from repositories.reembedding import reembed
from repositories.sentence_transformer import SentenceTransformerEmbedder

__all__ = [
    "Chunk",
    "ChunkRepository",
    "Embedder",
    "Entity",
    "GraphRepository",
    "HTTPEmbedder",
    "MemoryManager",
    "Neighborhood",
    "Path",
    "Relationship",
    "SentenceTransformerEmbedder",
    "reembed",
]
