"""Real collections: retrieval quality, both engines' agreement, and awkward strings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import numpy as np
import pytest

from benchmarks.metrics import jaccard, ndcg
from datastore import Datastore
from repositories import Chunk, ChunkRepository, MemoryManager
from tests.databases import Databases
from tests.real_data import DATA, judgements, needs_real_data, records

pytestmark = [needs_real_data, pytest.mark.optional]

#: A quarter of the Rust RFCs.
PART = "text/2"
#: Of the data's README: exact vector search, all judgements.
VECTOR_NDCG = 0.4996


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory, postgres_databases: Databases
) -> Iterator[tuple[ChunkRepository, ChunkRepository]]:
    """Cranfield in a store on each backend."""
    name = postgres_databases.create()
    path = tmp_path_factory.mktemp("cranfield") / "store.db"
    with (
        Datastore.open(f"sqlite:///{path}") as lite,
        Datastore.open(postgres_databases.url(name)) as server,
    ):
        repositories = ChunkRepository(lite), ChunkRepository(server)
        for store in (lite, server):
            store.migrate()
        embeddings = np.load(DATA / "cranfield" / "doc_embeddings.f32.npy")
        documents = records("cranfield/docs.jsonl.gz")
        for repository in repositories:
            repository.add_many(
                Chunk(d["id"], f"cranfield/{d['id']}", 1, 1, d["text"], vector)
                for d, vector in zip(documents, embeddings, strict=True)
            )
        yield repositories
    postgres_databases.drop(name)


def rankings(repository: ChunkRepository, *, text: bool, vector: bool) -> dict[str, list[str]]:
    embeddings = np.load(DATA / "cranfield" / "query_embeddings.f32.npy")
    return {
        query["id"]: [
            hit.id
            for hit in repository.search(
                query["text"] if text else None, embedding=embedding if vector else None
            )
        ]
        for query, embedding in zip(records("cranfield/queries.jsonl.gz"), embeddings, strict=True)
    }


def quality(run: dict[str, list[str]]) -> float:
    return mean(ndcg(run[query], grades) for query, grades in judgements().items())


def agreement(one: dict[str, list[str]], other: dict[str, list[str]]) -> float:
    return mean(jaccard(one[query], other[query]) for query in one)


def test_vector_search_equals_the_exact_reference(
    both: tuple[ChunkRepository, ChunkRepository],
) -> None:
    lite, server = (rankings(repository, text=False, vector=True) for repository in both)
    assert quality(lite) == pytest.approx(VECTOR_NDCG, abs=0.0005)
    assert quality(server) == pytest.approx(VECTOR_NDCG, abs=0.0005)
    assert agreement(lite, server) >= 0.99


def test_full_text_search_ranks_well_and_alike(
    both: tuple[ChunkRepository, ChunkRepository],
) -> None:
    lite, server = (rankings(repository, text=True, vector=False) for repository in both)
    assert min(quality(lite), quality(server)) >= 0.51
    assert lite == server


def test_hybrid_search_is_better_than_its_parts(
    both: tuple[ChunkRepository, ChunkRepository],
) -> None:
    lite, server = (rankings(repository, text=True, vector=True) for repository in both)
    assert min(quality(lite), quality(server)) >= 0.55
    assert agreement(lite, server) >= 0.95


def test_a_markdown_corpus_is_indexed_once_and_searched(
    store: Datastore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [file for file in records("markdown/rust-rfcs.jsonl.gz") if PART in file["path"]]
    for file in files:
        path = tmp_path / "rfcs" / file["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file["content"], newline="")
    monkeypatch.chdir(tmp_path)
    memory = MemoryManager(store)
    first, second = memory.index("rfcs"), memory.index("rfcs")
    assert first.counts["added"] == second.counts["unchanged"] == len(files) > 100
    assert first.chunks == second.chunks == memory.chunks.count()
    hits = memory.search("non lexical lifetimes borrow checker", path="rfcs/text/2094")
    assert {hit.row.path for hit in hits} == {"rfcs/text/2094-nll.md"}
    for hit in hits:
        lines = Path(hit.row.path).read_text().split("\n")
        assert "\n".join(lines[hit.row.start_line - 1 : hit.row.end_line]) == hit.row.content


def test_awkward_strings_are_stored_exactly_and_searched_for(store: Datastore) -> None:
    strings = json.loads((DATA / "strings" / "blns.json").read_text(encoding="utf-8"))
    namespace = "'; DROP TABLE chunks; --"
    ChunkRepository(store, namespace).add_many(
        Chunk(f"{n}-{text[:80]}", text, 1, 1, text, [n + 1, 1], {text: [text]})
        for n, text in enumerate(strings)
    )
    memory = MemoryManager(store, namespace=namespace)
    with store.transaction(read_only=True) as transaction:
        chunks = ChunkRepository(transaction, namespace)
        for n, text in enumerate(strings):
            chunk = chunks.get(f"{n}-{text[:80]}")
            assert (chunk.path, chunk.content, chunk.metadata) == (text, text, {text: [text]})
            assert chunk in chunks.by_path(text)
            assert all(hit.row.path.startswith(text) for hit in memory.search(text, path=text))
            chunks.search(text, embedding=[1, 1], filter={"path": text}, limit=3)
        assert chunks.count() == len(strings)
