"""Databases to move data between, and data worth moving."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import sqlalchemy as sa

from datastore import Datastore
from repositories import Chunk, ChunkRepository, Entity, GraphRepository, Relationship
from repositories.tables import chunk_embeddings, chunks, kg_mentions

DIMENSIONS = 4
#: From one engine to another, and between two databases of the one that needs no server.
DIRECTIONS = [("sqlite", "postgresql"), ("postgresql", "sqlite"), ("sqlite", "sqlite")]

WORDS = [
    "river",
    "stone",
    "cloud",
    "copper",
    "lantern",
    "meadow",
    "harbour",
    "violin",
    "marble",
    "falcon",
]
TEXTS = [
    "plain", "", "tab\tand\r\nlines\n", "back\\slash \\N \\. \\x00 \\u0000", "'quotes' \"\" ; -- /*",
    "\ufeffmark", "\u2028\u2029\x85", "👨\u200d👩\u200d👧", "\U0010ffff", "e\u0301 é", "100 % %s %(a)s", "{0} :name $1",
    "\x01\x02\x1f\x7f", "ß İ ı ﬁ", "אבג مرحبا", " leading and trailing ", "NULL", "x" * 5000,
]  # fmt: skip
DOCUMENTS: list[dict[str, Any]] = [
    {}, {"b": 1, "a": [1.5, None, True, "ä"]}, {"n": 2**63 - 1, "m": -(2**63), "f": 1e300, "t": 5e-324},
    {"nested": {"z": {}, "a": []}, "": "empty key", "a b": "\u2028"}, {"whole": 1.0}, {"s": "\\u0041 \\ / \""},
]  # fmt: skip
INSTANTS = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 30, 0, 1, tzinfo=UTC),
    datetime(2026, 7, 31, 12, 0, tzinfo=UTC) + timedelta(hours=2),
]
#: Numbers of float32 that are easily lost: negative zero, the smallest, a subnormal one.
VECTORS: list[Sequence[float]] = [
    (1.0, -0.0, 0.0, 0.0),
    (1.1754944e-38, 1.0, 1e-45, -1e-40),
    (0.1, 1 / 3, 16777217.0, -1.0000001),
    (1e18, -1e18, 1.0, 0.5),
]


class MakeURL(Protocol):
    """Returns the URL of an empty database of an engine, or of a new SQLite file."""

    def __call__(self, engine: str) -> str: ...


def chunk(number: int, chance: random.Random) -> Chunk:
    """Make a chunk: an awkward one of each kind first, then plain ones."""

    def nth(values: Sequence[Any]) -> Any:
        return values[number] if number < len(values) else None

    text = nth(TEXTS)
    return Chunk(
        id=f"c{number}" if text is None else f"c{number} {text[:20]}",
        path=f"docs/{number % 7}.md",
        start_line=number + 1,
        end_line=number + 2,
        content=" ".join(chance.choices(WORDS, k=12)) if text is None else text,
        embedding=nth(VECTORS) or [chance.uniform(-1, 1) for _ in range(DIMENSIONS)],
        metadata=nth(DOCUMENTS) or {"number": number},
        created_at=nth(INSTANTS)
        or datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=number),
    )


def fill(store: Datastore, count: int = 40, namespace: str = "default", seed: int = 7) -> None:
    """Fill every table of ours; row numbers have gaps, and some chunks have no embedding."""
    chance = random.Random(seed)
    items = [chunk(number, chance) for number in range(count)]
    repository = ChunkRepository(store, namespace=namespace)
    repository.add(Chunk(id="gone", path="gone.md", start_line=1, end_line=1, content="gone"))
    repository.add_many(items)
    repository.add(Chunk(id="bare", path="bare.md", start_line=1, end_line=1, content="river"))
    repository.delete("gone")
    graph = GraphRepository(store, namespace=namespace)
    graph.add_entities(
        Entity(f"e{n}", WORDS[n], "thing", TEXTS[n], mention_count=2**40 + n) for n in range(8)
    )
    graph.add_relationships(
        Relationship(f"e{n}", f"e{(n * 3 + 1) % 8}", "likes", keywords=TEXTS[n : n + 3])
        for n in range(8)
    )
    for n in range(8):
        graph.link(f"e{n}", [items[n].id, items[n + 8].id])
    store.execute(
        "INSERT INTO sources (namespace, path, root, content_hash, indexed_at) "
        "SELECT namespace, path, '', 'hash', created_at FROM chunks "
        "WHERE namespace = :namespace AND start_line = 16",
        {"namespace": namespace},
    )


def contents(store: Datastore) -> dict[str, list[Any]]:
    """Return what a host sees of chunks, embeddings and mentions, without any row number."""
    embeddings = sa.select(
        chunks.c.namespace, chunks.c.id, chunk_embeddings.c.model, chunk_embeddings.c.embedding
    ).join(chunk_embeddings, chunk_embeddings.c.chunk == chunks.c.rid)
    plain = [column for column in chunks.c if column.name != "rid"]
    return {
        "chunks": sorted(
            (tuple(map(_comparable, row.values())) for row in store.query(sa.select(*plain))),
            key=str,
        ),
        "embeddings": sorted(
            (tuple(map(_comparable, row.values())) for row in store.query(embeddings)), key=str
        ),
        "mentions": sorted(tuple(row.values()) for row in store.query(sa.select(kg_mentions))),
    }


def _comparable(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tobytes().hex()
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else value


@contextmanager
def both(source: str, target: str) -> Iterator[tuple[Datastore, Datastore]]:
    """Open two databases."""
    with Datastore.open(source) as one, Datastore.open(target) as other:
        yield one, other


def rows_of(path: Path) -> list[Any]:
    """Read a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]
