"""Vector and full-text search: embeddings, their models, and the search indexes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from datastore import operations
from datastore.types import RowKey, Text, Vector

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    operations.enable_vectors()
    op.create_table(
        "embedding_models",
        sa.Column("model", Text(), nullable=False),
        sa.Column("dimensions", sa.Integer(), nullable=False),
        sa.Column("metric", Text(), nullable=False),
        sa.Column("normalized", sa.Boolean(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("model", name="pk_embedding_models"),
    )
    op.create_index(
        "uq_embedding_models_active",
        "embedding_models",
        ["active"],
        unique=True,
        sqlite_where=sa.text("active"),
        postgresql_where=sa.text("active"),
    )
    op.create_table(
        "chunk_embeddings",
        sa.Column("chunk", RowKey(), nullable=False),
        sa.Column("model", Text(), nullable=False),
        sa.Column("embedding", Vector(), nullable=False),
        sa.PrimaryKeyConstraint("chunk", "model", name="pk_chunk_embeddings"),
        sa.ForeignKeyConstraint(
            ["chunk"], ["chunks.rid"], name="fk_chunk_embeddings_chunk", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "kg_name_embeddings",
        sa.Column("name", RowKey(), nullable=False),
        sa.Column("model", Text(), nullable=False),
        sa.Column("embedding", Vector(), nullable=False),
        sa.PrimaryKeyConstraint("name", "model", name="pk_kg_name_embeddings"),
        sa.ForeignKeyConstraint(
            ["name"], ["kg_entity_names.rid"], name="fk_kg_name_embeddings_name", ondelete="CASCADE"
        ),
    )
    operations.create_full_text_index("chunk_text", "chunks", ["content"], key="rid")
    operations.create_vector_index(
        "chunk_vectors", "chunk_embeddings", "embedding", key="chunk", model="model"
    )
    operations.create_vector_index(
        "kg_name_vectors", "kg_name_embeddings", "embedding", key="name", model="model"
    )


def downgrade() -> None:
    operations.drop_vector_index(
        "kg_name_vectors", "kg_name_embeddings", "embedding", key="name", model="model"
    )
    operations.drop_vector_index(
        "chunk_vectors", "chunk_embeddings", "embedding", key="chunk", model="model"
    )
    operations.drop_full_text_index("chunk_text", "chunks", ["content"], key="rid")
    for table in ("kg_name_embeddings", "chunk_embeddings", "embedding_models"):
        op.drop_table(table)
