"""Knowledge graph: entities, their relationships, and the chunks that mention them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from datastore.types import RowKey, Text, TextArray, UTCDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


ENTITY = ["kg_entities.namespace", "kg_entities.entity_id"]


def upgrade() -> None:
    op.create_table(
        "kg_entities",
        sa.Column("rid", RowKey(), sa.Identity(), nullable=False),
        sa.Column("namespace", Text(), nullable=False),
        sa.Column("entity_id", Text(), nullable=False),
        sa.Column("name", Text(), nullable=False),
        sa.Column("type", Text(), nullable=False),
        sa.Column("description", Text()),
        sa.Column("mention_count", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("first_seen", UTCDateTime(), nullable=False),
        sa.Column("last_seen", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("rid", name="pk_kg_entities"),
        sa.UniqueConstraint("namespace", "entity_id", name="uq_kg_entities_namespace_entity_id"),
    )
    op.create_table(
        "kg_relationships",
        sa.Column("namespace", Text(), nullable=False),
        sa.Column("relationship_id", Text(), nullable=False),
        sa.Column("source_entity_id", Text(), nullable=False),
        sa.Column("target_entity_id", Text(), nullable=False),
        sa.Column("type", Text(), nullable=False),
        sa.Column("description", Text()),
        sa.Column("keywords", TextArray(), nullable=False),
        sa.Column("strength", sa.Integer(), server_default=sa.text("5"), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "relationship_id", name="pk_kg_relationships"),
        sa.UniqueConstraint(
            "namespace",
            "source_entity_id",
            "target_entity_id",
            "type",
            name="uq_kg_relationships_ends",
        ),
        sa.ForeignKeyConstraint(
            ["namespace", "source_entity_id"],
            ENTITY,
            name="fk_kg_relationships_namespace_source_entity_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["namespace", "target_entity_id"],
            ENTITY,
            name="fk_kg_relationships_namespace_target_entity_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index(
        "ix_kg_relationships_backwards",
        "kg_relationships",
        ["namespace", "target_entity_id", "source_entity_id", "type"],
    )
    op.create_table(
        "kg_entity_names",
        sa.Column("rid", RowKey(), sa.Identity(), nullable=False),
        sa.Column("namespace", Text(), nullable=False),
        sa.Column("entity_id", Text(), nullable=False),
        sa.Column("name", Text(), nullable=False),
        sa.Column("normalized_name", Text(), nullable=False),
        sa.Column("updated_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("rid", name="pk_kg_entity_names"),
        sa.UniqueConstraint(
            "namespace", "entity_id", "name", name="uq_kg_entity_names_namespace_entity_id_name"
        ),
        sa.ForeignKeyConstraint(
            ["namespace", "entity_id"],
            ENTITY,
            name="fk_kg_entity_names_namespace_entity_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index(
        "ix_kg_entity_names_namespace_normalized_name",
        "kg_entity_names",
        ["namespace", "normalized_name"],
    )
    op.create_table(
        "kg_mentions",
        sa.Column("namespace", Text(), nullable=False),
        sa.Column("entity_id", Text(), nullable=False),
        sa.Column("chunk_id", Text(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "entity_id", "chunk_id", name="pk_kg_mentions"),
        sa.ForeignKeyConstraint(
            ["namespace", "entity_id"],
            ENTITY,
            name="fk_kg_mentions_namespace_entity_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["namespace", "chunk_id"],
            ["chunks.namespace", "chunks.id"],
            name="fk_kg_mentions_namespace_chunk_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_kg_mentions_namespace_chunk_id", "kg_mentions", ["namespace", "chunk_id"])


def downgrade() -> None:
    for table in ("kg_mentions", "kg_entity_names", "kg_relationships", "kg_entities"):
        op.drop_table(table)
