"""`python -m examples.host_application`: the host's notes beside the library's memory.

Both histories are brought up to date first; the same program runs on SQLite and PostgreSQL.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from datastore import Datastore
from examples.host_application.tables import authors, metadata, notes
from repositories import Chunk, ChunkRepository


def migrate() -> None:
    """Upgrade the library's schema, then the host's."""
    with Datastore.open() as store:
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
    with Datastore.open() as opened:
        store = Datastore(opened.engine, metadata=metadata)
        if not store.query(sa.select(notes.c.id)):
            write(store)
        for hit in store.full_text_search("notes", ["title", "body"], "boiling water"):
            print(f"{store.display_name}: note {hit.row['title']!r}, score {hit.score:.2f}")
        for hit in store.vector_search("notes", "embedding", [0.0, 1.0, 0.0], limit=1):
            print(f"{store.display_name}: nearest note {hit.row['title']!r}")
        for chunk in ChunkRepository(store).search("leaves"):
            print(f"{store.display_name}: chunk {chunk.row.path}")


if __name__ == "__main__":
    main()
