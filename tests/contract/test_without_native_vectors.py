"""Without sqlite-vec or pgvector: the same answers, computed otherwise, and said so."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
import sqlite_vec
from hypothesis import given
from hypothesis import strategies as st

from datastore import Capability, Datastore, migrate, nearest
from datastore.backends import sqlite as sqlite_backend
from datastore.backends.sqlite.driver import can_load_extensions, pick_driver
from datastore.cli import main
from datastore.definitions import METRICS, Metric
from datastore.errors import CheckViolation, InvalidValueError
from repositories import Chunk, ChunkRepository
from repositories.tables import metadata
from tests.contract.host_tables import Notes
from tests.databases import Databases
from tests.without_extensions import engine_without_loading

SERVERS = {
    "postgresql": "databases_without_pgvector",
    "debian": "debian_databases",
}
#: What a database takes for a vector only with its zero, its length and its numbers unchecked.
NO_VECTORS: dict[str, tuple[str, ...]] = {
    "sqlite": (
        "zeroblob(16)",
        "x'0000803f'",
        "x''",
        "'[1,2,3,4]'",
        "x'0000803f0000803f0000803fff'",
    ),
    "postgresql": (
        "'{0,0,0,0}'",
        "'{1}'",
        "'{}'",
        "'{1,2,3,NULL}'",
        "'{1,2,3,NaN}'",
        "'{1,2,3,Infinity}'",
        "'{1,2,3,-Infinity}'",
        "'{{1,2},{3,4}}'",
    ),
}


@pytest.fixture(params=["sqlite", "postgresql", pytest.param("debian", marks=pytest.mark.optional)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bare(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Datastore]:
    """A store over an empty database without native vectors."""
    if kind == "sqlite":
        engine = engine_without_loading(tmp_path / "bare.db")
        yield Datastore(engine)
        engine.dispose()
        return
    databases: Databases = request.getfixturevalue(SERVERS[kind])
    name = databases.create()
    with Datastore.open(databases.url(name)) as store:
        yield store
    databases.drop(name)


@pytest.fixture
def native(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Datastore]:
    """A store over an empty database of the same engine, as it should be."""
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path / 'native.db'}"
        if kind != "sqlite":
            databases: Databases = request.getfixturevalue("postgres_databases")
            name = databases.create()
            stack.callback(databases.drop, name)
            url = databases.url(name)
        yield stack.enter_context(Datastore.open(url))


@pytest.fixture
def both(bare: Datastore, native: Datastore) -> tuple[Datastore, Datastore]:
    return bare, native


@pytest.fixture
def notes() -> Notes:
    return Notes()


def rows() -> list[dict[str, Any]]:
    """Sixty notes, every third with the vector of another."""
    generator = np.random.default_rng(7)
    vectors = generator.normal(size=(60, 4)).astype("f4")
    vectors[::3] = vectors[1::3]
    return [
        {
            "body": f"apple {'bolt ' * (number % 5)}",
            "kind": "odd" if number % 2 else "even",
            "embedding": vector,
        }
        for number, vector in enumerate(vectors)
    ]


def filled(store: Datastore, notes: Notes) -> Datastore:
    searched = notes.over(store)
    notes.fill(searched, [*rows(), {"body": "without a vector"}])
    return searched


def assert_same(one: Any, other: Any) -> None:
    assert [hit.id for hit in one] == [hit.id for hit in other]
    for measure in ("score", "distance"):
        numbers = [[getattr(hit, measure) for hit in found] for found in (one, other)]
        if numbers[0] and numbers[0][0] is not None:
            assert numbers[0] == pytest.approx(numbers[1], abs=1e-6)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("filter", [None, {"kind": "odd"}, "rare"])
def test_vectors_are_found_alike(
    both: tuple[Datastore, Datastore], notes: Notes, metric: Metric, filter: Any
) -> None:
    if filter == "rare":
        filter = notes.table.c.rid < 4
    stores = [filled(store, notes) for store in both]
    for query in ([1, 0, 0, 0], [0.3, -2, 1, 5]):
        found = [
            store.vector_search(notes.table, "embedding", query, 25, filter=filter, metric=metric)
            for store in stores
        ]
        assert len(found[0]) == (3 if filter is not None and filter != {"kind": "odd"} else 25)
        assert_same(*found)


def test_vectors_and_words_together_are_found_alike(
    both: tuple[Datastore, Datastore], notes: Notes
) -> None:
    assert_same(
        *(
            filled(store, notes).hybrid_search(
                notes.table, text="bolt", vector=[1, 0, 0, 0], limit=20, filter={"kind": "even"}
            )
            for store in both
        )
    )


def test_a_statement_of_the_hosts_finds_alike(
    both: tuple[Datastore, Datastore], notes: Notes
) -> None:
    hits = nearest(notes.vectors, [1, 2, 3, 4], k=5, filter=notes.table.c.kind == "odd")
    statement = (
        sa.select(notes.table.c.id, hits.c.rank, hits.c.approximate, notes.table.c.embedding)
        .join(hits, hits.c.rid == notes.table.c.rid)
        .order_by(hits.c.rank)
    )
    one, other = ([dict(r) for r in filled(store, notes).query(statement)] for store in both)
    assert [row.pop("embedding").tobytes() for row in one] == [
        row.pop("embedding").tobytes() for row in other
    ]
    assert one == other
    assert len(one) == 5


def test_chunks_are_found_alike(both: tuple[Datastore, Datastore]) -> None:
    found = []
    for store in both:
        store.migrate()
        repository = ChunkRepository(store)
        repository.add_many(
            Chunk(f"c{n}", "a.md", n + 1, n + 1, row["body"], embedding=row["embedding"])
            for n, row in enumerate(rows())
        )
        found.append(
            [
                [(hit.row.id, round(hit.score, 5)) for hit in repository.search(text, **options)]
                for text in (None, "bolt")
                for options in (
                    {"embedding": [1, 0, 0, 0]},
                    {"embedding": [0, 1, 2, 0], "limit": 30},
                )
            ]
        )
    assert found[0] == found[1]
    assert [len(hits) for hits in found[0]] == [10, 30, 10, 30]


def test_it_is_said(bare: Datastore, notes: Notes) -> None:
    store = filled(bare, notes)
    assert Capability.VECTOR_FUNCTIONS not in store.capabilities
    results = [
        store.vector_search(notes.table, "embedding", [1, 0, 0, 0]),
        store.hybrid_search(notes.table, text="bolt", vector=[1, 0, 0, 0]),
    ]
    for result in results:
        assert result.method == "fallback"
        assert any("install" in note for note in result.notes)
    assert store.full_text_search(notes.table, ["title", "body"], "bolt").method == "exact"


def test_migrations_come_and_go(bare: Datastore) -> None:
    for _ in range(2):
        bare.migrate()
        migrate.check(bare.engine, metadata)
        migrate.downgrade(bare.engine, metadata, "base")


def test_embeddings_come_back_to_the_bit(bare: Datastore) -> None:
    bare.migrate()
    chunks = ChunkRepository(bare)
    numbers = st.floats(-(2.0**60), 2.0**60, width=32)
    norms = st.floats(0.125, 2.0**60, width=32)

    @given(st.lists(numbers, max_size=5), norms)
    def come_back(values: list[float], last: float) -> None:
        vector = np.array([*values, last] + [0.1] * (5 - len(values)), dtype="<f4")
        chunks.replace_path("a.md", [Chunk("one", "a.md", 1, 1, "text", embedding=vector)])
        embedding = chunks.get("one").embedding
        assert embedding is not None
        assert np.asarray(embedding, dtype="<f4").tobytes() == vector.tobytes()

    come_back()


def test_a_chunk_without_an_embedding_stays_so(bare: Datastore) -> None:
    bare.migrate()
    chunks = ChunkRepository(bare)
    chunks.add(Chunk("one", "a.md", 1, 1, "text"))
    assert chunks.get("one").embedding is None


def test_arrays_of_vectors_cannot_be_written_to(bare: Datastore, notes: Notes) -> None:
    row = filled(bare, notes).query(sa.select(notes.table.c.embedding).limit(1))[0]
    with pytest.raises(ValueError, match="read-only"):
        row["embedding"][0] = 1


def test_sql_text_can_store_no_vector_that_is_none(bare: Datastore, notes: Notes) -> None:
    store = filled(bare, notes)
    before = store.query(sa.select(notes.table.c.rid, notes.table.c.embedding))
    for value in NO_VECTORS[store.dialect]:
        with pytest.raises(CheckViolation):
            store.execute(f"UPDATE notes SET embedding = {value} WHERE rid = 1")
        with pytest.raises(CheckViolation):
            store.execute(f"INSERT INTO notes (rid, id, embedding) VALUES (99, 'x', {value})")
    after = store.query(sa.select(notes.table.c.rid, notes.table.c.embedding))
    assert len(after) == len(before)
    store.execute("UPDATE notes SET embedding = NULL WHERE rid = 1")


def test_a_vector_of_another_length_has_no_distance(bare: Datastore) -> None:
    anything = Notes(dimensions=None)
    store = anything.over(bare)
    anything.fill(store, [{"embedding": [1, 2]}, {"embedding": [1, 2, 3]}])
    for metric in METRICS:
        with pytest.raises(InvalidValueError):
            store.vector_search(anything.table, "embedding", [1, 2], metric=metric)


def doctor(url: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main(["doctor", "--json", "--url", url])
    findings = json.loads(capsys.readouterr().out)["findings"]
    (vectors,) = [finding for finding in findings if finding["check"] == "vectors"]
    assert [f["check"] for f in findings if not f["ok"] and f["check"] != "write-ahead log"] == [
        "vectors"
    ]
    return code, vectors


@pytest.mark.parametrize("lacking", ["driver", "extension"])
def test_doctor_names_what_sqlite_lacks(
    lacking: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if lacking == "extension":
        monkeypatch.setattr(sqlite_vec, "loadable_path", lambda: str(tmp_path / "nothing"))
    else:
        if can_load_extensions(sqlite3.Connection):
            pytest.skip("the driver of this Python loads extensions")
        monkeypatch.setattr(sqlite_backend, "pick_driver", lambda: pick_driver(("sqlite3",)))
    url = f"sqlite:///{tmp_path / 'bare.db'}"
    with Datastore.open(url) as store:
        store.migrate()
    code, vectors = doctor(url, capsys)
    assert code == 1
    assert "sqlite-vec is not loaded" in vectors["found"]
    assert "pip install 'pysqlite3>=0.6.1'" in vectors["remedy"]


def test_doctor_names_what_postgresql_lacks(
    databases_without_pgvector: Databases, capsys: pytest.CaptureFixture[str]
) -> None:
    name = databases_without_pgvector.create()
    url = databases_without_pgvector.url(name)
    with Datastore.open(url) as store:
        store.migrate()
        major = store.backend.report.version.partition(".")[0]
    code, vectors = doctor(url, capsys)
    databases_without_pgvector.drop(name)
    assert code == 1
    assert "no pgvector on this server" in vectors["found"]
    assert f"apt install postgresql-{major}-pgvector" in vectors["remedy"]
    assert "datastore upgrade" in vectors["remedy"]
