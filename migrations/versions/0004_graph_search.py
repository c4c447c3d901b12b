"""Knowledge graph: walks without the rows of entities, and names found by their pieces."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from datastore import operations
from datastore.types import Text

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# What `repositories.grams` cuts of the names that are there: the first two letters of each word,
# every three letters in a row, and the last two, in the first 256 letters of a name.
SQLITE_PIECES = """\
UPDATE kg_entity_names SET grams = coalesce((
  WITH RECURSIVE place(n) AS (
    SELECT 1 UNION ALL SELECT n + 1 FROM place WHERE n < min(length(normalized_name), 256)
  ), part(n, begins, ends, letters) AS (
    SELECT n, substr(' ' || substr(normalized_name, 1, 256), n, 1) = ' ',
           substr(substr(normalized_name, 1, 256) || ' ', n + 3, 1) = ' ',
           substr(substr(normalized_name, 1, 256), n, 3)
    FROM place
  ), three(n, ends, letters) AS (
    SELECT n, ends, letters FROM part WHERE length(letters) = 3 AND instr(letters, ' ') = 0
  ), piece(n, turn, letters) AS (
    SELECT n, 0, rtrim(substr(letters, 1, 2)) FROM part WHERE begins
    UNION ALL SELECT n, 1, letters FROM three
    UNION ALL SELECT n, 2, substr(letters, 2) FROM three WHERE ends
  )
  SELECT group_concat(letters, ' ') FROM (SELECT letters FROM piece ORDER BY n, turn)
), '')"""
POSTGRESQL_PIECES = """\
UPDATE kg_entity_names SET grams = coalesce((
  WITH part(n, begins, ends, letters) AS (
    SELECT n, substr(' ' || left(normalized_name, 256), n, 1) = ' ',
           substr(left(normalized_name, 256) || ' ', n + 3, 1) = ' ',
           substr(left(normalized_name, 256), n, 3)
    FROM generate_series(1, least(length(normalized_name), 256)) AS place(n)
  ), three(n, ends, letters) AS (
    SELECT n, ends, letters FROM part WHERE length(letters) = 3 AND strpos(letters, ' ') = 0
  ), piece(n, turn, letters) AS (
    SELECT n, 0, rtrim(substr(letters, 1, 2)) FROM part WHERE begins
    UNION ALL SELECT n, 1, letters FROM three
    UNION ALL SELECT n, 2, substr(letters, 2) FROM three WHERE ends
  )
  SELECT string_agg(letters, ' ' ORDER BY n, turn) FROM piece
), '')"""


def upgrade() -> None:
    op.create_index(
        "ix_kg_entities_namespace_entity_id_mention_count",
        "kg_entities",
        ["namespace", "entity_id", "mention_count"],
    )
    op.add_column(
        "kg_entity_names",
        sa.Column("grams", Text(), server_default=sa.text("''"), nullable=False),
    )
    operations.execute_for(sqlite=SQLITE_PIECES, postgresql=POSTGRESQL_PIECES)
    operations.create_full_text_index(
        "kg_name_pieces", "kg_entity_names", ["grams"], key="rid", language="simple"
    )


def downgrade() -> None:
    operations.drop_full_text_index(
        "kg_name_pieces", "kg_entity_names", ["grams"], key="rid", language="simple"
    )
    op.drop_column("kg_entity_names", "grams")
    op.drop_index("ix_kg_entities_namespace_entity_id_mention_count", "kg_entities")
