"""Migrations: there and back, under a lock, all or nothing, and no drift."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import produce_migrations, render
from alembic.autogenerate.api import AutogenContext
from alembic.migration import MigrationContext
from alembic.operations import Operations

from datastore import (
    Datastore,
    FullTextIndex,
    JSONDocument,
    RowKey,
    Text,
    TextArray,
    UTCDateTime,
    Vector,
    VectorIndex,
    migrate,
    operations,
)
from datastore.errors import DatabaseError, MigrationError, SchemaMissingError, SchemaTooNewError
from datastore.folding import fold
from datastore.schema import search_indexes
from datastore.textquery import Tokenizer
from repositories.grams import grams
from repositories.tables import (
    chunk_embeddings,
    chunks,
    kg_entities,
    kg_entity_names,
    metadata,
    sources,
)

#: The columns of a name before it was cut into pieces.
OLD_NAMES = [column for column in kg_entity_names.c if column.name not in ("rid", "grams")]
REVISIONS = tuple(script.revision for script in migrate._script().walk_revisions())[::-1]
HEAD = REVISIONS[-1]


def check(store: Datastore, tables: sa.MetaData | None = None) -> None:
    """Raise `MigrationError` where the database differs from `tables`."""
    migrate.check(store.engine, metadata if tables is None else tables)


def everything(store: Datastore) -> Any:
    schema = store.schema()
    return schema.tables, schema.indexes, set(schema.search_indexes), schema.version


def fill(store: Datastore) -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    store.execute(
        sa.insert(sources),
        {"namespace": "default", "path": "a.md", "content_hash": "0", "indexed_at": now},
    )
    store.execute(
        sa.insert(chunks),
        {
            "rid": 7,
            "namespace": "default",
            "id": "c",
            "path": "a.md",
            "start_line": 1,
            "end_line": 2,
            "content": "apple and bolt",
            "content_hash": "1",
            "metadata": {"a": [1]},
            "created_at": now,
        },
    )


class TestThereAndBack:
    def test_every_revision_can_be_taken_back(self, empty_store: Datastore) -> None:
        states = [everything(empty_store)]
        for revision in REVISIONS:
            empty_store.migrate(revision)
            states.append(everything(empty_store))
        for revision, before in zip(REVISIONS[-2::-1], states[-2:0:-1], strict=True):
            empty_store.downgrade(revision)
            assert everything(empty_store) == before

    def test_data_of_earlier_revisions_stay(self, empty_store: Datastore) -> None:
        empty_store.migrate("0001")
        fill(empty_store)
        rows = empty_store.query(sa.select(chunks)), empty_store.query(sa.select(sources))
        for revision in REVISIONS[1:]:
            empty_store.migrate(revision)
        (hit,) = empty_store.full_text_search("chunks", "content", "bolt")
        assert hit.id == "c"
        empty_store.downgrade("0001")
        assert (
            empty_store.query(sa.select(chunks)),
            empty_store.query(sa.select(sources)),
        ) == rows
        empty_store.migrate()
        assert len(empty_store.full_text_search("chunks", "content", "bolt")) == 1

    def test_names_that_are_there_are_cut_as_new_ones_are(self, empty_store: Datastore) -> None:
        empty_store.migrate("0003")
        names = ["a", "ab", "abc de fghij", "东京都 x", "", "ß ab", "long words " * 40]
        moment = datetime(2026, 1, 2, tzinfo=UTC)
        seen = {"namespace": "n", "entity_id": "e", "first_seen": moment, "last_seen": moment}
        empty_store.execute(sa.insert(kg_entities), {**seen, "name": "e", "type": "t"})
        row = {"namespace": "n", "entity_id": "e", "updated_at": moment}
        empty_store.execute(
            sa.insert(sa.table("kg_entity_names", *(sa.column(c.name, c.type) for c in OLD_NAMES))),
            [{**row, "name": name, "normalized_name": fold(name)} for name in names],
        )
        empty_store.migrate()
        found = empty_store.query("SELECT name, normalized_name, grams FROM kg_entity_names")
        assert {row["name"]: row["grams"] for row in found} == {
            name: grams(fold(name)) for name in names
        }
        assert len(empty_store.full_text_search("kg_entity_names", "grams", "fgh")) == 1

    def test_the_base_keeps_the_version_table_alone(self, empty_store: Datastore) -> None:
        empty_store.migrate()
        fill(empty_store)
        empty_store.downgrade("base")
        schema = empty_store.schema()
        assert schema.tables == {migrate.VERSION_TABLE: ("version_num",)}
        assert (schema.search_indexes, schema.version) == ((), None)
        empty_store.migrate()
        check(empty_store)

    def test_what_is_there_already_is_left_alone(self, store: Datastore) -> None:
        fill(store)
        before = everything(store)
        store.migrate()
        assert everything(store) == before
        assert len(store.query("SELECT * FROM chunks")) == 1

    def test_relative_revisions_work(self, store: Datastore) -> None:
        store.downgrade("-1")
        assert store.schema().version == REVISIONS[-2]
        store.migrate("+1")
        assert store.schema().version == HEAD

    def test_create_all_makes_what_upgrade_makes(self, store: Datastore) -> None:
        migrated = store.schema()
        store.downgrade("base")
        store.execute(f"DROP TABLE {migrate.VERSION_TABLE}")
        with store.engine.begin() as connection:
            metadata.create_all(connection)
        created = store.schema()
        without_version = {
            name: columns
            for name, columns in migrated.tables.items()
            if name != migrate.VERSION_TABLE
        }
        assert created.tables == without_version
        assert {n: sorted(i) for n, i in created.indexes.items()} == {
            n: sorted(i) for n, i in migrated.indexes.items() if n != migrate.VERSION_TABLE
        }
        assert set(created.search_indexes) == set(migrated.search_indexes)

    def test_drop_all_takes_everything_back(self, empty_store: Datastore) -> None:
        with empty_store.engine.begin() as connection:
            metadata.create_all(connection)
            metadata.drop_all(connection)
        assert empty_store.schema().tables == {}

    def test_a_store_works_right_after_its_migration(self, empty_store: Datastore) -> None:
        empty_store.query("SELECT 1")  # a connection opened before there was a vector type
        empty_store.migrate()
        fill(empty_store)
        row = {"chunk": 7, "model": "default", "embedding": [1.0, 2.0]}
        empty_store.execute(sa.insert(chunk_embeddings), row)
        (hit,) = empty_store.vector_search("chunks", "embedding", [1, 2])
        assert hit.id == "c"


class TestNoDrift:
    def test_after_upgrade(self, store: Datastore) -> None:
        check(store)

    def test_after_create_all(self, empty_store: Datastore) -> None:
        with empty_store.engine.begin() as connection:
            metadata.create_all(connection)
        stamp(empty_store)
        check(empty_store)

    def test_with_rows_and_after_optimize(self, store: Datastore) -> None:
        fill(store)
        store.optimize()
        check(store)

    @pytest.mark.parametrize(
        "statement",
        [
            "ALTER TABLE sources ADD COLUMN more TEXT",
            "DROP TABLE sources",
            "DROP INDEX ix_kg_relationships_backwards",
        ],
    )
    def test_ordinary_differences_are_found(self, store: Datastore, statement: str) -> None:
        store.execute(statement)
        with pytest.raises(MigrationError, match="New upgrade operations"):
            check(store)


def stamp(store: Datastore) -> None:
    store.execute(f"CREATE TABLE {migrate.VERSION_TABLE} (version_num VARCHAR(32) PRIMARY KEY)")
    store.execute(f"INSERT INTO {migrate.VERSION_TABLE} VALUES ('{HEAD}')")


def host(
    *,
    dimensions: int | None = 3,
    metric: str = "cosine",
    words: tuple[str, ...] = ("title", "body"),
    weights: dict[str, float] | None = None,
    tokenizer: Tokenizer = "words",
    vectors: bool = True,
) -> sa.MetaData:
    """The tables of a host application, in one of their versions."""
    tables = sa.MetaData()
    table = sa.Table(
        "articles",
        tables,
        sa.Column("id", RowKey(), primary_key=True),
        sa.Column("title", Text(), nullable=False),
        sa.Column("body", Text()),
        sa.Column("at", UTCDateTime()),
        sa.Column("tags", TextArray()),
        sa.Column("data", JSONDocument()),
        sa.Column("embedding", Vector(dimensions)),
        sa.Column("plain", sa.String(20), server_default="x"),
    )
    sa.Index("by_title", table.c.title)
    if vectors:
        VectorIndex("article_vectors", table.c.embedding, metric=metric)  # type: ignore[arg-type]
    if words:
        columns = (table.c[name] for name in words)
        FullTextIndex("article_words", *columns, weights=weights, tokenizer=tokenizer)
    return tables


class Host:
    """Generates revisions for the host's tables and runs their text, as Alembic's files would."""

    def __init__(self, store: Datastore) -> None:
        self.store = store
        operations.install()

    def context(self, connection: sa.Connection, tables: sa.MetaData) -> MigrationContext:
        return MigrationContext.configure(
            connection,
            opts={
                "target_metadata": tables,
                "include_name": operations.include_name_for(connection, tables),
                "render_item": operations.render_item,
                "autogenerate_plugins": list(operations.PLUGINS),
                "compare_type": True,
                "sqlalchemy_module_prefix": "sa.",
                "alembic_module_prefix": "op.",
                "user_module_prefix": None,
            },
        )

    def revision(self, tables: sa.MetaData) -> Callable[[str], None]:
        """Return a function that runs "upgrade" or "downgrade" of what autogenerate wrote."""
        with self.store.engine.connect() as connection:
            context = self.context(connection, tables)
            script = produce_migrations(context, tables)
            code = {
                "upgrade": self.render(script.upgrade_ops, context, tables),
                "downgrade": self.render(script.downgrade_ops, context, tables),
            }

        def run(direction: str) -> None:
            with self.store.engine.begin() as connection:
                with Operations.context(self.context(connection, tables)):
                    exec(code[direction], {})  # our own text
            self.store.engine.dispose()

        return run

    def render(self, ops: Any, context: MigrationContext, tables: sa.MetaData) -> str:
        autogen = AutogenContext(context, metadata=tables, opts=context.opts)
        body = textwrap.dedent("    " + render._render_cmd_body(ops, autogen))
        return "\n".join(
            ["import sqlalchemy as sa", "from alembic import op", *autogen.imports, body]
        )

    def differences(self, tables: sa.MetaData) -> list[Any]:
        with self.store.engine.connect() as connection:
            context = self.context(connection, tables)
            return list(produce_migrations(context, tables).upgrade_ops.as_diffs())


@pytest.fixture
def application(empty_store: Datastore) -> Host:
    """A host application with the first version of its tables and two rows in them."""
    with empty_store.engine.begin() as connection:
        host().create_all(connection)
    empty_store.execute("INSERT INTO articles (id, title, body) VALUES (1, 'apple', 'bolt')")
    return Host(empty_store)


class TestAutogenerate:
    def test_it_finds_nothing_where_nothing_differs(self, application: Host) -> None:
        assert application.differences(host()) == []

    def test_it_makes_everything_from_scratch_and_takes_it_back(
        self, empty_store: Datastore
    ) -> None:
        application = Host(empty_store)
        run = application.revision(host(weights={"title": 2.5}))
        run("upgrade")
        assert application.differences(host(weights={"title": 2.5})) == []
        empty_store.execute("INSERT INTO articles (id, title) VALUES (1, 'apple')")
        run("downgrade")
        assert empty_store.schema().tables == {}
        assert empty_store.schema().search_indexes == ()

    @pytest.mark.parametrize(
        "changed",
        [
            {"metric": "l2"},
            {"vectors": False},
            {"words": ()},
            {"words": ("title",)},
            {"words": ("body", "title")},
            {"weights": {"title": 2.0}},
            {"tokenizer": "trigram"},
            {"dimensions": 4},
            {"dimensions": None},
        ],
        ids=str,
    )
    def test_what_changed_is_found_made_and_taken_back(
        self, application: Host, changed: dict[str, Any]
    ) -> None:
        store = application.store
        before = set(store.schema().search_indexes)
        run = application.revision(host(**changed))
        assert application.differences(host(**changed))
        run("upgrade")
        assert application.differences(host(**changed)) == []
        assert set(store.schema().search_indexes) == {
            index.definition for index in search_indexes(host(**changed))
        }
        run("downgrade")
        assert application.differences(host()) == []
        assert set(store.schema().search_indexes) == before
        search = Datastore(store.engine, metadata=host(), settings=store.settings)
        assert len(search.full_text_search("articles", ["title", "body"], "bolt")) == 1

    def test_a_damaged_index_is_found_and_mended(self, application: Host) -> None:
        for statement in damages(application.store):
            application.store.execute(statement)
            assert application.differences(host()), statement
            application.revision(host())("upgrade")
            assert application.differences(host()) == [], statement
            application.store.execute("UPDATE articles SET body = 'cloud'")
            search = Datastore(
                application.store.engine, metadata=host(), settings=application.store.settings
            )
            assert len(search.full_text_search("articles", ["title", "body"], "cloud")) == 1

    def test_tables_of_others_are_theirs(self, application: Host) -> None:
        application.store.execute("CREATE TABLE foreign_table (x INTEGER)")
        application.store.execute("CREATE INDEX foreign_index ON foreign_table (x)")
        assert application.differences(host()) == []


def damages(store: Datastore) -> Iterator[str]:
    """Ways in which a part of an index may get lost, from what this engine made of it."""
    inspector = sa.inspect(store.engine)
    triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'article%'"
    if "article_words_lexemes" in {c["name"] for c in inspector.get_columns("articles")}:
        yield "DROP INDEX article_words"
        yield "ALTER TABLE articles DROP COLUMN article_words_length"
        yield "ALTER TABLE articles DROP COLUMN article_words_lexemes"
        yield "ALTER TABLE articles DROP CONSTRAINT article_vectors"
        yield "COMMENT ON INDEX article_words IS NULL"
        return
    for row in store.query(triggers):
        yield f"DROP TRIGGER {row['name']}"
    yield "DROP TABLE article_words"


class TestBesideAHost:
    def test_its_tables_and_history_are_left_alone(self, empty_store: Datastore) -> None:
        empty_store.batch(
            [
                "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)",
                "INSERT INTO alembic_version VALUES ('host-7')",
                "CREATE TABLE host_table (id INTEGER PRIMARY KEY, note TEXT)",
                "CREATE INDEX host_index ON host_table (note)",
                "INSERT INTO host_table VALUES (1, 'kept')",
            ]
        )
        empty_store.migrate()
        check(empty_store)
        empty_store.downgrade("base")
        assert empty_store.query("SELECT * FROM alembic_version") == [{"version_num": "host-7"}]
        assert empty_store.query("SELECT * FROM host_table") == [{"id": 1, "note": "kept"}]
        assert empty_store.schema().indexes["host_table"] == ("host_index",)


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Puts a copy of the migrations in the place of ours; call it with the body of one more."""
    folder = tmp_path / "migrations"
    shutil.copytree(
        migrate.migrations_directory(), folder, ignore=shutil.ignore_patterns("__pycache__")
    )
    monkeypatch.setattr(migrate, "migrations_directory", lambda: folder)
    migrate._script.cache_clear()

    def add(body: str) -> None:
        (folder / "versions" / "more.py").write_text(
            f'revision = "more"\ndown_revision = "{HEAD}"\n'
            "from alembic import op\nimport sqlalchemy as sa\nfrom datastore import operations\n"
            f"def upgrade():\n    {body}\ndef downgrade():\n    pass\n"
        )
        migrate._script.cache_clear()

    yield add
    migrate._script.cache_clear()


