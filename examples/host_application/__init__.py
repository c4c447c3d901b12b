"""A host application with its own tables and its own Alembic history, beside the library's."""
