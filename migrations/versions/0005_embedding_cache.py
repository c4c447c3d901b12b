"""Embedding cache: vectors of texts that were embedded lately."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from datastore.types import Text, UTCDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "embedding_cache",
        sa.Column("model", Text(), nullable=False),
        sa.Column("content_hash", Text(), nullable=False),
        sa.Column("embedding", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("model", "content_hash", name="pk_embedding_cache"),
    )
    op.create_index("ix_embedding_cache_created_at", "embedding_cache", ["created_at"])


def downgrade() -> None:
    op.drop_table("embedding_cache")