class TestAllOrNothing:
    def test_a_revision_that_raises_leaves_nothing(
        self, empty_store: Datastore, scripts: Callable[[str], None]
    ) -> None:
        scripts('op.create_table("half", sa.Column("x", sa.Integer)); op.execute("SELEKT")')
        with pytest.raises(DatabaseError, match="SELEKT"):
            empty_store.migrate()
        assert empty_store.schema().tables == {}
        empty_store.migrate(HEAD)
        fill(empty_store)
        before = everything(empty_store)
        with pytest.raises(DatabaseError, match="SELEKT"):
            empty_store.migrate()
        assert everything(empty_store) == before
        check_usable(empty_store)

    def test_one_that_is_killed_leaves_nothing(
        self, migrated_url: str, scripts: Callable[[str], None]
    ) -> None:
        scripts(
            'op.create_table("half", sa.Column("x", sa.Integer)); '
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
        )
        folder = migrate.migrations_directory()
        program = (
            "import sys, pathlib; from datastore import Datastore, migrate; "
            "migrate.migrations_directory = lambda: pathlib.Path(sys.argv[2]); "
            "Datastore.open(sys.argv[1]).migrate()"
        )
        finished = subprocess.run(
            [sys.executable, "-c", program, migrated_url, str(folder)], check=False
        )
        assert finished.returncode == -signal.SIGKILL
        with Datastore.open(migrated_url) as store:
            assert store.schema().version == HEAD
            assert "half" not in store.schema().tables
            scripts('op.create_table("half", sa.Column("x", sa.Integer))')
            store.migrate()
            assert store.schema().version == "more"

    def test_rows_that_refer_to_moved_ones_stay(
        self, store: Datastore, scripts: Callable[[str], None]
    ) -> None:
        fill(store)
        row = {"chunk": 7, "model": "default", "embedding": [1.0, 2.0]}
        store.execute(sa.insert(chunk_embeddings), row)
        scripts(
            'operations.drop_full_text_index("chunk_text", "chunks", ["content"], key="rid")\n'
            '    with op.batch_alter_table("chunks") as batch:\n'
            '        batch.alter_column("content", nullable=True)\n'
            '    operations.create_full_text_index("chunk_text", "chunks", ["content"], key="rid")'
        )
        store.migrate()
        assert len(store.query("SELECT * FROM chunk_embeddings")) == 1
        assert len(store.full_text_search("chunks", "content", "apple")) == 1

    def test_execute_for_needs_every_dialect(
        self, store: Datastore, scripts: Callable[[str], None]
    ) -> None:
        scripts('operations.execute_for(nosuch="SELECT 1")')
        with pytest.raises(MigrationError, match=f"none for {store.dialect}"):
            store.migrate()

    def test_execute_for_runs_the_text_of_its_dialect(
        self, store: Datastore, scripts: Callable[[str], None]
    ) -> None:
        text = "CREATE TABLE mine AS SELECT '100 %% : % :x' AS t"
        scripts(f'operations.execute_for(sqlite="{text}", postgresql="{text}")')
        store.migrate()
        assert store.query("SELECT t FROM mine") == [{"t": "100 %% : % :x"}]


