"""Databases on a PostgreSQL server, used again: to make one takes longer than most tests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from datastore import Datastore

ALONE = """\
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()"""
MAKE_EMPTY = (
    """\
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT nspname FROM pg_namespace
              WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%%' LOOP
    EXECUTE format('DROP SCHEMA %%I CASCADE', name);
  END LOOP;
END $$""",
    "CREATE SCHEMA public",
)
DELETE_ROWS = """\
DO $$ BEGIN
  EXECUTE (SELECT 'TRUNCATE ' || string_agg(oid::regclass::text, ', ') || ' RESTART IDENTITY'
           FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
           AND relname <> 'datastore_version');
END $$"""
#: What is created or dropped, and what is altered in its place.
SCHEMA = "SELECT concat_ws(' ', {})".format(
    ", ".join(
        [
            *(
                f"(SELECT (count(*), max(oid)) FROM pg_{catalog})"
                for catalog in [
                    "class",
                    "proc",
                    "constraint",
                    "trigger",
                    "type",
                    "namespace",
                    "extension",
                    "attrdef",
                    "policy",
                    "collation",
                    "ts_config",
                ]
            ),
            "(SELECT md5(string_agg(concat_ws(' ', attrelid, attname, atttypid, atttypmod, "
            "attnotnull, attstorage, attisdropped), ',' ORDER BY attrelid, attnum)) "
            "FROM pg_attribute WHERE attrelid >= 16384)",
            "(SELECT md5(string_agg(concat_ws(' ', oid, relname, relowner, relacl, "
            "relrowsecurity, reloptions), ',' ORDER BY oid)) FROM pg_class WHERE oid >= 16384)",
            "(SELECT md5(string_agg(concat_ws(' ', objoid, objsubid, description), ',' "
            "ORDER BY objoid, objsubid)) FROM pg_description WHERE objoid >= 16384)",
        ]
    )
)
VERSION = "SELECT version_num FROM datastore_version"


class Databases:
    """Fresh databases on one server: used ones are made as new, which takes a tenth of the time."""

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url)
        self._engine = sa.create_engine(self._url, isolation_level="AUTOCOMMIT")
        self._empty: list[str] = []
        self._migrated: list[str] = []
        self._schemas: dict[str, str] = {}

    def url(self, name: str) -> str:
        return self._url.set(database=name).render_as_string(hide_password=False)

    def create(self) -> str:
        """Return the name of an empty database."""
        if self._empty:
            return self._empty.pop()
        name = f"datastore_test_{uuid.uuid4().hex[:12]}"
        with self._engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE template0")
        return name

    def drop(self, name: str) -> None:
        """Take a database back, whatever is in it."""
        with self._alone(name) as connection:
            for statement in MAKE_EMPTY:
                connection.exec_driver_sql(statement)
        self._empty.append(name)

    def create_migrated(self) -> str:
        """Return the name of a database with all migrations and no rows."""
        if self._migrated:
            return self._migrated.pop()
        name = self.create()
        with Datastore.open(self.url(name)) as store:
            store.migrate()
            with store.engine.connect() as connection:
                self._schemas[name] = _schema(connection)
        return name

    def drop_migrated(self, name: str) -> None:
        """Take back a database that had all migrations: without its rows, or if need be empty."""
        with self._alone(name) as connection:
            changed = _schema(connection) != self._schemas[name]
            if not changed:
                connection.exec_driver_sql(DELETE_ROWS)
        if changed:
            self.drop(name)
        else:
            self._migrated.append(name)

    def close(self) -> None:
        with self._engine.connect() as connection:
            for name in (*self._empty, *self._migrated):
                connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self._engine.dispose()

    @contextmanager
    def _alone(self, name: str) -> Iterator[sa.Connection]:
        engine = sa.create_engine(
            self.url(name), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
        )
        with engine.connect() as connection:
            connection.exec_driver_sql(ALONE)
            yield connection


def _schema(connection: sa.Connection) -> str:
    """Return a text that is the same while nothing of the schema changes."""
    parts = str(connection.exec_driver_sql(SCHEMA).scalar())
    if connection.exec_driver_sql("SELECT to_regclass('datastore_version')").scalar() is None:
        return parts
    return f"{parts} {connection.exec_driver_sql(VERSION).scalars().all()}"
