"""A host application with an Alembic history of its own, beside ours in one database."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from datastore import Datastore

ENVIRONMENT = """\
from alembic import context

from datastore import operations
from host_tables import Notes

connection, metadata = context.config.attributes["connection"], Notes().metadata
context.configure(
    connection=connection,
    target_metadata=metadata,
    **operations.autogenerate_options(connection, metadata),
)
with context.begin_transaction():
    context.run_migrations()
"""
TEMPLATE = '''\
"""${message}."""
from alembic import op
import sqlalchemy as sa
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade():
    ${upgrades if upgrades else "pass"}


def downgrade():
    ${downgrades if downgrades else "pass"}
'''


class Host:
    """The `alembic` commands of the host, run on the engine of a store."""

    def __init__(self, store: Datastore, folder: Path) -> None:
        (folder / "versions").mkdir(parents=True)
        (folder / "env.py").write_text(ENVIRONMENT)
        (folder / "script.py.mako").write_text(TEMPLATE)
        self.store, self.folder = store, folder

    def run(self, name: str, *arguments: str, **options: object) -> None:
        config = Config(stdout=io.StringIO())
        config.set_main_option("script_location", str(self.folder))
        config.set_main_option("path_separator", "os")
        with self.store.engine.begin() as connection:
            config.attributes["connection"] = connection
            getattr(command, name)(config, *arguments, **options)

    def revisions(self) -> str:
        return "".join(path.read_text() for path in (self.folder / "versions").glob("*.py"))


@pytest.fixture
def host(store: Datastore, tmp_path: Path) -> Host:
    return Host(store, tmp_path / "host")


def test_autogenerate_finds_what_the_host_declares_and_nothing_of_ours(host: Host) -> None:
    host.run("revision", "notes", autogenerate=True)
    written = host.revisions()
    assert "op.create_table('notes'" in written
    assert "operations.create_full_text_index('note_words', 'notes'" in written
    assert "operations.create_vector_index('note_vectors', 'notes'" in written
    for ours in ("chunks", "kg_", "datastore_version", "chunk_text"):
        assert ours not in written


def test_both_histories_go_up_and_down_apart(host: Host) -> None:
    store = host.store
    host.run("revision", "notes", autogenerate=True)
    host.run("upgrade", "head")
    host.run("check")
    found = store.schema()
    assert {"notes", "chunks", "alembic_version", "datastore_version"} <= set(found.tables)
    host.run("downgrade", "base")
    store.migrate()
    assert "notes" not in store.schema().tables
    assert {index.name for index in store.schema().search_indexes} == {
        "chunk_text",
        "chunk_vectors",
        "kg_name_pieces",
        "kg_name_vectors",
    }
    host.run("upgrade", "head")
    store.downgrade("base")
    assert {index.table for index in store.schema().search_indexes} == {"notes"}
    assert store.query(sa.text("SELECT count(*) AS n FROM notes")) == [{"n": 0}]
