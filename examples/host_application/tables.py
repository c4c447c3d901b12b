"""The host's database and its own tables; notes can be searched by words and by meaning."""

from __future__ import annotations

import os

import sqlalchemy as sa

from datastore import Datastore, FullTextIndex, Text, UTCDateTime, Vector, VectorIndex

metadata = sa.MetaData()

authors = sa.Table(
    "authors",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", Text(), nullable=False, unique=True),
)
notes = sa.Table(
    "notes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("author_id", sa.ForeignKey(authors.c.id), nullable=False),
    sa.Column("title", Text(), nullable=False),
    sa.Column("body", Text(), nullable=False),
    sa.Column("written_at", UTCDateTime(), nullable=False),
    sa.Column("embedding", Vector(3)),
)
FullTextIndex("notes_text", notes.c.title, notes.c.body, weights={"title": 2.0})
VectorIndex("notes_vectors", notes.c.embedding)


def open_store() -> Datastore:
    """Open the database of DATABASE_URL, or else a file in the current folder."""
    return Datastore.open(os.environ.get("DATABASE_URL", "sqlite:///host_application.db"))
