"""`python -m examples.host_application`: the host's notes beside the library's memory.

Both histories are brought up to date first. The same program runs on SQLite and PostgreSQL: on the
database that DATABASE_URL names, or else on host_application.db in the current folder.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from datastore import Datastore
from examples.host_application.tables import authors, metadata, notes, open_store
from repositories import Chunk, ChunkRepository


def migrate() -> None:
    """Upgrade the library's schema, then the host's."""
    with open_store() as store:
        store.migrate()
    command.upgrade(Config(str(Path(__file__).with_name("alembic.ini"))), "head")


def write(store: Datastore) -> None:
    """Write a note and a chunk in one transaction: both are there, or neither."""
    note = {
        "title": "Tea",
        "body": "Boil water, and pour it over the leaves.",
        "written_at": datetime.now(UTC),
        "embedding": [0.1, 0.9, 0.0],
    }
    with store.transaction() as transaction:
        author = transaction.execute(authors.insert(), {"name": "Ada"}).last_insert_id
        transaction.execute(notes.insert(), {**note, "author_id": author})
        ChunkRepository(transaction).add(Chunk("tea", "notes/tea", 1, 1, str(note["body"])))


def main() -> None:
    """Write once, then search both."""
    migrate()
    with open_store() as opened:
        store = Datastore(opened.engine, metadata=metadata)
        if not store.query(sa.select(notes.c.id)):
            write(store)
        found = store.full_text_search("notes", ["title", "body"], "boiling water")
        for rank, hit in enumerate(found, start=1):
            print(f"{store.display_name}: note {hit.row['title']!r}, rank {rank}")
        for hit in store.vector_search("notes", "embedding", [0.0, 1.0, 0.0], limit=1):
            distance = f"distance {hit.distance:.3f}"
            print(f"{store.display_name}: nearest note {hit.row['title']!r}, {distance}")
        for chunk in ChunkRepository(store).search("leaves"):
            print(f"{store.display_name}: chunk {chunk.row.path}")


if __name__ == "__main__":
    main()
