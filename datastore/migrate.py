"""Migrations: upgrade, downgrade, current, check and offline SQL, with Alembic.

One history serves every dialect, in the folder `migrations`; its version table is
`datastore_version`, so that a host's own history lives beside it. One process at a time changes a
schema, and a revision that fails leaves nothing behind.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from sqlalchemy.engine import Connection, Engine

from datastore import operations
from datastore.backends import backend_at
from datastore.backends.base import Access, Backend
from datastore.engine import access_engine, backend_of, create_engine
from datastore.errors import DatastoreError, MigrationError, SchemaTooNewError
from datastore.results import DatabaseSchema
from datastore.settings import Settings

VERSION_TABLE = "datastore_version"

_OPTIONS: dict[str, Any] = {
    "version_table": VERSION_TABLE,
    "transactional_ddl": True,
    "compare_type": True,
}

# Alembic keeps its context in module globals, so two threads would get in each other's way.
_alembic = threading.Lock()


def _after_fork() -> None:
    global _alembic  # a thread of the parent may have held it
    _alembic = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def migrations_directory() -> Path:
    """Return the folder of the migrations: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "_migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def config() -> Config:
    """Return the Alembic configuration, needing no file."""
    # A stream of its own: Alembic prints what it finds, and that is not ours to print.
    configuration = Config(stdout=io.StringIO())
    directory = str(migrations_directory()).replace("%", "%%")
    configuration.set_main_option("script_location", directory)
    configuration.set_main_option("path_separator", "os")
    return configuration


@cache
def _script() -> ScriptDirectory:
    return ScriptDirectory.from_config(config())


def head() -> str:
    """Return the revision that this code is made for."""
    return str(_script().get_current_head())


def knows(revision: str) -> bool:
    """Tell whether a revision is one of the history."""
    return revision in {script.revision for script in _script().walk_revisions()}


def current(connection: Connection) -> str | None:
    """Return the revision of the database, None where nothing was migrated."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    version = sa.table(VERSION_TABLE, sa.column("version_num", sa.String()))
    return connection.execute(sa.select(version.c.version_num)).scalar_one_or_none()


def refuse_newer_schema(connection: Connection) -> None:
    """Raise `SchemaTooNewError` for a revision that this code does not know."""
    revision = current(connection)
    if revision is not None and not knows(revision):
        raise SchemaTooNewError(revision, head())


def upgrade(engine: Engine, metadata: sa.MetaData, revision: str = "head") -> None:
    """Upgrade to `revision`, in one transaction, and take up what the server has gained."""
    with upgraded(engine, metadata, revision):
        pass


@contextmanager
def upgraded(engine: Engine, metadata: sa.MetaData, revision: str = "head") -> Iterator[Connection]:
    """Upgrade, and give the connection: what is done with it is part of the same transaction.

    It alone may change the schema meanwhile, and foreign keys may be checked at its end only.
    """

    def run(configuration: Config) -> None:
        backend_of(engine).adopt(configuration.attributes["connection"])
        command.upgrade(configuration, _named(revision))

    with changing(engine) as connection:
        _run(connection, metadata, run)
        backend_of(engine).learn(connection)  # the upgrade may have made the vector type
        yield connection


def downgrade(engine: Engine, metadata: sa.MetaData, revision: str) -> None:
    """Downgrade to `revision`, or to nothing with "base", in one transaction."""
    _migrate(engine, metadata, lambda cfg: command.downgrade(cfg, _named(revision)))


def check(engine: Engine, metadata: sa.MetaData) -> None:
    """Raise `MigrationError` where the database differs from `metadata`."""
    _migrate(engine, metadata, command.check)


def _named(revision: str) -> str:
    if not revision:
        raise MigrationError("expected the name of a revision, got none")
    return revision


def _migrate(engine: Engine, metadata: sa.MetaData, run: Callable[[Config], None]) -> None:
    with changing(engine) as connection:
        _run(connection, metadata, run)


@contextmanager
def changing(engine: Engine) -> Iterator[Connection]:
    """Give a connection, within a transaction, that alone may change the schema.

    The transaction may last as long as it takes.
    """
    try:
        with _migrating(engine) as connection:
            backend_of(engine).take_time(connection)
            yield connection
    finally:
        backend_of(engine).schema_changed(engine)


def _run(connection: Connection, metadata: sa.MetaData, run: Callable[[Config], None]) -> None:
    configuration = config()
    configuration.attributes.update(connection=connection, metadata=metadata)
    try:
        with _alembic:
            run(configuration)
    except (CommandError, ResolutionError) as error:
        raise MigrationError(_explained(error)) from error


def _explained(error: Exception) -> str:
    """Return the reason; for a revision that is not there, those that are."""
    reason = error if isinstance(error, ResolutionError) else error.__cause__
    if not isinstance(reason, ResolutionError):
        return str(error)
    known = sorted(script.revision for script in _script().walk_revisions())
    return f"there is no revision {reason.argument}: found {', '.join(known)}, head and base"


@contextmanager
def _migrating(engine: Engine) -> Iterator[Connection]:
    """Give a connection that alone may change the schema, and that knows all of it."""
    writer = access_engine(engine, Access.WRITE)
    with writer.connect() as connection, backend_of(engine).migrating(connection):
        refuse_newer_schema(connection)
        yield connection


def run_environment(context: EnvironmentContext | Any, metadata: sa.MetaData) -> None:
    """Do what `env.py` is for: run the migrations on a connection, or print them with `--sql`."""
    attributes = context.config.attributes
    if context.is_offline_mode():
        _run_offline(context, metadata)
    elif "connection" in attributes:
        _run_online(context, attributes["connection"], attributes["metadata"])
    else:
        _run_standalone(context, metadata)


def _run_standalone(context: Any, metadata: sa.MetaData) -> None:
    """Serve the `alembic` command, which brings no connection."""
    try:
        engine = create_engine(Settings.load())
        try:
            with _migrating(engine) as connection:
                _run_online(context, connection, metadata)
        finally:
            engine.dispose()
    except DatastoreError as error:
        raise CommandError(str(error)) from error


def _run_online(context: Any, connection: Connection, metadata: sa.MetaData) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        **operations.autogenerate_options(connection, metadata),
        **_OPTIONS,
    )
    with context.begin_transaction():
        context.run_migrations()


def _run_offline(context: Any, metadata: sa.MetaData) -> None:
    # Named parameters: psycopg's own style would double every percent sign in the script.
    try:
        backend = backend_at(Settings.load().database_url())
    except DatastoreError as error:
        raise CommandError(str(error)) from error
    context.configure(
        dialect_name=backend.name,
        target_metadata=metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
        **_OPTIONS,
    )
    with context.begin_transaction():
        context.run_migrations()


def describe_schema(connection: Connection, backend: Backend) -> DatabaseSchema:
    """Read tables, indexes, search indexes and revision from the database."""
    objects = backend.search_objects(connection)
    inspector = sa.inspect(connection)
    names = [name for name in inspector.get_table_names() if name not in objects.tables]
    return DatabaseSchema(
        tables={
            name: tuple(
                column["name"]
                for column in inspector.get_columns(name)
                if (name, column["name"]) not in objects.columns
            )
            for name in names
        },
        indexes={
            name: tuple(
                str(index["name"])
                for index in inspector.get_indexes(name)
                if (name, index["name"]) not in objects.indexes
            )
            for name in names
        },
        search_indexes=objects.definitions,
        version=current(connection),
        metadata={"server": f"{backend.display_name} {backend.report.version}"},
    )
