"""The host's Alembic environment: its tables and search indexes, on the library's engine."""

from alembic import context

from datastore import operations
from examples.host_application.tables import metadata, open_store

with open_store() as store, store.engine.begin() as connection:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transactional_ddl=True,
        **operations.autogenerate_options(connection, metadata),
    )
    with context.begin_transaction():
        context.run_migrations()
