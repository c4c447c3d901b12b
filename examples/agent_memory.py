"""An agent that remembers: notes go in, and before each answer it recalls what it knows.

    python examples/agent_memory.py                                    # ./agent_memory.db
    DATABASE_URL=postgresql://user@host/db python examples/agent_memory.py

The same program runs on both. The words of a made-up vocabulary stand for an embedding model here;
a real one is `HTTPEmbedder` or `SentenceTransformerEmbedder` of `repositories.embedders`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import numpy as np

from datastore import Datastore
from repositories import Chunk, Entity, GraphRepository, MemoryManager, Relationship


class WordHashes:
    """Embeds a text by its words: each word is a direction of its own."""

    model = "word-hashes"
    dimensions = 256

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return an array of shape (texts, dimensions)."""
        vectors = np.full((len(texts), self.dimensions), 1e-3, dtype=np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for word in text.lower().split():
                vector[hashlib.sha256(word.encode()).digest()[0]] += 1
        return vectors


class Agent:
    """Remembers what it is told, and answers from what it remembers."""

    def __init__(self, store: Datastore, name: str) -> None:
        self.embedder = WordHashes()
        self.memory = MemoryManager(store, self.embedder, namespace=name)
        self.chunks = self.memory.chunks
        self.graph = GraphRepository(store, namespace=name)

    def learn(self, topic: str, *notes: str) -> None:
        """Keep notes, and which topic they are about; each time a topic counts one mention more."""
        vectors = self.embedder.embed(notes)
        kept = [
            Chunk(f"{topic}-{number}", f"notes/{topic}.md", number, number, note, embedding=vector)
            for number, (note, vector) in enumerate(zip(notes, vectors, strict=True), start=1)
        ]
        self.chunks.replace_path(f"notes/{topic}.md", kept)
        self.graph.upsert_entity(Entity(topic, topic, "topic"))
        self.graph.link(topic, [chunk.id for chunk in self.chunks.by_path(f"notes/{topic}.md")])

    def relate(self, topic: str, other: str, how: str) -> None:
        """Keep how two topics belong together; said again, it counts for more."""
        self.graph.upsert_relationship(Relationship(topic, other, how))

    def recall(self, question: str) -> list[str]:
        """Return what the memory has to say, best first, and by which way it was found."""
        found = self.memory.search(question, limit=3, use_graph=True)
        return [f"{hit.row.content}  ({', '.join(hit.reasons)})" for hit in found]


def main() -> None:
    """Teach an agent a little, and ask it."""
    with Datastore.open(os.environ.get("DATABASE_URL", "sqlite:///agent_memory.db")) as store:
        store.migrate()
        agent = Agent(store, "example")
        agent.learn("tea", "Green tea wants water of 80 degrees.", "Black tea takes boiling water.")
        agent.learn("kettle", "The kettle stands on the left shelf.")
        agent.relate("tea", "kettle", "is made with")
        for question in ("how hot for green tea?", "where is what I need for tea?"):
            print(f"{question}  [{store.display_name}]")
            for answer in agent.recall(question):
                print(f"  {answer}")


if __name__ == "__main__":
    main()
