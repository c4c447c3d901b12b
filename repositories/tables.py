"""The tables of the repositories; `migrations/` creates them.

Every public key begins with a namespace: one per agent, user or tenant. Vectors live in narrow
tables of their own, which scan several times faster than wide rows, and where two models stand side
by side while one replaces the other.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import (
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Table,
    UniqueConstraint,
)

from datastore import (
    FullTextIndex,
    JSONDocument,
    RowKey,
    Text,
    TextArray,
    UTCDateTime,
    Vector,
    VectorIndex,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _row_key() -> Column[int]:
    return Column("rid", RowKey(), sa.Identity(), primary_key=True)


#: Which file was indexed in which state. `root` is the folder that a relative path is relative to,
#: and empty for an absolute one.
sources = Table(
    "sources",
    metadata,
    Column("namespace", Text(), primary_key=True),
    Column("path", Text(), primary_key=True),
    Column("root", Text(), nullable=False, server_default=sa.text("''")),
    Column("content_hash", Text(), nullable=False),
    Column("indexed_at", UTCDateTime(), nullable=False),
)

chunks = Table(
    "chunks",
    metadata,
    _row_key(),
    Column("namespace", Text(), nullable=False),
    Column("id", Text(), nullable=False),
    Column("path", Text(), nullable=False),
    Column("start_line", sa.Integer(), nullable=False),
    Column("end_line", sa.Integer(), nullable=False),
    Column("content", Text(), nullable=False),
    Column("content_hash", Text(), nullable=False),
    Column("metadata", JSONDocument(), nullable=False),
    Column("created_at", UTCDateTime(), nullable=False),
    UniqueConstraint("namespace", "id"),
)
Index(None, chunks.c.namespace, chunks.c.path, chunks.c.start_line)
chunk_text = FullTextIndex("chunk_text", chunks.c.content)

#: One row per vector space.
embedding_models = Table(
    "embedding_models",
    metadata,
    Column("model", Text(), primary_key=True),
    Column("dimensions", sa.Integer(), nullable=False),
    Column("metric", Text(), nullable=False),
    Column("normalized", sa.Boolean(), nullable=False),
    Column("active", sa.Boolean(), nullable=False),
)
#: One space is active at most, also where two processes found theirs at the same time.
Index(
    "uq_embedding_models_active",
    embedding_models.c.active,
    unique=True,
    sqlite_where=embedding_models.c.active,
    postgresql_where=embedding_models.c.active,
)
#: The one that searches use.
active_space = sa.select(embedding_models).where(embedding_models.c.active)

chunk_embeddings = Table(
    "chunk_embeddings",
    metadata,
    Column("chunk", RowKey(), ForeignKey(chunks.c.rid, ondelete="CASCADE"), primary_key=True),
    Column("model", Text(), primary_key=True),
    Column("embedding", Vector(), nullable=False),
)
chunk_vectors = VectorIndex(
    "chunk_vectors",
    chunk_embeddings.c.embedding,
    of=chunks,
    model=chunk_embeddings.c.model,
    space=active_space,
)

kg_entities = Table(
    "kg_entities",
    metadata,
    _row_key(),
    Column("namespace", Text(), nullable=False),
    Column("entity_id", Text(), nullable=False),
    Column("name", Text(), nullable=False),
    Column("type", Text(), nullable=False),
    Column("description", Text()),
    Column("mention_count", sa.BigInteger(), nullable=False, server_default=sa.text("1")),
    Column("first_seen", UTCDateTime(), nullable=False),
    Column("last_seen", UTCDateTime(), nullable=False),
    UniqueConstraint("namespace", "entity_id"),
)
# What a walk orders by, without the rows: most of those that it reaches, it leaves out again.
Index(None, kg_entities.c.namespace, kg_entities.c.entity_id, kg_entities.c.mention_count)

kg_relationships = Table(
    "kg_relationships",
    metadata,
    Column("namespace", Text(), primary_key=True),
    Column("relationship_id", Text(), primary_key=True),
    Column("source_entity_id", Text(), nullable=False),
    Column("target_entity_id", Text(), nullable=False),
    Column("type", Text(), nullable=False),
    Column("description", Text()),
    Column("keywords", TextArray(), nullable=False),
    Column("strength", sa.Integer(), nullable=False, server_default=sa.text("5")),
    # The unique key is the covering index along the arrows, the one below against them.
    UniqueConstraint(
        "namespace", "source_entity_id", "target_entity_id", "type", name="uq_kg_relationships_ends"
    ),
    ForeignKeyConstraint(
        ["namespace", "source_entity_id"],
        ["kg_entities.namespace", "kg_entities.entity_id"],
        ondelete="CASCADE",
    ),
    ForeignKeyConstraint(
        ["namespace", "target_entity_id"],
        ["kg_entities.namespace", "kg_entities.entity_id"],
        ondelete="CASCADE",
    ),
)
Index(
    "ix_kg_relationships_backwards",
    kg_relationships.c.namespace,
    kg_relationships.c.target_entity_id,
    kg_relationships.c.source_entity_id,
    kg_relationships.c.type,
)

#: The names that an entity goes by.
kg_entity_names = Table(
    "kg_entity_names",
    metadata,
    _row_key(),
    Column("namespace", Text(), nullable=False),
    Column("entity_id", Text(), nullable=False),
    Column("name", Text(), nullable=False),
    Column("normalized_name", Text(), nullable=False),
    Column("updated_at", UTCDateTime(), nullable=False),
    # Pieces of the normalised name, see `repositories.grams`.
    Column("grams", Text(), nullable=False, server_default=sa.text("''")),
    UniqueConstraint("namespace", "entity_id", "name"),
    ForeignKeyConstraint(
        ["namespace", "entity_id"],
        ["kg_entities.namespace", "kg_entities.entity_id"],
        ondelete="CASCADE",
    ),
)
Index(None, kg_entity_names.c.namespace, kg_entity_names.c.normalized_name)
kg_name_pieces = FullTextIndex("kg_name_pieces", kg_entity_names.c.grams, language="simple")

kg_name_embeddings = Table(
    "kg_name_embeddings",
    metadata,
    Column(
        "name", RowKey(), ForeignKey(kg_entity_names.c.rid, ondelete="CASCADE"), primary_key=True
    ),
    Column("model", Text(), primary_key=True),
    Column("embedding", Vector(), nullable=False),
)
kg_name_vectors = VectorIndex(
    "kg_name_vectors",
    kg_name_embeddings.c.embedding,
    of=kg_entity_names,
    model=kg_name_embeddings.c.model,
    space=active_space,
)

#: Which chunk speaks of which entity.
kg_mentions = Table(
    "kg_mentions",
    metadata,
    Column("namespace", Text(), primary_key=True),
    Column("entity_id", Text(), primary_key=True),
    Column("chunk_id", Text(), primary_key=True),
    ForeignKeyConstraint(
        ["namespace", "entity_id"],
        ["kg_entities.namespace", "kg_entities.entity_id"],
        ondelete="CASCADE",
    ),
    ForeignKeyConstraint(
        ["namespace", "chunk_id"], ["chunks.namespace", "chunks.id"], ondelete="CASCADE"
    ),
)
Index(None, kg_mentions.c.namespace, kg_mentions.c.chunk_id)

#: Vectors of texts that were embedded lately, whoever asked: by model and SHA-256 of the text. They
#: are not searched, so bytes will do: float32, little-endian.
embedding_cache = Table(
    "embedding_cache",
    metadata,
    Column("model", Text(), primary_key=True),
    Column("content_hash", Text(), primary_key=True),
    Column("embedding", sa.LargeBinary(), nullable=False),
    Column("created_at", UTCDateTime(), nullable=False),
)
Index(None, embedding_cache.c.created_at)
