"""From arrays to pgvector's type: what `datastore upgrade` does once the server has pgvector."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from psycopg import pq
from sqlalchemy import event

from datastore import Capability, Datastore, Vector, VectorIndex, migrate, operations
from datastore.cli import main
from datastore.errors import DatabaseError, DatastoreError, InvalidValueError, TransientError
from datastore.sql import nearest
from repositories import Chunk, ChunkRepository
from repositories.tables import chunk_embeddings, chunk_vectors, metadata
from tests.contract.host_tables import Notes
from tests.databases import Databases
from tests.without_extensions import ServerWithoutPgvector

VECTORS = np.random.default_rng(11).normal(size=(30, 6)).astype("f4")
TYPES = (
    "SELECT format_type(atttypid, atttypmod) AS type FROM pg_attribute "
    "WHERE attrelid = CAST(:table AS regclass) AND attname = 'embedding'"
)
LEFT = (
    "SELECT proname FROM pg_proc WHERE proname IN ('datastore_unequal_dimensions', "
    "'datastore_cosine_distance', 'datastore_l2_distance', 'datastore_negative_product') UNION ALL "
    "SELECT typname FROM pg_type WHERE typname = 'datastore_vector'"
)


@pytest.fixture
def url(databases_without_pgvector: Databases) -> Iterator[str]:
    """The URL of an empty database on a server without pgvector."""
    name = databases_without_pgvector.create()
    yield databases_without_pgvector.url(name)
    databases_without_pgvector.drop(name)


@pytest.fixture
def store(url: str) -> Iterator[Datastore]:
    with Datastore.open(url) as store:
        yield store


@pytest.fixture
def chunks(store: Datastore) -> ChunkRepository:
    """Chunks with embeddings that are arrays."""
    store.migrate()
    repository = ChunkRepository(store)
    repository.add_many(
        Chunk(f"c{n}", "a.md", n + 1, n + 1, "text", embedding=vector)
        for n, vector in enumerate(VECTORS)
    )
    return repository


def found(repository: ChunkRepository) -> tuple[str, list[str]]:
    result = repository.search(embedding=VECTORS[3], limit=8)
    return result.method, [hit.row.id for hit in result]


def column_type(store: Datastore, table: str) -> str:
    (row,) = store.query(TYPES, {"table": table})
    return str(row["type"])


class TestConversion:
    def test_upgrade_takes_pgvector_up(
        self,
        store: Datastore,
        chunks: ChunkRepository,
        server_without_pgvector: ServerWithoutPgvector,
    ) -> None:
        before, ids = found(chunks)
        with server_without_pgvector.pgvector():
            store.migrate()
            assert (before, found(chunks)) == ("fallback", ("exact", ids))
            assert column_type(store, "chunk_embeddings") == "vector"
            assert Capability.VECTOR_TYPE in store.capabilities
            assert store.query(LEFT) == []
            embeddings = {chunk.id: chunk.embedding for chunk in chunks.all()}
            assert all(
                np.asarray(embeddings[f"c{n}"], dtype="<f4").tobytes() == vector.tobytes()
                for n, vector in enumerate(VECTORS)
            )
            migrate.check(store.engine, metadata)
            with pytest.raises(DatastoreError, match="chunk_vectors"):
                store.execute("UPDATE chunk_embeddings SET embedding = '[0,0]'")

    def test_until_then_all_stays_as_it_is(
        self, url: str, chunks: ChunkRepository, server_without_pgvector: ServerWithoutPgvector
    ) -> None:
        expected = found(chunks)
        with server_without_pgvector.pgvector(), Datastore.open(url) as store:
            assert found(ChunkRepository(store)) == expected
            store.execute("CREATE EXTENSION vector")
            store.backend.exact_floats = 10  # type: ignore[misc] - for this store alone
            store.optimize()
            assert found(ChunkRepository(store)) == expected
            migrate.check(store.engine, metadata)
        with Datastore.open(url) as store:
            assert found(ChunkRepository(store)) == expected

    def test_tables_of_a_host_keep_their_lengths(
        self, store: Datastore, server_without_pgvector: ServerWithoutPgvector
    ) -> None:
        notes = Notes(dimensions=4, metric="l2")
        host = notes.over(store)
        notes.fill(host, [{"embedding": [1, 2, 3, 4]}, {"embedding": None}])
        with server_without_pgvector.pgvector():
            host.migrate()
            assert column_type(host, "notes") == "vector(4)"
            notes.table.drop(host.engine)
            notes.table.create(host.engine)
            assert column_type(host, "notes") == "vector(4)"

    def test_names_that_need_quotes_and_schemas(
        self, store: Datastore, server_without_pgvector: ServerWithoutPgvector
    ) -> None:
        own = sa.MetaData()
        odd = sa.Table(
            '100% "odd"',
            own,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("embedding", Vector(2)),
            sa.Column("Other %", Vector()),
            schema="other",
        )
        VectorIndex("odd_vectors", odd.c.embedding)
        store.execute("CREATE SCHEMA other")
        own.create_all(store.engine)
        row = {"id": 1, "embedding": [1, 2], "Other %": [3]}
        store.execute(sa.insert(odd), row)
        with server_without_pgvector.pgvector():
            store.migrate()
            assert column_type(store, 'other."100% ""odd"""') == "vector(2)"
            (read,) = store.query(sa.select(odd))
        assert [read["embedding"].tolist(), read["Other %"].tolist()] == [[1, 2], [3]]

    def test_a_failure_leaves_the_arrays(
        self,
        store: Datastore,
        chunks: ChunkRepository,
        server_without_pgvector: ServerWithoutPgvector,
    ) -> None:
        expected = found(chunks)
        store.execute("CREATE VIEW looks AS SELECT embedding FROM chunk_embeddings")
        with server_without_pgvector.pgvector():
            with pytest.raises(DatabaseError, match="view"):
                store.migrate()
            assert found(chunks) == expected
            store.execute("DROP VIEW looks")
            store.migrate()
            assert found(chunks) == ("exact", expected[1])

    def test_a_role_that_may_not_create_extensions_goes_on_without(
        self,
        url: str,
        chunks: ChunkRepository,
        server_without_pgvector: ServerWithoutPgvector,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        expected = found(chunks)
        engine = sa.create_engine(url)
        event.listen(engine, "connect", _become_nobody)
        try:
            with server_without_pgvector.pgvector():
                Datastore(engine).migrate()
        finally:
            engine.dispose()
            with Datastore.open(url) as store:
                store.execute("DROP OWNED BY datastore_restricted")
                store.execute("DROP ROLE datastore_restricted")
        assert "may not create the extension" in caplog.text
        assert found(chunks) == expected

    def test_an_engine_that_was_open_meanwhile_learns_of_it(
        self,
        url: str,
        chunks: ChunkRepository,
        store: Datastore,
        server_without_pgvector: ServerWithoutPgvector,
    ) -> None:
        _, ids = found(chunks)
        with server_without_pgvector.pgvector():
            with Datastore.open(url) as other:
                other.migrate()
            chunks.add(Chunk("new", "b.md", 1, 1, "text", embedding=VECTORS[0]))
            read = chunks.get("new").embedding
            assert np.asarray(read, dtype="<f4").tobytes() == VECTORS[0].tobytes()
            with pytest.raises(TransientError, match="converted"):
                found(chunks)
            chunks.delete("new")
            assert found(chunks) == ("exact", ids)
            assert Capability.VECTOR_FUNCTIONS in store.capabilities

    def test_run_tries_again_by_itself(
        self,
        url: str,
        chunks: ChunkRepository,
        store: Datastore,
        server_without_pgvector: ServerWithoutPgvector,
    ) -> None:
        _, ids = found(chunks)
        with server_without_pgvector.pgvector():
            with Datastore.open(url) as other:
                other.migrate()
            assert store.run(lambda t: found(ChunkRepository(t))) == ("exact", ids)

    def test_doctor_leads_there(
        self,
        url: str,
        chunks: ChunkRepository,
        server_without_pgvector: ServerWithoutPgvector,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        with server_without_pgvector.pgvector():
            first = _doctor(url, capsys)
            assert main(["upgrade", "--url", url]) == 0
            second = _doctor(url, capsys)
        assert first[0] == 1
        assert first[1]["found"].startswith("pgvector")
        assert first[1]["remedy"].startswith("run `datastore upgrade`")
        assert second[0] == 0
        assert second[1]["found"].startswith("pgvector")

    def test_a_host_in_its_env_learns_which_it_is(self, url: str, chunks: ChunkRepository) -> None:
        engine = sa.create_engine(url)
        vectors = chunk_embeddings.c.embedding
        with engine.connect() as connection:
            operations.autogenerate_options(connection, metadata)
            rendered = vectors.type.compile(dialect=connection.dialect)
        engine.dispose()
        assert rendered == "datastore_vector"


def _become_nobody(connection: Any, _record: Any) -> None:
    connection.autocommit = True
    connection.execute(
        "DO $$ BEGIN CREATE ROLE datastore_restricted; "
        "GRANT ALL ON SCHEMA public TO datastore_restricted; "
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO datastore_restricted; "
        "EXCEPTION WHEN duplicate_object THEN NULL; END $$"
    )
    connection.execute("SET ROLE datastore_restricted")
    connection.autocommit = False


def _doctor(url: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main(["doctor", "--json", "--url", url])
    findings = json.loads(capsys.readouterr().out)["findings"]
    (vectors,) = [finding for finding in findings if finding["check"] == "vectors"]
    return code, vectors


class TestArrays:
    def test_they_travel_in_binary(self, store: Datastore, chunks: ChunkRepository) -> None:
        seen: list[Any] = []
        event.listen(store.engine, "after_cursor_execute", lambda _c, cur, *_: seen.append(cur))
        (row,) = store.query(sa.select(chunk_embeddings.c.embedding).limit(1))
        assert seen[-1].format == pq.Format.BINARY
        assert isinstance(row["embedding"], np.ndarray)
        assert not row["embedding"].flags.writeable

    def test_many_are_copied(self, store: Datastore) -> None:
        table = Notes(dimensions=6).over(store).metadata.tables["notes"]
        sent: list[str] = []
        event.listen(
            store.engine, "before_cursor_execute", lambda _c, _u, sql, *_: sent.append(sql)
        )
        rows = [
            {"rid": n, "id": str(n), "embedding": vector} for n, vector in enumerate(VECTORS, 1)
        ]
        assert store.insert_many(table, rows) == len(rows)
        assert any(statement.startswith("COPY") for statement in sent)
        assert not any(statement.startswith("INSERT") for statement in sent)
        read = store.query(sa.select(table.c.embedding).order_by(table.c.rid))
        assert [row["embedding"].tobytes() for row in read] == [v.tobytes() for v in VECTORS]

    def test_arrays_of_the_hosts_stay_lists(self, store: Datastore) -> None:
        mixed = sa.Table(
            "mixed",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("embedding", Vector(2)),
            sa.Column("numbers", sa.ARRAY(sa.REAL)),
        )
        VectorIndex("mixed_vectors", mixed.c.embedding)
        mixed.create(store.engine)
        numbers = {"embedding": [1, 2], "numbers": [3.0, 4.0]}
        store.insert_many(mixed, [{"id": n, **numbers} for n in range(20)])
        row = store.query(sa.select(mixed))[-1]
        assert row["numbers"] == [3.0, 4.0]
        assert row["embedding"].tolist() == [1.0, 2.0]

    def test_a_literal_is_an_array(self, store: Datastore, chunks: ChunkRepository) -> None:
        hits = nearest(chunk_vectors, VECTORS[0], k=3, model="default")
        with store.engine.connect() as connection:
            sql = str(hits.select().compile(connection, compile_kwargs={"literal_binds": True}))
        assert "'::real[]" in sql

    def test_distances_are_as_exact_as_doubles(self, store: Datastore) -> None:
        notes = Notes(dimensions=None)
        host = notes.over(store)
        a, b = VECTORS[0].astype("f8"), VECTORS[1].astype("f8")
        notes.fill(host, [{"embedding": VECTORS[1]}])
        expected = {
            "cosine": 1 - a @ b / np.sqrt((a @ a) * (b @ b)),
            "l2": np.linalg.norm(a - b),
            "inner_product": -(a @ b),
        }
        for metric, distance in expected.items():
            (hit,) = host.vector_search(
                notes.table,
                "embedding",
                VECTORS[0],
                metric=metric,  # type: ignore[arg-type]
            )
            assert hit.distance == pytest.approx(distance, rel=1e-12)

    def test_a_length_that_does_not_fit_is_an_invalid_value(self, store: Datastore) -> None:
        notes = Notes(dimensions=None)
        host = notes.over(store)
        notes.fill(host, [{"embedding": [1, 2]}])
        with pytest.raises(InvalidValueError, match="22000"):
            host.vector_search(notes.table, "embedding", [1, 2, 3])