def check_usable(store: Datastore) -> None:
    store.execute(sa.update(chunks).values(content="cloud"))
    assert len(store.full_text_search("chunks", "content", "cloud")) == 1


class TestAtOnce:
    PROGRAM = (
        "import sys; from datastore import Datastore\n"
        "with Datastore.open(sys.argv[1]) as store:\n"
        "    sys.stdin.readline(); store.migrate(); print(store.schema().version)"
    )

    def test_four_processes_all_succeed(self, database_url: str) -> None:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", self.PROGRAM, database_url],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [process.communicate(timeout=60) for process in processes]
        assert [(out.strip(), err) for out, err in answers] == [(HEAD, "")] * 4
        with Datastore.open(database_url) as store:
            check(store)

    def test_threads_all_succeed(self, empty_store: Datastore) -> None:
        errors: list[BaseException] = []

        def upgrade() -> None:
            try:
                empty_store.migrate()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=upgrade) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        check(empty_store)


class TestOffline:
    def script(self, url: str, *arguments: str) -> str:
        """Return what `alembic upgrade ... --sql` prints."""
        root = migrate.migrations_directory().parent
        finished = subprocess.run(
            [sys.executable, "-m", "alembic", "-c", str(root / "alembic.ini"), *arguments, "--sql"],
            cwd=root,
            env={**os.environ, "DATABASE_URL": url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    def run(self, store: Datastore, script: str) -> None:
        connection: Any = store.engine.raw_connection()
        if hasattr(connection.driver_connection, "executescript"):
            connection.driver_connection.executescript(script)
        else:
            connection.driver_connection.autocommit = True
            connection.driver_connection.execute(script)
            connection.driver_connection.autocommit = False
        connection.close()
        store.engine.dispose()

    def test_the_script_makes_the_same_schema(
        self, empty_store: Datastore, database_url: str
    ) -> None:
        self.run(empty_store, self.script(database_url, "upgrade", "head"))
        offline = everything(empty_store)
        check(empty_store)
        fill(empty_store)
        check_usable(empty_store)
        self.run(empty_store, self.script(database_url, "downgrade", "head:base"))
        assert list(empty_store.schema().tables) in ([migrate.VERSION_TABLE], [])
        empty_store.migrate()
        assert everything(empty_store) == offline


class TestRefusals:
    def test_a_newer_schema_names_both_revisions(self, migrated_url: str) -> None:
        with Datastore.open(migrated_url) as store:
            store.execute(f"UPDATE {migrate.VERSION_TABLE} SET version_num = 'future9'")
            before = everything(store)
            for action in (store.migrate, lambda: store.downgrade("base")):
                with pytest.raises(SchemaTooNewError, match=f"future9.*{HEAD}"):
                    action()
            assert everything(store) == before
        with pytest.raises(SchemaTooNewError, match=f"future9.*{HEAD}"):
            Datastore.open(migrated_url)

    @pytest.mark.parametrize("revision", ["9999", "nothing", "+9", "-9", ""])
    def test_an_unknown_revision_is_refused(self, store: Datastore, revision: str) -> None:
        before = everything(store)
        for verb in (store.migrate, store.downgrade):
            with pytest.raises(MigrationError):
                verb(revision)
        assert everything(store) == before

    def test_missing_tables_name_the_command(self, empty_store: Datastore) -> None:
        for search in (
            lambda: empty_store.full_text_search("chunks", "content", "x"),
            lambda: empty_store.vector_search("chunks", "embedding", [1.0]),
            lambda: empty_store.query(sa.select(chunks)),
        ):
            with pytest.raises(SchemaMissingError, match="datastore upgrade"):
                search()
