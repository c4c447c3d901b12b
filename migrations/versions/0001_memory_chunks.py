"""Memory chunks: the pieces of indexed files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from datastore.types import JSONDocument, RowKey, Text, UTCDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sources",
        sa.Column("namespace", Text(), nullable=False),
        sa.Column("path", Text(), nullable=False),
        sa.Column("root", Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("content_hash", Text(), nullable=False),
        sa.Column("indexed_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "path", name="pk_sources"),
    )
    op.create_table(
        "chunks",
        sa.Column("rid", RowKey(), sa.Identity(), nullable=False),
        sa.Column("namespace", Text(), nullable=False),
        sa.Column("id", Text(), nullable=False),
        sa.Column("path", Text(), nullable=False),
        sa.Column("start_line", sa.Integer(), nullable=False),
        sa.Column("end_line", sa.Integer(), nullable=False),
        sa.Column("content", Text(), nullable=False),
        sa.Column("content_hash", Text(), nullable=False),
        sa.Column("metadata", JSONDocument(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("rid", name="pk_chunks"),
        sa.UniqueConstraint("namespace", "id", name="uq_chunks_namespace_id"),
    )
    op.create_index(
        "ix_chunks_namespace_path_start_line", "chunks", ["namespace", "path", "start_line"]
    )


def downgrade() -> None:
    op.drop_table("chunks")
    op.drop_table("sources")
