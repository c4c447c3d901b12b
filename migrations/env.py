"""Alembic's entry: the library knows how to run its migrations, on either engine."""

from logging.config import fileConfig

from alembic import context

from datastore.migrate import run_environment
from repositories.tables import metadata

if context.config.config_file_name is not None:
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)

run_environment(context, metadata)
